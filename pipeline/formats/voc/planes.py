"""Pascal VOC's segmentation: for every pixel of an image its class, and the object that it belongs to.

Both planes hold indices into one palette. 0 is the background and 255 is void: the pixel has a label that the palette
cannot express. Later regions are painted over earlier ones.
"""

import numpy as np
import numpy.typing as npt

from pipeline.formats.voc.xml import Pixels
from pipeline.images.regions import Region

MAX_INDEX = 254
"""The highest index of a class or an object."""

VOID = 255

_CHUNK = 1 << 20  # pixels handled at once: numpy takes eight bytes for each index


def find_bounds(region: Region) -> Pixels:
    """Return the smallest box around the pixels of a region, of which there is at least one."""
    columns, rows = (np.flatnonzero(region.inside.any(axis=axis)) for axis in (0, 1))
    return Pixels(
        region.left + int(columns[0]) + 1,
        region.top + int(rows[0]) + 1,
        region.left + int(columns[-1]) + 1,
        region.top + int(rows[-1]) + 1,
    )


class Canvas:
    """The pixels of an image, each with the number of the region that was painted there last, counted from 1.

    It takes one byte per pixel for up to 255 regions, two for more, and none before the first.
    """

    def __init__(self, width: int, height: int, most: int) -> None:
        """Make an empty canvas for at most ``most`` regions."""
        self._size = height, width
        self._type = np.min_scalar_type(most)
        self._numbers: npt.NDArray[np.unsignedinteger] | None = None
        self._classes = [0]
        self._objects = [0]

    def paint(self, region: Region, class_index: int, object_index: int) -> int:
        """Paint a region and return its number. ``object_index`` is 0 for a region that is not an object."""
        if self._numbers is None:
            self._numbers = np.zeros(self._size, dtype=self._type)
        number = len(self._classes)
        np.copyto(region.of(self._numbers), number, where=region.inside)
        self._classes.append(class_index)
        self._objects.append(object_index)
        return number

    def visible(self) -> set[int]:
        """Return the numbers of the regions of which at least one pixel is left."""
        seen = np.zeros(len(self._classes), dtype=np.bool_)
        for start, stop in self._chunks():
            seen[self._flat[start:stop]] = True
        return set(np.flatnonzero(seen).tolist()) - {0}

    def class_plane(self) -> npt.NDArray[np.uint8] | None:
        """Return the index of the class of each pixel, shape (height, width); None when nothing was painted."""
        return self._plane(self._classes)

    def object_plane(self) -> npt.NDArray[np.uint8] | None:
        """Return the index of the object of each pixel, shape (height, width); None when no object was painted."""
        return self._plane(self._objects)

    @property
    def _flat(self) -> npt.NDArray[np.unsignedinteger]:
        return np.empty(0, dtype=self._type) if self._numbers is None else self._numbers.reshape(-1)

    def _chunks(self) -> list[tuple[int, int]]:
        return [(start, start + _CHUNK) for start in range(0, self._flat.size, _CHUNK)]

    def _plane(self, indices: list[int]) -> npt.NDArray[np.uint8] | None:
        if not any(indices):
            return None
        table = np.array(indices, dtype=np.uint8)
        plane = np.empty(self._size, dtype=np.uint8)
        flat = plane.reshape(-1)
        for start, stop in self._chunks():
            flat[start:stop] = table[self._flat[start:stop]]
        return plane
