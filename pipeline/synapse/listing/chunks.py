"""Pages of keys, cut into shards."""

from collections.abc import Iterable, Iterator

import msgspec
import numpy as np

from pipeline.model.shards import Shard, pack_keys, unpack_keys


class Chunk(msgspec.Struct, frozen=True):
    """The new keys of one page, packed, ascending; ``address`` is where the page starts."""

    count: int
    keys: bytes
    models: bytes
    address: str


def cut_chunks(chunks: list[Chunk], size: int, *, with_models: bool = False) -> list[Shard]:
    """Shards of ``size`` records, lowest keys first, from chunks with the highest keys first."""
    return [
        Shard(index, len(keys), pack_keys(keys), pack_keys(models) if with_models else b"")
        for index, (keys, models) in enumerate(_slices(reversed(chunks), size))
    ]


def _slices(chunks: Iterable[Chunk], size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    keys, models = np.empty(0, dtype="<i8"), np.empty(0, dtype="<i8")
    for chunk in chunks:
        keys = np.concatenate((keys, unpack_keys(chunk.keys)))
        models = np.concatenate((models, unpack_keys(chunk.models)))
        while len(keys) >= size:
            yield keys[:size], models[:size]
            keys, models = keys[size:], models[size:]
    if len(keys):
        yield keys, models


def group_pages(chunks: list[Chunk], pages: int) -> list[Shard]:
    """Shards of whole pages, lowest keys first, with the addresses of their pages, highest keys first."""
    filled = [chunk for chunk in chunks if chunk.count]
    groups = [filled[start : start + pages] for start in range(0, len(filled), pages)][::-1]
    return [
        Shard(
            index,
            sum(chunk.count for chunk in group),
            pack_keys(np.concatenate([unpack_keys(chunk.keys) for chunk in reversed(group)])),
            cursors=tuple(chunk.address for chunk in group),
        )
        for index, group in enumerate(groups)
    ]
