"""The files that describe a whole YOLO tree: ``data.yaml``, ``classes.txt`` and ``dataset.ndjson``."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from pipeline.formats.encoding import ascii_json, one_line, yaml_path, yaml_string
from pipeline.model.catalog import Catalog
from pipeline.model.skeletons import Skeleton
from pipeline.model.splits import UNASSIGNED, find_split, role_of
from pipeline.records import NumberedSample

NO_SKELETON = Skeleton("", ("none",), flip=(0,))
"""Replaces the skeleton of an export that has none: Ultralytics refuses pose data without a ``kpt_shape``."""

_ANNOTATIONS: Mapping[str, bytes] = {"detect": b"boxes", "segment": b"segments", "pose": b"pose", "obb": b"obb"}
_encode = msgspec.json.Encoder().encode


def make_data_yaml(task: str, classes: Sequence[str], catalog: Catalog, skeleton: Skeleton | None) -> bytes:
    """Return the settings of a tree; ``skeleton`` is that of task pose, None for the other tasks.

    Without ``path``, Ultralytics resolves the folders against this file; ``path: .`` would mean the working directory.
    Both train and val are required, and val must hold an image, so another split stands in for a missing one.
    """
    splits = _usable_splits(catalog)
    train, val, test = training_split(catalog), find_split(splits, "val"), find_split(splits, "test")
    lines = [f"# Ultralytics YOLO, task {task}. Folders are relative to this file."]
    if role_of(train) != "train":
        lines.append("# There is no split named train: another one stands in for it.")
    lines.append(f"train: {yaml_path(f'images/{train}')}")
    if val is None:
        lines.append("# There is no split named val: another one stands in for it. Do not trust validation scores.")
    lines.append(f"val: {yaml_path(f'images/{val or train}')}")
    if test is not None:
        lines.append(f"test: {yaml_path(f'images/{test}')}")
    if skeleton is not None:
        lines += _describe_skeleton(skeleton)
    lines.append(f"nc: {len(classes)}")
    lines.append("names:" if classes else "names: {}")
    lines += [f"  {index}: {yaml_string(name)}" for index, name in enumerate(classes)]
    return "".join(f"{line}\n" for line in lines).encode()


def make_classes_txt(classes: Sequence[str]) -> bytes:
    """Return the classes, one per line."""
    return "".join(f"{one_line(name)}\n" for name in classes).encode()


def make_ndjson_head(
    task: str, classes: Sequence[str], catalog: Catalog, skeleton: Skeleton | None, *, is_local: bool
) -> bytes:
    """Return the first line of ``dataset.ndjson``; with ``is_local`` the images are in ``images/<split>`` beside it.

    Ultralytics makes a ``data.yaml`` of its own from this line.
    """
    head: dict[str, Any] = {
        "type": "dataset",
        "task": task,
        "name": catalog.name,
        "description": catalog.description,
        "class_names": {str(index): name for index, name in enumerate(classes)},
    }
    if skeleton is not None:
        head["kpt_shape"] = (len(skeleton.points), 3)
        if skeleton.flip:
            head["flip_idx"] = skeleton.flip
    if is_local:
        head["path"] = "."
    return ascii_json(_encode(head)) + b"\n"


def make_ndjson_line(task: str, sample: NumberedSample, catalog: Catalog, rows: bytes, base_url: str) -> bytes | None:
    """Return the line of an image; None for an image of a split that Ultralytics does not know.

    ``rows`` is the text of its label file: both have the same numbers, digit for digit.
    """
    splits = _usable_splits(catalog)
    roles = {find_split(splits, "val"): "val", find_split(splits, "test"): "test", training_split(catalog): "train"}
    split = roles.get(sample.split)
    if split is None:
        return None
    path = quote(sample.original_path)
    head = {
        "type": "image",
        "file": sample.file_name,
        "url": f"{base_url.rstrip('/')}/{path}" if base_url else path,
        "width": sample.sample.width,
        "height": sample.sample.height,
        "split": split,
    }
    items = b"[%b]" % rows[:-1].replace(b" ", b",").replace(b"\n", b"],[") if rows else b""
    return b'%b,"annotations":{"%b":[%b]}}\n' % (ascii_json(_encode(head))[:-1], _ANNOTATIONS[task], items)


def training_split(catalog: Catalog) -> str:
    """Return the split that is trained on: train, or the first one when there is no train."""
    splits = _usable_splits(catalog)
    return find_split(splits, "train") or splits[0]


def _usable_splits(catalog: Catalog) -> list[str]:
    return [split for split in catalog.splits if split != UNASSIGNED] or list(catalog.splits)


def _describe_skeleton(skeleton: Skeleton) -> list[str]:
    lines = [f"kpt_shape: [{len(skeleton.points)}, 3]"]
    if skeleton.flip:
        lines.append(f"flip_idx: [{', '.join(map(str, skeleton.flip))}]")
    if skeleton is NO_SKELETON:
        return ["# There is no skeleton, and nothing to train on: kpt_shape must be there to be read at all.", *lines]
    return [*lines, "kpt_names:", "  0:", *(f"    - {yaml_string(name)}" for name in skeleton.points)]
