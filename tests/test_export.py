"""From the API to a finished dataset: the promises of the README, end to end.

Tests that take a ``place`` run on disk, against a real S3 server and against an emulator of Google Cloud Storage.
What is the same whatever the store, how the API answers say, is exported to disk only.
"""

import csv
import json
import subprocess
import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from pycocotools.coco import COCO

import exporting
from exporting import (
    command,
    digest,
    environment,
    missing_originals,
    storage,
    summary,
    verify,
    write_config,
)
from pipeline.errors import DestinationError, FailureLimitError
from pipeline.sandbox import Fault, Sandbox, SandboxOptions
from stores import BUCKET, SHORT, STORES, Place, empty_place
from tests.formats.coco.grammar import check_tree
from tests.formats.yolo.grammar import check_yolo_tree

# With the page, the statistics and the card, as they are unless a configuration says otherwise.
settings = partial(exporting.settings, report=True)
export = partial(exporting.export, report=True)


@pytest.fixture(scope="module")
def golden(tidy, tmp_path_factory):
    """An undisturbed export of the tidy sandbox, and its digest."""
    path = tmp_path_factory.mktemp("golden") / "export"
    export(tidy, path)
    return path, digest(path)


@pytest.fixture(scope="module")
def nasty_golden(nasty, tmp_path_factory):
    """The digest of an export of the nasty sandbox in one shard."""
    path = tmp_path_factory.mktemp("nasty") / "export"
    export(nasty, path, max_failures="100%", run={"shard_size": 1000})
    return digest(path)


@dataclass
class Exported:
    """A finished export: where it is, and its files on disk."""

    place: Place
    path: Path


@pytest.fixture(scope="module", params=STORES)
def exported(request, tidy, tmp_path_factory):
    """An undisturbed export of the tidy sandbox."""
    folder = tmp_path_factory.mktemp("exported")
    place = empty_place(request, request.param, folder)
    export(tidy, place)
    return Exported(place, place.local(folder))


@pytest.fixture(scope="module", params=STORES)
def nasty_exported(request, nasty, tmp_path_factory):
    """An export of the nasty sandbox in 30 shards, with its staging area, in a place with nothing else in it."""
    folder = tmp_path_factory.mktemp("nasty-exported")
    place = empty_place(request, request.param, folder).child("deep/out")
    export(nasty, place, max_failures="100%", run={"shard_size": 7, "keep_staging": True})
    return Exported(place, place.local(folder))


def records(path):
    return list(csv.DictReader((path / "metadata/records.csv").read_text().splitlines()))


def files(path):
    return {name for name, _ in storage(path).files()}


def test_the_same_bytes_are_written_to_every_store(exported, golden):
    assert digest(exported.path) == golden[1]


def test_the_tree_is_that_of_the_design(exported):
    names = files(exported.place)
    for expected in (
        "annotations/instances_train.json", "annotations/instances_val.json", "classes.json", "data.yaml",
        "classes.txt", "metadata/export_summary.json", "metadata/records.csv", "metadata/failures.jsonl",
        "metadata/losses.jsonl", "metadata/files.csv", "metadata/SHA256SUMS", "_SUCCESS.json",
    ):  # fmt: skip
        assert expected in names
    assert sum(name.startswith("images/train/") for name in names) > 30
    assert sum(name.startswith("json/") for name in names) == 60
    assert not [name for name in names if name.startswith("_staging")]


def test_every_original_is_copied_unchanged_and_listed(exported):
    path = exported.path
    rows = records(path)
    assert len(rows) == 60
    for row in rows:
        with Image.open(path / row["output_name"]) as image:
            assert image.size == (int(row["width"]), int(row["height"]))
        assert (path / row["output_name"]).stat().st_size == int(row["bytes"])


def test_checksums_are_those_sha256sum_checks(exported):
    done = subprocess.run(
        ["sha256sum", "--check", "--quiet", "--strict", "metadata/SHA256SUMS"], cwd=exported.path, check=False
    )
    assert done.returncode == 0


def test_the_books_of_a_tidy_export_balance_without_failures(golden):
    told = summary(golden[0])
    assert told["records"]["planned"] == told["records"]["written"] == told["records"]["counted_by_api"] == 60
    assert told["failed_records"] == 0
    assert told["originals"]["written"] == told["samples"] == 60
    for books in told["formats"].values():
        for count in (books["samples"], books["annotations"]):
            left = sum(count["skipped"].values()) + sum(count["failed"].values())
            assert count["seen"] == count["written"] + left


def test_the_summary_counts_the_objects_of_each_class_in_each_split(golden):
    path = golden[0]
    found = {}
    for split in ("train", "val", "test"):
        coco = json.loads((path / f"annotations/instances_{split}.json").read_text())
        names = {category["id"]: category["name"] for category in coco["categories"]}
        for annotation in coco["annotations"]:
            own = found.setdefault(names[annotation["category_id"]], {})
            own[split] = own.get(split, 0) + 1
    told = {entry["name"]: entry["objects"] for entry in summary(path)["classes"]}
    held = {"car", "bus", "truck", "person", "bicycle"}  # classes of which COCO holds all annotations
    assert {name: told[name] for name in held} == {name: found[name] for name in held}
    assert list(told["car"]) == ["train", "val", "test"]


def test_every_line_of_the_losses_names_the_file(golden):
    lines = [json.loads(line) for line in (golden[0] / "metadata/losses.jsonl").read_text().splitlines()]
    assert lines
    for line in lines:
        assert (golden[0] / line["file"]).is_file()


def test_the_verdict_counts_every_file_but_itself(exported):
    assert verify(exported.place, full=True).files == len(files(exported.place)) - 1


def test_no_filter_key_is_sent_that_the_api_would_ignore(tmp_path):
    with Sandbox(SandboxOptions(profile="tidy", records=20)) as sandbox:
        for target in ("task", "assignment", "ground_truth"):
            export(sandbox, tmp_path / target, target=target)
        assert not [entry for entry in sandbox.requests() if entry["ignored_keys"]]


def test_what_coco_holds_is_what_the_api_holds(golden, tidy):
    path, _ = golden
    instances, people = (
        sum(len(json.loads(file.read_text())["annotations"]) for file in path.glob(f"annotations/{kind}_*.json"))
        for kind in ("instances", "person_keypoints")
    )
    assert instances > 60
    # The sandbox's people have all 17 points, each an annotation of its own.
    assert instances + 17 * people == summary(path)["formats"]["coco"]["annotations"]["written"]


def check_readers(path):
    """Pycocotools indexes every split, every mask decodes, and the YOLO tree obeys the Ultralytics grammar."""
    check_tree({f"annotations/{file.name}": file.read_bytes() for file in path.glob("annotations/*.json")})
    missing = missing_originals(path)
    for file in path.glob("annotations/*.json"):
        coco = COCO(file)
        for annotation in coco.loadAnns(coco.getAnnIds()):
            if annotation["segmentation"]:
                pixels = int(coco.annToMask(annotation).sum())
                assert isinstance(annotation["segmentation"], list) or pixels == annotation["area"]
        for image in coco.loadImgs(coco.getImgIds()):
            name = f"images/{file.stem.rpartition('_')[2]}/{image['file_name']}"
            assert (path / name).exists() is (name not in missing)
    check_yolo_tree(path, missing=missing)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools, numpy 2
def test_readers_open_what_was_written(exported):
    check_readers(exported.path)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_readers_open_what_was_written_of_nasty_data(nasty_exported):
    check_readers(nasty_exported.path)


@pytest.mark.parametrize("size", [7, 100, 1000])
def test_the_shard_size_does_not_change_a_byte(tidy, golden, place, size):
    export(tidy, place, run={"shard_size": size})
    assert digest(place) == golden[1]


@pytest.mark.parametrize("page_size", [1, 9])
def test_the_page_size_does_not_change_a_byte(tidy, golden, tmp_path, page_size):
    export(tidy, tmp_path / "out", run={"page_size": page_size})
    assert digest(tmp_path / "out") == golden[1]


@pytest.mark.parametrize("target", ["task", "assignment", "ground_truth"])
@pytest.mark.parametrize(
    "options",
    [
        {"payload": "presigned"},
        {"payload": "mixed", "pagination": "page"},
        {"pagination": "page"},
        {"payload": "presigned", "ids_filter_ground_truth": False},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_how_the_api_answers_does_not_change_a_byte(tidy, tmp_path, target, options):
    export(tidy, tmp_path / "plain", target=target)
    with Sandbox(SandboxOptions(profile="tidy", records=60, **options)) as sandbox:
        export(sandbox, tmp_path / "other", target=target)
    assert digest(tmp_path / "other") == digest(tmp_path / "plain")


def test_ground_truth_is_split_by_its_category(tidy, tmp_path):
    export(tidy, tmp_path / "out", target="ground_truth", split={"by": "category"})
    rows = records(tmp_path / "out")
    expected = {"train": "train", "validation": "val", "test": "test", "": "unassigned"}
    assert {row["split"] for row in rows} >= {"train", "val", "test"}
    assert all(row["split"] == expected[row["category"]] for row in rows)


def test_faults_of_the_api_and_of_the_files_do_not_change_a_byte(golden, place):
    """Each kind a few times, at pages, payloads and originals: retried, never accepted, never lost."""
    faults = [
        Fault(route=route, kind=kind, at=(3 * number,), value=0.3 if kind == "cut" else None)
        for route in ("pages", "payloads", "originals")
        for number, kind in enumerate(("503", "500", "520", "cut", "reset", "429", "html"), start=1)
        if (route, kind) != ("originals", "html")
    ]
    with Sandbox(SandboxOptions(profile="tidy", records=60, payload="presigned", faults=faults)) as sandbox:
        export(sandbox, place, run={"page_size": 5})
        failed = [entry for entry in sandbox.requests() if entry["status"] >= 400]
    assert len(failed) >= 10
    assert digest(place) == golden[1]


def test_presigned_urls_that_run_out_are_issued_again(golden, place):
    options = SandboxOptions(profile="tidy", records=60, payload="presigned", url_ttl=0.5, blob_latency=0.12)
    with Sandbox(options) as sandbox:
        export(sandbox, place, run={"requests": 3})
        assert [entry for entry in sandbox.requests() if entry["status"] == 403]
    assert digest(place) == golden[1]


def test_a_synapse_storage_on_a_disk_is_written_through_its_session(golden, tmp_path):
    with Sandbox(SandboxOptions(profile="tidy", records=60, storage_location=str(tmp_path))) as sandbox:
        result = export(sandbox, "exports/a", storage=sandbox.storage_id)
    assert result.url == str(tmp_path / "exports/a")
    assert digest(tmp_path / "exports/a") == golden[1]


def test_a_synapse_storage_in_s3_is_written_through_its_session(golden, s3_server, proxy):
    """Each session has keys of its own; the configuration has none."""
    with Sandbox(SandboxOptions(profile="tidy", records=60)) as sandbox:
        sandbox.set_storage(lambda: proxy.session(600))
        folder = f"exports/{uuid.uuid4().hex}"
        result = export(sandbox, folder, storage=sandbox.storage_id)
    assert result.url == f"s3://{BUCKET}/{folder}"
    assert {entry.key for entry in proxy.writes()} <= {key.access for key in SHORT[: proxy.issued]}
    assert digest(s3_server.place(folder)) == golden[1]


def test_a_synapse_storage_on_an_sftp_server_is_written_through_its_session(golden, sftp_server):
    folder = uuid.uuid4().hex
    with Sandbox(SandboxOptions(profile="tidy", records=60)) as sandbox:
        sandbox.set_storage(sftp_server.session)
        export(sandbox, f"exports/{folder}", storage=sandbox.storage_id)
    assert digest(sftp_server.place(f"exports/{folder}")) == golden[1]


@pytest.mark.slow
def test_credentials_that_live_for_two_seconds_are_enough_for_a_run_of_twenty(golden, s3_server, proxy):
    # One original a second, three at a time: 60 of them take twenty seconds.
    with Sandbox(SandboxOptions(profile="tidy", records=60, blob_latency=1.0)) as sandbox:
        sandbox.set_storage(lambda: proxy.session(2))
        folder = f"exports/{uuid.uuid4().hex}"
        export(sandbox, folder, storage=sandbox.storage_id, run={"requests": 3})
    used = {entry.key for entry in proxy.writes() if entry.status == 200}
    assert 5 < len(used) <= proxy.issued < len(SHORT)
    assert digest(s3_server.place(folder)) == golden[1]


def test_credentials_that_end_before_they_should_are_renewed(golden, s3_server, proxy):
    with Sandbox(SandboxOptions(profile="tidy", records=60, blob_latency=0.2)) as sandbox:
        sandbox.set_storage(lambda: proxy.session(1.5, told_seconds=600))
        folder = f"exports/{uuid.uuid4().hex}"
        export(sandbox, folder, storage=sandbox.storage_id, run={"requests": 3})
    assert [entry for entry in proxy.entries() if entry.status == 400]
    assert digest(s3_server.place(folder)) == golden[1]


def test_memory_storage_gives_the_same_bytes(tidy, golden):
    export(tidy, "memory://test-export/out")
    assert digest("memory://test-export/out") == golden[1]


def test_labels_only_downloads_no_image(place):
    with Sandbox(SandboxOptions(profile="tidy", records=20)) as sandbox:
        export(sandbox, place, save_original_file=False)
        paths = [entry["path"] for entry in sandbox.requests()]
    assert not [path for path in paths if path.startswith(("/blobs/", "/media/"))]
    names = files(place)
    assert not [name for name in names if name.startswith("images/")]
    assert len([name for name in names if name.startswith("labels/") and name.endswith(".txt")]) == 20


def test_an_empty_selection_is_a_valid_empty_export(tidy, place):
    export(tidy, place, filter={"project": tidy.project_id, "ids": [999_999_999]}, allow_empty=True)
    coco = json.loads(storage(place).read("annotations/instances_train.json"))
    assert coco["images"] == coco["annotations"] == []
    verify(place, full=True)


def test_a_finished_export_is_left_alone(place):
    with Sandbox(SandboxOptions(profile="tidy", records=20)) as sandbox:
        first = export(sandbox, place)
        sandbox.clear_requests()
        again = export(sandbox, place)
        assert again.already_finished
        assert again.success == first.success
        assert len(sandbox.requests()) <= 3


def test_another_export_is_refused_with_the_keys_that_differ(tidy, exported, golden, tmp_path):
    config = write_config(tmp_path, settings(tidy, exported.place, naming="id", masks="exclude"))
    done = command("run", config, env=environment(tidy, exported.place))
    assert done.returncode == 2
    assert "differs in: masks, naming" in done.stderr
    assert digest(exported.place) == golden[1]


@pytest.mark.parametrize("mode", ["resume", "fail", "overwrite"])
def test_files_that_are_not_ours_are_never_touched(tidy, place, mode):
    storage(place).write("thesis.txt", b"years of work")
    with pytest.raises(DestinationError, match=r"holds files that no export wrote \(thesis.txt\)"):
        export(tidy, place, on_existing=mode)
    assert files(place) == {"thesis.txt"}
    assert storage(place).read("thesis.txt") == b"years of work"


def test_overwrite_replaces_an_export_and_nothing_else(tidy, golden, place):
    export(tidy, place, naming="id")
    storage(place).write("notes.txt", b"mine")
    export(tidy, place, on_existing="overwrite")
    assert storage(place).read("notes.txt") == b"mine"
    storage(place).delete(["notes.txt"])
    assert digest(place) == golden[1]


def test_classes_can_be_ordered_renamed_and_dropped(tidy, golden, tmp_path):
    classes = [entry["name"] for entry in summary(golden[0])["classes"]]
    first, second, third = classes[:3]
    export(tidy, tmp_path / "out", classes={"order": [third], "rename": {second: first}, "drop": [classes[3]]})
    told = summary(tmp_path / "out")
    assert [entry["name"] for entry in told["classes"]] == [third, first, *classes[4:]]
    assert told["formats"]["coco"]["annotations"]["skipped"]["CLASS_DROPPED"] > 0


@pytest.mark.parametrize("target", ["task", "assignment", "ground_truth"])
def test_nasty_data_is_exported_as_far_as_it_can_be(nasty, tmp_path, target):
    result = export(nasty, tmp_path / "out", target=target, max_failures="100%", save_original_file=True)
    told = result.summary
    assert told["failed_records"] > 0
    assert told["records"]["written"] > told["records"]["planned"] / 2
    verify(tmp_path / "out", full=True)
    failures = [json.loads(line) for line in (tmp_path / "out/metadata/failures.jsonl").read_text().splitlines()]
    assert {failure["record_id"] for failure in failures if failure["outcome"] == "failed"}
    assert (
        len({failure["record_id"] for failure in failures if failure["outcome"] == "failed"}) == told["failed_records"]
    )


def test_nasty_data_gives_the_same_bytes_for_any_shard_size_and_store(nasty_exported, nasty_golden):
    assert digest(nasty_exported.path) == nasty_golden


def test_nasty_names_stay_inside_the_export(nasty_exported):
    out = nasty_exported.place
    deep = out.parent
    assert (storage(deep.parent).entries(), storage(deep).entries()) == (["deep"], ["out"])
    names = [Path(name) for name in files(out)]
    folded = [str(name).casefold() for name in names]
    assert len(set(folded)) == len(folded)


def test_above_the_failure_limit_nothing_is_published(nasty, place):
    with pytest.raises(FailureLimitError, match="nothing was published") as caught:
        export(nasty, place)
    report = str(caught.value).split("listed in ")[1].split(";")[0]
    assert report.startswith(f"{place}/")
    assert json.loads(storage(place).read(report.removeprefix(f"{place}/")).splitlines()[0])["reason"]
    assert "_SUCCESS.json" not in files(place)
    # The limit does not change a byte, so raising it publishes what is there.
    export(nasty, place, max_failures="100%")
    verify(place)


def test_no_output_and_no_staging_holds_a_secret(nasty_exported, nasty):
    variables = nasty_exported.place.environment
    secrets = [nasty.token, "X-Sig=", *(value for name, value in variables.items() if name.startswith("TEST_S3"))]
    names = [path for path in nasty_exported.path.rglob("*") if path.is_file()]
    assert [path for path in names if "_staging" in path.parts]
    for path in names:
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in content], path


@pytest.mark.parametrize(
    "executor", ["serial", "processes", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.slow])]
)
def test_a_user_format_beside_the_configuration_is_used(tidy, tmp_path, executor):
    (tmp_path / "my_formats.py").write_text(
        "import dataclasses\n"
        "from pipeline.formats import Entry, Manifest, Section\n"
        "@dataclasses.dataclass(frozen=True)\n"
        "class Names:\n"
        "    suffix: str = ''\n"
        "    name = 'names'\n"
        "    needs_payload = False\n"
        "    def render(self, sample, catalog):\n"
        "        yield Entry('names.txt', (sample.file_name + self.suffix + '\\n').encode(), 'items')\n"
        "    def manifests(self, catalog):\n"
        "        yield Manifest('names.txt', (Section('items'),))\n"
    )
    formats = [{"my_formats:Names": {"suffix": "!"}}]
    values = settings(tidy, tmp_path / "out", formats=formats, run={"executor": executor})
    done = command("run", write_config(tmp_path, values), env=environment(tidy))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/names.txt").read_text().count("!\n") == 60
