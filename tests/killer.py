"""Run ``python -m pipeline`` and kill -9 this very process at a chosen write: the worst moment, exactly.

``python tests/killer.py before|after PATTERN COUNT ARGUMENTS…``: the COUNTth write (from 1) of a path that contains
PATTERN kills the process, before or after the file is in place.
"""

import os
import signal
import sys
import threading

from pipeline.cli import main
from pipeline.storage import local


def arm(when, pattern, count):
    real = os.replace
    seen = 0
    one_at_a_time = threading.Lock()

    def replace(source, target):
        nonlocal seen
        hit = pattern in str(target)
        with one_at_a_time:  # originals are written by several threads
            seen += hit
            if hit and seen == count and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            real(source, target)
            if hit and seen == count:
                os.kill(os.getpid(), signal.SIGKILL)

    local.os.replace = replace


if __name__ == "__main__":
    arm(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    sys.exit(main(sys.argv[4:]))
