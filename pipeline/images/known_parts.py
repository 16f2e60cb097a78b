"""A file of which two stretches are known: its beginning, and another one further on."""

import io
from collections.abc import Buffer

_MOST_ZEROS = 2**22


class KnownParts(io.RawIOBase):
    """Reads as the whole file, with zeros for what is not known.

    The beginning is ``head``, and ``part`` begins at ``start``. Reading raises OSError when more than four megabytes
    were not known: a header that leads there is damaged, or made to fill the memory.
    """

    def __init__(self, head: bytes, part: bytes, start: int) -> None:
        super().__init__()
        self._stretches = ((0, head), (start, part))
        self._size = max(len(head), start + len(part))
        self._position = 0
        self._zeros = 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that positions can be set."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position of the next read and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._position

    def readinto(self, buffer: Buffer) -> int:
        """Fill the buffer, or what the file has of it, and return how many bytes that are."""
        view = memoryview(buffer).cast("B")
        count = max(min(len(view), self._size - self._position), 0)
        spans = [
            (max(start, self._position), min(start + len(known), self._position + count), start, known)
            for start, known in self._stretches
        ]
        self._zeros += max(count - sum(max(last - first, 0) for first, last, _, _ in spans), 0)
        if self._zeros > _MOST_ZEROS:
            raise OSError("too much is needed of a part of the file that is not known")
        view[:count] = bytes(count)
        for first, last, start, known in spans:
            if first < last:
                view[first - self._position : last - self._position] = known[first - start : last - start]
        self._position += count
        return count
