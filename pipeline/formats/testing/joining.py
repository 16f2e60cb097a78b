"""Exports in memory: what the stages *render* and *merge* do with a format, without input or output."""

import hashlib
import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from pipeline.formats.protocol import Entry, Format, Loss, Manifest
from pipeline.model.catalog import Catalog
from pipeline.records import NumberedSample

type Files = dict[str, bytes]
"""The files of an export by path, in the order of their paths."""


def join_samples(format_: Format, numbered: Sequence[NumberedSample], catalog: Catalog) -> Files:
    """Return the files of an export, as the stages *render* and *merge* make them from one shard."""
    return join_shards(format_, [numbered], catalog)


def original_of(sample: NumberedSample) -> bytes:
    """Return bytes that stand for a sample's original, of its size."""
    assert sample.original is not None, f"{sample.stem} has no original"
    return (b"<original %d>" % sample.image_id).ljust(sample.original.size, b".")


def join_shards(format_: Format, shards: Iterable[Sequence[NumberedSample]], catalog: Catalog) -> Files:
    """Return the files of an export of several shards.

    Raises AssertionError when the format breaks its contract.
    """
    manifests: dict[str, Manifest] = {}
    for manifest in format_.manifests(catalog):
        assert manifest.path not in manifests, f"{manifest.path} is declared twice"
        manifests[manifest.path] = manifest
    separators = {(path, section.name): section.separator for path, m in manifests.items() for section in m.sections}
    parts: dict[tuple[str, str], list[bytes]] = {key: [] for key in separators}
    tree: Files = {}
    for shard in shards:
        items: dict[tuple[str, str], list[bytes]] = {}
        for sample, entry in ((numbered, item) for numbered in shard for item in format_.render(numbered, catalog)):
            if isinstance(entry, Loss):
                continue
            assert isinstance(entry, Entry), f"{entry!r} is neither an Entry nor a Loss"
            assert isinstance(entry.data, bytes), f"{entry.path} is not bytes"
            data = entry.data
            if entry.original:
                assert not data, f"{entry.path} is an original and has bytes of its own"
                assert not (entry.as_jpeg and entry.section), f"{entry.path} asks for a JPEG inside a manifest"
                data = original_of(sample)
            if entry.section:
                key = entry.path, entry.section
                assert key in separators, f"section {entry.section!r} of {entry.path} is not declared"
                assert not (entry.original and separators[key]), f"{entry.path} separates originals"
                items.setdefault(key, []).append(data)
            else:
                assert entry.path not in tree, f"{entry.path} is written twice"
                assert entry.path not in manifests, f"{entry.path} is a manifest and a file"
                tree[entry.path] = data
        for key, found in items.items():
            parts[key].append(separators[key].join(found))
    for path, manifest in manifests.items():
        joined = b"".join(
            section.open + section.separator.join(parts[path, section.name]) + section.close
            for section in manifest.sections
        )
        tree[path] = transform_bytes(manifest, joined)
    return dict(sorted(tree.items()))


def transform_bytes(manifest: Manifest, joined: bytes) -> bytes:
    """Return the bytes of a manifest's file. Raises AssertionError when they depend on how the joined bytes are cut."""
    if not manifest.transform:
        return joined
    module, _, function = manifest.transform.partition(":")
    transform: Callable[[Iterable[bytes]], Iterable[bytes]] = getattr(importlib.import_module(module), function)
    whole = b"".join(transform(iter([joined])))
    step = max(1, len(joined) // 7)
    assert b"".join(transform(joined[start : start + step] for start in range(0, len(joined), step))) == whole
    return whole


def find_losses(
    format_: Format, numbered: Iterable[NumberedSample], catalog: Catalog
) -> Iterator[tuple[NumberedSample, list[Loss]]]:
    """Yield each sample with its losses."""
    for sample in numbered:
        yield sample, [result for result in format_.render(sample, catalog) if isinstance(result, Loss)]


def digest_files(tree: Files) -> str:
    """Return one digest of all files."""
    whole = hashlib.sha256()
    for path, data in sorted(tree.items()):
        whole.update(f"{len(path)} {path} {len(data)} ".encode() + data)
    return whole.hexdigest()
