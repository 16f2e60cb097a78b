"""What the tests of CSV, Parquet, imagefolder and WebDataset share: samples by chance, comparisons with the source."""

import json
import re

import msgspec
import numpy as np
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from pipeline.formats.testing import samples
from pipeline.formats.testing.shapes import bitmap_of, mask
from pipeline.model.catalog import ShardSummary, build_catalog
from pipeline.model.labels import normalise_label
from pipeline.records import Annotation, Box, Mask, Opaque, Point, Polygon, Polyline, Relation, Whole
from tests.formats.write_docs import ROOT

WIDTH, HEIGHT = 64, 48


def check_row(row, sample, annotation, number):
    """A row says of an annotation what its source says."""
    shape = annotation.shape
    assert (row["annotation_id"], row["source_id"], row["tool"]) == (number, annotation.id, annotation.tool)
    assert (row["attributes"] or {}) == annotation.attributes
    assert (row["group"] or "") == annotation.group
    assert (row["group_class"] or "") == annotation.group_label
    frame = tuple(row[name] for name in ("x", "y", "width", "height"))
    match shape:
        case Box():
            assert (*frame, row["rotation"]) == (shape.x, shape.y, shape.width, shape.height, shape.rotation)
            assert row["area"] == shape.width * shape.height
        case Polygon() | Polyline():
            assert row["points"] == list(shape.points)
            across, down = shape.points[::2], shape.points[1::2]
            assert frame == (min(across), min(down), max(across) - min(across), max(down) - min(down))
        case Point():
            assert (*frame, row["visibility"]) == (shape.x, shape.y, None, None, shape.visibility)
        case Mask():
            truth = bitmap_of(shape, sample.sample.width, sample.sample.height)
            assert np.array_equal(coco_mask.decode(row["rle"]), truth)
        case Relation():
            assert (row["relation_source"], row["relation_target"]) == (shape.source, shape.target)
        case Opaque():
            assert row["geometry"] == json.loads(shape.json)
        case Whole():
            assert frame == (None,) * 4


def check_against_source(rows, numbered, dropped=("ignore me",)):
    """Every annotation that is not of a dropped class has its row, in order, and no other has."""
    expected = [
        (sample, annotation, sample.annotation_id + position)
        for sample in numbered
        for position, annotation in enumerate(sample.sample.annotations)
        if annotation.label not in dropped
    ]
    found = [row for row in rows if row["annotation_id"] is not None]
    by_number = {row["annotation_id"]: row for row in found}
    assert len(by_number) == len(found) == len(expected)
    for sample, annotation, number in expected:
        row = by_number[number]
        assert (row["image_id"], row["record_id"]) == (sample.image_id, sample.sample.record_id)
        check_row(row, sample, annotation, number)


def snippet(page, containing):
    """The one Python example of a page of documentation that has this text."""
    text = (ROOT / "docs" / "formats" / page).read_text(encoding="utf-8")
    (code,) = [
        code for code in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) if containing in code
    ]
    return code


def write_tree(tree, root):
    for path, data in tree.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def sample_with(*annotations, **changes):
    """An image of WIDTH x HEIGHT pixels with these annotations, and a catalog that knows their classes."""
    changes = {"width": WIDTH, "height": HEIGHT} | changes
    sample = samples()[1]
    source = msgspec.structs.replace(sample.sample, annotations=annotations, **changes)
    labels = {annotation.label: 1 for annotation in annotations if annotation.label}
    catalog = build_catalog(ShardSummary(1, len(annotations), labels, {"train": 1}), name="by chance")
    return msgspec.structs.replace(sample, sample=source), catalog


def bad_masks():
    """Masks that cannot be drawn: the sample and the catalog of each, by what is wrong."""
    whole = mask(np.ones((HEIGHT, WIDTH), dtype=np.uint8))
    return {
        "larger than its image": sample_with(Annotation("m", "segmentation", "car", whole), height=HEIGHT - 1),
        "empty": sample_with(Annotation("m", "segmentation", "car", Mask(b""))),
    }


# Not beginning with the quote that CSV puts before formulas: it could not be told from one that was there.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(
    lambda text: not text.startswith("'")
) | st.sampled_from(["=1+1", "+a", "-a", "@x", "\tx", "\r", "a\rb", "\n", 'a"b', "a,b", "-5", "-1e5", "null", "＝1"])
WORD = TEXT.filter(bool)
NUMBER = st.floats(-1e7, 1e7)
LENGTH = st.floats(1e-6, 1e7)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
_POINTS = st.lists(st.tuples(NUMBER, NUMBER), min_size=3, max_size=6).map(lambda pairs: tuple(sum(pairs, ())))
_RUNS = st.lists(st.booleans(), min_size=WIDTH * 4, max_size=WIDTH * 4).filter(any)
SHAPES = st.one_of(
    st.builds(Box, NUMBER, NUMBER, LENGTH, LENGTH, st.floats(-10, 10)),
    st.builds(Polygon, _POINTS),
    st.builds(Polyline, _POINTS),
    st.builds(Point, NUMBER, NUMBER, st.integers(0, 2)),
    _RUNS.map(lambda row: mask(np.array(row * (HEIGHT // 4), dtype=np.uint8).reshape(HEIGHT, WIDTH))),
    st.just(Whole()),
    st.builds(Relation, WORD, WORD),
    JSON.map(lambda value: Opaque(json.dumps(value, indent=1).encode())),
)
LABEL = WORD.map(normalise_label).filter(lambda text: text and not text.startswith("'"))
ANNOTATIONS = st.lists(
    st.builds(Annotation, WORD, WORD, LABEL, SHAPES, st.dictionaries(TEXT, JSON, max_size=3), TEXT), max_size=4
)
