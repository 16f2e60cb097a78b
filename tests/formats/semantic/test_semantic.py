"""Semantic segmentation, read as its readers read it: one byte per pixel."""

import io
import json

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.errors import ConfigError
from pipeline.formats import Entry, load_format
from pipeline.formats.semantic import Semantic
from pipeline.formats.testing import FormatCases, catalog_of, find_losses, join_samples
from pipeline.formats.testing.shapes import bitmap_of, polygon
from pipeline.records import Mask, Polygon
from tests.formats.voc.cases import HEIGHT, WIDTH, painted, rectangle, sample_with
from tests.formats.write_golden import golden

CLASSES = {"configured": ("car", "bus", "road"), "rename": {}}


def pixels(data):
    """The numbers in a PNG of one channel."""
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "L"
        return np.asarray(image)


def decoded(tree):
    """The tree with pixels in place of planes: the bytes of a compressed picture change with the library."""
    planes = {path: data for path, data in tree.items() if path.endswith(".png") and "/images/" not in path}
    return tree | {path: pixels(data).tolist() for path, data in planes.items()}


def read(*annotations, format_=Semantic(), **options):  # noqa: B008  it is frozen
    """The plane of an image with these annotations, and what was lost: ``(annotation id, outcome, reason)``."""
    sample = sample_with(*annotations)
    catalog = catalog_of([sample], **(CLASSES | options))
    tree = join_samples(format_, [sample], catalog)
    ((_, found),) = find_losses(format_, [sample], catalog)
    lost = [(loss.annotation_id, loss.outcome, str(loss.reason)) for loss in found]
    return pixels(tree["semantic/masks/train/photo.png"]), lost


class TestUltralytics(FormatCases):
    format = Semantic()

    def check(self, tree):
        super().check(tree)
        settings = yaml.safe_load(tree["semantic/data.yaml"])
        assert settings["masks_dir"] == "masks"
        assert settings["nc"] == len(settings["names"])
        assert list(settings["names"]) == list(range(settings["nc"]))
        masks = {path: pixels(data) for path, data in tree.items() if path.startswith("semantic/masks/")}
        for mask in masks.values():
            assert set(np.unique(mask)) <= {*settings["names"], 255}
        images = [path for path in tree if path.startswith("semantic/images/")]
        stems = {path.replace("/images/", "/masks/").rpartition(".")[0] + ".png" for path in images}
        assert stems == set(masks)
        assert len(stems) == len(images)

    def test_writes_the_golden_files(self):
        assert decoded(self.tree()) == decoded(golden("semantic"))

    def test_every_pixel_has_the_class_of_the_last_annotation_that_covers_it(self):
        catalog = self.catalog()
        numbers = catalog.classes_in("semantic", {"polygon", "mask"}).numbers
        tree = self.tree()
        seen = 0
        for sample in self.samples():
            path = f"semantic/masks/{sample.split}/{sample.stem}.png"
            if path not in tree:
                continue
            width, height = sample.sample.width, sample.sample.height
            expected = np.zeros((height, width), dtype=np.uint8)
            for annotation in sample.sample.annotations:
                if isinstance(annotation.shape, Mask) and annotation.label in numbers:
                    expected[bitmap_of(annotation.shape, width, height) == 1] = numbers[annotation.label] + 1
            polygons = any(isinstance(annotation.shape, Polygon) for annotation in sample.sample.annotations)
            if not polygons:
                assert (pixels(tree[path]) == expected).all(), sample.stem
                seen += expected.any()
        assert seen


class TestUltralyticsWithoutABackground(TestUltralytics):
    format = Semantic(background="ignore")

    def test_writes_the_golden_files(self):
        ours, with_background = self.tree(), golden("semantic")
        for path, data in ours.items():
            if path.startswith("semantic/masks/"):
                assert ((pixels(with_background[path]).astype(int) - 1) % 256 == pixels(data)).all()

    def test_every_pixel_has_the_class_of_the_last_annotation_that_covers_it(self):
        assert yaml.safe_load(self.tree()["semantic/data.yaml"])["names"][0] != "background"


class TestCityscapes(FormatCases):
    format = Semantic(layout="cityscapes")

    def test_each_image_has_the_three_files_of_its_name(self):
        tree = self.tree()
        images = [path for path in tree if path.startswith("semantic/leftImg8bit/")]
        assert images
        for path in images:
            _, _, split, city, name = path.split("/")
            start = f"semantic/gtFine/{split}/{city}/{name.split('_leftImg8bit')[0]}_gtFine"
            ids, train_ids = (pixels(tree[f"{start}_{kind}.png"]) for kind in ("labelIds", "labelTrainIds"))
            assert ((ids.astype(int) - 1) % 256 == train_ids).all()
            with Image.open(io.BytesIO(tree[f"{start}_color.png"])) as colours:
                shown = np.asarray(colours.convert("RGB"))
            labels = {row["id"]: row["color"] for row in json.loads(tree["semantic/labels.json"])}
            assert (shown == np.array([labels[number] for number in range(len(labels))])[ids]).all()


class TestAde20k(FormatCases):
    format = Semantic(layout="ade20k")

    def test_the_splits_have_the_names_of_the_challenge(self):
        tree = self.tree()
        found = {path.split("/")[2] for path in tree if path.startswith("semantic/annotations/")}
        assert {"training", "validation"} <= found <= {"training", "validation", "testing"}
        for path in tree:
            if path.startswith("semantic/images/"):
                assert path.replace("/images/", "/annotations/").rpartition(".")[0] + ".png" in tree


def test_later_annotations_are_painted_over_earlier_ones():
    plane, lost = read(rectangle("below", "car", 5, 5, 30, 30), polygon("above", "bus", 20, 20, 50, 20, 50, 35, 20, 35))
    assert (plane == painted((5, 5, 30, 30, 1), (20, 20, 50, 35, 2))).all()
    assert lost == []


def test_an_annotation_of_which_nothing_is_left_is_skipped():
    plane, lost = read(rectangle("below", "car", 5, 5, 10, 10), rectangle("above", "bus", 0, 0, 30, 30))
    assert (plane == painted((0, 0, 30, 30, 2))).all()
    assert lost == [("below", "skipped", "MASK_COVERED")]


def test_an_annotation_below_another_of_its_class_is_kept():
    _, lost = read(rectangle("below", "car", 5, 5, 10, 10), rectangle("above", "car", 0, 0, 30, 30))
    assert lost == []


def test_with_masks_as_stuff_polygons_lie_on_them():
    things = polygon("thing", "bus", 0, 0, 10, 0, 10, 10, 0, 10), rectangle("stuff", "road", 0, 0, WIDTH, HEIGHT)
    plane, _ = read(*things, masks="semantic")
    assert (plane == painted((0, 0, WIDTH, HEIGHT, 3), (0, 0, 10, 10, 2))).all()
    plane, lost = read(*things, masks="exclude")
    assert (plane == painted((0, 0, 10, 10, 2))).all()
    assert ("stuff", "skipped", "SEGMENTATION_EXCLUDED") in lost


def test_a_polygon_without_a_pixel_is_skipped():
    plane, lost = read(polygon("thin", "car", 1, 1.1, 30, 1.1, 30, 1.2))
    assert not plane.any()
    assert lost == [("thin", "skipped", "NOT_PAINTED")]


def test_a_class_beyond_what_a_byte_holds_is_skipped_and_said():
    names = tuple(f"class {number}" for number in range(300))
    annotations = [rectangle(str(number), names[number], 2 * number, 0, 2 * number + 2, 2) for number in (0, 1)]
    late = [rectangle(f"late {number}", names[number], 10, 10, 12, 12) for number in (253, 254)]
    plane, lost = read(*annotations, *late, configured=names)
    assert plane.max() == 254
    assert lost == [("late 254", "skipped", "CLASS_LIMIT_EXCEEDED")]


def test_an_option_that_would_do_nothing_is_refused():
    with pytest.raises(ConfigError, match="needs layout: ultralytics"):
        load_format("semantic", {"layout": "ade20k", "background": "ignore"})


def test_an_image_that_no_trainer_opens_is_left_out():
    sample = sample_with(rectangle("one", "car", 0, 0, 5, 5), file_name="photo.psd")
    rendered = Semantic().render(sample, catalog_of([sample], **CLASSES))
    assert not [entry for entry in rendered if isinstance(entry, Entry)]
