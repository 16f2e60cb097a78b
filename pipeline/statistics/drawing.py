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
    points = np.array(ring, dtype=np.float64).reshape(-1, 2)
    if len(points) > _MOST_POINTS:
        points = points[np.linspace(0, len(points) - 1, _MOST_POINTS).round().astype(int)]
    scaled = np.clip(np.rint(points * (_SCALE / width, _SCALE / height)), -_SCALE, 2 * _SCALE)
    return tuple(scaled.astype(int).ravel().tolist())
