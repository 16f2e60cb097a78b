"""What becomes of boxes, attributes, names, polygons and masks in Pascal VOC."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.testing import catalog_of, join_samples
from pipeline.formats.testing.shapes import box, mask, polygon
from pipeline.formats.voc.format import Voc
from pipeline.model.labels import normalise_label
from pipeline.records import Annotation, Box, Mask, Polygon, Whole
from tests.formats.voc.cases import HEIGHT, HOME, WIDTH, painted, read, rectangle, sample_with
from tests.formats.voc.grammar import check_voc_tree

# Boxes


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((0.0, 0.0, 60.0, 40.0), (1, 1, 60, 40)),
        ((10.0, 20.0, 5.0, 2.0), (11, 21, 15, 22)),
        ((10.4, 20.6, 5.2, 1.2), (11, 21, 16, 22)),
        ((10.9999, 20.0, 5.0002, 2.0), (12, 21, 16, 22)),  # rounding, as tools leave it
    ],
)
def test_a_box_is_the_pixels_it_touches_counted_from_1(numbers, expected):
    image, found = read(box("b", "car", *numbers))
    assert image.objects[0].box == expected
    assert not found


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((10.0, 20.0, 5.0, 1.0), (11, 21, 15, 22)),
        ((59.0, 39.0, 1.0, 1.0), (59, 39, 60, 40)),
        ((59.9999, 39.9999, 0.0001, 0.0001), (59, 39, 60, 40)),
        ((40.0, 20.0, 1e-9, 1e-9), (41, 21, 42, 22)),
    ],
)
def test_a_box_is_never_one_pixel_wide_or_high(numbers, expected):
    """Readers take ``xmax - xmin`` for the width, and MMDetection drops a box of no width."""
    image, found = read(box("b", "car", *numbers))
    assert image.objects[0].box == expected
    assert found == [("b", "lossy", "BOX_WIDENED")]


def test_a_cut_box_is_truncated_and_reported():
    image, found = read(box("b", "car", -5.0, 30.0, 20.0, 20.0, truncated=False))
    assert image.objects[0].box == (1, 31, 15, 40)
    assert image.objects[0].truncated
    assert found == [("b", "lossy", "CLIPPED_TO_IMAGE")]


def test_a_turned_box_is_the_box_around_it():
    image, found = read(box("b", "car", 20.0, 15.0, 10.0, 10.0, rotation=np.pi / 4))
    assert image.objects[0].box == (18, 13, 33, 28)
    assert found == [("b", "lossy", "ROTATION_ENCLOSED")]


_NUMBERS, _SIZES = st.floats(-1e4, 1e4), st.floats(1e-9, 1e4)


@settings(deadline=None)
@given(st.lists(st.tuples(_NUMBERS, _NUMBERS, _SIZES, _SIZES, st.floats(-7, 7)), max_size=5), st.integers(1, 9000))
def test_whatever_the_box_the_object_is_valid_or_the_loss_is_reported(boxes, width):
    annotations = [Annotation(str(number), "bounding_box", "car", Box(*item)) for number, item in enumerate(boxes)]
    image, found = read(*annotations, width=width, height=7)
    assert len(image.objects) + sum(outcome == "skipped" for _, outcome, _ in found) == len(boxes)


# Attributes


@pytest.mark.parametrize(
    ("value", "flag", "kept"),
    [
        *((value, 1, True) for value in (True, 1, 1.0, "true", "True", "1")),
        *((value, 0, True) for value in (False, 0, "false", "0", None)),
        *((value, 0, False) for value in (2, "yes", "", [True], {"value": True})),
    ],
)
@pytest.mark.parametrize("name", ["truncated", "difficult", "occluded"])
def test_a_flag_is_set_by_what_means_true_and_lost_when_it_means_nothing(name, value, flag, kept):
    image, found = read(box("b", "car", 1.0, 1.0, 5.0, 5.0, **{name: value}))
    assert (getattr(image.objects[0], name) or 0) == flag
    assert found == ([] if kept else [("b", "lossy", "CUSTOM_ATTRIBUTES_DROPPED")])


def test_occluded_is_only_there_when_it_was_stated():
    image, _ = read(box("a", "car", 1.0, 1.0, 5.0, 5.0), box("b", "car", 1.0, 1.0, 5.0, 5.0, occluded=False))
    assert [item.occluded for item in image.objects] == [None, 0]


@pytest.mark.parametrize(
    ("pose", "written", "kept"),
    [("Left", "Left", True), ("", "Unspecified", True), (3, "Unspecified", False), ("a\x00", "Unspecified", False)],
)
def test_a_pose_is_kept_when_it_is_text(pose, written, kept):
    image, found = read(box("b", "car", 1.0, 1.0, 5.0, 5.0, pose=pose))
    assert image.objects[0].pose == written
    assert found == ([] if kept else [("b", "lossy", "CUSTOM_ATTRIBUTES_DROPPED")])


def test_other_attributes_are_lost():
    _, found = read(box("b", "car", 1.0, 1.0, 5.0, 5.0, difficult=True, colour="red"))
    assert found == [("b", "lossy", "CUSTOM_ATTRIBUTES_DROPPED")]


# Names


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip))
def test_any_class_name_survives_or_its_loss_is_reported(name):
    name = normalise_label(name)
    image, found = read(box("b", name, 1.0, 1.0, 5.0, 5.0))
    assert (image.objects[0].name == name) == (not found)
    assert found in ([], [("b", "lossy", "CLASS_RENAMED")])
    if re.fullmatch("[^\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff:./\\\\#]+", name) and name != "background":
        assert not found


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a\ufffeb", "a\ufffdb"),  # XML has no such character
        ("vehicle: car", "vehicle_ car"),  # the label map is cut at colons
        ("#1", "_#1"),  # and has comments
        ("a\u2028b", "a b"),
        ("../car/\\bus", ".._car__bus"),  # Datumaro looks for a list of this name
        ("/etc", "_etc"),
        ("background", "background_1"),
    ],
)
def test_a_class_that_readers_would_stumble_over_has_another_name_and_that_is_reported(name, written):
    image, found = read(box("b", name, 1.0, 1.0, 5.0, 5.0), configured=(name,))
    assert image.objects[0].name == written
    assert found == [("b", "lossy", "CLASS_RENAMED")]


@pytest.mark.parametrize("name", ["vehicle/car", "a#b", "1.0", "자동차", "C;\\new", "a, b", "100%"])
def test_a_class_that_is_merely_unusual_keeps_its_name(name):
    image, found = read(box("b", name, 1.0, 1.0, 5.0, 5.0), configured=(name,))
    assert image.objects[0].name == name
    assert not found


def test_classes_that_would_get_one_name_get_two():
    sample = sample_with()
    found = check_voc_tree(
        join_samples(Voc(), [sample], catalog_of([sample], configured=("a_b", "a:b", "a_b_2", "_2")))
    )
    assert found.labels == ["background", "a_b", "a_b_2", "a_b_2_3", "_2"]


def test_a_new_name_is_reported_wherever_the_class_is():
    _, found = read(
        rectangle("m", "a:b", 1, 1, 5, 5),
        Annotation("w", "classification", "a:b", Whole(), {"colour": "red"}),
        voc=Voc(class_sets=True),
        masks="semantic",
    )
    renamed = [("m", "lossy", "CLASS_RENAMED"), ("w", "lossy", "CLASS_RENAMED")]
    assert found == [*renamed, ("w", "lossy", "CUSTOM_ATTRIBUTES_DROPPED")]


def test_markup_in_a_name_is_text():
    name = '</name><!DOCTYPE a [<!ENTITY x "y">]>&x;]]>\''
    image, found = read(box("b", name, 1.0, 1.0, 5.0, 5.0))
    assert image.objects[0].name == name
    assert not found


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip), min_size=1))
def test_any_class_names_make_a_label_map_and_lists_of_classes(names):
    sample = sample_with()
    catalog = catalog_of([sample], configured=names)
    found = check_voc_tree(join_samples(Voc(class_sets=True), [sample], catalog))
    assert len(found.labels) == len(catalog.classes) + 1


# Masks and polygons


def test_the_class_plane_has_classes_and_the_object_plane_the_numbers_of_the_objects():
    image, found = read(
        box("first", "car", 0.0, 0.0, 10.0, 10.0),
        rectangle("a", "bus", 5, 5, 25, 20),
        polygon("b", "car", 30, 10, 50, 10, 50, 30, 30, 30),
    )
    assert (image.classes == painted((5, 5, 25, 20, 2), (30, 10, 50, 30, 1))).all()
    assert (image.instances == painted((5, 5, 25, 20, 1), (30, 10, 50, 30, 2))).all()
    assert [(item.name, item.box) for item in image.objects] == [
        ("bus", (6, 6, 25, 20)),
        ("car", (31, 11, 50, 30)),
        ("car", (1, 1, 10, 10)),
    ]
    assert image.segmented
    assert not found


def test_what_comes_later_is_painted_over_what_was_there():
    image, found = read(rectangle("a", "bus", 5, 5, 25, 20), rectangle("b", "car", 20, 10, 40, 30))
    assert (image.classes == painted((5, 5, 25, 20, 2), (20, 10, 40, 30, 1))).all()
    assert not found


def test_a_mask_that_is_painted_over_is_reported_and_keeps_its_box():
    image, found = read(rectangle("a", "bus", 5, 5, 25, 20), rectangle("b", "bus", 0, 0, 40, 30))
    assert [item.box for item in image.objects] == [(6, 6, 25, 20), (1, 1, 40, 30)]
    assert set(np.unique(image.instances).tolist()) == {0, 2}
    assert found == [("a", "lossy", "MASK_COVERED")]


def test_an_image_without_masks_has_no_planes():
    sample = sample_with(box("b", "car", 1.0, 1.0, 5.0, 5.0))
    tree = join_samples(Voc(), [sample], catalog_of([sample]))
    assert not [path for path in tree if "/Segmentation" in path and path.endswith(".png")]
    assert tree[f"{HOME}/ImageSets/Segmentation/train.txt"] == b""


def test_semantic_masks_are_no_objects_and_lie_below_polygons():
    image, found = read(
        polygon("p", "car", 0, 0, 10, 0, 10, 10, 0, 10),
        rectangle("a", "road", 5, 5, 25, 20, colour="grey"),
        masks="semantic",
    )
    assert (image.classes == painted((5, 5, 25, 20, 3), (0, 0, 10, 10, 1))).all()
    assert (image.instances == painted((0, 0, 10, 10, 1))).all()
    assert [item.name for item in image.objects] == ["car"]
    assert found == [("a", "lossy", "CUSTOM_ATTRIBUTES_DROPPED")]


def test_an_image_with_semantic_masks_only_has_no_object_plane():
    image, _ = read(rectangle("a", "road", 5, 5, 25, 20), masks="semantic")
    assert image.classes is not None
    assert image.instances is None
    assert not image.objects


def test_a_semantic_mask_of_which_nothing_is_left_is_skipped():
    _, found = read(
        rectangle("a", "road", 5, 5, 25, 20, colour="grey"), rectangle("b", "bus", 0, 0, 60, 40), masks="semantic"
    )
    assert found == [("a", "skipped", "MASK_COVERED")]


def test_a_semantic_mask_below_another_one_of_its_class_is_all_there():
    _, found = read(rectangle("a", "road", 5, 5, 25, 20), rectangle("b", "road", 0, 0, 60, 40), masks="semantic")
    assert not found


def test_masks_can_be_excluded_and_polygons_stay():
    image, found = read(rectangle("a", "road", 5, 5, 25, 20), polygon("p", "car", 0, 0, 10, 0, 10, 10), masks="exclude")
    assert [item.name for item in image.objects] == ["car"]
    assert found == [("a", "skipped", "SEGMENTATION_EXCLUDED")]


@pytest.mark.parametrize("masks", ["instance", "semantic"])
def test_a_mask_outside_its_image_or_of_no_pixels_is_skipped(masks):
    outside = np.array([[WIDTH * HEIGHT - 1, 2]], dtype="<i8").tobytes()
    _, found = read(
        Annotation("a", "segmentation", "car", Mask(outside)),
        Annotation("b", "segmentation", "car", Mask(b"")),
        masks=masks,
    )
    assert found == [("a", "skipped", "INVALID_MASK_ENCODING"), ("b", "skipped", "INVALID_MASK_ENCODING")]


def test_a_polygon_over_the_edge_has_the_box_around_what_is_left_of_it():
    # An arrow head to the left whose tip alone is in the image: the box around it all would reach from top to bottom.
    image, found = read(polygon("p", "car", 20, 20, 100, -20, 100, 60))
    assert image.objects[0].box == (22, 1, 60, 40)  # the centre of the tip's pixel lies outside
    _, outside = read(polygon("p", "car", -10, -10, 100, -10, 100, 60, 90, 60, 90, -5, -10, -5))
    assert found == [("p", "lossy", "CLIPPED_TO_IMAGE")]
    assert outside == [("p", "skipped", "OUTSIDE_IMAGE")]


def test_a_polygon_without_a_pixel_keeps_its_box():
    image, found = read(polygon("p", "car", 5.1, 5.1, 5.3, 5.1, 5.3, 5.3))
    assert image.objects[0].box == (6, 6, 7, 7)
    assert image.classes is None
    assert found == [("p", "lossy", "NOT_PAINTED"), ("p", "lossy", "BOX_WIDENED")]


def test_an_image_too_large_to_be_painted_keeps_the_boxes_of_its_polygons():
    image, found = read(
        polygon("p", "car", 0, 0, 9, 0, 9, 9), rectangle("m", "car", 1, 1, 2, 2), width=1 << 15, height=1 << 14
    )
    assert image.objects[0].box == (1, 1, 9, 9)
    assert found == [("p", "lossy", "NOT_PAINTED"), ("m", "skipped", "INVALID_MASK_ENCODING")]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.tuples(st.floats(-20, 80), st.floats(-20, 60)), min_size=3, max_size=8), max_size=4),
    st.integers(0, 2**32),
)
def test_whatever_is_painted_the_planes_are_valid_and_nothing_is_lost_silently(rings, seed):
    noise = np.random.default_rng(seed).random((HEIGHT, WIDTH)) < 0.02
    drawn = [Annotation("m", "segmentation", "bus", mask(noise))] if noise.any() else []
    for number, ring in enumerate(rings):
        drawn.append(
            Annotation(str(number), "polygon", "car", Polygon(tuple(value for point in ring for value in point)))
        )
    image, found = read(*drawn)
    skipped = {identity for identity, outcome, _ in found if outcome == "skipped"}
    assert len(image.objects) == len(drawn) - len(skipped)
    hidden = {identity for identity, _, reason in found if reason in {"MASK_COVERED", "NOT_PAINTED"}}
    visible = set(np.unique(image.instances).tolist()) - {0} if image.instances is not None else set()
    kept = [annotation.id for annotation in drawn if annotation.id not in skipped]
    assert visible == {number for number, identity in enumerate(kept, start=1) if identity not in hidden}


# Limits


def test_classes_beyond_254_keep_their_boxes_but_are_not_painted():
    names = tuple(f"class {number:03}" for number in range(1, 301))
    image, found = read(
        rectangle("last", names[253], 0, 0, 5, 5),
        rectangle("beyond", names[254], 10, 10, 15, 15),
        polygon("far", names[299], 20, 20, 30, 20, 30, 30),
        box("boxed", names[299], 1.0, 1.0, 5.0, 5.0),
        configured=names,
    )
    assert (image.classes == painted((0, 0, 5, 5, 254))).all()
    assert [item.name for item in image.objects] == [names[253], names[254], names[299], names[299]]
    assert found == [("beyond", "lossy", "VOC_CLASS_LIMIT_EXCEEDED"), ("far", "lossy", "VOC_CLASS_LIMIT_EXCEEDED")]


def test_a_semantic_mask_of_a_class_beyond_254_is_skipped():
    names = tuple(f"class {number:03}" for number in range(1, 256))
    _, found = read(rectangle("beyond", names[254], 0, 0, 5, 5), configured=names, masks="semantic")
    assert found == [("beyond", "skipped", "VOC_CLASS_LIMIT_EXCEEDED")]


def test_objects_beyond_254_are_void_in_the_object_plane_and_what_they_are_in_the_class_plane():
    cells = [(x, y) for y in range(0, 40, 2) for x in range(0, 60, 2)][:300]
    image, found = read(*(rectangle(f"{x},{y}", "car", x, y, x + 1, y + 1) for x, y in cells))
    expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for number, (x, y) in enumerate(cells, start=1):
        expected[y, x] = min(number, 255)
    assert (image.instances == expected).all()
    assert (image.classes == (expected > 0)).all()
    assert len(image.objects) == 300
    beyond = [loss for loss in found if loss[2] != "BOX_WIDENED"]
    assert beyond == [(f"{x},{y}", "lossy", "VOC_INSTANCE_LIMIT_EXCEEDED") for x, y in cells[254:]]


def test_one_covered_among_more_than_255_is_found():
    cells = [(x, y) for y in range(0, 40, 2) for x in range(0, 60, 2)][:300]
    drawn = [rectangle(f"{x},{y}", "car", x, y, x + 1, y + 1) for x, y in cells]
    _, found = read(*drawn, rectangle("last", "car", *cells[299], cells[299][0] + 1, cells[299][1] + 1))
    assert (f"{cells[299][0]},{cells[299][1]}", "lossy", "MASK_COVERED") in found
