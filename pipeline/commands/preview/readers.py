"""Read labels back from published files, as programs that train read them: COCO, YOLO and Pascal VOC."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from pipeline.destination.rows import byte_lines
from pipeline.errors import DamagedExportError
from pipeline.images.contact_sheet import Drawn
from pipeline.storage import Storage

_IMAGE_ID = re.compile(rb'"image_id":(\d+)')
_DAMAGED = "is not as it was written; verify names such files"


class Chosen(NamedTuple):
    """An image of the export: its record, its id, its split, and the path of its copy."""

    record_id: int
    image_id: int
    split: str
    path: str

    @property
    def stem(self) -> str:
        """Return the name that label files share with the image."""
        return self.path.rpartition("/")[2].rpartition(".")[0]


def read_coco(storage: Storage, chosen: Sequence[Chosen], _: Mapping[str, Any]) -> dict[int, list[Drawn]]:
    """Return the objects of the chosen images by image id, from all files of ``annotations/``, line by line."""
    wanted = {one.image_id for one in chosen}
    found: dict[int, list[Drawn]] = {one.image_id: [] for one in chosen}
    splits = {one.split for one in chosen}
    paths = [path for path, _ in storage.files("annotations") if path.endswith(".json")]
    for path in sorted(path for path in paths if any(f"_{split}" in path for split in splits)):
        names: dict[int, str] = {}
        for line in byte_lines(storage.chunks(path)):
            text = line.rstrip(b",\n")
            if text.startswith(b'{"id":') and b'"supercategory":' in text:
                category = _json(text, storage, path)
                names[category["id"]] = category["name"]
            elif (match := _IMAGE_ID.search(text)) and int(match[1]) in wanted:
                found[int(match[1])].append(_coco_object(_json(text, storage, path), names))
    return found


def _coco_object(entry: Mapping[str, Any], names: Mapping[int, str]) -> Drawn:
    segmentation: Any = entry.get("segmentation") or []
    is_mask = isinstance(segmentation, dict)
    flat = entry.get("keypoints") or []
    return Drawn(
        names.get(entry["category_id"], str(entry["category_id"])),
        entry["category_id"] - 1,
        box=tuple(entry["bbox"]) if entry.get("bbox") else None,
        rings=() if is_mask else tuple(map(tuple, segmentation)),
        mask=(tuple(segmentation["size"]), segmentation["counts"]) if is_mask else None,
        points=tuple(zip(flat[0::3], flat[1::3], flat[2::3], strict=True)),
    )


def read_yolo(storage: Storage, chosen: Sequence[Chosen], options: Mapping[str, Any]) -> dict[int, list[Drawn]]:
    """Return the objects of the chosen images by image id, in fractions, from a label file each."""
    folder = f"{options['folder']}/" if options.get("folder") else ""
    names = storage.read(f"{folder}classes.txt").decode().splitlines()
    found: dict[int, list[Drawn]] = {}
    for one in chosen:
        path = f"{folder}labels/{one.split}/{one.stem}.txt"
        rows = (storage.find(path) or b"").decode().splitlines()
        try:
            found[one.image_id] = [_yolo_object(row.split(), names, options.get("task", "detect")) for row in rows]
        except (ValueError, IndexError) as error:
            raise DamagedExportError(f"{storage.url}/{path}", _DAMAGED) from error
    return found


def _yolo_object(cells: Sequence[str], names: Sequence[str], task: str) -> Drawn:
    number, values = int(cells[0]), tuple(map(float, cells[1:]))
    drawn = Drawn(names[number], number)
    if task in ("detect", "pose"):
        x, y, width, height = values[:4]
        rest = values[4:]
        return drawn._replace(
            box=(x - width / 2, y - height / 2, width, height),
            points=tuple(zip(rest[0::3], rest[1::3], rest[2::3], strict=True)),
        )
    return drawn._replace(rings=(values,))


def read_voc(storage: Storage, chosen: Sequence[Chosen], _: Mapping[str, Any]) -> dict[int, list[Drawn]]:
    """Return the objects of the chosen images by image id, from a document each. Their corners count from 1."""
    found: dict[int, list[Drawn]] = {}
    numbers: dict[str, int] = {}
    folders = [f"VOCdevkit/{name}/Annotations" for name in storage.entries("VOCdevkit")]
    for one in chosen:
        paths = [f"{folder}/{one.stem}.xml" for folder in folders]
        documents = [(path, data) for path in paths if (data := storage.find(path)) is not None]
        found[one.image_id] = [
            drawn for path, data in documents for drawn in _voc_objects(data, numbers, f"{storage.url}/{path}")
        ]
    return found


def _voc_objects(data: bytes, numbers: dict[str, int], where: str) -> Iterable[Drawn]:
    try:
        if b"<!DOCTYPE" in data:  # no export writes one; entities could expand to any size
            raise DamagedExportError(where, _DAMAGED)
        root = ET.fromstring(data)  # noqa: S314  without a document type it declares no entities
    except ET.ParseError as error:
        raise DamagedExportError(where, _DAMAGED) from error
    for entry in root.iterfind("object"):
        name, box = entry.findtext("name") or "", entry.find("bndbox")
        if box is None:
            continue
        left, top, right, bottom = (float(box.findtext(side) or 0) for side in ("xmin", "ymin", "xmax", "ymax"))
        number = numbers.setdefault(name, len(numbers))
        yield Drawn(name, number, box=(left - 1, top - 1, right - left + 1, bottom - top + 1))


def _json(text: bytes, storage: Storage, path: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.MsgspecError as error:
        raise DamagedExportError(f"{storage.url}/{path}", _DAMAGED) from error
