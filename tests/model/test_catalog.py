"""Everything global is decided from sums, so shards may be combined in any order."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.catalog import ShardSummary, build_catalog, combine_summaries, total_summary
from pipeline.model.labels import configured_classes, configured_points
from pipeline.model.splits import split_by_category, split_by_hash

counts = st.dictionaries(st.sampled_from(["car", "bus", "도로", "tree"]), st.integers(1, 9), max_size=4)
numbers = st.integers(0, 9)
summaries = st.builds(
    ShardSummary, numbers, numbers, counts, counts, counts, st.dictionaries(st.sampled_from(["", "dog"]), counts),
    numbers, numbers,
)  # fmt: skip


@given(summaries, summaries, summaries)
def test_summaries_combine_in_any_order_and_grouping(a, b, c):
    assert combine_summaries(a, combine_summaries(b, c)) == combine_summaries(combine_summaries(a, b), c)
    assert combine_summaries(a, b) == combine_summaries(b, a)
    assert combine_summaries(a, ShardSummary()) == a


def catalog(labels, **options):
    return build_catalog(ShardSummary(labels=dict.fromkeys(labels, 1)), name="x", **options)


def test_classes_are_the_users_then_the_projects_then_the_observed():
    made = catalog(["zebra", "bus", "ant"], configured=["car", "bus"], order=["tree"])
    assert made.classes == ("tree", "car", "bus", "ant", "zebra")
    assert made.class_sources == ("order", "project", "project", "observed", "observed")


def test_two_classes_renamed_to_one_are_merged():
    made = catalog(["van", "car"], configured=["car", "van"], rename={"van": "car"})
    assert made.classes == ("car",)
    assert made.class_index("van") == made.class_index("car") == 0


def test_a_dropped_class_has_no_index():
    made = catalog(["van", "car"], configured=["car", "van"], drop=["van"])
    assert made.classes == ("car",)
    assert made.class_index("van") is None


def test_dropping_a_new_name_drops_everything_renamed_to_it():
    made = catalog(["a", "b"], rename={"a": "b"}, drop=["b"])
    assert made.classes == ()
    assert made.class_index("a") is made.class_index("b") is None


def test_names_are_trimmed_and_composed():
    assert catalog(["가"], configured=[" \u1100\u1161 "]).classes == ("가",)


def test_both_shapes_of_project_configuration_are_read():
    new = {"classification_schema": [{"code": "car"}, {"code": "bus"}, {"name": "no code"}, "tree"]}
    configuration = {"classification": {"bounding_box": new, "polygon": ["bus", "road"], "odd": 7}}
    assert configured_classes(configuration) == ["car", "bus", "tree", "road"]
    assert configured_classes(None) == configured_classes({"classification": []}) == []


def test_the_classes_of_keypoints_are_those_of_their_tool():
    configuration = {
        "classification": {"polygon": ["road"], "keypoint": {"classification_schema": [{"code": " tip "}]}}
    }
    assert configured_points(configuration) == ["tip"]
    assert configured_points(None) == configured_points({"classification": {"polygon": ["a"]}}) == []


def test_locked_classes_come_first_whether_or_not_they_occur():
    made = catalog(
        ["bus", "van"], configured=["car", "bus"], order=["tree"], locked=["bus", "gone"], rename={"van": "gone"}
    )
    assert made.classes == ("bus", "gone", "tree", "car")
    assert made.class_sources == ("lock", "lock", "order", "project")
    assert made.class_index("van") == 1


def test_a_locked_class_that_is_dropped_keeps_its_number():
    made = catalog(["bus", "car"], locked=["bus", "car"], drop=["bus"])
    assert made.classes == ("bus", "car")
    assert (made.class_index("bus"), made.class_index("car")) == (None, 1)


def test_an_empty_export_has_a_train_split():
    assert build_catalog(total_summary([]), name="x").splits == {"train": 0}


def test_splits_are_in_the_usual_order():
    assert list(build_catalog(ShardSummary(splits={"zoo": 1, "test": 1, "train": 1}), name="x").splits) == [
        "train",
        "test",
        "zoo",
    ]


def test_the_hash_split_is_that_of_the_sdk():
    """Contract 9.4: sha256 of the id, big endian, modulo 100, below 80 is train."""
    for key in map(str, range(500)):
        number = int.from_bytes(hashlib.sha256(key.encode()).digest(), "big") % 100
        assert split_by_hash(key, {"train": 0.8, "val": 0.2}) == ("train" if number < 80 else "val")


@pytest.mark.parametrize("ratios", [{"train": 0.8, "val": 0.1, "test": 0.1}, {"train": 0.995, "val": 0.005}])
def test_hash_ratios_are_met(ratios):
    keys = 40_000
    found = [split_by_hash(str(key), ratios) for key in range(keys)]
    for split, ratio in ratios.items():
        assert found.count(split) / keys == pytest.approx(ratio, abs=0.006)


def test_a_ratio_of_zero_gets_nothing():
    assert {split_by_hash(str(key), {"train": 0.0, "val": 1.0, "test": 0.0}) for key in range(200)} == {"val"}


def test_categories_become_splits():
    categories = ("train", "validation", "test", "", "extra", "Train", "../x", "a b")
    splits = ["train", "val", "test", "unassigned", "extra", "train", "unassigned", "unassigned"]
    assert [split_by_category(category) for category in categories] == splits
