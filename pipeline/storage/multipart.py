"""Large files in parts: several parts are sent at once, and the store copies ranges of other files.

:func:`lay_out` cuts a file into parts; an :class:`Upload` takes them to the store.
"""

import contextlib
import hashlib
import io
from abc import abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, BinaryIO, NamedTuple, Protocol, cast, override

from pipeline.errors import StorageError, TransientError
from pipeline.storage.base import Extent, Piece
from pipeline.storage.remote import RemoteStorage

MIB = 2**20
SENT_PART = 8 * MIB
"""Bytes of a part that this process sends; three of them are in memory at once."""

STREAM_PART = 8 * MIB
"""Bytes of a part of a stream; each open stream holds one in memory."""

COPIED_PART = 32 * MIB
MOST_PARTS = 9_000
_AT_ONCE = 3


class UploadPart(NamedTuple):
    """The pieces of one part; a ``copied`` part is one range of a file, which the store copies by itself."""

    pieces: list[Piece]
    copied: bool = False

    @property
    def length(self) -> int:
        """The size of the part in bytes."""
        return sum(map(length_of, self.pieces))


def length_of(piece: Piece) -> int:
    """Return the size of a piece in bytes."""
    return piece.length if isinstance(piece, Extent) else len(piece)


def lay_out(
    pieces: Iterable[Piece], least: int, sent: int = SENT_PART, copied: int = COPIED_PART
) -> Iterator[UploadPart]:
    """Cut a file into parts of at least ``least`` bytes, except the last, and send as few of them as possible.

    A sent part has up to ``sent + 2 * least`` bytes, a copied part up to ``max(copied, 2 * least)``.
    """
    pending: list[Piece] = []
    held = 0
    for piece in pieces:
        missing = max(0, least - held) if held else 0
        if isinstance(piece, Extent) and piece.length - missing >= least:
            if held:  # too short for a part: filled up from the range that could be copied
                head = [Extent(piece.path, piece.start, missing)] if missing else []
                yield UploadPart([*pending, *head])
                pending, held = [], 0
            yield from _copies(
                Extent(piece.path, piece.start + missing, piece.length - missing), max(copied, 2 * least)
            )
            continue
        pending.append(piece)
        held += length_of(piece)
        if held >= max(sent, least):
            yield UploadPart(pending)
            pending, held = [], 0
    if pending:
        yield UploadPart(pending)


def _copies(extent: Extent, most: int) -> Iterator[UploadPart]:
    number = -(-extent.length // most)
    for position in range(number):
        start, end = (extent.length * step // number for step in (position, position + 1))
        yield UploadPart([Extent(extent.path, extent.start + start, end - start)], copied=True)


class Upload(Protocol):
    """The upload of one large file: parts are numbered from 1 and come in any order, from several threads."""

    def put(self, number: int, data: bytes | bytearray) -> None:
        """Send a part."""

    def copy(self, number: int, source: Extent) -> None:
        """Have the store copy a part."""

    def complete(self, size: int) -> None:
        """Make the file of ``size`` bytes appear under its name."""

    def abort(self) -> None:
        """Delete the parts. Raises nothing."""


class PartedStorage(RemoteStorage):
    """An object store that makes large objects from parts."""

    least_copied: int
    """The least size in bytes of a range that the store copies."""

    @abstractmethod
    def _begin(self, path: str) -> Upload:
        """Begin an upload; the file appears when it is complete."""

    @override
    def join(self, path: str, pieces: Sequence[Piece]) -> tuple[int, str]:
        """See :meth:`Storage.join`.

        Every byte is read for the digest, but ranges that the store can copy are not sent back to it.
        """
        total = sum(map(length_of, pieces))
        digest = hashlib.sha256()
        if total <= SENT_PART:
            whole = b"".join(self.read_pieces(pieces))
            self.write(path, whole)
            return total, hashlib.sha256(whole).hexdigest()
        parts = list(lay_out(pieces, max(self.least_copied, total // MOST_PARTS + 1)))
        chunks = self.read_pieces(piece for part in parts for piece in part.pieces)
        under_way: deque[Future[Any]] = deque()
        upload = self._begin(path)
        try:
            for number, part in enumerate(parts, start=1):
                while len(under_way) >= _AT_ONCE:
                    under_way.popleft().result()
                if part.copied:
                    under_way.append(self._threads().submit(upload.copy, number, cast(Extent, part.pieces[0])))
                data = bytearray()
                received = 0
                while received < part.length:
                    chunk = next(chunks)
                    digest.update(chunk)
                    received += len(chunk)
                    if not part.copied:
                        data += chunk
                if not part.copied:
                    under_way.append(self._threads().submit(upload.put, number, data))
            for future in under_way:
                future.result()
            upload.complete(total)
        except BaseException:
            for future in under_way:
                future.cancel()
            upload.abort()
            raise
        return total, digest.hexdigest()

    @override
    @contextlib.contextmanager
    def create(self, path: str) -> Iterator[BinaryIO]:
        stream = _PartStream(self, path)
        try:
            yield cast(BinaryIO, stream)
            stream.finish()
        except BaseException:
            stream.abandon()
            raise


class _PartStream(io.RawIOBase):
    """A stream that sends its bytes part by part; a file smaller than a part is sent whole."""

    def __init__(self, storage: PartedStorage, path: str) -> None:
        self._storage = storage
        self._path = path
        self._held = bytearray()
        self._upload: Upload | None = None
        self._number = 0
        self._size = 0

    @override
    def writable(self) -> bool:
        return True

    @override
    def write(self, data: Any) -> int:
        self._held += data
        # Later parts are longer, so that the largest objects do not run out of part numbers.
        if len(self._held) >= STREAM_PART * 2 ** (self._number // 2000):
            self._send()
        return len(data)

    def _send(self) -> None:
        if self._upload is None:
            self._upload = self._storage._begin(self._path)  # noqa: SLF001  the stream is part of the storage
        self._number += 1
        self._size += len(self._held)
        data, self._held = bytes(self._held), bytearray()
        self._upload.put(self._number, data)

    def finish(self) -> None:
        """Make the file appear."""
        if self._upload is None:
            self._storage.write(self._path, bytes(self._held))
            return
        if self._held:
            self._send()
        self._upload.complete(self._size)

    def abandon(self) -> None:
        """Delete what was written."""
        if self._upload is not None:
            self._upload.abort()


ABORT_ERRORS = (FileNotFoundError, StorageError, TransientError)
"""Errors ignored while aborting an upload; the original error is the one to report."""
