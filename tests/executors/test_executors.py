"""All executors behave alike: every input once, transient errors retried, others end the run."""

import os
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from pipeline.errors import BackendError, PreflightError, TransientError
from pipeline.executors import base as executors
from pipeline.executors.base import RETRIES, SerialExecutor
from pipeline.executors.processes import ProcessExecutor
from pipeline.executors.ray import RayExecutor
from pipeline.model.backoff import Backoff

pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture(scope="module")
def ray_executor():
    with RayExecutor(workers=2) as executor:
        yield executor


@pytest.fixture(scope="module")
def process_executor():
    with ProcessExecutor(workers=2) as executor:
        yield executor


@pytest.fixture(params=["serial", "process", pytest.param("ray", marks=pytest.mark.ray)])
def executor(request, monkeypatch):
    monkeypatch.setattr(executors, "RETRIES", Backoff(executors.RETRIES.attempts, first=0.01))
    return SerialExecutor() if request.param == "serial" else request.getfixturevalue(f"{request.param}_executor")


@pytest.fixture(params=["process", pytest.param("ray", marks=pytest.mark.ray)])
def parallel_executor(request):
    return request.getfixturevalue(f"{request.param}_executor")


@pytest.fixture(params=[1, 3])
def lanes(request):
    return request.param


def square(shared, item):
    return shared + item * item


def record_call(folder, name):
    Path(folder, f"{name}-{uuid.uuid4().hex}").touch()
    return len(list(Path(folder).glob(f"{name}-*")))


def fail_at_first(folder, item):
    if record_call(folder, item) == 1 and item % 5 == 0:
        raise TransientError("try", f"item {item}")
    return item


def always_transient(folder, item):
    record_call(folder, item)
    raise TransientError("never", "works")


def final_error(folder, item):
    record_call(folder, item)
    if item == 3:
        raise BackendError("https://api", "no such project")
    return item


def die_at_first(folder, item):
    if record_call(folder, item) == 1 and item == 2:
        os._exit(9)
    return item


def in_flight(folder, item):
    marker = Path(folder, f"running-{item}")
    marker.touch()
    running = len(list(Path(folder).glob("running-*")))
    time.sleep(0.05)
    marker.unlink()
    return running


def test_every_input_gives_exactly_one_result(executor):
    assert sorted(executor.map(square, 100, range(57))) == [100 + n * n for n in range(57)]


def test_no_inputs_give_no_results(executor):
    assert list(executor.map(square, 0, [])) == []


def test_a_transient_error_is_tried_again(executor, tmp_path):
    assert sorted(executor.map(fail_at_first, str(tmp_path), range(12))) == list(range(12))


def test_a_transient_error_that_stays_ends_the_run_as_itself(executor, tmp_path):
    with pytest.raises(TransientError, match="never: works"):
        list(executor.map(always_transient, str(tmp_path), [1]))
    assert len(list(tmp_path.glob("1-*"))) == RETRIES.attempts


def test_a_final_error_is_not_tried_again_and_keeps_its_type(executor, tmp_path):
    with pytest.raises(BackendError, match="no such project"):
        list(executor.map(final_error, str(tmp_path), range(5)))
    assert len(list(tmp_path.glob("3-*"))) == 1


def test_inputs_are_taken_only_as_there_is_room(executor):
    taken = []

    def inputs():
        for n in range(50):
            taken.append(n)
            yield n

    results = executor.map(square, 0, inputs())
    next(results)
    assert len(taken) <= 2 * executor.workers + 1
    results.close()


def test_no_more_than_the_workers_run_at_once(executor, tmp_path):
    assert max(executor.map(in_flight, str(tmp_path), range(12))) <= executor.workers


def test_a_killed_worker_is_replaced(parallel_executor, tmp_path, lanes):
    assert sorted(parallel_executor.map(die_at_first, str(tmp_path), range(5), lanes=lanes)) == list(range(5))


def always_die(folder, item):
    record_call(folder, item)
    if item == 2:
        os._exit(9)
    return item


def test_an_input_that_workers_always_die_of_ends_the_run_with_one_line(parallel_executor, tmp_path, lanes):
    with pytest.raises(TransientError, match="a worker was lost: 4 times on the same work") as caught:
        list(parallel_executor.map(always_die, str(tmp_path), range(5), lanes=lanes))
    assert "\n" not in str(caught.value)


def die_unless_careful(shared, item):
    if item == 2 and shared == "plain":
        os._exit(9)
    return shared, item


def test_careful_attempts_follow_two_lost_workers_and_the_others_are_spared(parallel_executor, lanes):
    found = dict.fromkeys(range(12))
    for shared, item in parallel_executor.map(die_unless_careful, "plain", range(12), careful="careful", lanes=lanes):
        found[item] = shared
    assert found[2] == "careful"
    assert None not in found.values()
    assert list(found.values()).count("careful") <= lanes


def hang_at_first(folder, item):
    if record_call(folder, item) == 1 and item == 1:
        time.sleep(60)
    return item


def test_a_process_that_hangs_is_killed_and_its_work_done_again(tmp_path):
    with ProcessExecutor(workers=2, shard_timeout=3) as executor:
        assert sorted(executor.map(hang_at_first, str(tmp_path), range(6), lanes=2)) == list(range(6))


def waits(folder, item):
    marker = Path(folder, f"running-{item}")
    marker.touch()
    deadline = time.monotonic() + 20
    while len(list(Path(folder).glob("running-*"))) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return item


@pytest.mark.parametrize("kind", [SerialExecutor, lambda: ProcessExecutor(workers=1)])
def test_lanes_of_one_process_wait_at_the_same_time(kind, tmp_path):
    with kind() as executor:
        assert sorted(executor.map(waits, str(tmp_path), range(3), lanes=3)) == [0, 1, 2]


def ends_when_told(shared, item):
    if item:
        assert shared.wait(20)
        raise TransientError("nobody", "hears this")
    raise BackendError("https://api", "no such project")


def test_lanes_that_wait_are_interrupted_when_another_ends_the_run():
    told = threading.Event()
    with pytest.raises(BackendError, match="no such project"):
        list(SerialExecutor().map(ends_when_told, told, range(3), lanes=3, interrupt=told.set))


def fail_at_zero(shared, item):
    if item == 0:
        raise BackendError("the API", "said no")


def test_a_lane_that_never_began_is_not_waited_for():
    """The second input waits for the thread of the first, which gets no turn before the run has failed."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5)
    try:
        with pytest.raises(BackendError):
            list(SerialExecutor().map(fail_at_zero, None, range(2), lanes=2, interrupt=lambda: None))
    finally:
        sys.setswitchinterval(before)


def unpicklable_error(shared, item):
    class OwnError(Exception):
        pass

    raise OwnError(f"{shared} {item}")


def test_an_error_that_cannot_be_sent_is_told_as_its_text(process_executor):
    with pytest.raises(RuntimeError, match="OwnError: plain 1"):
        list(process_executor.map(unpicklable_error, "plain", [1]))


def test_a_process_ends_when_its_driver_does(tmp_path):
    code = (
        "import os, sys\nfrom pipeline.executors.processes import ProcessExecutor\n"
        "sys.path.insert(0, sys.argv[1])\nimport test_executors\n"
        "executor = ProcessExecutor(workers=2)\n"
        "pids = list(executor.map(test_executors.process_id, None, range(2)))\n"
        "print(*pids, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    pids = set(map(int, done.stdout.split()))
    assert pids, done.stderr
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def process_id(shared, item):
    return os.getpid()


@pytest.mark.ray
def test_a_cluster_that_is_not_there_is_one_line():
    code = (
        "from pipeline.executors.ray import RayExecutor\n"
        "from pipeline.errors import PreflightError\n"
        "try:\n    RayExecutor('127.0.0.1:1')\n"
        "except PreflightError as error:\n    assert chr(10) not in str(error); print('refused:', error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.startswith("refused: cannot start Ray at 127.0.0.1:1"), done.stderr
    assert PreflightError.exit_code == 2
