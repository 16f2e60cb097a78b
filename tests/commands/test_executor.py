"""What ``run.executor: auto`` means, as ``plan`` says it and a run does it."""

import threading

import pytest

from exporting import command, digest, environment, export, settings, verify, write_config
from pipeline.commands.forecast import forecast
from pipeline.config.export import ExportConfig
from pipeline.run import run
from pipeline.sandbox import Sandbox, SandboxOptions
from stores import environment_of


@pytest.fixture(scope="module")
def many():
    with Sandbox(SandboxOptions(profile="bench", records=3000)) as sandbox:
        yield sandbox


def config(sandbox, path, **more):
    more["run"] = {"executor": "auto", "workers": 2, "shard_size": 250, **more.pop("run", {})}
    return ExportConfig.model_validate(settings(sandbox, path, formats=["coco", "yolo"], **more))


def planned(sandbox, path, variables=(), **more):
    with environment_of({**sandbox.environment(), **dict(variables)}):
        return forecast(config(sandbox, path, **more)).executor


def test_auto_is_what_is_done_first(tidy, many, tmp_path):
    assert planned(tidy, tmp_path / "out") == "serial"
    assert planned(many, tmp_path / "out") == "processes"
    assert planned(many, tmp_path / "out", run={"workers": 1}) == "serial"
    assert planned(many, "memory://auto") == "serial"
    assert planned(tidy, tmp_path / "out", run={"address": "127.0.0.1:6379"}) == "ray"
    assert planned(tidy, tmp_path / "out", {"RAY_ADDRESS": "127.0.0.1:6379"}) == "ray"
    assert planned(many, tmp_path / "out", {"RAY_ADDRESS": "local"}) == "processes"


@pytest.mark.parametrize("named", ["serial", "processes", "ray"])
def test_an_executor_that_is_named_is_used_whatever_there_is(tidy, tmp_path, named):
    assert planned(tidy, tmp_path / "out", {"RAY_ADDRESS": "127.0.0.1:6379"}, run={"executor": named}) == named


class Heard:
    def __init__(self):
        self.messages = []

    def update(self, tally):
        pass

    def finish(self, tally):
        pass

    def message(self, text):
        self.messages.append(text)

    def close(self):
        pass


def test_a_large_export_runs_in_processes_to_the_bytes_of_one(many, tmp_path):
    heard = Heard()
    more = {"save_original_file": False}
    with environment_of(many.environment()):
        result = run(config(many, tmp_path / "auto", **more), listener=heard)
    assert "2 processes on this machine" in heard.messages
    assert result.success.ledger.records.written == 3000
    export(many, tmp_path / "serial", formats=["coco", "yolo"], run={"shard_size": 1000}, **more)
    assert digest(tmp_path / "auto") == digest(tmp_path / "serial")
    verify(tmp_path / "auto", full=True)


def test_a_cluster_that_is_not_there_ends_the_run_before_anything_is_written(tidy, tmp_path):
    values = settings(tidy, tmp_path / "out", run={"executor": "auto"})
    done = command("run", write_config(tmp_path, values), env=environment(tidy, RAY_ADDRESS="127.0.0.1:1"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot start Ray at 127.0.0.1:1: ")
    assert not list(tmp_path.glob("out/**/*"))


def test_an_export_in_processes_may_be_called_without_a_guard_around_the_main_program(tidy, tmp_path):
    """The processes do not import the program that started them; two exports at once do not meet either."""
    results = []

    def work(name):
        results.append(run(config(tidy, tmp_path / name, run={"executor": "processes", "shard_size": 20})))

    with environment_of(tidy.environment()):
        threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 2
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
