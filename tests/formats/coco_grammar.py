"""The rules by which COCO files are read, as a checker that needs nothing but JSON."""

import json

from pipeline.formats import Entry
from tests.formats.cases import strict_json

TOP_LEVEL = ["info", "licenses", "categories", "images", "annotations"]


def has_null(value):
    if isinstance(value, dict):
        return any(has_null(inner) for inner in value.values())
    return value is None or (isinstance(value, list) and any(map(has_null, value)))


def check_instances(data):
    """The content of an instances file; AssertionError when a reader of COCO would stumble over it.

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
    return content


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


def annotations_of(results):
    """The annotations among what ``Coco.render`` gives for one sample."""
    entries = [item for item in results if isinstance(item, Entry) and item.section == "annotations"]
    return [annotation for entry in entries for annotation in json.loads(b"[" + entry.data + b"]")]
