"""A small export with one of everything: each shape, each awkward image, name, class and split."""

import copy
import math
from pathlib import PurePosixPath

import msgspec
import numpy as np

from pipeline.model.catalog import Catalog, ShardSummary, Skeleton, build_catalog
from pipeline.records import (
    Annotation,
    Box,
    File,
    Mask,
    NumberedSample,
    Opaque,
    Original,
    Point,
    Polygon,
    Polyline,
    Relation,
    Sample,
    Whole,
)

DROPPED = "ignore me"


def ring(width, height):
    """A bitmap of (height, width): a rectangle with a hole, a part of its own, and the corner pixels."""
    bitmap = np.zeros((height, width), dtype=np.uint8)
    bitmap[10:30, 20:60] = 1
    bitmap[15:20, 30:50] = 0
    bitmap[35:40, 5:9] = 1
    bitmap[0, 0] = bitmap[-1, -1] = 1
    return bitmap


def mask(bitmap):
    """The mask of a bitmap of shape (height, width), its runs found pixel by pixel."""
    runs = []
    for index in np.flatnonzero(bitmap).tolist():
        if runs and sum(runs[-1]) == index:
            runs[-1][1] += 1
        else:
            runs.append([index, 1])
    return Mask(np.array(runs, dtype="<i8").tobytes())


def bitmap_of(shape, width, height):
    """The bitmap of a mask, painted run by run."""
    bitmap = np.zeros(width * height, dtype=np.uint8)
    for start, length in np.frombuffer(shape.runs, "<i8").reshape(-1, 2).tolist():
        bitmap[start : start + length] = 1
    return bitmap.reshape(height, width)


def box(identity, label, x, y, width, height, rotation=0.0, **attributes):
    return Annotation(identity, "bounding_box", label, Box(x, y, width, height, rotation), attributes)


def polygon(identity, label, *points):
    return Annotation(identity, "polygon", label, Polygon(tuple(map(float, points))))


EVERY_SHAPE = (
    box("b1", "car", 21.5, 24.2, 22.5, 18.9, color="red", occluded=False, note=None, tags=["a", None, {"b": None}]),
    box("b2", "bus", 60.123456789, 5.0, 30.0, 10.5),
    polygon("p1", "road", 0, 30, 40, 25, 99.5, 31, 100, 50, 0, 50),
    Annotation("m1", "segmentation", "road", mask(ring(100, 50))),
    Annotation("l1", "polyline", "lane", Polyline((1.0, 2.0, 30.0, 40.0, 50.0, 45.0))),
    Annotation("k1", "keypoint", "nose", Point(31.0, 26.0, 1), group="g1"),
    Annotation("c1", "classification", "sunny", Whole()),
    Annotation("r1", "relation", "", Relation("b1", "b2")),
    Annotation("o1", "3d_bounding_box", "truck", Opaque(b'{"psr":{"position":{"x":1,"y":2,"z":3}}}')),
)
TURNED = (
    box("t1", "car", 50.0, 20.0, 40.0, 20.0, rotation=0.5),
    box("full-turn", "car", 10.0, 10.0, 30.0, 20.0, rotation=2 * math.pi),
    box("quarter-turn", "bus", 100.0, 40.0, 40.0, 20.0, rotation=math.pi / 2),
    box("hardly", "bus", 150.0, 70.0, 10.0, 8.0, rotation=1e-9),
    box("over-the-edge", "car", -10.0, 40.0, 30.0, 10.0, rotation=-0.7),
    box("away", "car", 300.0, 40.0, 30.0, 10.0, rotation=0.3),
)
EDGES = (
    box("cut", "car", -5.0, -2.5, 20.0, 10.0),
    box("outside", "car", 120.0, 10.0, 5.0, 5.0),
    box("noise", "car", -1e-7, 0.0, 50.0000001, 50.00000001),
    box("all", "bus", 0.0, 0.0, 100.0, 50.0),
    box("tiny", "bus", 40.0, 20.0, 0.00005, 0.00001),
    box("touching", "car", 100.0, 10.0, 5.0, 5.0),
    box("larger", "car", -10.0, -10.0, 300.0, 300.0),
    polygon("cut-polygon", "road", -10, 10, 20, 10, 20, 30),
    polygon("outside-polygon", "road", 110, 10, 130, 10, 120, 30),
    polygon("flat-polygon", "road", 10, 10, 20, 20, 30, 30),
)
NAMES = (
    box("n1", 'he said "yes": #1', 1.0, 2.0, 3.0, 4.0),
    box("n2", "null", 1.0, 2.0, 3.0, 4.0),
    box("n3", "C:\\new", 1.0, 2.0, 3.0, 4.0),
    box("n4", "a\u2028b\u0085c", 1.0, 2.0, 3.0, 4.0),
    box("n5", "1.0", 1.0, 2.0, 3.0, 4.0),
    box("n6", "\U0001f697", 1.0, 2.0, 3.0, 4.0),
)
CROWDS = (
    box("crowd1", "person", 1.0, 2.0, 30.0, 40.0, iscrowd=True),
    box("crowd2", "person", 1.0, 2.0, 30.0, 40.0, crowd="true"),
    box("one", "person", 1.0, 2.0, 3.0, 4.0, iscrowd=0, crowd="none"),
)

PERSON = Skeleton(
    "person",
    ("nose", "left_eye", "right_eye", "left_hand", "right_hand"),
    edges=((0, 1), (0, 2), (1, 3), (2, 4)),
    flip=(0, 2, 1, 4, 3),
)
ARROW = Skeleton("arrow", ("tail", "tip"), edges=((0, 1),), flip=(0, 1))


def point(identity, label, x, y, visibility=2, group=""):
    return Annotation(identity, "keypoint", label, Point(float(x), float(y), visibility), group=group)


PEOPLE = (
    box("person-box", "person", 20.0, 10.0, 60.0, 80.0),
    point("whole-1", "nose", 50, 20.5, group="whole"),
    point("whole-2", "right_eye", 45, 18, 1, group="whole"),
    point("whole-3", "left_eye", 55, 18.25, group="whole"),
    point("whole-4", "left_hand", 75, 60, group="whole"),
    point("whole-5", "right_hand", 0, 0, 0, group="whole"),
    point("part-1", "left_hand", 190, 60, group="part"),
    point("part-2", "nose", 205, 20, group="part"),  # outside the image
    Annotation("boxed-box", "bounding_box", "person", Box(100.0, 10.0, 40.0, 70.0), {}, "boxed"),
    point("boxed-1", "nose", 120, 20, group="boxed"),
    point("boxed-2", "left_eye", 122, 18, group="boxed"),
    point("arrow-1", "tip", 150, 90, group="arrow"),
    point("arrow-2", "tail", 170, 80, group="arrow"),
    point("twice-1", "nose", 10, 10, group="twice"),
    point("twice-2", "nose", 12, 10, group="twice"),
    point("alone", "nose", 14, 10),
    point("unknown-1", "antenna", 16, 10, group="unknown"),
    point("unknown-2", "nose", 18, 10, group="unknown"),
    point("unseen-1", "nose", 0, 0, 0, group="unseen"),
    point("unseen-2", "left_eye", 0, 0, 0, group="unseen"),
)


def rectangles(*boxes):
    """A bitmap of 60 x 40 pixels: rectangles of ``left, top, right, bottom, value``, painted in this order."""
    bitmap = np.zeros((40, 60), dtype=np.uint8)
    for left, top, right, bottom, value in boxes:
        bitmap[top:bottom, left:right] = value
    return bitmap


MASKS = (
    Annotation("plain", "segmentation", "car", mask(rectangles((5, 5, 25, 20, 1)))),
    Annotation("holed", "segmentation", "bus", mask(rectangles((30, 5, 50, 25, 1), (35, 10, 45, 20, 0)))),
    Annotation("parted", "segmentation", "car", mask(rectangles((2, 25, 12, 35, 1), (20, 28, 30, 38, 1)))),
    Annotation("pixel", "segmentation", "car", mask(rectangles((59, 39, 60, 40, 1)))),
    Annotation("covered", "segmentation", "road", mask(rectangles((0, 0, 60, 40, 1))), {"difficult": True}),
)

# record id, split, file name ("" for no file), kind, width, height, annotations
RECORDS = (
    (1, "train", "street.jpg", "image", 100, 50, EVERY_SHAPE),
    (2, "train", "empty.png", "image", 64, 64, ()),
    (3, "train", "", "image", 64, 64, (box("x1", "car", 1.0, 2.0, 3.0, 4.0),)),
    (4, "val", "clip.mp4", "video", None, None, (Annotation("v1", "segmentation", "car", Opaque(b'{"section":{}}')),)),
    (5, "val", "turned.jpg", "image", 200, 100, TURNED),
    (6, "val", "edges.png", "image", 100, 50, EDGES),
    (7, "test", "도로 사진.jpg", "image", 100, 50, (box("한글", "자동차", 1.0, 2.0, 3.0, 4.0, 색상="빨강"),)),
    (8, "train", "dropped.v2.jpg", "image", 100, 50, (
        box("d1", DROPPED, 1.0, 2.0, 3.0, 4.0),
        polygon("d2", DROPPED, 1, 2, 3, 4, 5, 7),
        box("d3", "Car", 1.0, 2.0, 3.0, 4.0),
    )),
    (9, "train", "pair_1.jpg", "image", 100, 50, (box("same-id", "car", 1.0, 2.0, 3.0, 4.0),)),
    (9, "train", "pair_2.jpg", "image", 100, 50, (box("same-id", "bus", 4.0, 3.0, 2.0, 1.0),)),
    (10, "train", "unsized.jpg", "image", None, None, (box("u1", "car", 1.0, 2.0, 3.0, 4.0),)),
    (11, "train", "crowd.jpg", "image", 100, 50, CROWDS),
    (12, "train", "names.jpg", "image", 100, 50, NAMES),
    (13, "train", "", "document", None, None, ()),
    (14, "val", "people.jpg", "image", 200, 100, PEOPLE),
    (15, "train", "masks.png", "image", 60, 40, MASKS),
)  # fmt: skip


def samples():
    """The samples of the export, numbered; new objects each time."""
    numbered = []
    annotation_id = 1
    positions = {}
    records = [record[0] for record in RECORDS]
    for image_id, (record_id, split, name, kind, width, height, annotations) in enumerate(RECORDS, start=1):
        ordinal = image_id - 1 - records.index(record_id)
        media = f"{kind}_{ordinal + 1}"
        file = File(media, name=name, kind=kind, primary=ordinal == 0, width=width, height=height) if name else None
        path = PurePosixPath(name or f"record_{record_id}")
        payload = {"assignmentId": record_id, "annotations": {media: [{"id": item.id} for item in annotations]}}
        sample = Sample(
            record_id=record_id,
            ordinal=ordinal,
            media=media,
            kind=kind,
            width=width,
            height=height,
            file=file,
            annotations=copy.deepcopy(annotations),
            payload=b"" if ordinal else msgspec.json.encode(payload),
            files=b"" if ordinal else msgspec.json.encode({media: {"file_name_original": name}}),
        )
        original = Original(40 + image_id, f"{image_id:064x}") if file else None
        position = positions.get(split, 0)
        positions[split] = position + sample.has_image
        numbered.append(
            NumberedSample(sample, image_id, annotation_id, split, path.stem, path.name, position, original)
        )
        annotation_id += len(annotations)
    return numbered


def catalog_of(numbered, **options):
    """The catalog of these samples; ``options`` are :func:`pipeline.model.catalog.build_catalog`'s."""
    labels, splits = {}, {}
    for item in numbered:
        if item.sample.has_image:
            splits[item.split] = splits.get(item.split, 0) + 1
        for annotation in item.sample.annotations:
            if annotation.label:
                labels[annotation.label] = labels.get(annotation.label, 0) + 1
    annotations = sum(len(item.sample.annotations) for item in numbered)
    defaults = {
        "name": "streets",
        "description": 'every "shape", 도로',
        "configured": ("car", "bus"),
        "rename": {"Car": "car"},
        "drop": (DROPPED,),
    }
    summary = ShardSummary(len(numbered), annotations, labels, splits)
    catalog = build_catalog(summary, **(defaults | {key: options[key] for key in options.keys() - {"skeletons"}}))
    return msgspec.structs.replace(catalog, skeletons=options.get("skeletons", (PERSON, ARROW)))


def empty_catalog() -> Catalog:
    """The catalog of an export without samples."""
    return build_catalog(ShardSummary(), name="nothing")
