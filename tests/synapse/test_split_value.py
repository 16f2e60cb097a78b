"""What records have in common is read from any shape of row and document, and from nothing that runs out."""

import msgspec
import pytest

from exporting import export
from pipeline.sandbox import Sandbox, SandboxOptions
from pipeline.synapse.listing.row_files import originals_of
from pipeline.synapse.listing.rows import decode_page
from pipeline.synapse.split_value import split_value

DOCUMENT = {
    "extra": {
        "image_1": {"scene": " night ", "number": 7, "wet": False, "speed": 1.5, "tags": ["a"], "link": "s3://b/k"}
    },
    "annotations": {"image_1": []},
}


def value(key, row=None, document=DOCUMENT, target="task"):
    data = msgspec.json.encode(document)
    body = msgspec.json.encode({"results": [{"id": 1, **(row or {})}], "next": None})
    (decoded,) = decode_page(body).results
    return split_value(key, decoded, data, originals_of(decoded, target))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("extra.image_1.scene", "night"),
        ("extra.image_1.number", "7"),
        ("extra.image_1.wet", "false"),
        ("extra.image_1.speed", ""),
        ("extra.image_1.tags", ""),
        ("extra.image_1.link", ""),
        ("extra.image_1", ""),
        ("extra.image_2.scene", ""),
        ("extra.image_1.scene.deeper", ""),
        ("scene", ""),
    ],
)
def test_a_path_leads_into_the_document(path, expected):
    assert value(f"document.{path}") == expected


def test_a_wrapper_around_the_document_is_no_step_of_the_path():
    assert value("document.extra.image_1.scene", document={"mode": "inline", "data": DOCUMENT}) == "night"


@pytest.mark.parametrize("document", [None, [], "text", 7])
def test_what_is_no_object_has_no_value(document):
    assert value("document.extra", document=document) == ""


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"data_unit": 77}, "77"),
        ({"data_unit": {"id": 77, "meta": {}}}, "77"),
        ({"data_unit": None}, ""),
        ({}, ""),
    ],
)
def test_a_data_unit_is_a_number_or_an_object(row, expected):
    assert value("data_unit", row) == expected


def test_a_path_leads_into_the_data_unit():
    row = {"data_unit": {"id": 77, "meta": {"video": "가", "take": 3, "link": "https://x/y?sig=z"}}}
    assert value("data_unit.meta.video", row) == "가"
    assert value("data_unit.meta.take", row) == "3"
    assert value("data_unit.meta.link", row) == ""
    assert value("data_unit.meta", row) == ""
    assert value("data_unit.meta.video", {"data_unit": 77}) == ""


@pytest.mark.parametrize(
    ("target", "row"),
    [
        ("assignment", {"file": {"url": "u", "file_name_original": "a.jpg"}}),
        (
            "task",
            {"data_unit": {"id": 1, "files": {"data_meta_1": {"file_name_original": "a.json"}, "image_1": "a.jpg"}}},
        ),
        ("ground_truth", {"pgh_id": 5, "files": {"x": {"name": "b"}, "y": {"name": "a.jpg", "is_primary": True}}}),
    ],
)
def test_the_file_name_is_that_of_the_primary_file(target, row):
    expected = "" if target == "task" else "a.jpg"  # a bare URL has no name
    assert value("file_name", row, target=target) == expected


def test_a_record_is_its_own_group():
    assert value("record", {"data_unit": 77}) == ""


@pytest.mark.parametrize(("key", "expand"), [("data_unit.meta.video", "data_unit"), ("file_name", None)])
def test_assignments_are_listed_with_their_data_unit_where_it_is_looked_into(tmp_path, key, expand):
    with Sandbox(SandboxOptions(profile="tidy", records=5)) as sandbox:
        export(sandbox, tmp_path / "out", target="assignment", split={"by": "hash", "key": key})
        pages = [entry["query"] for entry in sandbox.requests() if "response_mode" in entry["query"]]
        assert {page.get("expand") for page in pages} == {expand}
        assert not [entry for entry in sandbox.requests() if entry["ignored_keys"]]
