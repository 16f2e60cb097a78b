"""YOLO, task pose: objects of one skeleton."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.formats.testing import catalog_of, find_losses, join_samples, samples
from pipeline.formats.testing.annotations import ARROW, DROPPED, PERSON
from pipeline.formats.testing.shapes import box, point
from pipeline.formats.yolo.format import Yolo
from pipeline.model.skeletons import Skeleton
from tests.formats.write_golden import golden
from tests.formats.yolo.cases import YoloCases, rows_and_losses, sample_with
from tests.formats.yolo.grammar import check_data_yaml

MISSING = (0.0, 0.0, 0.0)


class PoseCases(YoloCases):
    def annotations_in(self, sample, rows):
        """A row is a whole group; the sample set's are told apart by their first visible point."""
        groups = Counter(annotation.group for annotation in sample.sample.annotations if annotation.group)
        firsts = {
            "0.310000 0.520000": "g1",
            "0.250000 0.205000": "whole",
            "0.950000 0.600000": "part",
            "0.600000 0.200000": "boxed",
            "0.850000 0.800000": "arrow",
        }
        found = 0
        for row in rows:
            x, y, _ = next(triple for triple in _triples(row) if triple[2] != "0")
            found += groups[firsts[f"{x} {y}"]]
        return found


def _triples(row):
    words = row.split()[5:]
    return zip(words[0::3], words[1::3], words[2::3], strict=True)


class TestYoloPose(PoseCases):
    format = Yolo(task="pose")

    def test_losses_are_these(self):
        (people,) = (sample for sample in self.samples() if sample.stem == "people")
        found = {
            (loss.annotation_id, loss.outcome, str(loss.reason))
            for _, of_sample in find_losses(self.format, [people], self.catalog())
            for loss in of_sample
        }
        assert found == {
            ("person-box", "skipped", "UNSUPPORTED_ANNOTATION_TYPE"),
            ("part-2", "lossy", "CLIPPED_TO_IMAGE"),
            ("arrow-1", "skipped", "KEYPOINT_PROFILE_UNSUPPORTED"),
            ("arrow-2", "skipped", "KEYPOINT_PROFILE_UNSUPPORTED"),
            *((name, "skipped", "KEYPOINT_GROUP_INVALID") for name in ("twice-1", "twice-2", "alone")),
            *((name, "skipped", "KEYPOINT_PROFILE_UNSUPPORTED") for name in ("unknown-1", "unknown-2")),
            *((name, "skipped", "KEYPOINT_GROUP_INVALID") for name in ("unseen-1", "unseen-2")),
        }


class TestYoloPoseOfAnotherSkeleton(PoseCases):
    format = Yolo(task="pose", skeleton="arrow")

    def test_the_class_is_the_skeleton(self):
        data, names = check_data_yaml(self.tree()["data.yaml"].decode(), task="pose")
        assert names == ["arrow"]
        assert data["kpt_names"] == {0: ["tail", "tip"]}
        assert data["flip_idx"] == [0, 1]


class TestYoloPoseWithoutSkeletons(PoseCases):
    format = Yolo(task="pose", skeleton="person")

    def catalog(self):
        return catalog_of(self.samples(), skeletons=())

    def test_there_is_nothing_to_train_on_and_a_comment_says_so(self):
        text = self.tree()["data.yaml"].decode()
        data, names = check_data_yaml(text, task="pose")
        assert (data["kpt_shape"], names) == ([1, 3], [])
        assert "# There is no skeleton, and nothing to train on" in text


class TestYoloPoseInAFolder(PoseCases):
    format = Yolo(task="pose", folder="pose")

    def test_writes_the_golden_files(self):
        assert self.tree() == golden("yolo_pose")


def pose(*annotations, width=200, height=100, skeletons=(PERSON, ARROW), skeleton=""):
    catalog = catalog_of([sample_with(*annotations)], skeletons=skeletons)
    return rows_and_losses(
        *annotations,
        catalog=catalog,
        points=len(skeletons[0].points),
        options={"task": "pose", "skeleton": skeleton},
        width=width,
        height=height,
    )


def grouped_box(x, y, width, height, rotation=0.0, label="person", **attributes):
    drawn = box("b", label, x, y, width, height, rotation, **attributes)
    return type(drawn)(drawn.id, drawn.tool, drawn.label, drawn.shape, drawn.attributes, "g")


def points_of(row):
    return list(zip(row[5::3], row[6::3], row[7::3], strict=True))


NOSE, EYE = point("n", "nose", 50, 20, group="g"), point("e", "left_eye", 60, 10, 1, group="g")


def test_points_are_in_the_order_of_the_skeleton_and_the_box_goes_round_them():
    rows, found = pose(EYE, NOSE)
    assert rows[0][:5] == (0, 0.275, 0.15, 0.05, 0.1)
    assert points_of(rows[0]) == [(0.25, 0.2, 2.0), (0.3, 0.1, 1.0), MISSING, MISSING, MISSING]
    assert not found


def test_a_box_in_the_group_is_the_box():
    rows, found = pose(NOSE, EYE, grouped_box(40, 0, 40, 80))
    assert rows[0][:5] == (0, 0.3, 0.4, 0.2, 0.8)
    assert not found


def test_a_box_of_the_group_is_cut_enclosed_and_loses_its_attributes():
    rows, found = pose(NOSE, grouped_box(-10, 0, 80, 80, 0.1, colour="red"))
    left = rows[0][1] - rows[0][3] / 2
    assert left == pytest.approx(0, abs=1e-6)
    assert found == [
        ("b", "lossy", "ROTATION_ENCLOSED"),
        ("b", "lossy", "CLIPPED_TO_IMAGE"),
        ("b", "lossy", "CUSTOM_ATTRIBUTES_DROPPED"),
    ]


def test_a_box_of_the_group_outside_the_image_is_left_out_and_the_points_stay():
    rows, found = pose(NOSE, EYE, grouped_box(300, 0, 40, 80))
    assert rows[0][:5] == (0, 0.275, 0.15, 0.05, 0.1)
    assert found == [("b", "skipped", "OUTSIDE_IMAGE")]


def test_two_boxes_in_a_group_are_none():
    rows, found = pose(NOSE, grouped_box(0, 0, 40, 80), grouped_box(1, 0, 40, 80))
    assert len(rows) == 1
    assert found == [("b", "skipped", "UNSUPPORTED_ANNOTATION_TYPE")] * 2


def test_the_box_round_one_point_is_a_pixel():
    rows, _ = pose(NOSE)
    assert rows[0][:5] == (0, 0.25, 0.2, 0.005, 0.01)


def test_the_box_round_a_point_in_the_corner_is_inside_the_image():
    rows, found = pose(point("n", "nose", 200, 100, group="g"))
    assert rows[0][:5] == (0, 0.99875, 0.9975, 0.0025, 0.005)
    assert not found


def test_a_box_smaller_than_the_last_decimal_keeps_a_size():
    rows, _ = pose(NOSE, grouped_box(50, 20, 1e-9, 1e-9))
    assert rows[0][:5] == (0, 0.25, 0.2, 0.000001, 0.000001)


def test_a_point_outside_becomes_missing_and_does_not_stretch_the_box():
    rows, found = pose(NOSE, EYE, point("h", "left_hand", 250, 90, group="g"))
    assert rows[0][:5] == (0, 0.275, 0.15, 0.05, 0.1)
    assert points_of(rows[0])[3] == MISSING
    assert found == [("h", "lossy", "CLIPPED_TO_IMAGE")]


def test_noise_at_the_edge_is_moved_in_but_not_reported():
    rows, found = pose(NOSE, point("h", "left_hand", 200.0005, -0.0009, group="g"))
    assert points_of(rows[0])[3] == (1.0, 0.0, 2.0)
    assert not found


def test_an_object_that_is_all_outside_is_left_out():
    rows, found = pose(point("n", "nose", 250, 20, group="g"), grouped_box(240, 0, 40, 80))
    assert not rows
    assert sorted(found) == [("b", "skipped", "OUTSIDE_IMAGE"), ("n", "skipped", "OUTSIDE_IMAGE")]


def test_an_object_whose_box_is_in_the_image_stays_with_all_points_missing():
    rows, found = pose(point("n", "nose", 250, 20, group="g"), grouped_box(140, 0, 40, 80))
    assert rows[0][:5] == (0, 0.8, 0.4, 0.2, 0.8)
    assert points_of(rows[0]) == [MISSING] * 5
    assert found == [("n", "lossy", "CLIPPED_TO_IMAGE")]


def test_a_missing_point_is_nowhere_wherever_it_was_put():
    rows, found = pose(NOSE, point("h", "left_hand", 500, 60, 0, group="g"))
    assert points_of(rows[0])[3] == MISSING
    assert not found


def test_attributes_of_points_are_reported():
    nose = point("n", "nose", 50, 20, group="g")
    nose.attributes["colour"] = "red"
    assert pose(nose)[1] == [("n", "lossy", "CUSTOM_ATTRIBUTES_DROPPED")]


def test_a_box_of_a_dropped_class_is_not_the_box():
    rows, found = pose(NOSE, grouped_box(0, 0, 40, 80, label=DROPPED))
    assert rows[0][:5] == (0, 0.25, 0.2, 0.005, 0.01)
    assert found == [("b", "skipped", "CLASS_DROPPED")]


def test_a_box_of_another_skeletons_object_is_left_out():
    rows, found = pose(point("t", "tip", 50, 20, group="g"), grouped_box(0, 0, 40, 80))
    assert not rows
    assert sorted(found) == [
        ("b", "skipped", "UNSUPPORTED_ANNOTATION_TYPE"),
        ("t", "skipped", "KEYPOINT_PROFILE_UNSUPPORTED"),
    ]


def test_a_skeleton_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ConfigError, match="unknown skeleton 'dog'; known: 'person', 'arrow'"):
        list(Yolo(task="pose", skeleton="dog").manifests(catalog_of(samples())))


def test_without_a_known_mirror_image_ultralytics_is_told_of_none():
    catalog = catalog_of(samples(), skeletons=(Skeleton("person", PERSON.points),))
    text = join_samples(Yolo(task="pose"), [], catalog)["data.yaml"].decode()
    assert "flip_idx" not in check_data_yaml(text, task="pose")[0]


_NUMBERS = st.one_of(st.floats(-50, 250), st.floats(-1e6, 1e6), st.sampled_from([0.0, 100.0, 200.0, -1e-7, 200.0005]))
_POINTS = st.tuples(st.sampled_from(PERSON.points), _NUMBERS, _NUMBERS, st.integers(0, 2), st.sampled_from("abc"))
_BOXES = st.tuples(_NUMBERS, _NUMBERS, st.floats(1e-9, 300), st.floats(1e-9, 300), st.floats(-7, 7))


@settings(deadline=None)
@given(st.lists(_POINTS, max_size=9), st.none() | _BOXES)
def test_whatever_the_points_every_row_is_valid_and_every_point_accounted_for(points, drawn):
    annotations = [
        point(f"p{number}", label, x, y, visibility, group="g" + group)
        for number, (label, x, y, visibility, group) in enumerate(points)
    ]
    if drawn:
        bounding = grouped_box(*drawn)
        annotations.append(type(bounding)("b", bounding.tool, "person", bounding.shape, {}, "ga"))
    rows, found = pose(*annotations)
    skipped = [identity for identity, outcome, _ in found if outcome == "skipped"]
    assert len(set(skipped)) == len(skipped)
    written = {annotation.group for annotation in annotations if annotation.id not in skipped}
    written_points = {a.group for a in annotations if a.id not in skipped and a.id != "b"}
    assert len(rows) == len(written_points)
    assert written == written_points
