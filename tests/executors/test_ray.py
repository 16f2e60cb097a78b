"""With Ray: the same bytes as without, for any number of workers, and after its driver or a worker is killed."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest
import yaml

from exporting import ROOT, command, digest, environment, export, settings, undisturbed, write_config
from pipeline import parse_config, run
from pipeline.commands.verify import verify
from pipeline.sandbox import Sandbox, SandboxOptions
from pipeline.storage import open_storage
from stores import environment_of

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(SandboxOptions(profile="nasty", records=120, payload="mixed", blob_latency=0.02)) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def golden(sandbox, tmp_path_factory):
    return undisturbed(sandbox, tmp_path_factory, max_failures="100%", run={"shard_size": 1000})


def configure(sandbox, tmp_path, **run):
    run = {"executor": "ray", "shard_size": 10, **run}
    return write_config(tmp_path, settings(sandbox, tmp_path / "out", max_failures="100%", run=run))


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_number_of_workers_does_not_change_a_byte(sandbox, golden, tmp_path, workers):
    done = command("run", configure(sandbox, tmp_path, workers=workers), env=environment(sandbox))
    assert done.returncode == 0, done.stderr
    assert digest(tmp_path / "out") == golden
    assert "WARNING" not in done.stderr


def start(config, sandbox):
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", config],
        env=environment(sandbox),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(folder, pattern, process):
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        if list(Path(folder).glob(pattern)):
            return
        time.sleep(0.02)


def end(process):
    """Kill -9 a driver, then whatever it leaves behind; nothing of other sessions is touched."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


@pytest.mark.parametrize("moment", ["extract/000004.json", "render/000003.json"])
def test_a_killed_driver_is_continued_from_what_its_workers_finished(sandbox, golden, tmp_path, moment):
    config = configure(sandbox, tmp_path, workers=2)
    process = start(config, sandbox)
    wait_for(tmp_path, f"out/_staging/*/{moment}", process)
    end(process)
    assert not (tmp_path / "out/_SUCCESS.json").exists()
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("out/_staging/*/extract/*.json")}
    assert before
    again = command("run", config, "--set", "run.keep_staging=true", env=environment(sandbox))
    assert again.returncode == 0, again.stderr
    assert digest(tmp_path / "out") == golden
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("out/_staging/*/extract/*.json")}
    assert {name: after[name] for name in before} == before


def test_killed_workers_are_replaced(sandbox, golden, tmp_path):
    process = start(configure(sandbox, tmp_path, workers=2), sandbox)
    killed = 0
    for moment in ("extract/*.json", "render/*.json"):
        wait_for(tmp_path, f"out/_staging/*/{moment}", process)
        for child in psutil.Process(process.pid).children(recursive=True):
            if "ray::" in " ".join(child.cmdline()[:1]) and "_shard" in " ".join(child.cmdline()):
                os.kill(child.pid, signal.SIGKILL)
                killed += 1
                break
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert killed >= 1
    assert digest(tmp_path / "out") == golden
    verify(open_storage(str(tmp_path / "out")), full=True)


@pytest.mark.parametrize("executor", ["ray", "processes", "serial"])
def test_a_package_of_the_users_own_with_the_same_name_is_not_in_the_way(sandbox, golden, tmp_path, executor):
    """Python and Ray look in the current folder first; the program and its workers use the package they are of."""
    own = tmp_path / "project/pipeline"
    own.mkdir(parents=True)
    (own / "__init__.py").write_text("raise RuntimeError('this is the package of the user')\n")
    config = configure(sandbox, tmp_path, executor=executor, workers=1)
    done = subprocess.run(
        [Path(sys.executable).with_name("synapse-export"), "run", config],
        cwd=own.parent, env=environment(sandbox), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert digest(tmp_path / "out") == golden


def test_no_task_argument_holds_a_secret(sandbox, tmp_path, monkeypatch):
    """Everything that crosses a process border is pickled here, and searched for the token."""
    import pickle  # noqa: PLC0415

    from pipeline.executors.base import SerialExecutor  # noqa: PLC0415

    crossed = []

    class Recorder(SerialExecutor):
        def map(self, function, shared, inputs, **more):
            for item in inputs:
                crossed.append(pickle.dumps((shared, item)))
                yield pickle.loads(pickle.dumps(function(shared, item)))

    monkeypatch.setenv("CANARY_SECRET", "canary-secret")
    monkeypatch.setattr("pipeline.commands.executor.SerialExecutor", Recorder)
    export(sandbox, tmp_path / "out", max_failures="100%", storage_options={"token": "${CANARY_SECRET}"})
    assert len(crossed) > 10
    for data in crossed:
        assert sandbox.token.encode() not in data
        assert b"canary-secret" not in data
        assert b"X-Sig" not in data


@pytest.fixture
def cluster(tmp_path_factory, sandbox):
    """A Ray head of its own on the loopback interface, with the credentials in its environment; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = 20_000 + free.getsockname()[1] % 10_000  # Ray's own workers listen below
    local = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    folder = tempfile.mkdtemp(prefix="head-")
    process = subprocess.Popen(
        [
            Path(sys.executable).with_name("ray"), "start", "--head", "--block", f"--port={port}", "--num-cpus=2",
            "--include-dashboard=false", "--object-store-memory=100000000", f"--temp-dir={folder}",
            "--disable-usage-stats",
        ],
        env=environment(sandbox, **local),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as knock:
            if knock.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.2)
    yield f"127.0.0.1:{port}", local
    children = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    process.wait(timeout=60)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("how", ["configured", "from the environment"])
def test_a_running_cluster_is_joined_and_left_running(sandbox, golden, tmp_path, cluster, how):
    address, local = cluster
    told = {"address": address} if how == "configured" else {}
    more = local if told else {**local, "RAY_ADDRESS": address}
    config = configure(sandbox, tmp_path, **told)
    for name in ("first", "second"):
        done = command("run", config, "--set", f"path={tmp_path / name}", env=environment(sandbox, **more))
        assert done.returncode == 0, done.stderr
        assert digest(tmp_path / name) == golden


def test_two_threads_export_with_ray_at_once(sandbox, golden, tmp_path):
    """They share the connection of the process: the end of the first does not end the second."""
    values = [
        settings(
            sandbox, tmp_path / name, max_failures="100%", run={"executor": "ray", "workers": 2, "shard_size": size}
        )
        for name, size in (("short", 60), ("long", 5))
    ]
    configs = [parse_config(yaml.safe_dump(value)) for value in values]
    trouble = []

    def work(config):
        try:
            run(config)
        except BaseException as error:
            trouble.append(error)
            raise

    with environment_of(sandbox.environment()):
        threads = [threading.Thread(target=work, args=(config,)) for config in configs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(200)
    assert trouble == []
    assert [digest(tmp_path / name) for name in ("short", "long")] == [golden, golden]
