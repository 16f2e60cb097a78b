"""Storage on a disk of this machine."""

import contextlib
import ctypes
import errno
import itertools
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, override

from pipeline.errors import DestinationError, StorageError
from pipeline.storage.base import COPY_CHUNK, STAGING, TEMPORARY, Storage, check_relative, describe, storage_errors

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


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
        # Below staging, not beside the target, so that the remains of a killed run are removed with the staging.
        return f"{self._root}/{TEMPORARY}/{self._unique}-{next(self._numbers)}"

    def _make_folder(self, folder: str) -> None:
        if folder not in self._made:
            os.makedirs(folder, exist_ok=True)
            self._made.add(folder)

    @override
    def read(self, path: str) -> bytes:
        with storage_errors(self.url, path), open(self._full(path), "rb") as file:
            return file.read()

    @override
    def read_range(self, path: str, start: int, length: int) -> bytes:
        with storage_errors(self.url, path), open(self._full(path), "rb") as file:
            file.seek(start)
            return file.read(length)

    @override
    def chunks(self, path: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        with storage_errors(self.url, path), open(self._full(path), "rb") as file:
            remaining = os.fstat(file.fileno()).st_size - start if length is None else length
            file.seek(start)
            while remaining > 0:
                chunk = file.read(min(COPY_CHUNK, remaining))
                if not chunk:
                    raise StorageError(
                        f"{self.url}/{path}",
                        "is shorter than expected; another process may have changed it, so run the same command again",
                    )
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
        with self._in_place(path) as (descriptor, temporary, full):
            _write_all(descriptor, data, durable=durable)
            os.replace(temporary, full)
            if durable:
                _sync_folder(os.path.dirname(full))

    @override
    def create_new(self, path: str, data: bytes) -> bool:
        with self._in_place(path) as (descriptor, temporary, full):
            _write_all(descriptor, data, durable=True)
            try:
                os.link(temporary, full)
            except FileExistsError:
                return False
            except OSError:  # no hard links here: a reader may then find the file while it is still empty
                with contextlib.suppress(FileExistsError), open(full, "xb") as file:
                    _write_all(file.fileno(), data, durable=True)
                    return True
                return False
            finally:
                _remove_quietly(temporary)
            _sync_folder(os.path.dirname(full))
            return True

    @contextlib.contextmanager
    def _in_place(self, path: str) -> Iterator[tuple[int, str, str]]:
        """Yield an open temporary file, its name and the final name, whose folder exists; remove it on an error."""
        full = self._full(path)
        temporary = self._temporary()
        with storage_errors(self.url, path):
            descriptor = self._again_if_gone(lambda: os.open(temporary, _NEW_FILE, 0o666), temporary)
            try:
                self._make_folder(os.path.dirname(full))
                yield descriptor, temporary, full
            except BaseException:
                _remove_quietly(temporary)
                raise
            finally:
                os.close(descriptor)

    def _again_if_gone[T](self, work: Callable[[], T], temporary: str) -> T:
        """Do ``work``, and do it again if another run has removed the folder of temporary files meanwhile."""
        self._make_folder(os.path.dirname(temporary))
        try:
            return work()
        except FileNotFoundError:
            self._made.clear()
            self._make_folder(os.path.dirname(temporary))
            return work()

    @override
    def write_many(self, files: Iterable[tuple[str, bytes]]) -> None:
        temporary = self._temporary()  # one name for all: each file leaves it before the next one is made
        for path, data in files:
            if not self._is_written_at_once(path, data, temporary):
                self.write(path, data)

    def _is_written_at_once(self, path: str, data: bytes, temporary: str) -> bool:
        """Write a file with as few calls as there can be; return False where :meth:`write` has to do it."""
        full = self._full(path)
        if full.rpartition("/")[0] not in self._made:
            return False
        try:
            descriptor = os.open(temporary, _NEW_FILE, 0o666)
            try:
                _write_all(descriptor, data, durable=False)
                os.replace(temporary, full)
            finally:
                os.close(descriptor)
        except BaseException as error:
            _remove_quietly(temporary)
            if isinstance(error, OSError):  # a folder is gone, or write() says what is wrong
                return False
            raise
        return True

    @override
    def copy_many(self, pairs: Iterable[tuple[str, str]]) -> None:
        for source, path in pairs:
            origin, full, temporary = self._full(source), self._full(path), self._temporary()
            with storage_errors(self.url, path):
                self._make_folder(os.path.dirname(full))
                try:
                    self._again_if_gone(partial(_link_or_copy, origin, temporary), temporary)
                    os.replace(temporary, full)
                finally:
                    # Also after success: where both are links to one file already, replacing does nothing (POSIX).
                    _remove_quietly(temporary)

    @override
    @contextlib.contextmanager
    def create(self, path: str) -> Iterator[BinaryIO]:
        with self._in_place(path) as (descriptor, temporary, full):
            with open(descriptor, "wb", closefd=False) as file:
                yield file
            os.fsync(descriptor)
            os.replace(temporary, full)
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
            with contextlib.suppress(FileNotFoundError), storage_errors(self.url, path):
                os.unlink(full)
            folders.add(os.path.dirname(full))
        for folder in sorted(folders, key=len, reverse=True):
            self._remove_empty(folder)

    def _remove_empty(self, folder: str) -> None:
        while len(folder) >= len(self._root):
            if folder.endswith(f"/{STAGING}"):
                with contextlib.suppress(OSError):
                    os.rmdir(f"{self._root}/{TEMPORARY}")
                self._made.clear()
            try:
                os.rmdir(folder)
            except OSError:  # not empty, or already gone
                return
            self._made.clear()
            folder = os.path.dirname(folder)

    @override
    def delete_tree(self, prefix: str) -> None:
        with contextlib.suppress(FileNotFoundError), storage_errors(self.url, prefix):
            shutil.rmtree(self._full(prefix))
        self._made.clear()

    @override
    def check_writable(self) -> None:
        folder = self._root
        while not os.path.lexists(folder) and os.path.dirname(folder) != folder:
            folder = os.path.dirname(folder)
        if not os.path.isdir(folder):
            why = errno.ENOTDIR
        elif os.access(folder, os.W_OK | os.X_OK):
            return
        else:
            why = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
        raise DestinationError(self.url, f"cannot write there: {os.strerror(why)}")

    @override
    def free_bytes(self) -> int | None:
        folder = self._root
        while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
            folder = os.path.dirname(folder)
        return shutil.disk_usage(folder).free

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


def _write_all(descriptor: int, data: bytes, *, durable: bool) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    if durable:
        os.fsync(descriptor)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # no hard links here, or too many of this file
        shutil.copyfile(source, target)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_quietly(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
