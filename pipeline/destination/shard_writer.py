"""What a shard writes: every sample in every format, the parts of manifests, and the books of all of it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from pipeline.destination import archives as packages
from pipeline.destination import metadata
from pipeline.errors import FormatError
from pipeline.formats import Entry, Format, Loss, tar
from pipeline.images.files import as_jpeg
from pipeline.images.orientation import is_wrong_size, resized
from pipeline.model.catalog import Catalog
from pipeline.model.ledger import FormatCount, Ledger
from pipeline.model.source import Copied
from pipeline.reasons import Reason
from pipeline.records import Failure, NumberedSample, Original
from pipeline.staging.area import Staging
from pipeline.staging.markers import Part
from pipeline.storage import Storage

_BATCH_BYTES = 16 * 2**20  # of files that are written together, and of items that are held before they are put aside


class _Copy(NamedTuple):
    """Items of a manifest that are in a file already: an original of the export, or what was put aside.

    The bytes stay where they are until the merge.
    """

    path: str
    size: int
    start: int = 0


def _length(item: bytes | _Copy) -> int:
    return item.size if isinstance(item, _Copy) else len(item)


class ShardOutput:
    """Collects what a shard writes: batches of whole files, the parts of manifests, and the books.

    ``staging`` is where shard ``index`` puts on record what it is about to write, and what is too much to hold; without
    it (a dry run) nothing is put on record.
    """

    def __init__(
        self,
        storage: Storage,
        formats: Sequence[Format],
        catalog: Catalog,
        extracted: Ledger,
        *,
        packaging: str = "files",
        staging: Staging | None = None,
        index: int = 0,
    ) -> None:
        self._storage = storage
        self._formats = formats
        self._catalog = catalog
        self._packaged = packaging == "tar"
        self._staging = staging
        self._index = index
        self._intents = self._spills = self._held = 0
        self._separators = {
            (manifest.path, section.name): section.separator
            for manifest in [m for format_ in formats for m in format_.manifests(catalog)]
            for section in manifest.sections
        }
        self._items: dict[tuple[str, str], list[bytes | _Copy]] = {}
        self._batch: list[tuple[str, bytes]] = []
        self._copies: list[tuple[str, str]] = []
        self._batch_bytes = 0
        self.bytes = 0
        self.failures: list[Failure] = []
        self.ledger = Ledger(
            records=extracted.records,
            annotations=extracted.annotations,
            formats={format_.name: FormatCount() for format_ in formats},
            bytes=extracted.bytes,
        )

    def add(self, sample: NumberedSample, copied: Copied | Failure | None, lost: Failure | None = None) -> None:
        """Write one sample in every format; ``copied`` is its original, when originals are asked for.

        With ``lost`` no format is asked: each has that failure in its books.
        """
        originals = self.ledger.originals
        if copied is not None:
            originals.seen += 1
        if isinstance(copied, Failure):
            originals.fail(copied.reason)
            self.failures.append(copied)
        elif copied is not None:
            originals.written += 1
            self.bytes += copied.size
            self._list_file(copied.path, copied.size, copied.sha256)
            sample = self._as_copied(sample, copied)
        found = copied if isinstance(copied, Copied) else None
        self._append(metadata.RECORDS, metadata.ITEMS, metadata.record_line(sample, found))
        if isinstance(copied, Failure):
            # A label whose image is not there would stop the reader of the dataset.
            sample = msgspec.structs.replace(sample, sample=msgspec.structs.replace(sample.sample, file=None))
        if lost is not None:
            self._leave_out(sample, lost)
            return
        for format_ in self._formats:
            self._add_format(sample, format_)

    def _leave_out(self, sample: NumberedSample, lost: Failure) -> None:
        self.failures.append(lost)
        for format_ in self._formats:
            books = self.ledger.formats[format_.name]
            number = len(sample.sample.annotations)
            books.samples.seen += 1
            books.annotations.seen += number
            books.samples.fail(lost.reason)
            books.annotations.fail(lost.reason, number)

    def _as_copied(self, sample: NumberedSample, copied: Copied) -> NumberedSample:
        """The sample as what its copied original turned out to be, and that on record."""
        source = sample.sample
        for reason in copied.findings:
            self.ledger.originals.lose(reason)
            self._append(metadata.LOSSES, metadata.ITEMS, metadata.original_line(source, reason))
        header = copied.header
        if header and source.width and source.height and is_wrong_size((source.width, source.height), header):
            source = resized(source, *header.upright_size)
        return msgspec.structs.replace(sample, sample=source, original=Original(copied.size, copied.sha256))

    def _add_format(self, sample: NumberedSample, format_: Format) -> None:
        books = self.ledger.formats[format_.name]
        annotations = sample.sample.annotations
        books.samples.seen += 1
        books.annotations.seen += len(annotations)
        try:
            results = [self._encoded(result, sample) for result in format_.render(sample, self._catalog)]
        except Exception as error:  # noqa: BLE001  one bad sample must not lose its neighbours, whatever the format does
            books.samples.fail(Reason.ITEM_CONVERSION_FAILED)
            books.annotations.fail(Reason.ITEM_CONVERSION_FAILED, len(annotations))
            detail = f"{format_.name}: {type(error).__name__}: {error}"[:300]
            self.failures.append(
                Failure(sample.sample.record_id, Reason.ITEM_CONVERSION_FAILED, detail, sample.sample.media)
            )
            return
        losses: list[Loss] = []
        for result in results:
            if isinstance(result, Entry):
                self._add_entry(result, sample, format_, books)
            else:
                losses.append(result)
        self._account(sample, format_.name, books, losses)

    def _encoded(self, result: Entry | Loss, sample: NumberedSample) -> Entry | Loss:
        """The result itself; an original that is wanted as a JPEG comes with its bytes. Raises PictureError."""
        if isinstance(result, Entry) and result.as_jpeg and sample.original:
            return Entry(result.path, as_jpeg(self._storage.read(sample.original_path)))
        return result

    def _add_entry(self, entry: Entry, sample: NumberedSample, format_: Format, books: FormatCount) -> None:
        if entry.original and sample.original is None:
            raise FormatError(format_.name, f"puts an original that is not there into {entry.path}")
        if entry.section:
            self._append(entry.path, entry.section, self._item(entry, sample, format_))
            return
        if self._packaged:
            self._package(entry, sample)
            return
        books.files += 1
        if entry.original and sample.original:
            self._copies.append((sample.original_path, entry.path))
            self.bytes += sample.original.size
            self._list_file(entry.path, sample.original.size, sample.original.sha256)
            return
        self._batch.append((entry.path, entry.data))
        self._batch_bytes += len(entry.data)
        self.bytes += len(entry.data)
        self._list_file(entry.path, len(entry.data), metadata.digest(entry.data))
        if self._batch_bytes > _BATCH_BYTES:
            self.flush()

    def _package(self, entry: Entry, sample: NumberedSample) -> None:
        """A whole file as a member of an archive."""
        package = packages.package_of(sample)
        copy = sample.original if entry.original else None
        content = _Copy(sample.original_path, copy.size) if copy else entry.data
        size = _length(content)
        for item in (tar.make_header(entry.path, size), content, tar.make_padding(size)):
            self._append(package, packages.MEMBERS, item)

    def _item(self, entry: Entry, sample: NumberedSample, format_: Format) -> "bytes | _Copy":
        separator = self._separators.get((entry.path, entry.section))
        if separator is None:
            raise FormatError(format_.name, f"section {entry.section!r} of {entry.path} is not in its manifests")
        if not entry.original or sample.original is None:
            return entry.data
        if separator:
            raise FormatError(format_.name, f"section {entry.section!r} of {entry.path} separates originals")
        return _Copy(sample.original_path, sample.original.size)

    def _account(self, sample: NumberedSample, name: str, books: FormatCount, losses: list[Loss]) -> None:
        annotations = sample.sample.annotations
        if not losses:
            books.samples.written += 1
            books.annotations.written += len(annotations)
            return
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
        books.annotations.written += len(annotations) - skipped
        self._append(metadata.LOSSES, metadata.ITEMS, b"".join(map(metadata.json_line, groups)))

    def add_failures(self, failures: Sequence[Failure]) -> None:
        """Put every failure of the shard, from whatever stage, on record; in key order, so in any shard's order."""
        ordered = sorted(failures, key=lambda failure: failure.record_id)
        for line in metadata.failure_lines(ordered):
            self._append(metadata.FAILURES, metadata.ITEMS, line)

    def flush(self) -> None:
        """Write the files collected so far."""
        self.intend([*(path for path, _ in self._batch), *(path for _, path in self._copies)])
        self._storage.write_many(self._batch)
        self._batch, self._batch_bytes = [], 0
        self._storage.copy_many(self._copies)
        self._copies = []

    def intend(self, paths: Sequence[str]) -> None:
        """Put on record that these files are about to be written."""
        if self._staging and paths:
            self._staging.write_intent(self._index, self._intents, paths)
            self._intents += 1

    def parts(self) -> tuple[tuple[Part, ...], Iterator[bytes]]:
        """Where each part will be in the pack (or which file it is in already), and the pack's bytes.

        Before each part stands the separator of its section, which is not part of it: whoever joins parts takes both.
        """
        parts: list[Part] = []
        joined: list[bytes] = []
        start = 0
        for (path, section), items in sorted(self._items.items()):
            separator = self._separators.get((path, section), b"")
            run: list[bytes] = []
            for item in (*items, None):
                if isinstance(item, bytes):
                    run.append(item)
                    continue
                if run:
                    joined.append(separator + separator.join(run))
                    parts.append(Part(path, section, start + len(separator), len(joined[-1]) - len(separator)))
                    start += len(joined[-1])
                    run = []
                if item:
                    parts.append(Part(path, section, item.start, item.size, item.path))
        return tuple(parts), iter(joined)

    def _spill(self, staging: Staging) -> None:
        """Put the items that are held aside: those of a whole shard may not fit in memory."""
        parts, chunks = self.parts()
        self._spills += 1
        path = staging.write_spill(self._index, self._spills, b"".join(chunks))
        self._items = {}
        for part in parts:
            items = self._items.setdefault((part.path, part.section), [])
            items.append(_Copy(part.file or path, part.length, part.start))
        self._held = 0

    @property
    def rendered_bytes(self) -> int:
        """Bytes of everything the formats made so far."""
        own = {(path, section) for path, section in self._items if not path.startswith("metadata/")}
        return self.bytes + sum(_length(item) for key in own for item in self._items[key])

    def _append(self, path: str, section: str, data: "bytes | _Copy") -> None:
        self._items.setdefault((path, section), []).append(data)
        self._held += len(data) if isinstance(data, bytes) else 0
        if self._staging and self._held > _BATCH_BYTES:
            self._spill(self._staging)

    def _list_file(self, path: str, size: int, sha256: str) -> None:
        self._append(metadata.FILES, metadata.ITEMS, metadata.file_line(path, size, sha256))
        self._append(metadata.CHECKSUMS, metadata.ITEMS, metadata.checksum_line(path, sha256))
