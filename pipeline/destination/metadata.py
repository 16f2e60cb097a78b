"""The files below ``metadata/``, which are joined from all shards like other manifests, and their rows.

``records.csv`` leads from every output back to its record and original name, ``failures.jsonl`` and ``losses.jsonl``
say what is not in the export and why, ``files.csv`` and ``SHA256SUMS`` list every file with its size and digest.
"""

import contextlib
import csv
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pipeline.config.class_lock import LOCK, lock_document
from pipeline.errors import FormatError, StorageError
from pipeline.formats import Loss, Manifest, Section
from pipeline.formats.encoding import csv_line
from pipeline.model.catalog import Catalog
from pipeline.records import Failure, NumberedSample
from pipeline.storage import check_relative

if TYPE_CHECKING:
    from pipeline.model.source import Copied

RECORDS = "metadata/records.csv"
FAILURES = "metadata/failures.jsonl"
LOSSES = "metadata/losses.jsonl"
FILES = "metadata/files.csv"
CHECKSUMS = "metadata/SHA256SUMS"
SUMMARY = "metadata/export_summary.json"
DUPLICATES = "metadata/duplicates.csv"
STATISTICS = "metadata/statistics.json"
REPORT = "metadata/report.html"
CARD = "README.md"
SUCCESS = "_SUCCESS.json"

RECORD_COLUMNS = (
    "record_id",
    "media",
    "category",
    "split",
    "original_name",
    "output_name",
    "image_id",
    "width",
    "height",
    "orientation",
    "bytes",
    "sha256",
    "source_sha256",
)
FILE_COLUMNS = ("path", "bytes", "sha256")
ITEMS = "items"

# Files whose bytes hold times or the run's id; all others are the same for the same data and configuration.
VOLATILE = (SUCCESS, SUMMARY, REPORT)

BESIDE_CONTENT = (SUMMARY, DUPLICATES, REPORT)
"""Files with a line in ``SHA256SUMS`` and none in ``files.csv``: the digest of the content is without them."""

_SHA256 = re.compile("[0-9a-f]{64}")
_encode = msgspec.json.Encoder().encode


class LossGroup(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line of ``losses.jsonl``: annotations of one sample that one format treated alike.

    ``file`` is where the original is in the export, or would be; a sample without one has none.
    """

    record_id: int
    media: str
    file: str = ""
    format: str
    outcome: str
    reason: str
    tool: str = ""
    annotation_ids: tuple[str, ...] = ()


def manifests(catalog: Catalog) -> tuple[Manifest, ...]:
    """Return the joined files of ``metadata/``; the publish stage finishes the two that list digests."""
    return (
        Manifest(RECORDS, (Section(ITEMS, open=csv_line(RECORD_COLUMNS)),)),
        Manifest(FAILURES, (Section(ITEMS),)),
        Manifest(LOSSES, (Section(ITEMS),)),
        Manifest(LOCK, (Section(ITEMS, open=lock_document(catalog)),)),
        Manifest(STATISTICS, (Section(ITEMS),), transform="pipeline.statistics.totals:add_up", optional=True),
    )


def record_line(sample: NumberedSample, copied: "Copied | None") -> bytes:
    """The row of ``records.csv`` of one sample; ``output_name`` is the copied original, or the stem of its labels."""
    source = sample.sample
    header = copied.header if copied else None
    return csv_line(
        (
            source.record_id,
            source.media,
            sample.record.category,
            sample.split,
            source.file.name if source.file else "",
            copied.path if copied else sample.stem,
            sample.image_id,
            source.width,
            source.height,
            header.orientation if header else None,
            copied.size if copied else None,
            copied.sha256 if copied else "",
            copied.source_sha256 if copied else "",
        )
    )


def failure_lines(failures: Iterable[Failure]) -> list[bytes]:
    """Return the rows of ``failures.jsonl``."""
    return [
        json_line(
            {
                "record_id": failure.record_id,
                "media": failure.media,
                "annotation_id": failure.annotation_id,
                "outcome": failure.outcome,
                "reason": failure.reason,
                "detail": failure.detail,
            }
        )
        for failure in failures
    ]


def group_losses(sample: NumberedSample, format_name: str, losses: Sequence[Loss]) -> list[LossGroup]:
    """Return the rows of ``losses.jsonl`` for what one format could not keep of one sample.

    A group without ids concerns the sample itself. Raises FormatError for an annotation that the sample does not have.
    """
    source = sample.sample
    tools = {annotation.id: annotation.tool for annotation in source.annotations}
    tools[""] = ""  # a loss of the sample
    groups: dict[tuple[str, str, str], list[str]] = {}
    identity = ""
    try:
        for loss in losses:
            identity = loss.annotation_id
            key = (loss.outcome, loss.reason, tools[identity])
            if key in groups:
                groups[key].append(identity)
            else:
                groups[key] = [identity]
    except KeyError:
        raise FormatError(format_name, f"reports a loss of {identity!r}, which the sample does not have") from None
    file = _file(sample)
    return [
        LossGroup(
            record_id=source.record_id,
            media=source.media,
            file=file,
            format=format_name,
            outcome=outcome,
            reason=reason,
            tool=tool,
            annotation_ids=tuple(filter(None, ids)),
        )
        for (outcome, reason, tool), ids in groups.items()
    ]


def original_line(sample: NumberedSample, reason: str, outcome: str = "lossy") -> bytes:
    """Return the row of ``losses.jsonl`` for a finding about an original; a missing one is ``skipped``."""
    source = sample.sample
    return json_line(
        LossGroup(
            record_id=source.record_id,
            media=source.media,
            file=_file(sample),
            format="originals",
            outcome=outcome,
            reason=reason,
        )
    )


def _file(sample: NumberedSample) -> str:
    return sample.original_path if sample.sample.file is not None else ""


def json_line(value: object) -> bytes:
    """Return a value as one line of JSON."""
    return _encode(value) + b"\n"


def file_line(path: str, size: int, sha256: str) -> bytes:
    """Return the row of ``files.csv`` for one file."""
    return csv_line((path, size, sha256))


def checksum_line(path: str, sha256: str) -> bytes:
    """Return the row of ``SHA256SUMS`` for one file, as ``sha256sum -c`` reads it."""
    return f"{sha256}  {path}\n".encode()


class ListedFile(NamedTuple):
    """A line of ``files.csv``; ``path`` is None when the line is damaged."""

    line: int
    path: str | None


def listed_files(chunks: Iterable[bytes]) -> Iterator[ListedFile]:
    """Return the lines of ``files.csv``, or of parts of it, one by one, but not the header.

    No path has a line break, so each line is read by itself: a quote that is missing in one damages no other.
    """
    header = csv_line(FILE_COLUMNS)
    for number, line in enumerate(_lines(chunks), start=1):
        if line != header:
            yield ListedFile(number, _listed_path(line))


def checked_paths(chunks: Iterable[bytes]) -> Iterator[str]:
    """Return the paths in ``SHA256SUMS`` whose lines are not damaged."""
    for line in _lines(chunks):
        with contextlib.suppress(UnicodeDecodeError, StorageError):
            sha256, separator, path = line.decode().rstrip("\n").partition("  ")
            if separator and _SHA256.fullmatch(sha256):
                yield check_relative(path)


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line + b"\n" for line in whole)
    if rest:
        yield rest


def _listed_path(line: bytes) -> str | None:
    try:
        ((path, size, sha256),) = csv.reader([line.decode()])
        check_relative(path)
    except (UnicodeDecodeError, csv.Error, ValueError, StorageError):
        return None
    return path if size.isdecimal() and _SHA256.fullmatch(sha256) else None


def digest(data: bytes) -> str:
    """Return the sha256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
