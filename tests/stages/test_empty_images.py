"""Images without anything on them: kept as negatives, or left out with every annotation accounted for."""

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from exporting import digest, export, summary
from pipeline.commands.verify import verify
from pipeline.model.labels import class_names
from pipeline.model.ledger import Ledger
from pipeline.model.source import ExtractedRecord
from pipeline.reasons import Reason
from pipeline.records import Annotation, Failure, Record, Relation, Sample, Whole
from pipeline.stages.empty_images import drop_empty_images
from pipeline.stages.extract import account
from pipeline.storage import open_storage
from tests.formats.yolo.grammar import check_yolo_tree

NAMES = class_names({"lorry": "truck", "mist": "fog"}, ["fog", "truck"])
media = st.lists(
    st.tuples(
        st.sampled_from(["image", "image", "video", "document"]),
        st.lists(st.sampled_from(["car", "fog", "mist", "lorry", "", "broken"]), max_size=3),
    ),
    max_size=4,
)


def record(*media):
    """A record of these media, each its kind and labels; ``broken`` annotations could not be read."""
    samples, failures = [], []
    for ordinal, (kind, labels) in enumerate(media):
        name = f"{kind}_{ordinal + 1}"
        annotations = [
            Annotation(f"{ordinal}-{number}", "classification" if label else "relation", label, shape_of(label))
            for number, label in enumerate(labels)
            if label != "broken"
        ]
        broken = Failure(1, Reason.INVALID_POLYGON, "", name, f"{ordinal}-b", of="annotation")
        failures += [broken] * labels.count("broken")
        samples.append(Sample(1, ordinal, name, kind, 9, 9, None, tuple(annotations)))
    seen = sum(len(labels) for _, labels in media)
    return ExtractedRecord(Record(1, payload=b"{}"), tuple(samples), tuple(failures), seen, 100)


def shape_of(label):
    return Whole() if label else Relation("a", "b")


def booked(record):
    ledger = Ledger()
    account(record, ledger)
    return ledger


@given(media)
def test_whatever_is_left_out_the_books_balance(media):
    before = record(*media)
    after = drop_empty_images(before, NAMES)
    booked(after).check()
    kept = [sample.media for sample in after.samples]
    assert kept == [
        f"{kind}_{number}" for number, (kind, labels) in enumerate(media, start=1) if kind != "image" or "car" in labels
    ]
    assert [sample.ordinal for sample in after.samples] == list(range(len(kept)))
    assert after.record == before.record
    if len(kept) == len(media):
        assert after is before


def test_a_record_with_nothing_on_it_is_skipped_with_its_annotations():
    books = booked(drop_empty_images(record(("image", ["fog", "lorry"]), ("image", [])), NAMES))
    assert books.records.skipped == {Reason.EMPTY_IMAGE: 1}
    assert books.annotations.skipped == {Reason.CLASS_DROPPED: 2}


def test_what_could_not_be_read_is_a_failure_and_not_nothing():
    books = booked(drop_empty_images(record(("image", ["broken"])), NAMES))
    assert (books.records.failed, books.records.skipped) == ({Reason.INVALID_POLYGON: 1}, {})
    assert books.annotations.failed == {Reason.INVALID_POLYGON: 1}


def test_the_first_image_that_remains_becomes_the_first_of_the_record():
    after = drop_empty_images(record(("image", []), ("image", ["car"])), NAMES)
    assert [(sample.media, sample.ordinal) for sample in after.samples] == [("image_2", 0)]
    books = booked(after)
    assert (books.records.written, books.records.skipped) == (1, {})
    assert [(failure.of, failure.media, failure.detail) for failure in after.failures] == [
        ("media", "image_1", "labelled, and nothing is there")
    ]


def test_a_record_nobody_labelled_is_not_empty():
    never = ExtractedRecord(Record(1), failures=(Failure(1, Reason.NULL_DATA_DETECTED, outcome="skipped"),), bytes=4)
    assert drop_empty_images(never, NAMES) is never


def empty_keys(sandbox, *, dropped=()):
    return {truth.key for truth in sandbox.truth("task") if not {t.label for t in truth.annotations} - set(dropped)}


@pytest.mark.parametrize("dropped", [(), ("car", "person")])
def test_a_dataset_without_empty_images(tidy, tmp_path, dropped):
    gone = empty_keys(tidy, dropped=dropped)
    assert 0 < len(gone) < 60
    export(tidy, tmp_path / "out", empty="drop", classes={"drop": list(dropped)})
    rows = list(csv.DictReader((tmp_path / "out/metadata/records.csv").read_text().splitlines()))
    assert {int(row["record_id"]) for row in rows} == {truth.key for truth in tidy.truth("task")} - gone
    told = summary(tmp_path / "out")
    assert told["records"]["skipped"] == {"EMPTY_IMAGE": len(gone)}
    assert told["records"]["written"] == told["samples"] == told["originals"]["written"] == 60 - len(gone)
    lost = [thing for truth in tidy.truth("task") if truth.key in gone for thing in truth.annotations]
    assert told["annotations"]["skipped"] == ({"CLASS_DROPPED": len(lost)} if lost else {})
    failures = [json.loads(line) for line in (tmp_path / "out/metadata/failures.jsonl").read_text().splitlines()]
    assert {failure["record_id"] for failure in failures if failure["reason"] == "EMPTY_IMAGE"} == gone
    assert told["failed_records"] == 0
    for file in (tmp_path / "out/annotations").glob("instances_*.json"):
        images = json.loads(file.read_text())["images"]
        assert {image["id"] for image in images} == set(COCO(file).imgs)
    check_yolo_tree(tmp_path / "out")
    verify(open_storage(str(tmp_path / "out")), full=True)


def test_kept_is_what_it_was_and_the_key_is_no_other_default(tidy, tmp_path):
    export(tidy, tmp_path / "kept", empty="keep")
    export(tidy, tmp_path / "plain")
    assert digest(tmp_path / "kept") == digest(tmp_path / "plain")
    assert len(list((tmp_path / "kept/images").rglob("*.*"))) == 60


def test_nothing_depends_on_the_shard_size(nasty, tmp_path):
    for size in (7, 1000):
        options = {"empty": "drop", "classes": {"drop": ["car"]}, "run": {"shard_size": size}}
        export(nasty, tmp_path / str(size), max_failures="100%", **options)
    assert digest(tmp_path / "7") == digest(tmp_path / "1000")
    told = summary(tmp_path / "7")["records"]["skipped"]
    assert told["EMPTY_IMAGE"] > 0
    assert told["NULL_DATA_DETECTED"] > 0
