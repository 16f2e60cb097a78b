"""What is counted of an export, and its sum.

Each shard gives one :class:`Statistics`. :func:`combine` adds two of them: associative and commutative, with
``Statistics()`` as zero, so the result depends neither on the size of shards nor on their order. Everything has a
bounded size but the numbers by class, which the catalog bounds. Pixels are those of the images as they are exported.
"""

from collections.abc import Iterator
from heapq import merge as merge_sorted

import msgspec

GRID = 32
"""Cells of the map of positions, in each direction."""
SIDE_BINS = 28
"""Bins of the sides of boxes: bin ``i`` begins at ``2 ** (i / 2)`` pixels, the first one at 0."""
ASPECT_BINS = 25
"""Bins of ``width / height``: bin ``i`` begins at ``2 ** (i / 2 - 6.25)``, so that the middle one holds squares."""
MOST_PER_IMAGE = 100
"""Objects of an image; images with more are counted with these."""
SMALL, MEDIUM = 32**2, 96**2
"""Square pixels of a box: COCO's small ends below the first, medium below the second."""
MOST_RECORDS = 20
"""Ids of records that are kept of a finding: the lowest ones."""
MOST_SAMPLES = 24
"""Samples that are drawn."""


class ClassCount(msgspec.Struct, array_like=True):
    """A class in a split: images that show it, objects, and boxes of COCO's sizes.

    An object is an annotation that is a box, polygon, polyline, mask, or the class of the whole image. A box is the
    upright rectangle around an object, cut at the border of its image.
    """

    images: int = 0
    objects: int = 0
    small: int = 0
    medium: int = 0
    large: int = 0


class Finding(msgspec.Struct):
    """How often something was found, and the ids of the first records that have it."""

    count: int = 0
    records: list[int] = []


class Drawing(msgspec.Struct, frozen=True):
    """An annotation as it is drawn: coordinates are thousandths of the width and height of its image.

    ``kind`` is ``ring`` (closed), ``line`` (open) or ``point``, ``points`` is flat, ``(x1, y1, x2, y2, …)``.
    """

    label: str
    kind: str
    points: tuple[int, ...]


class DrawnSample(msgspec.Struct, frozen=True):
    """A sample that may be shown. Those with the lowest ``rank``, a hash of record and media, are chosen.

    ``first_of`` are the classes of which it has the lowest rank. ``hidden`` counts annotations that are not drawn
    because there are too many.
    """

    rank: int
    record_id: int
    media: str
    split: str
    file: str
    width: int
    height: int
    labels: tuple[str, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    hidden: int = 0


class Statistics(msgspec.Struct):
    """The statistics of a shard, of several, or of an export. Histograms are lists of counts.

    ``images`` and ``empty`` count usable images by split, and those without annotations; ``empty_categories`` counts
    the latter by the category of their record. ``classes`` is by class, then split. ``per_image`` is, by split, how
    many images have how many objects. ``positions`` counts the centres of boxes on a grid, row by row. ``sizes``
    counts images by ``<width>x<height>``, each the power of two at or below. ``points`` counts keypoints by label, then
    COCO's visibility 0, 1, 2. ``orientations`` are EXIF's, of originals that were looked at. ``bytes`` are those of
    originals and of files that belong to one sample.
    """

    images: dict[str, int] = {}
    empty: dict[str, int] = {}
    empty_categories: dict[str, int] = {}
    classes: dict[str, dict[str, ClassCount]] = {}
    kinds: dict[str, int] = {}
    per_image: dict[str, dict[int, int]] = {}
    sides: list[int] = []
    aspects: list[int] = []
    positions: list[int] = []
    sizes: dict[str, int] = {}
    formats: dict[str, int] = {}
    orientations: dict[int, int] = {}
    points: dict[str, list[int]] = {}
    findings: dict[str, Finding] = {}
    bytes: int = 0
    samples: list[DrawnSample] = []
    first_of: dict[str, DrawnSample] = {}


def combine(left: Statistics, right: Statistics) -> Statistics:
    """Return the sum of two. Every mapping is sorted, so that equal sums have equal bytes."""
    return Statistics(
        images=_add(left.images, right.images),
        empty=_add(left.empty, right.empty),
        empty_categories=_add(left.empty_categories, right.empty_categories),
        classes={
            name: _add_counts(left.classes.get(name, {}), right.classes.get(name, {}))
            for name in sorted(left.classes.keys() | right.classes.keys())
        },
        kinds=_add(left.kinds, right.kinds),
        per_image={
            split: _add(left.per_image.get(split, {}), right.per_image.get(split, {}))
            for split in sorted(left.per_image.keys() | right.per_image.keys())
        },
        sides=_add_lists(left.sides, right.sides),
        aspects=_add_lists(left.aspects, right.aspects),
        positions=_add_lists(left.positions, right.positions),
        sizes=_add(left.sizes, right.sizes),
        formats=_add(left.formats, right.formats),
        orientations=_add(left.orientations, right.orientations),
        points={
            label: _add_lists(left.points.get(label, []), right.points.get(label, []))
            for label in sorted(left.points.keys() | right.points.keys())
        },
        findings={
            name: _add_findings(left.findings.get(name, Finding()), right.findings.get(name, Finding()))
            for name in sorted(left.findings.keys() | right.findings.keys())
        },
        bytes=left.bytes + right.bytes,
        samples=list(merge_sorted(left.samples, right.samples, key=_order))[:MOST_SAMPLES],
        first_of={
            label: min(
                (sample for side in (left, right) if (sample := side.first_of.get(label)) is not None), key=_order
            )
            for label in sorted(left.first_of.keys() | right.first_of.keys())
        },
    )


def chosen_samples(statistics: Statistics) -> list[DrawnSample]:
    """Return the samples to draw, by record: one of every class first, as far as there is room, then by their rank."""
    chosen: dict[tuple[int, str], DrawnSample] = {}
    shown: set[str] = set()
    for label, sample in sorted(statistics.first_of.items(), key=lambda item: _order(item[1])):
        if label not in shown and len(chosen) < MOST_SAMPLES:
            chosen[sample.record_id, sample.media] = sample
            shown.update(sample.labels)
    for sample in statistics.samples:
        if len(chosen) < MOST_SAMPLES:
            chosen.setdefault((sample.record_id, sample.media), sample)
    return [chosen[key] for key in sorted(chosen)]


def add_up(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield ``statistics.json`` of joined lines, each the :class:`Statistics` of a shard: the manifest's transform."""
    decode = msgspec.json.Decoder(Statistics).decode
    total = Statistics()
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in filter(None, lines):
            total = combine(total, decode(line))
    if rest:
        total = combine(total, decode(rest))
    chosen = msgspec.structs.replace(total, samples=chosen_samples(total), first_of={})
    yield msgspec.json.format(msgspec.json.encode(chosen), indent=1) + b"\n"


def _order(sample: DrawnSample) -> tuple[int, int, str]:
    return sample.rank, sample.record_id, sample.media


def _add[K: (str, int)](left: dict[K, int], right: dict[K, int]) -> dict[K, int]:
    return {key: left.get(key, 0) + right.get(key, 0) for key in sorted(left.keys() | right.keys())}


def _add_lists(left: list[int], right: list[int]) -> list[int]:
    if not left or not right:
        return left or right
    return [one + other for one, other in zip(left, right, strict=True)]


def _add_counts(left: dict[str, ClassCount], right: dict[str, ClassCount]) -> dict[str, ClassCount]:
    total = {}
    for split in sorted(left.keys() | right.keys()):
        one, other = left.get(split, ClassCount()), right.get(split, ClassCount())
        total[split] = ClassCount(
            one.images + other.images,
            one.objects + other.objects,
            one.small + other.small,
            one.medium + other.medium,
            one.large + other.large,
        )
    return total


def _add_findings(left: Finding, right: Finding) -> Finding:
    return Finding(left.count + right.count, sorted({*left.records, *right.records})[:MOST_RECORDS])
