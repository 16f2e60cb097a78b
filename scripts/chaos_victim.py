"""Run ``python -m pipeline`` and kill -9 this very process at a chosen write, in any kind of store.

``python scripts/chaos_victim.py before|after PATTERN COUNT ARGUMENTS…``: the COUNTth write (from 1) of a path that
contains PATTERN kills the process, before it begins or after it is done. An empty PATTERN counts every write.
"""

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pipeline.cli import main
from pipeline.storage.local import LocalStorage
from pipeline.storage.multipart import PartedStorage
from pipeline.storage.remote import RemoteStorage
from pipeline.storage.s3 import S3Storage


class Trap:
    """Counts writes and kills this process at the one it waits for."""

    def __init__(self, when: str, pattern: str, count: int) -> None:
        self._when, self._pattern, self._count = when, pattern, count
        self._seen = 0
        self._lock = threading.Lock()  # originals are written by several threads
        self._inside = threading.local()

    @contextlib.contextmanager
    def write(self, path: str) -> Iterator[None]:
        """Around a write of ``path``; one that is made of others is counted once, as what it was asked to be."""
        if getattr(self._inside, "writing", False):
            yield
            return
        with self._lock:
            self._seen += self._pattern in path
            chosen = self._pattern in path and self._seen == self._count
        if chosen and self._when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        self._inside.writing = True
        try:
            yield
        finally:
            self._inside.writing = False
        if chosen:
            os.kill(os.getpid(), signal.SIGKILL)

    def single(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """A method that writes one file."""

        @functools.wraps(method)
        def watched(storage: Any, path: str, *arguments: Any, **options: Any) -> Any:
            with self.write(path):
                return method(storage, path, *arguments, **options)

        return watched

    def stream(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """A method that gives a file to write to."""

        @contextlib.contextmanager
        @functools.wraps(method)
        def watched(storage: Any, path: str) -> Iterator[Any]:
            with self.write(path), method(storage, path) as stream:
                yield stream

        return watched

    def many(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """A method that writes many files, some of them at the same time: "after" one is before the next one."""

        @functools.wraps(method)
        def watched(storage: Any, files: Iterable[tuple[str, bytes]]) -> None:
            def seen() -> Iterator[tuple[str, bytes]]:
                for path, data in files:
                    with self.write(path):
                        yield path, data

            method(storage, seen())

        return watched


def arm(trap: Trap) -> None:
    """Every way of writing a file, of every kind of storage, goes through the trap."""
    wrappers = {"write": trap.single, "create_new": trap.single, "create": trap.stream, "write_many": trap.many}
    kinds: tuple[type, ...] = (LocalStorage, RemoteStorage, PartedStorage, S3Storage)
    for kind in kinds:
        for name, wrapper in wrappers.items():
            if name in vars(kind):
                setattr(kind, name, wrapper(vars(kind)[name]))


if __name__ == "__main__":
    arm(Trap(sys.argv[1], sys.argv[2], int(sys.argv[3])))
    sys.exit(main(sys.argv[4:]))
