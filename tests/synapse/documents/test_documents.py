"""Annotations of every dialect and quality: what is read, what is refused and why."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reasons import Reason
from pipeline.records import Box, Opaque, Point, Polygon, Polyline, Relation, Whole
from synapse.documents.cases import BOX, GOOD_BOX, PAIRS, TRIANGLE, only, only_failure, parse, runs, thing, v1, v2


@pytest.mark.parametrize(
    ("document", "tool", "shape"),
    [
        (v1(GOOD_BOX), "bounding_box", Box(215, 242.5, 225, 189)),
        (v1(thing("bounding_box", {"coordinate": {**BOX, "rotation": 0.5693}})), "bounding_box",
         Box(215, 242.5, 225, 189, 0.5693)),
        (v1(thing("polygon", {"coordinate": TRIANGLE})), "polygon", Polygon((1, 2, 9, 2, 5, 8.5))),
        (v1(thing("polygon", {"coordinate": [*TRIANGLE, TRIANGLE[0]]})), "polygon", Polygon((1, 2, 9, 2, 5, 8.5))),
        (v1(thing("polyline", {"coordinate": TRIANGLE[:2]})), "polyline", Polyline((1, 2, 9, 2))),
        (v1(thing("keypoint", {"coordinate": {"x": 150, "y": 200}})), "keypoint", Point(150, 200, 2)),
        (v1(thing("classification", {})), "classification", Whole()),
        (v1(thing("classification", None)), "classification", Whole()),
        (v1(thing("relation", {"annotationId": "A", "targetAnnotationId": "B"})), "relation", Relation("A", "B")),
        (v2("bounding_box", data=[215, 242.5, 225, 189]), "bounding_box", Box(215, 242.5, 225, 189)),
        (v2("bounding_box", data=[215, 242.5, 225, 189], attrs=[{"name": "rotation", "value": 0.5}]), "bounding_box",
         Box(215, 242.5, 225, 189, 0.5)),
        (v2("polygon", data=PAIRS), "polygon", Polygon((1, 2, 9, 2, 5, 8.5))),
        (v2("polyline", data=PAIRS), "polyline", Polyline((1, 2, 9, 2, 5, 8.5))),
        (v2("keypoint", data=[150, 200], visibility=1, group_id="g"), "keypoint", Point(150, 200, 1)),
        (v2("classification", data={}), "classification", Whole()),
        (v2("relation", data=["A", "B"]), "relation", Relation("A", "B")),
    ],
)  # fmt: skip
def test_each_tool_of_an_image_is_read_in_both_versions(document, tool, shape):
    annotation = only(document)
    assert annotation.id == "a0"
    assert (annotation.tool, annotation.label, annotation.shape) == (tool, "car", shape)
    assert annotation.attributes == {}


@pytest.mark.parametrize(
    ("kind", "data", "shape"),
    [
        ("bbox", [100, 200, 50, 80], Box(100, 200, 50, 80)),
        ("polygon", PAIRS, Polygon((1, 2, 9, 2, 5, 8.5))),
        ("polyline", PAIRS, Polyline((1, 2, 9, 2, 5, 8.5))),
        ("keypoint", [1, 2], Point(1, 2)),
        ("classification", {}, Whole()),
    ],
)
def test_the_flat_dialect_is_read(kind, data, shape):
    annotation = {"id": "abc123", "type": kind, "data": data, "classification": "car"}
    document = {
        "annotations": {"image_1": [annotation]},
        "annotationsData": {"image_1": [{"id": "abc123", "type": kind}]},
    }
    assert parse(document).kind == "flat"
    assert (only(document).label, only(document).shape) == ("car", shape)


@pytest.mark.parametrize(
    ("annotation", "entry"),
    [
        ({"tool": "bbox", "classification": {"class": "car"}}, {"coordinate": BOX}),
        ({"tool": "bounding_box", "classification": "car"}, {"coordinate": BOX}),
        ({"tool": "bounding_box", "classification": "car", "data": [215, 242.5, 225, 189]}, None),
        ({"tool": "bounding_box", "classification": "car"}, {"data": [215, 242.5, 225, 189]}),
    ],
)
def test_the_liberties_the_sdk_takes_are_understood(annotation, entry):
    read = only(v1((annotation, entry)))
    assert (read.tool, read.label, read.shape) == ("bounding_box", "car", Box(215, 242.5, 225, 189))


def test_a_point_is_a_keypoint():
    assert only(v1(thing("point", {"coordinate": {"x": 1, "y": 2}}))).tool == "keypoint"


OPAQUE = [
    ("video_1", "segmentation", {"section": {"startFrame": 9, "endFrame": 17516}}),
    ("audio_1", "segmentation", {"section": {"start": 1.5, "end": 8.2}}),
    ("pcd_1", "3d_bounding_box", {"psr": {"position": {"x": 1, "y": 2, "z": 3}}}),
    ("pcd_1", "3d_segmentation", {"points": [100, 101]}),
    ("text_1", "named_entity", {"ranges": [{"start": "/p[1]", "end": "/p[1]"}], "content": "John Doe"}),
    ("data_1", "time_range", {"section": {"start": 1700000000000, "end": 1700000005000}}),
    ("prompt_1", "prompt", {"tool": "prompt", "input": [{"type": "text", "value": "…"}]}),
    ("prompt_1", "answer", {"tool": "answer", "output": []}),
    ("video_1", "bounding_box", {"coordinate": BOX, "frameIndex": 7}),
    ("image_1", "bezier_surface", {"control": [[1, 2]]}),
]


@pytest.mark.parametrize(("media", "tool", "geometry"), OPAQUE)
def test_what_no_image_format_draws_is_kept_as_its_json(media, tool, geometry):
    parsed = parse(v1(thing(tool, geometry), media=media))
    annotation = parsed.media[0].annotations[0]
    assert (parsed.media[0].kind, annotation.tool) == (media.partition("_")[0], tool)
    assert isinstance(annotation.shape, Opaque)
    assert json.loads(annotation.shape.json) == {"id": "a0", **geometry}


def test_other_media_of_version_2_are_kept_too():
    document = {"videos": [{"segmentation": [{"id": "s", "classification": "car", "data": {"startFrame": 1}}]}]}
    parsed = parse(document)
    assert (parsed.media[0].key, parsed.media[0].kind) == ("video_1", "video")
    assert parsed.media[0].annotations[0].shape == Opaque(b'{"startFrame": 1}')


@pytest.mark.parametrize("tool", ["prompt", "answer", "relation"])
def test_tools_that_have_no_class_need_none(tool):
    entry = {"annotationId": "A", "targetAnnotationId": "B", "input": []}
    assert only(v1(({"tool": tool, "classification": None}, entry))).label == ""


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"pixel_indices": [0, 1, 12], "isCompressed": False, "compressionFormat": None}, [[0, 2], [12, 1]]),
        ({"pixel_indices": [[0, 2], [12, 1]], "isCompressed": True, "compressionFormat": "rle"}, [[0, 2], [12, 1]]),
        ({"pixel_indices": [12, 1, 0]}, [[0, 2], [12, 1]]),
        ({"pixel_indices": [[12, 1], [0, 2]]}, [[0, 2], [12, 1]]),
        ({"pixel_indices": [7]}, [[7, 1]]),
        ({"pixel_indices": [7, 9]}, [[7, 1], [9, 1]]),
        ({"pixel_indices": [[7, 9]]}, [[7, 9]]),
        ({"pixel_indices": [[0, 1], [1, 1]], "compressionFormat": "rle"}, [[0, 2]]),
    ],
)
def test_masks_are_read_with_and_without_their_encoding(entry, expected):
    assert runs(only(v1(thing("segmentation", entry))).shape) == expected


@pytest.mark.parametrize(
    ("encoding", "data"), [("raw_indices", [0, 1, 12]), ("dm_rle", [[0, 2], [12, 1]]), (None, [0, 1, 12])]
)
def test_masks_of_version_2_are_read(encoding, data):
    told = {} if encoding is None else {"encoding": encoding, "isCompressed": encoding == "dm_rle"}
    assert runs(only(v2("segmentation", data=data, **told)).shape) == [[0, 2], [12, 1]]


@pytest.mark.parametrize(
    "entry",
    [
        {"pixel_indices": []},
        {"pixel_indices": [], "isCompressed": True, "compressionFormat": "rle"},
        {"pixel_indices": [0, 1, 1]},
        {"pixel_indices": [-1, 2]},
        {"pixel_indices": [0.0, 1.0]},
        {"pixel_indices": [1e3]},
        {"pixel_indices": ["1", "2"]},
        {"pixel_indices": [True]},
        {"pixel_indices": [None]},
        {"pixel_indices": "1,2"},
        {"pixel_indices": {"0": 2}},
        {"pixel_indices": [[0, 3], [2, 1]]},
        {"pixel_indices": [[0, 0]]},
        {"pixel_indices": [[0, 1, 2]]},
        {"pixel_indices": [[0]]},
        {"pixel_indices": [[]]},
        {"pixel_indices": [[0, 1], 5]},
        {"pixel_indices": [5, [0, 1]]},
        {"pixel_indices": [[[0, 1]]]},
        {"pixel_indices": [10**30]},
        {"pixel_indices": [[10**30, 1]]},
        {"pixel_indices": [0, 1], "isCompressed": True},
        {"pixel_indices": [5], "isCompressed": True, "compressionFormat": "rle"},
        {"pixel_indices": [[0, 1]], "isCompressed": False},
        {"pixel_indices": [[0, 1]], "isCompressed": True, "compressionFormat": "zlib"},
        {"pixel_indices": [0, 1], "isCompressed": False, "compressionFormat": "rle"},
        {"pixel_indices": [0, 1], "isCompressed": "false"},
        {"pixel_indices": [0, 1], "encoding": "coco_rle"},
        {"pixel_indices": [0, 1], "encoding": "dm_rle"},
    ],
)
def test_masks_that_are_none_or_contradict_themselves_are_refused(entry):
    assert only_failure(v1(thing("segmentation", entry))).reason == Reason.INVALID_MASK_ENCODING


@pytest.mark.parametrize(
    ("value", "expected"), [("missing", 0), ("occluded", 1), ("visible", 2), (0, 0), (1, 1), (2, 2), (None, 2)]
)
def test_visibility_is_a_word_or_a_number(value, expected):
    annotation = only(v1(thing("keypoint", {"coordinate": {"x": 1, "y": 2}}, visibility=value, side="left")))
    assert annotation.shape == Point(1, 2, expected)
    assert annotation.attributes == {"side": "left"}


@pytest.mark.parametrize("value", ["hidden", 3, -1, 1.5, True, [2]])
def test_another_visibility_is_malformed(value):
    keypoint = thing("keypoint", {"coordinate": {"x": 1, "y": 2}}, visibility=value)
    assert only_failure(v1(keypoint)).reason == Reason.MALFORMED_ANNOTATION


@pytest.mark.parametrize(
    ("tool", "entry", "reason"),
    [
        ("bounding_box", None, Reason.GEOMETRY_MISSING),
        ("bounding_box", {}, Reason.GEOMETRY_MISSING),
        ("bounding_box", {"coordinate": None}, Reason.GEOMETRY_MISSING),
        ("segmentation", {"isCompressed": False}, Reason.GEOMETRY_MISSING),
        ("3d_bounding_box", None, Reason.GEOMETRY_MISSING),
        ("named_entity", {"tool": "named_entity"}, Reason.GEOMETRY_MISSING),
        ("relation", None, Reason.GEOMETRY_MISSING),
        ("relation", {"annotationId": "A"}, Reason.MALFORMED_ANNOTATION),
        ("bounding_box", {"coordinate": {}}, Reason.INVALID_GEOMETRY),
        ("bounding_box", {"coordinate": {**BOX, "x": None}}, Reason.INVALID_GEOMETRY),
        ("bounding_box", {"coordinate": {**BOX, "x": "215"}}, Reason.INVALID_GEOMETRY),
        ("bounding_box", {"coordinate": {**BOX, "x": True}}, Reason.INVALID_GEOMETRY),
        ("bounding_box", {"coordinate": {**BOX, "x": 10**7 + 1}}, Reason.INVALID_GEOMETRY),
        ("bounding_box", {"coordinate": {**BOX, "x": 10**400}}, Reason.INVALID_GEOMETRY),
        ("bounding_box", {"coordinate": {**BOX, "width": 1e9}}, Reason.INVALID_GEOMETRY),
        ("bounding_box", {"coordinate": {**BOX, "rotation": "left"}}, Reason.INVALID_GEOMETRY),
        ("bounding_box", {"coordinate": TRIANGLE}, Reason.INVALID_GEOMETRY),
        ("bounding_box", {"data": [1, 2, 3]}, Reason.INVALID_GEOMETRY),
        ("polygon", {"coordinate": BOX}, Reason.INVALID_GEOMETRY),
        ("polygon", {"coordinate": [*TRIANGLE, 5]}, Reason.INVALID_GEOMETRY),
        ("polygon", {"data": [[1, 2, 3]]}, Reason.INVALID_GEOMETRY),
        ("keypoint", {"coordinate": [1, 2, 3]}, Reason.INVALID_GEOMETRY),
    ],
)
def test_bad_geometry_is_refused_with_its_reason_and_never_invented(tool, entry, reason):
    failure = only_failure(v1(thing(tool, entry)))
    assert (failure.reason, failure.outcome) == (reason, "failed")
    assert (failure.media, failure.annotation_id) == ("image_1", "a0")


@pytest.mark.parametrize(
    ("tool", "entry", "reason"),
    [
        ("bounding_box", {"coordinate": {**BOX, "width": 0}}, Reason.INVALID_BOUNDING_BOX),
        ("bounding_box", {"coordinate": {**BOX, "height": 0, "width": -3}}, Reason.INVALID_BOUNDING_BOX),
        ("polygon", {"coordinate": TRIANGLE[:2]}, Reason.INVALID_POLYGON),
        ("polygon", {"coordinate": [*TRIANGLE[:2], TRIANGLE[0]]}, Reason.INVALID_POLYGON),
        ("polygon", {"coordinate": []}, Reason.INVALID_POLYGON),
        ("polyline", {"coordinate": TRIANGLE[:1]}, Reason.INVALID_GEOMETRY),
        ("segmentation", {"pixel_indices": []}, Reason.INVALID_MASK_ENCODING),
    ],
)
def test_what_no_format_could_draw_is_skipped(tool, entry, reason):
    failure = only_failure(v1(thing(tool, entry)))
    assert (failure.reason, failure.outcome) == (reason, "skipped")


@given(st.floats(-500, 500), st.floats(-500, 500), st.floats(1, 300), st.floats(1, 300), st.booleans(), st.booleans())
def test_a_box_drawn_from_right_to_left_or_upwards_is_the_box_that_was_drawn(x, y, width, height, left, up):
    """Whichever corner it was begun at, it has the same four; only one that was turned round is reported."""
    drawn = {"x": x + width * left, "y": y + height * up, "width": -width if left else width,
             "height": -height if up else height}  # fmt: skip
    (media,) = parse(v1(thing("bounding_box", {"coordinate": drawn}))).media
    (annotation,) = media.annotations
    box = annotation.shape
    assert (box.x, box.y, box.width, box.height) == pytest.approx((x, y, width, height))
    corrected = [("corrected", Reason.BOX_TURNED_ROUND)] if left or up else []
    assert [(failure.outcome, failure.reason) for failure in media.failures] == corrected


def test_a_number_no_float_can_hold_is_refused():
    document = json.dumps(v1(thing("bounding_box", {"coordinate": {**BOX, "x": "@"}}))).replace('"@"', "1e999")
    assert only_failure(document.encode()).reason == Reason.INVALID_GEOMETRY


@pytest.mark.parametrize(
    "classification", [None, {}, {"class": None}, {"class": ""}, {"class": "  "}, "", [], 5, {"class": 5},
                       {"color": "red"}]
)  # fmt: skip
def test_an_annotation_without_a_proper_class_is_refused(classification):
    box = ({"tool": "bounding_box", "classification": classification}, {"coordinate": BOX})
    assert only_failure(v1(box)).reason == Reason.INVALID_CLASS_NAME


@pytest.mark.parametrize(
    ("code", "label"),
    [("a\tb", "a b"), ("a\x1b[2Jb", "a [2Jb"), ("a\r\nb", "a b"), ("a\u2028b", "a b"), ("a\x00", "a")],
)
def test_control_characters_in_a_class_are_spaces_and_reported(code, label):
    box = ({"tool": "bounding_box", "classification": {"class": code}}, {"coordinate": BOX})
    document = parse(v1(box))
    (media,) = document.media
    assert [annotation.label for annotation in media.annotations] == [label]
    assert [(failure.outcome, failure.reason) for failure in media.failures] == [
        ("corrected", Reason.CLASS_NAME_TIDIED)
    ]
    assert document.seen == 1


def test_a_class_is_trimmed_and_normalised():
    box = ({"tool": "bounding_box", "classification": {"class": " 가로수\n"}}, {"coordinate": BOX})
    assert only(v1(box)).label == "가로수"


def test_everything_else_chosen_is_an_attribute_of_any_json_value():
    chosen = {"color": "red", "d": ["a"], "nested": {"deep": [1, None]}, "speed": 1.5, "rotation": "left"}
    assert only(v1(thing("bounding_box", {"coordinate": BOX}, **chosen))).attributes == chosen
    attrs = [{"name": name, "value": value} for name, value in chosen.items() if name != "rotation"]
    assert only(v2("bounding_box", data=[1, 2, 3, 4], attrs=attrs)).attributes == {
        name: value for name, value in chosen.items() if name != "rotation"
    }


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, [10**30], {"a": 10**30}])
def test_a_number_that_cannot_be_staged_is_malformed(value):
    failure = only_failure(v1(thing("bounding_box", {"coordinate": BOX}, serial=value)))
    assert failure.reason == Reason.MALFORMED_ANNOTATION


@pytest.mark.parametrize("attrs", [5, [5], [{"value": 1}], [{"name": 5}]])
def test_attrs_of_another_shape_are_malformed(attrs):
    assert only_failure(v2("bounding_box", data=[1, 2, 3, 4], attrs=attrs)).reason == Reason.MALFORMED_ANNOTATION


@pytest.mark.parametrize("annotation", [None, 5, "text", [], {}, {"tool": "bounding_box"}, {"id": ""}, {"id": None}])
def test_an_annotation_that_is_no_object_with_an_id_is_malformed(annotation):
    document = {"annotations": {"image_1": [annotation]}, "annotationsData": {}}
    failure = only_failure(document)
    assert (failure.reason, failure.annotation_id) == (Reason.MALFORMED_ANNOTATION, "")


def test_an_annotation_without_a_tool_is_malformed():
    assert only_failure(v1(({"classification": {"class": "car"}}, {"coordinate": BOX}))).reason == (
        Reason.MALFORMED_ANNOTATION
    )


def test_geometry_without_an_annotation_is_skipped_and_reported():
    document = v1(GOOD_BOX)
    document["annotationsData"]["image_1"] += [{"id": "lost", "coordinate": BOX}, {"coordinate": BOX}, 5]
    document["annotationsData"]["image_9"] = [{"id": "elsewhere"}]
    parsed = parse(document)
    assert parsed.seen == 5
    assert [(f.reason, f.annotation_id, f.outcome) for f in parsed.media[0].failures] == [
        (Reason.ORPHAN_GEOMETRY, "", "skipped"),
        (Reason.ORPHAN_GEOMETRY, "", "skipped"),
        (Reason.ORPHAN_GEOMETRY, "lost", "skipped"),
    ]
    assert [(f.media, f.annotation_id) for f in parsed.failures] == [("image_9", "elsewhere")]


def test_the_first_of_two_annotations_with_one_id_counts():
    document = v1(GOOD_BOX, thing("bounding_box", {"coordinate": BOX}, color="red"))
    document["annotations"]["image_1"][1]["id"] = "a0"
    document["annotationsData"]["image_1"].pop()
    (media,) = parse(document).media
    assert [annotation.attributes for annotation in media.annotations] == [{}]
    assert [(f.reason, f.outcome) for f in media.failures] == [(Reason.DUPLICATE_ANNOTATION, "failed")]


def test_the_last_of_two_entries_with_one_id_counts_as_in_the_sdk():
    document = v1(thing("bounding_box", {"coordinate": {**BOX, "x": 1}}))
    document["annotationsData"]["image_1"].append({"id": "a0", "coordinate": {**BOX, "x": 2}})
    (media,) = parse(document).media
    assert media.annotations[0].shape.x == 2
    assert [(f.reason, f.annotation_id) for f in media.failures] == [(Reason.ORPHAN_GEOMETRY, "a0")]


def test_a_bad_annotation_does_not_lose_its_neighbours():
    bad = thing("polygon", {"coordinate": "oops"})
    parsed = parse(v1(GOOD_BOX, bad, GOOD_BOX))
    assert [annotation.id for annotation in parsed.media[0].annotations] == ["a0", "a2"]
    assert [failure.annotation_id for failure in parsed.media[0].failures] == ["a1"]


def test_relations_are_found_in_both_places_but_only_once():
    inside = thing("relation", {"annotationId": "A", "targetAnnotationId": "B"})
    outside = {"id": "r", "annotationId": "B", "targetAnnotationId": "A", "classification": {"class": "follows"}}
    again = {"id": "a0", "annotationId": "A", "targetAnnotationId": "B"}
    (media,) = parse(v1(inside, relations={"image_1": [outside, again]})).media
    assert [(a.label, a.shape) for a in media.annotations] == [
        ("car", Relation("A", "B")),
        ("follows", Relation("B", "A")),
    ]
    assert [(f.reason, f.outcome) for f in media.failures] == [(Reason.DUPLICATE_ANNOTATION, "skipped")]


def keypoints(groups):
    point = thing("keypoint", {"coordinate": {"x": 1, "y": 2}})
    (media,) = parse(v1(point, point, point, annotationGroups={"image_1": groups})).media
    return [annotation.group for annotation in media.annotations]


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([{"id": "g", "annotationIds": ["a0", "a2"]}], ["g", "", "g"]),
        ([{"id": "g", "annotationIds": ["a0"]}, {"id": "h", "annotationIds": ["a1"]}], ["g", "h", ""]),
        ([{"id": "g", "annotationList": [{"annotationId": "a0", "children": [{"annotationId": "a1"}]}]}],
         ["g", "g", ""]),
        ([{"id": "g", "annotationIds": ["a0", "gone"]}], ["g", "", ""]),
        ([{"id": "g", "annotationIds": ["a0"]}, {"id": "h", "annotationIds": ["a0"]}], ["", "", ""]),
        ([5, {"annotationIds": ["a1"]}, {"id": "g", "annotationIds": ["a0"]}, {"id": "h", "annotationIds": 5}],
         ["g", "", ""]),
        (5, ["", "", ""]),
    ],
)  # fmt: skip
def test_groups_are_read_in_both_forms(groups, expected):
    assert keypoints(groups) == expected
