"""YOLO as the Synapse SDK's own converter makes it: the same where both can say it, and every difference by name."""

import msgspec
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from synapse_sdk.utils.converters.dm.types import build_export_contract
from synapse_sdk.utils.converters.yolo.from_dm import FromDMToYOLOConverter

from pipeline.formats import Entry, Loss
from pipeline.formats.testing import catalog_of, join_samples, samples
from pipeline.formats.testing.shapes import mask
from pipeline.formats.yolo.format import Yolo
from pipeline.images.geometry import polygon_area
from pipeline.images.painting import painted_area
from pipeline.model.skeletons import PERSON_EDGES, PERSON_FLIP, PERSON_POINTS, make_skeleton
from pipeline.records import Annotation, Box, Point, Polygon
from tests.formats.sdk_documents import CLASSES, HEIGHT, WIDTH, annotations, document

PERSON_17 = make_skeleton("person", PERSON_POINTS, PERSON_EDGES, PERSON_FLIP)


def theirs(task, *drawn):
    """The lines of the SDK's label file, and what it says it left out, changed or failed at."""
    converter = FromDMToYOLOConverter(export_contract=build_export_contract("instance"), is_single_conversion=True)
    converted = converter.convert_annotations(document(drawn), WIDTH, HEIGHT, item_id="1")
    classes = {"person": 0} if task == "pose" else {name: index for index, name in enumerate(CLASSES)}
    said = [(item["annotation_id"], item["reason_code"]) for item in (*converted.audit, *converted.failures)]
    return converter.serialize_task(task, converted, classes), said


def ours(task, *drawn, **options):
    """The lines of our label file, and what we report."""
    sample = samples()[1]
    source = msgspec.structs.replace(sample.sample, annotations=drawn, width=WIDTH, height=HEIGHT)
    sample = msgspec.structs.replace(sample, sample=source)
    catalog = catalog_of([sample], configured=CLASSES, skeletons=(PERSON_17,))
    results = list(Yolo(task=task, **options).render(sample, catalog))
    (entry,) = [result for result in results if isinstance(result, Entry)]
    reported = [(loss.annotation_id, str(loss.reason)) for loss in results if isinstance(loss, Loss)]
    return entry.data.decode().splitlines(), reported


def box(x, y, width, height, rotation=0.0):
    return Annotation("b", "bounding_box", "car", Box(x, y, width, height, rotation))


def polygon(*points):
    return Annotation("p", "polygon", "car", Polygon(points))


def masked(bitmap):
    return Annotation("m", "segmentation", "car", mask(bitmap))


def keypoint(label, x, y, visibility=2, identity=""):
    return Annotation(identity or label, "keypoint", label, Point(float(x), float(y), visibility), group="g")


@st.composite
def boxes(draw):
    x, y = draw(st.floats(0, WIDTH - 1)), draw(st.floats(0, HEIGHT - 1))
    width, height = draw(st.floats(0.01, WIDTH)), draw(st.floats(0.01, HEIGHT))
    return Box(x, y, min(width, WIDTH - x), min(height, HEIGHT - y))


POLYGONS = (
    st.lists(st.tuples(st.floats(0, WIDTH), st.floats(0, HEIGHT)), min_size=3, max_size=12)
    .map(lambda pairs: Polygon(tuple(number for pair in pairs for number in pair)))
    .filter(lambda drawn: polygon_area(drawn.points) > 0.1 and painted_area(drawn.points) > 0.1)  # not twice around
)


def same_rows(ours, theirs):
    """Whether rows are equal but for the last decimal of a box.

    Boxes of the SDK leave the image by half a decimal, and a number half way between two is rounded either way.
    """
    return len(ours) == len(theirs) and all(
        our == their or (not leaves_image(our) and differ_by_a_decimal(our, their))
        for our, their in zip(ours, theirs, strict=True)
    )


def leaves_image(row):
    centre_x, centre_y, width, height = (round(float(number) * 10**6) for number in row.split()[1:5])
    return any(2 * middle < across or 2 * middle + across > 2 * 10**6
               for middle, across in ((centre_x, width), (centre_y, height)))  # fmt: skip


def differ_by_a_decimal(our, their):
    pairs = list(zip(our.split(), their.split(), strict=True))
    close = all(abs(round((float(one) - float(other)) * 10**6)) <= 1 for one, other in pairs[1:5])
    return close and all(one == other for one, other in (*pairs[:1], *pairs[5:]))


@st.composite
def people(draw, group):
    """Keypoints of one person, of which at least two are seen, a pixel or more apart on both axes."""
    names = draw(st.lists(st.sampled_from(PERSON_POINTS), min_size=2, unique=True))
    x, y = draw(st.floats(0, WIDTH - 1)), draw(st.floats(0, HEIGHT - 1))
    points = [Point(x, y, draw(st.sampled_from([1, 2]))), Point(x + 1, y + 1, draw(st.sampled_from([1, 2])))]
    for _ in names[2:]:
        visibility = draw(st.sampled_from([0, 1, 2]))
        place = (draw(st.floats(0, WIDTH)), draw(st.floats(0, HEIGHT))) if visibility else (0.0, 0.0)
        points.append(Point(*place, visibility))
    return [
        Annotation(f"{group}{number:02}", "keypoint", name, point, group=group)
        for number, (name, point) in enumerate(zip(names, points, strict=True))
    ]


def drawn_as(tool, shapes):
    return [Annotation(f"{number:03}", tool, CLASSES[number % 3], shape) for number, shape in enumerate(shapes)]


@settings(deadline=None)
@given(st.lists(boxes(), max_size=8))
def test_rows_of_boxes_are_the_same_to_the_last_digit(shapes):
    drawn = drawn_as("bounding_box", shapes)
    (lines, reported), (expected, said) = ours("detect", *drawn), theirs("detect", *drawn)
    assert same_rows(lines, expected)
    assert reported == said


@settings(deadline=None)
@given(st.lists(POLYGONS, max_size=5))
def test_rows_of_polygons_are_the_same_to_the_last_digit(shapes):
    drawn = drawn_as("polygon", shapes)
    assert ours("segment", *drawn) == theirs("segment", *drawn)


@settings(deadline=None)
@given(st.lists(st.sampled_from("ghi"), unique=True).map(sorted), st.data())
def test_rows_of_people_are_the_same_to_the_last_digit(groups, data):
    drawn = [annotation for group in groups for annotation in data.draw(people(group))]
    assert same_rows(ours("pose", *drawn)[0], theirs("pose", *drawn)[0])
    assert not ours("pose", *drawn)[1]


def test_each_task_takes_its_own_of_a_mixed_image():
    drawn = annotations()
    outlined = [annotation for annotation in drawn if annotation.tool != "segmentation"]
    for task, written in (("detect", drawn), ("segment", outlined)):
        lines, _ = ours(task, *written)
        assert lines == theirs(task, *written)[0]
        assert lines


def test_settings_of_pose_are_the_same():
    catalog = catalog_of(samples(), skeletons=(PERSON_17,))
    written = yaml.safe_load(join_samples(Yolo(task="pose"), [], catalog)["data.yaml"])
    said = yaml.safe_load(FromDMToYOLOConverter.dataset_yaml("pose", ["person"]))
    for key in ("nc", "kpt_shape", "flip_idx"):
        assert written[key] == said[key]
    assert list(written["names"].values()) == said["names"]


# What differs.


def test_a_box_over_the_edge_is_cut_and_not_a_failure():
    drawn = box(-1.0, 10.0, 20.0, 10.0)
    assert theirs("detect", drawn) == ([], [("b", "INVALID_GEOMETRY")])
    assert ours("detect", drawn) == (["1 0.095000 0.300000 0.190000 0.200000"], [("b", "CLIPPED_TO_IMAGE")])


def test_rounding_noise_of_a_tool_is_no_failure():
    drawn = box(0.0, 0.0, WIDTH + 1e-9, 10.0)
    assert theirs("detect", drawn)[1] == [("b", "INVALID_GEOMETRY")]
    assert ours("detect", drawn) == (["1 0.500000 0.100000 1.000000 0.200000"], [])


def test_a_turned_box_is_not_written_as_if_it_were_upright():
    drawn = box(40.0, 20.0, 20.0, 10.0, rotation=np.pi / 2)
    assert theirs("detect", drawn) == (["1 0.500000 0.500000 0.200000 0.200000"], [])
    assert ours("detect", drawn) == (["1 0.500000 0.500000 0.100000 0.400000"], [])
    assert ours("detect", box(40.0, 20.0, 20.0, 10.0, rotation=0.5))[1] == [("b", "ROTATION_ENCLOSED")]


def test_a_box_too_small_for_six_decimals_keeps_a_size():
    drawn = box(10.0, 10.0, 1e-6, 1e-6)
    assert theirs("detect", drawn)[0] == ["1 0.100000 0.200000 0.000000 0.000000"]
    assert ours("detect", drawn)[0] == ["1 0.100000 0.200000 0.000001 0.000001"]


def test_a_polygon_over_the_edge_is_cut_and_not_a_failure():
    drawn = polygon(-10.0, 10.0, 20.0, 10.0, 20.0, 30.0, -10.0, 30.0)
    assert theirs("segment", drawn) == ([], [("p", "INVALID_GEOMETRY")])
    lines, reported = ours("segment", drawn)
    assert len(lines) == 1
    assert reported == [("p", "CLIPPED_TO_IMAGE")]


def test_a_polygon_without_an_area_is_left_out():
    drawn = polygon(10.0, 10.0, 20.0, 20.0, 30.0, 30.0)
    assert len(theirs("segment", drawn)[0]) == 1
    assert ours("segment", drawn) == ([], [("p", "INVALID_POLYGON")])


def test_there_is_no_negative_zero():
    drawn = polygon(-0.0, 10.0, 20.0, 20.0, 10.0, 30.0)
    assert theirs("segment", drawn)[0][0].startswith("1 -0.000000 ")
    assert ours("segment", drawn)[0][0].startswith("1 0.000000 ")


def bitmap(*rectangles):
    canvas = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for left, top, right, bottom, value in rectangles:
        canvas[top:bottom, left:right] = value
    return canvas


def ring_of(line):
    return [
        round(float(number) * side, 3) for number, side in zip(line.split()[1:], (WIDTH, HEIGHT) * 999, strict=False)
    ]


def test_outlines_of_masks_run_along_the_edges_of_pixels_and_not_through_their_centres():
    drawn = masked(bitmap((10, 10, 13, 12, 1)))
    assert polygon_area(ring_of(theirs("segment", drawn)[0][0])) == 2
    assert ring_of(ours("segment", drawn)[0][0]) == [10, 10, 13, 10, 13, 12, 10, 12]


def test_a_mask_of_one_pixel_has_an_outline():
    drawn = masked(bitmap((10, 10, 11, 11, 1)))
    assert theirs("segment", drawn) == ([], [("m", "MASK_CONTOUR_UNREPRESENTABLE")])
    assert ring_of(ours("segment", drawn)[0][0]) == [10, 10, 11, 10, 11, 11, 10, 11]


def test_a_hole_stays_unless_it_is_to_be_filled():
    drawn = masked(bitmap((10, 10, 30, 30, 1), (15, 15, 20, 20, 0)))
    assert theirs("segment", drawn)[1] == [("m", "MASK_HOLE_DROPPED")]
    lines, reported = ours("segment", drawn)
    assert polygon_area(ring_of(lines[0])) == 400 - 25
    assert reported == [("m", "MASK_BRIDGED")]
    assert ours("segment", drawn, outlines="split")[1] == [("m", "MASK_HOLE_DROPPED")]


def test_one_object_stays_one_row_or_is_reported():
    drawn = masked(bitmap((10, 10, 20, 20, 1), (30, 30, 40, 40, 1)))
    lines, said = theirs("segment", drawn)
    assert (len(lines), said) == (2, [])
    lines, reported = ours("segment", drawn)
    assert (len(lines), reported) == (1, [("m", "MASK_BRIDGED")])
    lines, reported = ours("segment", drawn, outlines="split")
    assert (len(lines), reported) == (2, [("m", "MASK_SPLIT")])


def test_pixels_that_touch_diagonally_are_parts():
    drawn = masked(bitmap((10, 10, 20, 20, 1), (20, 20, 30, 30, 1)))
    assert len(theirs("segment", drawn)[0]) == 1
    assert len(ours("segment", drawn, outlines="split")[0]) == 2
    lines, reported = ours("segment", drawn)
    assert (len(lines), reported) == (1, [("m", "MASK_BRIDGED")])


def test_a_keypoint_outside_is_missing_and_does_not_cost_the_object():
    drawn = [keypoint("nose", 10, 10), keypoint("left_eye", 20, 20), keypoint("left_ear", 120, 20)]
    assert theirs("pose", *drawn) == ([], [("g", "KEYPOINT_PROFILE_UNSUPPORTED")])
    lines, reported = ours("pose", *drawn)
    assert lines == ours("pose", *drawn[:2])[0]
    assert reported == [("left_ear", "CLIPPED_TO_IMAGE")]


def test_an_object_of_one_visible_keypoint_is_kept():
    drawn = keypoint("nose", 10, 10)
    assert theirs("pose", drawn) == ([], [("g", "KEYPOINT_PROFILE_UNSUPPORTED")])
    lines, reported = ours("pose", drawn)
    assert lines[0].startswith("0 0.100000 0.200000 0.010000 0.020000 0.100000 0.200000 2 0.000000 0.000000 0 ")
    assert not reported


def test_a_missing_keypoint_has_no_place():
    drawn = [keypoint("nose", 10, 10), keypoint("left_eye", 20, 20), keypoint("left_ear", 30, 20, 0)]
    assert " 0.300000 0.400000 0" in theirs("pose", *drawn)[0][0]
    assert " 0.300000 0.400000 0" not in ours("pose", *drawn)[0][0]


def test_a_box_in_the_group_is_the_box_of_the_object():
    bounding = Annotation("b", "bounding_box", "car", Box(0.0, 0.0, 50.0, 50.0), group="g")
    drawn = [keypoint("nose", 10, 10), keypoint("left_eye", 20, 20), bounding]
    assert theirs("pose", *drawn)[0][0].startswith("0 0.150000 0.300000 0.100000 0.200000 ")
    assert ours("pose", *drawn)[0][0].startswith("0 0.250000 0.500000 0.500000 1.000000 ")


@pytest.mark.parametrize("repeated", ["nose", "antenna"])
def test_groups_that_are_no_person_are_left_out_with_each_of_their_points_named(repeated):
    drawn = [keypoint("nose", 10, 10), keypoint(repeated, 20, 20, identity="second")]
    assert theirs("pose", *drawn) == ([], [("g", "KEYPOINT_PROFILE_UNSUPPORTED")])
    reason = "KEYPOINT_GROUP_INVALID" if repeated == "nose" else "KEYPOINT_PROFILE_UNSUPPORTED"
    assert ours("pose", *drawn) == ([], [("nose", reason), ("second", reason)])
