"""What every storage can do, and two rules for all of them: paths stay inside, foreign errors are translated."""

import contextlib
import errno
import hashlib
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import msgspec

from pipeline.errors import DestinationError, StorageError, TransientError
from pipeline.redaction import redact

STAGING = "_staging"
TEMPORARY = f"{STAGING}/tmp"
"""Folder of files that are being written; nothing in it outlives a run."""

COPY_CHUNK = 4 * 2**20


class Access(msgspec.Struct, frozen=True):
    """Where a storage is and how to open it: a URL (or local path) and fsspec options with the credentials.

    ``seconds`` is how long the credentials are valid, None if they do not expire. It is secret: it stays in one process
    and is never written to a file.
    """

    url: str
    options: Mapping[str, Any]
    seconds: float | None = None


class Extent(msgspec.Struct, frozen=True, array_like=True):
    """A range of a file: ``length`` bytes from ``start`` on."""

    path: str
    start: int
    length: int


type Piece = bytes | Extent
"""What a file is joined from: bytes, or a range of an existing file."""

_NO_NAMES = frozenset(("", ".", ".."))


def check_relative(path: str) -> str:
    """Return ``path`` if it stays below the root; raise StorageError otherwise."""
    if "\\" in path or "\0" in path or not _NO_NAMES.isdisjoint(path.split("/")):
        raise StorageError(
            f"{path!r} is not a path below the export; use a relative path without empty, . and .. parts"
        )
    return path


class Storage(ABC):
    """A root and relative paths below it (``/`` separated, checked to stay inside).

    ``url`` is safe to print. Reading a file that does not exist raises FileNotFoundError; every other failure is
    a StorageError.
    """

    url: str

    @property
    @abstractmethod
    def is_shared(self) -> bool:
        """Tell whether every machine of a cluster sees the same files under this root."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Return the whole file."""

    @abstractmethod
    def read_range(self, path: str, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start`` on, fewer at the end of the file."""

    @abstractmethod
    def size(self, path: str) -> int | None:
        """Return the size of the file in bytes, or None if it does not exist."""

    @abstractmethod
    def write(self, path: str, data: bytes, *, durable: bool = False) -> None:
        """Write a whole file; with ``durable`` it also survives a power cut."""

    @abstractmethod
    def write_many(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Write many small files, each whole."""

    @abstractmethod
    def copy_many(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Copy files, given as ``(from, to)``, if possible without moving the bytes through this process."""

    @abstractmethod
    def create_new(self, path: str, data: bytes) -> bool:
        """Write a small file unless it exists; return whether it was written. Of several writers exactly one wins."""

    @abstractmethod
    def create(self, path: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """Open a stream for a large file, which appears on a clean exit of the block and not at all on an exception."""

    @abstractmethod
    def files(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Yield the relative path and size of every file below ``prefix``, in no particular order."""

    @abstractmethod
    def entries(self, prefix: str = "") -> list[str]:
        """Return the names of the files and folders directly below the root, or below ``prefix``."""

    @abstractmethod
    def delete(self, paths: Iterable[str]) -> None:
        """Remove files that exist, and folders that become empty."""

    @abstractmethod
    def delete_tree(self, prefix: str) -> None:
        """Remove everything below ``prefix``; used for staging only."""

    @abstractmethod
    def sync(self) -> None:
        """Make everything written so far survive a power cut."""

    def check_writable(self) -> None:  # noqa: B027  most cannot know it
        """Raise DestinationError where it is known without a write that files cannot be written here."""

    def free_bytes(self) -> int | None:
        """Return how many bytes can still be written here, or None if that is unknown."""
        return None

    def abort_uploads(self) -> int:
        """Abort every unfinished upload below the root, because the store charges for its parts; return how many."""
        return 0

    def close(self) -> None:  # noqa: B027  most hold nothing
        """Free what this object holds in its process; the files stay."""

    def find(self, path: str) -> bytes | None:
        """Return the whole file, or None if it does not exist."""
        try:
            return self.read(path)
        except FileNotFoundError:
            return None

    def find_many(self, paths: Iterable[str]) -> Iterator[bytes | None]:
        """:meth:`find` for each path, in order."""
        return map(self.find, paths)

    def chunks(self, path: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of a file, or of a range of it, in pieces of a few megabytes."""
        remaining = (self.size(path) or 0) - start if length is None else length
        while remaining > 0:
            chunk = self.read_range(path, start, min(COPY_CHUNK, remaining))
            if not chunk:
                raise StorageError(
                    f"{self.url}/{path}",
                    "is shorter than expected; another process may have changed it, so run the same command again",
                )
            yield chunk
            start += len(chunk)
            remaining -= len(chunk)

    def read_pieces(self, pieces: Iterable[Piece]) -> Iterator[bytes]:
        """Yield the bytes of the pieces in order; a range comes in chunks of a few megabytes."""
        for piece in pieces:
            if isinstance(piece, Extent):
                yield from self.chunks(piece.path, piece.start, piece.length)
            elif piece:
                yield piece

    def join(self, path: str, pieces: Sequence[Piece]) -> tuple[int, str]:
        """Make a file of the pieces in one step; return its size and sha256.

        Holds a bounded number of bytes in memory, whatever the size of the file.
        """
        digest, size = hashlib.sha256(), 0
        with self.create(path) as file:
            for chunk in self.read_pieces(pieces):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        return size, digest.hexdigest()

    def probe(self) -> None:
        """Prove that files can be written, read and deleted here, and leave nothing behind. Raises DestinationError."""
        path = f"{TEMPORARY}/probe-{uuid.uuid4().hex}"
        try:
            self.write(path, b"probe", durable=True)
            if self.read(path) != b"probe":
                raise DestinationError(
                    self.url, "a file that was written there reads back differently; check the disk or the store"
                )
            self.delete([path])
        except (StorageError, TransientError) as error:
            raise DestinationError(self.url, f"cannot write there: {error.args[-1]}") from error
        except OSError as error:
            raise DestinationError(self.url, f"cannot write there: {describe(error)}") from error


def describe(error: BaseException) -> str:
    """Describe an error of the operating system or a storage library in one line."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; make room and run the same command again"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(redact(text or type(error).__name__).split())[:300]


@contextlib.contextmanager
def storage_errors(url: str, path: str) -> Iterator[None]:
    """Turn foreign errors into StorageError, except FileNotFoundError, which callers handle."""
    try:
        yield
    except (FileNotFoundError, StorageError):
        raise
    except NotADirectoryError as error:
        raise StorageError(
            f"{url}/{path}", "there is a file where a folder is needed; move it away or choose another path"
        ) from error
    except OSError as error:
        raise StorageError(f"{url}/{path}", describe(error)) from error
