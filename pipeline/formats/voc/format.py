"""Pascal VOC: XML and palette PNGs per image, lists of images per split. ``docs/formats/voc.md`` has the grammar."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from pipeline.formats import BaseFormat, Contents, Entry, Loss, Manifest, Section
from pipeline.formats.images import dropped_groups, image_size, missing_original, without_image
from pipeline.formats.support import KEPT, Kind, Support
from pipeline.formats.voc.image import VocImage
from pipeline.formats.voc.image_sets import group_splits, make_label_map, name_class_lists
from pipeline.formats.voc.xml import make_document
from pipeline.images.files import encode_indexed_png
from pipeline.images.palette import PALETTE
from pipeline.model.catalog import Catalog
from pipeline.model.naming import split_leaf
from pipeline.reasons import Reason
from pipeline.records import Mask, NumberedSample

Images = Literal["keep", "transcode"]

_JPEG_SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif"))


@dataclass(frozen=True)
class Voc(BaseFormat):
    """``VOCdevkit/VOC2012/``, as the readers of Pascal VOC expect it.

    ``year`` names the folder; torchvision takes 2007 to 2012. With ``images: keep`` images are copied as they are, and
    every JPEG has the suffix ``.jpg``; with ``transcode`` all other images become JPEG. ``class_sets`` adds the lists
    of images that show a class: a line for every class and image.
    """

    year: Annotated[int, Meta(ge=2007, le=2012)] = 2012
    images: Images = "keep"
    class_sets: bool = False

    name: ClassVar[str] = "voc"

    def support(self) -> Mapping[Kind, Support]:
        """Return what becomes of each kind of annotation, with ``masks: instance``."""
        unsupported = Support("skipped", Reason.UNSUPPORTED_ANNOTATION_TYPE)
        painted = Support(how="painted, and the box around it")
        return {
            Kind.BOX: KEPT,
            Kind.TURNED_BOX: Support("lossy", Reason.ROTATION_ENCLOSED, "the box around it"),
            Kind.BOX_OVER_EDGE: Support("lossy", Reason.CLIPPED_TO_IMAGE, "cut, and marked as truncated"),
            Kind.BOX_OUTSIDE: Support("skipped", Reason.OUTSIDE_IMAGE),
            Kind.POLYGON: painted,
            Kind.POLYGON_OVER_EDGE: Support("lossy", Reason.CLIPPED_TO_IMAGE, "painted, cut and marked as truncated"),
            Kind.POLYGON_OUTSIDE: Support("skipped", Reason.OUTSIDE_IMAGE),
            Kind.FLAT_POLYGON: Support("skipped", Reason.INVALID_POLYGON),
            Kind.MASK: painted,
            Kind.MASK_WITH_HOLE: painted,
            Kind.MASK_IN_PARTS: painted,
            Kind.POLYLINE: unsupported,
            Kind.SKELETON_POINT: unsupported,
            Kind.UNGROUPED_POINT: unsupported,
            Kind.UNKNOWN_POINT: unsupported,
            Kind.WHOLE: Support(how="1 in the lists of its class") if self.class_sets else unsupported,
            Kind.RELATION: unsupported,
            Kind.OPAQUE: unsupported,
            Kind.ATTRIBUTES: Support(
                "lossy", Reason.CUSTOM_ATTRIBUTES_DROPPED, "only pose, truncated, difficult and occluded"
            ),
            Kind.DROPPED_CLASS: Support("skipped", Reason.CLASS_DROPPED),
        }

    def how_to_read(self, url: str, split: str, contents: Contents) -> str:
        """Return how torchvision loads the first list with images; its default is the year 2012."""
        lists = group_splits(tuple(contents.catalog.splits))
        filled = (
            name
            for name in sorted(lists, key=lambda name: (len(lists[name]), split not in lists[name]))
            if any(contents.has(self._path(f"ImageSets/Main/{name}.txt"), own) for own in lists[name])
        )
        name = next(filled, "")
        year = "" if self.year == 2012 else f"year='{self.year}', "
        return f"torchvision: VOCDetection('{url}', {year}image_set='{name}')" if name else ""

    def manifests(self, catalog: Catalog) -> Iterable[Manifest]:
        """Return the lists of images, and the classes with their colours."""
        names = group_splits(tuple(catalog.splits))
        for name, splits in names.items():
            sections = tuple(map(Section, splits))
            yield Manifest(self._path(f"ImageSets/Main/{name}.txt"), sections)
            yield Manifest(self._path(f"ImageSets/Segmentation/{name}.txt"), sections)
            for leaf in name_class_lists(catalog.classes, tuple(names))[name] if self.class_sets else ():
                yield Manifest(self._path(f"ImageSets/Main/{leaf}"), sections)
        yield Manifest(self._path("labelmap.txt"), (Section("labels", open=make_label_map(catalog.classes)),))

    def render(self, sample: NumberedSample, catalog: Catalog) -> Iterable[Entry | Loss]:
        """Return the XML of an image, its lines in the lists, its planes when it has any, and the image."""
        size = image_size(sample.sample)
        if size is None:
            return without_image(sample.sample)
        image = self._drawn(sample, size, catalog)
        file_name = self._file_name(sample)
        as_jpeg = self.images == "transcode" and not _is_jpeg(sample.file_name)
        depth = (sample.original and sample.original.channels) or 3
        xml = make_document(
            f"VOC{self.year}", file_name, (*size, 3 if as_jpeg else depth), image.objects(), image.is_segmented
        )
        results: list[Entry | Loss] = [
            *image.losses,
            *dropped_groups(sample.sample, image.losses),
            *missing_original(sample),
            Entry(self._path(f"Annotations/{sample.stem}.xml"), xml),
        ]
        if not sample.is_original_missing:  # readers open every image that is listed
            results += self._lines(sample, catalog, image)
        planes = {"SegmentationClass": image.canvas.class_plane(), "SegmentationObject": image.canvas.object_plane()}
        for folder, plane in planes.items():
            if plane is not None:
                results.append(Entry(self._path(f"{folder}/{sample.stem}.png"), encode_indexed_png(plane, PALETTE)))
        if sample.original is not None:
            results.append(Entry(self._path(f"JPEGImages/{file_name}"), original=True, as_jpeg=as_jpeg))
            if not file_name.endswith(".jpg"):
                results.append(Loss("", "lossy", Reason.IMAGE_NOT_JPEG))
        return results

    def _drawn(self, sample: NumberedSample, size: tuple[int, int], catalog: Catalog) -> VocImage:
        annotations = sample.sample.annotations
        image = VocImage(size, catalog, len(annotations), takes_classifications=self.class_sets)
        if catalog.masks == "semantic":  # masks of stuff lie below all objects
            annotations = tuple(sorted(annotations, key=lambda annotation: not isinstance(annotation.shape, Mask)))
        for annotation in annotations:
            image.add(annotation)
        image.report_covered()
        return image

    def _lines(self, sample: NumberedSample, catalog: Catalog, image: VocImage) -> Iterator[Entry]:
        line = f"{sample.stem}\n".encode()
        names = group_splits(tuple(catalog.splits))
        for name in [name for name, splits in names.items() if sample.split in splits]:
            yield Entry(self._path(f"ImageSets/Main/{name}.txt"), line, sample.split)
            if image.is_segmented:
                yield Entry(self._path(f"ImageSets/Segmentation/{name}.txt"), line, sample.split)
            if self.class_sets:
                for category, leaf in enumerate(name_class_lists(catalog.classes, tuple(names))[name]):
                    item = f"{sample.stem} {image.shows(category):2d}\n".encode()
                    yield Entry(self._path(f"ImageSets/Main/{leaf}"), item, sample.split)

    def _file_name(self, sample: NumberedSample) -> str:
        """Return the file name in ``JPEGImages``: readers look for ``<stem>.jpg`` and nothing else."""
        if self.images == "transcode" or _is_jpeg(sample.file_name):
            return f"{sample.stem}.jpg"
        return sample.file_name

    def _path(self, path: str) -> str:
        return f"VOCdevkit/VOC{self.year}/{path}"


def _is_jpeg(file_name: str) -> bool:
    return split_leaf(file_name)[1].lower() in _JPEG_SUFFIXES
