"""YOLO's ``dataset.ndjson``: a dataset in one file."""

import json

import msgspec
import pytest

from pipeline.formats.testing import catalog_of, join_samples, samples
from pipeline.formats.testing.annotations import ARROW, PERSON
from pipeline.formats.testing.shapes import box
from pipeline.formats.yolo.format import Yolo
from tests.formats.yolo.cases import YoloCases, sample_with
from tests.formats.yolo.grammar import ANNOTATIONS, check_ndjson
from tests.formats.yolo.test_yolo_pose import PoseCases

BUCKET = "https://bucket.example/exports/1/"


class TestYoloWithNdjson(YoloCases):
    format = Yolo(ndjson=True)


class TestYoloSegmentWithNdjson(YoloCases):
    format = Yolo(task="segment", ndjson=True, base_url=BUCKET)


class TestYoloPoseWithNdjson(PoseCases):
    format = Yolo(task="pose", folder="pose", ndjson=True)


def lines_of(*numbered, catalog=None, **options):
    format_ = Yolo(ndjson=True, **options)
    numbered = numbered or samples()
    text = join_samples(format_, numbered, catalog or catalog_of(numbered))[format_._path("dataset.ndjson")].decode()
    return check_ndjson(text, format_.task)


def test_the_first_line_says_what_the_dataset_is():
    head, _ = lines_of()
    assert head["name"] == "streets"
    assert head["description"] == 'every "shape", 도로'
    assert head["class_names"]["0"] == "car"
    assert head["path"] == "."


def test_the_first_line_of_pose_has_the_skeleton():
    head, _ = lines_of(task="pose")
    assert head["class_names"] == {"0": "person"}
    assert head["kpt_shape"] == [5, 3]
    assert head["flip_idx"] == list(PERSON.flip)
    head, _ = lines_of(task="pose", catalog=catalog_of(samples(), skeletons=()))
    assert (head["class_names"], head["kpt_shape"]) == ({}, [1, 3])
    bare = msgspec.structs.replace(ARROW, flip=())
    assert "flip_idx" not in lines_of(task="pose", catalog=catalog_of(samples(), skeletons=(bare,)))[0]


def test_every_usable_image_has_a_line_in_the_order_of_records():
    _, images = lines_of()
    assert [image["file"] for image in images] == [sample.file_name for sample in samples() if sample.sample.has_image]


@pytest.mark.parametrize("task", ANNOTATIONS)
def test_the_rows_are_those_of_the_label_files(task):
    tree = join_samples(Yolo(task=task, ndjson=True), samples(), catalog_of(samples()))
    images = check_ndjson(tree["dataset.ndjson"].decode(), task)[1]
    rows = {sample.file_name: tree.get(f"labels/{sample.split}/{sample.stem}.txt") for sample in samples()}
    for image in images:
        # How Ultralytics writes the label files of its copy.
        theirs = [" ".join(map(str, row)) for row in image["annotations"][ANNOTATIONS[task]]]
        ours = rows[image["file"]].decode().splitlines()
        assert [list(map(float, line.split())) for line in theirs] == [list(map(float, line.split())) for line in ours]


def test_an_image_without_objects_has_no_rows():
    assert lines_of(sample_with())[1][0]["annotations"] == {"boxes": []}


def test_addresses_are_those_of_the_originals():
    _, images = lines_of(base_url=BUCKET)
    addresses = {image["file"]: image["url"] for image in images}
    assert addresses["street.jpg"] == "https://bucket.example/exports/1/images/train/street.jpg"
    assert addresses["도로 사진.jpg"].endswith("/images/test/%EB%8F%84%EB%A1%9C%20%EC%82%AC%EC%A7%84.jpg")


def test_addresses_of_a_tree_in_a_folder_are_those_of_the_originals_too():
    _, images = lines_of(folder="boxes", base_url=BUCKET)
    assert images[0]["url"] == "https://bucket.example/exports/1/images/train/street.jpg"


def test_without_an_address_the_images_are_beside_the_file():
    head, images = lines_of(folder="boxes")
    assert head["path"] == "."
    assert images[0]["url"] == "images/train/street.jpg"


def test_with_an_address_ultralytics_does_not_look_beside_the_file():
    assert "path" not in lines_of(base_url=BUCKET)[0]


def in_split(split):
    return msgspec.structs.replace(sample_with(box("b", "car", 1, 2, 3, 4)), split=split)


def test_an_image_of_a_split_that_ultralytics_has_not_is_left_out():
    _, images = lines_of(in_split("train"), in_split("west"), in_split("unassigned"), in_split("val"))
    assert [image["split"] for image in images] == ["train", "val"]


def test_the_split_that_stands_in_for_train_is_called_train():
    _, images = lines_of(in_split("west"), in_split("unassigned"), base_url=BUCKET)
    assert [(image["split"], image["url"].rpartition("images/")[2]) for image in images] == [
        ("train", "west/empty.png")
    ]


def test_without_the_option_there_is_no_such_file():
    assert not [path for path in join_samples(Yolo(), samples(), catalog_of(samples())) if "ndjson" in path]


def test_the_file_of_an_export_without_samples_is_its_first_line():
    text = join_samples(Yolo(ndjson=True), [], catalog_of([]))["dataset.ndjson"].decode()
    assert json.loads(text)["type"] == "dataset"
