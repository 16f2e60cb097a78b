"""The header of an image from parts of its file, for images of which nothing else tells it."""

from collections.abc import Awaitable, Callable

from pipeline.images.containers import riff_length, tiff_directory
from pipeline.images.files import Header, complete_header, read_header

type Fetch = Callable[[int, int], Awaitable[tuple[bytes, int | None]]]
"""``fetch(start, length)`` returns a part of a file, shorter at its end, and the size of the file, if it is known."""

_STEPS = (2**16, 2**20)
"""Bytes that are fetched of a place where a header should be: first the fewer, then the more."""


async def find_header(fetch: Fetch) -> Header | None:
    """Return the header of an image, or None if it cannot be found.

    At most four parts of the file are fetched, of at most a megabyte. Its orientation is None if it has or may have one
    that was not reached.
    """
    for length in _STEPS:
        head, size = await fetch(0, length)
        header = read_header(head)
        if len(head) < length or (header is not None and header.orientation is not None):
            return header
        if header is not None or tiff_directory(head) is not None:
            return await _look_further(fetch, header, head, size)
    return None


async def _look_further(fetch: Fetch, header: Header | None, head: bytes, size: int | None) -> Header | None:
    """Look where the rest of a header should be: where a TIFF says, else at the end of the file."""
    found, known = header, size or (riff_length(head) if header and header.form == "WEBP" else None)
    for length in _STEPS:
        directory = tiff_directory(head)
        if directory is None and known is None:
            return header
        start = directory if directory is not None else max((known or 0) - length, 0)
        part, _ = await fetch(start, length)
        found = complete_header(header, head, part, start)
        if found is not None and found.orientation is not None:
            return found
    return found
