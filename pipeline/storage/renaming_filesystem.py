"""Storage on file systems that show unfinished files (sftp, smb): write under a temporary name, then rename."""

import contextlib
import io
import shutil
import time
import uuid
from collections.abc import Callable, Iterable
from functools import partial
from operator import methodcaller
from typing import Any, BinaryIO, cast, override

from fsspec.asyn import sync

from pipeline.errors import StorageError, TransientError
from pipeline.model.backoff import Backoff
from pipeline.storage.base import COPY_CHUNK, TEMPORARY
from pipeline.storage.connection import Connection
from pipeline.storage.remote import RemoteStorage

_RACES = Backoff(attempts=6, first=0.02, longest=0.08)


class RenamingStorage(RemoteStorage):
    """Files below a folder of an fsspec file system that has folders and can rename."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._made: set[str] = set()

    @override
    def read_range(self, path: str, start: int, length: int) -> bytes:
        # Not cat_file: sshfs returns the whole file for any range.
        return self._call(path, partial(_part_of, full=self._full(path), start=start, length=length))

    @override
    def write_many(self, files: Iterable[tuple[str, bytes]]) -> None:
        for path, data in files:
            self.write(path, data)

    @override
    def copy_many(self, pairs: Iterable[tuple[str, str]]) -> None:
        for source, path in pairs:
            self._put(path, partial(_copy, self._full(source)))

    @override
    def _send(self, filesystem: Any, full: str, data: bytes | BinaryIO) -> None:
        # Not pipe_file and put_file: those of sshfs make folders first, and fail if another process removes one then.
        source = io.BytesIO(data) if isinstance(data, bytes) else data
        source.seek(0)
        with filesystem.open(full, "wb") as file:
            shutil.copyfileobj(source, file, COPY_CHUNK)

    @override
    def _write_with(self, path: str, request: Callable[[Any, str], Any]) -> None:
        try:
            self._put(path, request)
        except FileNotFoundError as error:
            raise self._no_bucket(f"{self.url}/{path}") from error

    def _put(self, path: str, request: Callable[[Any, str], Any]) -> None:
        """Write with ``request(filesystem, temporary name)``, then rename the file; remove it on an error."""
        full, temporary = self._full(path), self._full(f"{TEMPORARY}/{uuid.uuid4().hex}")

        def put() -> None:
            self._call(path, lambda fs: request(fs, temporary))
            self._move(temporary, full, path)

        try:
            self._in_folders((temporary, full), put)
        except BaseException:
            with contextlib.suppress(FileNotFoundError, StorageError, TransientError):
                self._call(path, lambda fs: fs.rm_file(temporary))
            raise

    def _move(self, temporary: str, full: str, path: str) -> None:
        tries = 0

        def move(filesystem: Any) -> None:
            nonlocal tries
            tries += 1
            try:
                filesystem.mv(temporary, full)
            except FileNotFoundError:
                # An earlier try moved it and its answer was lost: no other process knows the temporary name.
                if tries == 1 or not filesystem.exists(full):
                    raise

        self._call(path, move)

    @override
    def _create_new(self, path: str, data: bytes) -> bool:
        return self._in_folders((self._full(path),), partial(super()._create_new, path, data))

    @override
    def _create(self, filesystem: Any, full: str, data: bytes) -> None:
        # Fsspec's own pipe_file only looks before it writes. Opening is exclusive if the protocol can express that
        # (disks, sftp and smb can); a reader may then find the file while it is still empty.
        if filesystem.exists(full):
            raise FileExistsError(full)
        try:
            file = filesystem.open(full, "xb")
        except (ValueError, NotImplementedError):  # this protocol cannot open exclusively
            file = filesystem.open(full, "wb")
        except Exception as error:
            if filesystem.exists(full):  # sftp has no error code for that
                raise FileExistsError(full) from error
            raise
        with file:
            file.write(data)

    def _in_folders[T](self, files: Iterable[str], work: Callable[[], T]) -> T:
        """Make the folders of these files, then do ``work``; again if another process removes a folder meanwhile."""
        for number in range(1, _RACES.attempts + 1):
            try:
                self._make_folders({full.rpartition("/")[0] for full in files})
            except (FileNotFoundError, StorageError):  # asyncssh has its own errors for a folder that disappears
                if _RACES.is_last(number):
                    raise
            else:
                try:
                    return work()
                except FileNotFoundError:
                    if _RACES.is_last(number):
                        raise
            self._made.clear()
            time.sleep(_RACES.wait(number))
        raise AssertionError  # the last round returns or raises

    def _make_folders(self, folders: set[str]) -> None:
        for folder in folders - self._made:
            self._call("", methodcaller("makedirs", folder, exist_ok=True))
            self._made.add(folder)

    @override
    def delete(self, paths: Iterable[str]) -> None:
        paths = list(paths)
        super().delete(paths)
        self._made.clear()
        for folder in sorted({self._full(path).rpartition("/")[0] for path in paths}, key=len, reverse=True):
            self._remove_empty(folder)

    def _remove_empty(self, folder: str) -> None:
        temporary = f"{self._root}/{TEMPORARY}"
        while len(folder) >= len(self._root):
            if folder == temporary.rpartition("/")[0]:
                self._remove_folder(temporary)
            if not self._remove_folder(folder):
                return
            folder = folder.rpartition("/")[0]

    def _remove_folder(self, folder: str) -> bool:
        filesystem = self._connection.filesystem()
        # The plain method of an asynchronous file system may be inherited and do nothing.
        own = getattr(filesystem, "_rmdir", None) if filesystem.async_impl else None
        try:
            if own is not None:
                sync(filesystem.loop, own, folder)
            else:
                filesystem.rmdir(folder)
        except Exception:  # noqa: BLE001  not empty, not there, or not supported
            return False
        return True

    @override
    def delete_tree(self, prefix: str) -> None:
        super().delete_tree(prefix)
        self._made.clear()
        with contextlib.suppress(FileNotFoundError):
            self._call(prefix, lambda fs: fs.rm(self._full(prefix), recursive=True))


def _part_of(filesystem: Any, *, full: str, start: int, length: int) -> bytes:
    with filesystem.open(full, "rb") as file:
        file.seek(start)
        return cast(bytes, file.read(length))


def _copy(source: str, filesystem: Any, target: str) -> None:
    """Copy a file through this process: sshfs needs a shell for it, which pure file servers lack."""
    with filesystem.open(source, "rb") as origin, filesystem.open(target, "wb") as copy:
        shutil.copyfileobj(origin, copy, COPY_CHUNK)
