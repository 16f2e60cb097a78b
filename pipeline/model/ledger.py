"""The books of an export: what became of everything seen, with a reason code for all that was not written.

Ledgers of shards add up with :func:`merge_ledgers`, in any order. A ledger balances when for each count
``seen = written + skipped + failed``; a run whose books do not balance is not published.
"""

from collections import Counter
from collections.abc import Iterable
from functools import reduce

import msgspec

from pipeline.errors import LedgerError
from pipeline.records import Failure


class Count(msgspec.Struct):
    """How many of one kind were seen, and what became of them; ``written`` includes the ``lossy`` ones."""

    seen: int = 0
    written: int = 0
    skipped: dict[str, int] = {}
    failed: dict[str, int] = {}
    lossy: dict[str, int] = {}

    @property
    def balanced(self) -> bool:
        """Return whether ``seen = written + skipped + failed``."""
        return self.seen == self.written + sum(self.skipped.values()) + sum(self.failed.values())

    def skip(self, reason: str, number: int = 1) -> None:
        """Count ``number`` as left out by a rule."""
        self.skipped[reason] = self.skipped.get(reason, 0) + number

    def fail(self, reason: str, number: int = 1) -> None:
        """Count ``number`` as failed."""
        self.failed[reason] = self.failed.get(reason, 0) + number

    def lose(self, reason: str, number: int = 1) -> None:
        """Count ``number`` of the written ones as changed by the format."""
        self.lossy[reason] = self.lossy.get(reason, 0) + number


class FormatCount(msgspec.Struct):
    """The books of one format. ``losses`` counts by annotation tool, then reason, skipped and lossy together.

    ``unheld`` counts the objects, by shape, that images show and the format has no annotation for, and
    ``unheld_images`` the written images that show some: to a model that is trained on these they are background.
    """

    samples: Count = msgspec.field(default_factory=Count)
    annotations: Count = msgspec.field(default_factory=Count)
    losses: dict[str, dict[str, int]] = {}
    files: int = 0
    unheld: dict[str, int] = {}
    unheld_images: int = 0


class Ledger(msgspec.Struct):
    """All books of a shard or of an export.

    ``records`` are the planned ones. A record with a failure of any part is a failed one (what ``max_failures``
    limits), under the reason of the first; ``partial`` of these are exported as far as they can be. A written record is
    exported with all that belongs to it. ``originals`` are the files to copy, ``bytes`` their size.
    """

    records: Count = msgspec.field(default_factory=Count)
    annotations: Count = msgspec.field(default_factory=Count)
    originals: Count = msgspec.field(default_factory=Count)
    formats: dict[str, FormatCount] = {}
    partial: int = 0
    bytes: int = 0

    @property
    def failed_records(self) -> int:
        """Return how many records failed."""
        return sum(self.records.failed.values())

    def check(self) -> None:
        """Raise LedgerError if a count does not balance, naming it with its numbers."""
        counts = {"records": self.records, "annotations": self.annotations, "originals": self.originals}
        for name, books in self.formats.items():
            counts[f"{name} samples"] = books.samples
            counts[f"{name} annotations"] = books.annotations
        for name, count in counts.items():
            if not count.balanced:
                raise LedgerError(
                    f"the books of {name} do not balance",
                    f"seen {count.seen}, written {count.written}, skipped {count.skipped}, failed {count.failed}",
                )


def failed_records(failures: Iterable[Failure]) -> set[int]:
    """Return the ids of the records of which something failed. What is skipped by rule does not count."""
    return {failure.record_id for failure in failures if failure.outcome == "failed"}


def commonest_reason(failures: Iterable[Failure]) -> str:
    """Return the reason, with its detail, that most of what failed has; ``""`` when nothing failed."""
    reasons = Counter(" ".join(filter(None, (f.reason, f.detail))) for f in failures if f.outcome == "failed")
    return next((reason for reason, _ in reasons.most_common(1)), "")


def merge_ledgers(ledgers: Iterable[Ledger]) -> Ledger:
    """Return the sum of all ledgers."""
    return reduce(_add_ledgers, ledgers, Ledger())


def _add_ledgers(left: Ledger, right: Ledger) -> Ledger:
    names = list(left.formats) + [name for name in right.formats if name not in left.formats]
    empty = FormatCount()
    return Ledger(
        records=_add_counts(left.records, right.records),
        annotations=_add_counts(left.annotations, right.annotations),
        originals=_add_counts(left.originals, right.originals),
        formats={n: _add_formats(left.formats.get(n, empty), right.formats.get(n, empty)) for n in sorted(names)},
        partial=left.partial + right.partial,
        bytes=left.bytes + right.bytes,
    )


def _add_formats(left: FormatCount, right: FormatCount) -> FormatCount:
    tools = left.losses.keys() | right.losses.keys()
    return FormatCount(
        samples=_add_counts(left.samples, right.samples),
        annotations=_add_counts(left.annotations, right.annotations),
        losses={tool: _add_reasons(left.losses.get(tool, {}), right.losses.get(tool, {})) for tool in sorted(tools)},
        files=left.files + right.files,
        unheld=_add_reasons(left.unheld, right.unheld),
        unheld_images=left.unheld_images + right.unheld_images,
    )


def _add_counts(left: Count, right: Count) -> Count:
    return Count(
        seen=left.seen + right.seen,
        written=left.written + right.written,
        skipped=_add_reasons(left.skipped, right.skipped),
        failed=_add_reasons(left.failed, right.failed),
        lossy=_add_reasons(left.lossy, right.lossy),
    )


def _add_reasons(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    return {reason: left.get(reason, 0) + right.get(reason, 0) for reason in sorted(left.keys() | right.keys())}
