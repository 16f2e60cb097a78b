"""The rules by which Ultralytics 8.4 reads a dataset of any task, as a checker that needs nothing but YAML.

Sources: ``ultralytics/data/utils.py`` (``check_det_dataset``, ``img2label_paths``, ``verify_image_label``) and
``ultralytics/data/converter.py`` (``convert_ndjson_to_yolo``), as measured for consumers 3.2. Stricter than the loader
where it would only warn, skip an image or guess.
"""

import json
import re
from pathlib import Path
from urllib.parse import unquote

import shapely
import yaml

IMAGE_SUFFIXES = {"avif", "bmp", "dng", "heic", "heif", "jp2", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp"}
ANNOTATIONS = {"detect": "boxes", "segment": "segments", "pose": "pose", "obb": "obb"}
_CLASS = re.compile(r"0|[1-9]\d*")
_FRACTION = re.compile(r"[01]\.\d{6}")
_VISIBILITY = re.compile(r"[012]")


def label_path(image):
    """Where Ultralytics looks for the labels of an image: last ``/images/`` to ``/labels/``, suffix to ``.txt``."""
    before, folder, after = str(image).rpartition("/images/")
    assert folder, f"{image} is not below a folder named images: its labels would be searched beside it"
    return Path(f"{before}/labels/{after}".rsplit(".", 1)[0] + ".txt")


def check_labels(text, classes, task="detect", points=0):
    """The rows of a label file as ``(class, number, …)``; AssertionError for one that is not of the task.

    ``classes`` is how many there are, ``points`` how many keypoints an object of task pose has.
    """
    assert text == "" or text.endswith("\n"), "the last row has no line end"
    return [check_row(line, classes, task, points) for line in text.splitlines()]


def check_row(line, classes, task, points):
    """A row as ``(class, number, …)``, written with six decimals."""
    index, *words = line.split(" ")
    assert _CLASS.fullmatch(index), f"no class: {line!r}"
    flags = range(6, len(words), 3) if task == "pose" else ()
    for position, word in enumerate(words):
        pattern = _VISIBILITY if position in flags else _FRACTION
        assert pattern.fullmatch(word), f"not a number as a row has it: {word!r} in {line!r}"
    row = (int(index), *map(float, words))
    check_numbers(row, classes, task, points)
    return row


def check_numbers(row, classes, task, points):
    """AssertionError unless the numbers of a row are an object of the task."""
    index, *numbers = row
    assert index < classes, f"class {index} of {classes}"
    if task in ("detect", "pose"):
        assert len(numbers) == 4 + 3 * points, f"{len(numbers)} numbers: {row}"
        assert min(numbers[2:4]) > 0, f"no width or height: {row}"
        for middle, across in zip(numbers[:2], numbers[2:4], strict=True):
            assert round(across * 1e6) <= 2 * round(min(middle, 1 - middle) * 1e6), f"it leaves the image: {row}"
        for x, y, visibility in zip(numbers[4::3], numbers[5::3], numbers[6::3], strict=True):
            assert visibility in (0, 1, 2), f"visibility {visibility}: {row}"
            assert visibility or (x, y) == (0, 0), f"a missing point that is somewhere: {row}"
        numbers = numbers[:4] + [number for position, number in enumerate(numbers[4:]) if position % 3 != 2]
    else:
        assert len(numbers) == 8 if task == "obb" else len(numbers) >= 6, f"{len(numbers)} numbers: {row}"
        assert len(numbers) % 2 == 0, f"half a point: {row}"
        assert area(numbers) > 0, f"no area: {row}"
    assert all(0 <= number <= 1 for number in numbers), f"outside 0..1: {row}"


def area(numbers):
    """The area that is painted for a ring (even-odd), in millionths of both sides: exact for six decimals."""
    whole = [round(number * 1e6) for number in numbers]
    return shapely.make_valid(shapely.Polygon(list(zip(whole[0::2], whole[1::2], strict=True)))).area


def check_data_yaml(text, class_lines=None, task="detect"):
    """The settings in ``data.yaml``, and its class names in order; ``class_lines`` is ``classes.txt`` when there is."""
    data = yaml.safe_load(text)
    assert "path" not in data, "path is resolved against the working directory"
    for split in ("train", "val"):
        assert isinstance(data.get(split), str), f"{split} is missing"
    for split in {"train", "val", "test"} & data.keys():
        assert data[split].startswith("images/"), f"{split}: {data[split]} has no labels folder beside it"
        assert ".." not in data[split].split("/")
    names = data["names"]
    assert isinstance(names, dict)
    assert list(names) == list(range(len(names))), "names must have the keys 0..n-1"
    assert all(isinstance(name, str) and name for name in names.values()), "a name is not text"
    assert data["nc"] == len(names)
    check_keypoints(data, list(names), task)
    if class_lines is not None:
        assert class_lines == [" ".join(name.splitlines()) for name in names.values()]
    return data, list(names.values())


def check_keypoints(data, classes, task):
    """AssertionError unless ``data`` says how many keypoints there are, if and only if the task has any."""
    if task != "pose":
        assert not {"kpt_shape", "flip_idx", "kpt_names"} & data.keys(), f"{task} has no keypoints"
        return
    count, dimensions = data["kpt_shape"]
    assert count > 0
    assert dimensions == 3
    flip = data.get("flip_idx", list(range(count)))
    assert [flip[flip[position]] for position in range(count)] == list(range(count)), "mirrored twice is not the same"
    if "kpt_names" in data:
        assert list(data["kpt_names"]) == classes
        for names in data["kpt_names"].values():
            assert len(names) == count == len(set(names))
            assert all(isinstance(name, str) for name in names)


def check_ndjson(text, task="detect"):
    """The dataset's line and the images' lines of ``dataset.ndjson``, with the rows as Ultralytics writes them down."""
    assert text.isascii()
    assert text.endswith("\n")
    head, *images = map(json.loads, text.splitlines())
    assert (head["type"], head["task"]) == ("dataset", task)
    assert list(head["class_names"]) == [str(index) for index in range(len(head["class_names"]))]
    assert all(isinstance(name, str) and name for name in head["class_names"].values())
    assert ("kpt_shape" in head) == (task == "pose")
    check_keypoints(head, [], task)
    for image in images:
        assert image["type"] == "image"
        assert image["split"] in ("train", "val", "test")
        assert image["file"]
        assert "/" not in image["file"]
        assert image["width"] > 0
        assert image["height"] > 0
        assert not re.search(r"[\s?#]", image["url"]), f"not an address as it is, or a signed one: {image['url']}"
        assert unquote(image["url"]).endswith(f"/{image['file']}")
        assert list(image["annotations"]) == [ANNOTATIONS[task]], "only the first kind of annotations is read"
        for row in image["annotations"][ANNOTATIONS[task]]:
            assert isinstance(row[0], int)
            check_numbers(row, len(head["class_names"]), task, head.get("kpt_shape", [0])[0])
    return head, images


def check_yolo_tree(root, *, images=True, without_labels=(), missing=(), task="detect"):
    """Check an exported YOLO dataset; returns the rows of every label file by its path below ``root``.

    With ``images=False`` (originals were not exported) only the label files and settings are checked.
    ``without_labels`` are paths that rightly have no label file, for example files that are not images. ``missing`` are
    paths of images that the books count as missing: they are not there, and their label files are.
    """
    root = Path(root)
    classes = (root / "classes.txt").read_text(encoding="utf-8").splitlines()
    data, names = check_data_yaml((root / "data.yaml").read_text(encoding="utf-8"), classes, task)
    points = data["kpt_shape"][0] if task == "pose" else 0
    labels = {}
    for path in sorted((root / "labels").rglob("*.txt")):
        text = path.read_text(encoding="utf-8")
        labels[path.relative_to(root).as_posix()] = check_labels(text, len(names), task, points)
    if (root / "dataset.ndjson").exists():
        head, lines = check_ndjson((root / "dataset.ndjson").read_text(encoding="utf-8"), task)
        assert list(head["class_names"].values()) == names
        for line in lines:
            split, _, name = unquote(line["url"]).rpartition("images/")[2].partition("/")
            rows = [tuple(row) for row in line["annotations"][ANNOTATIONS[task]]]
            assert rows == labels[f"labels/{split}/{name.rpartition('.')[0]}.txt"]
            if "path" in head and images:
                assert (root / head["path"] / "images" / line["split"] / line["file"]).is_file(), line["file"]
    if not images:
        return labels
    wanted = {label_path(root / image): image for image in missing}
    assert not [image for image in missing if (root / image).exists()]
    assert wanted.keys() <= {root / path for path in labels}, "a missing image lost its labels too"
    for image in sorted(path for path in (root / "images").rglob("*.*") if path.suffix[1:].lower() in IMAGE_SUFFIXES):
        label = label_path(image)
        assert label not in wanted, f"{image} and {wanted[label]} share {label}"
        if image.relative_to(root).as_posix() in without_labels:
            continue
        wanted[label] = image
        assert label.is_file(), f"{image} has no label file: unlabelled and forgotten look the same"
    for path in labels:
        assert root / path in wanted, f"{path} has no image"
    for split in ("train", "val", "test"):
        if split in data:
            folder = root / data[split]
            found = [image for image in wanted.values() if image not in missing]
            assert any(image.is_relative_to(folder) for image in found), f"{split}: no image in {folder}"
    return labels
