"""``retry-failed``: only what failed is asked for again, and the dataset ends as if nothing had failed."""

import json
import shutil
import signal
import subprocess
import sys

import pytest
import yaml

from exporting import (
    ROOT,
    command,
    digest,
    environment,
    export,
    settings,
    storage,
    summary,
    undisturbed,
    variables,
    verify,
)
from exporting import write_config as write_config_to
from pipeline.commands.retry_failed import retry_failed
from pipeline.config.loading import parse_config
from pipeline.errors import DestinationError, FailureLimitError
from pipeline.sandbox import Fault, Sandbox, SandboxOptions
from stores import environment_of

# Two records of one shard and one of another fail: their documents cannot be fetched.
LOST = ("00000004", "00000007", "00000031")
DOCUMENTS = [Fault(route="payloads", kind="404", match=f"/payloads/{name}.json") for name in LOST]
SOME = {"max_failures": 5}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(SandboxOptions(profile="tidy", records=60, payload="presigned")) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def golden(sandbox, tmp_path_factory):
    return undisturbed(sandbox, tmp_path_factory)


@pytest.fixture(scope="module")
def damaged(sandbox, tmp_path_factory):
    """An export that was published without the records whose documents could not be fetched, to be copied."""
    path = tmp_path_factory.mktemp("damaged") / "export"
    with_failures(sandbox, path, DOCUMENTS)
    return path


def with_failures(sandbox, path, faults, **overrides):
    sandbox.set_faults(list(faults))
    try:
        return export(sandbox, path, **SOME, **overrides)
    finally:
        sandbox.set_faults([])
        sandbox.clear_requests()


def retry(sandbox, path, **overrides):
    values = settings(sandbox, path, **{**SOME, **overrides})
    with environment_of({**sandbox.environment(), **variables(path)}):
        return retry_failed(parse_config(yaml.safe_dump(values)))


def asked(sandbox, prefix):
    return sorted(entry["path"] for entry in sandbox.requests() if entry["path"].startswith(prefix))


def listed_keys(sandbox):
    """Keys that whole rows were asked for by, as ranges."""
    return sorted(
        (int(entry["query"]["id__gte"]), int(entry["query"]["id__lte"]))
        for entry in sandbox.requests()
        if "id__gte" in entry["query"] and "fields" not in entry["query"]
    )


def test_only_the_failed_records_are_fetched_and_the_bytes_are_those_of_a_run_without_faults(sandbox, golden, place):
    told = with_failures(sandbox, place, DOCUMENTS)
    assert told.summary["failed_records"] == 3
    assert any("retry-failed" in warning for warning in told.summary["warnings"])
    assert digest(place) != golden
    result = retry(sandbox, place)
    assert not result.already_finished
    assert asked(sandbox, "/blobs/payloads/") == [f"/blobs/payloads/{name}.json" for name in LOST]
    assert len(asked(sandbox, "/blobs/files/")) == 3  # their originals, and no neighbour's
    failed = [low for low, _ in listed_keys(sandbox)]
    assert listed_keys(sandbox) == [(key, key) for key in failed]
    assert len(failed) == 3
    assert result.summary["failed_records"] == 0
    assert digest(place) == golden
    verify(place, full=True)
    assert storage(place).entries("_staging") == []


def test_a_dataset_that_was_patched_has_no_file_of_the_one_before(sandbox, tmp_path):
    """Names that are taken once a record is there again move, and what they leave is removed."""
    names = {"naming": "original", "packaging": "files"}
    with Sandbox(SandboxOptions(profile="nasty", payload="presigned")) as nasty:
        export(nasty, tmp_path / "golden", max_failures="100%", **names)
        truth = {json.loads(line)["record_id"] for line in failures(tmp_path / "golden")}
        sound = sorted(record.key for record in nasty.truth("task") if record.key not in truth)
        nasty.set_faults([Fault(route="payloads", kind="404", match=f"/payloads/{n:08}.json") for n in range(0, 40, 3)])
        export(nasty, tmp_path / "out", max_failures="100%", **names)
        assert summary(tmp_path / "out")["failed_records"] > summary(tmp_path / "golden")["failed_records"]
        before = {name for name, _ in storage(tmp_path / "out").files() if not name.startswith("_staging")}
        nasty.set_faults([])
        retry(nasty, tmp_path / "out", max_failures="100%", **names)
    after = {name for name, _ in storage(tmp_path / "out").files() if not name.startswith("_staging")}
    assert sound
    assert digest(tmp_path / "out") == digest(tmp_path / "golden")
    assert before - after
    verify(tmp_path / "out", full=True)


def failures(path):
    return (path / "metadata/failures.jsonl").read_text().splitlines()


def test_failed_originals_are_copied_without_their_neighbours(sandbox, golden, tmp_path):
    sandbox.clear_requests()
    export(sandbox, tmp_path / "names")
    blobs = asked(sandbox, "/blobs/files/")
    lost = [blobs[3], blobs[40]]
    faults = [Fault(route="originals", kind="404", match=path) for path in lost]
    assert with_failures(sandbox, tmp_path / "out", faults).summary["failed_records"] == 2
    retry(sandbox, tmp_path / "out")
    assert asked(sandbox, "/blobs/files/") == sorted(lost)
    assert asked(sandbox, "/blobs/payloads/") == []
    assert digest(tmp_path / "out") == golden
    verify(tmp_path / "out", full=True)


def test_a_format_that_was_mended_renders_again_and_nothing_is_fetched(sandbox, tmp_path):
    source = (
        "from pipeline.formats import Entry, Manifest, Section\n"
        "class Names:\n"
        "    name = 'names'\n"
        "    needs_payload = False\n"
        "    def render(self, sample, catalog):\n"
        "        if BROKEN and sample.image_id == 7:\n"
        "            raise ValueError('cannot do with number 7')\n"
        "        yield Entry('names.txt', (sample.file_name + '\\n').encode(), 'items')\n"
        "    def manifests(self, catalog):\n"
        "        yield Manifest('names.txt', (Section('items'),))\n"
    )
    module = tmp_path / "own_names.py"
    values = settings(sandbox, tmp_path / "out", formats=["own_names:Names"], **SOME)
    config = write_config_to(tmp_path, values)
    module.write_text(f"BROKEN = True\n{source}")
    assert command("run", config, env=environment(sandbox)).returncode == 0
    assert "ITEM_CONVERSION_FAILED" in (tmp_path / "out/metadata/failures.jsonl").read_text()
    sandbox.clear_requests()
    again = command("retry-failed", config, env=environment(sandbox))
    assert again.returncode == 0, again.stderr  # still broken: published as before
    assert summary(tmp_path / "out")["failed_records"] == 1
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    module.write_text(f"BROKEN = False\n{source}")
    done = command("retry-failed", config, env=environment(sandbox))
    assert done.returncode == 0, done.stderr
    assert asked(sandbox, "/blobs/payloads/") == asked(sandbox, "/blobs/files/") == []
    assert len((tmp_path / "out/names.txt").read_text().splitlines()) == 60
    verify(tmp_path / "out", full=True)


def test_what_fails_again_leaves_the_dataset_as_it_is(sandbox, damaged, tmp_path):
    shutil.copytree(damaged, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.txt")}
    verdict = (tmp_path / "out/_SUCCESS.json").read_bytes()
    sandbox.set_faults(DOCUMENTS)
    result = retry(sandbox, tmp_path / "out")
    sandbox.set_faults([])
    assert result.already_finished
    assert (tmp_path / "out/_SUCCESS.json").read_bytes() == verdict
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.txt")} == before
    verify(tmp_path / "out", full=True)


def test_more_failures_than_allowed_leave_the_dataset_as_it_is(sandbox, damaged, tmp_path):
    shutil.copytree(damaged, tmp_path / "out")
    sandbox.set_faults(DOCUMENTS[:2])
    with pytest.raises(FailureLimitError, match="2 records failed again, max_failures is 1: the dataset is left"):
        retry(sandbox, tmp_path / "out", max_failures=1)
    sandbox.set_faults([])
    verify(tmp_path / "out", full=True)


def test_records_that_are_mended_one_after_the_other_end_the_same(sandbox, golden, damaged, tmp_path):
    shutil.copytree(damaged, tmp_path / "out")
    for left in (2, 1, 0):
        sandbox.set_faults(DOCUMENTS[:left])
        assert retry(sandbox, tmp_path / "out").summary["failed_records"] == left
        verify(tmp_path / "out", full=True)
    assert digest(tmp_path / "out") == golden


def test_nothing_to_retry_is_no_work(sandbox, golden, tmp_path):
    export(sandbox, tmp_path / "out", **SOME)
    assert not (tmp_path / "out/_staging").exists()
    sandbox.clear_requests()
    assert retry(sandbox, tmp_path / "out").already_finished
    assert asked(sandbox, "/blobs/payloads/") == asked(sandbox, "/blobs/files/") == []
    assert digest(tmp_path / "out") == golden


def test_without_what_was_staged_one_line_says_what_to_do(sandbox, damaged, tmp_path):
    shutil.copytree(damaged, tmp_path / "out")
    config = write_config_to(tmp_path, settings(sandbox, tmp_path / "out", **SOME))
    assert command("clean", tmp_path / "out", env=environment()).returncode == 0
    done = command("retry-failed", config, env=environment(sandbox))
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.endswith("it cannot be patched; a full run with on_existing: overwrite is needed")
    verify(tmp_path / "out", full=True)


@pytest.mark.parametrize("victim", ["plan.json", "extract/000001.json"])
def test_damaged_staging_is_refused_before_anything_is_touched(sandbox, damaged, tmp_path, victim):
    shutil.copytree(damaged, tmp_path / "out")
    (path,) = (tmp_path / "out/_staging").glob(f"*/{victim}")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"1", b"2", 1))
    with pytest.raises(DestinationError, match="gone or damaged: it cannot be patched"):
        retry(sandbox, tmp_path / "out")
    verify(tmp_path / "out", full=True)


def test_another_configuration_is_refused_naming_what_differs(sandbox, damaged, tmp_path):
    shutil.copytree(damaged, tmp_path / "out")
    with pytest.raises(DestinationError, match="differs in: naming"):
        retry(sandbox, tmp_path / "out", naming="id")
    with pytest.raises(DestinationError, match="holds no finished export to patch"):
        retry(sandbox, tmp_path / "nothing")


def test_a_run_leaves_what_is_kept_for_a_retry_alone(sandbox, golden, damaged, tmp_path):
    shutil.copytree(damaged, tmp_path / "out")
    assert export(sandbox, tmp_path / "out", **SOME).already_finished
    retry(sandbox, tmp_path / "out")
    assert digest(tmp_path / "out") == golden


def killed_at(sandbox, config, when, pattern, count):
    """Run ``retry-failed`` until it is killed at that write."""
    arguments = [sys.executable, ROOT / "tests/killer.py", when, pattern, str(count), "retry-failed", config]
    killed = subprocess.run(arguments, env=environment(sandbox), capture_output=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()


MOMENTS = [
    ("after", "patch/extract/000000.json", 1),  # fetched one shard of two, the dataset is as it was
    ("after", "intent/listed-000000.json", 1),
    ("after", "patch.json", 1),  # on record, nothing placed
    ("before", "extract/000001.json", 2),  # half placed (the first is the one beside)
    ("after", "patch.json", 2),  # placed
    ("after", "catalog.json", 1),
    ("after", "images/", 1),
    ("after", "render/000001.json", 1),
    ("after", "annotations/instances_train.json", 1),
    ("after", "metadata/files.csv", 1),
    ("before", "_SUCCESS.json", 1),
    ("after", "_SUCCESS.json", 1),
]


@pytest.mark.parametrize("then", ["retry-failed", "run"])
@pytest.mark.parametrize(("when", "pattern", "count"), MOMENTS, ids=[f"{w}-{p}-{n}" for w, p, n in MOMENTS])
def test_a_killed_retry_is_finished_by_the_same_command(sandbox, golden, damaged, tmp_path, when, pattern, count, then):
    shutil.copytree(damaged, tmp_path / "out")
    config = write_config_to(tmp_path, settings(sandbox, tmp_path / "out", **SOME))
    killed_at(sandbox, config, when, pattern, count)
    if (tmp_path / "out/_SUCCESS.json").exists():
        verify(tmp_path / "out", full=True)  # the old one still, or the new one already
    again = command(then, config, env=environment(sandbox))
    assert again.returncode == 0, again.stderr
    if then == "run" and digest(tmp_path / "out") != golden:
        # Killed before the dataset was touched: a run finds it complete, and leaves it for the retry.
        assert "already complete" in again.stdout
        assert command("retry-failed", config, env=environment(sandbox)).returncode == 0
    assert digest(tmp_path / "out") == golden
    verify(tmp_path / "out", full=True)
    assert not (tmp_path / "out/_staging").exists()
