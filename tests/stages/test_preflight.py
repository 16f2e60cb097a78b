"""Several raylets: all of them work, and what one of them lacks is found before work starts."""

import contextlib
import json
import subprocess
import sys
from contextlib import contextmanager
from importlib.metadata import distributions

import psutil
import pytest

from exporting import ROOT, command, digest, environment, export, settings, summary, undisturbed, write_config
from heads import LOCAL
from pipeline.errors import ConfigError
from pipeline.executors.base import SerialExecutor
from pipeline.executors.ray_job import submitted_job
from pipeline.sandbox import Sandbox, SandboxOptions
from pipeline.stages.preflight import check_job_paths, settle_paths

ON_RAY = [pytest.mark.ray, pytest.mark.slow]
pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.timeout(400)]

# A format that writes nothing into the export, and says beside it where it was asked to.
WITNESS = """
import ray
from pathlib import Path

class Witness:
    name = "witness"
    needs_payload = False
    def render(self, sample, catalog):
        Path({folder!r}, ray.get_runtime_context().get_node_id()).touch()
        return ()
    def manifests(self, catalog):
        return ()
"""


# The package may not be installed (scripts/test-oldest-ray): every process is told where it is.
WITH_PACKAGE = {"PYTHONPATH": str(ROOT)}
IS_INSTALLED = any(found.name == "synapse-export" for found in distributions())


@contextmanager
def raylets(number, folder, **variables):
    """The address of a cluster of so many raylets, whose workers start in ``folder``."""
    process = subprocess.Popen(
        [sys.executable, ROOT / "tests/raylets.py", str(number)], env=environment(**LOCAL, **variables), cwd=folder,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        address = process.stdout.readline().strip()
        assert address, "the cluster did not start"
        yield address
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        process.stdin.close()
        process.stdout.close()
        process.wait(timeout=60)
        for child in psutil.wait_procs(children, timeout=10)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(SandboxOptions(profile="nasty", records=120, payload="mixed", blob_latency=0.05)) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def cluster(request, sandbox, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    with raylets(request.param, folder, **WITH_PACKAGE, **sandbox.environment()) as address:
        yield request.param, address


def test_paths_of_a_submitted_job_must_not_be_in_its_own_folder(tidy, tmp_path, monkeypatch):
    from pipeline.config.export import ExportConfig  # noqa: PLC0415

    def config(**more):
        return ExportConfig.model_validate(settings(tidy, tmp_path) | more)

    assert submitted_job() == ""
    assert settle_paths(config(path="here")).path.endswith("/here")
    assert settle_paths(config(path="s3://bucket/here")).path == "s3://bucket/here"
    assert settle_paths(config(path="here", storage=11)).path == "here"
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"metadata": {"job_submission_id": "raysubmit_1"}}))
    assert submitted_job() == "raysubmit_1"
    assert settle_paths(config(path="here", storage=11)).path == "here"
    for wrong in ({"path": "here"}, {"classes": {"lock": "lock.json"}}):
        with pytest.raises(ConfigError, match="is relative, and a job's folder is a copy"):
            settle_paths(config(**wrong))
    check_job_paths(config(classes={"lock": "s3://bucket/lock.json"}))
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "no JSON")
    assert submitted_job() == ""


@pytest.mark.parametrize("requests", [1, 3, 32])
def test_the_bound_on_requests_holds_for_any_number_of_workers(tidy, tmp_path, monkeypatch, requests):
    """Requests of a worker times workers at once; the write stage copies nothing here."""
    asked = []

    class Many(SerialExecutor):
        workers = 256

        def map(self, function, shared, inputs, *, at_most=None, careful=None, **more):
            inputs = list(inputs)
            if function.__name__ == "extract_shard":
                asked.append((at_most, shared.settings.requests, len(inputs)))
            return super().map(function, shared, inputs, at_most=at_most, careful=careful, **more)

    monkeypatch.setattr("pipeline.commands.executor.SerialExecutor", Many)
    export(tidy, tmp_path / "out", save_original_file=False, run={"requests": requests, "shard_size": 6})
    ((at_once, each, shards),) = asked
    assert shards == 10
    assert 1 <= at_once * each <= requests
    assert at_once == min(requests, shards)


@pytest.fixture
def golden(sandbox, tmp_path_factory):
    return undisturbed(sandbox, tmp_path_factory, max_failures="100%", run={"shard_size": 1000})


@pytest.mark.parametrize("cluster", [pytest.param(number, marks=ON_RAY) for number in (2, 3)], indirect=True)
class TestSeveralMachines:
    def run(self, sandbox, address, folder, **overrides):
        run = {"executor": "ray", "shard_size": 5, "address": address, **overrides.pop("run", {})}
        values = settings(sandbox, overrides.pop("path", folder / "out"), max_failures="100%", run=run, **overrides)
        env = environment(sandbox, **LOCAL, **WITH_PACKAGE)
        return command("run", write_config(folder, values), env=env, timeout=240, cwd=folder)

    def test_all_of_them_work_on_a_path_that_all_of_them_share(self, cluster, sandbox, golden, tmp_path):
        number, address = cluster
        (tmp_path / "seen").mkdir()
        (tmp_path / "witness.py").write_text(WITNESS.format(folder=str(tmp_path / "seen")))
        done = self.run(sandbox, address, tmp_path, formats=["coco", "yolo", "synapse_json"])
        assert done.returncode == 0, done.stderr
        assert f"{number} machines, {number} CPUs, up to {number} shards at once" in done.stdout
        assert digest(tmp_path / "out") == golden
        # What is staged stays for a retry, because the data is nasty; probes, temporary files and locks do not.
        assert not list((tmp_path / "out").glob("_staging/tmp/*"))
        assert not list((tmp_path / "out").glob("_staging/locks/*"))

        watched = self.run(sandbox, address, tmp_path, formats=["witness:Witness"], path=tmp_path / "watched")
        assert watched.returncode == 0, watched.stderr
        assert len(list((tmp_path / "seen").iterdir())) == number

    def test_a_storage_by_its_id_works(self, cluster, sandbox, golden, tmp_path):
        number, address = cluster
        done = self.run(sandbox, address, tmp_path, path=f"exports/{number}", storage=sandbox.storage_id)
        assert done.returncode == 0, done.stderr
        assert digest(sandbox.storage_location / f"exports/{number}") == golden

    def test_a_path_that_is_not_shared_is_refused_by_the_machine_that_does_not_see_it(self, cluster, sandbox, tmp_path):
        """``/proc/self/cwd`` is another folder in every process: the nearest one machine has to disks of several."""
        _, address = cluster
        path = "/proc/self/cwd/exports"
        done = self.run(sandbox, address, tmp_path, path=path)
        assert done.returncode == 2, done.stdout + done.stderr
        assert f"{path}: is not one place for all machines: machine " in done.stderr
        assert "does not see what the driver wrote there; use a storage URL" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert [entry.name for entry in tmp_path.iterdir()] == ["config.yaml"]

    def test_a_machine_that_would_ask_another_server_is_refused(self, cluster, sandbox, tidy, tmp_path):
        _, address = cluster
        done = self.run(tidy, address, tmp_path)
        assert done.returncode == 2
        assert (
            f"would ask {sandbox.url}, the driver {tidy.url}; SYNAPSE_HOST must be the same everywhere" in done.stderr
        )
        assert not (tmp_path / "out").exists()

    def test_memory_bounds_the_shards_at_once(self, cluster, sandbox, golden, tmp_path):
        """The first machine has 2 GB, the others 1 GB; what fits nowhere is refused instead of waited for."""
        number, address = cluster
        done = self.run(sandbox, address, tmp_path, run={"memory_mb": 1500})
        assert done.returncode == 0, done.stderr
        assert f"{number} machines, {number} CPUs, up to 1 shard at once" in done.stdout
        assert digest(tmp_path / "out") == golden
        done = self.run(sandbox, address, tmp_path, path=tmp_path / "none", run={"memory_mb": 2500})
        assert done.returncode == 2
        assert "run.memory_mb: no machine has a free CPU and 2500 MB (the largest has 2000 MB)" in done.stderr
        assert not (tmp_path / "none").exists()


@pytest.mark.ray
@pytest.mark.slow
def test_a_machine_without_credentials_is_refused_by_name(sandbox, tmp_path):
    (tmp_path / "home").mkdir()
    with raylets(2, tmp_path, **WITH_PACKAGE, HOME=str(tmp_path / "home")) as address:
        run = {"executor": "ray", "shard_size": 5, "address": address}
        config = write_config(tmp_path, settings(sandbox, tmp_path / "out", run=run))
        done = command("run", config, env=environment(sandbox, **LOCAL), timeout=240)
    assert done.returncode == 2
    assert "error: machine " in done.stderr
    assert "no Synapse access token; set SYNAPSE_ACCESS_TOKEN or run 'synapse login'" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.skipif(IS_INSTALLED, reason="the package is installed here; scripts/test-oldest-ray runs without it")
def test_a_machine_without_the_package_is_refused_by_name(sandbox, tmp_path):
    with raylets(2, tmp_path, **sandbox.environment()) as address:
        run = {"executor": "ray", "shard_size": 5, "address": address}
        config = write_config(tmp_path, settings(sandbox, tmp_path / "out", run=run))
        env = environment(sandbox, **LOCAL, **WITH_PACKAGE)
        done = command("run", config, env=env, timeout=240, cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot run this package: ModuleNotFoundError: No module named 'pipeline'" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("by", ["url", "id"])
def test_an_object_store_is_one_place_for_all_machines(sandbox, golden, s3_server, proxy, tmp_path, by):
    """By its URL with keys that every machine has in its environment, and by the id of a storage of Synapse."""
    place = s3_server.place()
    run = {"executor": "ray", "shard_size": 5}
    with raylets(2, tmp_path, **WITH_PACKAGE, **sandbox.environment(), **place.environment) as address:
        values = settings(sandbox, place, max_failures="100%", run={**run, "address": address})
        if by == "id":
            sandbox.set_storage(lambda: proxy.session(60.0))
            values = {
                **values,
                "storage": sandbox.storage_id,
                "path": f"exports/{tmp_path.name}",
                "storage_options": {},
            }
        env = environment(sandbox, place, **LOCAL, **WITH_PACKAGE)
        done = command("run", write_config(tmp_path, values), env=env, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "2 machines, 2 CPUs, up to 2 shards at once" in done.stdout
    assert digest(place if by == "url" else s3_server.place(f"exports/{tmp_path.name}")) == golden


def test_the_summary_says_which_job_it_was(tidy, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"metadata": {"job_submission_id": "raysubmit_2"}}))
    export(tidy, tmp_path / "out")
    assert summary(tmp_path / "out")["job"] == "raysubmit_2"
