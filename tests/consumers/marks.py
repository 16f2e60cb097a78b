"""Coloured marks on pictures, compared with the boxes that an export has for them.

Boxes are ``{name of the mark: (x, y, width, height)}`` in pixels of what a reader loads.
"""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255)}
"""The colour of each mark; its name is the class of its label."""
TOLERANCE = 3
"""Pixels by which lossy forms blur the border of a mark."""


def verdict(pixels, boxes):
    """``right`` if each mark is where its box says, ``wrong`` if one is not, ``unreadable`` for no pixels.

    ``pixels`` has shape (height, width, 3), red first.
    """
    if pixels is None:
        return "unreadable"
    pixels = np.asarray(pixels, dtype=int)
    return "right" if all(_is_in_place(pixels, boxes.get(name), COLOURS[name]) for name in COLOURS) else "wrong"


def _is_in_place(pixels, box, colour):
    rows, columns = np.nonzero(abs(pixels - colour).max(axis=2) < 100)
    if box is None or not len(rows):
        return False
    x, y, width, height = box
    found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    return abs(found - (x, y, x + width, y + height)).max() <= TOLERANCE


def upright(path):
    """A picture as programs show it."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def as_decoded(path):
    """A picture as Pillow decodes it."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def coco_boxes(export):
    """The boxes of each picture by its name, from COCO."""
    document = json.loads((Path(export) / "annotations/instances_train.json").read_text())
    classes = {category["id"]: category["name"] for category in document["categories"]}
    names = {image["id"]: image["file_name"] for image in document["images"]}
    boxes = defaultdict(dict)
    for one in document["annotations"]:
        boxes[names[one["image_id"]]][classes[one["category_id"]]] = one["bbox"]
    return boxes


def yolo_boxes(export, name, pixels):
    """The boxes of a picture from YOLO, for the size of what was loaded."""
    if pixels is None:
        return {}
    classes = (Path(export) / "classes.txt").read_text().splitlines()
    rows = [line.split() for line in (Path(export) / f"labels/train/{Path(name).stem}.txt").read_text().splitlines()]
    scaled = {classes[int(row[0])]: np.array(row[1:], dtype=float) * (pixels.shape[1::-1] * 2) for row in rows}
    return {label: (x - width / 2, y - height / 2, width, height) for label, (x, y, width, height) in scaled.items()}


def judged(export, load):
    """The verdicts on all pictures as ``load(path)`` gives their pixels: ``{format: {name: verdict}}``."""
    boxes = coco_boxes(export)
    pictures = {name: load(Path(export) / "images/train" / name) for name in boxes}
    return {
        "coco": {name: verdict(pixels, boxes[name]) for name, pixels in pictures.items()},
        "yolo": {name: verdict(pixels, yolo_boxes(export, name, pixels)) for name, pixels in pictures.items()},
    }
