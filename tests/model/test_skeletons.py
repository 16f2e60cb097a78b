"""What groups of keypoints can be: described, or derived from nothing but names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synapse_sdk.utils.converters.dm.types import (
    COCO_PERSON_17_FLIP_IDX,
    COCO_PERSON_17_KEYPOINTS,
    COCO_PERSON_17_SKELETON,
)

from exporting import export
from pipeline.model.skeletons import (
    PERSON_EDGES,
    PERSON_FLIP,
    PERSON_POINTS,
    Skeleton,
    derive_skeletons,
    keep_locked,
    make_skeleton,
)
from pipeline.staging.area import Staging
from pipeline.storage import open_storage

PERSON = make_skeleton("person", PERSON_POINTS, PERSON_EDGES, PERSON_FLIP)
points = st.lists(st.sampled_from([*PERSON_POINTS, "left_antenna", "right_antenna", "tip", "left_alone"]), unique=True)


def staged_catalog(path):
    storage = open_storage(str(path))
    (key,) = (name for name in storage.entries("_staging") if name != "tmp")
    return Staging(storage, key).read_catalog()[0].catalog


def test_the_person_is_that_of_the_sdk():
    assert PERSON.points == COCO_PERSON_17_KEYPOINTS
    assert tuple((start + 1, end + 1) for start, end in PERSON.edges) == COCO_PERSON_17_SKELETON
    assert PERSON.flip == tuple(COCO_PERSON_17_FLIP_IDX)


def test_a_whole_person_comes_first_and_the_rest_is_one_skeleton():
    found = derive_skeletons(["left_tip", "base", *reversed(PERSON_POINTS), "right_tip", "left_alone"], {})
    assert found == (
        PERSON,
        Skeleton("keypoints", ("left_tip", "base", "right_tip", "left_alone")),
    )  # it has no mirror image


def test_mirror_images_are_known_when_each_point_has_one_or_names_no_side():
    (found,) = derive_skeletons(["left_tip", "base", "right_tip"], {})
    assert found.flip == (2, 1, 0)


@pytest.mark.parametrize(
    "names",
    [("L_eye", "R_eye", "mouth"), ("left_eye", "right_eye", "ear_l", "ear_r"), ("a", "b"), ("eye.left", "eye.right")],
)
def test_mirror_images_that_nobody_names_are_not_known(names):
    """``[0, 1, 2]`` would tell Ultralytics that the left eye of a mirrored image is its left eye."""
    assert derive_skeletons(names, {})[0].flip == ()
    assert make_skeleton("head", names).flip == ()


def test_a_person_that_misses_a_point_is_none():
    (found,) = derive_skeletons(PERSON_POINTS[:-1], {})
    assert (found.name, found.points, found.edges) == ("keypoints", PERSON_POINTS[:-1], ())
    assert found.flip == ()


def test_no_points_are_no_skeleton():
    assert derive_skeletons([], {}) == ()


@given(points, points, points)
def test_locked_points_keep_their_numbers_whatever_comes(first, second, third):
    """Three exports in a row, each under the lock of the one before: every point stays where it was, in one place."""
    locked = {}
    for labels in (first, second, third):
        found = derive_skeletons(labels, locked)
        for name, own in locked.items():
            (skeleton,) = (skeleton for skeleton in found if skeleton.name == name)
            assert skeleton.points[: len(own)] == own
        assert [skeleton.name for skeleton in found][: len(locked)] == list(locked)
        everywhere = [point for skeleton in found for point in skeleton.points]
        assert len(set(everywhere)) == len(everywhere)
        assert set(labels) <= set(everywhere)
        for skeleton in found:
            assert [skeleton.flip[partner] for partner in skeleton.flip] == list(range(len(skeleton.flip)))
            assert len(skeleton.flip) in (0, len(skeleton.points))
        locked = {skeleton.name: skeleton.points for skeleton in found}


def test_a_described_skeleton_takes_the_order_of_the_lock():
    described = make_skeleton("crane", ("tip", "base", "hook"), [("base", "tip")], [("tip", "hook")])
    new, old = Skeleton("new", ("a",)), Skeleton("old", ("x", "y"))
    found = keep_locked((new, described), {"old": ("x", "y"), "crane": ("base", "tip")})
    assert found == (old, make_skeleton("crane", ("base", "tip", "hook"), [("base", "tip")], [("tip", "hook")]), new)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, (PERSON,)),
        ({"skeletons": {}}, ()),
        (
            {"skeletons": {"head": {"points": ["nose", "left_eye", "right_eye"], "flip": [["left_eye", "right_eye"]]}}},
            (Skeleton("head", ("nose", "left_eye", "right_eye"), (), (0, 2, 1)),),
        ),
        ({"classes": {"rename": {"nose": "snout"}}}, "snout"),
        ({"classes": {"drop": ["left_ear"]}}, 16),
    ],
    ids=["derived", "none", "described", "renamed", "dropped"],
)
def test_the_catalog_has_the_skeletons_of_the_project(tidy, tmp_path, overrides, expected):
    export(tidy, tmp_path / "out", formats=["synapse_json"], run={"keep_staging": True}, **overrides)
    found = staged_catalog(tmp_path / "out").skeletons
    if isinstance(expected, tuple):
        assert found == expected
    elif isinstance(expected, str):
        assert [(skeleton.name, skeleton.points[0]) for skeleton in found] == [("keypoints", expected)]
    else:
        assert [(skeleton.name, len(skeleton.points)) for skeleton in found] == [("keypoints", expected)]


def test_a_project_without_keypoint_classes_is_taken_by_its_data(tidy, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.synapse.source.configured_points", lambda _configuration: [])
    export(tidy, tmp_path / "out", formats=["synapse_json"], run={"keep_staging": True})
    assert staged_catalog(tmp_path / "out").skeletons == (PERSON,)
