"""Submitted by the real programs to a real Ray head: the bytes of a local run, quiet, with a verdict at the end."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from exporting import ROOT, digest, environment, settings, summary, undisturbed
from heads import BIN, Head
from pipeline.sandbox import Sandbox, SandboxOptions

sys.path.insert(0, str(ROOT / "scripts"))
from job_requirements import requirements

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.xdist_group("ray"), pytest.mark.timeout(600)]

RUN = {"shard_size": 5}
OF_RAY_ITSELF = re.compile("Runtime env is setting up|Running entrypoint for job")
SAID_BY_RAY = re.compile(r"\b(INFO|WARNING|ERROR)\b|raylet|\(pid=|repeated \d+x|Traceback|Warning")


@pytest.fixture(scope="module")
def sandbox():
    """Slow enough that a job can be stopped in the middle of a stage."""
    options = SandboxOptions(profile="nasty", records=120, payload="mixed", page_latency=0.2, blob_latency=0.2)
    with Sandbox(options) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def golden(sandbox, tmp_path_factory):
    return undisturbed(sandbox, tmp_path_factory, max_failures="100%", run={"shard_size": 1000})


@pytest.fixture(scope="module")
def head(sandbox):
    """With the credentials in the cluster's environment, and in the home of whoever uses the SDK's commands."""
    with Head(**sandbox.environment()) as head:
        head.log_in(sandbox)
        yield head


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What a clone has, without what this checkout may have beside it."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("pipeline", "configs", "jobs"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".rayignore", ".gitignore", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


def configure(folder, sandbox, path, **overrides):
    """A configuration below ``folder/configs``; its path relative to the folder."""
    run = {"executor": "ray", **RUN, **overrides.pop("run", {})}
    values = settings(sandbox, path, max_failures="100%", run=run, **overrides)
    (folder / "configs/submitted.yaml").write_text(yaml.safe_dump(values))
    return "configs/submitted.yaml"


def check_log(text, sandbox):
    """Of a job's own output: quiet, without secrets, and harmless for the commands that follow it."""
    lines = [line for line in text.splitlines() if not OF_RAY_ITSELF.search(line)]
    assert not [line for line in lines if SAID_BY_RAY.search(line)], text
    assert "[/" not in text
    assert sandbox.token not in text
    assert "X-Sig" not in text
    return lines


def submit(head, clone, config, submission, *options):
    return head.run(
        "ray", "job", "submit", "--address", head.url, "--working-dir", ".", "--submission-id", submission, *options,
        "--", "python", "jobs/export.py", config, cwd=clone,
    )  # fmt: skip


def test_ray_job_submit_exports_the_same_bytes_quietly(head, clone, sandbox, golden, tmp_path):
    config = configure(clone, sandbox, tmp_path / "out")
    done = submit(head, clone, config, "quiet", "--metadata-json", '{"export": "test"}')
    assert done.returncode == 0, done.stdout
    assert digest(tmp_path / "out") == golden
    lines = check_log(head.logs("quiet"), sandbox)
    assert lines[0].startswith("job: quiet, synapse-export ")
    assert re.match(r"Ray [\d.]+: 1 machine, 2 CPUs, up to 2 shards at once", lines[1])
    assert [line.split(":")[0] for line in lines if re.match(r"(plan|extract|catalog|write|merge|publish): ", line)]
    assert lines[-1] == "verdict: complete (exit code 0)"
    assert head.jobs()["quiet"]["metadata"]["export"] == "test"
    assert summary(tmp_path / "out")["job"] == "quiet"


def test_ray_job_submit_installs_what_a_bare_cluster_lacks(head, clone, sandbox, golden, tmp_path):
    """As documented for a cluster that has neither the package nor its dependencies."""
    config = configure(clone, sandbox, tmp_path / "out")
    install = json.dumps({"pip": "jobs/requirements.txt"})
    done = submit(head, clone, config, "bare", "--runtime-env-json", install)
    assert done.returncode == 0, done.stdout
    assert digest(tmp_path / "out") == golden
    assert check_log(head.logs("bare"), sandbox)[-1] == "verdict: complete (exit code 0)"
    installed = json.dumps(head.jobs()["bare"]["runtime_env"]["pip"])
    assert all(line in installed for line in requirements().splitlines() if line[0] != "#"), installed


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"path": "exports/here"}, 2, "path: 'exports/here' is relative, and a job's folder is a copy"),
        ({"classes": {"lock": "classes.lock.json"}}, 2, "classes.lock: 'classes.lock.json' is relative"),
        ({"filter": {"project": 987654}}, 2, "project 987654"),
        ({"max_failures": 0}, 3, "records failed, max_failures is 0: nothing was published"),
    ],
    ids=["relative path", "relative lock", "no project", "failures"],
)
def test_a_job_that_fails_says_so_and_fails(head, clone, sandbox, tmp_path, change, code, said):
    config = configure(clone, sandbox, tmp_path / "out")
    values = yaml.safe_load((clone / config).read_text()) | change
    (clone / config).write_text(yaml.safe_dump(values))
    submission = f"fails-{code}-{len(head.jobs())}"
    done = submit(head, clone, config, submission)
    assert done.returncode == 1, done.stdout
    assert head.jobs()[submission]["driver_exit_code"] == code
    lines = check_log(head.logs(submission), sandbox)
    assert any(line.startswith("error: ") and said in line for line in lines), lines
    assert lines[-1].startswith("verdict: ")
    assert lines[-1].endswith(f"(exit code {code})")
    assert not (tmp_path / "out/_SUCCESS.json").exists()


@pytest.mark.parametrize("moment", ["plan.json", "extract/000003.json", "render/000003.json"])
def test_a_stopped_job_is_continued_by_submitting_it_again(head, clone, sandbox, golden, tmp_path, moment):
    config = configure(clone, sandbox, tmp_path / "out", run={"keep_staging": True})
    first, second = (f"{name}-{moment.replace('/', '-')}" for name in ("stopped", "again"))
    assert submit(head, clone, config, first, "--no-wait").returncode == 0
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(f"out/_staging/*/{moment}")):
        assert time.monotonic() < deadline, head.logs(first)
        assert head.jobs()[first]["status"] in ("PENDING", "RUNNING"), head.logs(first)
        time.sleep(0.02)
    stopped = head.run("ray", "job", "stop", "--address", head.url, first, cwd=clone)
    assert stopped.returncode == 0, stopped.stdout
    assert head.wait(first)["status"] == "STOPPED"
    assert not (tmp_path / "out/_SUCCESS.json").exists()
    said = check_log(head.logs(first), sandbox)
    assert said[-1] == "verdict: stopped; submit it again to continue (exit code 143)", said
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/_staging/*/extract/*.json")}

    done = submit(head, clone, config, second)
    assert done.returncode == 0, done.stdout
    assert "continuing an unfinished export" in done.stdout
    assert digest(tmp_path / "out") == golden
    assert {path: path.stat().st_mtime_ns for path in before} == before


def status(path, *options):
    """What somebody sees who can read the path, and knows neither the cluster nor the host."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "status", path, "--json", *options], env=environment(), cwd=ROOT,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def running(head, submission, path, stage):
    """The first status of a submitted job in which that stage has begun."""
    deadline = time.monotonic() + 120
    while True:
        found = json.loads(status(path).stdout)
        if found["run"] and stage in {one["stage"] for one in found["run"]["progress"]["stages"]}:
            return found
        assert time.monotonic() < deadline, head.logs(submission)
        assert head.jobs()[submission]["status"] in ("PENDING", "RUNNING"), head.logs(submission)


def test_a_job_is_watched_by_who_can_read_its_path(head, clone, sandbox, tmp_path):
    config = configure(clone, sandbox, tmp_path / "out")
    assert submit(head, clone, config, "watched", "--no-wait").returncode == 0
    assert running(head, "watched", tmp_path / "out", "plan")["state"] == "running"
    watched = status(tmp_path / "out", "--watch")
    assert watched.returncode == 0, watched.stderr
    seen = [json.loads(line) for line in watched.stdout.splitlines()]
    assert [one["state"] for one in seen] == ["running"] * (len(seen) - 1) + ["finished"]
    done = {
        stage["stage"]: (stage["done"], stage["total"])
        for one in seen[:-1]
        for stage in (one["run"]["progress"]["stages"] if one["run"] else ())
    }
    assert done["extract"][1] == 120
    assert seen[-1]["verdict"]["records"] > 100
    assert head.wait("watched")["status"] == "SUCCEEDED"


def test_the_status_of_a_job_that_was_killed_says_what_to_type(head, clone, sandbox, golden, tmp_path):
    config = configure(clone, sandbox, tmp_path / "out")
    assert submit(head, clone, config, "killed", "--no-wait").returncode == 0
    found = running(head, "killed", tmp_path / "out", "extract")
    os.kill(found["run"]["pid"], signal.SIGKILL)
    assert head.wait("killed")["status"] == "FAILED"
    told = json.loads(status(tmp_path / "out", "--watch").stdout.splitlines()[-1])
    assert told["state"] == "killed"
    again, remove = told["next"]
    assert again.startswith("continue it: ")
    assert again.endswith(" run CONFIG")
    assert remove.endswith(f" clean {tmp_path / 'out'}")
    assert submit(head, clone, config, "after-the-kill").returncode == 0
    assert digest(tmp_path / "out") == golden
    assert json.loads(status(tmp_path / "out").stdout)["state"] == "finished"


def test_synapse_script_submit_works_from_a_clone(head, clone, sandbox, golden, tmp_path):
    config = configure(clone, sandbox, tmp_path / "out")
    done = head.run(
        "synapse", "script", "submit", "jobs/export.py", "--follow", cwd=clone, timeout=500,
        SYNAPSE_EXPORT_CONFIG=config,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "verdict: complete (exit code 0)" in done.stdout, done.stdout
    assert sandbox.token not in done.stdout
    assert digest(tmp_path / "out") == golden


OWN_FORMAT = """
from pipeline.formats import Entry, Manifest, Section

class Stems:
    name = "stems"
    needs_payload = False
    def render(self, sample, catalog):
        yield Entry("stems.txt", f"{sample.stem}\\n".encode(), "rows")
    def manifests(self, catalog):
        yield Manifest("stems.txt", (Section("rows"),))
"""


def bundle(*arguments):
    return subprocess.run(
        [sys.executable, ROOT / "scripts/bundle.py", *map(str, arguments)], env=environment(), capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_bundle_is_complete_by_itself(head, sandbox, tmp_path):
    """With a format and a file of splits beside the configuration, and variables in it; submitted as it says."""
    (tmp_path / "mine.py").write_text(OWN_FORMAT)
    (tmp_path / "splits.csv").write_text("record_id,split\n1,train\n")
    split = {"by": "file", "file": "splits.csv"}
    values = settings(
        sandbox, "${SYNAPSE_OUT}", formats=["coco", "mine:Stems"], split=split, max_failures="100%",
        run={"executor": "ray", **RUN},
    )  # fmt: skip
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    done = bundle("job", tmp_path / "mine.yaml", "-o", tmp_path / "bundle")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "synapse script submit" in line]
    assert "SYNAPSE_OUT is not set here" in done.stdout

    out = tmp_path / "out"
    told = head.run(*line.split(), cwd=tmp_path, timeout=500, SYNAPSE_OUT=str(out))
    assert "verdict: complete (exit code 0)" in told.stdout, told.stdout
    assert (out / "stems.txt").read_text().count("\n") > 100
    local = subprocess.run(
        [sys.executable, "-m", "pipeline", "run", tmp_path / "mine.yaml", "--set", "run.executor=serial"],
        env=environment(sandbox, SYNAPSE_OUT=str(tmp_path / "local")), cwd=ROOT, capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip
    assert local.returncode == 0, local.stderr
    assert digest(out) == digest(tmp_path / "local")


def test_the_command_for_any_cluster_works_on_one_that_has_only_ray(head, sandbox, golden, tmp_path):
    """What ``bundle_job`` prints, as it is; the page of the script shows the same command."""
    values = settings(sandbox, tmp_path / "out", max_failures="100%", run={"executor": "ray", **RUN})
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    done = bundle("job", tmp_path / "mine.yaml", "-o", tmp_path / "bundle")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("  ray job submit")]
    words = shlex.split(line)
    told = head.run(
        *words[:3], "--address", head.url, "--submission-id", "only-ray", *words[3:], cwd=tmp_path, timeout=500
    )
    assert told.returncode == 0, told.stdout
    assert digest(tmp_path / "out") == golden
    installed = json.dumps(head.jobs()["only-ray"]["runtime_env"]["pip"])
    assert all(line in installed for line in requirements().splitlines() if line[0] != "#"), installed
    page = (ROOT / "docs/run-synapse-script.md").read_text()
    assert line.strip().replace(str(tmp_path / "bundle"), "/tmp/my-export") in page


def test_the_verdict_holds_where_the_command_says_success_for_a_failed_job(head, clone, tmp_path, sandbox):
    config = configure(clone, sandbox, tmp_path / "out", filter={"project": 987654})
    done = head.run(
        "synapse", "script", "submit", "jobs/export.py", "--follow", cwd=clone, timeout=500,
        SYNAPSE_EXPORT_CONFIG=config,
    )  # fmt: skip
    assert done.returncode == 0  # of the SDK's making; the day this changes, the documents must too
    assert "verdict: refused before any work; nothing was exported (exit code 2)" in done.stdout


def test_a_bundle_of_what_cannot_be_right_is_refused(sandbox, tmp_path):
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(settings(sandbox, "exports/x")))
    done = bundle("job", tmp_path / "my.yaml", "-o", tmp_path / "bundle")
    assert (done.returncode, done.stdout) == (2, "")
    assert "path: 'exports/x' is relative" in done.stderr
    assert not (tmp_path / "bundle").exists()
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(settings(sandbox, tmp_path / "out")))
    done = bundle("job", tmp_path / "my.yaml", "-o", tmp_path)
    assert done.returncode == 2
    assert "is not empty; give a new folder" in done.stderr


def test_a_job_asks_for_what_the_lock_has():
    renew = "run: .venv/bin/python scripts/job_requirements.py > jobs/requirements.txt"
    assert (ROOT / "jobs/requirements.txt").read_text() == requirements(), renew
    assert "\nray" not in requirements()


# The plugin


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugin") / "bundle"
    done = bundle("plugin", "-o", folder)
    assert done.returncode == 0, done.stderr
    return folder


def parameters(sandbox, path, **extra):
    return {
        "name": "test",
        "target": "task",
        "filter": {"project": sandbox.project_id},
        "storage": sandbox.storage_id,
        "path": path,
        "save_original_file": True,
        "extra_params": {
            "formats": ["coco", "yolo", "synapse_json"], "split": {"by": "hash"}, "max_failures": "100%", "run": RUN,
            "report": False, **extra,
        },
    }  # fmt: skip


@pytest.mark.parametrize("mode", ["local", "job"])
def test_synapse_plugin_run_exports_the_same_bytes(head, plugin, sandbox, golden, mode):
    given = json.dumps(parameters(sandbox, f"exports/{mode}"))
    done = head.run("synapse", "plugin", "run", "export", "--mode", mode, "--params", given, cwd=plugin, timeout=500)
    assert done.returncode == 0, done.stdout
    out = sandbox.storage_location / "exports" / mode
    assert digest(out) == golden
    flat = "".join(done.stdout.split())
    assert re.search(r'"exported_count":\d+,"failed_count":\d+,"total_count":120,"output_path":"' + str(out), flat)
    assert sandbox.token not in done.stdout
    assert "extract: 120 of 120 records" in " ".join(done.stdout.split())


AGENT = """
import json, sys
from synapse_sdk.plugins.executors.ray.jobs_api import RayJobsApiExecutor
executor = RayJobsApiExecutor(dashboard_address=sys.argv[1], working_dir=sys.argv[2], env={})
executor.submit("plugin.export.ExportAction", json.loads(sys.argv[4]), job_id=sys.argv[3])
print(executor.wait(sys.argv[3], timeout_seconds=500))
"""


def run_as_an_agent_does(head, plugin, job, given):
    done = subprocess.run(
        [BIN / "python", "-c", AGENT, head.url, plugin, job, json.dumps(given)], env=head.environment(), cwd=plugin,
        capture_output=True, text=True, timeout=560, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_a_run_of_the_platform_shows_progress_metrics_messages_and_result(head, plugin, sandbox, golden):
    status = run_as_an_agent_does(head, plugin, "job-17", parameters(sandbox, "/exports/agent"))
    assert status.endswith("SUCCEEDED"), head.logs("job-17")
    out = sandbox.storage_location / "exports/agent"
    assert digest(out) == golden
    job = sandbox.jobs()["job-17"]
    assert job["status"] == "SUCCEEDED"
    steps = job["progress_record"]["record"]["steps"]
    assert {name: step["percent"] for name, step in steps.items()} == dict.fromkeys(
        ["plan", "extract", "catalog", "render", "merge", "publish"], 100.0
    )
    assert sum(step["proportion"] for step in steps.values()) == 100
    metrics = job["metrics_record"]["record"]["steps"]
    for step in ("extract", "publish"):
        assert metrics[step]["success"] + metrics[step]["failed"] == 120
    failed = metrics["extract"]["failed"] + metrics["render"]["failed"]
    assert metrics["publish"]["failed"] == job["result"]["failed_count"] == failed > 0
    assert job["result"]["output_path"] == str(out)
    assert job["result"]["total_count"] == 120
    messages = [entry for entry in sandbox.job_logs() if entry["job"] == "job-17" and entry["event"] == "message"]
    said = {entry["data"]["content"].split(":")[0] for entry in messages}
    assert {"plan", "extract", "catalog", "render", "merge", "publish", "complete"} <= said
    assert not [entry for entry in messages if sandbox.token in entry["data"]["content"]]


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"formats": ["cocoa"]}, "cocoa"),
        ({"fromats": ["coco"]}, "extra_params.fromats is not one of the requested formats"),
        ({"split": {"by": "file", "file": "${SYNAPSE_ACCESS_TOKEN}"}}, "they hold the value of SYNAPSE_ACCESS_TOKEN"),
        ({"run": {"memory_mb": 10**9}}, "run.memory_mb: no machine has a free CPU and 1000000000 MB"),
    ],
    ids=["format", "key", "variable", "memory"],
)
def test_a_run_that_is_refused_tells_the_user_why(head, plugin, sandbox, extra, said):
    job = f"job-refused-{len(head.jobs())}"
    status = run_as_an_agent_does(head, plugin, job, parameters(sandbox, "exports/refused", **extra))
    assert status.endswith("FAILED")
    # Not the status there: whoever submits says RUNNING, and may get to that only after a job that fails at once.
    assert said in sandbox.jobs()[job]["result"]["error"]
    errors = [
        entry["data"]["content"] for entry in sandbox.job_logs() if entry["job"] == job and entry["level"] == "error"
    ]
    assert any(said in error for error in errors), errors
    assert sandbox.token not in json.dumps([sandbox.jobs()[job], sandbox.job_logs()])
    assert sandbox.token not in head.logs(job)
    assert not (sandbox.storage_location / "exports/refused/_SUCCESS.json").exists()


def test_parameters_of_the_platform_are_not_expanded(head, plugin, sandbox):
    given = json.dumps(parameters(sandbox, "exports/x", split={"by": "file", "file": "${SYNAPSE_ACCESS_TOKEN}"}))
    done = head.run("synapse", "plugin", "run", "export", "--mode", "local", "--params", given, cwd=plugin)
    assert done.returncode == 1
    assert "${…} is not replaced here" in " ".join(done.stdout.split())
    assert sandbox.token not in done.stdout


def test_publish_lists_a_complete_package(head, plugin):
    done = head.run("synapse", "plugin", "publish", "--path", plugin, "--dry-run", "--yes", cwd=plugin)
    assert done.returncode == 0, done.stdout
    package = [path for path in (ROOT / "pipeline").rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    own = ["config.yaml", "README.md", "requirements.txt", "plugin/__init__.py", "plugin/export.py"]
    assert all((plugin / name).is_file() for name in own)
    assert f"Total: {len(package) + len(own)} files" in done.stdout
    assert "Dry run - skipping upload" in done.stdout


HIDDEN = """
import sys
class Hidden:
    def find_spec(name, *_):
        if name.partition(".")[0] == "pipeline":
            raise ModuleNotFoundError(name, name="pipeline")
sys.meta_path.insert(0, Hidden)
sys.path.insert(0, "jobs/plugin")
import plugin.export
"""


def test_a_plugin_without_the_package_says_how_to_complete_it():
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert "scripts/bundle_plugin -o DIR makes one that has the package in it" in done.stderr


def test_the_plugin_has_the_version_of_the_package():
    from pipeline import __version__  # noqa: PLC0415

    assert yaml.safe_load(Path(ROOT / "jobs/plugin/config.yaml").read_text())["version"] == __version__
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text()
