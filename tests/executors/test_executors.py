"""Serial and Ray behave alike: every input once, transient errors retried, others end the run."""

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from pipeline.errors import BackendError, PreflightError, TransientError
from pipeline.executors import base as executors
from pipeline.executors.base import RETRIES, SerialExecutor
from pipeline.executors.ray import RayExecutor
from pipeline.model.backoff import Backoff

pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture(scope="module")
def ray_executor():
    with RayExecutor(workers=2) as executor:
        yield executor


@pytest.fixture(params=["serial", pytest.param("ray", marks=pytest.mark.ray)])
def executor(request, monkeypatch):
    monkeypatch.setattr(executors, "RETRIES", Backoff(executors.RETRIES.attempts, first=0.01))
    return SerialExecutor() if request.param == "serial" else request.getfixturevalue("ray_executor")


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


@pytest.mark.ray
def test_a_killed_worker_is_replaced(ray_executor, tmp_path):
    assert sorted(ray_executor.map(die_at_first, str(tmp_path), range(5))) == list(range(5))


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
