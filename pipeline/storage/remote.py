"""Storage on an object store, or on anything else that fsspec reaches."""

import contextlib
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, cast, override

import fsspec

from pipeline.errors import DestinationError, StorageError
from pipeline.storage.base import Storage, check_relative, describe, storage_errors, without_query


def open_remote(url: str, options: Mapping[str, Any]) -> "RemoteStorage":
    """The storage at an fsspec URL. Raises DestinationError when fsspec does not know it or its options are wrong."""
    try:
        # Another process writes here too: a cached listing would hide its files, even from exists().
        filesystem, root = fsspec.url_to_fs(url, use_listings_cache=False, **options)
    except (ImportError, ValueError, TypeError) as error:
        raise DestinationError(without_query(url), f"cannot open this storage: {error}") from error
    return RemoteStorage(filesystem, root.rstrip("/"), without_query(url))


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
        with storage_errors(self.url, path):
            return cast(bytes, self._filesystem.cat_file(self._full(path)))

    @override
    def read_range(self, path: str, start: int, length: int) -> bytes:
        with storage_errors(self.url, path):
            return cast(bytes, self._filesystem.cat_file(self._full(path), start=start, end=start + length))

    @override
    def find_many(self, paths: Iterable[str]) -> Iterator[bytes | None]:
        for group in itertools.batched(paths, 256):
            full = [self._full(path) for path in group]
            with storage_errors(self.url, group[0]):
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
            with storage_errors(self.url, path):
                return int(self._filesystem.info(self._full(path))["size"])
        except FileNotFoundError:
            return None

    @override
    def write(self, path: str, data: bytes, *, durable: bool = False) -> None:
        with storage_errors(self.url, path):
            self._filesystem.pipe_file(self._full(path), data)

    @override
    def write_many(self, files: Iterable[tuple[str, bytes]]) -> None:
        for group in itertools.batched(files, 256):
            with storage_errors(self.url, group[0][0]):
                self._filesystem.pipe({self._full(path): data for path, data in group})

    @override
    def copy_many(self, pairs: Iterable[tuple[str, str]]) -> None:
        for group in itertools.batched(pairs, 256):
            with storage_errors(self.url, group[0][1]):
                self._filesystem.copy([self._full(source) for source, _ in group], [self._full(to) for _, to in group])

    @override
    @contextlib.contextmanager
    def create(self, path: str) -> Iterator[BinaryIO]:
        full = self._full(path)
        with storage_errors(self.url, path):
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
        with storage_errors(self.url, prefix):
            found = self._filesystem.find(start, detail=True)
        for name, info in found.items():
            yield name.removeprefix(self._root).lstrip("/"), int(info["size"])

    @override
    def entries(self, prefix: str = "") -> list[str]:
        try:
            with storage_errors(self.url, prefix):
                names = self._filesystem.ls(self._full(prefix) if prefix else self._root, detail=False)
        except FileNotFoundError:
            return []
        return sorted(leaf for name in names if (leaf := name.rstrip("/").rsplit("/", 1)[-1]))

    @override
    def delete(self, paths: Iterable[str]) -> None:
        for group in itertools.batched(paths, 256):
            full = [self._full(path) for path in group]
            with storage_errors(self.url, group[0]):
                try:
                    self._filesystem.rm(full)
                except FileNotFoundError:  # one is missing, and some file systems then keep the others
                    for name in full:
                        with contextlib.suppress(FileNotFoundError):
                            self._filesystem.rm_file(name)

    @override
    def delete_tree(self, prefix: str) -> None:
        with contextlib.suppress(FileNotFoundError), storage_errors(self.url, prefix):
            self._filesystem.rm(self._full(prefix), recursive=True)

    @override
    def sync(self) -> None:
        """A PUT is durable when it returns."""
