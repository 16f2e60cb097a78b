"""A command on a real terminal (a pseudo-terminal of a given size), and what it wrote there."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time

from exporting import ROOT

_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*([A-Za-z])")


class Terminal:
    """``python -m pipeline`` with its input, output and errors on a terminal of ``columns`` by 40."""

    def __init__(self, *arguments, env, columns=120, **variables):
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        inherited = {name: value for name, value in env.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", *map(str, arguments)],
            env={**inherited, "TERM": "xterm-256color", **variables}, cwd=ROOT, stdin=theirs, stdout=theirs,
            stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.text = ""

    def read(self, until=None, timeout=120):
        """Read until a text appears, or to the end; returns all text so far, with its control sequences."""
        deadline = time.monotonic() + timeout
        with contextlib.suppress(OSError):  # a terminal that nobody writes to any more gives an error
            while (until is None or until not in self.text) and time.monotonic() < deadline:
                data = os.read(self._ours, 65536)
                if not data:
                    break
                self.text += data.decode(errors="replace")
        assert until is None or until in self.text, self.text
        return self.text

    def end(self, timeout=120):
        """Read to the end; returns the exit code."""
        self.read(timeout=timeout)
        os.close(self._ours)
        return self.process.wait(timeout)


def lines(text):
    """The lines of a text without control sequences; what is drawn anew is there each time."""
    return [line for line in re.split(r"[\r\n]+", _SEQUENCE.sub("", text)) if line.strip()]


def colours(text):
    """The control sequences that set a colour: of the foreground, the background, or of 256."""
    return [code for code in re.findall(r"\x1b\[([0-9;]*)m", text) if re.search(r"(^|;)(3[0-8]|4[0-8]|9\d)", code)]
