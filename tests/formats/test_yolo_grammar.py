"""The checker refuses what Ultralytics refuses, or reads as something else than was meant."""

from pathlib import Path

import pytest

from tests.formats.yolo_grammar import check_labels, check_yolo_tree, label_path

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
