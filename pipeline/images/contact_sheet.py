"""A contact sheet: pictures side by side with what labels say of them, as one PNG."""

import io
import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pycocotools.mask
from PIL import Image, ImageDraw, ImageFont, ImageOps

_TILE, _CAPTION, _GAP = (480, 360), 22, 8
_MOST_PIXELS = 200_000_000
# Colours that people with a colour vision deficiency tell apart (Okabe and Ito), then lighter ones of the same.
_COLOURS = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
    (255, 205, 110), (170, 220, 250), (120, 215, 190), (130, 180, 220), (250, 160, 110),
)  # fmt: skip
_UNREADABLE = (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError)


class Drawn(NamedTuple):
    """One object in pixels of the upright picture. Each of its forms may be missing.

    ``box`` is ``x, y, width, height``; ``rings`` are closed outlines ``(x1, y1, x2, y2, …)``; ``mask`` is COCO RLE as
    ``((height, width), counts)``; ``points`` are keypoints ``(x, y, visibility)``. ``number`` gives the colour.
    """

    label: str
    number: int
    box: tuple[float, float, float, float] | None = None
    rings: tuple[tuple[float, ...], ...] = ()
    mask: tuple[tuple[int, int], str] | None = None
    points: tuple[tuple[float, float, float], ...] = ()


class Tile(NamedTuple):
    """A picture (the bytes of its file, None where there is none), its caption, and what is drawn on it.

    ``fractions`` says that numbers are fractions of width and height instead of pixels, as in YOLO.
    """

    picture: bytes | None
    caption: str
    objects: Sequence[Drawn]
    fractions: bool = False


def draw_sheet(tiles: Sequence[Tile], columns: int) -> bytes:
    """Return a PNG with the tiles in rows of ``columns``. A picture that cannot be decoded is an empty tile."""
    columns = max(1, min(columns, len(tiles)))
    rows = max(1, math.ceil(len(tiles) / columns))
    width, height = _TILE[0] + _GAP, _TILE[1] + _CAPTION + _GAP
    sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), (24, 24, 27))
    font = ImageFont.load_default(size=13)
    for number, tile in enumerate(tiles):
        left, top = _GAP + number % columns * width, _GAP + number // columns * height
        picture = _draw_tile(tile, font)
        sheet.paste(picture, (left + (_TILE[0] - picture.width) // 2, top + (_TILE[1] - picture.height) // 2))
        caption = _printable(tile.caption)
        ImageDraw.Draw(sheet).text((left, top + _TILE[1] + 3), caption, font=font, fill=(228, 228, 231))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _draw_tile(tile: Tile, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> Image.Image:
    try:
        if tile.picture is None:
            raise ValueError("no picture")
        with Image.open(io.BytesIO(tile.picture)) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                raise ValueError("too many pixels")
            upright = ImageOps.exif_transpose(opened).convert("RGB")
    except _UNREADABLE:
        empty = Image.new("RGB", _TILE, (63, 63, 70))
        ImageDraw.Draw(empty).text((12, 12), "no picture", font=font, fill=(228, 228, 231))
        return empty
    full = upright.size
    picture = ImageOps.contain(upright, _TILE)
    scale = (picture.width / full[0], picture.height / full[1])
    if tile.fractions:
        scale = picture.size
    shade = Image.new("RGBA", picture.size)
    for one in tile.objects:
        _shade(one, shade, scale)
    picture = Image.alpha_composite(picture.convert("RGBA"), shade).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for one in tile.objects:
        _outline(one, draw, scale, font)
    return picture


def shown_label(one: Drawn) -> str:
    """Return the label as it is drawn: a number where the built-in font lacks letters of it, as Korean ones."""
    return one.label if _printable(one.label) == one.label else f"#{one.number}"


def colour_of(number: int) -> tuple[int, int, int]:
    """Return the colour of the class with a number."""
    return _COLOURS[number % len(_COLOURS)]


def _scaled(numbers: Sequence[float], scale: tuple[float, float]) -> list[tuple[float, float]]:
    return [(x * scale[0], y * scale[1]) for x, y in zip(numbers[0::2], numbers[1::2], strict=True)]


def _shade(one: Drawn, shade: Image.Image, scale: tuple[float, float]) -> None:
    """Fill the area of an object with its colour, half transparent."""
    colour = (*colour_of(one.number), 90)
    layer = Image.new("RGBA", shade.size)
    if one.mask:
        size, counts = one.mask
        with warnings.catch_warnings():  # pycocotools' own, about an argument that numpy 2 added
            warnings.simplefilter("ignore", DeprecationWarning)
            area = pycocotools.mask.decode({"size": list(size), "counts": counts.encode()})
        stencil = Image.fromarray(np.asarray(area, dtype=np.uint8) * 255).resize(shade.size, Image.Resampling.NEAREST)
        layer.paste(Image.new("RGBA", shade.size, colour), (0, 0), stencil)
    for ring in one.rings:
        if len(ring) >= 6:
            ImageDraw.Draw(layer).polygon(_scaled(ring, scale), fill=colour)
    shade.alpha_composite(layer)


def _outline(
    one: Drawn,
    draw: ImageDraw.ImageDraw,
    scale: tuple[float, float],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    colour = colour_of(one.number)
    corner: tuple[float, float] | None = None
    if one.box:
        x, y, width, height = one.box
        (left, top), (right, bottom) = _scaled((x, y, x + width, y + height), scale)
        if right >= left and bottom >= top:
            draw.rectangle((left, top, right, bottom), outline=colour, width=2)
        corner = (left, top)
    for ring in one.rings:
        points = _scaled(ring, scale)
        if len(points) > 1:
            draw.line([*points, points[0]], fill=colour, width=2, joint="curve")
        if points:
            corner = corner or min(points, key=lambda point: point[1])
    for x, y, visibility in one.points:
        ((across, down),) = _scaled((x, y), scale)
        if visibility > 0:
            fill = colour if visibility > 1 else None
            draw.ellipse((across - 3, down - 3, across + 3, down + 3), fill=fill, outline=colour)
            corner = corner or (across, down)
    if corner:
        text = shown_label(one)
        place = (max(corner[0], 0), max(corner[1] - 15, 0))
        draw.rectangle(draw.textbbox(place, text, font=font), fill=(24, 24, 27))
        draw.text(place, text, font=font, fill=colour)


def _printable(text: str) -> str:
    """Return a text that the built-in font can show: letters that it lacks become their code points."""
    return text.encode("latin-1", errors="backslashreplace").decode("latin-1")
