"""Pages and rows of every shape the API is known for."""

import json

import pytest

from pipeline.synapse.listing.row_files import files_json, originals_of
from pipeline.synapse.listing.rows import Row, decode_page
from pipeline.synapse.listing.wrappers import unwrapped, wrapper_of

DEEP = b"[" * 20_000 + b"]" * 20_000
SIGNED = "https://s3.example/a.jpg?X-Amz-Signature=canary"


def body_of(*rows, head=b'"count":9,"next":"http://h/x?a=1&b=[","previous":null'):
    return b'{%b,"results":[%b]}' % (head, b", ".join(rows))


@pytest.mark.parametrize(
    "poison",
    [
        b'{"id":2,"data":{"deep":%b}}' % DEEP,
        b'{"id":2,"data":{"x":NaN}}',
        b'{"id":2,"data":{"x":-Infinity,"y":"}]"}}',
        b'{"id":2,"data":{"x":"\\ud800"}}',
        b'{"id":2,"data":"raw\ntext"}',
        b'{"id":2,"data":{"a":01}}',
        b'{ "id" : 2 , "data" : nothing }',
    ],
)
def test_a_row_no_reader_accepts_leaves_its_neighbours_whole(poison):
    good = b'{"id":%d,"project":12,"data":{"t":"]}\\"{","n":1.50}}'
    page = decode_page(body_of(good % 1, poison, good % 3))
    assert [row.id for row in page.results] == [1, 2, 3]
    assert bytes(page.results[0].data) == bytes(page.results[2].data) == b'{"t":"]}\\"{","n":1.50}'
    assert bytes(page.results[1].data) in poison
    assert (page.next, page.count) == ("http://h/x?a=1&b=[", 9)


@pytest.mark.parametrize("odd", [b'{"id":"x"}', b"null", b"5", b"[]", b"{}", b'{"id":null,"data":NaN}'])
def test_a_row_without_an_id_is_nobodys(odd):
    page = decode_page(body_of(b'{"id":1,"data":{}}', odd, b'{"id":3}'))
    assert [row.id for row in page.results if row.id] == [1, 3]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Sign in</html>",
        b"[]",
        b"null",
        b'{"detail":"x"}',
        b'{"results":5}',
        b'{"results":NaN}',
        body_of(b'{"id":1}')[:-3],
        body_of(b'{"id":1,"data":{"x":NaN}}')[:-1],
    ],
)
def test_what_is_no_page_or_half_a_page_is_not_taken_for_one(body):
    with pytest.raises(ValueError, match=r"."):
        decode_page(body)


def test_ground_truth_is_known_by_its_event():
    page = decode_page(body_of(b'{"id":7,"pgh_id":90211}', b'{"id":7}'))
    assert [row.key for row in page.results] == [90211, 7]


@pytest.mark.parametrize(
    ("project", "belongs"),
    [(12, True), (13, False), ({"id": 13}, False), ({"id": 12}, True), (None, True), ("x", True)],
)
def test_a_row_belongs_to_the_project_it_names(project, belongs):
    assert Row(1, project=project).is_of(12) is belongs


def raw(value):
    return decode_page(body_of(b'{"id":1,"data":%b}' % json.dumps(value).encode())).results[0].data


def test_wrappers_are_told_from_documents():
    presigned = wrapper_of(raw({"mode": "presigned", "presigned_url": SIGNED, "size": 5, "data_digest": "ab"}))
    assert (presigned.presigned_url, presigned.size, presigned.data_digest) == (SIGNED, 5, "ab")
    assert wrapper_of(raw({"mode": "inline", "truncated": True, "presigned_url": SIGNED})).presigned_url == SIGNED
    assert wrapper_of(raw({"mode": "inline", "truncated": True})).presigned_url is None
    for document in (
        {"mode": "inline", "data": {"annotations": {}}},
        {"annotations": {"image_1": [{"id": "a", "classification": {"mode": "presigned"}}]}},
        {"mode": 5},
        {"mode": "presigned", "text": "x" * 10_000},
        ["mode"],
        "mode",
        None,
    ):
        assert wrapper_of(raw(document)) is None


def test_a_document_beside_its_wrapper_is_unwrapped():
    assert unwrapped(b'{"mode":"inline","data":{"annotations":{}}}') == b'{"annotations":{}}'
    assert unwrapped(b'{"data": [1, 2], "mode": "inline"}') == b"[1, 2]"
    for document in (b'{"annotations":{"mode":"inline"}}', b'{"mode":"x","data":1}', b'{"mode":"inline"}', b"5"):
        assert unwrapped(document) == document


INFO = {"url": SIGNED, "file_name_original": "a.jpg", "file_type": "image", "is_primary": True, "size": 5}


@pytest.mark.parametrize(
    ("target", "fields", "expected"),
    [
        ("assignment", {"file": INFO}, [("", "a.jpg", SIGNED)]),
        ("assignment", {"file": SIGNED}, [("", "", SIGNED)]),
        ("assignment", {"file": None, "data_unit": {"files": {"image_1": {"path_original": "a"}}}}, []),
        ("assignment", {"file": {}}, []),
        ("task", {"data_unit": 77}, []),
        ("task", {"data_unit": {"files": None}}, []),
        ("task", {"data_unit": {"files": {"image_1": INFO}}}, [("image_1", "a.jpg", SIGNED)]),
        ("task", {"data_unit": {"files": {"image_1": SIGNED, "x": None}}}, [("image_1", "", SIGNED)]),
        (
            "task",
            {"files_manifest": {"image_2": INFO}, "data_unit": {"files": {"image_1": INFO}}},
            [("image_2", "a.jpg", SIGNED)],
        ),
        ("task", {"files_manifest": {}, "data_unit": {"files": {"image_1": INFO}}}, [("image_1", "a.jpg", SIGNED)]),
        ("ground_truth", {"files": {"image_1": {"url": SIGNED, "meta": {}}}}, [("image_1", "", SIGNED)]),
        ("ground_truth", {"files": None, "data_unit": {"files": {"image_1": INFO}}}, [("image_1", "a.jpg", SIGNED)]),
        (
            "ground_truth",
            {
                "files": [
                    {"file_type": "data", "file_specification": "data_meta", "url": "/m/a"},
                    {"file_type": "image", "url": "/m/b"},
                ]
            },
            [("data_meta", "", "/m/a"), ("image_1", "", "/m/b")],
        ),
        (
            "ground_truth",
            {"files": [{"specification": {"name": "image_3"}, "filename": "b.png"}]},
            [("image_3", "b.png", "")],
        ),
        ("ground_truth", {"files": ["/m/a", "/m/b"]}, [("image_1", "", "/m/a"), ("image_2", "", "/m/b")]),
        ("ground_truth", {"files": [{"name": "image_1", "file_name_original": "c"}, 5]}, [("image_1", "c", "")]),
    ],
)
def test_files_are_found_in_every_shape(target, fields, expected):
    found = originals_of(Row(1, **fields), target)
    assert [(original.file.spec, original.file.name, original.url) for original in found] == expected
    assert sum(original.file.primary for original in found) == min(1, len(expected))


@pytest.mark.parametrize(
    ("files", "primary"),
    [
        ({"data_meta_1": {"file_type": "data", "is_primary": False}, "image_1": {"is_primary": True}}, "image_1"),
        ({"data_meta_1": {"file_type": "data"}, "image_1": {"file_type": "image"}}, "image_1"),
        ({"data_meta_1": {}, "image_1": {}}, "image_1"),
        ({"data_1": {"file_type": "data"}}, "data_1"),
        ({"image_1": {}, "image_2": {"is_primary": True}, "image_3": {"is_primary": True}}, "image_2"),
        ({"image_2": {}, "image_1": {}}, "image_2"),
        ({"image_1": {"is_primary": "true"}, "image_2": {"is_primary": 1}}, "image_1"),
    ],
)
def test_exactly_one_file_is_primary(files, primary):
    found = originals_of(Row(1, data_unit={"files": files}), "task")
    assert [original.file.spec for original in found] == list(files)
    assert [original.file.spec for original in found if original.file.primary] == [primary]


def test_odd_values_of_a_file_are_not_believed():
    info = {"url": 5, "file_name_original": None, "name": "n.jpg", "file_type": 3, "size": "5", "checksum": 7}
    info["meta"] = {"width": 640.0, "height": "480"}
    (found,) = originals_of(Row(1, data_unit={"files": {"image_1": info}}), "task")
    assert found.url == ""
    assert (found.file.name, found.file.kind, found.file.width, found.file.height) == ("n.jpg", "image", 640, None)
    assert (found.file.size, found.file.checksum) == (None, "")


def test_a_name_with_half_a_character_does_not_cost_the_record_its_file():
    files = b'{"image_1":{"url":"/media/a","file_name_original":"a\\ud800 \\ud83d\\ude00.jpg"}}'
    page = decode_page(body_of(b'{"id":1,"data_unit":{"files":%b}}' % files, b'{"id":2}'))
    (found,) = originals_of(page.results[0], "task")
    assert (found.url, found.file.name) == ("/media/a", "a? 😀.jpg")


def test_file_infos_are_kept_without_any_url():
    info = {
        **INFO,
        "meta": {"width": 5, "thumb_url": SIGNED, "more": [SIGNED, {"url": "/media/a"}, 1]},
        "preview": SIGNED,
    }
    row = Row(1, data_unit={"files": {"image_1": info, "x": {"url": "/media/y"}}})
    assert json.loads(files_json(row, "task")) == {
        "image_1": {
            "file_name_original": "a.jpg",
            "file_type": "image",
            "is_primary": True,
            "size": 5,
            "meta": {"width": 5, "more": [{}, 1]},
        },
        "x": {},
    }
