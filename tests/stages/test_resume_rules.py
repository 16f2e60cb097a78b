"""What may change between two attempts, key by key; and what becomes of damaged staging, file by file."""

import shutil
from pathlib import Path

import pytest

from exporting import command, digest, environment, export, settings, verify, write_config
from pipeline.config.export import ExportConfig
from pipeline.config.sections import ClassConfig, ReportConfig, RunConfig, SplitConfig
from pipeline.errors import DestinationError, ExportError
from pipeline.sandbox import Fault, Sandbox, SandboxOptions
from pipeline.storage import open_storage

SMALL = {"formats": ["coco", "yolo"], "report": True, "run": {"shard_size": 4}}

# For every key: another value, and whether an unfinished (or finished) export refuses it. A key that is not here fails
# the test: whoever adds one decides.
REFUSED = {
    "name": "another",
    "description": "another",
    "target": "assignment",
    "filter": {"project": 12, "id__gte": 1},
    "save_original_file": False,
    "formats": ["coco"],
    "split": "none",
    "split.by": {"by": "none"},
    "split.ratios": {"by": "hash", "ratios": {"train": 0.5, "val": 0.5}},
    "split.key": {"by": "hash", "key": "file_name"},
    "split.file": {"by": "file", "file": "splits.csv"},
    "classes": {"drop": ["car"]},
    "classes.order": {"order": ["car"]},
    "classes.rename": {"rename": {"car": "bus"}},
    "classes.drop": {"drop": ["car"]},
    "classes.lock": {"lock": "classes.json"},
    "classes.drift": {"drift": "allow"},
    "skeletons": {},
    "empty": "drop",
    "on_failed_annotation": "keep",
    "on_missing_original": "drop_image",
    "exif": "ignore",
    "masks": "exclude",
    "naming": "id",
    "packaging": "tar",
    "duplicates": "same_split",
    "report": False,
    "report.language": {"language": "ko"},
}
ALLOWED = {
    "max_failures": 3,
    "allow_empty": True,
    "extra_params": {"coco": {}},
    "run": {"requests": 3},
    "run.executor": {"executor": "ray"},
    "run.address": {"address": "127.0.0.1:1"},
    "run.workers": {"workers": 1},
    "run.memory_mb": {"memory_mb": 64},
    "run.shard_size": {"shard_size": 7},
    "run.page_size": {"page_size": 3},
    "run.requests": {"requests": 2},
    "run.file_hosts": {"file_hosts": ["10.0.0.1"]},
    "run.keep_staging": {"keep_staging": True},
    "run.shard_timeout": {"shard_timeout": 60},
    "run.largest_original_mb": {"largest_original_mb": 100},
}
# Where the export goes and what to do about what is there are not part of what it is; tests of their own have these.
ELSEWHERE = {"storage", "path", "storage_options", "on_existing"}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(SandboxOptions(profile="tidy", records=12, payload="presigned")) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def finished(sandbox, tmp_path_factory):
    path = tmp_path_factory.mktemp("finished") / "out"
    export(sandbox, path, **SMALL)
    return path


@pytest.fixture(scope="module")
def unfinished(sandbox, tmp_path_factory):
    """Everything is staged and written, but there is no verdict."""
    path = tmp_path_factory.mktemp("unfinished") / "out"
    export(sandbox, path, **SMALL | {"run": {"shard_size": 4, "keep_staging": True}})
    (path / "_SUCCESS.json").unlink()
    return path


def top(key):
    return key.partition(".")[0]


def changed(key, value):
    values = {**SMALL, top(key): value}
    if top(key) == "run":
        values["run"] = {**SMALL["run"], **value}
    return values


def test_every_key_has_a_decision():
    nested = {"split": SplitConfig, "classes": ClassConfig, "run": RunConfig, "report": ReportConfig}
    keys = set(ExportConfig.model_fields)
    keys |= {f"{name}.{key}" for name, model in nested.items() for key in model.model_fields}
    assert keys == REFUSED.keys() | ALLOWED.keys() | ELSEWHERE
    assert not REFUSED.keys() & ALLOWED.keys()


@pytest.mark.parametrize("state", ["unfinished", "finished"])
@pytest.mark.parametrize("key", REFUSED)
def test_a_key_that_changes_bytes_is_refused_by_name(sandbox, request, tmp_path, key, state):
    path = request.getfixturevalue(state)
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    with pytest.raises(DestinationError, match=rf"an? {state} export that differs in: {top(key)};"):
        export(sandbox, path, **changed(key, REFUSED[key]))
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before


@pytest.mark.parametrize("key", [key for key in ALLOWED if key not in ("run.executor", "run.address")])
def test_a_key_that_changes_no_byte_is_allowed(sandbox, finished, unfinished, tmp_path, key):
    shutil.copytree(unfinished, tmp_path / "out")
    export(sandbox, tmp_path / "out", **changed(key, ALLOWED[key]))
    assert digest(tmp_path / "out") == digest(finished)


def test_where_work_is_done_is_no_part_of_what_an_export_is(sandbox):
    """Of the two keys that need a cluster; ``test_ray.py`` has the runs."""
    one = ExportConfig.model_validate(settings(sandbox, "out", **SMALL))
    for key in ("run.executor", "run.address"):
        other = ExportConfig.model_validate(settings(sandbox, "out", **changed(key, ALLOWED[key])))
        assert other != one
        assert other.identity() == one.identity()


def test_a_finished_export_asks_for_no_document_and_writes_nothing(sandbox, finished, tmp_path):
    before = {file: (file.stat().st_mtime_ns, file.stat().st_ino) for file in finished.rglob("*")}
    sandbox.clear_requests()
    done = command("run", write_config(tmp_path, settings(sandbox, finished, **SMALL)), env=environment(sandbox))
    assert done.returncode == 0, done.stderr
    assert "already complete" in done.stdout
    assert not [entry for entry in sandbox.requests() if entry["path"].startswith("/blobs/")]
    assert {file: (file.stat().st_mtime_ns, file.stat().st_ino) for file in finished.rglob("*")} == before


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """An export with every kind of staged file there is, without a verdict; its arguments; what it has to become."""
    folder = tmp_path_factory.mktemp("staged")
    with (
        Sandbox(SandboxOptions(profile="tidy", records=8, payload="presigned")) as sandbox,
        pytest.MonkeyPatch.context() as patch,
    ):
        keys = sorted(record.key for record in sandbox.truth("task"))
        (folder / "splits.csv").write_text("record_id,split\n" + "".join(f"{key},train\n" for key in keys))
        patch.setattr(
            "pipeline.destination.shard_writer.BATCH_BYTES", 20_000
        )  # so that archives are put aside in pieces
        values = {
            "report": False,  # its statistics alone fill what is held, so that packs would be empty
            "formats": ["coco", {"voc": {"images": "transcode"}}],
            "packaging": "tar",
            "max_failures": 2,
            "split": {"by": "file", "file": str(folder / "splits.csv")},
            "run": {"shard_size": 4, "keep_staging": True},
        }
        export(sandbox, folder / "golden", **values)
        sandbox.set_faults([Fault(route="payloads", kind="404", match="/payloads/00000003.json")])
        shutil.copytree(folder / "golden", folder / "out")
        (folder / "out/_SUCCESS.json").unlink()
        sandbox.set_faults([])
        yield sandbox, folder / "out", values, digest(folder / "golden")


KINDS = {
    "plan": "plan.json",
    "splits": "splits.bin",
    "staged samples": "extract/000001.parquet",
    "extract marker": "extract/000001.json",
    "catalog": "catalog.json",
    "intent": "intent/000001-0000-*.json",
    "intent of manifests": "intent/manifests.json",
    "pack": "render/000001.pack",
    "render marker": "render/000001.json",
    "spill": "render/000001-*.part",
    "copies": "copies/000001.json",
    "merge marker": "merge/*.json",
}


def test_every_kind_of_staged_file_is_tried(staged):
    _, out, _, _ = staged
    (root,) = out.glob("_staging/*/plan.json")
    known = {path for pattern in KINDS.values() for path in root.parent.glob(pattern)}
    found = {path for path in root.parent.rglob("*") if path.is_file()}
    folders = {path.parent.name + path.suffix for path in known}
    assert {path.parent.name + path.suffix for path in found} <= folders


@pytest.mark.parametrize("damage", ["flip", "digit", "truncate", "delete"])
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_staging_of_every_kind_is_noticed_and_made_again(staged, tmp_path, monkeypatch, kind, damage):
    sandbox, out, values, golden = staged
    monkeypatch.setattr("pipeline.destination.shard_writer.BATCH_BYTES", 20_000)
    shutil.copytree(out, tmp_path / "out")
    victim = min((tmp_path / "out").glob(f"_staging/*/{KINDS[kind]}"))
    data = victim.read_bytes()
    if damage == "delete":
        victim.unlink()
    elif damage == "truncate":
        victim.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        middle = len(data) // 2
        victim.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    else:  # still valid JSON, another number: nothing but a digest notices
        place = next((number for number, byte in enumerate(data) if byte in b"0123456789"), len(data) // 3)
        victim.write_bytes(data[:place] + (b"7" if data[place] != ord("7") else b"8") + data[place + 1 :])
    export(sandbox, tmp_path / "out", **values)
    assert digest(tmp_path / "out") == golden
    verify(tmp_path / "out", full=True)


def test_samples_of_all_shards_that_are_damaged_are_made_again_by_one_run(staged, tmp_path, monkeypatch):
    sandbox, out, values, golden = staged
    monkeypatch.setattr("pipeline.destination.shard_writer.BATCH_BYTES", 20_000)
    shutil.copytree(out, tmp_path / "out")
    (root,) = (tmp_path / "out/_staging").glob("*/plan.json")
    victims = list(root.parent.glob("extract/*.parquet"))
    assert len(victims) > 1
    for victim in victims:
        victim.write_bytes(victim.read_bytes()[:-1])
    for path in [root.parent / "catalog.json", *root.parent.glob("render/*.json")]:
        path.unlink()
    export(sandbox, tmp_path / "out", **values)
    assert digest(tmp_path / "out") == golden


@pytest.mark.parametrize("both", [True, False], ids=["swapped", "copied"])
@pytest.mark.parametrize(
    "kind", ["extract/*.json", "extract/*.parquet", "render/*.json", "render/*.pack", "merge/*.json", "intent/0*.json"]
)
def test_staged_files_at_the_place_of_others_are_noticed_and_made_again(staged, tmp_path, monkeypatch, kind, both):
    """Each is whole, so that no digest in it tells: what it says it is about does not fit its place."""
    sandbox, out, values, golden = staged
    monkeypatch.setattr("pipeline.destination.shard_writer.BATCH_BYTES", 20_000)
    shutil.copytree(out, tmp_path / "out")
    first, *_, last = sorted((tmp_path / "out").glob(f"_staging/*/{kind}"))
    one, other = first.read_bytes(), last.read_bytes()
    assert one != other
    first.write_bytes(other)
    if both:
        last.write_bytes(one)
    if kind.startswith("intent"):  # only a shard that is rendered again looks at what was intended
        next((tmp_path / "out").glob("_staging/*/render/000000.json")).unlink()
    export(sandbox, tmp_path / "out", **values)
    assert digest(tmp_path / "out") == golden
    verify(tmp_path / "out", full=True)


@pytest.mark.parametrize("then", ["retry", "run"])
@pytest.mark.parametrize(
    ("moment", "victim"),
    [
        ("catalog.json", "patch.json"),
        ("before placing", "patch/extract/000000.json"),
        ("before placing", "patch/extract/000000.parquet"),
        ("catalog.json", "intent/listed-000000.json"),
    ],
)
def test_a_damaged_record_of_a_retry_is_refused_with_the_way_out(staged, tmp_path, then, moment, victim):
    from tests.commands import test_retry_failed as test_retry  # noqa: PLC0415  its helpers

    sandbox, _, _, _ = staged
    faults = [Fault(route="payloads", kind="404", match="/payloads/00000003.json")]
    test_retry.with_failures(sandbox, tmp_path / "out", faults, run={"shard_size": 4})
    config = write_config(tmp_path, settings(sandbox, tmp_path / "out", max_failures=5, run={"shard_size": 4}))
    # What is placed has the name of what is beside, which is written first.
    when, pattern, count = ("before", "extract/000000.json", 2) if "placing" in moment else ("after", moment, 1)
    test_retry.killed_at(sandbox, config, when, pattern, count)
    (record,) = (tmp_path / "out").glob(f"_staging/*/{victim}")
    record.write_bytes(record.read_bytes().replace(b"1", b"2", 1))
    call = test_retry.retry if then == "retry" else export
    with pytest.raises(ExportError, match="on_existing: overwrite"):
        call(sandbox, tmp_path / "out", max_failures=5, run={"shard_size": 4})
    assert not Path(tmp_path / "out/_SUCCESS.json").exists()
    assert open_storage(str(tmp_path / "out")).entries("_staging")
