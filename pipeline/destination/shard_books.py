"""The books of a shard: what was seen, written, changed, skipped and failed, and every failure."""

from collections.abc import Iterable, Sequence

import msgspec

from pipeline.destination import metadata
from pipeline.destination.metadata import LossGroup
from pipeline.formats import Loss
from pipeline.model.ledger import FormatCount, Ledger
from pipeline.model.source import Copied
from pipeline.model.trees import KEYPOINTS, SHAPES
from pipeline.reasons import Reason
from pipeline.records import Box, Failure, Mask, NumberedSample, Point, Polygon, Polyline
from pipeline.redaction import redact

_DRAWN = frozenset((Box, Mask, Polygon, Polyline))


class ShardBooks:
    """Counts what becomes of samples and originals. Records and annotations are those of the ``extracted`` ledger.

    ``masks`` is the export's setting: a mask is an object only with ``instance``.
    """

    def __init__(self, formats: Sequence[str], extracted: Ledger, *, masks: str = "instance") -> None:
        self._shown = _DRAWN if masks == "instance" else _DRAWN - {Mask}
        self.failures: list[Failure] = []
        self.ledger = Ledger(
            records=msgspec.structs.replace(extracted.records, failed=dict(extracted.records.failed)),
            annotations=extracted.annotations,
            partial=extracted.partial,
            formats={name: FormatCount() for name in formats},
            bytes=extracted.bytes,
        )

    def count_original(self, copied: Copied | Failure) -> None:
        """Count what became of an original."""
        originals = self.ledger.originals
        originals.seen += 1
        if isinstance(copied, Failure):
            originals.fail(copied.reason)
            self.failures.append(copied)
            return
        originals.written += 1
        for reason in copied.findings:
            originals.lose(reason)

    def count_missing_original(self) -> None:
        """Count an original of which the API has no URL: left out by rule, and no failure of its record."""
        self.ledger.originals.seen += 1
        self.ledger.originals.skip(Reason.ORIGINAL_MISSING)

    def count_lost(self, sample: NumberedSample, lost: Failure) -> None:
        """Count a sample that no format may be given."""
        self.failures.append(lost)
        for books in self.ledger.formats.values():
            self._count_seen(sample, books)
            books.samples.fail(lost.reason)
            books.annotations.fail(lost.reason, len(sample.sample.annotations))

    def count_unrendered(self, sample: NumberedSample, name: str, error: Exception) -> None:
        """Count a sample for which format ``name`` raised ``error``."""
        books = self.ledger.formats[name]
        self._count_seen(sample, books)
        books.samples.fail(Reason.ITEM_CONVERSION_FAILED)
        books.annotations.fail(Reason.ITEM_CONVERSION_FAILED, len(sample.sample.annotations))
        detail = redact(f"{name}: {type(error).__name__}: {error}")[:300]
        self.failures.append(
            Failure(sample.sample.record_id, Reason.ITEM_CONVERSION_FAILED, detail, sample.sample.media, of="media")
        )

    def count_rendered(self, sample: NumberedSample, name: str, losses: Sequence[Loss]) -> Sequence[LossGroup]:
        """Count a sample that format ``name`` rendered, and return its ``losses`` by annotation tool and reason."""
        books = self.ledger.formats[name]
        self._count_seen(sample, books)
        annotations = sample.sample.annotations
        if not losses:
            books.samples.written += 1
            books.annotations.written += len(annotations)
            return ()
        groups = metadata.group_losses(sample, name, losses)
        skipped = 0
        whole = ""
        for group in groups:
            number = len(group.annotation_ids)
            if not number and group.outcome == "lossy":
                books.samples.lose(group.reason)
                continue
            if not number:
                whole = group.reason
                continue
            if group.outcome == "skipped":
                skipped += number
                books.annotations.skip(group.reason, number)
            else:
                books.annotations.lose(group.reason, number)
            reasons = books.losses.setdefault(group.tool, {})
            reasons[group.reason] = reasons.get(group.reason, 0) + number
        if whole:
            books.samples.skip(whole)
        else:
            books.samples.written += 1
            self._count_unheld(sample, books, groups)
        books.annotations.written += len(annotations) - skipped
        return groups

    def count_failed_records(self, before: set[int]) -> int:
        """Count the records of which something failed here, but nothing ``before``; return how many those are.

        They are in the books as written, and stay exported in part.
        """
        failed = [failure for failure in reversed(self.failures) if failure.outcome == "failed"]
        reasons = {failure.record_id: failure.reason for failure in failed if failure.record_id not in before}
        first = list(reasons.values())
        for reason in first:
            self.ledger.records.fail(reason)
        self.ledger.records.written -= len(first)
        self.ledger.partial += len(first)
        return len(first)

    def count_file(self, name: str) -> None:
        """Count a whole file of format ``name``."""
        self.ledger.formats[name].files += 1

    def _count_unheld(self, sample: NumberedSample, books: FormatCount, groups: Iterable[LossGroup]) -> None:
        unheld = {
            identity
            for group in groups
            if group.outcome == "skipped" and group.reason == Reason.UNSUPPORTED_ANNOTATION_TYPE
            for identity in group.annotation_ids
        }
        if not unheld:
            return
        skeletons: set[str] = set()
        is_shown = False
        annotations = sample.sample.annotations
        for annotation in annotations:
            if annotation.id in unheld:
                kind = type(annotation.shape)
                if kind in self._shown:
                    name = SHAPES[kind]
                    books.unheld[name] = books.unheld.get(name, 0) + 1
                    is_shown = True
                elif kind is Point and annotation.group:
                    skeletons.add(annotation.group)
        if skeletons:
            skeletons -= {item.group for item in annotations if type(item.shape) is Box and item.id not in unheld}
        if skeletons:
            books.unheld[KEYPOINTS] = books.unheld.get(KEYPOINTS, 0) + len(skeletons)
        books.unheld_images += is_shown or bool(skeletons)

    @staticmethod
    def _count_seen(sample: NumberedSample, books: FormatCount) -> None:
        books.samples.seen += 1
        books.annotations.seen += len(sample.sample.annotations)
