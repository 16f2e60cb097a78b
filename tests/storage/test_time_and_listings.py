"""Clocks, time zones and listings that lag behind: none of them decides anything, so none changes a byte."""

import datetime as dt
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exporting import ROOT, digest, environment, export, settings, undisturbed, verify, write_config
from pipeline.errors import DestinationError, StorageError
from pipeline.sandbox import Sandbox, SandboxOptions
from pipeline.storage.local import LocalStorage

# A process whose clock is wrong: put before everything else it imports. Deadlines go by the monotonic clock, which is
# left alone, as it is on a machine whose clock somebody sets.
SKEW = """
import datetime, os, time
_shift = float(os.environ["CLOCK_SHIFT"])
_time, _ns, _real = time.time, time.time_ns, datetime.datetime
time.time = lambda: _time() + _shift
time.time_ns = lambda: _ns() + int(_shift * 1e9)
class _Shifted(_real):
    @classmethod
    def now(cls, tz=None):
        return _real.now(tz) + datetime.timedelta(seconds=_shift)
datetime.datetime = _Shifted
"""


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(SandboxOptions(profile="tidy", records=30, payload="presigned")) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def golden(sandbox, tmp_path_factory):
    return undisturbed(sandbox, tmp_path_factory)


def run_with_clock(sandbox, tmp_path, arguments, **variables):
    folder = tmp_path / "clock"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(SKEW)
    env = environment(sandbox, PYTHONPATH=f"{folder}{os.pathsep}{ROOT}", **variables)
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def finished_at(path):
    return dt.datetime.fromisoformat(verify(path).finished)


@pytest.mark.parametrize("shift", [-7200, 7200])
@pytest.mark.parametrize("zone", ["Asia/Seoul", "Pacific/Apia"])
def test_a_wrong_clock_and_another_time_zone_leave_the_bytes_alone(sandbox, golden, tmp_path, shift, zone):
    config = write_config(tmp_path, settings(sandbox, tmp_path / "out"))
    done = run_with_clock(sandbox, tmp_path, ["-m", "pipeline", "run", config], CLOCK_SHIFT=str(shift), TZ=zone)
    assert done.returncode == 0, done.stderr
    assert digest(tmp_path / "out") == golden
    off = (finished_at(tmp_path / "out") - dt.datetime.now(dt.UTC)).total_seconds()
    assert abs(off - shift) < 600  # the clock really was wrong, and the verdict is in UTC whatever the zone


@pytest.mark.parametrize(("first", "second"), [(7200, -7200), (-7200, 7200)])
def test_a_clock_that_jumps_between_two_attempts_leaves_the_bytes_alone(sandbox, golden, tmp_path, first, second):
    """The second attempt is four hours before (or after) the first: like the end of daylight saving time, and worse."""
    config = write_config(tmp_path, settings(sandbox, tmp_path / "out"))
    killer = ["tests/killer.py", "before", "render/000001.json", "1", "run", config]
    killed = run_with_clock(sandbox, tmp_path, killer, CLOCK_SHIFT=str(first), TZ="America/New_York")
    assert killed.returncode == -9, killed.stderr
    sandbox.clear_requests()
    done = run_with_clock(
        sandbox, tmp_path, ["-m", "pipeline", "run", config], CLOCK_SHIFT=str(second), TZ="Europe/London"
    )
    assert done.returncode == 0, done.stderr
    assert not [entry for entry in sandbox.requests() if entry["path"].startswith("/blobs/payloads/")]
    assert digest(tmp_path / "out") == golden


def test_the_shifted_clock_is_seen_by_what_runs_under_it(sandbox, tmp_path):
    done = run_with_clock(sandbox, tmp_path, ["-c", "import time; print(time.time())"], CLOCK_SHIFT="7200")
    assert float(done.stdout) - time.time() > 7000


@pytest.fixture
def lag(monkeypatch):
    """Listings of disks that do not show what was written in the last hour; reading by name is not affected."""
    written: set[str] = set()
    hidden: list[str] = []
    files, entries, replace, link = LocalStorage.files, LocalStorage.entries, os.replace, os.link

    def is_hidden(path):
        inside = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        if all(str(file) in written for file in inside):
            hidden.append(str(path))
            return True
        return False

    def some_files(storage, prefix=""):
        return (item for item in files(storage, prefix) if not is_hidden(Path(storage.url, item[0])))

    def some_entries(storage, prefix=""):
        return [entry for entry in entries(storage, prefix) if not is_hidden(Path(storage.url, prefix, entry))]

    def noted(real):
        def put(source, target, **options):
            real(source, target, **options)
            written.add(str(target))

        return put

    monkeypatch.setattr(LocalStorage, "files", some_files)
    monkeypatch.setattr(LocalStorage, "entries", some_entries)
    monkeypatch.setattr("pipeline.storage.local.os.replace", noted(replace))
    monkeypatch.setattr("pipeline.storage.local.os.link", noted(link))
    return hidden


def test_a_listing_that_lags_behind_changes_no_byte(sandbox, golden, tmp_path, lag, monkeypatch):
    export(sandbox, tmp_path / "out")
    assert export(sandbox, tmp_path / "out").already_finished
    assert lag
    monkeypatch.undo()
    assert digest(tmp_path / "out") == golden


def test_a_run_is_continued_behind_a_listing_that_lags(sandbox, golden, tmp_path, lag, monkeypatch):
    """A run stops in the middle; the next one sees nothing of it in any listing, and does only what is missing."""
    real = LocalStorage.write

    def fails(storage, path, data, **options):
        if path.endswith("render/000001.json"):
            raise StorageError(path, "told to by a test")
        real(storage, path, data, **options)

    monkeypatch.setattr(LocalStorage, "write", fails)
    with pytest.raises(StorageError):
        export(sandbox, tmp_path / "out")
    monkeypatch.setattr(LocalStorage, "write", real)
    sandbox.clear_requests()
    before = len(lag)
    export(sandbox, tmp_path / "out")
    assert len(lag) > before
    assert not [entry for entry in sandbox.requests() if entry["path"].startswith("/blobs/payloads/")]
    monkeypatch.undo()
    assert digest(tmp_path / "out") == golden
    verify(tmp_path / "out", full=True)
    # What the listing did not show could not be tidied up; a listing that has caught up shows it to the next run.
    assert list((tmp_path / "out").glob("_staging/*/plan.json"))
    assert export(sandbox, tmp_path / "out").already_finished
    assert not list((tmp_path / "out").glob("_staging/*/plan.json"))


def test_another_configuration_is_refused_by_the_verdict_and_not_by_a_listing(sandbox, tmp_path, lag):
    export(sandbox, tmp_path / "out")
    with pytest.raises(DestinationError, match="differs in: naming"):
        export(sandbox, tmp_path / "out", naming="id")
