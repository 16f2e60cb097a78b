import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.keypoints import MISSING, Instance, find_instances, find_rectangle
from pipeline.formats.testing import catalog_of, samples
from pipeline.formats.testing.annotations import ARROW, DROPPED, PERSON
from pipeline.formats.testing.shapes import point
from pipeline.records import Annotation, Box, Point

PEOPLE = next(item for item in samples() if item.stem == "people")


def found(*annotations, skeletons=(PERSON, ARROW), **options):
    """The objects of these annotations, and the losses as pairs of id and reason."""
    source = msgspec.structs.replace(PEOPLE.sample, annotations=annotations)
    catalog = catalog_of([msgspec.structs.replace(PEOPLE, sample=source)], skeletons=skeletons, **options)
    instances, losses = find_instances(source, catalog)
    assert {loss.outcome for loss in losses} <= {"skipped"}
    return instances, [(loss.annotation_id, str(loss.reason)) for loss in losses]


def grouped_box(group, *numbers, label="person"):
    return Annotation("the box", "bounding_box", label, Box(*numbers), group=group)


def test_the_sample_set_has_four_objects_and_these_losses():
    instances, losses = find_instances(PEOPLE.sample, catalog_of([PEOPLE]))
    identities = [[PEOPLE.sample.annotations[number].id for number in instance.annotations] for instance in instances]
    assert identities == [
        ["whole-1", "whole-2", "whole-3", "whole-4", "whole-5"],
        ["part-1", "part-2"],
        ["boxed-1", "boxed-2"],
        ["arrow-1", "arrow-2"],
    ]
    assert [instance.skeleton for instance in instances] == [0, 0, 0, 1]
    assert [instance.visible for instance in instances] == [4, 2, 2, 2]
    assert [instance.box for instance in instances] == [None, None, Box(100.0, 10.0, 40.0, 70.0), None]
    assert PEOPLE.sample.annotations[instances[2].box_annotation].id == "boxed-box"
    assert {(loss.annotation_id, loss.reason) for loss in losses} == {
        ("twice-1", "KEYPOINT_GROUP_INVALID"),
        ("twice-2", "KEYPOINT_GROUP_INVALID"),
        ("alone", "KEYPOINT_GROUP_INVALID"),
        ("unseen-1", "KEYPOINT_GROUP_INVALID"),
        ("unseen-2", "KEYPOINT_GROUP_INVALID"),
        ("unknown-1", "KEYPOINT_PROFILE_UNSUPPORTED"),
        ("unknown-2", "KEYPOINT_PROFILE_UNSUPPORTED"),
    }


def test_points_are_in_the_order_of_the_skeleton_whatever_their_own():
    (instance,), losses = found(point("a", "right_hand", 9, 8, group="g"), point("b", "nose", 1, 2, 1, group="g"))
    assert instance.points == ((1.0, 2.0, 1), MISSING, MISSING, MISSING, (9.0, 8.0, 2))
    assert instance.annotations == (0, 1)
    assert not losses


def test_the_first_skeleton_that_has_all_points_is_taken():
    (instance,), _ = found(point("a", "tip", 9, 8, group="g"), skeletons=(PERSON, ARROW, ARROW))
    assert instance.skeleton == 1


def test_points_of_two_skeletons_are_no_object():
    instances, losses = found(point("a", "tip", 9, 8, group="g"), point("b", "nose", 9, 8, group="g"))
    assert not instances
    assert losses == [("a", "KEYPOINT_PROFILE_UNSUPPORTED"), ("b", "KEYPOINT_PROFILE_UNSUPPORTED")]


def test_without_skeletons_no_point_has_one():
    instances, losses = found(point("a", "tip", 9, 8, group="g"), skeletons=())
    assert not instances
    assert losses == [("a", "KEYPOINT_PROFILE_UNSUPPORTED")]


def test_groups_that_are_mixed_up_are_taken_apart():
    instances, losses = found(
        point("a", "tip", 1, 1, group="g"), point("b", "tip", 2, 2, group="h"),
        point("c", "tail", 3, 3, group="h"), point("d", "tail", 4, 4, group="g"),
    )  # fmt: skip
    assert [instance.annotations for instance in instances] == [(0, 3), (1, 2)]
    assert not losses


def test_a_point_of_a_dropped_class_is_left_out_of_its_group():
    (instance,), losses = found(point("a", DROPPED, 1, 1, group="g"), point("b", "tip", 2, 2, group="g"))
    assert instance.points == (MISSING, (2.0, 2.0, 2))
    assert instance.annotations == (1,)
    assert losses == [("a", "CLASS_DROPPED")]


def test_points_count_by_the_names_their_classes_were_given():
    (instance,), _ = found(point("a", "peak", 1, 1, group="g"), rename={"peak": "tip"})
    assert instance.skeleton == 1
    instances, losses = found(
        point("a", "peak", 1, 1, group="g"), point("b", "tip", 2, 2, group="g"), rename={"peak": "tip"}
    )
    assert not instances
    assert losses == [("a", "KEYPOINT_GROUP_INVALID"), ("b", "KEYPOINT_GROUP_INVALID")]


def test_a_missing_point_is_nowhere_wherever_it_was_put():
    (instance,), _ = found(point("a", "tip", 9, 8, 0, group="g"), point("b", "tail", 1, 2, group="g"))
    assert instance.points == ((1.0, 2.0, 2), MISSING)
    assert instance.annotations == (0, 1)


def test_an_object_of_which_nothing_is_seen_is_none():
    instances, losses = found(point("a", "tip", 9, 8, 0, group="g"))
    assert not instances
    assert losses == [("a", "KEYPOINT_GROUP_INVALID")]


@pytest.mark.parametrize(
    "others",
    [
        (),
        (grouped_box("", 1, 1, 8, 8),),
        (grouped_box("h", 1, 1, 8, 8),),
        (grouped_box("g", 1, 1, 8, 8, label=DROPPED),),
        (grouped_box("g", 1, 1, 8, 8), grouped_box("g", 1, 1, 8, 8)),
    ],
    ids=["no box", "of no group", "of another group", "of a dropped class", "two boxes"],
)
def test_the_box_is_that_of_the_same_group_and_only_one(others):
    (instance,), losses = found(*others, point("b", "tail", 5, 6, group="g"))
    assert (instance.box, instance.box_annotation) == (None, None)
    assert not losses


def test_the_rectangle_of_an_object_is_its_box_as_it_lies_in_the_image():
    (instance,), _ = found(point("b", "tail", 50, 6, group="g"), grouped_box("g", -10, 10, 30, 20))
    assert find_rectangle(instance, 200, 100) == (0, 10, 20, 20)


def test_the_rectangle_goes_round_the_visible_points_and_is_not_cut():
    (instance,), _ = found(
        point("a", "nose", 190, 60, group="g"), point("b", "left_eye", 205, 20, 1, group="g"),
        point("c", "left_hand", 0, 0, 0, group="g"),
    )  # fmt: skip
    assert find_rectangle(instance, 200, 100) == (190, 20, 15, 40)


def test_the_rectangle_of_a_single_point_is_a_pixel_around_it():
    (instance,), _ = found(point("b", "tail", 50, 6, group="g"))
    assert find_rectangle(instance, 200, 100) == (49.5, 5.5, 1, 1)


def test_a_box_outside_the_image_says_nothing_of_where_the_object_is():
    (instance,), _ = found(point("b", "tail", 50, 6, group="g"), grouped_box("g", 300, 10, 30, 20))
    assert find_rectangle(instance, 200, 100) == (49.5, 5.5, 1, 1)


@pytest.mark.parametrize(("x", "y", "outside"), [(-1, 50, True), (201, 50, True), (200, 50, False), (5, 101, True)])
def test_an_object_with_all_points_outside_the_image_has_no_rectangle(x, y, outside):
    (instance,), _ = found(point("b", "tail", x, y, group="g"))
    assert (find_rectangle(instance, 200, 100) is None) is outside


LABELS = (*PERSON.points, *ARROW.points, "antenna", DROPPED)
NUMBERS = st.floats(-300, 300)
POINTS = st.builds(Point, NUMBERS, NUMBERS, st.sampled_from([0, 1, 2]))
BOXES = st.builds(Box, NUMBERS, NUMBERS, st.floats(0.01, 300), st.floats(0.01, 300), st.sampled_from([0.0, 0.5]))
ANNOTATIONS = st.lists(st.tuples(st.sampled_from(LABELS), POINTS | BOXES, st.sampled_from(["", "g", "h"])), max_size=12)


@settings(deadline=None)
@given(ANNOTATIONS)
def test_every_keypoint_is_in_one_object_or_one_loss(drawn):
    annotations = tuple(
        Annotation(str(number), "any", label, shape, group=group) for number, (label, shape, group) in enumerate(drawn)
    )
    instances, losses = found(*annotations)
    placed = [number for instance in instances for number in instance.annotations]
    keypoints = [number for number, annotation in enumerate(annotations) if isinstance(annotation.shape, Point)]
    assert sorted([*placed, *(int(identity) for identity, _ in losses)]) == keypoints
    for instance in instances:
        check(instance, annotations)
    firsts = [instance.annotations[0] for instance in instances]
    assert firsts == sorted(firsts)


def check(instance: Instance, annotations):
    skeleton = (PERSON, ARROW)[instance.skeleton]
    assert len(instance.points) == len(skeleton.points)
    assert instance.visible or instance.box
    for number in instance.annotations:
        shape = annotations[number].shape
        written = instance.points[skeleton.points.index(annotations[number].label)]
        assert written == ((shape.x, shape.y, shape.visibility) if shape.visibility else MISSING)
    rectangle = find_rectangle(instance, 200, 100)
    if rectangle:
        x, y, width, height = rectangle
        assert width > 0
        assert height > 0
        assert x < 200
        assert y < 100
        assert x + width > 0
        assert y + height > 0
    if instance.box_annotation is not None:
        assert annotations[instance.box_annotation].shape is instance.box
