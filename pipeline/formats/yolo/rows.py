"""What the label rows of all tasks share: rings as fractions of the image, and the losses of a written annotation."""

from collections.abc import Sequence

from pipeline.formats import Loss
from pipeline.formats.encoding import has_values
from pipeline.formats.images import Ring, Size, place_box
from pipeline.images.geometry import polygon_area
from pipeline.images.painting import painted_area
from pipeline.reasons import Reason
from pipeline.records import Annotation, Box

LAST_DECIMAL = 1e-6
"""The last decimal of a row, as a fraction of the image's side. Anything less is written as 0, an object of no size."""

_LAST_PLACE = 1 - LAST_DECIMAL
_WHOLE = 10**6  # a side of the image in last decimals

type Rows = tuple[bytes, list[Loss]]
"""The text of a label file, each row with its line end, and the losses of the annotations."""


def report_changes(annotation: Annotation, changes: Sequence[Reason]) -> list[Loss]:
    """Return the losses of an annotation that is written; its attributes are one, because no row has room for them."""
    losses = [Loss(annotation.id, "lossy", reason) for reason in changes] if changes else []
    if annotation.attributes and has_values(annotation.attributes):
        losses.append(Loss(annotation.id, "lossy", Reason.CUSTOM_ATTRIBUTES_DROPPED))
    return losses


def format_ring(index: int, ring: Ring, size: Size) -> bytes | None:
    """Return ``index x1 y1 … xn yn`` of a ring inside the image; None when rounding leaves no area."""
    width, height = size
    fractions = [0.0] * len(ring)
    fractions[0::2] = [x / width + 0.0 for x in ring[0::2]]  # never -0.000000
    fractions[1::2] = [y / height + 0.0 for y in ring[1::2]]
    row = (b"%d" + b" %.6f" * len(fractions) + b"\n") % (index, *fractions)
    # Rounding moves an edge by at most half a decimal, so only a ring with less than one decimal's area for each number
    # needs the exact answer.
    if polygon_area(fractions) > len(fractions) * LAST_DECIMAL:
        return row
    decimals = [round(float(number) / LAST_DECIMAL) for number in row.split()[1:]]
    return row if painted_area(decimals) > 0 else None


def centre_and_length(start: float, length: float, side: float) -> tuple[float, float]:
    """Return the centre and the length of a span inside the image, as fractions of its side.

    They are what a row can hold: the length is one decimal or more, and half of it on either side of the centre does
    not leave the image, also after both were rounded. Readers refuse a box that leaves it by half a decimal.
    """
    centre, share = (start + length / 2) / side, max(length / side, LAST_DECIMAL)
    if centre - share / 2 > LAST_DECIMAL and centre + share / 2 < _LAST_PLACE:
        return centre, share
    middle, across = (int(f"{number:.6f}".replace(".", "")) for number in (centre, share))
    if across > 1 and across <= 2 * middle <= 2 * _WHOLE - across:
        return centre, share
    if across > 1:
        across -= 1
    else:
        middle = min(max(middle, 1), _WHOLE - 1)
    return middle / _WHOLE, across / _WHOLE


def describe_plain_box(box: Box, width: int, height: int) -> tuple[float, float, float, float] | None:
    """Return what ``place_box`` and :func:`centre_and_length` make of a box of the usual kind, None for any other.

    That is the centre and the length across, then down. A usual box is upright and inside the image, and rounding can
    neither flatten it nor move it over the border.
    """
    x, y, across, down = box.x, box.y, box.width, box.height
    if box.rotation or not (x >= 0 and y >= 0 and x + across <= width and y + down <= height):
        return None
    centre_x, share_x, centre_y, share_y = (
        (x + across / 2) / width,
        across / width,
        (y + down / 2) / height,
        down / height,
    )
    half_x, half_y = share_x / 2, share_y / 2
    if (
        share_x > LAST_DECIMAL
        and share_y > LAST_DECIMAL
        and centre_x - half_x > LAST_DECIMAL
        and centre_y - half_y > LAST_DECIMAL
        and centre_x + half_x < _LAST_PLACE
        and centre_y + half_y < _LAST_PLACE
    ):
        return centre_x, share_x, centre_y, share_y
    return None


def place_ring(box: Box, size: Size) -> tuple[Ring, tuple[Reason, ...]] | None:
    """Return the corners of an upright box inside the image, clockwise from the top left, and what was changed.

    Each side is at least two decimals long, so that rounding removes none. None when the box lies outside.
    """
    placed = place_box(box, *size)
    if placed is None:
        return None
    x, y, width, height, changes = placed
    width, height = max(width, 2 * LAST_DECIMAL * size[0]), max(height, 2 * LAST_DECIMAL * size[1])
    x, y = min(x, size[0] - width), min(y, size[1] - height)
    right, bottom = min(x + width, size[0]), min(y + height, size[1])
    return (x, y, right, y, right, bottom, x, bottom), changes
