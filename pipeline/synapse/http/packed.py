"""Files that a server sends packed, although it was asked not to: unpacked here, so that a cut one is noticed.

aiohttp takes what it could unpack of a cut gzip stream for the whole file.
"""

import zlib
from collections.abc import AsyncIterator, Iterator

import aiohttp

from pipeline.synapse.http.event_loop import CHUNK
from pipeline.synapse.http.tries import FailedTry

_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


def packing_of(response: aiohttp.ClientResponse) -> str:
    """Return what the bytes of an answer are packed with, by its header; ``""`` when they are not."""
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    return "" if coding == "identity" else coding


async def read_unpacked(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the bytes of a file, at most :data:`CHUNK` at a time, of an answer that aiohttp does not unpack.

    Raises FailedTry when they are packed with anything but gzip or deflate, are damaged, or end too early.
    """
    coding = packing_of(response)
    if coding not in ("", "gzip", "x-gzip", "deflate"):
        raise _unusable("it is packed in a way that nobody asked for")
    unpacker = _Unpacker(coding) if coding else None
    async for chunk in response.content.iter_chunked(CHUNK):
        if unpacker is None:
            yield chunk
            continue
        try:
            for piece in unpacker.feed(chunk):
                yield piece
        except zlib.error as error:
            raise _unusable("what it is packed in is damaged") from error
    if unpacker is not None and not unpacker.is_whole:
        raise _unusable("what it is packed in is cut off")


class _Unpacker:
    """Unpacks gzip, of one part or several, or deflate, with the header of zlib or without one."""

    def __init__(self, coding: str) -> None:
        self._bits = _ZLIB if coding == "deflate" else _GZIP
        self._stream = None if coding == "deflate" else zlib.decompressobj(_GZIP)

    @property
    def is_whole(self) -> bool:
        return self._stream is not None and self._stream.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            # Some servers leave the header out. A header begins with a byte whose lower half is 8 (RFC 1950).
            self._bits = _ZLIB if data[0] & 0xF == 8 else _RAW
            self._stream = zlib.decompressobj(self._bits)
        while data:
            if self._stream.eof:
                self._stream = zlib.decompressobj(self._bits)
            piece = self._stream.decompress(data, CHUNK)
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            if piece:
                yield piece


def _unusable(problem: str) -> FailedTry:
    return FailedTry(f"the answer cannot be used: {problem}", is_unusable=True)
