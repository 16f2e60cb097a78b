"""From the API to a finished dataset: the promises of the README, end to end."""

import csv
import json
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from pycocotools.coco import COCO

from exporting import command, digest, environment, export, settings, summary, write_config
from pipeline.errors import FailureLimitError
from pipeline.sandbox import Fault, Sandbox, SandboxOptions
from pipeline.storage import open_storage
from pipeline.verify import verify
from tests.formats.coco_grammar import check_tree
from tests.formats.yolo_grammar import check_yolo_tree


@pytest.fixture(scope="module")
def golden(tidy, tmp_path_factory):
    """An undisturbed export of the tidy sandbox, and its digest."""
    path = tmp_path_factory.mktemp("golden") / "export"
    export(tidy, path)
    return path, digest(path)


def records(path):
    return list(csv.DictReader((path / "metadata/records.csv").read_text().splitlines()))


def files(path):
    return {name for name, _ in open_storage(str(path)).files()}


def test_the_tree_is_that_of_the_design(golden):
    path, _ = golden
    names = files(path)
    for expected in (
        "annotations/instances_train.json", "annotations/instances_val.json", "classes.json", "data.yaml",
        "classes.txt", "metadata/export_summary.json", "metadata/records.csv", "metadata/failures.jsonl",
        "metadata/losses.jsonl", "metadata/files.csv", "metadata/SHA256SUMS", "_SUCCESS.json",
    ):  # fmt: skip
        assert expected in names
    assert sum(name.startswith("images/train/") for name in names) > 30
    assert sum(name.startswith("json/") for name in names) == 60
    assert not [name for name in names if name.startswith("_staging")]


def test_every_original_is_copied_unchanged_and_listed(golden, tidy):
    path, _ = golden
    rows = records(path)
    assert len(rows) == 60
    for row in rows:
        with Image.open(path / row["output_name"]) as image:
            assert image.size == (int(row["width"]), int(row["height"]))
        assert (path / row["output_name"]).stat().st_size == int(row["bytes"])


def test_checksums_are_those_sha256sum_checks(golden):
    done = subprocess.run(
        ["sha256sum", "--check", "--quiet", "--strict", "metadata/SHA256SUMS"], cwd=golden[0], check=False
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


def test_the_verdict_counts_every_file_but_itself(golden):
    assert verify(open_storage(str(golden[0]))).files == len(files(golden[0])) - 1


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


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools, numpy 2
@pytest.mark.parametrize("data", ["tidy", "nasty"])
def test_readers_open_what_was_written(request, tmp_path, data):
    """Pycocotools indexes every split, every mask decodes, and the YOLO tree obeys the Ultralytics grammar."""
    path = tmp_path / "out"
    export(request.getfixturevalue(data), path, max_failures="100%")
    check_tree({f"annotations/{file.name}": file.read_bytes() for file in path.glob("annotations/*.json")})
    for file in path.glob("annotations/*.json"):
        coco = COCO(file)
        for annotation in coco.loadAnns(coco.getAnnIds()):
            if annotation["segmentation"]:
                pixels = int(coco.annToMask(annotation).sum())
                assert isinstance(annotation["segmentation"], list) or pixels == annotation["area"]
        for image in coco.loadImgs(coco.getImgIds()):
            assert (path / "images" / file.stem.rpartition("_")[2] / image["file_name"]).exists()
    check_yolo_tree(path)


@pytest.mark.parametrize("size", [7, 100, 1000])
def test_the_shard_size_does_not_change_a_byte(tidy, golden, tmp_path, size):
    export(tidy, tmp_path / "out", run={"shard_size": size})
    assert digest(tmp_path / "out") == golden[1]


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


def test_faults_of_the_api_and_of_the_store_do_not_change_a_byte(golden, tmp_path):
    """Each kind a few times, at pages, payloads and originals: retried, never accepted, never lost."""
    faults = [
        Fault(route=route, kind=kind, at=(3 * number,), value=0.3 if kind == "cut" else None)
        for route in ("pages", "payloads", "originals")
        for number, kind in enumerate(("503", "500", "520", "cut", "reset", "429", "html"), start=1)
        if (route, kind) != ("originals", "html")
    ]
    with Sandbox(SandboxOptions(profile="tidy", records=60, payload="presigned", faults=faults)) as sandbox:
        export(sandbox, tmp_path / "out", run={"page_size": 5})
        failed = [entry for entry in sandbox.requests() if entry["status"] >= 400]
    assert len(failed) >= 10
    assert digest(tmp_path / "out") == golden[1]


def test_presigned_urls_that_run_out_are_issued_again(golden, tmp_path):
    options = SandboxOptions(profile="tidy", records=60, payload="presigned", url_ttl=0.5, blob_latency=0.12)
    with Sandbox(options) as sandbox:
        export(sandbox, tmp_path / "out", run={"requests": 3})
        assert [entry for entry in sandbox.requests() if entry["status"] == 403]
    assert digest(tmp_path / "out") == golden[1]


def test_a_synapse_storage_is_written_through_its_session(golden, tmp_path):
    with Sandbox(SandboxOptions(profile="tidy", records=60, storage_location=str(tmp_path))) as sandbox:
        result = export(sandbox, "exports/a", storage=sandbox.storage_id)
    assert result.url == str(tmp_path / "exports/a")
    assert digest(tmp_path / "exports/a") == golden[1]


def test_memory_storage_gives_the_same_bytes(tidy, golden):
    export(tidy, "memory://test-export/out")
    assert digest("memory://test-export/out") == golden[1]


def test_labels_only_downloads_no_image(tmp_path):
    with Sandbox(SandboxOptions(profile="tidy", records=20)) as sandbox:
        export(sandbox, tmp_path / "out", save_original_file=False)
        paths = [entry["path"] for entry in sandbox.requests()]
    assert not [path for path in paths if path.startswith(("/blobs/", "/media/"))]
    assert not (tmp_path / "out/images").exists()
    assert len(list((tmp_path / "out/labels").rglob("*.txt"))) == 20


def test_an_empty_selection_is_a_valid_empty_export(tidy, tmp_path):
    export(tidy, tmp_path / "out", filter={"project": tidy.project_id, "ids": [999_999_999]})
    coco = json.loads((tmp_path / "out/annotations/instances_train.json").read_text())
    assert coco["images"] == coco["annotations"] == []
    verify(open_storage(str(tmp_path / "out")), full=True)


def test_a_finished_export_is_left_alone(tmp_path):
    with Sandbox(SandboxOptions(profile="tidy", records=20)) as sandbox:
        first = export(sandbox, tmp_path / "out")
        sandbox.clear_requests()
        again = export(sandbox, tmp_path / "out")
        assert again.already_finished
        assert again.success == first.success
        assert len(sandbox.requests()) <= 3


def test_another_export_is_refused_with_the_keys_that_differ(tidy, golden):
    config = write_config(golden[0].parent, settings(tidy, golden[0], naming="id", masks="exclude"))
    done = command("run", config, env=environment(tidy))
    assert done.returncode == 2
    assert "differs in: masks, naming" in done.stderr
    assert digest(golden[0]) == golden[1]


def test_files_that_are_not_ours_are_never_touched(tidy, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("years of work")
    for mode in ("resume", "fail", "overwrite"):
        config = write_config(tmp_path, settings(tidy, tmp_path / "out", on_existing=mode))
        done = command("run", config, env=environment(tidy))
        assert done.returncode == 2
        assert "holds files that no export wrote (thesis.txt)" in done.stderr
    assert files(tmp_path / "out") == {"thesis.txt"}


def test_overwrite_replaces_an_export_and_nothing_else(tidy, golden, tmp_path):
    export(tidy, tmp_path / "out", naming="id")
    (tmp_path / "out/notes.txt").write_text("mine")
    export(tidy, tmp_path / "out", on_existing="overwrite")
    assert (tmp_path / "out/notes.txt").read_text() == "mine"
    (tmp_path / "out/notes.txt").unlink()
    assert digest(tmp_path / "out") == golden[1]


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
    verify(open_storage(str(tmp_path / "out")), full=True)
    failures = [json.loads(line) for line in (tmp_path / "out/metadata/failures.jsonl").read_text().splitlines()]
    assert {failure["record_id"] for failure in failures if failure["outcome"] == "failed"}
    assert (
        len({failure["record_id"] for failure in failures if failure["outcome"] == "failed"}) == told["failed_records"]
    )


def test_nasty_data_gives_the_same_bytes_for_any_shard_size(nasty, tmp_path):
    for size in (7, 1000):
        export(nasty, tmp_path / str(size), max_failures="100%", run={"shard_size": size})
    assert digest(tmp_path / "7") == digest(tmp_path / "1000")


def test_nasty_names_stay_inside_the_export(nasty, tmp_path):
    export(nasty, tmp_path / "deep/out", max_failures="100%")
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"out"}
    names = [Path(name) for name in files(tmp_path / "deep/out")]
    folded = [str(name).casefold() for name in names]
    assert len(set(folded)) == len(folded)


def test_above_the_failure_limit_nothing_is_published(nasty, tmp_path):
    with pytest.raises(FailureLimitError, match="nothing was published") as caught:
        export(nasty, tmp_path / "out")
    report = str(caught.value).split("listed in ")[1].split(";")[0]
    assert json.loads(Path(report).read_text().splitlines()[0])["reason"]
    assert not (tmp_path / "out/_SUCCESS.json").exists()
    # The limit does not change a byte, so raising it publishes what is there.
    export(nasty, tmp_path / "out", max_failures="100%")
    verify(open_storage(str(tmp_path / "out")))


def test_no_output_and_no_staging_holds_a_secret(nasty, tmp_path):
    export(nasty, tmp_path / "out", max_failures="100%", run={"keep_staging": True})
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert nasty.token.encode() not in content, path
            assert b"X-Sig=" not in content, path


@pytest.mark.parametrize("executor", ["serial", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.slow])])
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
