"""The split of a record, and the file that lists splits for ``by: file``: 9 bytes for each key it names."""

import csv
import hashlib
import io
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.config.sections import SplitConfig
from pipeline.errors import ConfigError
from pipeline.model.splits import SPLIT_NAME, UNASSIGNED, key_text, split_by_category, split_by_hash
from pipeline.records import Record

_SPLIT = re.compile(SPLIT_NAME)
_RECORD_ID = re.compile(r"[0-9]{1,19}")
_MOST_SPLITS = 256
_COLUMNS = {"record": "record_id", "data_unit": "data_unit", "file_name": "file_name"}


class _Row(NamedTuple):
    line: int
    key: str
    split: str


class _Header(msgspec.Struct, frozen=True):
    names: tuple[str, ...]
    keys: int


class SplitFile:
    """Keys and their splits.

    ``names`` are the splits; ``keys`` are the uint64 hashes of the keys, ascending, and ``numbers`` (uint8) say for
    each of them which of ``names`` it is in. Two of ten million keys share a hash once in 370,000 files.
    """

    def __init__(self, names: tuple[str, ...], keys: npt.NDArray[np.uint64], numbers: npt.NDArray[np.uint8]) -> None:
        self.names = names
        self._keys = keys
        self._numbers = numbers

    @classmethod
    def of(cls, splits: Mapping[str, str]) -> "SplitFile":
        """Return a file that names these keys and their splits; the same for the same ones in any order."""
        names = tuple(sorted(set(splits.values())))
        rows = sorted((_hash(key), names.index(split)) for key, split in splits.items())
        return cls(
            names,
            np.fromiter((key for key, _ in rows), np.uint64, len(rows)),
            np.fromiter((number for _, number in rows), np.uint8, len(rows)),
        )

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, key: str) -> str | None:
        """Return the split of a key, or None if the file does not name it."""
        wanted = np.uint64(_hash(key))
        position = int(np.searchsorted(self._keys, wanted))
        if position == len(self._keys) or self._keys[position] != wanted:
            return None
        return self.names[int(self._numbers[position])]

    @property
    def digest(self) -> str:
        """Return the sha256 of the content, in hexadecimal."""
        return self.encode()[:32].hex()

    def encode(self) -> bytes:
        """Return the content as bytes, which begin with the sha256 of the rest."""
        header = msgspec.json.encode(_Header(self.names, len(self))) + b"\n"
        rest = header + self._keys.astype("<u8").tobytes() + self._numbers.tobytes()
        return hashlib.sha256(rest).digest() + rest

    @classmethod
    def decode(cls, data: bytes) -> "SplitFile | None":
        """Return the file that :meth:`encode` encoded, or None if the bytes are incomplete or damaged."""
        digest, rest = data[:32], data[32:]
        if hashlib.sha256(rest).digest() != digest:
            return None
        line, _, columns = rest.partition(b"\n")
        header = msgspec.json.decode(line, type=_Header)
        keys = np.frombuffer(columns, dtype="<u8", count=header.keys)
        return cls(header.names, keys, np.frombuffer(columns, dtype=np.uint8, offset=8 * header.keys))


def split_of(record: Record, split: SplitConfig, listed: SplitFile | None = None) -> str:
    """Return the split of a record, from the record alone.

    ``listed`` is the file for ``by: file``. A record without a group is split by its id, and by no file.
    """
    if split.by == "category":
        return split_by_category(record.category)
    if split.by == "hash":
        return split_by_hash(record.group or str(record.id), split.ratios)
    if split.by == "file":
        assert listed is not None
        key = record.group if split.groups else str(record.id)
        return (listed.find(key) if key else None) or UNASSIGNED
    return "train"


def read_split_file(data: bytes, split: SplitConfig) -> SplitFile:
    """Read a CSV file with a header, a column for the key and a column ``split``.

    Raises ConfigError, which names file and line, for any other file and for a key in two splits.
    """
    hashes, numbers = array("Q"), bytearray()
    names: dict[str, int] = {}
    for row in _rows(data, split):
        if names.setdefault(row.split, len(names)) >= _MOST_SPLITS:
            raise ConfigError(f"{split.file}:{row.line}", f"has more than {_MOST_SPLITS} different splits")
        hashes.append(_hash(row.key))
        numbers.append(names[row.split])
    if not names:
        raise ConfigError(split.file, "names no key")
    keys, values = np.frombuffer(hashes, dtype=np.uint64), np.frombuffer(numbers, dtype=np.uint8)
    order = np.argsort(keys, kind="stable")
    keys, values = keys[order], values[order]
    again = keys[1:] == keys[:-1]
    contradicting = again & (values[1:] != values[:-1])
    if contradicting.any():
        _refuse_contradiction(data, split, int(keys[1:][contradicting][0]))
    first = np.concatenate(([True], ~again))
    return SplitFile(tuple(names), keys[first], values[first])


def _rows(data: bytes, split: SplitConfig) -> Iterator[_Row]:
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, ())]
        of_key, of_split = _column(header, split), _position(header, ("split",), split.file)
        for cells in reader:
            if not any(cells):
                continue
            where = f"{split.file}:{reader.line_num}"
            if len(cells) <= max(of_key, of_split):
                raise ConfigError(where, f"has {len(cells)} columns, the header has {len(header)}")
            yield _Row(reader.line_num, _key(cells[of_key], split, where), _name(cells[of_split], where))
    except UnicodeDecodeError as error:
        raise ConfigError(split.file, "is not UTF-8") from error
    except csv.Error as error:
        raise ConfigError(f"{split.file}:{reader.line_num}", f"is not CSV: {error}") from error


def _column(header: list[str], split: SplitConfig) -> int:
    own = _COLUMNS.get(split.key)
    return _position(header, (own, "key") if own else ("key",), split.file)


def _position(header: list[str], names: Iterable[str], file: str) -> int:
    for name in names:
        if name in header:
            return header.index(name)
    raise ConfigError(f"{file}:1", f"has no column {' or '.join(map(repr, names))}; it has: {', '.join(header)}")


def _key(cell: str, split: SplitConfig, where: str) -> str:
    key = key_text(cell)
    if not key:
        raise ConfigError(where, "the key is empty")
    if split.groups:
        return key
    if not _RECORD_ID.fullmatch(key):
        raise ConfigError(where, f"{key!r} is not the id of a record, which is a whole number")
    return str(int(key))


def _name(cell: str, where: str) -> str:
    name = cell.strip()
    if not _SPLIT.fullmatch(name):
        raise ConfigError(where, f"{name!r} is not a split name: use small letters, digits, - and _, a letter first")
    return name


def _refuse_contradiction(data: bytes, split: SplitConfig, wanted: int) -> None:
    first, *others = (row for row in _rows(data, split) if _hash(row.key) == wanted)
    for row in others:
        if row.split != first.split:
            problem = f"{row.key!r} is in {row.split!r} here and in {first.split!r} on line {first.line}"
            raise ConfigError(f"{split.file}:{row.line}", problem)


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
