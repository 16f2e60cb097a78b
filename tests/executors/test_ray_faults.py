"""Workers, machines and whole clusters that die, hang or come back: the run ends, and its bytes are the same."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from exporting import ROOT, command, digest, environment, export, settings, summary, verify, write_config
from heads import LOCAL
from pipeline.errors import ExportError, FailureLimitError, TransientError
from pipeline.executors.base import CAREFUL_LOSSES, PLAIN_LOSSES, RETRIES, SerialExecutor
from pipeline.model.shards import unpack_keys
from pipeline.sandbox import Sandbox, SandboxOptions
from pipeline.synapse import extractor
from pipeline.synapse.source import Source
from stores import environment_of
from tests.stages.test_preflight import raylets

ON_RAY = [pytest.mark.ray, pytest.mark.slow]
EITHER = [pytest.param("processes", marks=pytest.mark.slow), pytest.param("ray", marks=ON_RAY)]
pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.timeout(400)]

# A format that writes nothing and does something to its own process at one record: as often as there is a file for it.
TROUBLE = """
import contextlib, os, signal, time
from pathlib import Path

class Trouble:
    name = "trouble"
    needs_payload = False
    def render(self, sample, catalog):
        if sample.sample.record_id == {record}:
            for left in sorted(Path({folder!r}).glob("trouble-*")):
                with contextlib.suppress(FileNotFoundError):
                    left.rename(left.with_name(f"done-{{left.name}}-{{os.getpid()}}"))
                    {action}
                    break
        return ()
    def manifests(self, catalog):
        return ()
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
STOP = "os.kill(os.getpid(), signal.SIGSTOP)"
HANG = "time.sleep(1000)"
EAT = "hoard = [(b'1' * 10**8, time.sleep(0.05)) for _ in range(100)]"
HEADROOM = 2.5e9


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(SandboxOptions(profile="tidy", records=60, payload="presigned", blob_latency=0.02)) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def victim(sandbox):
    """A record in the middle."""
    return sorted(record.key for record in sandbox.truth("task"))[31]


@pytest.fixture(scope="module")
def golden(sandbox, victim, tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    config = trouble(sandbox, folder, victim, "pass", 0, run={"executor": "serial"})
    done = command("run", config, env=environment(sandbox, PYTHONPATH=str(ROOT)), cwd=folder)
    assert done.returncode == 0, done.stderr
    return digest(folder / "out")


def trouble(sandbox, folder, record, action, times, **more):
    """The path of a configuration with a format that gets its process into trouble so many times."""
    (folder / "trouble_format.py").write_text(TROUBLE.format(record=record, folder=str(folder), action=action))
    for number in range(times):
        (folder / f"trouble-{number:03}").touch()
    more["run"] = {"executor": "ray", "shard_size": 5, "workers": 2, **more.get("run", {})}
    formats = ["coco", "yolo", "trouble_format:Trouble"]
    return write_config(folder, settings(sandbox, folder / "out", formats=formats, **more))


def start(config, sandbox, program=("-m", "pipeline"), **more):
    return subprocess.Popen(
        [sys.executable, *program, "run", config], env=environment(sandbox, **LOCAL, PYTHONPATH=str(ROOT), **more),
        cwd=config.parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def through(folder, stage):
    return list(folder.glob(f"out/_staging/*/{stage}/*.json"))


def began(folder):
    """Process ids of the workers that got into trouble, in order."""
    return [int(path.name.rpartition("-")[2]) for path in sorted(folder.glob("done-*"))]


def cluster_processes():
    """What the cluster of this test (tests/raylets.py, a child of this process) consists of."""
    (head,) = [p for p in psutil.Process().children() if any("raylets.py" in word for word in p.cmdline())]
    return head.children(recursive=True)


def kill(processes):
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def at_a_shard(raylet):
    """A raylet's processes, while one of them works on a shard; else nothing."""
    with contextlib.suppress(psutil.NoSuchProcess):
        children = raylet.children(recursive=True)
        if any("_shard" in (child.cmdline() or [""])[0] for child in children):
            return [raylet, *children]
    return []


@pytest.mark.parametrize("stage", [pytest.param(stage, marks=ON_RAY) for stage in ("extract", "render")])
def test_a_machine_that_dies_with_its_workers_is_done_without(sandbox, golden, victim, tmp_path, stage):
    with raylets(3, tmp_path, **sandbox.environment()) as address:
        run = {"address": address, "workers": 3, "memory_mb": 0}
        process = start(trouble(sandbox, tmp_path, victim, "pass", 0, run=run), sandbox)
        wait_for(lambda: through(tmp_path, stage), process)
        last = [p for p in cluster_processes() if p.name() == "raylet"][-1]
        lost = wait_for(lambda: at_a_shard(last), process)
        kill(lost)
        _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert digest(tmp_path / "out") == golden
    verify(tmp_path / "out", full=True)


@pytest.mark.parametrize("how", [pytest.param(how, marks=ON_RAY) for how in (HANG, STOP)], ids=["hangs", "is stopped"])
def test_a_task_that_takes_too_long_is_given_up_and_its_late_end_is_harmless(sandbox, golden, victim, tmp_path, how):
    with raylets(2, tmp_path, **sandbox.environment()) as address:
        run = {"address": address, "memory_mb": 0, "shard_timeout": 8}
        process = start(trouble(sandbox, tmp_path, victim, how, 1, run=run), sandbox)
        (worker,) = wait_for(lambda: began(tmp_path), process)
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
        assert "it took more than 8 seconds (run.shard_timeout)" in errors
        assert digest(tmp_path / "out") == golden
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):  # the one that hangs has been killed
            zombie = psutil.Process(worker)
            assert how == STOP
            assert zombie.status() == psutil.STATUS_STOPPED
            os.kill(worker, signal.SIGCONT)
            psutil.wait_procs([zombie], timeout=10)
    assert digest(tmp_path / "out") == golden
    verify(tmp_path / "out", full=True)


@pytest.mark.slow
@pytest.mark.parametrize("how", [HANG, STOP], ids=["hangs", "is stopped"])
def test_a_process_that_takes_too_long_is_killed_and_its_shards_are_done_again(sandbox, golden, victim, tmp_path, how):
    run = {"executor": "processes", "shard_timeout": 8}
    process = start(trouble(sandbox, tmp_path, victim, how, 1, run=run), sandbox)
    (worker,) = wait_for(lambda: began(tmp_path), process)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert "it took more than 8 seconds (run.shard_timeout)" in errors
    assert not psutil.pid_exists(worker)
    assert digest(tmp_path / "out") == golden
    verify(tmp_path / "out", full=True)


@pytest.mark.parametrize("keep_staging", [True, False])
def test_whatever_is_done_a_second_time_after_the_end_changes_nothing(sandbox, tmp_path, monkeypatch, keep_staging):
    """The worst zombie: every task of a finished export runs again, to its end where its inputs are still there."""
    calls = []

    class Recorder(SerialExecutor):
        def map(self, function, shared, inputs, **more):
            for item in inputs:
                calls.append((function, shared, item))
                yield function(shared, item)

    monkeypatch.setattr("pipeline.commands.executor.SerialExecutor", Recorder)
    export(sandbox, tmp_path / "out", run={"shard_size": 10, "keep_staging": keep_staging})
    before = digest(tmp_path / "out")
    assert len(calls) > 12
    if not keep_staging:  # nor does the zombie begin anew: it was in the middle, and its inputs are gone
        calls = [call for call in calls if call[0].__name__ != "extract_shard"]
    ended = 0
    with environment_of(sandbox.environment()):
        for function, shared, item in calls:
            with contextlib.suppress(ExportError, OSError):
                function(shared, item)
                ended += 1
    assert ended == len(calls) if keep_staging else ended < len(calls)
    assert digest(tmp_path / "out") == before
    verify(tmp_path / "out", full=True)
    assert export(sandbox, tmp_path / "out", run={"keep_staging": False}).already_finished


@pytest.mark.parametrize("executor", EITHER)
def test_workers_killed_twice_over_the_same_record_cost_nothing(sandbox, golden, victim, tmp_path, executor):
    """As when a machine runs out of memory and its neighbours are to blame: Ray and Linux kill with SIGKILL then."""
    config = trouble(sandbox, tmp_path, victim, KILL, PLAIN_LOSSES + 1, run={"executor": executor})
    process = start(config, sandbox)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert len(set(began(tmp_path))) == PLAIN_LOSSES + 1
    assert digest(tmp_path / "out") == golden


@pytest.mark.ray
@pytest.mark.slow
def test_a_task_that_eats_the_memory_of_its_machine_is_killed_and_tried_again(sandbox, golden, victim, tmp_path):
    """By Ray's own memory monitor, which is told that the machine is full at a little more than what is used now."""
    memory = psutil.virtual_memory()
    if memory.available < 2 * HEADROOM:
        pytest.skip("too little memory is free to eat some of it")
    full = (memory.total - memory.available + HEADROOM) / memory.total
    watched = {"RAY_memory_usage_threshold": f"{full:.4f}", "RAY_memory_monitor_refresh_ms": "100"}
    process = start(trouble(sandbox, tmp_path, victim, EAT, PLAIN_LOSSES), sandbox, **watched)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert "running low on memory" in errors
    assert len(began(tmp_path)) == PLAIN_LOSSES
    assert digest(tmp_path / "out") == golden


@pytest.mark.parametrize("executor", EITHER)
def test_a_record_that_always_kills_its_worker_fails_alone(sandbox, victim, tmp_path, executor):
    config = trouble(sandbox, tmp_path, victim, KILL, 100, max_failures=1, run={"executor": executor})
    process = start(config, sandbox)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert len(began(tmp_path)) == PLAIN_LOSSES + 2
    told = summary(tmp_path / "out")
    books = told["formats"]["trouble"]["samples"]
    assert books["failed"] == {"WORKER_LOST": 1}
    assert books["seen"] == 60 == books["written"] + 1
    failures = [json.loads(line) for line in (tmp_path / "out/metadata/failures.jsonl").read_text().splitlines()]
    assert [failure["record_id"] for failure in failures] == [victim]


def out_of_memory(monkeypatch, victim, times):
    """Converting one record's document runs out of memory so many times; a list of when."""
    extract, build, seen, at_once = Source.extract_each, extractor.build_samples, [], []

    def extract_each(source, shard, *arguments, **options):
        at_once.append(len(unpack_keys(shard.keys)))
        return extract(source, shard, *arguments, **options)

    def build_samples(record_id, *arguments):
        if record_id == victim and len(seen) < times:
            seen.append(at_once[-1])
            raise MemoryError
        return build(record_id, *arguments)

    monkeypatch.setattr(Source, "extract_each", extract_each)
    monkeypatch.setattr(extractor, "build_samples", build_samples)
    return seen


@pytest.mark.parametrize("times", [1, PLAIN_LOSSES + 1, 100])
def test_a_record_too_large_for_memory_is_tried_alone_and_then_fails_alone(
    sandbox, victim, tmp_path, monkeypatch, times
):
    export(sandbox, tmp_path / "golden")
    seen = out_of_memory(monkeypatch, victim, times)
    result = export(sandbox, tmp_path / "out", max_failures=1)
    assert seen == ([20] * PLAIN_LOSSES + [1, 1])[:times]  # records at once
    if times == 100:
        assert result.summary["records"]["failed"] == {"WORKER_LOST": 1}
        assert result.summary["records"]["written"] == 59
    else:
        assert digest(tmp_path / "out") == digest(tmp_path / "golden")


def test_the_next_run_tries_it_again(sandbox, victim, tmp_path, monkeypatch):
    export(sandbox, tmp_path / "golden")
    seen = out_of_memory(monkeypatch, victim, PLAIN_LOSSES + 2)
    with pytest.raises(FailureLimitError, match="WORKER_LOST"):
        export(sandbox, tmp_path / "out")
    assert len(seen) == PLAIN_LOSSES + 2
    export(sandbox, tmp_path / "out")
    assert digest(tmp_path / "out") == digest(tmp_path / "golden")


def test_losses_have_an_end():
    from pipeline.executors.base import Trial  # noqa: PLC0415

    for careful, most in ((False, RETRIES.attempts - 1), (True, CAREFUL_LOSSES)):
        trial = Trial("work", can_be_careful=careful)
        for number in range(most):
            assert trial.is_careful == (careful and number >= PLAIN_LOSSES)
            trial.count_loss("killed")
        with pytest.raises(TransientError, match=rf"a worker was lost: {most + 1} times on the same work, .* killed"):
            trial.count_loss("killed")


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_that_dies_ends_the_run_with_one_line_and_another_one_continues_it(sandbox, golden, victim, tmp_path):
    config = trouble(sandbox, tmp_path, victim, "pass", 0, run={"memory_mb": 0})
    soon = (
        "import sys, pipeline.executors.ray_cluster as t; t.HEAD_SECONDS = 3.0; "
        "from pipeline.cli import main; sys.exit(main())"
    )
    with raylets(2, tmp_path, **sandbox.environment()) as address:
        process = start(config, sandbox, ("-c", soon), RAY_ADDRESS=address)
        wait_for(lambda: len(through(tmp_path, "extract")) >= 3, process)
        kill(cluster_processes())
        _, errors = process.communicate(timeout=200)
    assert process.returncode == 1, errors
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert lines == [
        f"error: the Ray cluster at {address} is gone: run the same command again, on any cluster, to continue"
    ]
    before = {path.name: path.stat().st_mtime_ns for path in through(tmp_path, "extract")}
    assert len(before) >= 3
    assert not (tmp_path / "out/_SUCCESS.json").exists()
    with raylets(1, tmp_path, **sandbox.environment()) as address:
        run = ("--set", "run.keep_staging=true")
        variables = {**LOCAL, "RAY_ADDRESS": address, "PYTHONPATH": str(ROOT)}
        again = command("run", config, *run, env=environment(sandbox, **variables), cwd=tmp_path, timeout=240)
    assert again.returncode == 0, again.stderr
    assert digest(tmp_path / "out") == golden
    after = {path.name: path.stat().st_mtime_ns for path in through(tmp_path, "extract")}
    assert {name: after[name] for name in before} == before
