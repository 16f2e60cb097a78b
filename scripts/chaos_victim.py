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
from pipeline.storage.parts import PartedStorage
from pipeline.storage.remote import RemoteStorage


class Trap:
    """Counts writes and kills this process at the one it waits for."""

    def __init__(self, when: str, pattern: str, count: int) -> None:
        self._when, self._pattern, self._count = when, pattern, count
        self._seen = 0
        self._lock = threading.Lock()  # originals are written by several threads

    def enter(self, path: str) -> bool:
        """A write of ``path`` begins; whether it is the one."""
        with self._lock:
            self._seen += self._pattern in path
            chosen = self._pattern in path and self._seen == self._count
        if chosen and self._when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        return chosen

    def leave(self, chosen: bool) -> None:
        """That write is done."""
        if chosen:
            os.kill(os.getpid(), signal.SIGKILL)

    def single(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """A method that writes one file."""

        @functools.wraps(method)
        def watched(storage: Any, path: str, *arguments: Any, **options: Any) -> Any:
            chosen = self.enter(path)
            result = method(storage, path, *arguments, **options)
            self.leave(chosen)
            return result

        return watched

    def stream(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """A method that gives a file to write to."""

        @contextlib.contextmanager
        @functools.wraps(method)
        def watched(storage: Any, path: str) -> Iterator[Any]:
            chosen = self.enter(path)
            with method(storage, path) as stream:
                yield stream
            self.leave(chosen)

        return watched

    def many(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """A method that writes many files."""

        @functools.wraps(method)
        def watched(storage: Any, files: Iterable[tuple[str, bytes]]) -> None:
            chosen: list[bool] = []

            def seen() -> Iterator[tuple[str, bytes]]:
                for path, data in files:
                    chosen.append(self.enter(path))
                    yield path, data

            method(storage, seen())
            self.leave(any(chosen))

        return watched


def arm(trap: Trap) -> None:
    """Every way of writing a file goes through the trap; what is made of several writes is counted by those."""
    for kind in (LocalStorage, RemoteStorage):
        for name, wrapper in (("write", trap.single), ("create_new", trap.single), ("create", trap.stream)):
            setattr(kind, name, wrapper(getattr(kind, name)))
    setattr(PartedStorage, "create", trap.stream(PartedStorage.create))  # noqa: B010  a method is replaced on purpose
    setattr(RemoteStorage, "write_many", trap.many(RemoteStorage.write_many))  # noqa: B010  likewise


if __name__ == "__main__":
    arm(Trap(sys.argv[1], sys.argv[2], int(sys.argv[3])))
    sys.exit(main(sys.argv[4:]))
