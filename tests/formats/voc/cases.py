"""What the tests of Pascal VOC share: one image, and what its readers see of it."""

import msgspec
import numpy as np

from pipeline.formats.testing import catalog_of, find_losses, join_samples, samples
from pipeline.formats.testing.shapes import mask
from pipeline.formats.voc.format import Voc
from pipeline.records import Annotation
from tests.formats.voc.grammar import check_voc_tree

WIDTH, HEIGHT = 60, 40
HOME = "VOCdevkit/VOC2012"


def sample_with(*annotations, width=WIDTH, height=HEIGHT, file_name="photo.jpg"):
    sample = samples()[1]
    source = msgspec.structs.replace(sample.sample, annotations=annotations, width=width, height=height)
    return msgspec.structs.replace(sample, sample=source, stem="photo", file_name=file_name)


def read(*annotations, voc=Voc(), width=WIDTH, height=HEIGHT, **options):  # noqa: B008  it is frozen
    """The image as a reader sees it, and what was lost: ``(annotation id, outcome, reason)``."""
    sample = sample_with(*annotations, width=width, height=height)
    catalog = catalog_of([sample], **({"configured": ("car", "bus", "road"), "rename": {}} | options))
    image = check_voc_tree(join_samples(voc, [sample], catalog)).images["photo"]
    ((_, found),) = find_losses(voc, [sample], catalog)
    return image, [(loss.annotation_id, loss.outcome, str(loss.reason)) for loss in found]


def rectangle(identity, label, left, top, right, bottom, **attributes):
    """A mask annotation of a rectangle of pixels."""
    bitmap = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    bitmap[top:bottom, left:right] = 1
    return Annotation(identity, "segmentation", label, mask(bitmap), attributes)


def painted(*rectangles, width=WIDTH, height=HEIGHT):
    """A plane: rectangles of ``left, top, right, bottom, index``, painted in this order."""
    plane = np.zeros((height, width), dtype=np.uint8)
    for left, top, right, bottom, index in rectangles:
        plane[top:bottom, left:right] = index
    return plane
