"""Kill real exports at random and named moments, continue them, compare the bytes; one line of figures at the end.

Everything is real but the API, which is the bundled sandbox in a process of its own, with faults on: some answers are
503, 429, reset or cut, and presigned URLs run out. See ``docs/chaos.md``.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

from pipeline.commands.verify import verify
from pipeline.errors import ExportError, VerificationError
from pipeline.storage import STAGING, Storage

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from scripts.chaos_api import ROOT, Api, ChaosError, plain_environment, wait_until
from scripts.chaos_cluster import LOCAL, Raylets
from stores import Place, S3Server

SHARDS = 12
HALF_LIMIT = 0.6
"""Of the listing and payload requests, how many may be made again after a kill at half of the extraction."""
_RUN_SECONDS = 240  # for one run; a run takes a few
_CONTINUED = 4  # runs after a kill; the first one should do
_TRIES = 5  # to hit a run before it is through


# Writes at which a run is killed: before or after the Nth one of a path with this text.
WORK_MOMENTS = (
    ("before", "extract/000001.parquet", 1), ("before", "extract/000001.json", 1), ("after", "extract/000002.json", 1),
    ("after", "extract/", 2 * SHARDS), ("after", "images/", 25), ("after", "labels/", 31),
    ("before", "render/000001.pack", 1), ("before", "render/000001.json", 1), ("after", "render/000002.json", 1),
)  # fmt: skip
DRIVER_MOMENTS = (
    ("before", "plan.json", 1), ("after", "plan.json", 1), ("before", "catalog.json", 1), ("after", "catalog.json", 1),
    ("before", "metadata/export_summary.json", 1), ("after", "metadata/files.csv", 1),
    ("after", "metadata/SHA256SUMS", 1), ("before", "_SUCCESS.json", 1), ("after", "_SUCCESS.json", 1),
)  # fmt: skip
MERGE_MOMENTS = (("before", "annotations/instances_train.json", 1), ("after", "merge/", 1))


class Options(Protocol):
    """The command line."""

    kills: int
    seed: int
    executor: str
    store: str
    records: int
    at: str


@dataclass
class Figures:
    """What the last line says. ``refetched`` holds a share for each kill."""

    refetched: list[float]
    kills: int = 0
    resumed: int = 0
    identical: int = 0
    false_complete: int = 0

    def __str__(self) -> str:
        share = sum(self.refetched) / max(1, len(self.refetched))
        counts = f"kills={self.kills} resumed={self.resumed} identical={self.identical}"
        return f"{counts} false_complete={self.false_complete} refetched={share:.1%}"

    def holds(self, at: str) -> bool:
        """Whether everything is as promised."""
        good = self.kills == self.resumed == self.identical and not self.false_complete
        return good and (at != "half" or max(self.refetched) < HALF_LIMIT)


class Chaos:
    """All rounds of one call: one sandbox, one store, one cluster, one undisturbed export to compare with."""

    def __init__(
        self, options: Options, folder: Path, api: Api, places: Iterator[Place], cluster: Raylets | None
    ) -> None:
        self._options, self._folder, self._api, self._cluster = options, folder, api, cluster
        self._places = places
        self._random = random.Random(options.seed)
        self.figures = Figures([])
        self._golden, self._requests, self._seconds, self._files = "", 0, 0.0, 0
        self._last: subprocess.Popen[bytes] | None = None

    def undisturbed(self) -> None:
        """The export that all others are compared with."""
        self._api.begin()
        place, config = self._prepare("undisturbed")
        began = time.monotonic()
        runs = self._finish(place, config)
        self._seconds = (time.monotonic() - began) / runs
        self._requests = self._api.requests()
        self._golden = place.digest()
        self._files = sum(1 for _ in place.storage().files())
        say(f"undisturbed: {self._seconds:.1f} s, {self._requests} listing and payload requests, {self._files} files")

    def round(self, number: int) -> None:
        """One kill, and what comes after it."""
        for attempt in range(_TRIES):
            self._api.begin()
            place, config = self._prepare(f"{number}-{attempt}")
            how, process = self._disturb(number, attempt, place, config)
            if process is not None:
                break
        else:
            raise ChaosError(f"no run could be killed at: {how}")
        figures = self.figures
        figures.kills += 1
        if process.poll() is None:  # a run that only lost a worker or a machine goes on by itself
            self._wait(process)
        figures.false_complete += self._is_false_complete(place)
        runs = self._finish(place, config)
        figures.resumed += 1
        identical = place.digest() == self._golden
        figures.identical += identical
        figures.false_complete += self._is_false_complete(place)
        refetched = (self._api.requests() - self._requests) / self._requests
        figures.refetched.append(max(0.0, refetched))
        verdict = "identical" if identical else "DIFFERENT"
        say(f"{number}: {how}: continued by {runs} runs, {verdict}, refetched {refetched:.1%}")
        if place.is_local and identical:
            shutil.rmtree(place.url)
        if self._cluster:
            self._cluster.mend()

    def _prepare(self, name: str) -> tuple[Place, Path]:
        place = next(self._places)
        size = -(-self._options.records // SHARDS)
        # Two shards are never in one page, so that what is counted again is what was really done again.
        run: dict[str, Any] = {"executor": self._options.executor, "shard_size": size, "page_size": size}
        if self._cluster:
            run |= {"address": self._cluster.address, "memory_mb": 0}
        values = {
            "name": "chaos", "target": "task", "filter": {"project": self._api.project}, "path": place.url,
            "storage_options": dict(place.options), "formats": ["coco", "yolo"], "split": {"by": "hash"}, "run": run,
        }  # fmt: skip
        config = self._folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump(values))
        return place, config

    def _disturb(
        self, number: int, attempt: int, place: Place, config: Path
    ) -> tuple[str, subprocess.Popen[bytes] | None]:
        """Start a run and kill it or a part of it; what was done, and the run unless it ended before."""
        if self._options.at == "half":
            if not self._cluster:
                return self._kill_at_write(("before", "extract/", SHARDS + 1), place, config)
            return self._kill_at_marker("driver", "extract", SHARDS // 2, place, config)
        if self._cluster:
            whom = ("worker", "raylet", "driver", "named moment")[number % 4]
            if whom in ("worker", "raylet"):
                stage = self._random.choice(("extract", "render"))
                return self._kill_at_marker(whom, stage, self._random.randrange(1, SHARDS - 2), place, config)
        else:
            whom = ("named moment", "driver", "named moment", "write")[number % 4]
        if whom == "named moment":
            moments = DRIVER_MOMENTS if self._cluster else WORK_MOMENTS + DRIVER_MOMENTS + MERGE_MOMENTS
            return self._kill_at_write(self._random.choice(moments), place, config)
        if whom == "write":
            least = self._random.randrange(1, self._files)
            return self._kill_at_write(("before", "", least), place, config)
        return self._kill_at_time(self._random.uniform(0.2, 0.95) * self._seconds * 0.6**attempt, place, config)

    def _kill_at_write(
        self, moment: tuple[str, str, int], place: Place, config: Path
    ) -> tuple[str, subprocess.Popen[bytes] | None]:
        when, pattern, count = moment
        victim = [str(ROOT / "scripts/chaos_victim.py"), when, pattern, str(count)]
        process = self._start(place, config, victim)
        self._wait(process)
        how = f"driver killed {when} write {count} of {pattern or 'anything'}"
        return how, process if process.returncode == -signal.SIGKILL else None

    def _kill_at_time(self, seconds: float, place: Place, config: Path) -> tuple[str, subprocess.Popen[bytes] | None]:
        process = self._start(place, config)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()
        process.wait()
        how = f"driver killed after {seconds:.2f} s"
        return how, process if process.returncode == -signal.SIGKILL else None

    def _kill_at_marker(
        self, whom: str, stage: str, count: int, place: Place, config: Path
    ) -> tuple[str, subprocess.Popen[bytes] | None]:
        """Kill as soon as so many shards are through a stage: seen from outside, in the staging area."""
        assert self._cluster is not None
        process = self._start(place, config)
        storage = place.storage()
        wait_until(
            lambda: process.poll() is not None or markers(storage, stage) >= count, _RUN_SECONDS, f"{stage} to go on"
        )
        how = f"{whom} killed when {count} shards were through {stage}"
        if process.poll() is None:
            if whom == "driver":
                process.kill()
                process.wait()
            elif whom == "raylet":
                self._cluster.kill_second()
            elif not self._cluster.kill_worker(self._random, self._seconds):
                self._wait(process)
                return how, None
            return how, process
        return how, None

    def _start(self, place: Place, config: Path, program: list[str] | None = None) -> subprocess.Popen[bytes]:
        command = [sys.executable, *(program or ["-m", "pipeline"]), "run", str(config)]
        variables = {**plain_environment(), **self._api.environment, **place.environment, "PYTHONPATH": str(ROOT)}
        variables |= LOCAL if self._cluster else {}
        with (self._folder / "runs.log").open("ab") as log:
            log.write(f"\n$ {' '.join(command)}\n".encode())
            log.flush()
            self._last = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=log, stderr=log)
        return self._last

    def close(self) -> None:
        """End the run that is under way when the tool itself is interrupted or cannot go on."""
        if self._last and self._last.poll() is None:
            self._last.kill()
            self._last.wait()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait(_RUN_SECONDS)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.wait()
            raise ChaosError(f"a run took more than {_RUN_SECONDS} s; {self._log_tail()}") from error

    def _finish(self, place: Place, config: Path) -> int:
        """The same command until it ends with 0; how many runs that took."""
        for run in range(1, _CONTINUED + 1):
            process = self._start(place, config)
            self._wait(process)
            if process.returncode == 0:
                return run
        raise ChaosError(f"{_CONTINUED} runs did not finish the export; {self._log_tail()}")

    def _log_tail(self) -> str:
        log = self._folder / "runs.log"
        return f"the end of {log}:\n{log.read_text(errors='replace')[-2000:]}"

    def _is_false_complete(self, place: Place) -> bool:
        """Whether something that is not the whole export says it is: ``_SUCCESS.json``, or ``verify --full``."""
        storage = place.storage()
        said = storage.size("_SUCCESS.json") is not None
        try:
            verify(storage, full=True)
        except VerificationError:
            return said
        return not said or place.digest() != self._golden


def markers(storage: Storage, stage: str) -> int:
    """How many shards are through a stage, in the one staging area there is."""
    try:
        keys = [key for key in storage.entries(STAGING) if key not in ("locks", "tmp")]
        return sum(name.endswith(".json") for key in keys for name in storage.entries(f"{STAGING}/{key}/{stage}"))
    except ExportError:  # the folder goes away while it is looked at: the run is through
        return 0


def say(line: str) -> None:
    """One line of progress, at once."""
    print(line, flush=True)


@contextlib.contextmanager
def places(store: str, folder: Path) -> Iterator[Iterator[Place]]:
    """A fresh place each time one is asked for."""
    if store == "local":
        yield (Place(str(folder / f"export-{number}")) for number in range(10**6))
    else:
        with S3Server() as server:
            yield (server.place() for _ in range(10**6))


def chaos(options: Options, folder: Path) -> Figures:
    """Everything, in a folder of its own."""
    with contextlib.ExitStack() as stack:
        api = Api(folder, options.records)
        stack.callback(api.close)
        fresh = stack.enter_context(places(options.store, folder))
        cluster = None
        if options.executor == "ray":
            # Workers have the environment of their raylet, not the driver's.
            os.environ.update({**api.environment, **next(fresh).environment, "PYTHONPATH": str(ROOT)})
            cluster = stack.enter_context(Raylets())
        work = Chaos(options, folder, api, fresh, cluster)
        stack.callback(work.close)
        work.undisturbed()
        for number in range(options.kills):
            work.round(number)
        return work.figures


def main() -> int:
    """Returns 0 when everything is as promised, 1 when it is not, 2 when the tool itself could not go on."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of all that is random (default: %(default)s)")
    parser.add_argument("--executor", choices=["serial", "processes", "ray"], default="serial")
    parser.add_argument("--store", choices=["local", "s3"], default="local")
    parser.add_argument("--records", type=int, default=10 * SHARDS, metavar="R", help="default: %(default)s")
    parser.add_argument("--at", choices=["any", "half"], default="any", help="half: each when half of it is extracted")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        figures = chaos(options, folder)
    except ChaosError as error:
        print(f"error: {error}\nexports and the log of all runs are in {folder}", file=sys.stderr)
        return 2
    print(figures)
    if not figures.holds(options.at):
        print(f"not as promised; exports and the log of all runs are in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
