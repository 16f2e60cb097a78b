"""Semantic segmentation: a PNG with the class of every pixel. ``docs/formats/semantic.md`` has the grammar."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import msgspec

from pipeline.formats import BaseFormat, Contents, Entry, Loss, Manifest, OptionError, Section
from pipeline.formats.encoding import ascii_json
from pipeline.formats.images import dropped_groups, image_size, missing_original, without_image
from pipeline.formats.semantic.layouts import LAYOUTS, Layout, Values
from pipeline.formats.semantic.plane import MAX_CLASSES, Plane, is_too_large, paint
from pipeline.formats.support import Kind, Support
from pipeline.formats.yolo.dataset_files import make_data_yaml
from pipeline.formats.yolo.format import IMAGE_SUFFIXES
from pipeline.images.files import encode_gray_png, encode_indexed_png
from pipeline.images.palette import PALETTE, index_colour
from pipeline.model.catalog import Catalog
from pipeline.model.splits import find_split
from pipeline.model.trees import TreeClasses
from pipeline.reasons import Reason
from pipeline.records import NumberedSample

FOLDER = "semantic"
BACKGROUND = "background"

_TREE = "semantic"
_HELD: Mapping[str, frozenset[str]] = {
    "instance": frozenset(("polygon", "mask")),
    "semantic": frozenset(("polygon", "mask")),
    "exclude": frozenset(("polygon",)),
}
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Semantic(BaseFormat):
    """``semantic/``: for each image a PNG of one channel, whose pixels are numbers of classes.

    ``layout`` names files as ``ultralytics`` (task semantic), ``cityscapes`` or ``ade20k`` do. ``background`` is what
    the pixels of no object are in layout ultralytics: ``class`` makes them the first class, ``ignore`` makes them 255,
    which trainers leave out of the loss.
    """

    layout: Literal["ultralytics", "cityscapes", "ade20k"] = "ultralytics"
    background: Literal["class", "ignore"] = "class"

    name: ClassVar[str] = "semantic"

    def __post_init__(self) -> None:
        """Check the options. Raises OptionError for a wrong value, and for an option that would do nothing."""
        super().__post_init__()
        if self.background != "class" and self.layout != "ultralytics":
            raise OptionError("background", "needs layout: ultralytics; the other layouts say what background is")

    def support(self) -> Mapping[Kind, Support]:
        """Return what becomes of each kind of annotation, with ``masks: instance``."""
        unsupported = Support("skipped", Reason.UNSUPPORTED_ANNOTATION_TYPE)
        painted = Support(how="painted")
        return {
            **dict.fromkeys(Kind, unsupported),
            Kind.POLYGON: painted,
            Kind.POLYGON_OVER_EDGE: Support("lossy", Reason.CLIPPED_TO_IMAGE, "painted, cut"),
            Kind.POLYGON_OUTSIDE: Support("skipped", Reason.OUTSIDE_IMAGE),
            Kind.FLAT_POLYGON: Support("skipped", Reason.INVALID_POLYGON),
            Kind.MASK: painted,
            Kind.MASK_WITH_HOLE: painted,
            Kind.MASK_IN_PARTS: painted,
            Kind.ATTRIBUTES: Support("lossy", Reason.CUSTOM_ATTRIBUTES_DROPPED),
            Kind.DROPPED_CLASS: Support("skipped", Reason.CLASS_DROPPED),
        }

    def trees(self, masks: str) -> Mapping[str, Collection[str]]:
        """Return the one tree: polygons and masks."""
        return {_TREE: _HELD[masks]}

    def how_to_read(self, url: str, split: str, contents: Contents) -> str:
        """Return the line that loads the tree; ``""`` where no split has a name that its readers know."""
        root = f"{url}/{FOLDER}"
        if self.layout == "ultralytics":
            return f"Ultralytics: yolo semantic train data={root}/data.yaml"
        folders = (self._folder_of(name, contents.catalog) for name in contents.splits_from(split))
        folder = next((name for name in folders if name in self._layout.splits.values()), "")
        if not folder:
            return ""
        if self.layout == "cityscapes":
            return f"torchvision: Cityscapes('{root}', split='{folder}', target_type='semantic')"
        return f"pixels of {root}/images/{folder} are in {root}/annotations/{folder}, classes in {root}/labels.json"

    def manifests(self, catalog: Catalog) -> Iterable[Manifest]:
        """Return ``labels.json``, and ``data.yaml`` for Ultralytics; neither depends on samples."""
        names = self._classes(catalog).names
        rows = [
            _Label(number, (number or 256) - 1, name, index_colour(number))
            for number, name in enumerate((BACKGROUND, *names))
        ]
        labels = b"[\n" + b",\n".join(ascii_json(_encode(row)) for row in rows[: MAX_CLASSES + 1]) + b"\n]\n"
        yield Manifest(f"{FOLDER}/labels.json", (Section("labels", open=labels),))
        if self.layout == "ultralytics":
            listed = [row.name for row in rows[: MAX_CLASSES + 1]][self.background == "ignore" :]
            settings = make_data_yaml("semantic", listed, catalog, None)
            yield Manifest(f"{FOLDER}/data.yaml", (Section("data", open=settings + b"masks_dir: masks\n"),))

    def render(self, sample: NumberedSample, catalog: Catalog) -> Iterable[Entry | Loss]:
        """Return the planes of an image, and the image."""
        source = sample.sample
        size = image_size(source)
        suffix = sample.file_name.rpartition(".")[2]
        if size is None or is_too_large(size) or suffix.lower() not in IMAGE_SUFFIXES:
            return without_image(source)
        plane, lost = paint(source, size, catalog, self._classes(catalog).numbers)
        lost += dropped_groups(source, lost)
        lost += missing_original(sample)
        results: list[Entry | Loss] = [*lost]
        place = {"split": self._folder_of(sample.split, catalog), "stem": sample.stem, "suffix": suffix}
        for pattern, values in self._layout.planes.items():
            results.append(Entry(f"{FOLDER}/{pattern.format_map(place)}", _encode_plane(plane, values)))
        if sample.original is not None:
            results.append(Entry(f"{FOLDER}/{self._layout.image.format_map(place)}", original=True))
        return results

    def _classes(self, catalog: Catalog) -> TreeClasses:
        return catalog.classes_in(_TREE, _HELD[catalog.masks])

    @property
    def _layout(self) -> Layout:
        return LAYOUTS[self.layout, self.background]

    def _folder_of(self, split: str, catalog: Catalog) -> str:
        """Return the folder of a split: readers know those of training, validating and testing by name."""
        found = (folder for role, folder in self._layout.splits.items() if find_split(catalog.splits, role) == split)
        return next(found, split)


class _Label(msgspec.Struct):
    id: int
    train_id: int
    name: str
    color: tuple[int, int, int]


def _encode_plane(plane: Plane, values: Values) -> bytes:
    if values == "colours":
        return encode_indexed_png(plane, PALETTE)
    return encode_gray_png(plane if values == "ids" else plane - 1)  # a byte less than 0 is 255
