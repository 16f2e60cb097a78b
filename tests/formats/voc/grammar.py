"""The rules by which Pascal VOC is read, as a checker that needs nothing but XML and pictures.

Sources: the VOC2012 development kit, ``torchvision/datasets/voc.py``, ``mmdet/datasets/xml_style.py``,
``detectron2/data/datasets/pascal_voc.py`` and Datumaro's ``plugins/data_formats/voc``, as measured for consumers 3.3.
"""

import io
import re
from typing import NamedTuple
from xml.etree import ElementTree as ET

import numpy as np
from PIL import Image

HEAD = ["folder", "filename", "size", "segmented"]
OBJECT = ["name", "pose", "truncated", "difficult", "occluded", "bndbox"]
_WHOLE = re.compile(r"0|[1-9][0-9]*")
_ROOT = re.compile(r"VOCdevkit/VOC(2007|2008|2009|2010|2011|2012)")


class VocObject(NamedTuple):
    name: str
    box: tuple[int, int, int, int]
    pose: str
    truncated: int
    difficult: int
    occluded: int | None


class VocImage(NamedTuple):
    file_name: str
    size: tuple[int, int]
    segmented: bool
    objects: list[VocObject]
    classes: np.ndarray | None
    instances: np.ndarray | None


class VocTree(NamedTuple):
    """``images`` by id, ``main`` and ``segmentation``: the ids of each list; ``labels``: the names by index."""

    root: str
    images: dict[str, VocImage]
    main: dict[str, list[str]]
    segmentation: dict[str, list[str]]
    labels: list[str]


def voc_colours():
    """The palette by the development kit's ``VOClabelcolormap``, shape (256, 3)."""
    colours = []
    for index in range(256):
        rest, colour = index, [0, 0, 0]
        for shift in range(7, -1, -1):
            colour = [value | (rest >> component & 1) << shift for component, value in enumerate(colour)]
            rest >>= 3
        colours.append(colour)
    return np.array(colours, dtype=np.uint8)


def check_voc_tree(tree, *, images=True, names_as_made=True, missing=()):
    """The content of a tree (bytes by path); AssertionError when a reader of VOC would stumble over it.

    With ``images=False`` there are no originals. Without ``names_as_made`` ids may have spaces, which only names that
    never went through ``pipeline.model.naming`` have. ``missing`` are the ids of images that the books count as
    missing: they have annotations, no file, and no line in any list.
    """
    (root,) = {match[0] for path in tree if (match := _ROOT.match(path))}
    assert all(path.startswith(f"{root}/") for path in tree), "a file beside the folder of the year"
    files = {path.removeprefix(f"{root}/"): data for path, data in tree.items()}
    labels = check_label_map(files["labelmap.txt"].decode())
    main, segmentation = check_lists(files, labels, names_as_made=names_as_made)
    listed = [identity for name, ids in main.items() if name != "trainval" for identity in ids]
    assert len(set(listed)) == len(listed), "an image is in two splits, or twice in one"
    annotated = {path.split("/")[1].removesuffix(".xml") for path in files if path.startswith("Annotations/")}
    assert set(listed) == annotated - set(missing)
    assert set(missing) <= annotated
    found = {identity: check_image(files, identity, root.split("/")[1]) for identity in annotated}
    for name, ids in main.items():
        assert segmentation[name] == [identity for identity in ids if found[identity].segmented]
    there = {image.file_name for identity, image in found.items() if identity not in missing}
    stored = {path.removeprefix("JPEGImages/") for path in files if path.startswith("JPEGImages/")}
    assert stored == (there if images else set())
    planes = {path for path in files if path.startswith("Segmentation")}
    segmented = {identity for identity, image in found.items() if image.segmented}
    assert {f"SegmentationClass/{identity}.png" for identity in segmented} <= planes
    assert all(path.split("/")[1].removesuffix(".png") in segmented for path in planes)
    for image in found.values():
        assert {item.name for item in image.objects} <= set(labels), "an object of no class of the label map"
        if image.classes is not None:
            assert image.classes.max() < len(labels)
    return VocTree(root, found, main, segmentation, labels)


def check_label_map(text):
    """The names in ``labelmap.txt`` by index, read as Datumaro reads it."""
    labels, colours = [], []
    for line in text.split("\n"):
        if not line.strip() or line.strip().startswith("#"):
            continue
        name, colour, parts, actions = line.strip().split(":")
        assert parts == actions == ""
        labels.append(name)
        colours.append(tuple(map(int, colour.split(","))))
    assert labels[0] == "background"
    assert len(set(labels)) == len(labels)
    for name in labels:
        assert not name.startswith("/"), "Datumaro would look for its list outside the folder"
        assert ".." not in name.replace("\\", "/").split("/"), "Datumaro would look for its list outside the folder"
    assert len(set(colours)) == len(colours)
    assert colours[:256] == [tuple(colour) for colour in voc_colours().tolist()[: len(colours)]]
    return labels


def check_lists(files, labels, *, names_as_made):
    """The ids of each list in ``Main`` and in ``Segmentation``, by the list's name."""
    found = {}
    for path, data in files.items():
        if path.startswith("ImageSets/"):
            _, folder, leaf = path.split("/")
            lines = data.decode().split("\n")
            assert lines.pop() == "", f"{path} does not end its last line"
            found.setdefault(folder, {})[leaf.removesuffix(".txt")] = lines
    assert set(found) == {"Main", "Segmentation"}
    segmentation = found["Segmentation"]
    main = {name: found["Main"][name] for name in segmentation}
    of_classes = {name: lines for name, lines in found["Main"].items() if name not in main}
    for ids in main.values():
        assert all(identity and (not names_as_made or not re.search(r"[\s#]", identity)) for identity in ids)
    assert len(of_classes) in {0, len(main) * (len(labels) - 1)}
    for name, lines in of_classes.items():
        assert all(re.search(r" (-1| [01])$", line) for line in lines), name
        ids = [line[:-3] for line in lines]
        assert ids in [main[split] for split in main if name.endswith(f"_{split}")], f"{name} is of other images"
    if {"train", "val"} & set(main):
        assert main["trainval"] == main.get("train", []) + main.get("val", [])
    return main, segmentation


def check_image(files, identity, folder):
    """One image: its XML and its planes."""
    annotation = ET.fromstring(files[f"Annotations/{identity}.xml"])
    assert files[f"Annotations/{identity}.xml"].isascii()
    assert annotation.tag == "annotation"
    tags = [child.tag for child in annotation]
    assert tags == HEAD + ["object"] * (len(tags) - len(HEAD))
    assert annotation.findtext("folder") == folder
    file_name = annotation.findtext("filename")
    assert file_name.startswith(f"{identity}.")
    width, height, depth = (_whole(annotation, f"size/{side}") for side in ("width", "height", "depth"))
    assert min(width, height) > 0
    assert depth == 3
    segmented = _flag(annotation, "segmented")
    objects = [check_object(child, width, height) for child in annotation.iter("object")]
    planes = [
        check_plane(files[path], width, height) if (path := f"{kind}/{identity}.png") in files else None
        for kind in ("SegmentationClass", "SegmentationObject")
    ]
    assert (planes[0] is not None) == segmented
    if planes[1] is not None:
        instances = set(np.unique(planes[1]).tolist()) - {0, 255}
        assert max(instances, default=0) <= len(objects), "an index of no object"
        assert planes[0][planes[1] > 0].all(), "an object of no class"
        for index in instances:
            assert len(np.unique(planes[0][planes[1] == index])) == 1, "an object of two classes"
            rows, columns = np.nonzero(planes[1] == index)
            xmin, ymin, xmax, ymax = objects[index - 1].box
            assert xmin <= columns.min() + 1 <= columns.max() + 1 <= xmax, "an object that is not in its box"
            assert ymin <= rows.min() + 1 <= rows.max() + 1 <= ymax, "an object that is not in its box"
    return VocImage(file_name, (width, height), bool(segmented), objects, *planes)


def check_object(element, width, height):
    """One ``<object>`` in an image of ``width`` x ``height``."""
    tags = [child.tag for child in element]
    assert tags == [tag for tag in OBJECT if tag != "occluded" or "occluded" in tags]
    assert [child.tag for child in element.find("bndbox")] == ["xmin", "ymin", "xmax", "ymax"]
    xmin, ymin, xmax, ymax = box = tuple(_whole(element, f"bndbox/{child.tag}") for child in element.find("bndbox"))
    assert 1 <= xmin <= xmax <= width
    assert 1 <= ymin <= ymax <= height
    name, pose = element.findtext("name"), element.findtext("pose")
    assert name
    assert pose
    occluded = _flag(element, "occluded") if "occluded" in tags else None
    return VocObject(name, box, pose, _flag(element, "truncated"), _flag(element, "difficult"), occluded)


def check_plane(data, width, height):
    """The indices of a plane, shape (height, width)."""
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
        assert image.mode == "P"
        assert image.size == (width, height)
        palette = np.array(image.getpalette(), dtype=np.uint8).reshape(-1, 3)
        indices = np.asarray(image)
    used = np.unique(indices)
    assert (palette[used] == voc_colours()[used]).all()
    assert used.max() > 0, "a plane of nothing"
    return indices


def _whole(element, path):
    text = element.findtext(path)
    assert _WHOLE.fullmatch(text), f"{path} is not a whole number: {text!r}"
    return int(text)


def _flag(element, path):
    value = _whole(element, path)
    assert value in {0, 1}
    return value
