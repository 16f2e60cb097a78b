import json
import math
from collections import Counter

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pipeline.errors import ConfigError
from pipeline.formats import Loss, load_format
from pipeline.formats.coco import Coco
from pipeline.records import Annotation, Box, Mask, Polygon
from tests.formats.cases import FormatCases, join, losses
from tests.formats.coco_grammar import annotations_of, check_annotation, check_instances
from tests.formats.sample_set import bitmap_of, box, catalog_of, mask, polygon, samples
from tests.formats.write_golden import golden

# pycocotools 2.0.11 decodes through an old form of numpy's array protocol.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


class CocoCases(FormatCases):
    def check(self, tree):
        super().check(tree)
        seen = set()
        for path, data in tree.items():
            if path.startswith("annotations/"):
                content = check_instances(data)
                identities = {annotation["id"] for annotation in content["annotations"]}
                assert not identities & seen, "annotation ids repeat in another split"
                seen |= identities

    def written_annotations(self, tree):
        return Counter(
            annotation["image_id"]
            for path, data in tree.items()
            if path.startswith("annotations/")
            for annotation in json.loads(data)["annotations"]
        )

    def test_written_annotations_have_the_ids_the_catalog_gave_them(self):
        expected = {
            sample.annotation_id + position: sample.image_id
            for sample, found in losses(self.format, self.samples(), self.catalog())
            for position, annotation in enumerate(sample.sample.annotations)
            if annotation.id not in {loss.annotation_id for loss in found if loss.outcome == "skipped"}
        }
        written = {
            annotation["id"]: annotation["image_id"]
            for path, data in self.tree().items()
            if path.startswith("annotations/")
            for annotation in json.loads(data)["annotations"]
        }
        assert written == expected


class TestCoco(CocoCases):
    format = Coco()

    def test_writes_the_golden_files(self):
        assert self.tree() == golden("coco")

    def test_categories_are_the_same_in_every_split_and_in_the_class_list(self):
        tree, classes = self.tree(), self.catalog().classes
        for split in ("train", "val", "test"):
            content = json.loads(tree[f"annotations/instances_{split}.json"])
            assert tuple(category["name"] for category in content["categories"]) == classes
        listed = json.loads(tree["classes.json"])
        assert [(item["id"], item["name"]) for item in listed] == list(enumerate(classes, start=1))

    def test_an_export_without_samples_has_a_train_file_with_every_section(self):
        tree = join(Coco(), [], catalog_of([]))
        content = json.loads(tree["annotations/instances_train.json"])
        assert (content["images"], content["annotations"]) == ([], [])
        assert [category["name"] for category in content["categories"]] == ["car", "bus"]

    def test_losses_are_these(self):
        found = {
            (loss.annotation_id, loss.outcome, loss.reason)
            for _, of_sample in losses(self.format, self.samples(), self.catalog())
            for loss in of_sample
            if loss.annotation_id
        }
        assert found == {
            *((name, "skipped", "UNSUPPORTED_ANNOTATION_TYPE") for name in ("l1", "k1", "c1", "r1", "o1")),
            ("x1", "skipped", "SOURCE_IMAGE_INVALID"),
            ("u1", "skipped", "SOURCE_IMAGE_INVALID"),
            ("v1", "skipped", "UNSUPPORTED_MEDIA"),
            *((name, "lossy", "ROTATION_ENCLOSED") for name in ("t1", "over-the-edge")),
            *((name, "lossy", "CLIPPED_TO_IMAGE") for name in ("cut", "larger")),
            *((name, "skipped", "OUTSIDE_IMAGE") for name in ("away", "outside", "touching", "outside-polygon")),
            ("flat-polygon", "skipped", "INVALID_POLYGON"),
            *((name, "skipped", "CLASS_DROPPED") for name in ("d1", "d2")),
        }

    def test_a_sample_without_an_image_is_reported_as_a_whole(self):
        whole = {
            sample.sample.record_id: loss.reason
            for sample, found in losses(self.format, self.samples(), self.catalog())
            for loss in found
            if not loss.annotation_id
        }
        assert whole == {
            3: "SOURCE_IMAGE_INVALID",
            4: "UNSUPPORTED_MEDIA",
            10: "SOURCE_IMAGE_INVALID",
            13: "UNSUPPORTED_DOCUMENT",
        }


class TestCocoWithRectangles(CocoCases):
    format = Coco(box_segmentation="rectangle")

    def test_every_annotation_has_a_segmentation(self, tmp_path):
        for dataset in loaded(self.tree(), tmp_path):
            assert dataset.anns
            for annotation in dataset.anns.values():
                assert annotation["segmentation"]
                dataset.annToMask(annotation)


def loaded(tree, folder):
    """What pycocotools makes of the files, one dataset per split."""
    for path, data in tree.items():
        if path.startswith("annotations/"):
            (folder / "file.json").write_bytes(data)
            yield COCO(str(folder / "file.json"))


def rendered(*annotations, format_=None, width=100, height=50, masks="instance", drop=()):
    sample = samples()[1]
    source = msgspec.structs.replace(sample.sample, annotations=annotations, width=width, height=height)
    sample = msgspec.structs.replace(sample, sample=source)
    results = list((format_ or Coco()).render(sample, catalog_of([sample], masks=masks, drop=drop)))
    written = annotations_of(results)
    return written, [(loss.annotation_id, loss.outcome, loss.reason) for loss in results if isinstance(loss, Loss)]


def test_pycocotools_loads_every_split_and_finds_every_annotation(tmp_path):
    written = sum(TestCoco().written_annotations(TestCoco().tree()).values())
    datasets = list(loaded(TestCoco().tree(), tmp_path))
    assert len(datasets) == 3
    assert sum(len(dataset.getAnnIds()) for dataset in datasets) == written
    for dataset in datasets:
        assert dataset.getAnnIds(imgIds=dataset.getImgIds(), catIds=dataset.getCatIds()) == dataset.getAnnIds()
        for annotation in dataset.loadAnns(dataset.getAnnIds()):
            # What showAnns does to an annotation before it draws.
            if isinstance(annotation["segmentation"], list):
                for part in annotation["segmentation"]:
                    np.array(part).reshape((len(part) // 2, 2))
            else:
                coco_mask.decode(annotation["segmentation"])


def test_the_mask_read_back_is_the_bitmap_that_was_drawn(tmp_path):
    street = samples()[0]
    (shape,) = [item.shape for item in street.sample.annotations if isinstance(item.shape, Mask)]
    train = next(data for data in loaded(TestCoco().tree(), tmp_path) if 1 in data.imgs)
    (annotation,) = [item for item in train.anns.values() if isinstance(item["segmentation"], dict)]
    bitmap = bitmap_of(shape, 100, 50)
    assert (train.annToMask(annotation) == bitmap).all()
    assert not bitmap[17, 40]
    assert annotation["area"] == bitmap.sum()
    assert annotation["bbox"] == [0.0, 0.0, 100.0, 50.0]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32), st.floats(0.01, 1))
def test_any_mask_is_read_back_exactly(width, height, seed, density):
    chance = np.random.default_rng(seed)
    bitmap = (chance.random((height, width)) < density).astype(np.uint8)
    bitmap[chance.integers(height), chance.integers(width)] = 1
    (written,), found = rendered(Annotation("m", "segmentation", "car", mask(bitmap)), width=width, height=height)
    assert not found
    assert (coco_mask.decode(written["segmentation"]) == bitmap).all()
    assert written["area"] == bitmap.sum()
    assert written["bbox"] == coco_mask.toBbox(written["segmentation"]).tolist()


def truth(numbered, catalog):
    """The samples as a COCO dataset of uncompressed masks, made from pixels and without the format."""
    annotations, images = [], []
    for sample in numbered:
        width, height = sample.sample.width, sample.sample.height
        images.append({"id": sample.image_id, "width": width, "height": height, "file_name": sample.file_name})
        for position, annotation in enumerate(sample.sample.annotations):
            shape = annotation.shape
            if isinstance(shape, Box):
                bbox = [shape.x, shape.y, shape.width, shape.height]
                x, y, right, bottom = shape.x, shape.y, shape.x + shape.width, shape.y + shape.height
                encoded = coco_mask.frPyObjects([[x, y, right, y, right, bottom, x, bottom]], height, width)[0]
            elif isinstance(shape, Polygon):
                across, down = shape.points[0::2], shape.points[1::2]
                bbox = [min(across), min(down), max(across) - min(across), max(down) - min(down)]
                encoded = coco_mask.frPyObjects([list(shape.points)], height, width)[0]
            elif isinstance(shape, Mask):
                bitmap = bitmap_of(shape, width, height)
                bbox = [
                    *(int(axis.min()) for axis in np.nonzero(bitmap)[::-1]),
                    *(int(axis.max() - axis.min() + 1) for axis in np.nonzero(bitmap)[::-1]),
                ]
                encoded = coco_mask.encode(np.asfortranarray(bitmap))
            else:
                continue
            annotations.append({
                "id": sample.annotation_id + position,
                "image_id": sample.image_id,
                "category_id": catalog.classes.index(annotation.label) + 1,
                "bbox": bbox,
                "area": float(coco_mask.area(encoded)),
                "segmentation": encoded,
                "iscrowd": 0,
            })  # fmt: skip
    categories = [{"id": number, "name": name} for number, name in enumerate(catalog.classes, start=1)]
    dataset = COCO()
    dataset.dataset = {"images": images, "annotations": annotations, "categories": categories, "info": {}}
    dataset.createIndex()
    return dataset


@pytest.mark.parametrize("measure", ["bbox", "segm"])
def test_cocoeval_finds_the_export_identical_to_the_truth(measure, tmp_path):
    numbered = [sample for sample in samples() if sample.stem in {"street", "pair_1", "pair_2", "names"}]
    catalog = catalog_of(numbered)
    (export,) = loaded(join(Coco(box_segmentation="rectangle"), numbered, catalog), tmp_path)
    expected = truth(numbered, catalog)
    assert len(export.anns) == len(expected.anns) == 12
    detections = expected.loadRes([{**annotation, "score": 1.0} for annotation in export.anns.values()])
    evaluation = COCOeval(expected, detections, measure)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)
    assert evaluation.stats[8] == pytest.approx(1.0)


def test_cocoeval_notices_a_mask_that_lost_its_hole(tmp_path):
    numbered = samples()[:1]
    catalog = catalog_of(numbered)
    (export,) = loaded(join(Coco(), numbered, catalog), tmp_path)
    (annotation,) = [item for item in export.anns.values() if isinstance(item["segmentation"], dict)]
    filled = coco_mask.decode(annotation["segmentation"])
    filled[15:20, 30:50] = 1
    detection = {**annotation, "segmentation": coco_mask.encode(np.asfortranarray(filled)), "score": 1.0}
    expected = truth(numbered, catalog)
    evaluation = COCOeval(expected, expected.loadRes([detection]), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] < 0.9


def test_a_box_inside_the_image_keeps_its_numbers():
    (written,), found = rendered(box("b", "car", 0.1, 0.2, 0.30000000000000004, 1 / 3))
    assert written["bbox"] == [0.1, 0.2, 0.30000000000000004, 1 / 3]
    assert written["area"] == 0.30000000000000004 * (1 / 3)
    assert (written["segmentation"], written["iscrowd"]) == ([], 0)
    assert "attributes" not in written
    assert not found


def test_a_rectangle_goes_round_the_box_that_was_cut():
    (written,), found = rendered(box("b", "car", -5.0, 40.0, 20.0, 20.0), format_=Coco("rectangle"))
    assert written["bbox"] == [0.0, 40.0, 15.0, 10.0]
    assert written["segmentation"] == [[0.0, 40.0, 15.0, 40.0, 15.0, 50.0, 0.0, 50.0]]
    assert written["area"] == 150.0
    assert found == [("b", "lossy", "CLIPPED_TO_IMAGE")]


def test_a_turned_box_is_a_polygon_of_its_true_area():
    (written,), found = rendered(box("b", "car", 40.0, 20.0, 20.0, 10.0, rotation=math.pi / 6))
    assert written["area"] == 200.0
    (points,) = written["segmentation"]
    sides = [math.dist(points[i : i + 2], (points + points[:2])[i + 2 : i + 4]) for i in (0, 2, 4, 6)]
    assert sides == pytest.approx([20, 10, 20, 10])
    x, y, width, height = written["bbox"]
    assert (x + width / 2, y + height / 2) == pytest.approx((50, 25))
    assert (x, y, x + width, y + height) == (min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2]))
    assert found == [("b", "lossy", "ROTATION_ENCLOSED")]


def test_a_half_turn_gives_the_box_back():
    (written,), found = rendered(box("b", "car", 40.0, 20.0, 20.0, 10.0, rotation=-math.pi))
    assert written["bbox"] == [40.0, 20.0, 20.0, 10.0]
    assert written["segmentation"] == []
    assert not found


def test_a_polygon_over_the_edge_keeps_its_points():
    (written,), found = rendered(polygon("p", "car", -10, 10, 20, 10, 20, 30))
    assert written["segmentation"] == [[-10, 10, 20, 10, 20, 30]]
    assert written["bbox"] == [-10, 10, 30, 20]
    assert written["area"] == 300
    assert not found


@pytest.mark.parametrize(("x", "y"), [(-10, 20), (100, 20), (20, -10), (20, 50)])
def test_a_polygon_that_only_touches_the_image_lies_outside(x, y):
    written, found = rendered(polygon("p", "car", x, y, x + 10, y, x + 10, y + 10, x, y + 10))
    assert not written
    assert found == [("p", "skipped", "OUTSIDE_IMAGE")]


@pytest.mark.parametrize(
    ("masks", "reason"), [("exclude", "SEGMENTATION_EXCLUDED"), ("semantic", "SEMANTIC_SEGMENTATION_UNSUPPORTED")]
)
def test_masks_are_left_out_when_they_are_not_instances(masks, reason):
    written, found = rendered(Annotation("m", "segmentation", "car", mask(np.ones((50, 100)))), masks=masks)
    assert not written
    assert found == [("m", "skipped", reason)]


@pytest.mark.parametrize("runs", [b"", np.array([[4999, 2]], "<i8").tobytes()])
def test_a_mask_that_is_empty_or_leaves_the_image_does_not_lose_its_neighbours(runs):
    written, found = rendered(Annotation("m", "segmentation", "car", Mask(runs)), box("b", "car", 1.0, 2.0, 3.0, 4.0))
    assert [annotation["id"] for annotation in written] == [samples()[1].annotation_id + 1]
    assert found == [("m", "skipped", "INVALID_MASK_ENCODING")]


def test_a_mask_of_a_dropped_class_is_dropped_for_its_class():
    written, found = rendered(Annotation("m", "segmentation", "tree", mask(np.ones((50, 100)))), drop=("tree",))
    assert not written
    assert found == [("m", "skipped", "CLASS_DROPPED")]


@pytest.mark.parametrize("value", [True, 1, 1.0, "1", "true", "True"])
@pytest.mark.parametrize("name", ["iscrowd", "crowd"])
def test_a_crowd_is_what_the_annotator_marked_as_one(name, value):
    (written,), _ = rendered(box("b", "car", 1.0, 2.0, 3.0, 4.0, **{name: value}))
    assert written["iscrowd"] == 1
    assert written["attributes"] == {name: value}


@pytest.mark.parametrize("value", [False, 0, 2, "no", "", [1], {"a": 1}])
def test_anything_else_is_no_crowd(value):
    (written,), _ = rendered(box("b", "car", 1.0, 2.0, 3.0, 4.0, crowd=value))
    assert written["iscrowd"] == 0


def test_attributes_keep_their_values_but_not_their_nulls():
    (written,), found = rendered(box("b", "car", 1.0, 2.0, 3.0, 4.0, a=None, b={"c": [None, 1, {"d": None}]}, e=0))
    assert written["attributes"] == {"b": {"c": [1, {}]}, "e": 0}
    assert not found


def test_attributes_of_nothing_but_nulls_are_not_written():
    (written,), _ = rendered(box("b", "car", 1.0, 2.0, 3.0, 4.0, a=None))
    assert "attributes" not in written


def test_a_shape_that_is_no_number_is_not_written():
    nan = math.nan
    written, found = rendered(box("b", "car", nan, 0.0, 1.0, 1.0), polygon("p", "car", 0, 0, 9, nan, 9, 9))
    assert not written
    assert found == [("b", "skipped", "OUTSIDE_IMAGE"), ("p", "skipped", "INVALID_POLYGON")]


_NUMBERS = st.floats(-1e4, 1e4)
_SIZES = st.floats(1e-9, 1e4)


@settings(deadline=None)
@given(st.lists(st.tuples(_NUMBERS, _NUMBERS, _SIZES, _SIZES, st.floats(-7, 7))), st.integers(1, 9000))
def test_whatever_the_box_the_item_is_valid_or_the_loss_is_reported(boxes, width):
    shapes = [Annotation(str(number), "bounding_box", "car", Box(*numbers)) for number, numbers in enumerate(boxes)]
    written, found = rendered(*shapes, width=width, height=7)
    assert len(written) + sum(outcome == "skipped" for _, outcome, _ in found) == len(boxes)
    for annotation in written:
        check_annotation(annotation, {"width": width, "height": 7}, 2)


def test_only_known_options_are_accepted():
    assert load_format("coco", {"box_segmentation": "rectangle"}) == Coco("rectangle")
    with pytest.raises(ValueError, match="box_segmentation must be one of empty, rectangle, not 'polygon'"):
        Coco(box_segmentation="polygon")
    with pytest.raises(ConfigError, match="rectangle"):
        load_format("coco", {"box_segmentation": None})
