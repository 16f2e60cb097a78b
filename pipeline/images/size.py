"""The size of an image from the first bytes of its file, when neither the document nor the API says it."""

from collections.abc import Awaitable, Callable

from pipeline.images.files import read_header

_STEPS = (2**16, 2**20)
_TIFF_STEP = 2**25  # a TIFF may keep its header at the end of the file
_TIFF_MARKS = (b"II*\0", b"MM\0*")


async def find_image_size(fetch: Callable[[int], Awaitable[bytes]]) -> tuple[int, int] | None:
    """Width and height in pixels as a viewer shows the image, or None when they cannot be found.

    Upright, because that is what an annotator saw. ``fetch(length)`` gives the first ``length`` bytes of the file; it
    is called with more when those are not enough.
    """
    for length in (*_STEPS, _TIFF_STEP):
        head = await fetch(length)
        header = read_header(head)
        if header or len(head) < length or (length == _STEPS[-1] and not head.startswith(_TIFF_MARKS)):
            return header.upright_size if header else None
    return None
