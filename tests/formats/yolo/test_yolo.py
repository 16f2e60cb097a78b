"""YOLO: task detect, the settings of a tree, folders and options."""

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.formats import FORMATS, Entry, Loss, load_format, load_formats
from pipeline.formats.testing import catalog_of, find_losses, join_samples, samples
from pipeline.formats.testing.annotations import MASKS, PEOPLE
from pipeline.formats.testing.shapes import box
from pipeline.formats.yolo.format import RESERVED_FOLDERS, Yolo
from pipeline.model.catalog import ShardSummary, build_catalog
from pipeline.records import Annotation, Box
from tests.formats.write_golden import golden
from tests.formats.yolo.cases import CATALOG, YoloCases, rows_and_losses, sample_with
from tests.formats.yolo.grammar import check_data_yaml


class TestYoloInAFolder(YoloCases):
    format = Yolo(folder="boxes_only")


class TestYolo(YoloCases):
    format = Yolo()

    def test_writes_the_golden_files(self):
        assert self.tree() == golden("yolo")

    def test_losses_are_these(self):
        found = {
            (loss.annotation_id, loss.outcome, loss.reason)
            for _, of_sample in find_losses(self.format, self.samples(), self.catalog())
            for loss in of_sample
            if loss.annotation_id
        }
        assert found == {
            ("b1", "lossy", "CUSTOM_ATTRIBUTES_DROPPED"),
            *((name, "skipped", "UNSUPPORTED_ANNOTATION_TYPE") for name in ("p1", "m1", "l1", "k1", "c1", "r1", "o1")),
            ("x1", "skipped", "SOURCE_IMAGE_INVALID"),
            ("u1", "skipped", "SOURCE_IMAGE_INVALID"),
            ("v1", "skipped", "UNSUPPORTED_MEDIA"),
            ("t1", "lossy", "ROTATION_ENCLOSED"),
            ("over-the-edge", "lossy", "ROTATION_ENCLOSED"),
            ("over-the-edge", "lossy", "CLIPPED_TO_IMAGE"),
            *((name, "lossy", "CLIPPED_TO_IMAGE") for name in ("cut", "larger")),
            *((name, "skipped", "OUTSIDE_IMAGE") for name in ("away", "outside", "touching")),
            *(
                (name, "skipped", "UNSUPPORTED_ANNOTATION_TYPE")
                for name in ("cut-polygon", "outside-polygon", "flat-polygon")
            ),
            *(
                (annotation.id, "skipped", "UNSUPPORTED_ANNOTATION_TYPE")
                for annotation in (*PEOPLE, *MASKS)
                if not isinstance(annotation.shape, Box)
            ),
            ("한글", "lossy", "CUSTOM_ATTRIBUTES_DROPPED"),
            ("d1", "skipped", "CLASS_DROPPED"),
            ("d2", "skipped", "UNSUPPORTED_ANNOTATION_TYPE"),
            *((name, "lossy", "CUSTOM_ATTRIBUTES_DROPPED") for name in ("crowd1", "crowd2", "one")),
        }


def test_a_box_is_normalised_by_the_size_of_the_image():
    rows, found = rows_and_losses(box("b", "car", 10.0, 20.0, 30.0, 5.0))
    assert rows == [(0, 0.25, 0.45, 0.3, 0.1)]
    assert not found


def test_a_box_over_the_edge_is_cut_and_reported():
    rows, found = rows_and_losses(box("b", "car", -10.0, 40.0, 30.0, 20.0))
    assert rows == [(0, 0.1, 0.9, 0.2, 0.2)]
    assert found == [("b", "lossy", "CLIPPED_TO_IMAGE")]


def test_rounding_noise_at_the_edge_is_cut_but_not_reported():
    rows, found = rows_and_losses(box("b", "car", -0.0009, 0.0, 100.0018, 50.0009))
    assert rows == [(0, 0.5, 0.5, 1.0, 1.0)]
    assert not found


@pytest.mark.parametrize(("x", "kept"), [(-29.9991, False), (-29.99, True), (99.9991, False), (99.99, True)])
def test_a_sliver_of_a_thousandth_pixel_is_outside(x, kept):
    rows, found = rows_and_losses(box("b", "car", x, 0.0, 30.0, 5.0))
    assert len(rows) == kept
    assert found == [("b", *(("lossy", "CLIPPED_TO_IMAGE") if kept else ("skipped", "OUTSIDE_IMAGE")))]


def test_a_box_smaller_than_the_last_decimal_keeps_a_size():
    rows, _ = rows_and_losses(box("b", "car", 20.0, 20.0, 1e-9, 1e-9), width=8000, height=8000)
    assert rows[0][3:] == (0.000001, 0.000001)


def test_a_turned_box_becomes_the_box_around_it():
    rows, found = rows_and_losses(box("b", "car", 40.0, 20.0, 20.0, 10.0, rotation=0.7853981633974483))
    half = 15 / 2**0.5
    assert rows == [(0, 0.5, 0.5, round(half * 2 / 100, 6), round(half * 2 / 50, 6))]
    assert found == [("b", "lossy", "ROTATION_ENCLOSED")]


def test_a_quarter_turn_is_exact_and_no_loss():
    rows, found = rows_and_losses(box("b", "car", 40.0, 20.0, 20.0, 10.0, rotation=-1.5707963267948966))
    assert rows == [(0, 0.5, 0.5, 0.1, 0.4)]
    assert not found


def test_attributes_without_a_value_are_no_loss():
    assert not rows_and_losses(box("b", "car", 1.0, 2.0, 3.0, 4.0, note=None))[1]


def test_a_box_that_is_no_number_is_not_written():
    nan = float("nan")
    rows, found = rows_and_losses(box("a", "car", nan, 0.0, 10.0, 10.0), box("b", "car", 0.0, 0.0, 10.0, nan))
    assert not rows
    assert found == [("a", "skipped", "OUTSIDE_IMAGE"), ("b", "skipped", "OUTSIDE_IMAGE")]


_NUMBERS = st.floats(-1e4, 1e4)
_SIZES = st.floats(1e-9, 1e4)


@settings(deadline=None)
@given(st.lists(st.tuples(_NUMBERS, _NUMBERS, _SIZES, _SIZES, st.floats(-7, 7))), st.integers(1, 9000))
def test_whatever_the_box_the_row_is_valid_or_the_loss_is_reported(boxes, width):
    annotations = [
        Annotation(str(number), "bounding_box", "car", Box(*numbers)) for number, numbers in enumerate(boxes)
    ]
    rows, found = rows_and_losses(*annotations, width=width, height=7)
    assert len(rows) + sum(outcome == "skipped" for _, outcome, _ in found) == len(boxes)


def data_yaml(splits, **options):
    summary = ShardSummary(sum(splits.values()), 1, {"car": 1}, splits)
    text = join_samples(Yolo(), [], build_catalog(summary, name="x", **options))["data.yaml"].decode()
    return check_data_yaml(text)[0], text


def test_each_split_has_its_folder():
    data, text = data_yaml({"train": 5, "val": 2, "test": 1})
    assert (data["train"], data["val"], data["test"]) == ("images/train", "images/val", "images/test")
    assert "stands in" not in text


def test_without_a_val_split_the_training_images_stand_in_and_a_comment_says_so():
    data, text = data_yaml({"train": 5})
    assert data["val"] == "images/train"
    assert "test" not in data
    assert "# There is no split named val" in text


def test_without_a_train_split_another_one_stands_in_and_a_comment_says_so():
    data, text = data_yaml({"val": 5, "test": 1})
    assert (data["train"], data["val"]) == ("images/val", "images/val")
    assert "# There is no split named train" in text


def test_unassigned_samples_are_never_trained_on_when_there_are_others():
    data, _ = data_yaml({"unassigned": 100, "west": 5})
    assert (data["train"], data["val"]) == ("images/west", "images/west")


def test_unassigned_samples_are_all_there_is_when_nothing_has_a_split():
    data, text = data_yaml({"unassigned": 100})
    assert (data["train"], data["val"]) == ("images/unassigned", "images/unassigned")
    assert "# There is no split named train" in text


def test_a_split_with_an_awkward_name_is_quoted():
    data, _ = data_yaml({"no: yes #1": 5})
    assert data["train"] == "images/no: yes #1"


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip), min_size=1))
def test_any_class_name_survives_yaml(names):
    catalog = build_catalog(ShardSummary(), name="x", order=names)
    text = join_samples(Yolo(), [], catalog)["data.yaml"].decode()
    assert yaml.safe_load(text)["names"] == dict(enumerate(catalog.classes))


def test_the_numbers_of_classes_are_those_of_the_catalog():
    tree, catalog = join_samples(Yolo(), samples(), catalog_of(samples())), catalog_of(samples())
    assert tree["labels/train/dropped.v2.txt"].startswith(b"%d " % catalog.classes.index("car"))
    assert tree["classes.txt"].decode().splitlines()[: len(catalog.classes)][:2] == ["car", "bus"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "boxes"}, "task must be one of detect, segment, pose, obb, not 'boxes'"),
        ({"task": ["detect"]}, "task must be one of"),
        ({"task": "segment", "outlines": "join"}, "outlines must be one of bridge, largest, split, skip"),
        ({"task": "segment", "boxes": True}, "boxes must be one of rectangle, skip, not True"),
        ({"folder": "../out"}, "folder must be a plain word"),
        ({"folder": "Boxes"}, "folder must be a plain word"),
        ({"folder": "a" * 64}, "folder must be a plain word"),
        ({"folder": 1}, "folder must be a plain word"),
        ({"folder": "images"}, "folder 'images' is the folder of the export itself"),
        ({"task": "segment", "simplify": -1}, "simplify must be a number of pixels from 0, not -1"),
        ({"task": "segment", "simplify": float("nan")}, "simplify must be a number"),
        ({"task": "segment", "simplify": float("inf")}, "simplify must be a number"),
        ({"task": "segment", "simplify": True}, "simplify must be a number"),
        ({"task": "pose", "skeleton": 17}, "skeleton must be a name"),
        ({"ndjson": 1}, "ndjson must be true or false"),
        ({"ndjson": True, "base_url": "bucket/export"}, "base_url must be"),
        ({"ndjson": True, "base_url": "s3://bucket/export"}, "base_url must be"),
        ({"ndjson": True, "base_url": "https://bucket.example/export?X-Amz-Signature=1"}, "base_url must be"),
        ({"ndjson": True, "base_url": "https://user:word@bucket.example/export"}, "base_url must be"),
        ({"ndjson": True, "base_url": None}, "base_url must be"),
        ({"outlines": "split"}, "outlines needs task: segment"),
        ({"task": "obb", "boxes": "rectangle"}, "boxes needs task: segment"),
        ({"task": "pose", "simplify": 1}, "simplify needs task: segment"),
        ({"skeleton": "person"}, "skeleton needs task: pose"),
        ({"base_url": "https://bucket.example"}, "base_url needs ndjson: true"),
    ],
)
def test_an_option_that_is_wrong_or_does_nothing_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Yolo(**options)
    option, _, problem = message.partition(" ")
    with pytest.raises(ConfigError, match=f"^formats.yolo.{option}: {problem}"):
        load_format("yolo", options)


def test_no_folder_is_one_that_another_format_writes_to():
    formats = [load_format(name) for name in FORMATS if name != "yolo"]
    taken = {
        path.split("/")[0].lower()
        for other in formats
        for path in join_samples(other, samples(), catalog_of(samples()))
    }
    assert {name for name in taken if "." not in name} <= set(RESERVED_FOLDERS)


def test_a_second_tree_is_put_into_a_folder_named_after_its_task():
    loaded = load_formats([("yolo", {}), ("yolo", {"task": "segment"}), ("yolo", {"task": "obb", "folder": "turned"})])
    assert [(format_.name, format_.folder) for format_ in loaded] == [
        ("yolo", ""), ("yolo_segment", "segment"), ("yolo_turned", "turned"),
    ]  # fmt: skip


def test_a_folder_that_is_asked_for_twice_is_refused():
    with pytest.raises(ConfigError, match="yolo_a"):
        load_formats([("yolo", {"folder": "a"}), ("yolo", {"task": "pose", "folder": "a"})])


@pytest.mark.parametrize(("name", "seen"), [("a.jpg", True), ("A.JPEG", True), ("gpj", False), ("a.gif", False)])
def test_an_image_that_ultralytics_would_not_see_is_reported(name, seen):
    sample = msgspec.structs.replace(sample_with(box("b1", "car", 1, 1, 5, 5)), file_name=name)
    results = list(Yolo().render(sample, CATALOG))
    assert any(isinstance(result, Entry) for result in results) == seen
    reported = [(loss.annotation_id, loss.reason) for loss in results if isinstance(loss, Loss)]
    assert reported == ([] if seen else [("", "SOURCE_IMAGE_INVALID"), ("b1", "SOURCE_IMAGE_INVALID")])
