"""The rules by which COCO files are read, as a checker that needs nothing but JSON."""

import json
import re

from pipeline.formats import Entry
from pipeline.formats.testing import strict_json

# Splits may have any of these characters, and numbers at the end when files are cut by images.
NAME = re.compile(r"annotations/(?P<kind>instances|stuff|[^/]+_keypoints)_(?P<split>[a-z][a-z0-9_-]*)\.json")
TOP_LEVEL = ["info", "licenses", "categories", "images", "annotations"]


def has_null(value):
    if isinstance(value, dict):
        return any(has_null(inner) for inner in value.values())
    return value is None or (isinstance(value, list) and any(map(has_null, value)))


def check_tree(tree):
    """All COCO files among ``tree`` (path to bytes): each by itself, and that no annotation's id occurs twice.

    An image is listed once in each kind of file, however the files of a split are cut.
    """
    seen, images = set(), {}
    for path, data in tree.items():
        match = NAME.fullmatch(path)
        if not match:
            assert not path.startswith("annotations/"), f"{path} is not the name of a COCO file"
            continue
        content = check_instances(data)
        if match["kind"] == "stuff":
            check_stuff(content)
        if content["categories"]:
            assert ("keypoints" in content["categories"][0]) is (match["kind"] not in ("instances", "stuff"))
        identities = {annotation["id"] for annotation in content["annotations"]}
        assert not identities & seen, f"annotation ids of {path} are in another file, too"
        seen |= identities
        listed = {image["id"] for image in content["images"]}
        assert not listed & images.setdefault(match["kind"], set()), f"images of {path} are in another file, too"
        images[match["kind"]] |= listed
    assert len({frozenset(listed) for listed in images.values()}) <= 1, "kinds of files list different images"


def check_instances(data):
    """The content of any COCO file; AssertionError when a reader of COCO would stumble over it.

    The rules are those of pycocotools, Detectron2, MMDetection and Ultralytics together, as measured.
    """
    content = strict_json(data)
    assert list(content) == TOP_LEVEL
    assert not has_null(content)
    assert data.isascii()
    assert [category["id"] for category in content["categories"]] == list(range(1, len(content["categories"]) + 1))
    images = {image["id"]: image for image in content["images"]}
    assert list(images) == sorted(images)
    assert len(images) == len(content["images"])
    assert all(type(image[key]) is int and image[key] >= 1 for image in images.values() for key in ("id", "width"))
    identities = [annotation["id"] for annotation in content["annotations"]]
    assert len(set(identities)) == len(identities)
    for annotation in content["annotations"]:
        check_annotation(annotation, images[annotation["image_id"]], len(content["categories"]))
    for category in content["categories"]:
        if "keypoints" in category:
            check_skeleton(content)
    return content


def check_skeleton(content):
    """A file of keypoints: one skeleton, because COCOeval compares all objects of a file point by point."""
    category = content["categories"][0]
    for other in content["categories"]:
        assert (other["keypoints"], other["skeleton"]) == (category["keypoints"], category["skeleton"])
    points = category["keypoints"]
    assert points
    assert len(set(points)) == len(points)
    assert all(isinstance(name, str) for name in points)
    for line in category["skeleton"]:
        start, end = line
        assert 1 <= start <= len(points)
        assert 1 <= end <= len(points)
    for annotation in content["annotations"]:
        numbers = annotation["keypoints"]
        assert len(numbers) == 3 * len(points)
        triples = list(zip(numbers[0::3], numbers[1::3], numbers[2::3], strict=True))
        for x, y, visibility in triples:
            assert type(visibility) is int
            assert visibility in {0, 1, 2}
            assert visibility or x == y == 0, "a point that is not labelled is at the origin"
        assert annotation["num_keypoints"] == sum(visibility > 0 for _, _, visibility in triples) >= 1


def check_stuff(content):
    """A file of stuff: pixels of a class, of which there is no crowd."""
    for annotation in content["annotations"]:
        assert isinstance(annotation["segmentation"], dict)
        assert annotation["iscrowd"] == 0


def check_annotation(annotation, image, classes):
    """One annotation of an image, when there are ``classes`` categories."""
    assert type(annotation["id"]) is int
    assert annotation["id"] >= 1
    assert 1 <= annotation["category_id"] <= classes
    assert annotation["iscrowd"] in {0, 1}
    assert annotation["area"] > 0
    x, y, width, height = annotation["bbox"]
    assert min(width, height) > 0
    assert -width < x < image["width"]
    assert -height < y < image["height"]
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, dict):
        assert segmentation["size"] == [image["height"], image["width"]]
        assert isinstance(segmentation["counts"], str)
    else:
        assert all(len(part) >= 6 and len(part) % 2 == 0 for part in segmentation)


def annotations_of(results, kind="instances"):
    """The annotations in files of a kind among what ``Coco.render`` gives for one sample."""
    entries = [
        item
        for item in results
        if isinstance(item, Entry) and item.section == "annotations" and NAME.fullmatch(item.path)["kind"] == kind
    ]
    return [annotation for entry in entries for annotation in json.loads(b"[" + entry.data + b"]")]
