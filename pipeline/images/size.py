"""The size of an image from the first bytes of its file, for images whose size nothing else tells."""

from collections.abc import Awaitable, Callable

from pipeline.images.files import read_header

_STEPS = (2**16, 2**20)
_TIFF_STEP = 2**25  # a TIFF may keep its header at the end of the file
_TIFF_MARKS = (b"II*\0", b"MM\0*")


async def find_image_size(fetch: Callable[[int], Awaitable[bytes]]) -> tuple[int, int] | None:
    """Return the upright width and height of an image in pixels, or None if they cannot be found.

    Upright, because that is what the annotator saw. ``fetch(length)`` returns the first ``length`` bytes of the file;
    it is called with a larger length if those are not enough.
    """
    for length in (*_STEPS, _TIFF_STEP):
        head = await fetch(length)
        header = read_header(head)
        if header or len(head) < length or (length == _STEPS[-1] and not head.startswith(_TIFF_MARKS)):
            return header.upright_size if header else None
    return None
