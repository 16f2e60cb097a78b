"""COCO's files of keypoints: objects, skeletons and names."""

import json

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.coco.format import Coco
from pipeline.formats.coco.keypoints import name_files
from pipeline.formats.testing import catalog_of, join_samples, samples
from pipeline.formats.testing.annotations import ARROW, PERSON
from pipeline.formats.testing.shapes import point
from pipeline.model.skeletons import Skeleton
from pipeline.records import Annotation, Box
from tests.formats.coco.cases import CocoCases, annotations_in, loaded, losses_in, results_of
from tests.formats.coco.grammar import annotations_of, check_tree

PERSON_FILE = "annotations/person_keypoints_val.json"


class TestCocoOfOneSkeleton(CocoCases):
    format = Coco()

    def catalog(self):
        return catalog_of(self.samples(), skeletons=(PERSON,))

    def test_only_its_file_is_there(self):
        kinds = {path for path in self.tree() if "keypoints" in path}
        assert kinds == {f"annotations/person_keypoints_{split}.json" for split in ("train", "val", "test")}


class TestCocoWithoutSkeletons(CocoCases):
    format = Coco()

    def catalog(self):
        return catalog_of(self.samples(), skeletons=())

    def test_there_are_no_files_of_keypoints(self):
        assert not [path for path in self.tree() if "keypoints" in path]


class TestCocoOfFewImagesWithKeypoints(CocoCases):
    format = Coco(shard_images=1)

    def test_an_object_is_in_the_file_of_its_image(self):
        for path, data in self.tree().items():
            if path.startswith("annotations/"):
                content = json.loads(data)
                assert {item["image_id"] for item in content["annotations"]} <= {
                    image["id"] for image in content["images"]
                }


def people(*annotations, kind="person_keypoints", **options):
    """The objects in the files of a kind, and the losses, of one image with these annotations."""
    results = results_of(*annotations, **options)
    return annotations_of(results, kind), losses_in(results)


def test_the_category_lists_points_and_lines_from_one():
    content = json.loads(join_samples(Coco(), samples(), catalog_of(samples()))[PERSON_FILE])
    assert content["categories"] == [
        {
            "id": 1,
            "name": "person",
            "supercategory": "person",
            "keypoints": ["nose", "left_eye", "right_eye", "left_hand", "right_hand"],
            "skeleton": [[1, 2], [1, 3], [2, 4], [3, 5]],
        }
    ]


def test_every_usable_image_of_the_split_is_listed():
    tree = join_samples(Coco(), samples(), catalog_of(samples()))
    for split in ("train", "val", "test"):
        listed = [
            json.loads(tree[f"annotations/{kind}_{split}.json"])["images"]
            for kind in ("instances", "person_keypoints", "arrow_keypoints")
        ]
        assert listed[0] == listed[1] == listed[2] != []


def test_an_object_has_the_id_of_its_first_keypoint_and_the_box_its_own():
    box = Annotation("box", "bounding_box", "person", Box(5.0, 6.0, 40.0, 30.0), group="g")
    results = results_of(box, point("a", "nose", 10, 20.5, group="g"), point("b", "left_eye", 9, 8, 1, group="g"))
    (instance,) = annotations_of(results)
    (person,) = annotations_of(results, "person_keypoints")
    first = samples()[1].annotation_id
    assert (instance["id"], person["id"]) == (first, first + 1)
    assert person == {
        "id": first + 1,
        "image_id": 2,
        "category_id": 1,
        "keypoints": [10, 20.5, 2, 9, 8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        "num_keypoints": 2,
        "bbox": [5, 6, 40, 30],
        "area": 1200,
        "segmentation": [],
        "iscrowd": 0,
    }
    assert instance["bbox"] == person["bbox"]
    assert not losses_in(results)


def test_a_point_outside_the_image_stays_where_it_is():
    (person,), found = people(point("a", "nose", -20, 5, group="g"), point("b", "left_eye", 10, 15, group="g"))
    assert person["keypoints"][:6] == [-20, 5, 2, 10, 15, 2]
    assert person["bbox"] == [-20, 5, 30, 10]
    assert not found


def test_an_object_with_all_its_points_outside_is_not_written():
    written, found = people(point("a", "nose", -20, 5, group="g"), point("b", "left_eye", -10, 15, group="g"))
    assert not written
    assert found == [("a", "skipped", "OUTSIDE_IMAGE"), ("b", "skipped", "OUTSIDE_IMAGE")]


@pytest.mark.parametrize(
    ("shape", "bbox"),
    [(Box(-10.0, 10.0, 30.0, 20.0), [0, 10, 20, 20]), (Box(500.0, 10.0, 30.0, 20.0), [9.5, 19.5, 1, 1])],
)
def test_the_box_of_an_object_is_cut_at_the_border_and_not_used_from_outside(shape, bbox):
    box = Annotation("box", "bounding_box", "person", shape, group="g")
    (person,), _ = people(point("a", "nose", 10, 20, group="g"), box)
    assert person["bbox"] == bbox
    assert person["area"] == bbox[2] * bbox[3]


def test_attributes_of_keypoints_are_lost_and_reported():
    plain, coloured = point("a", "tip", 10, 20, group="g"), point("b", "tail", 1, 2, group="g")
    coloured.attributes.update(colour="red")
    empty = point("c", "tip", 3, 4, group="h")
    empty.attributes.update(colour=None)
    written, found = people(plain, coloured, empty, kind="arrow_keypoints")
    assert [person["num_keypoints"] for person in written] == [2, 1]
    assert found == [("b", "lossy", "CUSTOM_ATTRIBUTES_DROPPED")]


def test_pycocotools_draws_the_lines_between_visible_points(tmp_path):
    tree = join_samples(Coco(), samples(), catalog_of(samples()))
    for dataset in loaded(tree, tmp_path, "person_keypoints", "arrow_keypoints"):
        for annotation in dataset.anns.values():
            # What showAnns does to an annotation before it draws.
            lines = np.array(dataset.loadCats(annotation["category_id"])[0]["skeleton"]) - 1
            visible = np.array(annotation["keypoints"])[2::3]
            assert lines.min() == 0
            assert visible[lines].shape == lines.shape


def named(*names):
    skeletons = tuple(Skeleton(name, ("nose", "left_eye")) for name in names)
    return catalog_of(samples(), skeletons=skeletons)


@pytest.mark.parametrize(
    ("names", "kinds"),
    [
        (["person", "Person"], ["person_keypoints", "Person_2_keypoints"]),
        (["사람"], ["사람_keypoints"]),
        (["a/b", "b", "x:y", "..", ""],
         ["b_keypoints", "b_2_keypoints", "x_y_keypoints", "skeleton_keypoints", "skeleton_2_keypoints"]),
        (["v1.2 beta"], ["v1_2_beta_keypoints"]),
        (["x" * 300], ["x" * 32 + "_keypoints"]),
    ],
)  # fmt: skip
def test_names_of_skeletons_become_names_of_files(names, kinds):
    assert list(name_files(named(*names))) == kinds
    check_tree(join_samples(Coco(), samples(), named(*names)))


def test_no_file_of_a_skeleton_takes_the_place_of_another():
    splits = {"train": 1, "keypoints_train": 2}
    catalog = catalog_of(
        [], skeletons=(Skeleton("instances", ("nose",)), Skeleton("stuff", ("tip",))), masks="semantic"
    )
    paths = [manifest.path for manifest in Coco().manifests(msgspec.structs.replace(catalog, splits=splits))]
    assert len(set(paths)) == len(paths) == 2 * 4 + 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=12), max_size=4, unique=True), st.sets(st.from_regex(r"\A[a-z][a-z0-9_-]{0,8}\Z")))
def test_all_files_have_names_of_their_own(names, splits):
    counts = dict.fromkeys(sorted(splits) or ["train"], 3)
    catalog = msgspec.structs.replace(named(*names), splits=counts)
    paths = [manifest.path for manifest in Coco(shard_images=2).manifests(catalog)]
    assert len({path.casefold() for path in paths}) == len(paths)


def test_annotations_of_all_kinds_of_files_have_ids_of_their_own():
    tree = join_samples(Coco(), samples(), catalog_of(samples(), masks="semantic"))
    identities = [annotation["id"] for _, annotation in annotations_in(tree)]
    assert len(set(identities)) == len(identities)
    assert {kind for kind, _ in annotations_in(tree)} == {"instances", "stuff", "person_keypoints", "arrow_keypoints"}


def test_skeletons_are_in_their_own_files_only():
    written, _ = people(point("a", "tip", 10, 20, group="g"), skeletons=(PERSON, ARROW))
    assert not written
