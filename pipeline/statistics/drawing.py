"""Samples as they are drawn in a report: a bounded number of bytes each."""

import hashlib

import msgspec
import numpy as np

from pipeline.images.geometry import corners
from pipeline.images.masks import MaskError
from pipeline.images.outlines import trace_outlines
from pipeline.model.catalog import Catalog
from pipeline.records import Annotation, Box, Mask, NumberedSample, Point, Polygon, Polyline
from pipeline.statistics.totals import Drawing, DrawnSample

MOST_DRAWINGS = 60
"""Annotations of a sample that are drawn."""
_MOST_POINTS = 48
_MOST_RUNS = 1 << 16
_MOST_OUTLINES = 4
_SCALE = 1000


def rank_of(sample: NumberedSample) -> int:
    """Return a number below 2**53 that looks random and depends on the record and the media only."""
    identity = msgspec.json.encode((sample.sample.record_id, sample.sample.media))
    return int.from_bytes(hashlib.blake2b(identity, digest_size=8).digest()) >> 11


def draw_sample(sample: NumberedSample, catalog: Catalog, rank: int) -> DrawnSample:
    """Return a usable image as it is drawn. A name of a class that is dropped is not drawn."""
    source = sample.sample
    width, height = source.width or 1, source.height or 1
    drawings: list[Drawing] = []
    labels: dict[str, None] = {}
    hidden = 0
    for annotation in source.annotations:
        index = catalog.class_index(annotation.label)
        if index is None:
            continue
        label = catalog.classes[index]
        labels[label] = None
        if len(drawings) >= MOST_DRAWINGS:
            hidden += 1
            continue
        drawings += _draw(annotation, label, width, height)
    return DrawnSample(
        rank, source.record_id, source.media, sample.split, sample.original_path, width, height,
        tuple(labels), tuple(drawings), hidden,
    )  # fmt: skip


def _draw(annotation: Annotation, label: str, width: int, height: int) -> list[Drawing]:
    shape = annotation.shape
    if isinstance(shape, Box):
        rings, kind = [corners(shape)], "ring"
    elif isinstance(shape, Polygon):
        rings, kind = [shape.points], "ring"
    elif isinstance(shape, Polyline):
        rings, kind = [shape.points], "line"
    elif isinstance(shape, Point):
        rings, kind = ([(shape.x, shape.y)] if shape.visibility else []), "point"
    elif isinstance(shape, Mask) and 0 < len(shape.runs) <= _MOST_RUNS:
        try:
            outlines = sorted(trace_outlines(shape.runs, width, height), key=lambda outline: -outline.area)
        except MaskError:  # the formats report it
            return []
        rings, kind = [outline.ring for outline in outlines[:_MOST_OUTLINES]], "ring"
    else:
        return []
    return [Drawing(label, kind, _thousandths(ring, width, height)) for ring in rings]


def _thousandths(ring: tuple[float, ...], width: int, height: int) -> tuple[int, ...]:
    if len(ring) > 2 * _MOST_POINTS:
        kept = np.linspace(0, len(ring) // 2 - 1, _MOST_POINTS).round().astype(int).tolist()
        ring = tuple(ring[2 * position + axis] for position in kept for axis in (0, 1))
    across, down = _SCALE / width, _SCALE / height
    most = 2 * _SCALE
    scaled = [
        round(min(max(number * (down if position & 1 else across), -_SCALE), most))
        for position, number in enumerate(ring)
    ]
    return tuple(scaled)
