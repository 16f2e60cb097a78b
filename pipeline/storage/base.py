"""What every storage can do, and the two rules all of them share: paths stay inside, foreign errors are translated."""

import contextlib
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from pipeline.errors import DestinationError, StorageError

STAGING = "_staging"
COPY_CHUNK = 4 * 2**20


def check_relative(path: str) -> str:
    """``path`` itself, after proving that it stays below the root; raises StorageError otherwise."""
    parts = path.split("/")
    if (
        not path
        or path.startswith("/")
        or "\\" in path
        or "\0" in path
        or any(part in ("", ".", "..") for part in parts)
    ):
        raise StorageError(f"{path!r} is not a path below the export")
    return path


class Storage(ABC):
    """A root and relative paths below it (``/`` separated, checked to stay inside).

    ``url`` is safe to print. Reading something that is not there raises FileNotFoundError; every other failure
    is a StorageError.
    """

    url: str

    @property
    @abstractmethod
    def is_shared(self) -> bool:
        """Whether every machine of a cluster sees the same files under this root."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The whole file."""

    @abstractmethod
    def read_range(self, path: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start`` on, fewer at the end of the file."""

    @abstractmethod
    def size(self, path: str) -> int | None:
        """Bytes of the file, or None when it is not there."""

    @abstractmethod
    def write(self, path: str, data: bytes, *, durable: bool = False) -> None:
        """Put a file in place, complete; with ``durable`` it also survives a power cut."""

    @abstractmethod
    def write_many(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Put many small files in place, each complete."""

    @abstractmethod
    def copy_many(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Put complete copies in place, ``(from, to)``, without moving the bytes through this process if it can be."""

    @abstractmethod
    def create(self, path: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """A stream for a large file: it appears on a clean exit of the block, and not at all on an exception."""

    @abstractmethod
    def files(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Relative path and size of every file below ``prefix``, in no particular order."""

    @abstractmethod
    def entries(self, prefix: str = "") -> list[str]:
        """Names of the files and folders directly below the root, or below ``prefix``."""

    @abstractmethod
    def delete(self, paths: Iterable[str]) -> None:
        """Remove files; ones that are not there are fine. Folders that become empty go too."""

    @abstractmethod
    def delete_tree(self, prefix: str) -> None:
        """Remove everything below ``prefix``; used for staging only."""

    @abstractmethod
    def sync(self) -> None:
        """Everything written so far survives a power cut."""

    def find(self, path: str) -> bytes | None:
        """The whole file, or None when it is not there."""
        try:
            return self.read(path)
        except FileNotFoundError:
            return None

    def find_many(self, paths: Iterable[str]) -> Iterator[bytes | None]:
        """:meth:`find` for each path, in order."""
        return map(self.find, paths)

    def chunks(self, path: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes of a file (or of a range of it) in pieces of a few megabytes."""
        remaining = (self.size(path) or 0) - start if length is None else length
        while remaining > 0:
            chunk = self.read_range(path, start, min(COPY_CHUNK, remaining))
            if not chunk:
                raise StorageError(f"{self.url}/{path}", "is shorter than expected")
            yield chunk
            start += len(chunk)
            remaining -= len(chunk)

    def probe(self) -> None:
        """Prove that files can be written, read and deleted here, leaving nothing behind; raises DestinationError."""
        path = f"{STAGING}/probe/{uuid.uuid4().hex}"  # in a folder, as staging areas are, should it be left behind
        try:
            self.write(path, b"probe", durable=True)
            if self.read(path) != b"probe":
                raise DestinationError(self.url, "what was written there reads back differently")
            self.delete([path])
        except (OSError, StorageError) as error:
            raise DestinationError(self.url, f"cannot write there: {describe(error)}") from error


def describe(error: BaseException) -> str:
    """One line about an error of the operating system or a storage library."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(without_query(text or type(error).__name__).split())[:300]


def without_query(url: str) -> str:
    """The URL without its query, where signatures are."""
    return url.split("?", 1)[0]


@contextlib.contextmanager
def storage_errors(url: str, path: str) -> Iterator[None]:
    """Foreign errors become StorageError, except "not there", which callers ask about."""
    try:
        yield
    except (FileNotFoundError, StorageError):
        raise
    except NotADirectoryError as error:
        raise StorageError(f"{url}/{path}", "a file stands where a folder is needed") from error
    except OSError as error:
        raise StorageError(f"{url}/{path}", describe(error)) from error
