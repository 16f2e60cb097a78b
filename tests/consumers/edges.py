"""Boxes that touch the borders of their picture, or are tiny, in pictures of odd sizes."""

import random

from frames import export_pictures
from synapse.local_api import picture

TINY = [(1, 1), (3, 7)]
"""Sizes of which Ultralytics makes nothing."""
SIZES = [(641, 479), (333, 777), (4097, 13), (100, 100), (1920, 1080), *TINY]
PICTURES = 42
"""Pictures, a sixth or so of which each size has."""


def export_edges(path):
    """Export them to ``path`` as COCO, YOLO (detect and obb) and VOC, split at random."""
    at_random = random.Random(7)
    pictures = []
    for number in range(PICTURES):
        size = SIZES[number % len(SIZES)]
        pictures.append((f"edges_{number}.jpg", picture(size), document(size, boxes(*size, at_random))))
    export_pictures(path, pictures, formats=["coco", "yolo", {"yolo": {"task": "obb"}}, "voc"], split={"by": "hash"})


def boxes(across, down, at_random):
    """Boxes ``(x, y, width, height)`` in a picture of some pixels."""
    found = [
        (0, 0, across, down),
        (-5, -5, across + 10, down + 10),
        (across / 3, down / 3, across * 2 / 3, down * 2 / 3),
        (across - 0.5, down - 0.5, 0.5, 0.5),
        (0, 0, 1, 1),
        (across - 1, down - 1, 1, 1),
        (across / 2, 0, 0.2, down),
    ]
    for _ in range(50):
        x, y = (at_random.choice([0, at_random.uniform(0, side)]) for side in (across, down))
        width, height = (at_random.choice([room, at_random.uniform(0, room)]) for room in (across - x, down - y))
        found.append((x, y, width, height))
    return found


def document(size, drawn):
    """A document with boxes of one class."""
    ids = [f"box_{number}" for number in range(len(drawn))]
    places = [dict(zip(("x", "y", "width", "height"), box, strict=True)) for box in drawn]
    return {
        "extra": {"image_1": {"width": size[0], "height": size[1]}},
        "annotations": {
            "image_1": [{"id": i, "tool": "bounding_box", "classification": {"class": "car"}} for i in ids]
        },
        "annotationsData": {"image_1": [{"id": i, "coordinate": place} for i, place in zip(ids, places, strict=True)]},
    }
