"""Where an export is written: a root and paths relative to it, with writes that are never seen half done.

Every write of the pipeline goes through here. A file appears under its final name complete or not at all: locally
through a temporary name on the same file system and ``os.replace``, on object stores by one PUT or a multipart
upload that is aborted on error. A bare ``with fs.open(path, "wb")`` publishes what was written so far when the
block raises, so no other module opens an output.
"""

import contextlib
import ctypes
import io
import itertools
import os
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast, override

import fsspec

from pipeline.errors import DestinationError, StorageError

STAGING = "_staging"
_LOCAL_PROTOCOLS = ("", "file", "local")
_COPY_CHUNK = 4 * 2**20


def open_storage(url: str, options: Mapping[str, Any] | None = None) -> "Storage":
    """The storage at ``url``: a local path, ``file://…``, or any fsspec URL (``s3://bucket/prefix``, ``memory://…``).

    Raises DestinationError when the protocol is unknown or its options are wrong; nothing is written.
    """
    protocol, _, rest = url.partition("://") if "://" in url else ("", "", url)
    if protocol in _LOCAL_PROTOCOLS:
        return LocalStorage(Path(rest).expanduser().absolute())
    try:
        # Another process writes here too: a cached listing would hide its files, even from exists().
        filesystem, root = fsspec.url_to_fs(url, use_listings_cache=False, **(options or {}))
    except (ImportError, ValueError, TypeError) as error:
        raise DestinationError(_without_query(url), f"cannot open this storage: {error}") from error
    return RemoteStorage(filesystem, root.rstrip("/"), _without_query(url))


def _without_query(url: str) -> str:
    return url.split("?", 1)[0]


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
            chunk = self.read_range(path, start, min(_COPY_CHUNK, remaining))
            if not chunk:
                raise StorageError(f"{self.url}/{path}", "is shorter than expected")
            yield chunk
            start += len(chunk)
            remaining -= len(chunk)

    def probe(self) -> None:
        """Prove that files can be written, read and deleted here, leaving nothing behind; raises DestinationError."""
        path = f"{STAGING}/probe-{uuid.uuid4().hex}"
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
    return " ".join(_without_query(text or type(error).__name__).split())[:300]


class LocalStorage(Storage):
    """A directory of this machine (or a mount of it)."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._made: set[str] = set()
        self._numbers = itertools.count()
        # Unique over processes and machines that share the mount; a file left by a killed run is never reused.
        self._unique = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self.url = self._root

    @override
    @property
    def is_shared(self) -> bool:
        return False

    def _full(self, path: str) -> str:
        return f"{self._root}/{check_relative(path)}"

    def _temporary(self) -> str:
        # Below staging, not beside the target: what a killed run leaves behind goes away with the staging.
        folder = f"{self._root}/{STAGING}/tmp"
        self._make_folder(folder)
        return f"{folder}/{self._unique}-{next(self._numbers)}"

    def _make_folder(self, folder: str) -> None:
        if folder not in self._made:
            os.makedirs(folder, exist_ok=True)
            self._made.add(folder)

    @override
    def read(self, path: str) -> bytes:
        with _storage_errors(self.url, path), open(self._full(path), "rb") as file:
            return file.read()

    @override
    def read_range(self, path: str, start: int, length: int) -> bytes:
        with _storage_errors(self.url, path), open(self._full(path), "rb") as file:
            file.seek(start)
            return file.read(length)

    @override
    def chunks(self, path: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        with _storage_errors(self.url, path), open(self._full(path), "rb") as file:
            remaining = os.fstat(file.fileno()).st_size - start if length is None else length
            file.seek(start)
            while remaining > 0:
                chunk = file.read(min(_COPY_CHUNK, remaining))
                if not chunk:
                    raise StorageError(f"{self.url}/{path}", "is shorter than expected")
                yield chunk
                remaining -= len(chunk)

    @override
    def size(self, path: str) -> int | None:
        try:
            return os.stat(self._full(path)).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    @override
    def write(self, path: str, data: bytes, *, durable: bool = False) -> None:
        full = self._full(path)
        with _storage_errors(self.url, path):
            self._make_folder(os.path.dirname(full))
            temporary = self._temporary()
            try:
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
                try:
                    view = memoryview(data)
                    while view:
                        view = view[os.write(descriptor, view) :]
                    if durable:
                        os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                os.replace(temporary, full)
            except BaseException:
                _remove_quietly(temporary)
                raise
            if durable:
                _sync_folder(os.path.dirname(full))

    @override
    def write_many(self, files: Iterable[tuple[str, bytes]]) -> None:
        for path, data in files:
            self.write(path, data)

    @override
    @contextlib.contextmanager
    def create(self, path: str) -> Iterator[BinaryIO]:
        full = self._full(path)
        with _storage_errors(self.url, path):
            self._make_folder(os.path.dirname(full))
            temporary = self._temporary()
            try:
                with open(temporary, "xb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, full)
            except BaseException:
                _remove_quietly(temporary)
                raise
            _sync_folder(os.path.dirname(full))

    @override
    def files(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        start = f"{self._root}/{prefix}" if prefix else self._root
        for folder, _, names in os.walk(start):
            relative = os.path.relpath(folder, self._root)
            base = "" if relative == "." else f"{relative}/"
            for name in names:
                yield base + name, os.stat(f"{folder}/{name}", follow_symlinks=False).st_size

    @override
    def entries(self, prefix: str = "") -> list[str]:
        try:
            return sorted(os.listdir(self._full(prefix) if prefix else self._root))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(self.url, describe(error)) from error

    @override
    def delete(self, paths: Iterable[str]) -> None:
        folders: set[str] = set()
        for path in paths:
            full = self._full(path)
            with contextlib.suppress(FileNotFoundError), _storage_errors(self.url, path):
                os.unlink(full)
            folders.add(os.path.dirname(full))
        for folder in sorted(folders, key=len, reverse=True):
            self._remove_empty(folder)

    def _remove_empty(self, folder: str) -> None:
        temporary = f"{self._root}/{STAGING}/tmp"
        if folder.endswith(f"/{STAGING}"):
            with contextlib.suppress(OSError):
                os.rmdir(temporary)
        while len(folder) >= len(self._root):
            try:
                os.rmdir(folder)
            except OSError:  # not empty, or not there: either way nothing to tidy
                return
            self._made.clear()
            folder = os.path.dirname(folder)

    @override
    def delete_tree(self, prefix: str) -> None:
        with contextlib.suppress(FileNotFoundError), _storage_errors(self.url, prefix):
            shutil.rmtree(self._full(prefix))
        self._made.clear()

    @override
    def sync(self) -> None:
        # One flush of the file system instead of an fsync for each of a million label files.
        descriptor = os.open(self._root, os.O_RDONLY)
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if not hasattr(libc, "syncfs"):
                os.sync()
            elif libc.syncfs(descriptor) != 0:
                number = ctypes.get_errno()
                raise StorageError(self.url, f"cannot flush to disk: {os.strerror(number)}")
        finally:
            os.close(descriptor)


class RemoteStorage(Storage):
    """An object store (or anything else fsspec reaches), below a prefix."""

    def __init__(self, filesystem: Any, root: str, url: str) -> None:
        self._filesystem = filesystem
        self._root = root
        self.url = url.rstrip("/")

    @override
    @property
    def is_shared(self) -> bool:
        protocol = self._filesystem.protocol
        return "memory" not in ((protocol,) if isinstance(protocol, str) else protocol)

    def _full(self, path: str) -> str:
        return f"{self._root}/{check_relative(path)}"

    @override
    def read(self, path: str) -> bytes:
        with _storage_errors(self.url, path):
            return cast(bytes, self._filesystem.cat_file(self._full(path)))

    @override
    def read_range(self, path: str, start: int, length: int) -> bytes:
        with _storage_errors(self.url, path):
            return cast(bytes, self._filesystem.cat_file(self._full(path), start=start, end=start + length))

    @override
    def find_many(self, paths: Iterable[str]) -> Iterator[bytes | None]:
        for group in itertools.batched(paths, 256):
            full = [self._full(path) for path in group]
            with _storage_errors(self.url, group[0]):
                found = self._filesystem.cat(full, on_error="return")
            for name in full:
                answer = found.get(name)
                if isinstance(answer, FileNotFoundError):
                    answer = None
                elif isinstance(answer, Exception):
                    raise StorageError(self.url, describe(answer)) from answer
                yield answer

    @override
    def size(self, path: str) -> int | None:
        try:
            with _storage_errors(self.url, path):
                return int(self._filesystem.info(self._full(path))["size"])
        except FileNotFoundError:
            return None

    @override
    def write(self, path: str, data: bytes, *, durable: bool = False) -> None:
        with _storage_errors(self.url, path):
            self._filesystem.pipe_file(self._full(path), data)

    @override
    def write_many(self, files: Iterable[tuple[str, bytes]]) -> None:
        for group in itertools.batched(files, 256):
            with _storage_errors(self.url, group[0][0]):
                self._filesystem.pipe({self._full(path): data for path, data in group})

    @override
    @contextlib.contextmanager
    def create(self, path: str) -> Iterator[BinaryIO]:
        full = self._full(path)
        with _storage_errors(self.url, path):
            if not hasattr(self._filesystem, "call_s3"):
                # Others may show a file while it is being written, so it is collected first and then put.
                with contextlib.closing(io.BytesIO()) as buffer:
                    yield buffer
                    self._filesystem.pipe_file(full, buffer.getvalue())
                return
            file = self._filesystem.open(full, "wb")
            try:
                yield file
            except BaseException:
                file.discard()
                file.closed = True
                raise
            file.close()

    @override
    def files(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        start = f"{self._root}/{prefix}" if prefix else self._root
        with _storage_errors(self.url, prefix):
            found = self._filesystem.find(start, detail=True)
        for name, info in found.items():
            yield name.removeprefix(self._root).lstrip("/"), int(info["size"])

    @override
    def entries(self, prefix: str = "") -> list[str]:
        try:
            with _storage_errors(self.url, prefix):
                names = self._filesystem.ls(self._full(prefix) if prefix else self._root, detail=False)
        except FileNotFoundError:
            return []
        return sorted(leaf for name in names if (leaf := name.rstrip("/").rsplit("/", 1)[-1]))

    @override
    def delete(self, paths: Iterable[str]) -> None:
        for group in itertools.batched(paths, 256):
            full = [self._full(path) for path in group]
            with _storage_errors(self.url, group[0]):
                try:
                    self._filesystem.rm(full)
                except FileNotFoundError:  # one is missing, and some file systems then keep the others
                    for name in full:
                        with contextlib.suppress(FileNotFoundError):
                            self._filesystem.rm_file(name)

    @override
    def delete_tree(self, prefix: str) -> None:
        with contextlib.suppress(FileNotFoundError), _storage_errors(self.url, prefix):
            self._filesystem.rm(self._full(prefix), recursive=True)

    @override
    def sync(self) -> None:
        """A PUT is durable when it returns."""


@contextlib.contextmanager
def _storage_errors(url: str, path: str) -> Iterator[None]:
    """Foreign errors become StorageError, except "not there", which callers ask about."""
    try:
        yield
    except (FileNotFoundError, StorageError):
        raise
    except NotADirectoryError as error:
        raise StorageError(f"{url}/{path}", "a file stands where a folder is needed") from error
    except OSError as error:
        raise StorageError(f"{url}/{path}", describe(error)) from error


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_quietly(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
