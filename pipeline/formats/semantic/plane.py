"""One image in semantic segmentation: the class of each pixel, and the losses of its annotations."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from pipeline.formats import Loss
from pipeline.formats.encoding import without_nulls
from pipeline.formats.images import Size, check_mask, place_outline
from pipeline.images.masks import MAX_PIXELS
from pipeline.images.regions import Region, mask_region, polygon_region
from pipeline.model.catalog import Catalog
from pipeline.reasons import Reason
from pipeline.records import Annotation, Box, Mask, Polygon, Sample

MAX_CLASSES = 254
"""A pixel is a byte: 0 is the background, 255 is ignored."""

type Plane = npt.NDArray[np.uint8]
"""Shape (height, width): 0 where there is no object, else the number of the class plus one."""

type _Found = tuple[Region, tuple[Reason, ...]] | Reason


def is_too_large(size: Size) -> bool:
    """Return whether an image of ``size`` (width, height in pixels) is too large to be painted."""
    return size[0] * size[1] > MAX_PIXELS


def paint(sample: Sample, size: Size, catalog: Catalog, numbers: Mapping[str, int]) -> tuple[Plane, list[Loss]]:
    """Return the classes of the pixels of an image, and what is lost.

    ``numbers`` are those of the tree's classes by label, counted from 0. Later annotations are painted over earlier
    ones, but with ``masks: semantic`` masks lie below all polygons: they are stuff, and polygons are objects on it.
    """
    plane = np.zeros((size[1], size[0]), dtype=np.uint8)
    losses: list[Loss] = []
    painted: list[tuple[Annotation, Region, int, tuple[Reason, ...]]] = []
    annotations = sample.annotations
    if catalog.masks == "semantic":
        annotations = tuple(sorted(annotations, key=lambda annotation: not isinstance(annotation.shape, Mask)))
    for annotation in annotations:
        found = _find_region(annotation, size, catalog)
        if isinstance(found, Reason):
            losses.append(Loss(annotation.id, "skipped", found))
            continue
        value = numbers[annotation.label] + 1
        if value > MAX_CLASSES:
            losses.append(Loss(annotation.id, "skipped", Reason.CLASS_LIMIT_EXCEEDED))
            continue
        region, changes = found
        np.copyto(region.of(plane), value, where=region.inside)
        painted.append((annotation, region, value, changes))
    for annotation, region, value, changes in painted:
        if not (region.of(plane)[region.inside] == value).any():
            losses.append(Loss(annotation.id, "skipped", Reason.MASK_COVERED))
            continue
        losses += [Loss(annotation.id, "lossy", reason) for reason in changes]
        if annotation.attributes and without_nulls(annotation.attributes):
            losses.append(Loss(annotation.id, "lossy", Reason.CUSTOM_ATTRIBUTES_DROPPED))
    return plane, losses


def _find_region(annotation: Annotation, size: Size, catalog: Catalog) -> _Found:
    shape = annotation.shape
    if isinstance(shape, Box | Polygon | Mask) and catalog.class_index(annotation.label) is None:
        return Reason.CLASS_DROPPED
    if not isinstance(shape, Polygon | Mask):
        return Reason.UNSUPPORTED_ANNOTATION_TYPE
    if isinstance(shape, Polygon):
        placed = place_outline(shape.points, size)
        if isinstance(placed, Reason):
            return placed
        region = polygon_region(placed.ring, *size)
        return (region, placed.changes) if region else Reason.NOT_PAINTED
    if catalog.masks == "exclude":
        return Reason.SEGMENTATION_EXCLUDED
    changes = check_mask(shape, size)
    if not isinstance(changes, tuple):
        return changes
    region = mask_region(shape.runs, *size)
    return (region, changes) if region else Reason.INVALID_MASK_ENCODING
