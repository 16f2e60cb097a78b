"""Draw pictures that show every annotated object where its annotation is, in the colour of its class."""

import io
import math
import random
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.model.skeletons import PERSON_EDGES
from pipeline.sandbox.records import OriginalFile
from pipeline.sandbox.scenes import KEYPOINT_COLOUR, Scene, Thing, colour_of

_SKY, _HORIZON, _ROAD = (150, 190, 225), (205, 215, 220), (88, 90, 94)
_LARGEST = 1e7
_GLOSS = {"가로수": "street tree"}  # the built-in font has Latin letters only


def picture_bytes(file: OriginalFile) -> bytes:
    """Return the bytes of an original: a PNG or JPEG of its scene, damaged if its style says so."""
    if file.scene is None or file.style == "empty":
        return file.content
    image = draw(file.scene)
    buffer = io.BytesIO()
    if file.extension == "png":
        image.save(buffer, "PNG", compress_level=3)
    else:
        exif = Image.Exif()
        if file.style in ("exif", "exif_upright"):
            exif[0x0112] = 6  # orientation: turned by a quarter to the right
        if file.style == "exif_upright":
            image = image.transpose(Image.Transpose.ROTATE_90)
        image.save(buffer, "JPEG", quality=92, subsampling=0, exif=exif)
    content = buffer.getvalue()
    if file.style == "trailing":
        return content + b"\0\0"
    return content[: len(content) * 6 // 10] if file.style == "truncated" else content


@lru_cache(maxsize=1)
def bench_picture() -> bytes:
    """Return a JPEG of about 200 KB, the same for every record of the ``bench`` profile."""
    noise = np.random.default_rng(1).integers(0, 256, (135, 240, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((1920, 1080)).save(buffer, "JPEG", quality=62)
    return buffer.getvalue()


def draw(scene: Scene) -> Image.Image:
    """Draw the scene as an RGB image of its width and height."""
    image = _street(scene.width, scene.height)
    canvas = ImageDraw.Draw(image)
    for thing in scene.things:
        if _is_drawable(thing):
            _draw_thing(image, canvas, thing)
    _draw_skeletons(canvas, scene.things)
    return image


@lru_cache(maxsize=8)
def _background(width: int, height: int) -> Image.Image:
    horizon = int(height * 0.45)
    shade = np.linspace(0, 1, max(horizon, 1))[:, None, None]
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    pixels[:horizon] = np.asarray(_SKY) * (1 - shade[:horizon]) + np.asarray(_HORIZON) * shade[:horizon]
    pixels[horizon:] = (112, 128, 96)
    image = Image.fromarray(pixels)
    canvas = ImageDraw.Draw(image)
    middle = width // 2
    road = [(middle - width // 12, horizon), (middle + width // 12, horizon), (width, height), (0, height)]
    canvas.polygon(road, fill=_ROAD)
    for step in range(6):
        top = horizon + (height - horizon) * step // 6
        canvas.line([(middle, top), (middle, top + (height - horizon) // 14)], fill=(220, 220, 210), width=1 + step)
    bricks = random.Random(width * height)
    for left in range(0, width, max(width // 14, 1)):
        tall = bricks.randint(height // 12, height // 4)
        if abs(left - middle) > width // 8:
            canvas.rectangle([left, horizon - tall, left + width // 16, horizon], fill=(168, 160, 152))
    return image


def _street(width: int, height: int) -> Image.Image:
    return _background(width, height).copy()


def _is_drawable(thing: Thing) -> bool:
    numbers = np.asarray(thing.geometry, dtype=object).ravel() if isinstance(thing.geometry, tuple) else ()
    return len(numbers) > 0 and all(isinstance(n, int | float) and abs(n) < _LARGEST for n in numbers)


def _draw_thing(image: Image.Image, canvas: ImageDraw.ImageDraw, thing: Thing) -> None:
    colour = colour_of(thing.label)
    outline = tuple(channel // 2 for channel in colour)
    match thing.tool:
        case "bounding_box":
            corners = box_corners(thing.geometry)
            canvas.polygon(corners, fill=colour, outline=outline)
            _write(canvas, corners[0], thing.label)
        case "polygon":
            canvas.polygon(thing.geometry, fill=colour, outline=outline)
            _write(canvas, min(thing.geometry, key=lambda point: (point[1], point[0])), thing.label)
        case "polyline":
            canvas.line(thing.geometry, fill=colour, width=4, joint="curve")
        case "segmentation":
            _fill_runs(image, thing.geometry, colour)
        case _:
            return


def box_corners(box: tuple[float, ...]) -> list[tuple[float, float]]:
    """Return corners of ``(x, y, width, height, rotation)``, turned about the centre, clockwise from the top left."""
    x, y, width, height, rotation = box
    middle_x, middle_y = x + width / 2, y + height / 2
    cosine, sine = math.cos(rotation), math.sin(rotation)
    offsets = ((-width, -height), (width, -height), (width, height), (-width, height))
    return [(middle_x + (dx * cosine - dy * sine) / 2, middle_y + (dx * sine + dy * cosine) / 2) for dx, dy in offsets]


def _fill_runs(image: Image.Image, runs: Any, colour: tuple[int, int, int]) -> None:
    flags = np.zeros(image.width * image.height + 1, dtype=np.int32)
    pairs = np.asarray(runs, dtype=np.int64).reshape(-1, 2)
    np.add.at(flags, pairs[:, 0], 1)
    np.add.at(flags, pairs.sum(axis=1), -1)
    mask = np.cumsum(flags)[:-1].reshape(image.height, image.width) > 0
    image.paste(colour, mask=Image.fromarray((mask * 255).astype(np.uint8)))


def _draw_skeletons(canvas: ImageDraw.ImageDraw, things: list[Thing]) -> None:
    points: dict[str, dict[str, tuple[float, float]]] = {}
    for thing in things:
        if thing.tool == "keypoint" and _is_drawable(thing) and thing.geometry[2]:
            points.setdefault(thing.group, {})[thing.label] = thing.geometry[:2]
    for group, person in points.items():
        for start, end in PERSON_EDGES if group else ():
            if {start, end} <= person.keys():
                canvas.line([person[start], person[end]], fill=(40, 40, 40), width=2)
    for person in points.values():
        for x, y in person.values():
            canvas.ellipse([x - 3, y - 3, x + 3, y + 3], fill=KEYPOINT_COLOUR)


def _write(canvas: ImageDraw.ImageDraw, corner: tuple[float, float], label: str) -> None:
    text = _GLOSS.get(label, label)
    if text.isascii() and text.isprintable():
        canvas.text((corner[0] + 3, corner[1] - 11), text[:24], fill=(20, 20, 20), font=_font())


@lru_cache(maxsize=1)
def _font() -> "ImageFont.FreeTypeFont | ImageFont.ImageFont":
    return ImageFont.load_default(size=10)
