"""The checker refuses what Ultralytics refuses, or reads as something else than was meant."""

import json
from pathlib import Path

import pytest

from tests.formats.yolo.grammar import check_data_yaml, check_labels, check_ndjson, check_yolo_tree, label_path

GOOD = {
    "classes.txt": "car\nbus\n",
    "data.yaml": 'train: images/train\nval: images/val\nnc: 2\nnames:\n  0: "car"\n  1: "bus"\n',
    "labels/train/a.txt": "0 0.500000 0.500000 0.250000 1.000000\n",
    "labels/val/b.txt": "",
    "images/train/a.jpg": "",
    "images/val/b.PNG": "",
}


def check(folder, changes=(), **options):
    for path, text in {**GOOD, **dict(changes)}.items():
        if text is not None:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    return check_yolo_tree(folder, **options)


def test_a_good_tree_gives_its_rows(tmp_path):
    assert check(tmp_path) == {"labels/train/a.txt": [(0, 0.5, 0.5, 0.25, 1.0)], "labels/val/b.txt": []}


@pytest.mark.parametrize(
    "row",
    [
        "0 0.5 0.5 0.5 0.5\n",
        "0 0.500000 0.500000 0.500000 0.500000",
        "0 0.500000 0.500000 0.500000 0.500000 0.900000\n",
        "0 0.100000 0.100000 0.200000 0.200000 0.300000 0.100000\n",
        "0 1.000001 0.500000 0.500000 0.500000\n",
        "0 -0.000001 0.500000 0.500000 0.500000\n",
        "0 0.500000 0.500000 0.000000 0.500000\n",
        "0 nan 0.500000 0.500000 0.500000\n",
        "2 0.500000 0.500000 0.500000 0.500000\n",
        "1.0 0.500000 0.500000 0.500000 0.500000\n",
        "0  0.500000 0.500000 0.500000 0.500000\n",
        "\n",
    ],
)
def test_a_bad_row_is_refused(row):
    with pytest.raises(AssertionError):
        check_labels(row, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels/train/a.txt": None},
        {"images/train/a.jpg": None},
        {"images/train/a.png": ""},
        {"images/val/b.PNG": None, "labels/val/b.txt": None},
        {"classes.txt": "bus\ncar\n"},
        {"data.yaml": f"path: .\n{GOOD['data.yaml']}"},
        {"data.yaml": GOOD["data.yaml"].replace("val: images/val\n", "")},
        {"data.yaml": GOOD["data.yaml"].replace("images/val", "images/elsewhere")},
        {"data.yaml": GOOD["data.yaml"].replace("nc: 2", "nc: 3")},
        {"data.yaml": GOOD["data.yaml"].replace("  1:", "  2:")},
        {"data.yaml": GOOD["data.yaml"].replace('"bus"', "yes")},
        {"data.yaml": GOOD["data.yaml"].replace("images/train", "../images/train")},
    ],
    ids=[
        "no label file", "label file without image", "two images with one label file", "no image to validate on",
        "class list in another order", "path", "no val", "val of no images", "wrong number of classes",
        "gap in the classes", "a name that is no text", "outside the tree",
    ],
)  # fmt: skip
def test_a_bad_tree_is_refused(changes, tmp_path):
    with pytest.raises(AssertionError):
        check(tmp_path, changes)


def test_labels_can_be_checked_without_images(tmp_path):
    without = {"images/train/a.jpg": None, "images/val/b.PNG": None}
    assert set(check(tmp_path, without, images=False)) == {"labels/train/a.txt", "labels/val/b.txt"}


def test_an_image_may_be_named_that_rightly_has_no_labels(tmp_path):
    check(tmp_path, {"images/train/broken.jpg": ""}, without_labels={"images/train/broken.jpg"})


def test_the_last_folder_named_images_counts():
    assert label_path("/images/x/images/train/v1.2_a.jpg") == Path("/images/x/labels/train/v1.2_a.txt")
    with pytest.raises(AssertionError):
        label_path("/data/train/a.jpg")


TRIANGLE = "0 0.100000 0.100000 0.200000 0.100000 0.200000 0.200000\n"
TURNED = "0 0.100000 0.100000 0.200000 0.100000 0.200000 0.200000 0.100000 0.200000\n"
POSE = "0 0.500000 0.500000 0.250000 1.000000 0.500000 0.500000 2 0.000000 0.000000 0\n"


@pytest.mark.parametrize(("task", "row", "points"), [("segment", TRIANGLE, 0), ("obb", TURNED, 0), ("pose", POSE, 2)])
def test_a_good_row_of_each_task_is_good_for_no_other(task, row, points):
    (numbers,) = check_labels(row, 1, task, points)
    assert list(numbers) == list(map(float, row.split()))
    for other in {"detect", "segment", "pose", "obb"} - {task} - ({"segment"} if task == "obb" else set()):
        with pytest.raises(AssertionError):
            check_labels(row, 1, other, 2 if other == "pose" else 0)


@pytest.mark.parametrize(
    ("task", "row"),
    [
        ("segment", "0 0.100000 0.100000 0.200000 0.100000\n"),
        ("segment", "0 0.100000 0.100000 0.200000 0.100000 0.200000 0.200000 0.300000\n"),
        ("segment", "0 0.100000 0.100000 0.200000 0.200000 0.300000 0.300000\n"),
        ("segment", "0 -0.000000 0.100000 0.200000 0.100000 0.200000 0.200000\n"),
        ("segment", "0 0.100000 0.100000 1.000001 0.100000 0.200000 0.200000\n"),
        ("segment", TRIANGLE + "0 0.500000 0.500000 0.500000 0.500000\n"),
        ("obb", "0 0.100000 0.100000 0.200000 0.100000 0.300000 0.100000 0.400000 0.100000\n"),
        ("obb", TRIANGLE),
        ("pose", POSE.replace(" 2 ", " 3 ")),
        ("pose", POSE.replace(" 2 ", " 2.000000 ")),
        ("pose", POSE.replace("0.000000 0.000000 0", "0.100000 0.000000 0")),
        ("pose", POSE.replace("0.250000", "0.000000")),
        ("pose", POSE[:-22] + "\n"),
    ],
)
def test_a_bad_row_of_other_tasks_is_refused(task, row):
    with pytest.raises(AssertionError):
        check_labels(row, 1, task, 2 if task == "pose" else 0)


POSE_YAML = (
    "train: images/train\nval: images/val\nkpt_shape: [2, 3]\nflip_idx: [1, 0]\nkpt_names:\n  0: [left, right]\n"
    "nc: 1\nnames:\n  0: person\n"
)


def test_good_settings_of_keypoints_are_for_pose_only():
    check_data_yaml(POSE_YAML, task="pose")
    with pytest.raises(AssertionError, match="detect has no keypoints"):
        check_data_yaml(POSE_YAML)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("kpt_shape: [2, 3]\n", ""),
        ("[2, 3]", "[0, 3]"),
        ("[2, 3]", "[2, 4]"),
        ("[2, 3]", "[3, 3]"),
        ("[1, 0]", "[1, 1]"),
        ("[1, 0]", "[0]"),
        ("[left, right]", "[left, left]"),
        ("[left, right]", "[left, yes]"),
        ("  0: [left", "  1: [left"),
    ],
)
def test_bad_settings_of_keypoints_are_refused(old, new):
    assert old in POSE_YAML
    with pytest.raises((AssertionError, KeyError, IndexError)):
        check_data_yaml(POSE_YAML.replace(old, new), task="pose")


HEAD = {"type": "dataset", "task": "segment", "class_names": {"0": "car", "1": "bus"}}
IMAGE = {
    "type": "image",
    "file": "a b.jpg",
    "url": "images/train/a%20b.jpg",
    "width": 10,
    "height": 20,
    "split": "train",
    "annotations": {"segments": [[1, 0.1, 0.1, 0.2, 0.1, 0.2, 0.2]]},
}


def ndjson(head, image):
    return "".join(json.dumps(line) + "\n" for line in (HEAD | head, IMAGE | image))


def test_a_good_ndjson_gives_its_lines():
    assert check_ndjson(ndjson({}, {}), "segment") == (HEAD, [IMAGE])


@pytest.mark.parametrize(
    ("head", "image"),
    [
        ({"task": "detect"}, {}),
        ({"class_names": {"0": "car", "2": "bus"}}, {}),
        ({"class_names": {"0": "car"}}, {}),
        ({"kpt_shape": [2, 3]}, {}),
        ({}, {"split": "west"}),
        ({}, {"file": "train/a b.jpg", "url": "images/train/a%20b.jpg"}),
        ({}, {"url": "images/train/a b.jpg"}),
        ({}, {"url": "https://bucket.example/images/train/a%20b.jpg?X-Amz-Signature=1"}),
        ({}, {"url": "images/train/b.jpg"}),
        ({}, {"width": 0}),
        ({}, {"annotations": {"boxes": []}}),
        ({}, {"annotations": {}}),
        ({}, {"annotations": {"segments": [[1, 0.1, 0.1, 0.2, 0.1]]}}),
        ({}, {"annotations": {"segments": [[1, 0.1, 0.1, 0.2, 0.1, 0.2, 1.2]]}}),
        ({}, {"annotations": {"segments": [[0.5, 0.1, 0.1, 0.2, 0.1, 0.2, 0.2]]}}),
    ],
)
def test_a_bad_ndjson_is_refused(head, image):
    with pytest.raises(AssertionError):
        check_ndjson(ndjson(head, image), "segment")


@pytest.mark.parametrize(
    "changes",
    [{"annotations": {"boxes": []}}, {"url": "images/val/b.PNG", "file": "b.PNG", "split": "val"}, {"split": "test"}],
    ids=["rows missing", "rows of another image", "image that is not there"],
)
def test_an_ndjson_that_disagrees_with_its_tree_is_refused(changes, tmp_path):
    line = {
        **IMAGE,
        "file": "a.jpg",
        "url": "images/train/a.jpg",
        "annotations": {"boxes": [[0, 0.5, 0.5, 0.25, 1.0]]},
    }
    head = {**HEAD, "task": "detect", "path": "."}
    check(tmp_path, {"dataset.ndjson": "".join(json.dumps(item) + "\n" for item in (head, line))})
    with pytest.raises(AssertionError):
        check(tmp_path, {"dataset.ndjson": "".join(json.dumps(item) + "\n" for item in (head, line | changes))})
