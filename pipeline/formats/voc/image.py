"""One image in Pascal VOC: its objects, its painted pixels, and the losses of its annotations."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pipeline.formats import Loss
from pipeline.formats.encoding import without_nulls
from pipeline.formats.images import check_mask, place_box, place_outline
from pipeline.formats.voc.image_sets import name_classes
from pipeline.formats.voc.planes import MAX_INDEX, VOID, Canvas, find_bounds
from pipeline.formats.voc.xml import Pixels, VocObject, cover_pixels, read_attributes, widen
from pipeline.images.regions import Region, mask_region, polygon_region
from pipeline.model.catalog import Catalog
from pipeline.reasons import Reason
from pipeline.records import Annotation, Box, Mask, Polygon, Whole

type _Outlined = tuple[Pixels, Region | None, list[Reason]]
"""The box and the pixels (None when it has none) of a polygon or mask, and what was changed."""


class VocImage:
    """Collects the annotations of one image one after the other: later ones are painted over earlier ones.

    Polygons and masks are the first objects of the XML, so that index ``k`` of the object plane is the ``k``-th
    ``<object>``, as in the development kit. With ``masks: semantic`` masks are not objects: add them before all others.
    """

    def __init__(self, size: tuple[int, int], catalog: Catalog, most: int, *, takes_classifications: bool) -> None:
        """Make an image of ``size`` (width, height) without annotations, for at most ``most`` of them."""
        self._size = size
        self._catalog = catalog
        self._takes_classifications = takes_classifications
        self._outlined: list[VocObject] = []
        self._boxed: list[VocObject] = []
        self._painted: dict[int, tuple[Annotation, int]] = {}
        self._shown: dict[int, int] = {}
        self.canvas = Canvas(*size, most)
        self.losses: list[Loss] = []

    @property
    def is_segmented(self) -> bool:
        """Whether the image has planes."""
        return bool(self._painted)

    def objects(self) -> list[VocObject]:
        """Return the objects of the XML, in order."""
        return self._outlined + self._boxed

    def shows(self, category: int) -> int:
        """Return 1 when the image shows the class, 0 when all its objects of the class are difficult, else -1."""
        return self._shown.get(category, -1)

    def add(self, annotation: Annotation) -> None:
        """Add one annotation, or report that it is left out."""
        shape = annotation.shape
        is_known = isinstance(shape, Box | Polygon | Mask) or (isinstance(shape, Whole) and self._takes_classifications)
        category = self._catalog.class_index(annotation.label)
        if not is_known:
            self._skip(annotation, Reason.UNSUPPORTED_ANNOTATION_TYPE)
        elif category is None:
            self._skip(annotation, Reason.CLASS_DROPPED)
        elif isinstance(shape, Box):
            self._add_box(annotation, shape, category)
        elif isinstance(shape, Polygon):
            self._add_outlined(annotation, _polygon(shape, self._size), category)
        elif not isinstance(shape, Mask):
            self._shown[category] = 1
            self._report(annotation, self._changes(category, annotation.attributes))
        elif self._catalog.masks == "exclude":
            self._skip(annotation, Reason.SEGMENTATION_EXCLUDED)
        elif self._catalog.masks == "semantic":
            self._add_semantic(annotation, shape, category)
        else:
            self._add_outlined(annotation, _mask(shape, self._size), category)

    def report_covered(self) -> None:
        """Report the annotations that are covered completely; call it after the last one is added."""
        visible = self.canvas.visible()
        for number, (annotation, category) in self._painted.items():
            if number in visible:
                continue
            if isinstance(annotation.shape, Mask) and self._catalog.masks == "semantic":
                if not self._shows_class(annotation.shape, category):
                    self.losses = [loss for loss in self.losses if loss.annotation_id != annotation.id]
                    self._skip(annotation, Reason.MASK_COVERED)
            else:
                self._report(annotation, [Reason.MASK_COVERED])

    def _shows_class(self, mask: Mask, category: int) -> bool:
        """Tell whether any pixel of a covered mask has its class: another mask over it has the same class."""
        region, plane = mask_region(mask.runs, *self._size), self.canvas.class_plane()
        return (
            region is not None and plane is not None and bool((region.of(plane)[region.inside] == category + 1).any())
        )

    def _add_box(self, annotation: Annotation, box: Box, category: int) -> None:
        placed = place_box(box, *self._size)
        if placed is None:
            self._skip(annotation, Reason.OUTSIDE_IMAGE)
            return
        x, y, width, height, changes = placed
        bounds = cover_pixels((x, y, width, height), *self._size)
        self._add_object(self._boxed, annotation, category, bounds, changes)

    def _add_outlined(self, annotation: Annotation, outlined: _Outlined | Reason, category: int) -> None:
        if not isinstance(outlined, tuple):
            self._skip(annotation, outlined)
            return
        bounds, region, changes = outlined
        index = len(self._outlined) + 1
        if category + 1 > MAX_INDEX:
            changes.append(Reason.VOC_CLASS_LIMIT_EXCEEDED)
        elif region is None:
            changes.append(Reason.NOT_PAINTED)
        else:
            if index > MAX_INDEX:
                changes.append(Reason.VOC_INSTANCE_LIMIT_EXCEEDED)
            number = self.canvas.paint(region, category + 1, index if index <= MAX_INDEX else VOID)
            self._painted[number] = annotation, category
        self._add_object(self._outlined, annotation, category, bounds, changes)

    def _add_semantic(self, annotation: Annotation, mask: Mask, category: int) -> None:
        outlined = _mask(mask, self._size)
        if not isinstance(outlined, tuple):
            self._skip(annotation, outlined)
            return
        _, region, changes = outlined
        if category + 1 > MAX_INDEX:
            self._skip(annotation, Reason.VOC_CLASS_LIMIT_EXCEEDED)
        elif region is not None:
            self._painted[self.canvas.paint(region, category + 1, 0)] = annotation, category
            self._report(annotation, [*changes, *self._changes(category, annotation.attributes)])

    def _add_object(
        self,
        objects: list[VocObject],
        annotation: Annotation,
        category: int,
        bounds: Pixels,
        changes: Collection[Reason],
    ) -> None:
        attributes, rest = read_attributes(annotation.attributes)
        wide = widen(bounds, *self._size)
        if wide != bounds:
            changes = [*changes, Reason.BOX_WIDENED]
        if Reason.CLIPPED_TO_IMAGE in changes:
            attributes = attributes._replace(truncated=True)
        objects.append(VocObject(name_classes(self._catalog.classes)[category], wide, attributes))
        self._shown[category] = max(self.shows(category), 0 if attributes.difficult else 1)
        self._report(annotation, [*changes, *self._changes(category, rest)])

    def _changes(self, category: int, rest: Mapping[str, Any]) -> list[Reason]:
        """Return the changes that any annotation can have; ``rest`` are the attributes that VOC cannot hold."""
        classes = self._catalog.classes
        reasons = [Reason.CLASS_RENAMED] if name_classes(classes)[category] != classes[category] else []
        return [*reasons, Reason.CUSTOM_ATTRIBUTES_DROPPED] if without_nulls(rest) else reasons

    def _skip(self, annotation: Annotation, reason: Reason) -> None:
        self.losses.append(Loss(annotation.id, "skipped", reason))

    def _report(self, annotation: Annotation, changes: Iterable[Reason]) -> None:
        self.losses += [Loss(annotation.id, "lossy", reason) for reason in changes]


def _polygon(polygon: Polygon, size: tuple[int, int]) -> _Outlined | Reason:
    placed = place_outline(polygon.points, size)
    if isinstance(placed, Reason):
        return placed
    region = polygon_region(placed.ring, *size)
    if not placed.changes:
        return cover_pixels(placed.bbox, *size), region, []
    return (find_bounds(region), region, list(placed.changes)) if region else Reason.OUTSIDE_IMAGE


def _mask(mask: Mask, size: tuple[int, int]) -> _Outlined | Reason:
    changes = check_mask(mask, size)
    if not isinstance(changes, tuple):
        return changes
    region = mask_region(mask.runs, *size)
    return (find_bounds(region), region, list(changes)) if region else Reason.INVALID_MASK_ENCODING
