"""The header of an image from the first bytes of its file, for images of which nothing else tells it."""

from collections.abc import Awaitable, Callable

from pipeline.images.containers import riff_length
from pipeline.images.files import Header, read_header

_STEPS = (2**16, 2**20)
_LARGE_STEP = 2**25
_TIFF_MARKS = (b"II*\0", b"MM\0*")


async def find_header(fetch: Callable[[int], Awaitable[bytes]]) -> Header | None:
    """Return the header of an image, or None if it cannot be found.

    ``fetch(length)`` returns the first ``length`` bytes of the file; it is called with a larger length if those are not
    enough. A TIFF may keep its header at the end of the file, and a WebP keeps its orientation there.
    """
    for length in (*_STEPS, _LARGE_STEP):
        head = await fetch(length)
        header = read_header(head)
        if header is not None and header.orientation is None and len(head) == length:
            return read_header(await fetch(min(riff_length(head), _LARGE_STEP)))
        if header or len(head) < length or (length == _STEPS[-1] and not head.startswith(_TIFF_MARKS)):
            return header
    return None
