"""Geometry and masks that are wrong, extreme, or written the old way."""

import random
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.reasons import Reason
from pipeline.sandbox.documents import geometry_v1, runs
from pipeline.sandbox.nasty_documents import put, rewrite, spoil, spot
from pipeline.sandbox.records import Record, Twist
from pipeline.sandbox.scenes import Scene, Thing, ellipse_runs, new_id

GEOMETRY_TWISTS: dict[str, Twist] = {}
"""Name of the malformation → what makes it."""

_BOX = {"x": 10, "y": 20, "width": 30, "height": 40}
_BAD_BOXES: dict[str, tuple[Any, Reason]] = {
    "not_a_number": ({**_BOX, "x": "NaN"}, Reason.INVALID_GEOMETRY),
    "null_number": ({**_BOX, "y": None}, Reason.INVALID_GEOMETRY),
    "boolean": ({**_BOX, "x": True}, Reason.INVALID_GEOMETRY),
    "huge": ({**_BOX, "x": 1e308}, Reason.INVALID_GEOMETRY),
    "infinite": ({**_BOX, "x": "@infinite@"}, Reason.INVALID_GEOMETRY),
    "zero_height": ({**_BOX, "height": 0}, Reason.INVALID_BOUNDING_BOX),
    "without_height": ({"x": 10, "y": 20, "width": 30}, Reason.INVALID_GEOMETRY),
    "list": ([10, 20], Reason.INVALID_GEOMETRY),
    "null": (None, Reason.GEOMETRY_MISSING),
}
_BAD_POLYGONS: dict[str, tuple[Any, Reason]] = {
    "two_points": ([{"x": 1, "y": 2}, {"x": 3, "y": 4}], Reason.INVALID_POLYGON),
    "no_points": ([], Reason.INVALID_POLYGON),
    "not_a_number": ([{"x": 1, "y": 2}, {"x": "Infinity", "y": 4}, {"x": 5, "y": 9}], Reason.INVALID_GEOMETRY),
    "object": ({"x": 1, "y": 2}, Reason.INVALID_GEOMETRY),
}


def twist(function: Twist) -> Twist:
    """Register a malformation under its function's name."""
    GEOMETRY_TWISTS[function.__name__.removeprefix("_")] = function
    return function


def _bad(tool: str, coordinate: Any, reason: Reason) -> Twist:
    def change(record: Record, rng: random.Random) -> None:
        thing = replace(spot(record.scene, rng), tool=tool, geometry=None)
        annotation, data = put(record, rng, replace(thing, tool="classification"), expected=False)
        annotation["tool"] = tool
        data["coordinate"] = coordinate
        spoil(record, thing, reason)
        record.literals["@infinite@"] = "1e400"

    return change


GEOMETRY_TWISTS |= {f"box:{name}": _bad("bounding_box", *case) for name, case in _BAD_BOXES.items()}
GEOMETRY_TWISTS |= {f"polygon:{name}": _bad("polygon", *case) for name, case in _BAD_POLYGONS.items()}


def _drawn_backwards(record: Record, rng: random.Random) -> None:
    """A box that was begun at its right edge."""
    thing = spot(record.scene, rng)
    _, data = put(record, rng, thing)
    coordinate = data["coordinate"]
    coordinate["x"], coordinate["width"] = coordinate["x"] + coordinate["width"], -coordinate["width"]
    spoil(record, thing, Reason.BOX_TURNED_ROUND)


GEOMETRY_TWISTS["box:negative_width"] = _drawn_backwards


@twist
def _out_of_bounds(record: Record, rng: random.Random) -> None:
    """Well-formed shapes across the border or outside it: readers keep them, formats cut them."""
    width, height = record.scene.width, record.scene.height
    for box in ((-20, 40, 26, 30, 0.0), (width - 4.25, height - 3.5, 50, 40, 0.0), (width + 50, 10, 30, 30, 0.0)):
        put(record, rng, Thing(new_id(rng), "bounding_box", "car", box))
    triangle = ((-30.5, -10), (5, -10), (-30.5, 5))
    put(record, rng, Thing(new_id(rng), "polygon", "sidewalk", triangle))


@twist
def _rotated_boxes(record: Record, rng: random.Random) -> None:
    """Every box is smaller and turned about its centre, in radians."""
    for position, thing in enumerate(record.scene.things):
        if thing.tool == "bounding_box":
            record.scene.things[position] = _turned(thing, round(rng.uniform(0.2, 1.2), 4))
    cell = (record.scene.width / 4 + 20, record.scene.height / 3 + 20, 100, 50, 0.0)
    record.scene.things.append(_turned(Thing(new_id(rng), "bounding_box", "truck", cell), 0.5693))
    rewrite(record, rng)


def _turned(thing: Thing, rotation: float) -> Thing:
    x, y, width, height, _ = thing.geometry
    box = (round(x + width * 0.2, 2), round(y + height * 0.2, 2), round(width * 0.6, 2), round(height * 0.6, 2))
    return replace(thing, geometry=(*box, rotation))


@twist
def _rotation_as_attribute(record: Record, rng: random.Random) -> None:
    """A turned box that also has an attribute named rotation."""
    thing = replace(spot(record.scene, rng), attributes={"rotation": "left"})
    put(record, rng, replace(thing, geometry=(*thing.geometry[:4], 0.25)))


def _mask(scene: Scene, rng: random.Random, *, hole: bool = False) -> Thing:
    centre = (scene.width / 2, scene.height / 3)
    area = ellipse_runs(centre, (9.0, 7.0), (scene.width, scene.height), hole=hole)
    return Thing(new_id(rng), "segmentation", "가로수", area)


def _pixels(thing: Thing) -> list[int]:
    spans = [np.arange(start, start + length) for start, length in thing.geometry]
    return [int(pixel) for pixel in np.concatenate(spans)]


@twist
def _mask_raw_indices(record: Record, rng: random.Random) -> None:
    thing = _mask(record.scene, rng)
    _, data = put(record, rng, thing)
    data |= {"pixel_indices": _pixels(thing), "isCompressed": False, "compressionFormat": None}


@twist
def _mask_with_hole(record: Record, rng: random.Random) -> None:
    put(record, rng, _mask(record.scene, rng, hole=True))


@twist
def _mask_legacy_indices(record: Record, rng: random.Random) -> None:
    """Only ``pixel_indices``, as documents before 2026.2.13 have it."""
    thing = _mask(record.scene, rng)
    _, data = put(record, rng, thing)
    _only_pixels(data, _pixels(thing))


@twist
def _mask_legacy_runs(record: Record, rng: random.Random) -> None:
    thing = _mask(record.scene, rng)
    _, data = put(record, rng, thing)
    _only_pixels(data, runs(thing))


def _only_pixels(data: dict[str, Any], pixels: list[Any]) -> None:
    identity = data["id"]
    data.clear()
    data |= {"id": identity, "pixel_indices": pixels}


@twist
def _mask_unsorted(record: Record, rng: random.Random) -> None:
    """Valid runs in another order."""
    thing = _mask(record.scene, rng)
    _, data = put(record, rng, thing)
    data["pixel_indices"] = runs(thing)[::-1]


@twist
def _mask_dimensions_missing(record: Record, rng: random.Random) -> None:
    """No size in the document; the file says it."""
    put(record, rng, _mask(record.scene, rng))
    record.document["extra"] = {"image_1": {}}


def _bad_mask(change_runs: Any) -> Twist:
    def change(record: Record, rng: random.Random) -> None:
        thing = _mask(record.scene, rng)
        _, data = put(record, rng, thing, expected=False)
        data["pixel_indices"] = change_runs(runs(thing), record.scene)
        spoil(record, thing, Reason.INVALID_MASK_ENCODING)

    return change


GEOMETRY_TWISTS |= {
    "mask:out_of_bounds": _bad_mask(lambda rows, scene: [*rows, [scene.width * scene.height - 1, 5]]),
    "mask:overlapping": _bad_mask(lambda rows, _: [*rows, rows[0]]),
    "mask:negative": _bad_mask(lambda rows, _: [[-4, 2], *rows]),
    "mask:enormous_run": _bad_mask(lambda *_: [[0, 10**12]]),
    "mask:not_integers": _bad_mask(lambda *_: [[0.5, 2], ["1", 3]]),
}


@twist
def _mask_empty(record: Record, rng: random.Random) -> None:
    """A mask without a pixel."""
    thing = replace(_mask(record.scene, rng), geometry=())
    put(record, rng, thing, expected=False)
    spoil(record, thing, Reason.INVALID_MASK_ENCODING)


@twist
def _mask_large_raw(record: Record, rng: random.Random) -> None:
    """A third of the picture as single pixel indices."""
    count = record.scene.width * record.scene.height // 3
    start = record.scene.width * (record.scene.height - 1) - count
    thing = Thing(new_id(rng), "segmentation", "sidewalk", ((start, count),))
    record.scene.things[:] = [thing]
    rewrite(record, rng)
    data = record.document["annotationsData"]["image_1"][0]
    data |= {"pixel_indices": _pixels(thing), "isCompressed": False, "compressionFormat": None}
    assert geometry_v1(rng, thing)["isCompressed"]
