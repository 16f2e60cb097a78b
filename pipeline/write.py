"""Write: give a shard's samples their numbers and names, copy the originals, render every format. Parallel.

Whole files go to their final place, items of manifests into the shard's pack, from which the merge stage joins
them. Two attempts of the same shard write the same bytes to the same names, so they may overlap harmlessly.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from pipeline import metadata
from pipeline.catalog import Catalog
from pipeline.config import ExportConfig
from pipeline.errors import FormatError, StagingError
from pipeline.executors import Executor
from pipeline.extract import ExtractContext, ShardResult, extract_shard, failed_records, split_of
from pipeline.formats import Entry, Format, Loss
from pipeline.ledger import FormatCount, Ledger
from pipeline.naming import proposed_stem_and_suffix
from pipeline.progress import Reporter
from pipeline.reasons import Reason
from pipeline.records import Failure, NumberedSample, Sample
from pipeline.shards import Shard
from pipeline.staging import ExtractMarker, Part, Plan, StagedCatalog, StagedSamples, Staging, WriteMarker
from pipeline.storage import Storage
from pipeline.synapse.source import Copied, Wanted
from pipeline.workspace import Settings, Workspace, open_workspace

_BATCH_BYTES = 16 * 2**20


class WriteContext(msgspec.Struct, frozen=True):
    """What all write tasks of a run share."""

    settings: Settings
    fingerprint: str
    catalog: Catalog
    catalog_digest: str


class WriteInput(msgspec.Struct, frozen=True):
    """One shard to write: how many samples and annotations come before it, and which of its stems are taken."""

    shard: Shard
    samples_before: int
    annotations_before: int
    stems: dict[str, str]


def write(
    settings: Settings, plan: Plan, staged: StagedCatalog, digest: str, executor: Executor, reporter: Reporter
) -> list[WriteMarker]:
    """Write every shard that is not written yet; returns the markers of all shards, in order."""
    workspace = open_workspace(settings)
    markers = list(workspace.staging.write_markers(plan, digest))
    inputs = [
        WriteInput(shard, *staged.offsets[shard.index], staged.stems.get(shard.index, {}))
        for shard, marker in zip(plan.shards, markers, strict=True)
        if not (marker and _is_intact(marker, workspace))
    ]
    waiting = sum(item.shard.count for item in inputs)
    reporter.begin("write", plan.records, resumed=plan.records - waiting)
    context = WriteContext(settings, plan.fingerprint, staged.catalog, digest)
    for result in executor.map(write_shard, context, inputs):
        reporter.advance(result.records, result.bytes, result.failures)
    reporter.end()
    finished = [marker for marker in workspace.staging.write_markers(plan, digest) if marker]
    if len(finished) != len(plan.shards):
        raise StagingError(f"{len(plan.shards) - len(finished)} shards", "were written but their markers are gone")
    return finished


def _is_intact(marker: WriteMarker, workspace: Workspace) -> bool:
    """Whether everything an earlier run wrote for a shard is still there, with the right size."""
    storage, staging = workspace.storage, workspace.staging
    if any(failure.transient for failure in marker.failures):
        return False
    pack = storage.find(staging.pack_path(marker.index))
    if pack is None or metadata.digest(pack) != marker.sha256:
        return False
    listed = next((part for part in marker.parts if part.path == metadata.FILES), None)
    if listed is None or storage.is_shared:  # an object that was put is there; a file may be lost in a power cut
        return True
    rows = csv.reader(io.StringIO(pack[listed.start : listed.start + listed.length].decode()))
    return all(storage.size(path) == int(size) for path, size, _ in rows)


def write_shard(context: WriteContext, item: WriteInput) -> ShardResult:
    """Write one shard; its marker comes last. Safe to run twice."""
    workspace = open_workspace(context.settings)
    marker, samples = _staged_samples(context, item, workspace)
    saves_originals = workspace.config.save_original_file
    copies = copy_originals(number(samples, item, workspace.config), item.shard, workspace) if saves_originals else {}
    output = ShardOutput(workspace.storage, workspace.formats, context.catalog, marker.ledger)
    for sample in number(samples, item, workspace.config):
        output.add(sample, copies.get(sample.original_path))
    failures = (*marker.failures, *output.failures)
    output.add_failures(failures)
    output.flush()
    output.ledger.failed_records = len(failed_records(failures))
    parts, chunks = output.parts()
    workspace.staging.write_write_marker(
        WriteMarker(
            fingerprint=context.fingerprint,
            index=item.shard.index,
            catalog=context.catalog_digest,
            sha256=workspace.staging.write_pack(item.shard.index, chunks),
            parts=parts,
            ledger=output.ledger,
            failures=tuple(output.failures),
        )
    )
    return ShardResult(item.shard.count, output.bytes, len(failed_records(output.failures)))


def _staged_samples(
    context: WriteContext, item: WriteInput, workspace: Workspace
) -> tuple[ExtractMarker, StagedSamples]:
    staging: Staging = workspace.staging
    marker = staging.read_extract_marker(item.shard.index)
    try:
        return marker, staging.read_samples(marker)
    except StagingError:
        # Damaged on disk: extracting the shard again must give the very same samples, or the catalog is void.
        extract_shard(ExtractContext(context.settings, context.fingerprint), item.shard)
        return marker, staging.read_samples(marker)


def number(samples: Iterable[tuple[Sample, str]], item: WriteInput, config: ExportConfig) -> Iterator[NumberedSample]:
    """The samples of a shard with their ids, splits and final names."""
    annotation_id = item.annotations_before + 1
    for position, (sample, own_stem) in enumerate(samples):
        stem = item.stems.get(f"{sample.record_id}/{sample.ordinal}", own_stem)
        suffix = proposed_stem_and_suffix(sample, config.naming)[1]
        yield NumberedSample(
            sample=sample,
            image_id=item.samples_before + position + 1,
            annotation_id=annotation_id,
            split=split_of(sample, config.split),
            stem=stem,
            file_name=stem + suffix,
        )
        annotation_id += len(sample.annotations)


def copy_originals(
    numbered: Iterable[NumberedSample], shard: Shard, workspace: Workspace
) -> dict[str, Copied | Failure]:
    """Copy the originals of a shard; what became of each, by its output path."""
    storage = workspace.storage
    wanted = [
        Wanted(sample.sample.record_id, sample.sample.file.spec, sample.original_path, sample.sample.file.size)
        for sample in numbered
        if sample.sample.file is not None
    ]
    return dict(workspace.source.copy_originals(shard, wanted, storage.write, storage.create))


class ShardOutput:
    """Collects what a shard writes: batches of whole files, the parts of manifests, and the books."""

    def __init__(
        self,
        storage: Storage,
        formats: Sequence[Format],
        catalog: Catalog,
        extracted: Ledger,
    ) -> None:
        self._storage = storage
        self._formats = formats
        self._catalog = catalog
        self._separators = {
            (manifest.path, section.name): section.separator
            for manifest in [m for format_ in formats for m in format_.manifests(catalog)]
            for section in manifest.sections
        }
        self._items: dict[tuple[str, str], list[bytes]] = {}
        self._batch: list[tuple[str, bytes]] = []
        self._batch_bytes = 0
        self.bytes = 0
        self.failures: list[Failure] = []
        self.ledger = Ledger(
            records=extracted.records,
            annotations=extracted.annotations,
            formats={format_.name: FormatCount() for format_ in formats},
            bytes=extracted.bytes,
        )

    def add(self, sample: NumberedSample, copied: Copied | Failure | None) -> None:
        """Write one sample in every format; ``copied`` is its original, when originals are asked for."""
        originals = self.ledger.originals
        output_name, size, sha256 = sample.stem, None, ""
        if copied is not None:
            originals.seen += 1
        if isinstance(copied, Failure):
            originals.fail(copied.reason)
            self.failures.append(copied)
        elif copied is not None:
            originals.written += 1
            output_name, size, sha256 = copied.path, copied.size, copied.sha256
            self.bytes += copied.size
            self._list_file(copied.path, copied.size, copied.sha256)
        self._append(metadata.RECORDS, metadata.ITEMS, metadata.record_line(sample, output_name, size, sha256))
        if isinstance(copied, Failure):
            # A label whose image is not there would stop the reader of the dataset.
            sample = msgspec.structs.replace(sample, sample=msgspec.structs.replace(sample.sample, file=None))
        for format_ in self._formats:
            self._add_format(sample, format_)

    def _add_format(self, sample: NumberedSample, format_: Format) -> None:
        books = self.ledger.formats[format_.name]
        annotations = sample.sample.annotations
        books.samples.seen += 1
        books.annotations.seen += len(annotations)
        try:
            results = list(format_.render(sample, self._catalog))
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
                self._add_entry(result, format_, books)
            else:
                losses.append(result)
        self._account(sample, format_.name, books, losses)

    def _add_entry(self, entry: Entry, format_: Format, books: FormatCount) -> None:
        if entry.section:
            items = self._items.get((entry.path, entry.section))
            if items is None:
                if (entry.path, entry.section) not in self._separators:
                    raise FormatError(
                        format_.name, f"section {entry.section!r} of {entry.path} is not in its manifests"
                    )
                items = self._items[entry.path, entry.section] = []
            items.append(entry.data)
            return
        books.files += 1
        self._batch.append((entry.path, entry.data))
        self._batch_bytes += len(entry.data)
        self.bytes += len(entry.data)
        self._list_file(entry.path, len(entry.data), metadata.digest(entry.data))
        if self._batch_bytes > _BATCH_BYTES:
            self.flush()

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
            if not number:
                whole = group.reason if group.outcome == "skipped" else whole
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
        self._storage.write_many(self._batch)
        self._batch, self._batch_bytes = [], 0

    def parts(self) -> tuple[tuple[Part, ...], Iterator[bytes]]:
        """Where each part will be in the pack, and the pack's bytes."""
        joined = [
            (path, section, self._separators.get((path, section), b"").join(items))
            for (path, section), items in sorted(self._items.items())
        ]
        parts: list[Part] = []
        start = 0
        for path, section, data in joined:
            parts.append(Part(path, section, start, len(data)))
            start += len(data)
        return tuple(parts), (data for _, _, data in joined)

    @property
    def rendered_bytes(self) -> int:
        """Bytes of everything the formats made so far."""
        own = {(path, section) for path, section in self._items if not path.startswith("metadata/")}
        return self.bytes + sum(len(item) for key in own for item in self._items[key])

    def _append(self, path: str, section: str, data: bytes) -> None:
        self._items.setdefault((path, section), []).append(data)

    def _list_file(self, path: str, size: int, sha256: str) -> None:
        self._append(metadata.FILES, metadata.ITEMS, metadata.file_line(path, size, sha256))
        self._append(metadata.CHECKSUMS, metadata.ITEMS, metadata.checksum_line(path, sha256))
