"""Which pixels the coordinates of annotations refer to: those of the stored picture or of the upright one.

A picture can be stored turned (EXIF), and a record can declare a size that its picture does not have. Annotations are
drawn on what the annotator saw. If the declared size is the upright one, that was the turned picture; if it is the
stored one, that was the picture as stored. If both sizes are equal, it was the upright picture, because viewers turn.
"""

import msgspec

from pipeline.images.files import Header, drop_orientation, turn_upright
from pipeline.images.masks import rebase_runs
from pipeline.records import Annotation, Mask, Sample


def is_wrong_size(declared: tuple[int, int], header: Header) -> bool:
    """Tell whether no reader sees the declared size: it is neither the stored nor the upright size of the picture.

    When the orientation is not known, a reader may turn the picture or not, and both sizes are believed.
    """
    known = header.orientation is not None
    return declared not in (header.stored_size, header.upright_size if known else header.stored_size[::-1])


def is_drawn_as_stored(declared: tuple[int, int], header: Header) -> bool:
    """Tell whether annotations refer to the pixels as stored, although viewers turn the picture."""
    return declared == header.stored_size != header.upright_size


def bake_orientation(data: bytes, declared: tuple[int, int], header: Header) -> bytes:
    """Return the picture without an orientation, its pixels as its annotations refer to them. Raises PictureError."""
    if is_drawn_as_stored(declared, header):
        return drop_orientation(data)
    return turn_upright(data)


def correct_size(sample: Sample, width: int, height: int) -> Sample:
    """Return the sample with the actual size of its image instead of the declared one.

    Coordinates are pixels and stay. A mask counts pixels row by row, so its rows are moved, and the part outside the
    image is cut off, which the mask says from then on (:class:`pipeline.records.Mask`).
    """
    declared = sample.width or width
    annotations = tuple(_rebase_mask(annotation, declared, width, height) for annotation in sample.annotations)
    return msgspec.structs.replace(sample, width=width, height=height, annotations=annotations)


def _rebase_mask(annotation: Annotation, declared: int, width: int, height: int) -> Annotation:
    if not isinstance(annotation.shape, Mask):
        return annotation
    runs, is_cut = rebase_runs(annotation.shape.runs, declared, width, height)
    return msgspec.structs.replace(annotation, shape=Mask(runs, is_cut))
