"""YOLO as Ultralytics reads it: one text file of rows per image, one task per tree. See ``docs/formats/yolo.md``."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Literal, Self, get_args
from urllib.parse import urlsplit

from msgspec import Meta

from pipeline.formats import BaseFormat, Contents, Entry, Loss, Manifest, OptionError, Section
from pipeline.formats.images import Size, dropped_groups, image_size, missing_original, without_image
from pipeline.formats.support import Kind, Support
from pipeline.formats.yolo.boxes import Enclosed, render_detect, render_obb
from pipeline.formats.yolo.dataset_files import (
    NO_SKELETON,
    make_classes_txt,
    make_data_yaml,
    make_ndjson_head,
    make_ndjson_line,
)
from pipeline.formats.yolo.pose import choose_skeleton, render_pose
from pipeline.formats.yolo.rows import Rows
from pipeline.formats.yolo.segment import Boxes, Outlines, render_segments
from pipeline.formats.yolo.support import OBB, POSE, detect_support, segment_support
from pipeline.model.catalog import Catalog
from pipeline.model.trees import TreeClasses
from pipeline.records import NumberedSample, Sample

Task = Literal["detect", "segment", "pose", "obb"]
Folder = Annotated[str, Meta(pattern=r"^([a-z][a-z0-9_]{0,62})?\Z", description="a plain word of a-z, 0-9 and _")]
BoxesFrom = Annotated[tuple[Enclosed, ...], Meta(description=f"a list of {', '.join(get_args(Enclosed))}")]
Pixels = Annotated[float, Meta(ge=0, description="a number of pixels from 0")]

IMAGE_SUFFIXES = frozenset(
    ("avif", "bmp", "dng", "heic", "heif", "jp2", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp")
)
"""The suffixes of files that Ultralytics takes for images (``ultralytics.data.utils.IMG_FORMATS``)."""

RESERVED_FOLDERS: Mapping[str, str] = {
    **dict.fromkeys(("files", "images", "metadata"), "the export itself"),
    "annotations": "the format coco",
    "csv": "the format csv",
    "imagefolder": "the format imagefolder",
    "json": "the format synapse_json",
    "labels": "a YOLO tree without a folder",
    "parquet": "the format parquet",
    "parquet_other": "the format parquet",
    "semantic": "the format semantic",
    "vocdevkit": "the format voc",
    "webdataset": "the format webdataset",
}
"""Folders that the tree cannot have, and what writes there; in small letters, because some disks ignore case."""

# The one value of another option without which an option would do nothing.
_ONLY_WITH = {
    "boxes_from": ("task", "detect"),
    "outlines": ("task", "segment"),
    "boxes": ("task", "segment"),
    "simplify": ("task", "segment"),
    "skeleton": ("task", "pose"),
    "base_url": ("ndjson", True),
}
_IMAGES = "images"


@dataclass(frozen=True)
class Yolo(BaseFormat):
    """``labels/<split>/<stem>.txt``, ``data.yaml`` and ``classes.txt``, at the root or in a ``folder`` of their own.

    ``task`` decides what the rows hold. Task detect has ``boxes_from`` (what is written as the box around it: polygon,
    mask, keypoints). Task segment has ``outlines`` (how to write a mask with holes or of several parts), ``boxes``
    (left out or drawn) and ``simplify`` (how many pixels the outline of a mask may move). Task pose has ``skeleton``
    (its name; the first one by default). ``ndjson`` adds ``dataset.ndjson``, whose images are at ``base_url``.
    """

    task: Task = "detect"
    folder: Folder = ""
    boxes_from: BoxesFrom = ()
    outlines: Outlines = "bridge"
    boxes: Boxes = "skip"
    simplify: Pixels = 0.0
    skeleton: Annotated[str, Meta(description="a name")] = ""
    ndjson: bool = False
    base_url: str = ""

    def __post_init__(self) -> None:
        """Check the options. Raises OptionError for a wrong value, and for an option that would do nothing."""
        super().__post_init__()
        if self.folder in RESERVED_FOLDERS:
            raise OptionError("folder", f"{self.folder!r} is the folder of {RESERVED_FOLDERS[self.folder]}")
        if self.base_url and not _is_public_address(self.base_url):
            text = "must be an http(s) address without a query (signatures expire) or a password"
            raise OptionError("base_url", text)
        for option, (other, needed) in _ONLY_WITH.items():
            if getattr(self, option) != getattr(Yolo, option) and getattr(self, other) != needed:
                raise OptionError(option, f"needs {other}: {str(needed).lower()}")

    @property
    def name(self) -> str:
        """``yolo`` for the tree at the root of the export, else ``yolo_<folder>``."""
        return f"yolo_{self.folder}" if self.folder else "yolo"

    def in_own_folder(self) -> Self:
        """Return the same format in a folder named after its task, unless it has one."""
        return self if self.folder else replace(self, folder=self.task)

    def support(self) -> Mapping[Kind, Support]:
        """Return what becomes of each kind of annotation, with ``masks: instance``."""
        if self.task == "segment":
            return segment_support(self.outlines, self.boxes)
        if self.task == "detect":
            return detect_support(self.boxes_from)
        return {"pose": POSE, "obb": OBB}[self.task]

    def how_to_hold(self, shapes: Collection[str]) -> str:
        """Return the option that gives objects of these shapes a row."""
        enclosed = [shape for shape in get_args(Enclosed) if shape in shapes or shape in self.boxes_from]
        if self.task == "detect" and enclosed != [shape for shape in enclosed if shape in self.boxes_from]:
            return f"boxes_from: [{', '.join(enclosed)}] writes the boxes around them"
        if self.task == "segment" and "box" in shapes:
            return "boxes: rectangle writes boxes as outlines"
        if self.task == "obb" and not {"polygon", "mask"}.isdisjoint(shapes):
            return "a second yolo with task: segment holds their outlines"
        return ""

    def trees(self, masks: str) -> Mapping[str, Collection[str]]:
        """Return the one tree; none for task pose, whose classes are those of the skeleton's objects."""
        return {} if self.task == "pose" else {self._tree: self._held(masks)}

    def how_to_read(self, url: str, split: str, contents: Contents) -> str:  # noqa: ARG002  # data.yaml names the splits
        """Return the command that trains on the tree."""
        return f"Ultralytics: yolo {self.task} train data={url}/{self._path('data.yaml')}"

    def manifests(self, catalog: Catalog) -> Iterable[Manifest]:
        """Return ``data.yaml`` and ``classes.txt``, which do not depend on samples, and ``dataset.ndjson``.

        Raises ConfigError when the export has skeletons, but none of the given name.
        """
        skeleton = None
        if self.task != "pose":
            classes = self._classes(catalog).names
        else:
            chosen = choose_skeleton(catalog, self.skeleton)
            classes = catalog.classes_of_objects(catalog.skeletons.index(chosen)) if chosen else ()
            skeleton = chosen or NO_SKELETON
        settings = make_data_yaml(self.task, classes, catalog, skeleton)
        yield Manifest(self._path("classes.txt"), (Section("classes", open=make_classes_txt(classes)),))
        yield Manifest(self._path("data.yaml"), (Section("data", open=settings),))
        if self.ndjson:
            head = make_ndjson_head(self.task, classes, catalog, skeleton, is_local=not self.base_url)
            yield Manifest(self._path("dataset.ndjson"), (Section(_IMAGES, open=head),))

    def render(self, sample: NumberedSample, catalog: Catalog) -> Iterable[Entry | Loss]:
        """Return the label file of an image, empty for a background image; with ``folder`` also the image."""
        source = sample.sample
        size = image_size(source)
        if size is None or sample.file_name.rpartition(".")[2].lower() not in IMAGE_SUFFIXES:
            return without_image(source)
        rows, losses = self._rows(source, size, catalog)
        losses += dropped_groups(source, losses) if self.task != "pose" else ()
        losses += missing_original(sample)
        results: list[Entry | Loss] = [*losses, Entry(self._path(f"labels/{sample.split}/{sample.stem}.txt"), rows)]
        if self.folder and sample.original is not None:
            results.append(Entry(self._path(f"images/{sample.split}/{sample.file_name}"), original=True))
        if self.ndjson and not sample.is_original_missing:
            line = make_ndjson_line(self.task, sample, catalog, rows, self.base_url)
            if line is not None:
                results.append(Entry(self._path("dataset.ndjson"), line, _IMAGES))
        return results

    def _rows(self, sample: Sample, size: Size, catalog: Catalog) -> Rows:
        if self.task == "detect":
            return render_detect(sample, size, catalog, self._classes(catalog), self.boxes_from)
        if self.task == "segment":
            classes = self._classes(catalog)
            return render_segments(
                sample, size, catalog, classes, parts=self.outlines, boxes=self.boxes, tolerance=self.simplify
            )
        if self.task == "pose":
            return render_pose(sample, size, catalog, self.skeleton)
        return render_obb(sample, size, catalog, self._classes(catalog))

    def _classes(self, catalog: Catalog) -> TreeClasses:
        return catalog.classes_in(self._tree, self._held(catalog.masks))

    @property
    def _tree(self) -> str:
        return f"{self.name}/{self.task}"

    def _held(self, masks: str) -> frozenset[str]:
        return _shapes_in_rows(self.task, self.boxes, self.boxes_from, masks)

    def _path(self, path: str) -> str:
        return f"{self.folder}/{path}" if self.folder else path


@lru_cache(maxsize=64)
def _shapes_in_rows(task: Task, boxes: Boxes, boxes_from: tuple[Enclosed, ...], masks: str) -> frozenset[str]:
    """Return the shapes of annotations that rows can hold."""
    found = {"detect": {"box", *boxes_from}, "obb": {"box"}, "segment": {"polygon", "mask"}, "pose": set()}[task]
    if masks != "instance":
        found.discard("mask")
    if boxes == "rectangle":
        found.add("box")
    return frozenset(found)


def _is_public_address(address: str) -> bool:
    parts = urlsplit(address)
    is_plain = not (parts.query or parts.fragment or "@" in parts.netloc)
    return is_plain and parts.scheme in ("http", "https") and bool(parts.netloc)
