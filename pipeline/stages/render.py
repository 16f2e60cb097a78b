"""Render: number and name a shard's samples, copy their originals, render them in every format. Shards run in parallel.

Whole files go to their final place, items of manifests into the shard's pack, from which the merge stage joins them.
Two attempts at a shard write the same bytes to the same paths, so they may overlap.
"""

import contextlib
import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import BinaryIO

import msgspec

from pipeline.config.export import ExportConfig
from pipeline.config.split_file import SplitFile, split_of
from pipeline.destination import metadata
from pipeline.destination.shard_writer import ShardWriter
from pipeline.errors import StagingError
from pipeline.executors.base import Executor
from pipeline.images.painting import measured_together
from pipeline.model.catalog import Catalog
from pipeline.model.ledger import failed_records, failure_reasons
from pipeline.model.naming import proposed_stem_and_suffix
from pipeline.model.shards import Shard
from pipeline.model.source import Copied, Wanted
from pipeline.progress import Reporter, ticker
from pipeline.records import Failure, Mask, NumberedSample, Opaque, Polygon, Record, Sample
from pipeline.stages.duplicates.hashing import group_key
from pipeline.stages.duplicates.one_split import digest_of
from pipeline.stages.extract import ShardResult, extract_shard, misses_original
from pipeline.stages.kept_originals import find_copies, keep_copies
from pipeline.stages.one_by_one import AttemptLog, render_one_by_one
from pipeline.stages.workspace import Settings, TaskContext, Workspace, open_workspace
from pipeline.staging.area import DAMAGED, Staging
from pipeline.staging.markers import ExtractMarker, Offset, Plan, RenderMarker, StagedCatalog
from pipeline.staging.samples import SampleFile
from pipeline.statistics.measuring import Measurer
from pipeline.storage import Extent, Storage

_LANES = 2  # one shard waits for its originals or its store, the other is rendered
_COPY_STEPS = 4
_KEPT_BYTES = 2 * 2**20  # of encoded samples; decoded they take some ten times as much

# Samples that are decoded at a time: how many, and how many numbers of outlines and bytes of other shapes they have.
_GROUP_SAMPLES, _GROUP_SIZE, _LEAST_SIZE = 256, 40_000, 8


class RenderContext(msgspec.Struct, frozen=True):
    """What all render tasks of a run share: the catalog, and its digest.

    ``moves`` is the digest of the records that change their split, ``""`` for none.
    """

    task: TaskContext
    catalog: Catalog
    catalog_digest: str
    moves: str = ""

    def carefully(self) -> "RenderContext":
        """The same context for careful tasks."""
        return msgspec.structs.replace(self, task=self.task.carefully())


class RenderInput(msgspec.Struct, frozen=True):
    """One shard to render: what comes before it, and the stems that some of its samples get instead of their own."""

    shard: Shard
    before: Offset
    stems: dict[str, str]


def render_shards(
    settings: Settings, plan: Plan, staged: StagedCatalog, digest: str, executor: Executor, reporter: Reporter
) -> list[RenderMarker]:
    """Render every shard that is not rendered yet, and return the markers of all shards, in order."""
    workspace = open_workspace(settings)
    markers = list(workspace.staging.render_markers(plan, digest))
    inputs = [
        RenderInput(shard, staged.offsets[shard.index], staged.stems.get(shard.index, {}))
        for shard, marker in zip(plan.shards, markers, strict=True)
        if not (marker and _is_intact(marker, workspace))
    ]
    waiting = sum(item.shard.count for item in inputs)
    reporter.begin("render", plan.records, resumed=plan.records - waiting)
    context = RenderContext(TaskContext(settings, plan.fingerprint), staged.catalog, digest, staged.moves)
    waits = workspace.config.save_original_file or workspace.storage.is_shared
    results = executor.map(
        render_shard,
        context,
        inputs,
        careful=context.carefully(),
        lanes=_LANES if waits else 1,
        interrupt=workspace.interrupt,
    )
    with reporter.following():
        for result in results:
            result.tell(reporter)
    reporter.end()
    finished = [marker for marker in workspace.staging.render_markers(plan, digest) if marker]
    if len(finished) != len(plan.shards):
        raise StagingError(
            f"{len(plan.shards) - len(finished)} shards",
            "were rendered, but their markers are missing; run the same command again to render them",
        )
    return finished


def _is_intact(marker: RenderMarker, workspace: Workspace) -> bool:
    """Whether everything that an earlier run wrote for a shard is there, with the right size."""
    storage, staging = workspace.storage, workspace.staging
    if any(failure.transient for failure in marker.failures):
        return False
    pack = storage.find(staging.pack_path(marker.index))
    if pack is None or metadata.digest(pack) != marker.sha256:
        return False
    if not all(map(staging.is_spill_intact, {part.extent.path for part in marker.parts if part.extent.path})):
        return False
    if storage.is_shared:  # an object that was stored stays; a file may be lost in a power cut
        return True
    for part in (part for part in marker.parts if part.path == metadata.FILES):
        own = _bytes_of(part.extent, pack, storage)
        rows = csv.reader(io.StringIO(own.decode()))
        if not all(storage.size(path) == int(size) for path, size, _ in rows):
            return False
    return True


def _bytes_of(extent: Extent, pack: bytes, storage: Storage) -> bytes:
    if extent.path:
        return storage.read_range(extent.path, extent.start, extent.length)
    return pack[extent.start :][: extent.length]


def render_shard(context: RenderContext, item: RenderInput) -> ShardResult:
    """Render one shard. Its marker is written last. Running it twice is safe."""
    workspace = open_workspace(context.task.settings)
    marker, samples = _staged_samples(context, item, workspace)
    moves = _split_moves(context, workspace)
    numbered = _NumberedSamples(
        samples, partial(number_samples, samples, item, workspace.config, workspace.split_file, moves)
    )
    writer = ShardWriter(
        workspace.storage,
        workspace.formats,
        context.catalog,
        marker.ledger,
        packaging=workspace.config.packaging,
        staging=workspace.staging,
        index=item.shard.index,
        catalog_digest=context.catalog_digest,
        measurer=Measurer(context.catalog) if workspace.config.report else None,
    )
    copies: dict[str, Copied | Failure] = {}
    steps = _Steps(item.shard, marker.summary.samples)
    if workspace.config.save_original_file:
        wanted = wanted_originals(numbered, workspace.config)
        steps.expect(len(wanted))
        writer.record_intent([one.path for one in wanted])
        copies = copy_originals(wanted, item.shard, workspace, context.task.fingerprint, steps)
    with workspace.rendering:
        if context.task.careful:
            render_one_by_one(numbered, writer, copies, AttemptLog(workspace.staging, "render", item.shard.index))
        else:
            for group, outlines in _in_groups(numbered):
                with measured_together(outlines):
                    for sample in group:
                        writer.add(sample, copies.get(sample.original_path))
                        steps.rendered()
    failures = (*marker.failures, *writer.failures)
    writer.add_failures(failures)
    writer.flush()
    writer.remove_left_over()
    failed_now = writer.count_failed_records(failed_records(marker.failures))
    parts, chunks = writer.pack()
    workspace.staging.write_render_marker(
        RenderMarker(
            fingerprint=context.task.fingerprint,
            index=item.shard.index,
            catalog=context.catalog_digest,
            sha256=workspace.staging.write_pack(item.shard.index, chunks),
            parts=parts,
            ledger=writer.ledger,
            failures=tuple(writer.failures),
        )
    )
    return ShardResult(
        item.shard.count,
        writer.bytes,
        failed_now,
        item.shard.index,
        workspace.source.take_retries(),
        failure_reasons(writer.failures, failed_records(marker.failures)),
    )


class _Steps:
    """How far a shard is: an original that is copied counts as ``_COPY_STEPS`` samples that are rendered."""

    def __init__(self, shard: Shard, samples: int) -> None:
        self._tick = ticker(shard.index, shard.count)
        self._total = max(samples, 1)
        self._done = 0

    def expect(self, originals: int) -> None:
        """Say how many originals are copied before the samples are rendered."""
        self._total += originals * _COPY_STEPS

    def copied(self) -> None:
        """Count an original. Several threads may call this."""
        self._count(_COPY_STEPS)

    def rendered(self) -> None:
        """Count a sample."""
        self._count(1)

    def _count(self, steps: int) -> None:
        self._done += steps  # two threads at once may lose one: the end of the shard counts it right
        self._tick(self._done / self._total)


class _NumberedSamples:
    """The numbered samples of a shard, for reading twice: which originals are wanted, then rendering.

    Those of a small shard are decoded once and kept, those of a large one are decoded each time.
    """

    def __init__(self, samples: SampleFile, number: Callable[[], Iterator[NumberedSample]]) -> None:
        self._number = number
        self._kept = list(number()) if samples.size <= _KEPT_BYTES else None

    def __iter__(self) -> Iterator[NumberedSample]:
        return self._number() if self._kept is None else iter(self._kept)


def _in_groups(samples: Iterable[NumberedSample]) -> Iterator[tuple[list[NumberedSample], list[Sequence[float]]]]:
    """Yield the samples some at a time, with their outlines, which are measured together.

    A large sample ends its group, so that there is never a second one in memory.
    """
    group: list[NumberedSample] = []
    outlines: list[Sequence[float]] = []
    size = 0
    for sample in samples:
        group.append(sample)
        for annotation in sample.sample.annotations:
            shape = annotation.shape
            size += _LEAST_SIZE
            if isinstance(shape, Polygon):
                outlines.append(shape.points)
                size += len(shape.points)
            elif isinstance(shape, Mask):
                size += len(shape.runs)
            elif isinstance(shape, Opaque):
                size += len(shape.json)
        if size >= _GROUP_SIZE or len(group) >= _GROUP_SAMPLES:
            yield group, outlines
            group, outlines, size = [], [], 0
    if group:
        yield group, outlines


def _staged_samples(
    context: RenderContext, item: RenderInput, workspace: Workspace
) -> tuple[ExtractMarker, SampleFile]:
    staging: Staging = workspace.staging
    marker = staging.read_extract_marker(item.shard.index)
    try:
        return marker, staging.read_samples(marker)
    except StagingError:
        # Damaged on disk: extracting the shard again must give exactly the same samples, or the catalog is void.
        extract_shard(msgspec.structs.replace(context.task, careful=False), item.shard)
        return marker, staging.read_samples(marker)


def _split_moves(context: RenderContext, workspace: Workspace) -> SplitFile | None:
    """Read which records change their split: anew for each shard, because a worker may serve several runs."""
    if not context.moves:
        return None
    moves = workspace.staging.read_split_moves()
    if moves is None or digest_of(moves) != context.moves:
        raise StagingError(workspace.staging.split_moves_path, DAMAGED)
    return moves


def number_samples(
    samples: Iterable[tuple[Record, Sample, str]],
    item: RenderInput,
    config: ExportConfig,
    split_file: SplitFile | None,
    moves: SplitFile | None = None,
) -> Iterator[NumberedSample]:
    """Give the samples of a shard their ids, splits and final names. ``moves`` puts some into another split."""
    annotation_id = item.before.annotations + 1
    images = dict(item.before.images)
    for image_id, (record, sample, own_stem) in enumerate(samples, start=item.before.samples + 1):
        stem = item.stems.get(f"{sample.record_id}/{sample.ordinal}", own_stem)
        suffix = proposed_stem_and_suffix(sample, config.naming)[1]
        split = (moves and moves.find(group_key(record))) or split_of(record, config.split, split_file)
        position = images.get(split, 0)
        if sample.has_image:
            images[split] = position + 1
        yield NumberedSample(
            record=record,
            sample=sample,
            image_id=image_id,
            annotation_id=annotation_id,
            split=split,
            stem=stem,
            file_name=stem + suffix,
            position=position,
            is_original_missing=misses_original(sample, config),
        )
        annotation_id += len(sample.annotations)


def wanted_originals(numbered: Iterable[NumberedSample], config: ExportConfig) -> list[Wanted]:
    """The originals of samples that can be fetched, and where each goes."""
    policy = config.exif
    return [
        Wanted(
            source.record_id,
            source.file.spec,
            sample.original_path,
            source.file.size,
            pixels=(source.width, source.height) if source.width and source.height and policy != "ignore" else None,
            bake=policy == "bake",
        )
        for sample in numbered
        if (source := sample.sample).file is not None and source.file.is_fetchable
    ]


def copy_originals(
    wanted: list[Wanted], shard: Shard, workspace: Workspace, fingerprint: str, steps: _Steps
) -> dict[str, Copied | Failure]:
    """Copy the originals of a shard that are not in place; returns what became of each, by its path."""
    storage = workspace.storage

    def write(path: str, data: bytes) -> None:
        storage.write(path, data)
        steps.copied()

    @contextlib.contextmanager
    def create(path: str) -> Iterator[BinaryIO]:
        with storage.create(path) as file:
            yield file
        steps.copied()

    if not workspace.config.max_failures:
        return dict(workspace.source.copy_originals(shard, wanted, write, create))
    # The export may be published with failures and patched later: then only what failed is fetched.
    found = find_copies(workspace, fingerprint, shard.index, wanted)
    missing = [one for one in wanted if one.path not in found]
    copied = dict(workspace.source.copy_originals(shard, missing, write, create)) if missing else {}
    copies = {one.path: found[one.path] if one.path in found else copied[one.path] for one in wanted}
    keep_copies(workspace, fingerprint, shard.index, wanted, copies)
    return copies
