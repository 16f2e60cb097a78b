"""Sort more lines than fit into memory: sorted runs in private files of this process, merged as they are read."""

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import BinaryIO

from pipeline.errors import StorageError
from pipeline.storage.base import describe

HELD = 16 * 2**20
"""Bytes of lines that are sorted in memory; with more, each such amount becomes a run in the temporary folder."""
_LINE = 64  # bytes that a line takes in memory besides its own


def sorted_lines(lines: Iterable[bytes], most: int = HELD) -> Iterator[bytes]:
    """Yield ``lines``, each ending with a line break and having no other, in the order of their bytes.

    At most ``most`` bytes are held at a time. The runs have no name: a crash leaves nothing. Raises StorageError when
    the temporary folder is full.
    """
    with ExitStack() as stack:
        runs: list[BinaryIO] = []
        held: list[bytes] = []
        size = 0
        for line in lines:
            held.append(line)
            size += len(line) + _LINE
            if size >= most:
                runs.append(_write_run(sorted(held), stack))
                held, size = [], 0
        yield from heapq.merge(*runs, sorted(held))


def _write_run(lines: Iterable[bytes], stack: ExitStack) -> BinaryIO:
    try:
        file = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  the stack closes it
        file.writelines(lines)
        file.seek(0)
    except OSError as error:
        raise StorageError("the temporary folder (set TMPDIR for another)", describe(error)) from error
    return file
