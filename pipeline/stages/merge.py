"""Merge: join the parts of all shards into one file per manifest.

No file is held in memory, and only a manifest's own transform parses anything.
"""

import hashlib
import importlib
from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np

from pipeline.destination import archives as packages
from pipeline.destination import metadata
from pipeline.errors import FormatError
from pipeline.executors.base import Executor
from pipeline.formats import Manifest, Section
from pipeline.formats.foreign import GuardedFormat
from pipeline.formats.output_paths import MAKE_IT_DIFFER, PathOwners
from pipeline.model.catalog import Catalog
from pipeline.model.naming import fold_hash
from pipeline.progress import Reporter
from pipeline.stages.workspace import Settings, Workspace, open_workspace
from pipeline.staging.area import Staging
from pipeline.staging.markers import ManifestMarker, RenderMarker, StagedCatalog
from pipeline.storage import Extent, Piece, Storage


class MergeInput(msgspec.Struct, frozen=True):
    """One manifest and its parts, by section, in shard order. ``parts_digest`` covers the contents of all packs."""

    manifest: Manifest
    parts: dict[str, tuple[Extent, ...]]
    parts_digest: str


def merge(
    settings: Settings, staged: StagedCatalog, markers: Sequence[RenderMarker], executor: Executor, reporter: Reporter
) -> list[ManifestMarker]:
    """Join every manifest that is not joined yet, and return the markers of all, in a fixed order."""
    workspace = open_workspace(settings)
    gathered = (
        gather_parts(manifest, markers, workspace.staging) for manifest in declared_manifests(workspace, staged.catalog)
    )
    inputs = [item for item in gathered if not item.manifest.optional or any(item.parts.values())]
    paths = [item.manifest.path for item in inputs]
    workspace.staging.write_manifest_intent([*paths, *([metadata.CARD] if workspace.config.report else [])])
    finished = {item.manifest.path: marker for item in inputs if (marker := _finished(item, workspace.staging))}
    reporter.begin(
        "merge", len(inputs), unit="manifests", resumed=len(finished),
        total_bytes=sum(map(_size, inputs)),
        resumed_bytes=sum(_size(item) for item in inputs if item.manifest.path in finished),
    )  # fmt: skip
    todo = [item for item in inputs if item.manifest.path not in finished]
    for marker in executor.map(merge_manifest, settings, todo):
        finished[marker.path] = marker
        reporter.advance(1, marker.size)
    reporter.end()
    return [finished[item.manifest.path] for item in inputs]


def declared_manifests(workspace: Workspace, catalog: Catalog) -> list[Manifest]:
    """Every manifest of an export, in a fixed order.

    Raises FormatError when a format may not have the path of one, and what a format raises that cannot use this
    catalog.
    """
    owners = PathOwners()
    own = [*packages.manifests(catalog)] if workspace.config.packaging == "tar" else []
    for manifest in own:
        owners.take(manifest.path, "packaging")
    found: list[Manifest] = []
    for format_ in workspace.formats:
        for manifest in format_.manifests(catalog):
            owners.claim(manifest.path, format_.name)
            found.append(manifest)
    return [*found, *own, *metadata.manifests(catalog)]


def refuse_repeated_files(workspace: Workspace, markers: Sequence[RenderMarker]) -> None:
    """Raise FormatError when a format that is not ours gave files of different shards the same path.

    Within a shard this is noticed before the second file is written. A path is hashed, so that ten million of them fit
    into memory.
    """
    if not any(isinstance(format_, GuardedFormat) for format_ in workspace.formats):
        return
    listed = gather_parts(Manifest(metadata.FILES, (Section(metadata.ITEMS),)), markers, workspace.staging)

    def paths() -> Iterator[str]:
        chunks = workspace.storage.read_pieces(listed.parts[metadata.ITEMS])
        return (row.path for row in metadata.listed_files(chunks) if row.path)

    hashes = np.sort(np.fromiter((fold_hash(path) for path in paths()), dtype=np.uint64))
    repeated = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    if repeated:
        path = next(path for path in paths() if fold_hash(path) in repeated)
        names = ", ".join(format_.name for format_ in workspace.formats if isinstance(format_, GuardedFormat))
        raise FormatError(names, f"writes {path} for samples of several shards; {MAKE_IT_DIFFER}")


def _size(item: MergeInput) -> int:
    """How many bytes the parts of a manifest have."""
    return sum(part.length for parts in item.parts.values() for part in parts)


def _finished(item: MergeInput, staging: Staging) -> ManifestMarker | None:
    marker = staging.read_manifest_marker(item.manifest.path)
    if marker is None or marker.parts != item.parts_digest:
        return None
    return marker if staging.storage.size(marker.path) == marker.size else None


def gather_parts(manifest: Manifest, markers: Sequence[RenderMarker], staging: Staging) -> MergeInput:
    """The manifest with all its parts."""
    parts: dict[str, list[Extent]] = {section.name: [] for section in manifest.sections}
    digest = hashlib.sha256(msgspec.json.encode(manifest))
    for marker in markers:
        pack = staging.pack_path(marker.index)
        for part in marker.parts:
            extent = part.extent
            if part.path == manifest.path and extent.length:
                parts[part.section].append(Extent(extent.path or pack, extent.start, extent.length))
                digest.update(extent.path.encode())
        digest.update(marker.sha256.encode())
    return MergeInput(manifest, {name: tuple(found) for name, found in parts.items()}, digest.hexdigest())


def merge_manifest(settings: Settings, item: MergeInput) -> ManifestMarker:
    """Join one manifest. Its marker is written last. Running it twice is safe."""
    staging = open_workspace(settings).staging
    size, sha256 = join_manifest(staging, item)
    marker = ManifestMarker(item.manifest.path, size, sha256, item.parts_digest)
    staging.write_manifest_marker(marker)
    return marker


def join_manifest(staging: Staging, item: MergeInput, tail: bytes = b"") -> tuple[int, str]:
    """Write the manifest, then ``tail``; returns its size and sha256."""
    storage: Storage = staging.storage
    pieces = list(_pieces(item, tail))
    if not item.manifest.transform:
        return storage.join(item.manifest.path, pieces)
    digest = hashlib.sha256()
    size = 0
    with storage.create(item.manifest.path) as file:
        for chunk in _function(item.manifest.transform)(storage.read_pieces(pieces)):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _pieces(item: MergeInput, tail: bytes) -> Iterator[Piece]:
    for section in item.manifest.sections:
        yield section.open
        for position, part in enumerate(item.parts[section.name]):
            # The separator stands before the part already, so that a store can copy both in one go.
            before = len(section.separator) if position else 0
            yield Extent(part.path, part.start - before, part.length + before)
        yield section.close
    yield tail


def _function(dotted: str) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    module, _, name = dotted.partition(":")
    function: Callable[[Iterator[bytes]], Iterator[bytes]] = getattr(importlib.import_module(module), name)
    return function
