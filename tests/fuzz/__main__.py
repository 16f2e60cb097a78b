"""``python -m tests.fuzz --cases N --seed S``: N seeded cases of each kind, in processes that may hang or die.

A case that is not right is printed with its kind and seed; ``--kind KIND --seed S --cases 1`` runs it alone, in full.
The last line has the figures. The exit code is 0 when all cases were right, else 1.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from queue import Empty, Queue

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from tests.fuzz.cases import KINDS, Lab  # noqa: E402  the helpers of the tests are found since the line above
from tests.fuzz.world import CaseError, fresh  # noqa: E402

BATCH = 200
_START = 60.0  # seconds for a process to begin
_WORD = "case"


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__, add_help=True)
    parser.add_argument("--cases", type=int, default=100, help="cases of each kind")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first case; the next one has the next number")
    parser.add_argument("--kind", choices=sorted(KINDS), action="append", help="only this kind; may be repeated")
    parser.add_argument("--seconds", type=float, default=60.0, help="a case that takes longer counts as a hang")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # one batch, in this process
    options = parser.parse_args()
    kinds = options.kind or list(KINDS)
    if options.here:
        return run_here(kinds[0], range(options.seed, options.seed + options.cases))
    wrong = 0
    for kind in kinds:
        ends = Counter()
        for seed, end, text in supervised(kind, options.seed, options.cases, options.seconds):
            ends[end] += 1
            if end in ("wrong", "hang", "died"):
                wrong += 1
                print(f"{end}: {kind} seed {seed}; again: python -m tests.fuzz --kind {kind} --seed {seed} --cases 1")
                print(text, flush=True)
        print(f"{kind}: {', '.join(f'{count} {end}' for end, count in ends.most_common())}", flush=True)
    print(f"cases={len(kinds) * options.cases} seed={options.seed} wrong={wrong}")
    return 1 if wrong else 0


def run_here(kind, seeds):
    """Run cases in this process; a line before each says its seed, a line after it how it ended."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name, Lab(Path(name) / "lab") as lab:
        for seed in seeds:
            print(f"{_WORD} {seed} begins", flush=True)
            end, text = run_one(lab, kind, seed, Path(name) / "case")
            for line in text.splitlines():
                print(f"| {line}")
            print(f"{_WORD} {seed} {end}", flush=True)
    return 0


def run_one(lab, kind, seed, folder):
    """How a case ended, and what is to be said about it."""
    try:
        return KINDS[kind](lab, seed, fresh(folder)), ""
    except CaseError as error:
        return "wrong", str(error)
    except Exception:  # noqa: BLE001  any other error is what is looked for
        return "wrong", traceback.format_exc()


def supervised(kind, seed, cases, seconds):
    """Yield seed, end and text of each case, run in processes that are ended when a case takes too long."""
    after = seed + cases
    while seed < after:
        command = [sys.executable, "-W", "error", "-m", "tests.fuzz", "--here", "--kind", kind, "--seed", str(seed)]
        command += ["--cases", str(min(BATCH, after - seed))]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        last = min(seed + BATCH, after)
        try:
            for number, end, text in _ends(process, seed, seconds):
                yield number, end, text
                seed = number + 1
        finally:
            process.kill()
            process.wait()
        if seed < last and process.returncode == 0:
            raise SystemExit(f"the process of {kind} ended before seed {seed}")


def _ends(process, seed, seconds):
    """Yield the ends of cases that a process prints, and at last the hang or the death of the one it was at."""
    lines = Queue()
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    at, told, deadline = seed, [], time.monotonic() + _START + seconds
    while True:
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            yield at, "hang", "\n".join(told)
            return
        if line is None:
            if process.wait() != 0:
                yield at, "died", "\n".join(told[-40:])
            return
        word, _, rest = line.partition(" ")
        number, _, end = rest.partition(" ")
        if word != _WORD or not number.isdigit():
            told.append(line)
            continue
        at, deadline = int(number), time.monotonic() + seconds
        if end == "begins":
            told = []
        else:
            yield at, end, "\n".join(told)


def _read(stream, lines):
    with contextlib.suppress(ValueError):  # closed while it is read
        for line in stream:
            lines.put(line.rstrip("\n"))
    lines.put(None)


if __name__ == "__main__":
    sys.exit(main())
