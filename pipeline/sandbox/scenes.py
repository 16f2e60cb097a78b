"""Scenes: the content of a picture, before it becomes a document, a row or pixels."""

import math
import random
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.model.skeletons import PERSON_POINTS

# A standing person in a unit square, one point per name of PERSON_POINTS.
_POSE = (
    (0.50, 0.08), (0.54, 0.05), (0.46, 0.05), (0.59, 0.07), (0.41, 0.07), (0.66, 0.22), (0.34, 0.22), (0.76, 0.38),
    (0.24, 0.38), (0.82, 0.53), (0.18, 0.53), (0.60, 0.55), (0.40, 0.55), (0.62, 0.77), (0.38, 0.77), (0.63, 0.98),
    (0.37, 0.98),
)  # fmt: skip

KEYPOINT_COLOUR = (255, 255, 0)
COLOURS = {
    "car": (214, 39, 40),
    "bus": (31, 119, 180),
    "truck": (148, 103, 189),
    "person": (255, 127, 14),
    "bicycle": (23, 190, 207),
    "traffic_sign": (227, 119, 194),
    "sidewalk": (140, 86, 75),
    "가로수": (44, 160, 44),
    "scooter": (188, 189, 34),
    "lane": (250, 250, 250),
}
UNCONFIGURED_CLASS = "scooter"
_BOX_CLASSES = ("car", "car", "car", "bus", "truck", "person", "bicycle", "traffic_sign")
_SHAPE_CLASSES = {"polygon": ("traffic_sign", "가로수", "sidewalk"), "segmentation": ("가로수", "car", "sidewalk")}
_TOOLS = ("bounding_box",) * 9 + ("polygon",) * 4 + ("segmentation",) * 4 + ("pose",) * 2 + ("polyline",)
_ID_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"


@dataclass(frozen=True, slots=True)
class Thing:
    """One annotation as it should be understood.

    ``geometry``, in pixels: ``bounding_box`` ``(x, y, width, height, rotation)``, rotation in radians about the
    centre; ``polygon`` and ``polyline`` a tuple of ``(x, y)``; ``keypoint`` ``(x, y, visibility)`` with visibility
    0 missing, 1 occluded, 2 visible; ``segmentation`` a tuple of ``(start, length)`` row-major runs; other tools
    None or their raw JSON value.
    """

    id: str
    tool: str
    label: str
    geometry: Any = None
    attributes: dict[str, Any] = field(default_factory=dict)
    group: str = ""


@dataclass(slots=True)
class Scene:
    """One media: its name in the document, its true size in pixels and the things on it.

    ``faulty`` maps the ids of unreadable or corrected annotations to the expected reason.
    """

    media: str
    width: int
    height: int
    things: list[Thing] = field(default_factory=list)
    faulty: dict[str, str] = field(default_factory=dict)


def colour_of(label: str) -> tuple[int, int, int]:
    """Return the fill colour of a class (red, green, blue); classes without one get a stable bright colour."""
    if label in COLOURS:
        return COLOURS[label]
    value = zlib.crc32(label.encode("utf-8", "surrogatepass"))
    return 96 + value % 160, 96 + (value >> 8) % 160, 96 + (value >> 16) % 160


def new_id(rng: random.Random) -> str:
    """Return an annotation id as the platform makes them: ten characters of ``A-Za-z0-9_-``."""
    return "".join(rng.choices(_ID_LETTERS, k=10))


def draw_scene(rng: random.Random, media: str, size: tuple[int, int], *, busy: bool = False) -> Scene:
    """Return a street with objects, each in its own cell of a grid so that none hides another.

    ``busy`` asks for at least three objects; otherwise one picture in twelve is a background without any.
    """
    width, height = size[0] + rng.choice((0, 0, 0, 64, -40)), size[1] + rng.choice((0, 0, 0, 32, -40))
    scene = Scene(media, width, height)
    columns, rows = 4, 3
    cells = [(column, row) for row in range(rows) for column in range(columns)]
    rng.shuffle(cells)
    count = rng.randint(3, 7) if busy or rng.random() > 1 / 12 else 0
    for column, row in cells[:count]:
        cell_width, cell_height = width / columns, height / rows
        cell = (column * cell_width + 6, row * cell_height + 6, cell_width - 12, cell_height - 12)
        scene.things += _things(rng, rng.choice(_TOOLS), cell, (width, height))
    if count and rng.random() < 0.15:
        scene.things.append(Thing(new_id(rng), "classification", rng.choice(("day", "night"))))
    return scene


def _things(rng: random.Random, tool: str, cell: tuple[float, ...], size: tuple[int, int]) -> list[Thing]:
    x, y, width, height = cell
    attributes: dict[str, Any] = {}
    if rng.random() < 0.4:
        attributes["occluded"] = rng.random() < 0.5
    if rng.random() < 0.3:
        attributes["color"] = rng.choice(("red", "blue", "흰색"))
    if tool == "pose":
        return _pose(rng, cell)
    if tool == "bounding_box":
        label = UNCONFIGURED_CLASS if rng.random() < 0.08 else rng.choice(_BOX_CLASSES)
        box_width, box_height = rng.uniform(0.4, 0.95) * width, rng.uniform(0.4, 0.95) * height
        left, top = x + rng.random() * (width - box_width), y + rng.random() * (height - box_height)
        digits = rng.choice((0, 2))
        box = [round(value, digits) if digits else int(value) for value in (left, top, box_width, box_height)]
        return [Thing(new_id(rng), tool, label, (*box, 0.0), attributes)]
    if tool == "polyline":
        steps = 5
        points = tuple(
            (round(x + width * step / steps, 2), round(y + height * (1 - step / steps) ** 1.5, 2))
            for step in range(steps + 1)
        )
        return [Thing(new_id(rng), tool, "lane", points, attributes)]
    label = rng.choice(_SHAPE_CLASSES[tool])
    centre = (x + width / 2, y + height / 2)
    if tool == "polygon":
        corners = rng.randint(5, 11)
        points = tuple(
            (
                round(centre[0] + math.cos(turn) * width / 2 * reach, 2),
                round(centre[1] + math.sin(turn) * height / 2 * reach, 2),
            )
            for turn, reach in ((2 * math.pi * i / corners, rng.uniform(0.6, 1.0)) for i in range(corners))
        )
        return [Thing(new_id(rng), tool, label, points, attributes)]
    radii = (rng.uniform(0.6, 0.95) * width / 2, rng.uniform(0.6, 0.95) * height / 2)
    return [Thing(new_id(rng), tool, label, ellipse_runs(centre, radii, size, hole=rng.random() < 0.4), attributes)]


def _pose(rng: random.Random, cell: tuple[float, ...]) -> list[Thing]:
    x, y, width, height = cell
    body = min(width * 1.4, height)
    left, top = x + (width - body * 0.7) / 2, y + (height - body) / 2
    group = new_id(rng)
    things = [
        Thing(new_id(rng), "bounding_box", "person", (round(left), round(top), round(body * 0.7), round(body), 0.0))
    ]
    for name, (across, down) in zip(PERSON_POINTS, _POSE, strict=True):
        visibility = rng.choices((2, 1, 0), (16, 3, 1))[0]
        point = (round(left + across * body * 0.7, 2), round(top + down * body, 2)) if visibility else (0, 0)
        things.append(Thing(new_id(rng), "keypoint", name, (*point, visibility), {}, group))
    return things


def ellipse_runs(
    centre: tuple[float, float], radii: tuple[float, float], size: tuple[int, int], *, hole: bool
) -> tuple[tuple[int, int], ...]:
    """Return row-major runs ``(start, length)`` of an ellipse in an image of ``size``, optionally with a hole."""
    left, right = max(0, int(centre[0] - radii[0])), min(size[0], int(centre[0] + radii[0]) + 2)
    top, bottom = max(0, int(centre[1] - radii[1])), min(size[1], int(centre[1] + radii[1]) + 2)
    rows, columns = np.mgrid[top:bottom, left:right]
    distance = ((columns + 0.5 - centre[0]) / radii[0]) ** 2 + ((rows + 0.5 - centre[1]) / radii[1]) ** 2
    inside = (distance <= 1.0) & (distance >= (0.15 if hole else -1.0))
    pixels = np.sort((rows * size[0] + columns)[inside])
    if not pixels.size:
        return ()
    breaks = np.flatnonzero(np.diff(pixels) != 1) + 1
    starts = pixels[np.concatenate(([0], breaks))]
    lengths = np.diff(np.concatenate(([0], breaks, [pixels.size])))
    return tuple(zip(starts.tolist(), lengths.tolist(), strict=True))
