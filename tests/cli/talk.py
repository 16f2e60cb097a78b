"""A conversation on a real terminal: what is typed, and the text of the screen."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
import unicodedata

from exporting import ROOT

ENTER, DOWN, SPACE, CTRL_C, CTRL_D = "\r", "\x1b[B", " ", "\x03", "\x04"
_CONTROL = re.compile(r"\x1b\[([?>=]?)([0-9;]*)([A-Za-z@])|\x1b[()][0-9A-B]|\x1b[=>78]|\x1b\][^\x07]*\x07")
_ROWS = 60


class Talk:
    """``python -m pipeline`` with a terminal of its own, which it controls: Ctrl-C works as at a desk.

    It begins in ``folder``, with ``folder/home`` as its home.
    """

    def __init__(self, *arguments, env, folder, columns=120, **variables):
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, columns, 0, 0))
        inherited = {name: value for name, value in env.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
        # As after the installation of the README: the program is called by its name.
        inherited["PATH"] = os.pathsep.join((os.path.dirname(sys.executable), env.get("PATH", os.defpath)))
        (folder / "home").mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START, *map(str, arguments)],
            env={
                **inherited, "TERM": "xterm-256color", "HOME": str(folder / "home"), "PYTHONPATH": str(ROOT),
                "PROMPT_TOOLKIT_NO_CPR": "1", **variables,
            },
            cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.raw = ""
        self.screen = Screen(columns)
        self.answers = 0
        self._seen = 0

    def answer(self, question, keys=ENTER):
        """Wait for a question, and type; everything typed for one question is one answer."""
        self.wait_for(question)
        self.answers += 1
        self._seen = len(self.raw)
        self.type(keys)

    def type(self, keys):
        """Send keys as they are."""
        os.write(self._ours, keys.encode())

    def wait_for(self, text, timeout=15):
        """Read until a text has come since the last answer."""
        deadline = time.monotonic() + timeout
        while text not in plain(self.raw[self._seen :]):
            assert self._read(deadline), f"{text!r} did not come; the screen:\n{self.screen.text}"

    def told(self, text):
        """Wait for a line that is printed once, so that what is drawn before it is not taken for what follows."""
        self.wait_for(text)
        self._seen = self.raw.index(text, self._seen) + len(text)

    def shows(self, text, timeout=15):
        """Read until the screen shows a text, however it was drawn."""
        deadline = time.monotonic() + timeout
        while text not in self.screen.text:
            assert self._read(deadline), f"{text!r} did not come; the screen:\n{self.screen.text}"

    def end(self, timeout=120):
        """Read to the end; returns the exit code."""
        deadline = time.monotonic() + timeout
        while self._read(deadline):
            pass
        os.close(self._ours)
        return self.process.wait(timeout)

    def _read(self, deadline):
        with contextlib.suppress(OSError):  # a terminal that nobody writes to any more gives an error
            while time.monotonic() < deadline:
                if select.select([self._ours], [], [], 1)[0]:
                    data = os.read(self._ours, 65536)
                    text = self._rest(data)
                    self.raw += text
                    self.screen.write(text)
                    return bool(data)
                if self.process.poll() is not None:
                    return False
        return False

    def _rest(self, data):
        """The text of the bytes; the first bytes of a letter wait for the others."""
        data = getattr(self, "_kept", b"") + data
        for cut in range(4):
            try:
                text = data[: len(data) - cut].decode()
            except UnicodeDecodeError:
                continue
            self._kept = data[len(data) - cut :]
            return text
        return data.decode(errors="replace")


# The program takes the terminal as its own, as the shell of a person would give it.
_START = (
    "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "from pipeline.cli.app import main; sys.exit(main())"
)


class Screen:
    """What a terminal shows, line by line, after the control sequences that questions are drawn with."""

    def __init__(self, columns):
        self._columns = columns
        self._lines = [[]]
        self._row = self._column = 0
        self._open = ""

    @property
    def text(self):
        """All lines, those that scrolled away included."""
        lines = ["".join(cell or "" for cell in line).rstrip() for line in self._lines]
        return "\n".join(lines).rstrip() + "\n"

    def write(self, text):
        """Take what the program wrote."""
        text = self._open + text
        self._open = ""
        place = 0
        while place < len(text):
            if text[place] == "\x1b":
                found = _CONTROL.match(text, place)
                if not found:
                    self._open = text[place:]
                    return
                self._control(found)
                place = found.end()
                continue
            self._letter(text[place])
            place += 1

    def _line(self):
        while len(self._lines) <= self._row:
            self._lines.append([])
        return self._lines[self._row]

    def _letter(self, letter):
        if letter == "\r":
            self._column = 0
        elif letter == "\n":
            self._row += 1
            self._line()
        elif letter == "\b":
            self._column = max(0, self._column - 1)
        elif letter.isprintable():
            width = 0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
            if self._column + width > self._columns:
                self._row, self._column = self._row + 1, 0
            line = self._line()
            line += [" "] * (self._column + width - len(line))
            if width:
                line[self._column : self._column + width] = [letter, *[""] * (width - 1)]
            self._column += width

    def _control(self, found):
        marks, numbers, what = found[1], found[2], found[3]
        count = int(numbers.split(";")[0] or 0) if numbers else 0
        if marks or what is None:
            return
        if what == "A":
            self._row = max(0, self._row - max(1, count))
        elif what == "B":
            self._row += max(1, count)
        elif what == "C":
            self._column = min(self._columns - 1, self._column + max(1, count))
        elif what == "D":
            self._column = max(0, self._column - max(1, count))
        elif what == "K":
            line = self._line()
            line[self._column :] = []
        elif what == "J":
            self._line()[self._column :] = []
            del self._lines[self._row + 1 :]


def plain(text):
    """A text without control sequences."""
    return _CONTROL.sub("", text)
