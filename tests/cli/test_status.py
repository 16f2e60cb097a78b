"""``status`` tells from a path alone what a run is doing, how one ended, and what to type next."""

import contextlib
import glob
import json
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import jsonschema
import msgspec
import pytest

from cli.terminal import Terminal, lines
from exporting import ROOT, command, environment, export, settings, storage, write_config
from pipeline.commands.status import State, Status, find_status
from pipeline.destination.heartbeat import PATH, SILENT_RENEWALS, RunStatus
from pipeline.destination.lock import this_process
from pipeline.sandbox import Fault, Sandbox, SandboxOptions
from pipeline.storage import STAGING, local

PAGE = (ROOT / "docs/json.md").read_text()
(SCHEMA,) = (
    schema
    for schema in map(json.loads, re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
    if schema["title"] == "status"
)
LOCK = "_staging/locks/lock.json"


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(SandboxOptions(profile="tidy", records=24)) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def slow():
    """Originals take long enough for a second process to look on."""
    with Sandbox(SandboxOptions(profile="tidy", records=40, blob_latency=0.4)) as sandbox:
        yield sandbox


def configured(sandbox, folder, **overrides):
    return write_config(folder, settings(sandbox, folder / "out", formats=["coco"], **overrides))


def status_of(place, *options, env=None):
    done = command("status", place, *options, env=env or environment())
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def as_json(place):
    """What ``--json`` prints, which always is as docs/json.md says."""
    found = json.loads(status_of(place, "--json"))
    jsonschema.validate(found, SCHEMA, cls=jsonschema.Draft202012Validator)
    return found


def wait_for(pattern, process):
    deadline = time.monotonic() + 60
    while not glob.glob(str(pattern)):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextlib.contextmanager
def at_work(sandbox, folder):
    """A run that has given its first sign of life, and its configuration. It ends well."""
    config = configured(sandbox, folder, run={"requests": 2, "shard_size": 40})
    run = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", config], env=environment(sandbox), cwd=ROOT, stdout=subprocess.DEVNULL
    )
    try:
        wait_for(folder / "out" / PATH, run)
        yield run, config
    finally:
        assert run.wait(120) == 0


def killed(sandbox, folder, when, pattern, **overrides):
    """A run that was killed at a write; returns its configuration."""
    config = configured(sandbox, folder, **overrides)
    done = subprocess.run(
        [sys.executable, ROOT / "tests/killer.py", when, pattern, "1", "run", config],
        env=environment(sandbox), cwd=ROOT, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    return config


def test_a_path_with_nothing_says_so_and_how_to_begin(tmp_path):
    told = status_of(tmp_path / "out").splitlines()
    assert told[0] == f"{tmp_path / 'out'}: no run is at work here, and there is no finished export"
    assert told[1].endswith(" run CONFIG")
    assert not (tmp_path / "out").exists()
    assert as_json(tmp_path / "out")["state"] == "nothing"


def test_a_finished_export_says_so_and_nothing_of_the_run_is_left(sandbox, tmp_path):
    result = export(sandbox, tmp_path / "out", formats=["coco"])
    assert storage(tmp_path / "out").entries("_staging") == []
    told = status_of(tmp_path / "out")
    assert "the export is complete" in told
    assert f"run {result.success.run_id} finished" in told
    assert "24 records" in told
    assert told.splitlines()[-1].endswith(f" verify {tmp_path / 'out'} --full")
    found = as_json(tmp_path / "out")
    assert (found["state"], found["run"], found["holder"]) == ("finished", None, None)
    assert found["verdict"]["content"] == result.success.content


def test_a_run_at_work_is_watched_from_another_process_to_its_end(slow, tmp_path):
    with at_work(slow, tmp_path) as (run, _):
        watched = command("status", tmp_path / "out", "--watch", "--json", env=environment())
    assert watched.returncode == 0, watched.stderr
    seen = [msgspec.json.decode(line, type=Status) for line in watched.stdout.splitlines()]
    assert len(seen) > 2
    assert {one.state for one in seen[:-1]} == {State.RUNNING}
    assert seen[-1].state is State.FINISHED
    looks = [one for one in seen if one.run]
    assert {one.run.pid for one in looks} == {run.pid}
    renders = [stage for one in looks for stage in one.run.progress.stages if stage.stage == "render" and stage.done]
    assert {stage.total for stage in renders} == {40}
    assert 0 < renders[0].done <= renders[-1].done <= 40
    assert any(one.run.progress.to_go is not None for one in looks)
    assert all(one.holder and one.holder.run_id == one.run.run_id for one in looks)


def test_a_run_at_work_is_drawn_on_a_terminal_until_it_ends(slow, tmp_path):
    with at_work(slow, tmp_path) as (_, config):
        terminal = Terminal("status", config, "--watch", env=environment(slow), columns=80)
        assert terminal.end() == 0, terminal.text
    shown = lines(terminal.text)
    assert any("last sign of life" in line for line in shown)
    assert any(line.split()[:1] == ["render"] and "of 40" in line for line in shown)
    assert any("the export is complete" in line for line in shown)


def test_ctrl_c_ends_the_watch_and_not_the_run(slow, tmp_path):
    with at_work(slow, tmp_path) as (_, config):
        terminal = Terminal("status", config, "--watch", env=environment(slow))
        terminal.read("a run is at work")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 130
        assert "Traceback" not in terminal.text


@pytest.mark.parametrize(
    ("when", "pattern", "stage"), [("after", "extract/000000.json", "extract"), ("after", "catalog.json", "catalog")]
)
def test_a_killed_run_is_told_with_the_command_that_continues_it(sandbox, tmp_path, when, pattern, stage):
    config = killed(sandbox, tmp_path, when, pattern)
    found = as_json(config)
    assert found["state"] == "killed"
    assert found["next"][0].endswith(f" run {config}")
    assert stage in {one["stage"] for one in found["run"]["progress"]["stages"]} if found["run"] else True
    told = status_of(config)
    assert "a run was at work and was killed" in told
    again = found["next"][0].partition(": ")[2].partition(" run ")[2]
    done = command("run", again, env=environment(sandbox))
    assert done.returncode == 0, done.stderr
    assert as_json(tmp_path / "out")["state"] == "finished"


def test_a_run_that_was_killed_while_it_tidied_up_has_finished(sandbox, tmp_path):
    config = killed(sandbox, tmp_path, "after", "_SUCCESS.json")
    assert (tmp_path / "out" / LOCK).exists()
    assert as_json(config)["state"] == "finished"


def test_a_run_that_failed_leaves_its_error(tmp_path):
    with Sandbox(SandboxOptions(profile="nasty", records=40)) as nasty:
        config = configured(nasty, tmp_path, max_failures=0)
        done = command("run", config, env=environment(nasty))
        assert done.returncode == 3
        found = as_json(config)
        assert found["state"] == "failed"
        assert found["run"]["error"] in done.stderr.replace("error: ", "", 1)
        assert sum(found["run"]["progress"]["failures"].values()) > 0
        assert found["next"] == [found["next"][0]]
        assert found["next"][0].endswith(f" run {config}")
        told = status_of(config)
        reason, many = next(iter(found["run"]["progress"]["failures"].items()))
        assert f"  {reason} {many}\n" in told
        assert f"error: {found['run']['error']}" in told


def test_an_interrupted_run_says_so(slow, tmp_path):
    config = configured(slow, tmp_path, run={"requests": 2})
    run = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", config],
        env=environment(slow), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_for(tmp_path / "out" / STAGING / "*/plan.json", run)  # before there is a plan there is nothing to continue
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=60)
    assert run.returncode == 143
    found = as_json(config)
    assert (found["state"], found["run"]["state"]) == ("interrupted", "interrupted")


def planted(path, *, silent=0.0, host="another-machine", run_id="elsewhere", **more):
    """The lock and the sign of life of a run on another machine, which was seen so many seconds ago."""
    place = storage(path)
    holder = msgspec.structs.replace(this_process(run_id), host=host, boot="another")
    place.write(LOCK, msgspec.json.encode(holder))
    renewed = (datetime.now(UTC) - timedelta(seconds=silent)).isoformat()
    status = RunStatus(run_id, "test", "run", host, 1, "0", renewed, renewed, 2.0, **more)
    place.write(PATH, msgspec.json.encode(status))
    return place


def test_a_run_elsewhere_is_at_work_until_it_has_been_silent_for_some_renewals(tmp_path):
    planted(tmp_path / "fresh")
    assert as_json(tmp_path / "fresh")["state"] == "running"
    planted(tmp_path / "old", silent=SILENT_RENEWALS * 2.0 + 60)
    found = as_json(tmp_path / "old")
    assert found["state"] == "silent"
    assert found["silent_for"] > SILENT_RENEWALS * 2.0
    assert "another-machine" in found["next"][0]
    assert found["next"][1].endswith(" run CONFIG --break-lock")


def test_a_sign_of_life_of_another_run_than_the_holder_is_not_believed(tmp_path):
    place = planted(tmp_path, run_id="before")
    place.write(LOCK, msgspec.json.encode(msgspec.structs.replace(this_process("now"), host="another-machine")))
    found = as_json(tmp_path)
    assert (found["state"], found["run"]) == ("running", None)
    assert "run now (process " in status_of(tmp_path)


DAMAGES = {"empty": b"", "half": b'{"run_id": "a', "not text": b"\xff\xfe", "another type": b"[1]", "no time": None}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_sign_of_life_is_no_traceback(tmp_path, damage):
    place = planted(tmp_path)
    data = DAMAGES[damage]
    if data is None:
        data = msgspec.json.encode({**msgspec.json.decode(place.read(PATH)), "renewed": "yesterday"})
    place.write(PATH, data)
    found = as_json(tmp_path)
    assert (found["state"], found["silent_for"]) == ("running", None)
    assert status_of(tmp_path)
    place.delete([LOCK])
    found = as_json(tmp_path)
    assert found["state"] == ("unknown" if damage != "no time" else "killed")
    assert found["next"][0].endswith(" run CONFIG")


def test_a_damaged_lock_or_verdict_is_no_traceback_either(sandbox, tmp_path):
    place = planted(tmp_path / "locked")
    place.write(LOCK, b"{")
    assert as_json(tmp_path / "locked")["state"] == "running"
    export(sandbox, tmp_path / "out", formats=["coco"])
    (tmp_path / "out/_SUCCESS.json").write_bytes(b"{")
    done = command("status", tmp_path / "out", env=environment())
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_nothing_secret_is_in_the_sign_of_life(tmp_path):
    """A request that fails for good ends the run with a line that names its URL, but not the signature."""
    with Sandbox(SandboxOptions(profile="tidy", records=6, payload="presigned")) as sandbox:
        config = configured(sandbox, tmp_path, max_failures=0)
        sandbox.set_faults([Fault(route="payloads", kind="404")])
        assert command("run", config, env=environment(sandbox)).returncode == 3
        written = storage(tmp_path / "out").read(PATH).decode()
        token = sandbox.environment()["SYNAPSE_ACCESS_TOKEN"]
    assert token not in written
    assert "ignature=" not in written


def test_a_sign_of_life_that_cannot_be_written_ends_no_run(sandbox, tmp_path, monkeypatch, caplog):
    real = local.os.replace

    def replace(source, target):
        if str(target).endswith("status.json"):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(local.os, "replace", replace)
    caplog.set_level("INFO", "pipeline")
    assert export(sandbox, tmp_path / "out", formats=["coco"]).success
    assert [line for line in caplog.messages if "cannot tell how far it is" in line]
    assert find_status(storage(tmp_path / "out")).state is State.FINISHED


def test_a_run_whose_lock_was_broken_leaves_the_sign_of_life_to_the_other(slow, tmp_path):
    config = configured(slow, tmp_path, run={"requests": 2, "shard_size": 40})
    run = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", config],
        env=environment(slow), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(tmp_path / "out" / PATH, run)
    place = storage(tmp_path / "out")
    holder = msgspec.json.decode(place.read(LOCK))
    place.write(f"_staging/locks/lock-{holder['run_id']}.json", msgspec.json.encode(this_process("other")))
    other = msgspec.json.encode({**msgspec.json.decode(place.read(PATH)), "run_id": "other"})
    place.write(PATH, other)
    assert run.wait(120) == 1
    assert place.read(PATH) == other


def test_a_path_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    done = command("status", tmp_path / "file/out", env=environment())
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_status_reads_every_kind_of_store_with_the_options_of_the_configuration(tmp_path, place):
    with Sandbox(SandboxOptions(profile="tidy", records=4, payload="presigned")) as sandbox:
        config = write_config(tmp_path, settings(sandbox, place, formats=["coco"]))
        env = environment(sandbox, place)
        sandbox.set_faults([Fault(route="payloads", kind="404")])
        assert command("run", config, env=env).returncode == 3
        found = json.loads(status_of(config, "--json", env=env))
        jsonschema.validate(found, SCHEMA, cls=jsonschema.Draft202012Validator)
        assert (found["state"], found["run"]["progress"]["failures"]) == ("failed", {"PAYLOAD_UNAVAILABLE": 4})
        assert found["next"][0].endswith(f" run {config}")
        assert command("run", config, "--set", "max_failures=4", env=env).returncode == 0
        found = json.loads(status_of(config, "--json", env=env))
        assert (found["state"], found["verdict"]["failed_records"]) == ("finished", 4)
        assert "retry-failed" in found["next"][0]
        assert "status" not in storage(place).entries("_staging"), "what is kept for a retry is all that stays"
