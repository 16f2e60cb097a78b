"""A small export with one of everything: each shape, each awkward image, name, class and split."""

import copy
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import msgspec

from pipeline.formats.testing.annotations import (
    ARROW,
    CROWDS,
    DROPPED,
    EDGES,
    EVERY_SHAPE,
    MASKS,
    NAMES,
    PEOPLE,
    PERSON,
    TURNED,
)
from pipeline.formats.testing.shapes import box, polygon
from pipeline.model.catalog import Catalog, ShardSummary, build_catalog, count_parts
from pipeline.model.trees import count_shapes
from pipeline.records import Annotation, File, NumberedSample, Opaque, Original, Record, Sample

type _Record = tuple[int, str, str, str, int | None, int | None, tuple[Annotation, ...]]

# record id, split, file name ("" for no file), kind, width, height, annotations
RECORDS: tuple[_Record, ...] = (
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


def samples() -> list[NumberedSample]:
    """Return the samples of the export, numbered: new objects each time."""
    numbered: list[NumberedSample] = []
    annotation_id = 1
    positions: dict[str, int] = {}
    ids = [record[0] for record in RECORDS]
    records: dict[int, Record] = {}
    for image_id, (record_id, split, name, kind, width, height, annotations) in enumerate(RECORDS, start=1):
        ordinal = image_id - 1 - ids.index(record_id)
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
        )
        files = {media: {"file_name_original": name}}
        own = Record(record_id, payload=msgspec.json.encode(payload), files=msgspec.json.encode(files))
        record = records.setdefault(record_id, own)
        original = Original(40 + image_id, f"{image_id:064x}") if file else None
        position = positions.get(split, 0)
        positions[split] = position + sample.has_image
        numbered.append(
            NumberedSample(record, sample, image_id, annotation_id, split, path.stem, path.name, position, original)
        )
        annotation_id += len(annotations)
    return numbered


def catalog_of(numbered: Sequence[NumberedSample], **options: Any) -> Catalog:
    """Return the catalog of these samples.

    ``options`` are those of :func:`pipeline.model.catalog.build_catalog`, and ``skeletons``.
    """
    labels: dict[str, int] = {}
    splits: dict[str, int] = {}
    for item in numbered:
        if item.sample.has_image:
            splits[item.split] = splits.get(item.split, 0) + 1
        for annotation in item.sample.annotations:
            if annotation.label:
                labels[annotation.label] = labels.get(annotation.label, 0) + 1
    annotations = sum(len(item.sample.annotations) for item in numbered)
    defaults: dict[str, Any] = {
        "name": "streets",
        "description": 'every "shape", 도로',
        "configured": ("car", "bus"),
        "rename": {"Car": "car"},
        "drop": (DROPPED,),
    }
    parts: dict[str, dict[str, int]] = {}
    shapes: dict[str, dict[str, int]] = {}
    for item in numbered:
        count_parts(item.sample.annotations, parts)
        count_shapes(item.sample.annotations, shapes)
    summary = ShardSummary(len(numbered), annotations, labels, splits, parts=parts, shapes=shapes)
    return build_catalog(summary, **({"skeletons": (PERSON, ARROW)} | defaults | options))


def empty_catalog() -> Catalog:
    """Return the catalog of an export without samples."""
    return build_catalog(ShardSummary(), name="nothing")
