"""Measure the samples of a shard: numbers are collected sample by sample, and counted many at a time with numpy."""

from array import array
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.images.geometry import corners, enclosing_box
from pipeline.images.masks import MaskError, box_around, check_runs
from pipeline.images.painting import crosses_itself
from pipeline.model.catalog import Catalog
from pipeline.model.source import Copied
from pipeline.records import Box, Mask, NumberedSample, Opaque, Point, Polygon, Polyline, Sample, Shape, Whole
from pipeline.statistics.drawing import draw_sample, rank_of
from pipeline.statistics.totals import (
    ASPECT_BINS,
    GRID,
    MEDIUM,
    MOST_PER_IMAGE,
    MOST_RECORDS,
    MOST_SAMPLES,
    SIDE_BINS,
    SMALL,
    ClassCount,
    DrawnSample,
    Finding,
    Statistics,
    combine,
)

TINY = 4.0
"""Pixels: a box with a shorter side is a finding."""

_BATCH = 8192  # numbers of objects that are held
_COLUMNS = 8
_KEPT_SIZE = 20_000  # numbers and bytes of shapes of a sample that is kept until it is known whether it is drawn
_CANDIDATES = 128  # of the whole export, expected: far more than are drawn, far fewer than there are samples
_RANKS = float(1 << 53)

type _Numbers = npt.NDArray[np.float64]
type _Indices = npt.NDArray[np.intp]


class Measurer:
    """Measures the samples of one shard. Use an instance for one shard."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._objects = array("d")  # sample, class, shape, x, y, width, height, digest of the shape
        self._samples: list[tuple[int, str, int, int]] = []  # record, split, width, height
        self._total = Statistics()
        self._points: dict[tuple[str, int], int] = {}
        self._candidates = _Candidates(catalog)

    def add(self, sample: NumberedSample, copied: Copied | None = None) -> None:
        """Measure a sample, with what is known of its original. Samples that are no usable image are left out."""
        source = sample.sample
        if not (source.has_image and source.width and source.height):
            return
        total, number = self._total, len(self._samples)
        self._samples.append((source.record_id, sample.split, source.width, source.height))
        _count(total.images, sample.split)
        _count(total.sizes, f"{1 << source.width.bit_length() - 1}x{1 << source.height.bit_length() - 1}")
        self._count_file(sample, copied)
        classes: set[int] = set()
        find_class, points, extend = self._catalog.class_of_label.get, self._points, self._objects.extend
        for annotation in source.annotations:  # the hot loop: what is common has no call of its own
            shape, label = annotation.shape, annotation.label
            index = find_class(label)
            if index is not None:
                classes.add(index)
            if type(shape) is Point:
                key = label, shape.visibility
                points[key] = points.get(key, 0) + 1
            elif index is None:
                continue
            elif type(shape) is Box and not shape.rotation:
                extend((number, index, 0, shape.x, shape.y, shape.width, shape.height, 0))
            else:
                self._add_object(number, index, shape, source)
        if not classes:
            _count(total.empty, sample.split)
            _count(total.empty_categories, sample.record.category)
            _find(total.findings, "empty_image", 1, [source.record_id])
        self._candidates.consider(sample, classes)
        if len(self._objects) >= _BATCH * _COLUMNS or len(self._samples) >= _BATCH:
            self._count_batch()

    def finish(self, size: int = 0) -> Statistics:
        """Return the statistics of everything that was added; ``size`` are the bytes of its files."""
        self._count_batch()
        self._count_points()
        self._total.bytes = size
        self._total.samples, self._total.first_of = self._candidates.drawn()
        return combine(Statistics(), self._total)

    def _count_file(self, sample: NumberedSample, copied: Copied | None) -> None:
        header = copied.header if copied else None
        suffix = sample.file_name.rpartition(".")[2][:8].upper()
        _count(self._total.formats, (header.form if header else "") or ("JPEG" if suffix == "JPG" else suffix))
        if header is not None:
            _count(self._total.orientations, header.orientation or 1)

    def _count_points(self) -> None:
        """Count the keypoints that were collected, under the final names of their labels."""
        for (label, visibility), number in self._points.items():
            name = self._catalog.names.final(label)
            if name is not None:
                self._total.points.setdefault(name, [0, 0, 0])[min(max(visibility, 0), 2)] += number
                self._total.kinds["point"] = self._total.kinds.get("point", 0) + number
        self._points.clear()

    def _add_object(self, number: int, index: int, shape: Shape, source: Sample) -> None:
        """Add the row of an object. One that classifies the whole image has no box: NaN."""
        width, height = source.width or 0, source.height or 0
        if isinstance(shape, Box):
            kind, digest = "turned box", shape.rotation
            box = enclosing_box(corners(shape))
        elif isinstance(shape, Polygon | Polyline):
            kind, digest = "polygon" if isinstance(shape, Polygon) else "polyline", float(hash(shape.points) >> 11)
            box = enclosing_box(shape.points)
            if kind == "polygon" and crosses_itself(shape.points):
                _find(self._total.findings, "crossing_polygon", 1, [source.record_id])
        elif isinstance(shape, Mask):
            if self._catalog.masks == "exclude" or not shape.runs:
                return
            try:
                check_runs(shape.runs, width, height)
            except MaskError:  # the formats report it
                return
            kind, digest = "mask", float(hash(shape.runs) >> 11)
            box = box_around(shape.runs, width)
        elif isinstance(shape, Whole):
            kind, digest, box = "whole image", 0.0, _NO_BOX
        else:
            _count(self._total.kinds, "other")
            return
        self._objects.extend((number, index, _KINDS[kind], *box, digest))

    def _count_batch(self) -> None:
        """Count the objects that are held, and hold none."""
        rows = np.frombuffer(self._objects, dtype=np.float64).reshape(-1, _COLUMNS)
        total, samples = self._total, self._samples
        widths = np.array([sample[2] for sample in samples], dtype=np.float64)
        heights = np.array([sample[3] for sample in samples], dtype=np.float64)
        records = np.array([sample[0] for sample in samples], dtype=np.int64)
        splits = sorted({sample[1] for sample in samples})
        split_of = np.array([splits.index(sample[1]) for sample in samples], dtype=np.intp)
        for kind, objects in zip(_KINDS, np.bincount(rows[:, 2].astype(np.intp), minlength=len(_KINDS)), strict=True):
            if objects:
                total.kinds[kind] = total.kinds.get(kind, 0) + int(objects)
        with np.errstate(invalid="ignore"):
            owner = rows[:, 0].astype(np.intp)
            boxes = _Boxes(rows, widths[owner], heights[owner])

            def find(name: str, rows: npt.NDArray[np.bool_]) -> None:
                if rows.any():
                    first = np.unique(records[owner[rows]])[:MOST_RECORDS]
                    _find(total.findings, name, int(rows.sum()), first.tolist())

            find("outside_image", boxes.is_outside)
            find("tiny_box", boxes.is_sized & (np.minimum(boxes.width, boxes.height) < TINY))
            find("whole_image_box", boxes.covers_image & (rows[:, 2] != _KINDS["mask"]))
            find("duplicate_annotation", _duplicates(rows))
        kept = ~boxes.is_outside
        self._count_classes(rows[kept], boxes.sizes()[kept], split_of, splits)
        per_image = np.minimum(np.bincount(owner[kept], minlength=len(samples)), MOST_PER_IMAGE)
        for place, split in enumerate(splits):
            counts = total.per_image.setdefault(split, {})
            for objects, images in zip(*np.unique(per_image[split_of == place], return_counts=True), strict=True):
                counts[int(objects)] = counts.get(int(objects), 0) + int(images)
        sized = boxes.is_sized
        total.sides = _with(total.sides, boxes.side_bins()[sized], SIDE_BINS)
        total.aspects = _with(total.aspects, boxes.aspect_bins()[sized], ASPECT_BINS)
        total.positions = _with(total.positions, boxes.cells()[sized], GRID * GRID)
        self._samples, self._objects = [], array("d")

    def _count_classes(self, rows: _Numbers, sizes: _Indices, split_of: _Indices, splits: list[str]) -> None:
        """Count objects, and images that show them, by class and split; ``sizes`` are 0 to 2, 3 without a box."""
        owner, index = rows[:, 0].astype(np.intp), rows[:, 1].astype(np.intp)
        keys, inverse = np.unique(index * len(splits) + split_of[owner], return_inverse=True)
        if not len(keys):
            return
        table = np.bincount(inverse * 4 + sizes, minlength=len(keys) * 4).reshape(-1, 4)
        shown = np.unique(owner * len(keys) + inverse) % len(keys)
        images = np.bincount(shown, minlength=len(keys))
        for key, of_images, counts in zip(keys.tolist(), images.tolist(), table.tolist(), strict=True):
            name = self._catalog.classes[key // len(splits)]
            by_split = self._total.classes.setdefault(name, {})
            count = by_split.setdefault(splits[key % len(splits)], ClassCount())
            count.images += of_images
            count.objects += sum(counts)
            count.small += counts[0]
            count.medium += counts[1]
            count.large += counts[2]


_NO_BOX = (float("nan"),) * 4
_KINDS = {"box": 0, "turned box": 1, "polygon": 2, "polyline": 3, "mask": 4, "whole image": 5}


class _Boxes:
    """The upright rectangles of objects, cut at the borders of their images."""

    def __init__(self, rows: _Numbers, across: _Numbers, down: _Numbers) -> None:
        left, top = np.maximum(rows[:, 3], 0), np.maximum(rows[:, 4], 0)
        right, bottom = np.minimum(rows[:, 3] + rows[:, 5], across), np.minimum(rows[:, 4] + rows[:, 6], down)
        # An inner box keeps its numbers: its area is the product that readers of the labels get.
        inner = (rows[:, 3] >= 0) & (rows[:, 3] + rows[:, 5] <= across)
        self.width = np.where(inner, rows[:, 5], right - left)
        inner = (rows[:, 4] >= 0) & (rows[:, 4] + rows[:, 6] <= down)
        self.height = np.where(inner, rows[:, 6], bottom - top)
        has_box = ~np.isnan(rows[:, 3])
        line = rows[:, 2] == _KINDS["polyline"]  # one that is level or upright has no area, and is there
        self.is_sized = has_box & (self.width > 0) & (self.height > 0)
        self.is_outside = has_box & ~self.is_sized & ~(line & (self.width >= 0) & (self.height >= 0))
        self.covers_image = self.is_sized & (self.width >= across) & (self.height >= down)
        self._across, self._down = across, down
        self._x, self._y = (left + right) / 2, (top + bottom) / 2

    def sizes(self) -> _Indices:
        """Return COCO's size of each: 0 small, 1 medium, 2 large, 3 for no box."""
        area = np.where(self.is_sized, self.width * self.height, 0.0)
        return np.where(self.is_sized, (area >= SMALL).astype(np.intp) + (area >= MEDIUM), 3).astype(np.intp)

    def side_bins(self) -> _Indices:
        """Return the bin of the side of a square of the same area."""
        area = np.where(self.is_sized, self.width * self.height, 1.0)
        return np.clip(np.floor(np.log2(np.maximum(area, 1.0))), 0, SIDE_BINS - 1).astype(np.intp)

    def aspect_bins(self) -> _Indices:
        """Return the bin of width / height."""
        width, height = (np.where(self.is_sized, value, 1.0) for value in (self.width, self.height))
        return np.clip(np.floor(2 * np.log2(width / height) + 12.5), 0, ASPECT_BINS - 1).astype(np.intp)

    def cells(self) -> _Indices:
        """Return the cell of the grid that the centre is in."""
        x = np.clip(np.nan_to_num(self._x / self._across) * GRID, 0, GRID - 1).astype(np.intp)
        y = np.clip(np.nan_to_num(self._y / self._down) * GRID, 0, GRID - 1).astype(np.intp)
        cells: _Indices = y * GRID + x
        return cells


class _Candidates:
    """The samples of a shard that may be drawn: those of the lowest ranks, and the lowest of each of some classes."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        present = [index for index, name in enumerate(catalog.classes) if catalog.objects.get(name)]
        self._first: dict[int, _Candidate | None] = dict.fromkeys(present[:MOST_SAMPLES])
        self._lowest: list[_Candidate] = []
        # Ranks are spread evenly, so that almost all samples need not be looked at twice.
        self._limit = _RANKS * min(1.0, _CANDIDATES / max(sum(catalog.splits.values()), 1))

    def consider(self, sample: NumberedSample, classes: set[int]) -> None:
        """Keep a sample if it may be drawn. One with large shapes is drawn at once, so that few are in memory."""
        rank = rank_of(sample)
        key = rank, sample.sample.record_id, sample.sample.media
        wanted = [
            index
            for index in classes
            if index in self._first and ((best := self._first[index]) is None or key < best.key)
        ]
        if rank >= self._limit and not wanted:
            return
        candidate = _Candidate(sample, self._catalog, rank)
        for index in wanted:
            self._first[index] = candidate
        if rank < self._limit:
            self._lowest.append(candidate)
            self._lowest.sort(key=lambda one: one.key)
            del self._lowest[MOST_SAMPLES:]

    def drawn(self) -> tuple[list[DrawnSample], dict[str, DrawnSample]]:
        """Return the candidates by rank, and the first of each class."""
        first = {self._catalog.classes[index]: found.draw() for index, found in self._first.items() if found}
        return [candidate.draw() for candidate in self._lowest], first


class _Candidate:
    """A sample that may be drawn: a large one is drawn at once, any other when it is known to be a candidate still."""

    def __init__(self, sample: NumberedSample, catalog: Catalog, rank: int) -> None:
        self.key = rank, sample.sample.record_id, sample.sample.media
        self._drawn: DrawnSample | None = None
        self._waiting: tuple[NumberedSample, Catalog] | None = sample, catalog
        if _size(sample) > _KEPT_SIZE:
            self.draw()

    def draw(self) -> DrawnSample:
        """Return the sample as it is drawn."""
        if self._drawn is None and self._waiting is not None:
            self._drawn = draw_sample(*self._waiting, self.key[0])
            self._waiting = None
        assert self._drawn is not None
        return self._drawn


def _size(sample: NumberedSample) -> int:
    size = len(sample.record.payload) + len(sample.record.files)
    for annotation in sample.sample.annotations:
        shape = annotation.shape
        if isinstance(shape, Polygon | Polyline):
            size += len(shape.points)
        elif isinstance(shape, Mask):
            size += len(shape.runs)
        elif isinstance(shape, Opaque):
            size += len(shape.json)
    return size + 8 * len(sample.sample.annotations)


def _duplicates(rows: _Numbers) -> npt.NDArray[np.bool_]:
    """Return which rows repeat an earlier one: the same class and the same shape in the same image."""
    found = np.zeros(len(rows), dtype=np.bool_)
    order = np.lexsort((rows[:, 7], rows[:, 4], rows[:, 3], rows[:, 1], rows[:, 0]))
    ordered = np.nan_to_num(rows[order], nan=-1.0)
    found[order[1:]] = (ordered[1:] == ordered[:-1]).all(axis=1)
    return found


def _with(counts: list[int], bins: _Indices, size: int) -> list[int]:
    if not len(bins):
        return counts  # what nothing was added to stays zero, which is an empty list
    added: list[int] = np.bincount(bins, minlength=size).tolist()
    return [one + other for one, other in zip(counts, added, strict=True)] if counts else added


def _count(counts: dict[Any, int], key: Any) -> None:
    counts[key] = counts.get(key, 0) + 1


def _find(findings: dict[str, Finding], name: str, count: int, records: list[int]) -> None:
    found = findings.setdefault(name, Finding())
    found.count += count
    if len(found.records) < MOST_RECORDS or records[0] < found.records[-1]:
        found.records = sorted({*found.records, *records})[:MOST_RECORDS]
