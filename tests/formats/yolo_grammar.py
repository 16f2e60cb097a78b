"""The rules by which Ultralytics 8.4 reads a detect dataset, as a checker that needs nothing but YAML.

Sources: ``ultralytics/data/utils.py`` (``check_det_dataset``, ``img2label_paths``, ``verify_image_label``), as
measured for consumers 3.2. Stricter than the loader where it would only warn, skip an image or guess.
"""

import re
from pathlib import Path

import yaml

IMAGE_SUFFIXES = {"avif", "bmp", "dng", "heic", "heif", "jp2", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp"}
_ROW = re.compile(r"(\d+) (\d\.\d{6}) (\d\.\d{6}) (\d\.\d{6}) (\d\.\d{6})")


def label_path(image):
    """Where Ultralytics looks for the labels of an image: last ``/images/`` to ``/labels/``, suffix to ``.txt``."""
    before, folder, after = str(image).rpartition("/images/")
    assert folder, f"{image} is not below a folder named images: its labels would be searched beside it"
    return Path(f"{before}/labels/{after}".rsplit(".", 1)[0] + ".txt")


def check_labels(text, classes):
    """The rows of a label file as ``(class, cx, cy, width, height)``; AssertionError for one that is not detect."""
    rows = []
    assert text == "" or text.endswith("\n"), "the last row has no line end"
    for line in text.splitlines():
        match = _ROW.fullmatch(line)
        assert match, f"not 'class cx cy w h' with six decimals: {line!r}"
        index = int(match[1])
        numbers = [float(value) for value in match.groups()[1:]]
        assert index < classes, f"class {index} of {classes}"
        assert all(0 <= value <= 1 for value in numbers), f"outside 0..1: {line!r}"
        assert min(numbers[2:]) > 0, f"no width or height: {line!r}"
        rows.append((index, *numbers))
    return rows


def check_data_yaml(text, class_lines=None):
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
    if class_lines is not None:
        assert class_lines == [" ".join(name.splitlines()) for name in names.values()]
    return data, list(names.values())


def check_yolo_tree(root, *, images=True, without_labels=()):
    """Check an exported YOLO detect dataset; returns the rows of every label file by its path below ``root``.

    With ``images=False`` (originals were not exported) only the label files and settings are checked.
    ``without_labels`` are paths of images that rightly have no label file (files that are no image, say).
    """
    root = Path(root)
    classes = (root / "classes.txt").read_text(encoding="utf-8").splitlines()
    data, names = check_data_yaml((root / "data.yaml").read_text(encoding="utf-8"), classes)
    labels = {}
    for path in sorted((root / "labels").rglob("*.txt")):
        labels[path.relative_to(root).as_posix()] = check_labels(path.read_text(encoding="utf-8"), len(names))
    if not images:
        return labels
    wanted = {}
    for image in sorted(path for path in (root / "images").rglob("*.*") if path.suffix[1:].lower() in IMAGE_SUFFIXES):
        label = label_path(image)
        assert label not in wanted, f"{image} and {wanted[label]} share {label}"
        if image.relative_to(root).as_posix() in without_labels:
            continue
        wanted[label] = image
        assert label.is_file(), f"{image} has no label file: unlabelled or forgotten, nobody can tell"
    for path in labels:
        assert root / path in wanted, f"{path} has no image"
    for split in ("train", "val", "test"):
        if split in data:
            folder = root / data[split]
            assert any(image.is_relative_to(folder) for image in wanted.values()), f"{split}: no image in {folder}"
    return labels
