"""Two runs on one path: exactly one wins, the other says who holds it; a killed run is in nobody's way."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from exporting import ROOT, command, digest, environment, export, settings, write_config
from pipeline.destination.lock import Lock, hold_lock, this_process
from pipeline.errors import DestinationError, StorageError
from pipeline.sandbox import Sandbox, SandboxOptions
from stores import Place

LOCK = "_staging/locks/lock.json"


@pytest.fixture
def storage(place):
    storage = place.storage()
    yield storage
    storage.close()


def stale(storage, path=LOCK, run_id="killed", **changes):
    """The lock of a run that is not there any more: a process of this machine that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    holder = msgspec.structs.replace(this_process(run_id), **{"pid": process.pid, "begun": "1", **changes})
    storage.write(path, msgspec.json.encode(holder))
    return holder


def test_a_path_is_held_by_one_run_and_free_afterwards(storage):
    with hold_lock(storage, "first") as lock:
        assert lock.is_exclusive()
        with pytest.raises(DestinationError, match=rf"is held by run first \(process {os.getpid()} on .*--break-lock"):
            Lock(storage, "second").acquire()
        lock.check()
    assert list(storage.files()) == []
    with hold_lock(storage, "second"):
        pass


def test_of_many_that_come_at_once_exactly_one_holds_the_path(storage):
    for _ in range(5):
        barrier = threading.Barrier(6)
        locks = [Lock(storage, f"run-{number}") for number in range(6)]

        def attempt(lock, barrier=barrier):
            barrier.wait()
            try:
                lock.acquire()
            except DestinationError:
                return None
            return lock

        with ThreadPoolExecutor(6) as threads:
            won = [lock for lock in threads.map(attempt, locks) if lock]
        assert len(won) == 1
        won[0].check()
        won[0].release()
    assert list(storage.files()) == []


def test_a_lock_of_a_process_that_has_ended_is_broken_by_exactly_one(storage):
    stale(storage)
    barrier = threading.Barrier(6)

    def attempt(number):
        lock = Lock(storage, f"run-{number}")
        barrier.wait()
        try:
            return lock, lock.acquire()
        except DestinationError:
            return None

    with ThreadPoolExecutor(6) as threads:
        won = [found for found in threads.map(attempt, range(6)) if found]
    assert len(won) == 1
    lock, broken = won[0]
    assert broken.run_id == "killed"
    lock.check()
    lock.release()
    assert list(storage.files()) == []


def test_a_chain_of_killed_runs_is_followed_to_its_end(storage):
    stale(storage)
    stale(storage, "_staging/locks/lock-killed.json", "killed-too")
    with hold_lock(storage, "third"), pytest.raises(DestinationError, match="is held by run third"):
        Lock(storage, "fourth").acquire()
    assert list(storage.files()) == []


@pytest.mark.parametrize(
    "changes",
    [{"host": "elsewhere"}, {"boot": "another start"}, {"space": "another container"}],
    ids=["another machine", "another start of the machine", "another container"],
)
def test_what_cannot_be_proven_dead_is_broken_only_when_told(storage, changes):
    holder = stale(storage, **changes)
    with pytest.raises(DestinationError, match="is held by run killed"):
        Lock(storage, "second").acquire()
    lock = Lock(storage, "second")
    assert lock.acquire(break_lock=True) == holder
    lock.release()
    assert list(storage.files()) == []


def test_a_number_that_another_process_has_by_now_proves_the_first_one_dead(storage):
    stale(storage, pid=os.getppid(), begun="1")
    with hold_lock(storage, "second"):
        pass


def test_a_lock_of_an_earlier_version_is_read_as_it_was_meant(storage):
    """Version 0.1.0 wrote the start of a process in clock ticks, as Linux has it in ``/proc/<pid>/stat``."""
    ticks = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[19]
    stale(storage, pid=os.getppid(), begun=ticks)
    with pytest.raises(DestinationError, match="is held by"):
        Lock(storage, "second").acquire()


def test_an_unreadable_lock_is_somebody_elses(storage):
    storage.write(LOCK, b"\x00")
    with pytest.raises(DestinationError, match="an unknown machine"):
        Lock(storage, "second").acquire()
    with hold_lock(storage, "second", break_lock=True):
        pass
    assert list(storage.files()) == []


def test_a_run_whose_lock_was_broken_gives_up_and_leaves_the_others_alone(storage):
    first, second = Lock(storage, "first"), Lock(storage, "second")
    first.acquire()
    second.acquire(break_lock=True)
    with pytest.raises(StorageError, match="was broken by run second"):
        first.check()
    first.release()
    second.check()
    second.release()
    assert list(storage.files()) == []


def test_a_run_of_this_process_that_could_not_let_go_is_in_nobodys_way(storage):
    lock = Lock(storage, "first")
    lock.acquire()
    data = storage.read(LOCK)
    lock.release()
    storage.write(LOCK, data)
    with hold_lock(storage, "second"):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(3))
def test_two_exports_to_one_path_at_once_have_one_winner(place, tmp_path, round_):
    """With pages of 50 ms both are at work at the same time for a second, whoever starts first."""
    with Sandbox(SandboxOptions(profile="tidy", records=60, page_latency=0.05)) as sandbox:
        export(sandbox, tmp_path / "golden")
        config = write_config(tmp_path, settings(sandbox, place, run={"page_size": 4, "requests": 1}))
        env = environment(sandbox, **place.environment)
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "pipeline", "run", config], env=env, cwd=ROOT,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )
            for _ in range(2)
        ]  # fmt: skip
        told = [process.communicate(timeout=120)[1] for process in processes]
        codes = sorted(process.returncode for process in processes)
        # A process that starts after the other has finished finds a finished export: also exit 0, and nothing is done.
        assert codes in ([0, 5], [0, 0]), told
        if codes == [0, 2]:
            assert any("is held by run" in text for text in told), told
    assert digest(place) == digest(tmp_path / "golden")


def test_a_run_that_was_killed_on_another_machine_goes_on_when_told(tidy, place, tmp_path):
    export(tidy, tmp_path / "golden")
    storage = place.storage()
    stale(storage, host="lost-machine")
    config = write_config(tmp_path, settings(tidy, place))
    env = environment(tidy, **place.environment)
    refused = command("run", config, env=env)
    assert refused.returncode == 5
    assert "on lost-machine), which may still be at work" in refused.stderr
    done = command("run", config, "--break-lock", env=env)
    assert done.returncode == 0, done.stderr
    assert digest(place) == digest(tmp_path / "golden")
    assert storage.entries("_staging") == []
    storage.close()


def test_a_lock_taken_over_while_a_run_is_at_work_stops_it_before_it_publishes(tmp_path):
    with Sandbox(SandboxOptions(profile="tidy", records=60, page_latency=0.2)) as sandbox:
        config = write_config(
            tmp_path, settings(sandbox, tmp_path / "out", run={"page_size": 5, "requests": 1, "shard_size": 5})
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "run", config], env=environment(sandbox), cwd=ROOT,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        storage = Place(str(tmp_path / "out")).storage()
        deadline = time.monotonic() + 60
        while storage.find(LOCK) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        Lock(storage, "intruder").acquire(break_lock=True)
        _, told = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "was broken by run intruder" in told
    assert not (tmp_path / "out/_SUCCESS.json").exists()
