"""YOLO detect, as Ultralytics reads it: one text file of boxes per image. See ``docs/formats.md`` for the grammar."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from pipeline.catalog import UNASSIGNED, Catalog
from pipeline.formats import Entry, Loss, Manifest, Section
from pipeline.formats.encoding import one_line, without_nulls, yaml_path, yaml_string
from pipeline.formats.images import image_size, place, without_image
from pipeline.reasons import Reason
from pipeline.records import Box, NumberedSample

Task = Literal["detect"]

IMAGE_SUFFIXES = frozenset(
    ("avif", "bmp", "dng", "heic", "heif", "jp2", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp")
)
"""What Ultralytics takes for an image, by its name (``ultralytics.data.utils.IMG_FORMATS``)."""

_ROW = b"%d %.6f %.6f %.6f %.6f\n"
_SMALLEST = 1e-6  # the last decimal of a row: less would be a box of no size


@dataclass(frozen=True)
class Yolo:
    """``labels/<split>/<stem>.txt``, ``data.yaml`` and ``classes.txt``.

    ``task`` is what the rows hold: only ``detect`` (upright boxes). Raises ValueError for anything else.
    """

    task: Task = "detect"

    name: ClassVar[str] = "yolo"
    needs_payload: ClassVar[bool] = False

    def __post_init__(self) -> None:
        choices = get_args(Task)
        if self.task not in choices:
            raise ValueError(f"task must be one of {', '.join(choices)}, not {self.task!r}")

    def manifests(self, catalog: Catalog) -> Iterable[Manifest]:
        """``data.yaml`` and ``classes.txt``: they depend on no sample."""
        classes = "".join(f"{one_line(name)}\n" for name in catalog.classes)
        yield Manifest("classes.txt", (Section("classes", open=classes.encode()),))
        yield Manifest("data.yaml", (Section("data", open=_data_yaml(catalog).encode()),))

    def render(self, sample: NumberedSample, catalog: Catalog) -> Iterable[Entry | Loss]:
        """The label file of an image: a row ``class cx cy w h`` per box, normalised; empty for a background image."""
        source = sample.sample
        size = image_size(source)
        if size is None or sample.file_name.rpartition(".")[2].lower() not in IMAGE_SUFFIXES:
            return without_image(source)
        width, height = size
        results: list[Entry | Loss] = []
        rows: list[float] = []
        for annotation in source.annotations:
            box = annotation.shape
            if not isinstance(box, Box):
                results.append(Loss(annotation.id, "skipped", Reason.UNSUPPORTED_ANNOTATION_TYPE))
                continue
            index = catalog.class_index(annotation.label)
            if index is None:
                results.append(Loss(annotation.id, "skipped", Reason.CLASS_DROPPED))
                continue
            placed = place(box, width, height)
            if placed is None:
                results.append(Loss(annotation.id, "skipped", Reason.OUTSIDE_IMAGE))
                continue
            x, y, box_width, box_height, changes = placed
            across, down = box_width / width, box_height / height
            if across < _SMALLEST or down < _SMALLEST:
                across, down = max(across, _SMALLEST), max(down, _SMALLEST)
            rows += (index, (x + box_width / 2) / width, (y + box_height / 2) / height, across, down)
            attributes = annotation.attributes
            if changes or attributes:
                dropped = (Reason.CUSTOM_ATTRIBUTES_DROPPED,) if without_nulls(attributes) else ()
                results += [Loss(annotation.id, "lossy", reason) for reason in changes + dropped]
        results.append(Entry(f"labels/{sample.split}/{sample.stem}.txt", _ROW * (len(rows) // 5) % tuple(rows)))
        return results


def _data_yaml(catalog: Catalog) -> str:
    # Without `path`, Ultralytics resolves the folders against this file; `path: .` would mean the working directory.
    # Both train and val are required, and val must hold an image, so a split that is missing borrows another.
    splits = [split for split in catalog.splits if split != UNASSIGNED] or list(catalog.splits)
    train = "train" if "train" in splits else splits[0]
    val = "val" if "val" in splits else train
    lines = ["# Ultralytics YOLO, task detect. Folders are relative to this file."]
    if train != "train":
        lines.append("# There is no split named train: another one stands in for it.")
    lines.append(f"train: {yaml_path(f'images/{train}')}")
    if val != "val":
        lines.append("# There is no split named val: another one stands in for it. Do not trust validation scores.")
    lines.append(f"val: {yaml_path(f'images/{val}')}")
    if "test" in splits:
        lines.append("test: images/test")
    lines.append(f"nc: {len(catalog.classes)}")
    lines.append("names:" if catalog.classes else "names: {}")
    lines += [f"  {index}: {yaml_string(name)}" for index, name in enumerate(catalog.classes)]
    return "\n".join(lines) + "\n"
