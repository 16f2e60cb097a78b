"""The checker of Pascal VOC refuses what its readers would stumble over."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.formats.testing import catalog_of, join_samples
from pipeline.formats.testing.shapes import box
from pipeline.formats.voc.format import Voc
from tests.formats.voc.cases import HOME, rectangle, sample_with
from tests.formats.voc.grammar import check_voc_tree, voc_colours

XML, MAIN, LABELS = f"{HOME}/Annotations/photo.xml", f"{HOME}/ImageSets/Main/train.txt", f"{HOME}/labelmap.txt"
CLASSES, OBJECTS = f"{HOME}/SegmentationClass/photo.png", f"{HOME}/SegmentationObject/photo.png"


def tree():
    sample = sample_with(rectangle("m", "car", 5, 5, 25, 20), box("b", "bus", 1.0, 1.0, 5.0, 5.0, occluded=True))
    return join_samples(Voc(), [sample], catalog_of([sample]))


def picture(index, *, mode="P", size=(60, 40), palette=None):
    plane = np.zeros(size[::-1], dtype=np.uint8)
    plane[5:20, 5:25] = index
    image = Image.fromarray(plane, "L")
    if mode == "P":
        image.putpalette((voc_colours() if palette is None else palette).tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


FAULTS = {
    "no whole number": (XML, lambda data: data.replace(b"<xmin>6<", b"<xmin>6.0<")),
    "counted from 0": (XML, lambda data: data.replace(b"<xmin>2<", b"<xmin>0<")),
    "outside the image": (XML, lambda data: data.replace(b"<ymax>20<", b"<ymax>41<")),
    "turned round": (XML, lambda data: data.replace(b"<xmax>25<", b"<xmax>5<")),
    "flag that is none": (XML, lambda data: data.replace(b"<difficult>0", b"<difficult>False", 1)),
    "other order": (XML, lambda data: data.replace(b"pose>", b"posture>")),
    "undeclared class": (XML, lambda data: data.replace(b"<name>bus<", b"<name>tram<")),
    "not XML": (XML, lambda data: data.replace(b"<name>bus<", b"<name>b&s<")),
    "not ASCII": (XML, lambda data: data.replace(b"Unspecified", "왼쪽".encode())),
    "other file name": (XML, lambda data: data.replace(b"photo.jpg", b"photo.png")),
    "not segmented": (XML, lambda data: data.replace(b"<segmented>1", b"<segmented>0")),
    "an id with a space": (MAIN, lambda data: data.replace(b"photo", b"pho to")),
    "an id twice": (MAIN, lambda data: data * 2),
    "no last line end": (MAIN, lambda data: data.rstrip()),
    "background elsewhere": (LABELS, lambda data: data.replace(b"background:0,0,0::\n", b"")),
    "colon in a name": (LABELS, lambda data: data.replace(b"car:", b"c:ar:")),
    "name twice": (LABELS, lambda data: data.replace(b"bus:", b"car:")),
    "list outside the folder": (LABELS, lambda data: data.replace(b"bus:", b"../bus:")),
    "other colours": (LABELS, lambda data: data.replace(b"128,0,0", b"127,0,0")),
    "a picture of greys": (CLASSES, lambda _: picture(1, mode="L")),
    "a picture of another size": (CLASSES, lambda _: picture(1, size=(40, 60))),
    "another palette": (CLASSES, lambda _: picture(1, palette=voc_colours()[::-1])),
    "a class that is not there": (CLASSES, lambda _: picture(200)),
    "nothing painted": (CLASSES, lambda _: picture(0)),
    "an object that is not there": (OBJECTS, lambda _: picture(3)),
    "an object outside its box": (OBJECTS, lambda _: picture(2)),
}


def test_a_good_tree_passes():
    assert list(check_voc_tree(tree()).images) == ["photo"]


@pytest.mark.parametrize(("path", "damage"), FAULTS.values(), ids=FAULTS)
def test_a_damaged_file_is_refused(path, damage):
    files = tree()
    damaged = damage(files[path])
    assert damaged != files[path]
    with pytest.raises((AssertionError, ValueError, SyntaxError)):
        check_voc_tree(files | {path: damaged})


@pytest.mark.parametrize(
    "missing", [CLASSES, f"{HOME}/JPEGImages/photo.jpg", XML, f"{HOME}/ImageSets/Main/trainval.txt"]
)
def test_a_missing_file_is_noticed(missing):
    files = tree()
    del files[missing]
    with pytest.raises((AssertionError, KeyError)):
        check_voc_tree(files)
