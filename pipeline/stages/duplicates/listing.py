"""Find the originals of an export that have the same bytes, within a split and across splits, and list them.

The sha256 of every original is in ``records.csv``. In memory are 8 bytes for each of them; the rows of those that occur
more than once are sorted outside of it (:mod:`pipeline.staging.sorting`).
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.destination import metadata
from pipeline.destination.rows import csv_rows
from pipeline.errors import DuplicatesError
from pipeline.formats.encoding import csv_line
from pipeline.staging.sorting import sorted_lines
from pipeline.storage import Storage

DUPLICATE_COLUMNS = ("sha256", "split", "record_id", "file")
_SHOWN = 10
_PREFIX = 16  # hexadecimal digits that make 8 bytes


class Duplicates(msgspec.Struct, frozen=True, kw_only=True):
    """The originals with the same bytes as another one.

    ``originals`` were compared. ``groups`` have the same bytes each, ``files`` are in them; ``across_splits`` of these
    groups are in more than one split, with ``files_across_splits``.
    """

    policy: Literal["report", "same_split", "fail"]
    originals: int = 0
    groups: int = 0
    files: int = 0
    across_splits: int = 0
    files_across_splits: int = 0

    def warnings(self) -> list[str]:
        """Return what readers of the dataset have to know."""
        found = []
        if self.across_splits:
            found.append(
                f"{self.files_across_splits:,} originals are in more than one split with the same bytes "
                f"({self.across_splits:,} different ones): a model is tested with what it has learned; "
                f"duplicates: same_split keeps copies together; {metadata.DUPLICATES} lists them"
            )
        if within := self.groups - self.across_splits:
            found.append(
                f"{self.files - self.files_across_splits:,} originals are in one split more than once "
                f"({within:,} different ones); {metadata.DUPLICATES} lists them"
            )
        return found


class _Copy(NamedTuple):
    sha256: str
    split: str
    record_id: int
    file: str


def list_duplicates(storage: Storage, policy: Literal["report", "same_split", "fail"]) -> Duplicates:
    """Find the duplicates of an export whose ``records.csv`` is in place, and write ``duplicates.csv``.

    Without any there is no such file; one of an earlier attempt is removed. Raises DuplicatesError, which names them,
    when some are in more than one split although ``policy`` forbids it.
    """
    repeated, originals = _repeated(_copies(storage))
    if not len(repeated):
        storage.delete([metadata.DUPLICATES])
        return Duplicates(policy=policy, originals=originals)
    groups = files = across = files_across = 0
    leaks: list[str] = []
    with storage.create(metadata.DUPLICATES) as file:
        file.write(csv_line(DUPLICATE_COLUMNS))
        for group in _groups(storage, repeated):
            groups += 1
            files += len(group)
            if len({copy.split for copy in group}) > 1:
                across += 1
                files_across += len(group)
                if len(leaks) < _SHOWN:
                    leaks.append(_pair(group))
            file.writelines(csv_line(copy) for copy in group)
    if not groups:  # two different originals whose first 8 bytes are the same
        storage.delete([metadata.DUPLICATES])
    if across and policy != "report":
        more = f" and {across - len(leaks)} more" if across > len(leaks) else ""
        advice = (
            "choose duplicates: same_split, which keeps copies in one split, or report, and run again"
            if policy == "fail"
            else "some could not be fetched when splits were decided; run again with on_existing: overwrite"
        )
        raise DuplicatesError(
            f"{across} originals are in more than one split with the same bytes: {', '.join(leaks)}{more}, all listed "
            f"in {storage.url}/{metadata.DUPLICATES}; {advice}"
        )
    return Duplicates(
        policy=policy,
        originals=originals,
        groups=groups,
        files=files,
        across_splits=across,
        files_across_splits=files_across,
    )


def _pair(group: list[_Copy]) -> str:
    """Name two copies in different splits."""
    first = group[0]
    other = next(copy for copy in group if copy.split != first.split)
    return f"{first.file} (record {first.record_id}) and {other.file} (record {other.record_id})"


def _copies(storage: Storage) -> Iterator[_Copy]:
    """Yield every original that was copied; one that was turned upright counts as what it was before."""
    for row in csv_rows(storage.chunks(metadata.RECORDS), f"{storage.url}/{metadata.RECORDS}"):
        if sha256 := row["source_sha256"] or row["sha256"]:
            yield _Copy(sha256, row["split"], int(row["record_id"]), row["output_name"])


def _repeated(copies: Iterable[_Copy]) -> tuple[npt.NDArray[np.uint64], int]:
    """Return the first 8 bytes of each sha256 that occurs more than once, ascending, and how many there are in all."""
    return repeated_prefixes(copy.sha256 for copy in copies)


def repeated_prefixes(digests: Iterable[str]) -> tuple[npt.NDArray[np.uint64], int]:
    """Return the first 8 bytes of hexadecimal ``digests`` that occur more than once, ascending, and the number of all.

    Holds 8 bytes for each of them.
    """
    prefixes = np.sort(np.fromiter((prefix_of(digest) for digest in digests), dtype=np.uint64))
    return np.unique(prefixes[1:][prefixes[1:] == prefixes[:-1]]), len(prefixes)


def prefix_of(digest: str) -> int:
    """Return the first 8 bytes of a hexadecimal digest."""
    return int(digest[:_PREFIX], 16)


def is_among(digest: str, prefixes: npt.NDArray[np.uint64]) -> bool:
    """Tell whether the first 8 bytes of ``digest`` are one of the ascending ``prefixes``."""
    wanted = np.uint64(prefix_of(digest))
    position = int(np.searchsorted(prefixes, wanted))
    return position < len(prefixes) and bool(prefixes[position] == wanted)


def _groups(storage: Storage, repeated: npt.NDArray[np.uint64]) -> Iterator[list[_Copy]]:
    """Yield the copies with the same bytes, by sha256, each group by record id."""
    candidates = (copy for copy in _copies(storage) if is_among(copy.sha256, repeated))
    lines = (
        msgspec.json.encode((copy.sha256, f"{copy.record_id:020d}", copy.file, copy.split)) + b"\n"
        for copy in candidates
    )
    rows = map(msgspec.json.Decoder(tuple[str, str, str, str]).decode, sorted_lines(lines))
    for sha256, group in groupby(rows, key=lambda row: row[0]):
        found = [_Copy(sha256, split, int(record_id), file) for _, record_id, file, split in group]
        if len(found) > 1:
            yield found
