"""The Synapse SDK's Pascal VOC converter says the same where it and we can say it; each difference has its name."""

import math

import msgspec
import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from synapse_sdk.utils.converters.dm.types import build_export_contract
from synapse_sdk.utils.converters.pascal.from_dm import FromDMToPascalConverter, voc_palette

from pipeline.formats.testing import catalog_of, find_losses, join_samples, samples
from pipeline.formats.testing.shapes import mask
from pipeline.formats.voc.format import Voc
from pipeline.images.palette import PALETTE
from pipeline.records import Annotation, Box, Polygon
from tests.formats.sdk_documents import document
from tests.formats.voc.grammar import check_voc_tree

WIDTH, HEIGHT = 40, 30
CLASSES = ("bus", "car", "road")


def theirs(drawn, masks="instance", attrs=()):
    """What the SDK makes of an image's annotations."""
    tools = document(drawn)
    for item in (item for items in tools.values() for item in items):
        item["attrs"] = list(attrs)
    rows = [{"id": annotation.id, "tool": annotation.tool} for annotation in drawn]
    return FromDMToPascalConverter(is_single_conversion=True).convert_single_file(
        v2_result={"annotation_data": {"images": [tools]}, "annotation_meta": {"annotations": {"image_1": rows}}},
        export_contract=build_export_contract(masks),
        original_file=None,
        dimensions=(WIDTH, HEIGHT),
        file_name="photo.jpg",
        class_to_index={name: index for index, name in enumerate(CLASSES, start=1)},
        item_id="1",
    )


def ours(drawn, masks="instance"):
    """The image as a reader of our files sees it, and the losses ``(annotation id, outcome, reason)``."""
    sample = samples()[1]
    source = msgspec.structs.replace(sample.sample, annotations=drawn, width=WIDTH, height=HEIGHT)
    sample = msgspec.structs.replace(sample, sample=source, stem="photo", file_name="photo.jpg")
    catalog = catalog_of([sample], configured=CLASSES, masks=masks)
    ((_, found),) = find_losses(Voc(), [sample], catalog)
    tree = check_voc_tree(join_samples(Voc(), [sample], catalog))
    return tree.images["photo"], [(loss.annotation_id, loss.outcome, str(loss.reason)) for loss in found]


def objects_of(converted):
    """The name and the box of each of the SDK's objects."""
    return [
        (item.name, (item.bndbox.xmin, item.bndbox.ymin, item.bndbox.xmax, item.bndbox.ymax))
        for item in converted["pascal_annotation"].objects
    ]


def audited(converted):
    return [(entry["annotation_id"], entry["outcome"], entry["reason_code"]) for entry in converted["audit"]]


def same(ours_, theirs_):
    return (ours_ is None and theirs_ is None) or (ours_ == theirs_).all()


def a_box(number, label, *numbers, rotation=0.0):
    return Annotation(f"box{number:03}", "bounding_box", label, Box(*numbers, rotation))


def a_mask(number, label, left, top, right, bottom):
    bitmap = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    bitmap[top:bottom, left:right] = 1
    return Annotation(f"mask{number:03}", "segmentation", label, mask(bitmap))


def a_polygon(number, label, *points):
    return Annotation(f"polygon{number:03}", "polygon", label, Polygon(tuple(map(float, points))))


@st.composite
def masks_of_noise(draw):
    """Masks of any pixels, with ids in the order in which they are drawn."""
    seeds = draw(st.lists(st.tuples(st.integers(0, 2**32), st.sampled_from(CLASSES)), max_size=6))
    share = draw(st.sampled_from([0.001, 0.1, 0.9]))
    bitmaps = [(np.random.default_rng(seed).random((HEIGHT, WIDTH)) < share, label) for seed, label in seeds]
    return tuple(
        Annotation(f"mask{number:03}", "segmentation", label, mask(bitmap))
        for number, (bitmap, label) in enumerate((b, label) for b, label in bitmaps if b.any())
    )


@st.composite
def boxes_inside(draw, numbers):
    """Boxes inside the image whose sides are longer than a pixel, with numbers of this kind."""
    found = draw(st.lists(st.tuples(*([numbers] * 4), st.sampled_from(CLASSES)), max_size=6))
    corners = [
        ((sorted((x1 % WIDTH, x2 % WIDTH)), sorted((y1 % HEIGHT, y2 % HEIGHT))), c) for x1, x2, y1, y2, c in found
    ]
    return tuple(
        a_box(number, label, left, top, right - left, bottom - top)
        for number, (((left, right), (top, bottom)), label) in enumerate(corners)
        if right - left > 1 and bottom - top > 1
    )


@settings(deadline=None)
@given(masks_of_noise())
def test_both_planes_of_masks_are_the_sdks(drawn):
    converted, (image, _) = theirs(drawn), ours(drawn)
    assert same(image.classes, converted["class_plane"])
    assert same(image.instances, converted["object_plane"])
    assert image.segmented == converted["has_class_segmentation"]
    assert not converted["failures"]


@settings(deadline=None)
@given(masks_of_noise())
def test_the_class_plane_of_semantic_masks_is_the_sdks(drawn):
    converted, (image, _) = theirs(drawn, "semantic"), ours(drawn, "semantic")
    assert same(image.classes, converted["class_plane"])
    assert image.instances is None
    assert converted["object_plane"] is None


@settings(deadline=None)
@given(masks_of_noise())
def test_excluded_masks_are_reported_alike(drawn):
    converted, (image, found) = theirs(drawn, "exclude"), ours(drawn, "exclude")
    assert not image.segmented
    assert found == audited(converted)


@settings(deadline=None)
@given(boxes_inside(st.integers(0, 10**6).map(float)))
def test_boxes_on_pixels_are_the_sdks_but_counted_from_1(drawn):
    converted, (image, found) = theirs(drawn), ours(drawn)
    assert [(item.name, (item.box[0] - 1, item.box[1] - 1, *item.box[2:])) for item in image.objects] == objects_of(
        converted
    )
    assert not found
    assert not converted["failures"]


@settings(deadline=None)
@given(boxes_inside(st.floats(0, 1e6)))
def test_boxes_between_pixels_go_round_them_here_and_are_rounded_there(drawn):
    converted, (image, _) = theirs(drawn), ours(drawn)
    for (name, box), item in zip(objects_of(converted), image.objects, strict=True):
        assert item.name == name
        assert 0 <= box[0] - (item.box[0] - 1) <= 1
        assert 0 <= box[1] - (item.box[1] - 1) <= 1
        assert 0 <= item.box[2] - box[2] <= 1
        assert 0 <= item.box[3] - box[3] <= 1


def test_a_box_that_would_be_rounded_away_there_has_two_pixels_here():
    drawn = (a_box(0, "car", 5.6, 5.6, 0.3, 0.3),)
    assert [failure["reason_code"] for failure in theirs(drawn)["failures"]] == ["INVALID_BOUNDING_BOX"]
    assert [item.box for item in ours(drawn)[0].objects] == [(6, 6, 7, 7)]


def test_a_box_over_the_edge_fails_there_and_is_cut_here():
    drawn = (a_box(0, "car", -5.0, 5.0, 10.0, 10.0),)
    assert [failure["reason_code"] for failure in theirs(drawn)["failures"]] == ["INVALID_BOUNDING_BOX"]
    image, found = ours(drawn)
    assert [(item.box, item.truncated) for item in image.objects] == [((1, 6, 5, 15), 1)]
    assert found == [("box000", "lossy", "CLIPPED_TO_IMAGE")]


def test_a_turned_box_is_skipped_there_and_enclosed_here():
    converted = theirs((a_box(0, "car", 10.0, 10.0, 10.0, 10.0),), attrs=[{"name": "rotation", "value": 0.5}])
    assert audited(converted) == [("box000", "skipped", "UNSUPPORTED_ORIENTED_BOUNDING_BOX")]
    image, found = ours((a_box(0, "car", 10.0, 10.0, 10.0, 10.0, rotation=0.5),))
    assert len(image.objects) == 1
    assert found == [("box000", "lossy", "ROTATION_ENCLOSED")]


def test_what_is_painted_has_a_box_here_and_none_there():
    drawn = (a_mask(0, "car", 5, 6, 15, 16),)
    assert objects_of(theirs(drawn)) == []
    assert [(item.name, item.box) for item in ours(drawn)[0].objects] == [("car", (6, 7, 15, 16))]


def test_a_polygon_is_its_pixels_here_and_its_outline_too_there():
    drawn = (a_polygon(0, "car", 5, 5, 25, 5, 25, 20, 5, 20),)
    image, _ = ours(drawn)
    assert image.classes.sum() == 2 * 20 * 15
    assert (theirs(drawn)["class_plane"] > 0).sum() == 21 * 16


@settings(deadline=None)
@given(
    st.tuples(st.floats(5, 35), st.floats(5, 25), st.floats(1, 40), st.floats(1, 40)),
    st.lists(st.floats(0, 2 * math.pi), min_size=3, max_size=12, unique=True),
)
def test_a_convex_polygon_differs_in_a_band_along_its_outline_only(ellipse, angles):
    x, y, across, down = ellipse
    points = [(x + across * math.cos(angle), y + down * math.sin(angle)) for angle in sorted(angles)]
    assume(len(set(points)) == len(points))
    drawn = (a_polygon(0, "car", *(value for point in points for value in point)),)
    nothing = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    planes = (ours(drawn)[0].classes, theirs(drawn)["class_plane"])
    here, there = (nothing if plane is None else plane for plane in planes)
    outline = sum(math.dist(*pair) for pair in zip(points, points[1:] + points[:1], strict=True))
    assert (here != there).sum() <= 1.25 * outline + 8


def test_what_is_on_top_is_the_last_one_here_and_the_highest_id_there():
    drawn = (a_mask(2, "car", 5, 5, 15, 15), a_mask(1, "bus", 10, 10, 20, 20))
    assert ours(drawn)[0].classes[12, 12] == CLASSES.index("bus") + 1
    assert theirs(drawn)["class_plane"][12, 12] == CLASSES.index("car") + 1


def test_what_is_painted_over_is_reported_here_and_not_there():
    drawn = (a_mask(1, "car", 5, 5, 10, 10), a_mask(2, "bus", 0, 0, 20, 20))
    assert ours(drawn)[1] == [("mask001", "lossy", "MASK_COVERED")]
    assert audited(theirs(drawn)) == []


def test_attributes_of_voc_are_kept_here_and_dropped_there():
    converted = theirs((a_box(0, "car", 1.0, 1.0, 5.0, 5.0),), attrs=[{"name": "difficult", "value": True}])
    assert audited(converted) == [("box000", "lossy", "CUSTOM_ATTRIBUTES_DROPPED")]
    assert converted["pascal_annotation"].objects[0].difficult == 0
    kept = msgspec.structs.replace(a_box(0, "car", 1.0, 1.0, 5.0, 5.0), attributes={"difficult": True})
    image, found = ours((kept,))
    assert image.objects[0].difficult
    assert not found


def test_beyond_254_objects_there_is_no_object_plane_there_and_void_here():
    cells = [(x, y) for y in range(HEIGHT) for x in range(0, WIDTH, 4)][:255]
    drawn = tuple(a_mask(number, "car", x, y, x + 1, y + 1) for number, (x, y) in enumerate(cells))
    converted, (image, found) = theirs(drawn), ours(drawn)
    assert [failure["reason_code"] for failure in converted["failures"]] == ["VOC_INSTANCE_LIMIT_EXCEEDED"]
    assert converted["object_plane"] is None
    assert same(image.classes, converted["class_plane"])
    assert image.instances[cells[254][1], cells[254][0]] == 255
    assert [loss for loss in found if loss[2] != "BOX_WIDENED"] == [("mask254", "lossy", "VOC_INSTANCE_LIMIT_EXCEEDED")]


def test_the_palette_is_the_sdks():
    assert voc_palette() == PALETTE
