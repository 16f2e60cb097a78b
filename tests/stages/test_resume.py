"""Kill -9 at any moment, run the same command again: the same bytes, and only what was missing is done."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exporting import ROOT, command, digest, environment, export, settings, undisturbed, write_config
from pipeline.commands.verify import verify
from pipeline.errors import FailureLimitError, VerificationError
from pipeline.sandbox import Fault, Sandbox, SandboxOptions
from pipeline.storage import open_storage

# Where the process is killed: at the Nth write of a path with this text, before or after it is in place.
MOMENTS = [
    ("before", "plan.json", 1),
    ("after", "plan.json", 1),
    ("before", "extract/000001.parquet", 1),
    ("before", "extract/000001.json", 1),
    ("after", "extract/000002.json", 1),
    ("before", "catalog.json", 1),
    ("after", "catalog.json", 1),
    ("after", "images/", 25),
    ("after", "labels/", 31),
    ("before", "render/000001.pack", 1),
    ("before", "render/000001.json", 1),
    ("after", "render/000002.json", 1),
    ("before", "annotations/instances_train.json", 1),
    ("after", "annotations/instances_train.json", 1),
    ("after", "merge/", 2),
    ("before", "metadata/export_summary.json", 1),
    ("after", "metadata/files.csv", 1),
    ("after", "metadata/SHA256SUMS", 2),
    ("before", "_SUCCESS.json", 1),
    ("after", "_SUCCESS.json", 1),
]


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(SandboxOptions(profile="tidy", records=60, payload="presigned")) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def golden(sandbox, tmp_path_factory):
    return undisturbed(sandbox, tmp_path_factory)


def pages(sandbox):
    """Id ranges of the listing requests that carry documents."""
    return [
        (int(entry["query"]["id__gte"]), int(entry["query"]["id__lte"]))
        for entry in sandbox.requests()
        if "id__gte" in entry["query"] and "id__lte" in entry["query"] and "fields" not in entry["query"]
    ]


@pytest.mark.parametrize(("when", "pattern", "count"), MOMENTS, ids=[f"{w}-{p}-{n}" for w, p, n in MOMENTS])
def test_a_killed_run_is_finished_by_the_next_one(sandbox, golden, tmp_path, when, pattern, count):
    config = write_config(tmp_path, settings(sandbox, tmp_path / "out"))
    arguments = [sys.executable, ROOT / "tests/killer.py", when, pattern, str(count), "run", config]
    killed = subprocess.run(arguments, env=environment(sandbox), capture_output=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    finished = (tmp_path / "out/_SUCCESS.json").exists()
    assert finished == ((when, pattern) == ("after", "_SUCCESS.json"))
    if not finished:
        with pytest.raises(VerificationError, match="no finished export"):
            verify(open_storage(str(tmp_path / "out")))
    done = {path.stem for path in (tmp_path / "out").glob("_staging/*/extract/*.json")}
    sandbox.clear_requests()
    again = command("run", config, env=environment(sandbox))
    assert again.returncode == 0, again.stderr
    assert digest(tmp_path / "out") == golden
    verify(open_storage(str(tmp_path / "out")), full=True)
    assert not (tmp_path / "out/_staging").exists()
    # Three shards of 20 records, one page each: a finished shard's page is not asked for again.
    assert len(pages(sandbox)) == (0 if finished else 3 - len(done))


def test_two_kills_in_a_row_are_survived(sandbox, golden, tmp_path):
    config = write_config(tmp_path, settings(sandbox, tmp_path / "out"))
    for when, pattern in (("before", "extract/000001.json"), ("after", "render/000000.json")):
        arguments = [sys.executable, ROOT / "tests/killer.py", when, pattern, "1", "run", config]
        subprocess.run(arguments, env=environment(sandbox), capture_output=True, timeout=120, check=False)
    assert command("run", config, env=environment(sandbox)).returncode == 0
    assert digest(tmp_path / "out") == golden


def killed_before(sandbox, tmp_path, pattern, **overrides):
    config = write_config(tmp_path, settings(sandbox, tmp_path / "out", **overrides))
    arguments = [sys.executable, ROOT / "tests/killer.py", "before", pattern, "1", "run", config]
    subprocess.run(arguments, env=environment(sandbox), capture_output=True, timeout=120, check=False)
    return next((tmp_path / "out/_staging").glob("*/plan.json")).parent


@pytest.mark.parametrize("damage", ["truncate", "flip", "delete"])
@pytest.mark.parametrize("victim", ["extract/000001.parquet", "extract/000001.json", "plan.json"])
def test_damaged_staging_is_noticed_and_made_again(sandbox, golden, tmp_path, victim, damage):
    path = killed_before(sandbox, tmp_path, "catalog.json") / victim
    data = path.read_bytes()
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(
            data[: len(data) // 2] + (b"" if damage == "truncate" else b"\x00\xff" + data[len(data) // 2 + 2 :])
        )
    export(sandbox, tmp_path / "out")
    assert digest(tmp_path / "out") == golden


def test_a_file_lost_after_its_shard_was_written_is_written_again(sandbox, golden, tmp_path):
    killed_before(sandbox, tmp_path, "annotations/instances_train.json")
    victims = sorted((tmp_path / "out/labels").rglob("*.txt"))
    victims[0].unlink()
    victims[-1].write_text("")
    shutil.rmtree(tmp_path / "out/images/val")
    export(sandbox, tmp_path / "out")
    assert digest(tmp_path / "out") == golden


@pytest.mark.parametrize(
    "change", [{"naming": "id"}, {"formats": ["coco"]}, {"save_original_file": False}, {"classes": {"drop": ["car"]}}]
)
def test_a_changed_configuration_is_not_mixed_into_an_unfinished_export(sandbox, tmp_path, change):
    killed_before(sandbox, tmp_path, "catalog.json")
    done = command(
        "run", write_config(tmp_path, settings(sandbox, tmp_path / "out", **change)), env=environment(sandbox)
    )
    assert done.returncode == 2
    assert f"an unfinished export that differs in: {next(iter(change))};" in done.stderr


def test_what_cannot_change_the_bytes_may_change_between_attempts(sandbox, golden, tmp_path):
    killed_before(sandbox, tmp_path, "extract/000001.json")
    export(sandbox, tmp_path / "out", max_failures=3, run={"shard_size": 5, "page_size": 7, "requests": 4})
    assert digest(tmp_path / "out") == golden


def test_another_version_of_the_package_starts_anew(sandbox, golden, tmp_path, monkeypatch):
    killed_before(sandbox, tmp_path, "render/000001.json")
    monkeypatch.setattr("pipeline.stages.workspace.VERSION", "999.0")
    export(sandbox, tmp_path / "out", naming="original")
    assert digest(tmp_path / "out") == golden


def test_records_added_and_deleted_after_the_plan_do_not_shift_the_others(tmp_path):
    with Sandbox(SandboxOptions(profile="tidy", records=60)) as sandbox:
        killed_before(sandbox, tmp_path, "/extract/")  # while no shard is staged, in whatever order they come
        gone = sorted(record.key for record in sandbox.truth("task"))[45]
        sandbox.delete_records("task", [gone])
        sandbox.add_records("task", 5)
        result = export(sandbox, tmp_path / "out")
    assert result.summary["records"]["planned"] == 60
    assert result.summary["records"]["written"] == 59
    assert result.summary["records"]["skipped"] == {"RECORD_VANISHED": 1}


def test_a_passing_failure_is_retried_by_the_next_run(tmp_path):
    with Sandbox(SandboxOptions(profile="tidy", records=30, payload="presigned")) as sandbox:
        export(sandbox, tmp_path / "golden")
        sandbox.set_faults([Fault(route="payloads", kind="503", match="/payloads/00000004.json")])
        with pytest.raises(FailureLimitError):
            export(sandbox, tmp_path / "out")
        sandbox.set_faults([])
        sandbox.clear_requests()
        export(sandbox, tmp_path / "out")
        assert len(pages(sandbox)) == 1
    assert digest(tmp_path / "out") == digest(tmp_path / "golden")


def test_an_interrupted_run_says_so_and_is_resumable(sandbox, golden, tmp_path):
    config = write_config(tmp_path, settings(sandbox, tmp_path / "out", run={"shard_size": 1}))
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", config], env=environment(sandbox), cwd=ROOT,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(Path(tmp_path).glob("out/_staging/*/extract/000003.json")):
        time.sleep(0.01)
    process.terminate()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "run the same command again to continue" in errors
    export(sandbox, tmp_path / "out")
    assert digest(tmp_path / "out") == golden
