"""What a table of annotations must be, and how to read ours: rules of the readers, none of our own code.

A row is a dictionary with a value for each column: numbers, text, JSON already decoded, None for nothing.
"""

import csv
import io
import json
import math
import re

from pycocotools import mask as coco_mask

MEDIA = {
    "record_id": int,
    "image_id": int,
    "split": str,
    "media": str,
    "media_type": str,
    "file_name": str,
    "image_width": int,
    "image_height": int,
    "category": str,
}
ANNOTATION = {
    "annotation_id": int,
    "source_id": str,
    "tool": str,
    "class": str,
    "class_index": int,
    "x": float,
    "y": float,
    "width": float,
    "height": float,
    "rotation": float,
    "area": float,
    "points": list,
    "rle": dict,
    "visibility": int,
    "group": str,
    "group_class": str,
    "relation_source": str,
    "relation_target": str,
    "geometry": None,
    "attributes": dict,
}
COLUMNS = MEDIA | ANNOTATION
JSON_COLUMNS = ("geometry", "attributes")
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", re.ASCII)


def read_csv(data):
    """The rows of a CSV file; AssertionError unless any reader would read the same."""
    assert not data.startswith(b"\xef\xbb\xbf"), "a byte order mark would be part of the first column's name"
    assert data.endswith(b"\n")
    csv.field_size_limit(2**31 - 1)
    header, *lines = csv.reader(io.StringIO(data.decode(), newline=""), strict=True)
    assert header == list(COLUMNS)
    rows = []
    for cells in lines:
        assert len(cells) == len(header)
        for cell in cells:
            assert not _FORMULA.match(cell) or _NUMBER.fullmatch(cell), f"a spreadsheet runs {cell!r}"
        rows.append({name: _value(name, cell) for name, cell in zip(header, cells, strict=True)})
    return rows


def _value(name, cell):
    if cell == "":
        return None
    if COLUMNS[name] in (None, list, dict):
        return json.loads(cell)
    return COLUMNS[name](cell)


def with_json(row):
    """A row of which two columns are text that holds JSON."""
    return row | {name: json.loads(row[name]) for name in JSON_COLUMNS if row[name] is not None}


def check_rows(rows):
    """Refuse rows that contradict themselves or each other."""
    medias = {}
    numbers = [row["annotation_id"] for row in rows if row["annotation_id"] is not None]
    assert len(set(numbers)) == len(numbers), "an annotation id is there twice"
    for row in rows:
        assert set(row) == set(COLUMNS)
        for name, kind in COLUMNS.items():
            assert row[name] is None or kind is None or type(row[name]) is kind, (name, row[name])
        media = {name: row[name] for name in MEDIA}
        assert medias.setdefault(row["image_id"], media) == media, "two rows say different things of one image"
        if row["annotation_id"] is None:
            assert not [name for name in ANNOTATION if row[name] is not None], "half an annotation"
            assert [other["image_id"] for other in rows].count(row["image_id"]) == 1
            continue
        assert row["source_id"] is not None
        assert row["tool"] is not None
        assert (row["class"] is None) == (row["class_index"] is None)
        _check_geometry(row)


def _check_geometry(row):
    numbers = [row[name] for name in ("x", "y", "width", "height", "rotation", "area")]
    assert all(math.isfinite(number) for number in numbers if number is not None)
    if row["rotation"] is not None:
        assert row["width"] > 0
        assert row["height"] > 0
    if row["points"] is not None:
        assert len(row["points"]) >= 4
        assert len(row["points"]) % 2 == 0
        assert all(type(number) is float and math.isfinite(number) for number in row["points"])
    if row["rle"] is not None:
        assert row["rle"]["size"] == [row["image_height"], row["image_width"]]
        assert coco_mask.area(row["rle"]) == row["area"]
        assert coco_mask.toBbox(row["rle"]).tolist() == [row[name] for name in ("x", "y", "width", "height")]
    assert row["visibility"] in (None, 0, 1, 2)
    assert (row["relation_source"] is None) == (row["relation_target"] is None)


def per_image(rows):
    """How many annotations each image has, by image id; images without any have none."""
    found = {}
    for row in rows:
        if row["annotation_id"] is not None:
            found[row["image_id"]] = found.get(row["image_id"], 0) + 1
    return found
