"""The files that COCO consists of."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from pipeline.errors import ConfigError
from pipeline.formats import load_format
from pipeline.formats.coco.format import Coco
from pipeline.formats.testing import catalog_of, find_losses, join_samples, samples
from pipeline.formats.testing.annotations import PERSON
from pipeline.formats.testing.shapes import bitmap_of
from pipeline.records import Mask
from tests.formats.coco.cases import CocoCases, annotations_in, loaded
from tests.formats.write_golden import golden

# pycocotools 2.0.11 decodes through an old form of numpy's array protocol.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


class TestCoco(CocoCases):
    format = Coco()

    def test_writes_the_golden_files(self):
        assert self.tree() == golden("coco")

    def test_categories_are_the_same_in_every_split_and_in_the_class_list(self):
        tree, every = self.tree(), self.catalog().classes
        elsewhere = {"antenna", "lane", "sunny", "truck", "tip", "tail"} | set(PERSON.points)
        classes = tuple(name for name in every if name not in elsewhere)
        assert len(classes) < len(every)
        for split in ("train", "val", "test"):
            content = json.loads(tree[f"annotations/instances_{split}.json"])
            assert tuple(category["name"] for category in content["categories"]) == classes
        listed = json.loads(tree["classes.json"])
        assert [(item["id"], item["name"]) for item in listed] == list(enumerate(classes, start=1))

    def test_an_export_without_samples_has_a_train_file_with_every_section(self):
        tree = join_samples(Coco(), [], catalog_of([]))
        content = json.loads(tree["annotations/instances_train.json"])
        assert (content["images"], content["annotations"]) == ([], [])
        assert [category["name"] for category in content["categories"]] == ["car", "bus"]

    def test_losses_are_these(self):
        found = {
            (loss.annotation_id, loss.outcome, loss.reason)
            for _, of_sample in find_losses(self.format, self.samples(), self.catalog())
            for loss in of_sample
            if loss.annotation_id
        }
        assert found == {
            *((name, "skipped", "UNSUPPORTED_ANNOTATION_TYPE") for name in ("l1", "c1", "r1", "o1")),
            ("x1", "skipped", "SOURCE_IMAGE_INVALID"),
            ("u1", "skipped", "SOURCE_IMAGE_INVALID"),
            ("v1", "skipped", "UNSUPPORTED_MEDIA"),
            *((name, "lossy", "ROTATION_ENCLOSED") for name in ("t1", "over-the-edge")),
            *((name, "lossy", "CLIPPED_TO_IMAGE") for name in ("over-the-edge", "cut-polygon")),
            *((name, "lossy", "CLIPPED_TO_IMAGE") for name in ("cut", "larger")),
            *((name, "skipped", "OUTSIDE_IMAGE") for name in ("away", "outside", "touching", "outside-polygon")),
            ("flat-polygon", "skipped", "INVALID_POLYGON"),
            *((name, "skipped", "CLASS_DROPPED") for name in ("d1", "d2")),
            *((name, "skipped", "KEYPOINT_GROUP_INVALID") for name in ("alone", "twice-1", "twice-2")),
            *((name, "skipped", "KEYPOINT_GROUP_INVALID") for name in ("unseen-1", "unseen-2")),
            *((name, "skipped", "KEYPOINT_PROFILE_UNSUPPORTED") for name in ("unknown-1", "unknown-2")),
        }

    def test_a_sample_without_an_image_is_reported_as_a_whole(self):
        whole = {
            sample.sample.record_id: loss.reason
            for sample, found in find_losses(self.format, self.samples(), self.catalog())
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

    def test_every_instance_has_a_segmentation(self, tmp_path):
        for dataset in loaded(self.tree(), tmp_path):
            assert dataset.anns
            for annotation in dataset.anns.values():
                assert annotation["segmentation"]
                dataset.annToMask(annotation)


class TestCocoOfFewImages(CocoCases):
    format = Coco(shard_images=3)

    def test_no_file_has_more_images_and_all_but_the_last_are_full(self):
        listed = {
            path: len(json.loads(data)["images"])
            for path, data in self.tree().items()
            if path.startswith("annotations/")
        }
        assert listed == {
            f"annotations/{kind}_{name}.json": count
            for kind in ("instances", "person_keypoints", "arrow_keypoints")
            for name, count in {
                "train_00000": 3,
                "train_00001": 3,
                "train_00002": 2,
                "val_00000": 3,
                "test_00000": 1,
            }.items()
        }

    def test_the_files_together_are_the_file_of_the_split(self):
        whole = join_samples(Coco(), self.samples(), self.catalog())
        for kind in ("instances", "person_keypoints", "arrow_keypoints"):
            parts = [json.loads(self.tree()[f"annotations/{kind}_train_{number:05}.json"]) for number in range(3)]
            expected = json.loads(whole[f"annotations/{kind}_train.json"])
            for section in ("images", "annotations"):
                assert [item for part in parts for item in part[section]] == expected[section]
            for part in parts:
                assert part["categories"] == expected["categories"]

    def test_a_split_without_images_has_one_file(self):
        tree = join_samples(self.format, [], catalog_of([], skeletons=()))
        assert set(tree) == {"annotations/instances_train_00000.json", "classes.json"}


class TestCocoWithStuff(CocoCases):
    format = Coco()

    def catalog(self):
        return catalog_of(self.samples(), masks="semantic")

    def test_masks_are_stuff_and_no_instances(self):
        tree = self.tree()
        instances = {annotation["id"] for _, annotation in annotations_in(tree, "instances")}
        stuff = {annotation["id"] for _, annotation in annotations_in(tree, "stuff")}
        masks = {
            number
            for sample in self.samples()
            for number, annotation in enumerate(sample.sample.annotations, start=sample.annotation_id)
            if isinstance(annotation.shape, Mask)
        }
        assert stuff == masks
        assert not instances & masks
        assert instances

    def test_categories_of_stuff_are_those_of_instances(self):
        tree = self.tree()
        for split in ("train", "val", "test"):
            stuff, instances = (json.loads(tree[f"annotations/{kind}_{split}.json"]) for kind in ("stuff", "instances"))
            assert stuff["categories"] == instances["categories"]
            assert stuff["images"] == instances["images"]

    def test_a_mask_is_the_same_as_an_instance_would_be(self):
        instances = dict_of(
            annotations_in(join_samples(self.format, self.samples(), catalog_of(self.samples())), "instances")
        )
        stuff = dict_of(annotations_in(self.tree(), "stuff"))
        assert len(stuff) == 6
        assert all(instances[number] == annotation for number, annotation in stuff.items())


def dict_of(found):
    return {annotation["id"]: annotation for _, annotation in found}


def test_there_is_no_file_of_stuff_without_masks_of_stuff():
    for masks in ("instance", "exclude"):
        tree = join_samples(Coco(), samples(), catalog_of(samples(), masks=masks))
        assert not [path for path in tree if "stuff" in path]


def test_pycocotools_loads_every_split_and_finds_every_annotation(tmp_path):
    written = len(list(annotations_in(TestCoco().tree())))
    datasets = list(loaded(TestCoco().tree(), tmp_path, "instances", "person_keypoints", "arrow_keypoints"))
    assert len(datasets) == 9
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
    (annotation,) = [item for item in train.imgToAnns[1] if isinstance(item["segmentation"], dict)]
    bitmap = bitmap_of(shape, 100, 50)
    assert (train.annToMask(annotation) == bitmap).all()
    assert not bitmap[17, 40]
    assert annotation["area"] == bitmap.sum()
    assert annotation["bbox"] == [0.0, 0.0, 100.0, 50.0]


def test_only_known_options_are_accepted():
    assert load_format("coco", {"box_segmentation": "rectangle"}) == Coco("rectangle")
    assert load_format("coco", {"shard_images": 5000}) == Coco(shard_images=5000)
    with pytest.raises(ValueError, match="box_segmentation must be one of empty, rectangle, not 'polygon'"):
        Coco(box_segmentation="polygon")
    with pytest.raises(ConfigError, match="rectangle"):
        load_format("coco", {"box_segmentation": None})
    for value in (-1, 1.5, True, "100"):
        with pytest.raises(ConfigError, match=r"formats\.coco\.shard_images: must be a whole number from 0"):
            load_format("coco", {"shard_images": value})
