import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.catalog import ShardSummary, build_catalog
from pipeline.errors import ConfigError
from pipeline.formats import Entry, Loss, load_format
from pipeline.formats.yolo import Yolo
from pipeline.records import Annotation, Box
from tests.formats.cases import FormatCases, join, losses
from tests.formats.sample_set import box, catalog_of, samples
from tests.formats.write_golden import golden
from tests.formats.yolo_grammar import check_data_yaml, check_labels, check_yolo_tree, label_path

CATALOG = build_catalog(ShardSummary(1, 1, {"car": 1}, {"train": 1}), name="one class")


def sample_with(*annotations, width=100, height=50):
    sample = samples()[1]
    source = msgspec.structs.replace(sample.sample, annotations=annotations, width=width, height=height)
    return msgspec.structs.replace(sample, sample=source)


def rows_and_losses(*annotations, catalog=CATALOG, **size):
    results = list(Yolo().render(sample_with(*annotations, **size), catalog))
    (entry,) = [result for result in results if isinstance(result, Entry)]
    found = [(loss.annotation_id, loss.outcome, loss.reason) for loss in results if isinstance(loss, Loss)]
    return check_labels(entry.data.decode(), len(catalog.classes)), found


class TestYolo(FormatCases):
    format = Yolo()

    def check(self, tree):
        super().check(tree)
        classes = tree["classes.txt"].decode().splitlines()
        _, names = check_data_yaml(tree["data.yaml"].decode(), classes)
        for path, data in tree.items():
            if path.startswith("labels/"):
                check_labels(data.decode(), len(names))

    def written_annotations(self, tree):
        ids = {f"labels/{sample.split}/{sample.stem}.txt": sample.image_id for sample in self.samples()}
        return {ids[path]: len(data.splitlines()) for path, data in tree.items() if path in ids}

    def test_writes_the_golden_files(self):
        assert self.tree() == golden("yolo")

    def test_an_exported_tree_with_its_images_passes_the_grammar(self, tmp_path):
        usable = [sample for sample in self.samples() if sample.sample.has_image]
        for path, data in self.tree().items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(data)
        for sample in usable:
            (tmp_path / sample.original_path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / sample.original_path).write_bytes(b"")
        labels = check_yolo_tree(tmp_path)
        assert len(labels) == len(usable)
        assert labels["labels/train/empty.txt"] == []

    def test_the_label_file_is_where_ultralytics_looks_for_it(self):
        tree = self.tree()
        usable = [sample for sample in self.samples() if sample.sample.has_image]
        assert usable
        for sample in usable:
            assert label_path(f"/data/images/{sample.original_path}").as_posix().removeprefix("/data/images/") in tree

    def test_losses_are_these(self):
        found = {
            (loss.annotation_id, loss.outcome, loss.reason)
            for _, of_sample in losses(self.format, self.samples(), self.catalog())
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
    text = join(Yolo(), [], build_catalog(summary, name="x", **options))["data.yaml"].decode()
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
    text = join(Yolo(), [], catalog)["data.yaml"].decode()
    assert yaml.safe_load(text)["names"] == dict(enumerate(catalog.classes))


def test_the_numbers_of_classes_are_those_of_the_catalog():
    tree, catalog = join(Yolo(), samples(), catalog_of(samples())), catalog_of(samples())
    assert tree["labels/train/dropped.v2.txt"].startswith(b"%d " % catalog.classes.index("car"))
    assert tree["classes.txt"].decode().splitlines()[: len(catalog.classes)][:2] == ["car", "bus"]


def test_only_known_tasks_are_accepted():
    with pytest.raises(ValueError, match="task must be one of detect, not 'segment'"):
        Yolo(task="segment")
    with pytest.raises(ConfigError, match="detect"):
        load_format("yolo", {"task": "pose"})


@pytest.mark.parametrize(("name", "seen"), [("a.jpg", True), ("A.JPEG", True), ("gpj", False), ("a.gif", False)])
def test_an_image_that_ultralytics_would_not_see_is_reported(name, seen):
    sample = msgspec.structs.replace(sample_with(box("b1", "car", 1, 1, 5, 5)), file_name=name)
    results = list(Yolo().render(sample, CATALOG))
    assert any(isinstance(result, Entry) for result in results) == seen
    reported = [(loss.annotation_id, loss.reason) for loss in results if isinstance(loss, Loss)]
    assert reported == ([] if seen else [("", "SOURCE_IMAGE_INVALID"), ("b1", "SOURCE_IMAGE_INVALID")])
