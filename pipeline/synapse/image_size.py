"""The size of an image from the first bytes of its file. Nothing is decoded: the header is all that is looked at."""

import io
import struct
import warnings
from collections.abc import Awaitable, Callable

from PIL import Image

_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF")
_STEPS = (2**16, 2**20)
_TIFF_STEP = 2**25  # a TIFF may keep its header at the end of the file
_TIFF_MARKS = (b"II*\0", b"MM\0*")


async def find_image_size(fetch: Callable[[int], Awaitable[bytes]]) -> tuple[int, int] | None:
    """Width and height in pixels, as stored (not turned by EXIF), or None when they cannot be found.

    ``fetch(length)`` gives the first ``length`` bytes of the file; it is called with more when those are not enough.
    """
    for length in (*_STEPS, _TIFF_STEP):
        head = await fetch(length)
        size = read_image_size(head)
        if size or len(head) < length or (length == _STEPS[-1] and not head.startswith(_TIFF_MARKS)):
            return size
    return None


def read_image_size(head: bytes) -> tuple[int, int] | None:
    """Width and height of the image that begins with ``head``, or None."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp_size(head)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged metadata and of large images; neither is decoded
        try:
            with Image.open(io.BytesIO(head), formats=_FORMATS) as image:
                width, height = image.size
        except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError):
            return None
    return (width, height) if width > 0 and height > 0 else None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    """Pillow wants the whole file; the container's first chunk (RFC 9649, section 2) is enough."""
    if len(head) < 30:
        return None
    match head[12:16]:
        case b"VP8 " if head[23:26] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", head, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L" if head[20] == 0x2F:
            bits = int.from_bytes(head[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    return None
