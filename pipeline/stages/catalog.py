"""Catalog: decide everything global in one place, between extracting and rendering.

This runs in the driver, over shard summaries and narrow columns only. It holds 8 bytes per sample for names; nothing
else grows with the number of records.
"""

import contextlib
import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from pipeline.config.class_lock import ClassLock, check_new
from pipeline.config.export import ExportConfig
from pipeline.config.sections import SplitConfig
from pipeline.config.split_file import SplitFile
from pipeline.errors import StagingError
from pipeline.formats import BaseFormat
from pipeline.model.catalog import Catalog, ShardSummary, build_catalog, total_summary
from pipeline.model.labels import class_names, normalise_label
from pipeline.model.naming import colliding_hashes, fold, fold_hash, resolve_collisions
from pipeline.model.skeletons import Skeleton, derive_skeletons, keep_locked, make_skeleton
from pipeline.model.splits import UNASSIGNED
from pipeline.progress import Reporter
from pipeline.stages.duplicates.one_split import digest_of, moved_summaries
from pipeline.staging.area import Staging
from pipeline.staging.markers import ExtractMarker, Given, Offset, Plan, StagedCatalog


def make_catalog(
    config: ExportConfig,
    plan: Plan,
    staging: Staging,
    reporter: Reporter,
    *,
    redone: int,
    formats: Iterable[BaseFormat] = (),
    moves: SplitFile | None = None,
) -> tuple[StagedCatalog, str]:
    """The frozen catalog and its digest: the one an earlier run froze, or a new one from the extracted shards.

    It knows the classes of each tree of labels that ``formats`` have, and counts the records that ``moves`` puts into
    another split there.

    Raises StagingError when there is a frozen one but some of its shards had to be extracted again (``redone``)
    and came out differently, because files may have been written with the old numbers and names.
    """
    frozen = staging.read_catalog()
    moved = digest_of(moves) if moves is not None else ""
    if frozen and not redone and frozen[0].moves == moved:
        return frozen
    reporter.begin("catalog", len(plan.shards), unit="shards")
    markers = [marker for marker in staging.extract_markers(plan) if marker]
    if len(markers) != len(plan.shards):
        raise StagingError(f"{len(plan.shards) - len(markers)} shards", "are not extracted")
    summaries = [marker.summary for marker in markers] if moves is None else moved_summaries(markers, staging, moves)
    try:
        stems = _changed_stems(markers, staging)
    except StagingError:
        _void_all_damaged(markers, staging)
        raise
    catalog = catalog_of(config, plan.given, total_summary(summaries), formats)
    staged = StagedCatalog(catalog, _offsets(summaries), stems, moved)
    if frozen and frozen[0] != staged:
        raise StagingError("staged data was lost and the records changed since; start anew with on_existing: overwrite")
    digest = staging.write_catalog(staged)
    reporter.advance(len(plan.shards))
    reporter.end()
    return staged, digest


def _void_all_damaged(markers: Sequence[ExtractMarker], staging: Staging) -> None:
    """Void the marker of every shard whose samples are damaged, so that one run makes all of them again."""
    for marker in markers:
        with contextlib.suppress(StagingError):
            staging.read_samples(marker)


def catalog_of(
    config: ExportConfig, given: Given, summary: ShardSummary, formats: Iterable[BaseFormat] = ()
) -> Catalog:
    """The catalog of an export whose shards add up to ``summary``, with the trees of ``formats``.

    Raises ConfigError when there are classes without an id in the class lock, and ``classes.drift`` is ``error``.
    """
    trees: dict[str, Collection[str]] = {}
    for format_ in formats:
        trees |= format_.trees(config.masks)
    lock = given.lock or ClassLock()
    catalog = build_catalog(
        summary,
        name=config.name,
        description=config.description,
        target=config.target,
        masks=config.masks,
        configured=given.classes,
        locked=lock.classes,
        order=config.classes.order,
        rename=config.classes.rename,
        drop=config.classes.drop,
        skeletons=_skeletons(config, given, summary),
        warnings=(
            *_split_warnings(config.split, given, summary),
            *map(UnknownName.warning, unknown_names(config, given, summary)),
        ),
        tools=given.tools,
        trees=trees,
        locked_trees=lock.numbered_trees,
        locked_objects=lock.numbered_objects,
    )
    if given.lock:
        catalog = msgspec.structs.replace(
            catalog, warnings=(*catalog.warnings, *check_new(given.lock, config, catalog))
        )
    return catalog


def _skeletons(config: ExportConfig, given: Given, summary: ShardSummary) -> tuple[Skeleton, ...]:
    locked = given.lock.skeletons if given.lock else {}
    if config.skeletons is not None:
        described = [make_skeleton(name, own.points, own.edges, own.flip) for name, own in config.skeletons.items()]
        return keep_locked(described, locked)
    names = class_names(config.classes.rename, config.classes.drop)
    labels = given.points or sorted(summary.points)
    return derive_skeletons((final for label in labels if (final := names.final(label)) is not None), locked)


class UnknownName(NamedTuple):
    """A name below ``key`` of the configuration that neither the project nor the data has, and what resembles it."""

    key: str
    name: str
    near: str

    def warning(self, data: str = "the data") -> str:
        """What is wrong with it, where; ``data`` says which data was looked at."""
        return f"{self.key}: {self.problem(data)}"

    def problem(self, data: str) -> str:
        """What is wrong with it."""
        hint = f"; did you mean {self.near!r}?" if self.near else ""
        return f"{self.name!r} is a class of neither the project nor {data}{hint}"


def unknown_names(config: ExportConfig, given: Given, summary: ShardSummary) -> Iterator[UnknownName]:
    """Yield every unknown name in ``classes``: a misspelt one renames or drops nothing, without a word."""
    known = {*given.classes, *given.points, *summary.labels}
    if given.lock:  # what earlier exports had, and renamed or dropped, need not be in this one
        known |= {*given.lock.classes, *given.lock.rename, *given.lock.drop}
    renamed = set(map(normalise_label, config.classes.rename.values()))
    for key, names, found in (
        ("classes.rename", config.classes.rename, known),
        ("classes.drop", config.classes.drop, known | renamed),
    ):
        for name in sorted(set(map(normalise_label, names)) - found):
            near = difflib.get_close_matches(name, sorted(found), 1)
            yield UnknownName(key, name, near[0] if near else "")


def _split_warnings(split: SplitConfig, given: Given, summary: ShardSummary) -> tuple[str, ...]:
    warnings = []
    if summary.ungrouped:
        fate = f"are in split {UNASSIGNED!r}" if split.by == "file" else "are split by their own ids, not as a group"
        warnings.append(f"{summary.ungrouped} records have no {split.key}; they {fate}")
    if split.by == "file" and not split.groups and given.split_keys > summary.listed:
        warnings.append(f"{given.split_keys - summary.listed} ids in {split.file} are of no record of this export")
    return tuple(warnings)


def _offsets(summaries: list[ShardSummary]) -> tuple[Offset, ...]:
    """What comes before each shard."""
    offsets = [Offset()]
    for summary in summaries:
        before = offsets[-1]
        images = {
            split: before.images.get(split, 0) + summary.splits.get(split, 0)
            for split in sorted(before.images.keys() | summary.splits.keys())
        }
        offsets.append(Offset(before.samples + summary.samples, before.annotations + summary.annotations, images))
    return tuple(offsets[:-1])


def _changed_stems(markers: list[ExtractMarker], staging: Staging) -> dict[int, dict[str, str]]:
    """For each shard, the samples whose stem is taken, with the stem that each gets instead."""
    if not markers:
        return {}
    per_shard = [staging.read_stem_hashes(marker) for marker in markers]
    hashes = np.sort(np.concatenate(per_shard))
    colliding = colliding_hashes(hashes)
    if not len(colliding):
        return {}
    claims: list[tuple[str, int, int]] = []
    home: dict[tuple[int, int], int] = {}
    for marker, own in zip(markers, per_shard, strict=True):
        hits = np.isin(own, colliding)
        if not hits.any():
            continue
        for hit, claim in zip(hits, staging.read_stem_claims(marker), strict=True):
            if hit:
                claims.append(claim)
                home[claim[1:]] = marker.index

    def taken(folded: str) -> bool:
        wanted = np.uint64(fold_hash(folded))
        position = int(np.searchsorted(hashes, wanted))
        return position < len(hashes) and bool(hashes[position] == wanted)

    own_stem = {(record_id, ordinal): stem for stem, record_id, ordinal in claims}
    changed: dict[int, dict[str, str]] = {}
    for (record_id, ordinal), stem in sorted(resolve_collisions(claims, taken).items()):
        if fold(stem) != fold(own_stem[record_id, ordinal]):
            changed.setdefault(home[record_id, ordinal], {})[f"{record_id}/{ordinal}"] = stem
    return changed
