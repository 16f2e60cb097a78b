"""Write a shard: every sample in every format, the parts of manifests, and the books of all of it."""

from collections.abc import Iterator, Sequence

import msgspec

from pipeline.destination import archives, metadata
from pipeline.destination.file_batch import FileBatch
from pipeline.destination.parts import ManifestParts, SectionKey, piece_length
from pipeline.destination.shard_books import ShardBooks
from pipeline.errors import FormatError
from pipeline.formats import Entry, Format, Loss, tar
from pipeline.formats.images import skip_sample
from pipeline.formats.output_paths import PathOwners
from pipeline.images.files import encode_jpeg
from pipeline.images.orientation import correct_size, is_wrong_size
from pipeline.model.catalog import Catalog
from pipeline.model.ledger import Ledger
from pipeline.model.source import Copied
from pipeline.reasons import Reason
from pipeline.records import Failure, NumberedSample, Original
from pipeline.staging.area import Staging
from pipeline.staging.markers import Part
from pipeline.statistics.measuring import Measurer
from pipeline.storage import Extent, Storage

BATCH_BYTES = 16 * 2**20
"""Bytes of whole files that are written together, and of items that are held before they are spilled."""


class ShardWriter:
    """Writes the samples of a shard in every format.

    ``staging`` is where shard ``index`` records what it is about to write, and where it spills what does not fit in
    memory; without it nothing is recorded. Without ``storage`` it is a dry run: nothing is written, and no original is
    read. With ``measurer`` every sample that formats are given is measured. Use an instance for one shard.
    """

    def __init__(
        self,
        storage: Storage | None,
        formats: Sequence[Format],
        catalog: Catalog,
        extracted: Ledger,
        *,
        packaging: str = "files",
        staging: Staging | None = None,
        index: int = 0,
        catalog_digest: str = "",
        measurer: Measurer | None = None,
    ) -> None:
        self._storage = storage
        self._formats = formats
        self._catalog = catalog
        self._packaged = packaging == "tar"
        self._owners = PathOwners()
        separators: dict[SectionKey, bytes] = {}
        for format_ in formats:
            for manifest in format_.manifests(catalog):
                self._owners.claim(manifest.path, format_.name)
                separators |= {(manifest.path, section.name): section.separator for section in manifest.sections}
        self._parts = ManifestParts(separators, staging, index, BATCH_BYTES)
        self._files = FileBatch(storage, staging, index, BATCH_BYTES, catalog_digest)
        self._books = ShardBooks([format_.name for format_ in formats], extracted, masks=catalog.masks)
        self._measurer = measurer
        self.bytes = 0

    @property
    def ledger(self) -> Ledger:
        """Return the books so far."""
        return self._books.ledger

    @property
    def failures(self) -> Sequence[Failure]:
        """Return the failures so far."""
        return self._books.failures

    def add(self, sample: NumberedSample, copied: Copied | Failure | None, lost: Failure | None = None) -> None:
        """Write one sample in every format. ``copied`` is its original, when originals are saved.

        With ``lost`` no format is given the sample; the books of each count that failure.
        """
        if copied is not None:
            self._books.count_original(copied)
        elif sample.is_original_missing:
            self._books.count_missing_original()
            line = metadata.original_line(sample, Reason.ORIGINAL_MISSING, "skipped")
            self._parts.add(metadata.LOSSES, metadata.ITEMS, line)
        if isinstance(copied, Copied):
            self.bytes += copied.size
            self._list_file(copied.path, copied.size, copied.sha256)
            sample = self._with_original(sample, copied)
        found = copied if isinstance(copied, Copied) else None
        self._parts.add(metadata.RECORDS, metadata.ITEMS, metadata.record_line(sample, found))
        if isinstance(copied, Failure):
            # A label whose image is missing would stop the reader of the dataset.
            sample = msgspec.structs.replace(sample, sample=msgspec.structs.replace(sample.sample, file=None))
        if lost is not None:
            self._books.count_lost(sample, lost)
            return
        if self._measurer is not None:
            self._measurer.add(sample, found)
        for format_ in self._formats:
            self._render(sample, format_)

    def _with_original(self, sample: NumberedSample, copied: Copied) -> NumberedSample:
        """The sample with the copied file's real size and digest; differences are reported as losses."""
        source = sample.sample
        for reason in copied.findings:
            self._parts.add(metadata.LOSSES, metadata.ITEMS, metadata.original_line(sample, reason))
        header = copied.header
        if header and source.width and source.height and is_wrong_size((source.width, source.height), header):
            source = correct_size(source, *header.upright_size)
        original = Original(copied.size, copied.sha256, header.channels if header else None)
        return msgspec.structs.replace(sample, sample=source, original=original)

    def _render(self, sample: NumberedSample, format_: Format) -> None:
        try:
            entries: list[Entry] = []
            losses: list[Loss] = []
            for result in format_.render(sample, self._catalog):
                if isinstance(result, Entry):
                    entries.append(self._with_jpeg(result, sample) if result.as_jpeg else result)
                else:
                    losses.append(result)
        except FormatError:  # no sample can be rendered by a format like this
            raise
        except Exception as error:  # noqa: BLE001  one bad sample must not lose its neighbours, whatever the format does
            self._books.count_unrendered(sample, format_.name, error)
            return
        if sample.is_original_missing and any(entry.original for entry in entries):
            entries, losses = [], list(skip_sample(sample.sample, Reason.ORIGINAL_MISSING))  # they need the image
        for entry in entries:
            self._add_entry(entry, sample, format_)
        if groups := self._books.count_rendered(sample, format_.name, losses):
            self._parts.add(metadata.LOSSES, metadata.ITEMS, b"".join(map(metadata.json_line, groups)))

    def _with_jpeg(self, entry: Entry, sample: NumberedSample) -> Entry:
        """Return an entry that wants a JPEG, with the bytes of the original as one. Raises PictureError."""
        if sample.original and self._storage is not None:
            return Entry(entry.path, encode_jpeg(self._storage.read(sample.original_path)))
        return entry

    def _add_entry(self, entry: Entry, sample: NumberedSample, format_: Format) -> None:
        if entry.original and sample.original is None:
            raise FormatError(
                format_.name, f"asks for the original image in {entry.path}, but save_original_file is false"
            )
        if entry.section:
            self._add_item(entry, sample, format_)
            return
        self._owners.claim(entry.path, format_.name)
        if self._packaged:
            self._add_member(entry, sample)
            return
        self._books.count_file(format_.name)
        if entry.original and sample.original:
            self._files.copy(sample.original_path, entry.path)
            size, sha256 = sample.original.size, sample.original.sha256
        else:
            self._files.add(entry.path, entry.data)
            size, sha256 = len(entry.data), metadata.digest(entry.data)
        self.bytes += size
        self._list_file(entry.path, size, sha256)

    def _add_item(self, entry: Entry, sample: NumberedSample, format_: Format) -> None:
        """Add an item to a section of a manifest."""
        separator = self._parts.separator(entry.path, entry.section)
        if separator is None:
            raise FormatError(format_.name, f"section {entry.section!r} of {entry.path} is not in its manifests")
        if not entry.original or sample.original is None:
            self._parts.add(entry.path, entry.section, entry.data)
            return
        if separator:
            raise FormatError(format_.name, f"section {entry.section!r} of {entry.path} separates originals")
        self._parts.add(entry.path, entry.section, Extent(sample.original_path, 0, sample.original.size))

    def _add_member(self, entry: Entry, sample: NumberedSample) -> None:
        """Add a whole file as a member of an archive."""
        copy = sample.original if entry.original else None
        content = Extent(sample.original_path, 0, copy.size) if copy else entry.data
        size = piece_length(content)
        for item in (tar.make_header(entry.path, size), content, tar.make_padding(size)):
            self._parts.add(archives.package_of(sample), archives.MEMBERS, item)

    def count_failed_records(self, before: set[int]) -> int:
        """See :meth:`pipeline.destination.shard_books.ShardBooks.count_failed_records`."""
        return self._books.count_failed_records(before)

    def add_failures(self, failures: Sequence[Failure]) -> None:
        """List every failure of the shard, of all stages, in key order, so that the order of work does not matter."""
        for line in metadata.failure_lines(sorted(failures, key=lambda failure: failure.record_id)):
            self._parts.add(metadata.FAILURES, metadata.ITEMS, line)

    def flush(self) -> None:
        """Write the collected files."""
        self._files.flush()

    def record_intent(self, paths: Sequence[str]) -> None:
        """Record that the files at ``paths`` are about to be written."""
        self._files.record_intent(paths)

    def remove_left_over(self) -> None:
        """Remove what an earlier attempt at the shard wrote and this one did not, after its files were written."""
        self._files.remove_left_over()

    def pack(self) -> tuple[tuple[Part, ...], Iterator[bytes]]:
        """See :meth:`pipeline.destination.parts.ManifestParts.pack`. The statistics of the shard are in it."""
        if self._measurer is not None:
            self._parts.add(metadata.STATISTICS, metadata.ITEMS, metadata.json_line(self._measurer.finish(self.bytes)))
        return self._parts.pack()

    @property
    def rendered_bytes(self) -> int:
        """Return the bytes of everything that the export holds so far."""
        return self.bytes + self._parts.size

    @property
    def held_bytes(self) -> int:
        """Return the bytes of the items of manifests that are held."""
        return self._parts.held

    def _list_file(self, path: str, size: int, sha256: str) -> None:
        self._files.keep(path)
        self._parts.add(metadata.FILES, metadata.ITEMS, metadata.file_line(path, size, sha256))
        self._parts.add(metadata.CHECKSUMS, metadata.ITEMS, metadata.checksum_line(path, sha256))
