"""The files below ``metadata/`` that are joined from all shards like any other manifest, and the rows in them.

``records.csv`` leads from every output back to its record and original name, ``failures.jsonl`` and ``losses.jsonl``
say what is not in the export and why, ``files.csv`` and ``SHA256SUMS`` list every file with its size and digest.
"""

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence

import msgspec

from pipeline.formats import Loss, Manifest, Section
from pipeline.records import Failure, NumberedSample

RECORDS = "metadata/records.csv"
FAILURES = "metadata/failures.jsonl"
LOSSES = "metadata/losses.jsonl"
FILES = "metadata/files.csv"
CHECKSUMS = "metadata/SHA256SUMS"
SUMMARY = "metadata/export_summary.json"
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
    "bytes",
    "sha256",
)
FILE_COLUMNS = ("path", "bytes", "sha256")
ITEMS = "items"

# Files whose bytes hold times or the run's id; all others are the same for the same data and configuration.
VOLATILE = (SUCCESS, SUMMARY)

_FORMULA_START = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
_encode = msgspec.json.Encoder().encode


class LossGroup(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of ``losses.jsonl``: annotations of one sample that one format treated alike."""

    record_id: int
    media: str
    format: str
    outcome: str
    reason: str
    tool: str = ""
    annotation_ids: tuple[str, ...] = ()


def manifests() -> tuple[Manifest, ...]:
    """The joined files of ``metadata/``; the two that list digests are finished by the publish stage."""
    return (
        Manifest(RECORDS, (Section(ITEMS, open=csv_line(RECORD_COLUMNS)),)),
        Manifest(FAILURES, (Section(ITEMS),)),
        Manifest(LOSSES, (Section(ITEMS),)),
    )


def record_line(sample: NumberedSample, output_name: str, size: int | None, sha256: str) -> bytes:
    """The row of ``records.csv`` of one sample; ``output_name`` is the copied original, or the stem of its labels."""
    source = sample.sample
    return csv_line(
        (
            source.record_id,
            source.media,
            source.category,
            sample.split,
            source.file.name if source.file else "",
            output_name,
            sample.image_id,
            source.width,
            source.height,
            size,
            sha256,
        )
    )


def failure_lines(failures: Iterable[Failure]) -> list[bytes]:
    """The rows of ``failures.jsonl``."""
    return [
        _encode(
            {
                "record_id": failure.record_id,
                "media": failure.media,
                "annotation_id": failure.annotation_id,
                "outcome": failure.outcome,
                "reason": failure.reason,
                "detail": failure.detail,
            }
        )
        + b"\n"
        for failure in failures
    ]


def loss_lines(sample: NumberedSample, format_name: str, losses: Sequence[Loss]) -> list[bytes]:
    """The rows of ``losses.jsonl`` for what one format could not keep of one sample."""
    source = sample.sample
    tools = {annotation.id: annotation.tool for annotation in source.annotations}
    groups: dict[tuple[str, str, str], list[str]] = {}
    for loss in losses:
        ids = groups.setdefault((loss.outcome, loss.reason, tools.get(loss.annotation_id, "")), [])
        if loss.annotation_id:
            ids.append(loss.annotation_id)
    return [
        _encode(LossGroup(source.record_id, source.media, format_name, outcome, reason, tool, tuple(ids))) + b"\n"
        for (outcome, reason, tool), ids in groups.items()
    ]


def file_line(path: str, size: int, sha256: str) -> bytes:
    """The row of ``files.csv`` of one file."""
    return csv_line((path, size, sha256))


def checksum_line(path: str, sha256: str) -> bytes:
    """The row of ``SHA256SUMS`` of one file, as ``sha256sum -c`` reads it."""
    return f"{sha256}  {path}\n".encode()


def digest(data: bytes) -> str:
    """The sha256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def csv_line(values: Iterable[object]) -> bytes:
    """One CSV row (RFC 4180, UTF-8, LF): numbers stay numbers, text that a spreadsheet would run gets a ``'``."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow([_harmless(value) for value in values])
    return buffer.getvalue().encode()


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_START) else value
