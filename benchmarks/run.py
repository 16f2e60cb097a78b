"""Measure this package against the plain script people write today and against the bare limit, side by side.

All subjects fetch the same records from the same sandbox (a process of its own) and take turns in every round, so that
only ratios matter: machines are shared and differ. Nothing is asserted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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
    done = subprocess.run(
        [sys.executable, HERE / "subjects.py", subject, str(sandbox["project"]), output],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        timeout=900,
    )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Run the whole comparison and print a table for each latency."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=3000)
    parser.add_argument("--latency", type=float, nargs="*", default=[0, 20, 200], metavar="MS", help="of each page")
    parser.add_argument("--payload", choices=["raw", "presigned"], default="raw")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--subjects", nargs="*", default=["plain", "pipeline", "limit"])
    memory = Path("/dev/shm")
    parser.add_argument(
        "--folder", type=Path, default=memory if memory.is_dir() else None, help="where outputs go (default: in memory)"
    )
    options = parser.parse_args()
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


def report(latency: float, payload: str, rounds: dict[str, list[dict[str, float]]]) -> None:
    """Print medians, and the ratio of every subject to the first within each round (median over rounds)."""
    records = next(iter(rounds.values()))[0]["records"]
    print(f"\n{records:,} records, {latency:g} ms a page, payload {payload}, {len(next(iter(rounds.values())))} rounds")
    print(f"{'':14}{'records/s':>11}{'CPU-s/1k':>10}{'peak MB':>9}{'speed ×':>9}{'CPU ×':>7}")
    base = next(iter(rounds))
    for subject, runs in rounds.items():
        speed = statistics.median(run["records"] / run["seconds"] for run in runs)
        cpu = statistics.median(run["cpu_seconds"] / run["records"] * 1000 for run in runs)
        peak = max(run["peak_mb"] for run in runs)
        pairs = list(zip(runs, rounds[base], strict=True))
        faster = statistics.median(other["seconds"] / own["seconds"] for own, other in pairs)
        share = statistics.median(own["cpu_seconds"] / other["cpu_seconds"] for own, other in pairs)
        print(f"{subject:14}{speed:11,.0f}{cpu:10.3f}{peak:9,.0f}{faster:9.2f}{share:7.2f}", flush=True)


if __name__ == "__main__":
    main()
