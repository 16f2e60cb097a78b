"""A command on a real terminal (a pty), and what it writes there."""

import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from fcntl import ioctl

from exporting import ROOT


def on_terminal(*arguments, env, columns=120, timeout=60, cwd=ROOT):
    """Run ``python -m pipeline`` on a terminal of so many columns; its exit code, and what it wrote, escapes included.

    Standard output and error are both the terminal.
    """
    own, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    inherited = {key: value for key, value in env.items() if key not in ("COLUMNS", "LINES", "NO_COLOR", "CI")}
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *map(str, arguments)],
        env={**inherited, "TERM": "xterm-256color"}, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    written, end = b"", time.monotonic() + timeout
    try:
        while time.monotonic() < end:
            if not select.select([own], [], [], 0.1)[0]:
                continue
            try:
                part = os.read(own, 65536)
            except OSError:  # how Linux says that nobody has the terminal open any more
                break
            if not part:
                break
            written += part
        return process.wait(timeout=10), written.decode()
    finally:
        process.kill()
        process.wait()
        os.close(own)
