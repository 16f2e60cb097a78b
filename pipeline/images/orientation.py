"""Frames: which pixels an annotation's coordinates count, once the picture itself has been seen.

A picture can be stored turned (EXIF), and a record can declare a size that is not its picture's. Annotations are drawn
on what the annotator saw: a declared size that is the upright one says that this was the turned picture, one that is
the stored one says that it was not. Where both are the same, viewers turn, so upright is what was seen.
"""

import msgspec

from pipeline.images.files import Header, upright, without_orientation
from pipeline.images.masks import MaskError, rebase
from pipeline.records import Annotation, Mask, Sample


def is_wrong_size(declared: tuple[int, int], header: Header) -> bool:
    """Whether the picture has another size than declared, whichever way it is turned."""
    return declared not in (header.upright_size, header.stored_size)


def is_drawn_as_stored(declared: tuple[int, int], header: Header) -> bool:
    """Whether annotations count the pixels as stored, although viewers turn the picture."""
    return declared == header.stored_size != header.upright_size


def baked(data: bytes, declared: tuple[int, int], header: Header) -> bytes:
    """The picture with pixels in the frame of its annotations and no orientation. Raises PictureError."""
    if is_drawn_as_stored(declared, header):
        return without_orientation(data)
    return upright(data)


def resized(sample: Sample, width: int, height: int) -> Sample:
    """The sample as one of an image of another size than it declares.

    Coordinates stay, they are pixels. A mask counts pixels row by row, so its rows are laid out anew; what lies outside
    goes, and a mask of which nothing is left stays as it is, to be refused by whoever draws it.
    """
    declared = sample.width or width
    annotations = tuple(_resized(annotation, declared, width, height) for annotation in sample.annotations)
    return msgspec.structs.replace(sample, width=width, height=height, annotations=annotations)


def _resized(annotation: Annotation, declared: int, width: int, height: int) -> Annotation:
    if not isinstance(annotation.shape, Mask):
        return annotation
    try:
        runs = rebase(annotation.shape.runs, declared, width, height)
    except MaskError:
        return annotation
    return msgspec.structs.replace(annotation, shape=Mask(runs))
