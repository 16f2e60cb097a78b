"""COCO as the Synapse SDK's own converter makes it: the same where both can say it, and every difference by name."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synapse_sdk.utils.converters.coco.from_dm import FromDMToCOCOConverter
from synapse_sdk.utils.converters.dm.types import (
    COCO_PERSON_17_KEYPOINTS,
    COCO_PERSON_17_SKELETON,
    build_export_contract,
)

from pipeline.formats import Loss
from pipeline.formats.coco.format import Coco
from pipeline.formats.coco.keypoints import make_categories
from pipeline.formats.testing import catalog_of, samples
from pipeline.formats.testing.annotations import ARROW
from pipeline.formats.testing.shapes import mask
from pipeline.images.geometry import polygon_area
from pipeline.images.painting import painted_area
from pipeline.model.skeletons import PERSON_EDGES, PERSON_POINTS, make_skeleton
from pipeline.records import Annotation, Box, Point, Polygon
from tests.formats.coco.grammar import annotations_of
from tests.formats.sdk_documents import CLASSES, HEIGHT, WIDTH, annotations, document

PERSON_17 = make_skeleton("person", PERSON_POINTS, PERSON_EDGES)
ROLES = ("instances", "person_keypoints", "stuff")


def theirs(*images, masks="instance"):
    """What the SDK makes of a document with these images, and what it says it left out or failed at."""
    converted = FromDMToCOCOConverter(build_export_contract(masks)).convert_item(
        {"images": [document(drawn) for drawn in images]},
        annotation_meta=None, item_id="1", file_name="images/empty.png", width=WIDTH, height=HEIGHT,
    )  # fmt: skip
    found = {role: [item.model_dump() for item in converted.datasets[role].annotations] for role in ROLES}
    return found, [(item["annotation_id"], item["reason_code"]) for item in (*converted.audit, *converted.failures)]


def ours(drawn, *, masks="instance", skeletons=(PERSON_17,)):
    """What we make of the same image, and what we report."""
    sample = samples()[1]
    source = msgspec.structs.replace(sample.sample, annotations=drawn, width=WIDTH, height=HEIGHT)
    sample = msgspec.structs.replace(sample, sample=source)
    results = list(Coco().render(sample, catalog_of([sample], configured=CLASSES, masks=masks, skeletons=skeletons)))
    found = {role: annotations_of(results, role) for role in ROLES}
    return found, [(loss.annotation_id, str(loss.reason)) for loss in results if isinstance(loss, Loss)]


# Quarters of a pixel, so that areas are exact whichever way they are added up.
def quarters(limit, least=0):
    return st.integers(least * 4, limit * 4).map(lambda number: number / 4)


@st.composite
def boxes(draw):
    x, y = draw(quarters(WIDTH - 1)), draw(quarters(HEIGHT - 1))
    width, height = draw(quarters(WIDTH, 1)), draw(quarters(HEIGHT, 1))
    return Box(x, y, min(width, WIDTH - x), min(height, HEIGHT - y))


def is_simple(polygon):
    """Of a polygon that crosses itself, the SDK gives the difference of the areas it goes around either way."""
    return painted_area(polygon.points) == polygon_area(polygon.points)


POLYGONS = (
    st.lists(st.tuples(quarters(WIDTH), quarters(HEIGHT)), min_size=3, max_size=6)
    .map(lambda pairs: Polygon(tuple(number for pair in pairs for number in pair)))
    .filter(is_simple)
)


@st.composite
def bitmaps(draw):
    chance = np.random.default_rng(draw(st.integers(0, 2**32)))
    bitmap = chance.random((HEIGHT, WIDTH)) < draw(st.sampled_from([0.01, 0.3, 0.9]))
    bitmap[draw(st.integers(0, HEIGHT - 1)), draw(st.integers(0, WIDTH - 1))] = True
    return mask(bitmap)


@st.composite
def people(draw, group):
    """Keypoints of one person, of which at least two are seen, a pixel or more apart on both axes."""
    names = draw(st.lists(st.sampled_from(PERSON_POINTS), min_size=2, unique=True))
    x, y = draw(quarters(WIDTH - 1)), draw(quarters(HEIGHT - 1))
    first = [Point(x, y, draw(st.sampled_from([1, 2]))), Point(draw(quarters(WIDTH, 0)), y + 1, 2)]
    first[1] = Point(first[1].x if abs(first[1].x - x) >= 1 else x + 1, y + 1, 2)
    others = [Point(draw(quarters(WIDTH)), draw(quarters(HEIGHT)), draw(st.sampled_from([0, 1, 2]))) for _ in names[2:]]
    return [("keypoint", name, point, group) for name, point in zip(names, first + others, strict=True)]


@st.composite
def images(draw):
    """The annotations of an image, in the order of their ids, as the SDK writes them."""
    drawn = [
        ("bounding_box", draw(st.sampled_from(CLASSES)), shape, "") for shape in draw(st.lists(boxes(), max_size=4))
    ]
    drawn += [("polygon", draw(st.sampled_from(CLASSES)), shape, "") for shape in draw(st.lists(POLYGONS, max_size=4))]
    drawn += [
        ("segmentation", draw(st.sampled_from(CLASSES)), shape, "") for shape in draw(st.lists(bitmaps(), max_size=2))
    ]
    for group in draw(st.lists(st.sampled_from("ghi"), max_size=2, unique=True).map(sorted)):
        drawn += draw(people(group))
    return tuple(
        Annotation(f"{number:03}", tool, label, shape, group=group)
        for number, (tool, label, shape, group) in enumerate(drawn)
    )


@settings(max_examples=80, deadline=None)
@given(images(), st.sampled_from(["instance", "semantic", "exclude"]))
def test_what_both_can_say_is_the_same(drawn, masks):
    said, left_out = theirs(drawn, masks=masks)
    written, reported = ours(drawn, masks=masks)
    for role in ROLES:
        assert len(written[role]) == len(said[role])
        for our, their in zip(written[role], said[role], strict=True):
            assert our["bbox"] == their["bbox"]
            assert our["area"] == their["area"]
            assert our["iscrowd"] == their["iscrowd"]
            assert our["segmentation"] == (their["segmentation"] or [])
            assert our.get("keypoints") == their["keypoints"]
            assert our.get("num_keypoints") == their["num_keypoints"]
    polygons = {"INVALID_POLYGON": "INVALID_GEOMETRY"}
    assert [(identity, polygons.get(reason, reason)) for identity, reason in reported] == sorted(left_out)


@settings(max_examples=40, deadline=None)
@given(images())
def test_classes_are_the_same_by_name(drawn):
    def named(annotation, categories):
        return next(category["name"] for category in categories if category["id"] == annotation["category_id"])

    converted = FromDMToCOCOConverter(build_export_contract("instance")).convert_item(
        {"images": [document(drawn)]},
        annotation_meta=None, item_id="1", file_name="images/empty.png", width=WIDTH, height=HEIGHT,
    ).datasets["instances"]  # fmt: skip
    categories = [category.model_dump() for category in converted.categories]
    said = [named(annotation.model_dump(), categories) for annotation in converted.annotations]
    written, _ = ours(drawn)
    # The SDK numbers the classes of each item anew; ours are the project's, first and in its order.
    assert [CLASSES[annotation["category_id"] - 1] for annotation in written["instances"]] == said


def test_numbers_of_many_digits_are_the_same():
    drawn = annotations()
    (their, their_losses), (our, our_losses) = theirs(drawn), ours(drawn)
    assert not their_losses
    assert not our_losses
    for written, expected in zip(our["instances"], their["instances"], strict=True):
        assert [written[key] for key in ("category_id", "bbox", "iscrowd")] == [
            expected[key] for key in ("category_id", "bbox", "iscrowd")
        ]
        assert written["segmentation"] == (expected["segmentation"] or [])
        rings = written["segmentation"] if isinstance(written["segmentation"], list) else []
        if all(is_simple(Polygon(tuple(ring))) for ring in rings):
            assert written["area"] == pytest.approx(expected["area"], rel=1e-9)


def test_difference_a_polygon_that_crosses_itself_has_no_area_there_and_the_painted_one_here():
    drawn = (polygon("p", 20, 10, 60, 40, 60, 10, 20, 40),)
    (said, failures), (written, reported) = theirs(drawn), ours(drawn)
    assert not said["instances"]
    assert failures == [("p", "INVALID_GEOMETRY")]
    assert written["instances"][0]["area"] == 600
    assert not reported


def box(identity, *numbers, group="", **attributes):
    return Annotation(identity, "bounding_box", "car", Box(*map(float, numbers)), attributes, group)


def point(identity, label, x, y, visibility=2, group="g", **attributes):
    return Annotation(identity, "keypoint", label, Point(float(x), float(y), visibility), attributes, group)


def polygon(identity, *numbers):
    return Annotation(identity, "polygon", "car", Polygon(tuple(map(float, numbers))))


def test_the_skeleton_of_a_person_is_the_sdks():
    (category,) = make_categories(PERSON_17, ["person"])
    assert list(category.keypoints) == list(COCO_PERSON_17_KEYPOINTS)
    assert [list(line) for line in category.skeleton] == [list(line) for line in COCO_PERSON_17_SKELETON]


def test_difference_a_turned_box_is_written_as_if_upright_and_not_audited():
    drawn = (box("b", 40, 20, 20, 10, math.pi / 6),)
    (said, audit), (written, reported) = theirs(drawn), ours(drawn)
    assert said["instances"][0]["bbox"] == [40, 20, 20, 10]
    assert not audit
    assert written["instances"][0]["bbox"] != [40, 20, 20, 10]
    assert len(written["instances"][0]["segmentation"][0]) == 8
    assert reported == [("b", "ROTATION_ENCLOSED")]


def test_difference_a_box_over_the_border_is_not_cut():
    drawn = (box("b", -5, 40, 20, 20),)
    (said, audit), (written, reported) = theirs(drawn), ours(drawn)
    assert said["instances"][0]["bbox"] == [-5, 40, 20, 20]
    assert not audit
    assert written["instances"][0]["bbox"] == [0, 40, 15, 10]
    assert reported == [("b", "CLIPPED_TO_IMAGE")]


@pytest.mark.parametrize("outside", [box("x", 150, 10, 5, 5), polygon("x", 150, 10, 160, 10, 150, 30)])
def test_difference_what_lies_outside_the_image_is_written(outside):
    (said, audit), (written, reported) = theirs((outside,)), ours((outside,))
    assert len(said["instances"]) == 1
    assert not audit
    assert not written["instances"]
    assert reported == [("x", "OUTSIDE_IMAGE")]


def test_difference_what_is_not_there_is_null():
    drawn = (box("b", 1, 2, 3, 4),)
    (said, _), (written, _) = theirs(drawn), ours(drawn)
    nulls = {key for key, value in said["instances"][0].items() if value is None}
    assert nulls == {"segmentation", "keypoints", "num_keypoints", "score"}
    assert nulls & written["instances"][0].keys() == {"segmentation"}
    assert written["instances"][0]["segmentation"] == []


def test_difference_there_are_no_attributes_and_no_crowds():
    drawn = (box("b", 1, 2, 3, 4, iscrowd=True, colour="red"),)
    (said, audit), (written, reported) = theirs(drawn), ours(drawn)
    assert said["instances"][0]["iscrowd"] == 0
    assert "attributes" not in said["instances"][0]
    assert not audit
    assert written["instances"][0]["iscrowd"] == 1
    assert written["instances"][0]["attributes"] == {"iscrowd": True, "colour": "red"}
    assert not reported


def test_difference_the_box_of_a_person_is_never_the_one_that_was_drawn():
    drawn = (box("b", 5, 5, 40, 40, group="g"), point("k1", "nose", 10, 10), point("k2", "left_eye", 20, 30))
    (said, _), (written, _) = theirs(drawn), ours(drawn)
    assert said["person_keypoints"][0]["bbox"] == [10, 10, 10, 20]
    assert written["person_keypoints"][0]["bbox"] == [5, 5, 40, 40]


@pytest.mark.parametrize(
    ("drawn", "bbox"),
    [
        ((point("k1", "nose", 10, 10),), [9.5, 9.5, 1, 1]),
        ((point("k1", "nose", 10, 10), point("k2", "left_eye", 10, 30)), [9.5, 10, 1, 20]),
    ],
    ids=["one point", "a line"],
)
def test_difference_points_without_an_area_are_no_person(drawn, bbox):
    (said, audit), (written, reported) = theirs(drawn), ours(drawn)
    assert not said["person_keypoints"]
    assert audit == [("g", "KEYPOINT_GROUP_INVALID")]
    assert written["person_keypoints"][0]["bbox"] == bbox
    assert not reported


def test_difference_only_persons_have_keypoints():
    drawn = (point("k1", "tip", 10, 10), point("k2", "tail", 20, 30))
    (said, audit), (_, reported) = theirs(drawn), ours(drawn)
    assert not said["person_keypoints"]
    assert audit == [("g", "KEYPOINT_GROUP_INVALID")]
    assert reported == [("k1", "KEYPOINT_PROFILE_UNSUPPORTED"), ("k2", "KEYPOINT_PROFILE_UNSUPPORTED")]
    _, reported = ours(drawn, skeletons=(PERSON_17, ARROW))
    assert not reported


def test_difference_a_group_is_audited_once_and_each_of_our_points():
    drawn = (point("k1", "nose", 10, 10), point("k2", "nose", 20, 30))
    (_, audit), (_, reported) = theirs(drawn), ours(drawn)
    assert audit == [("g", "KEYPOINT_GROUP_INVALID")]
    assert reported == [("k1", "KEYPOINT_GROUP_INVALID"), ("k2", "KEYPOINT_GROUP_INVALID")]


def test_difference_attributes_of_keypoints_vanish_without_a_word():
    drawn = (point("k1", "nose", 10, 10, colour="red"), point("k2", "left_eye", 20, 30))
    (_, audit), (_, reported) = theirs(drawn), ours(drawn)
    assert not audit
    assert reported == [("k1", "CUSTOM_ATTRIBUTES_DROPPED")]


def test_difference_the_second_image_of_a_document_vanishes_without_a_word():
    first, second = (box("b1", 1, 2, 3, 4),), (box("b2", 5, 6, 7, 8),)
    said, audit = theirs(first, second)
    assert [annotation["bbox"] for annotation in said["instances"]] == [[1, 2, 3, 4]]
    assert not audit
    # Each image of a document is a sample of ours.
    assert [ours(drawn)[0]["instances"][0]["bbox"] for drawn in (first, second)] == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_difference_an_annotation_has_the_place_of_its_id_and_not_of_the_document():
    drawn = (box("z", 1, 2, 3, 4), box("a", 5, 6, 7, 8))
    (said, _), (written, _) = theirs(drawn), ours(drawn)
    assert [annotation["bbox"][0] for annotation in said["instances"]] == [5, 1]
    assert [annotation["bbox"][0] for annotation in written["instances"]] == [1, 5]


def test_difference_objects_of_other_kinds_share_no_numbers():
    drawn = (box("b", 1, 2, 3, 4), point("k1", "nose", 10, 10), point("k2", "left_eye", 20, 30))
    (said, _), (written, _) = theirs(drawn), ours(drawn)
    assert said["instances"][0]["id"] == said["person_keypoints"][0]["id"] == 1
    assert written["instances"][0]["id"] != written["person_keypoints"][0]["id"]
