"""A private file of this process for bytes of a shard that may not fit in memory."""

import tempfile
from typing import BinaryIO, Self

from pipeline.errors import StorageError
from pipeline.storage import Extent
from pipeline.storage.base import describe

HELD = 16 * 2**20
"""Bytes that a process keeps in memory; with more, all goes to a file without a name in the temporary folder."""


class Spool:
    """Stores bytes and returns them. The file has no name: other processes cannot see it, a crash leaves nothing.

    ``most`` is how many bytes are kept in memory.
    """

    def __init__(self, most: int = HELD) -> None:
        self._most = most
        self._held: dict[int, bytes] = {}
        self._file: BinaryIO | None = None
        self._end = 0

    def put(self, data: bytes) -> Extent:
        """Store ``data`` and return its place. Raises StorageError when the temporary folder is full."""
        place = Extent("", self._end, len(data))
        self._end += place.length
        if self._end <= self._most:
            if data:
                self._held[place.start] = data
            return place
        try:
            file = self._file or self._roll_over()
            file.seek(place.start)
            file.write(data)
        except OSError as error:
            raise self._trouble(error) from error
        return place

    @property
    def is_in_file(self) -> bool:
        """Return whether there was more than is kept in memory."""
        return self._file is not None

    def get(self, place: Extent) -> bytes:
        """Return the bytes at a place. Raises StorageError when they cannot be read."""
        if not place.length:
            return b""
        if self._file is None:
            return self._held[place.start]
        try:
            self._file.seek(place.start)
            return self._file.read(place.length)
        except OSError as error:
            raise self._trouble(error) from error

    def _roll_over(self) -> BinaryIO:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed by close()
        for start in list(self._held):
            self._file.write(self._held.pop(start))
        return self._file

    def close(self) -> None:
        """Remove the file."""
        self._held.clear()
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def _trouble(error: OSError) -> StorageError:
        return StorageError("the temporary folder (set TMPDIR for another)", describe(error))
