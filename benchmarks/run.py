"""Measure this package against the plain script people write today and against the bare limit, side by side.

All subjects fetch the same records from the same sandbox (a process of its own) and take turns in every round, so that
only ratios matter: machines are shared and differ. No time is asserted; an export that is not complete is.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def serve(records: int, latency: float, payload: str, folder: Path) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    """A sandbox process with that many benchmark records and that latency per page; waits until it listens."""
    ready = folder / f"ready-{time.monotonic_ns()}.json"
    options = ["--profile", "bench", "--records", records, "--page-latency", latency, "--blob-latency", latency / 10]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.sandbox", *map(str, options), "--payload", payload, "--ready-file", ready],
        stdout=subprocess.DEVNULL,
    )
    while not ready.exists():
        if process.poll() is not None:
            raise SystemExit("the sandbox did not start")
        time.sleep(0.05)
    return process, json.loads(ready.read_text())


def measure(subject: str, sandbox: dict[str, str], folder: Path) -> dict[str, float]:
    """One run of one subject in a fresh process and a fresh folder."""
    environment = {
        **os.environ,
        "SYNAPSE_HOST": sandbox["url"],
        "SYNAPSE_ACCESS_TOKEN": sandbox["token"],
    }
    # Not removed before the end: ext4 creates files several times slower for minutes after many were deleted.
    output = tempfile.mkdtemp(dir=folder)
    ask(sandbox, "clear", method="POST")
    done = subprocess.run(
        [sys.executable, HERE / "subjects.py", subject, str(sandbox["project"]), output],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        timeout=900,
    )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {**result, **in_flight(ask(sandbox, "log"))}


def ask(sandbox: dict[str, str], what: str, method: str = "GET") -> Any:
    """Ask the sandbox for something of its own, or tell it to do something."""
    request = urllib.request.Request(f"{sandbox['url']}/__sandbox__/{what}", method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def in_flight(log: list[dict[str, Any]]) -> dict[str, float]:
    """How many requests there were, and how many of those for documents were under way at a time, on average.

    From the first page of documents that is asked for together with another one to the last answer: what comes before
    is the plan, which asks for little.
    """
    spans = sorted(
        (entry["started"], entry["started"] + entry["seconds"])
        for entry in log
        if entry["query"].get("fields") != "id" and not entry["path"].startswith("/projects/")
    )
    together = (start for (_, end), (start, _) in itertools.pairwise(spans) if start < end)
    begun = next(together, spans[0][0])
    busy = [(max(start, begun), end) for start, end in spans if end > begun]
    length = max(end for _, end in busy) - begun
    return {"requests": len(log), "in_flight": sum(end - start for start, end in busy) / length}


def main() -> None:
    """Run the whole comparison and print a table for each latency."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=3000)
    parser.add_argument("--latency", type=float, nargs="*", default=[0, 20, 200], metavar="MS", help="of each page")
    parser.add_argument("--payload", choices=["raw", "presigned"], default="raw")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--subjects", nargs="*", default=["plain", "serial", "processes", "limit"])
    memory = Path("/dev/shm")
    parser.add_argument(
        "--folder", type=Path, default=memory if memory.is_dir() else None, help="where outputs go (default: in memory)"
    )
    parser.add_argument("--json", type=Path, help="where to write every figure of every round")
    options = parser.parse_args()
    figures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=options.folder) as name:
        folder = Path(name)
        for latency in options.latency:
            process, sandbox = serve(options.records, latency / 1000, options.payload, folder)
            try:
                rounds: dict[str, list[dict[str, float]]] = {subject: [] for subject in options.subjects}
                for _ in range(options.rounds):
                    for subject in options.subjects:
                        rounds[subject].append(measure(subject, sandbox, folder))
            finally:
                process.terminate()
                process.wait()
            report(latency, options.payload, rounds)
            figures.append({"latency_ms": latency, "payload": options.payload, "rounds": rounds})
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


def report(latency: float, payload: str, rounds: dict[str, list[dict[str, float]]]) -> None:
    """Print medians, and the ratio of every subject to the first within each round (median over rounds)."""
    records = next(iter(rounds.values()))[0]["records"]
    print(f"\n{records:,} records, {latency:g} ms a page, payload {payload}, {len(next(iter(rounds.values())))} rounds")
    names = {"records/s": 11, "CPU-s/1k": 10, "peak MB": 9, "requests": 10, "at once": 9, "speed ×": 9, "CPU ×": 7}
    print(" " * 14 + "".join(f"{name:>{width}}" for name, width in names.items()))
    base = next(iter(rounds))
    for subject, runs in rounds.items():
        speed = statistics.median(run["records"] / run["seconds"] for run in runs)
        cpu = statistics.median(run["cpu_seconds"] / run["records"] * 1000 for run in runs)
        peak = max(run["peak_mb"] for run in runs)
        asked = statistics.median(run["requests"] for run in runs)
        at_once = statistics.median(run["in_flight"] for run in runs)
        pairs = list(zip(runs, rounds[base], strict=True))
        faster = statistics.median(other["seconds"] / own["seconds"] for own, other in pairs)
        share = statistics.median(own["cpu_seconds"] / other["cpu_seconds"] for own, other in pairs)
        row = f"{speed:11,.0f}{cpu:10.3f}{peak:9,.0f}{asked:10,.0f}{at_once:9.1f}{faster:9.2f}{share:7.2f}"
        print(f"{subject:14}{row}", flush=True)


if __name__ == "__main__":
    main()
