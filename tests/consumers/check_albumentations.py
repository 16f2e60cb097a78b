"""Boxes as Albumentations takes them: ``check_albumentations.py <folder of its packages> <export>``.

Prints its version, and for each format of boxes how many were given, how many were left after they were moved, and the
errors by image.
"""

import json
import os
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

sys.path.insert(0, sys.argv[1])
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it looks for a newer version when it is imported
import albumentations as A  # noqa: N812 - found since the line above, and called so by everybody

export = Path(sys.argv[2])
sizes, coco = {}, {}
for split in ("train", "val", "test"):
    document = json.loads((export / f"annotations/instances_{split}.json").read_text())
    for image in document["images"]:
        key = split, Path(image["file_name"]).stem
        sizes[key] = image["width"], image["height"]
        coco[key] = [a["bbox"] for a in document["annotations"] if a["image_id"] == image["id"]]


def yolo(key):
    lines = (export / "labels" / key[0] / f"{key[1]}.txt").read_text().splitlines()
    return [[float(number) for number in line.split()[1:]] for line in lines]


def pascal_voc(key):
    """The corners as they stand in the document, as users pass them on."""
    found = ET.parse(export / f"VOCdevkit/VOC2012/Annotations/{key[1]}.xml").iter("bndbox")
    return [[int(box.find(name).text) for name in ("xmin", "ymin", "xmax", "ymax")] for box in found]


seen = {"version": A.__version__, "formats": {}}
for form, boxes_of in {"yolo": yolo, "coco": coco.get, "pascal_voc": pascal_voc}.items():
    given, left, errors = 0, 0, {}
    for key, (width, height) in sizes.items():
        boxes = boxes_of(key)
        for move in (A.HorizontalFlip(p=1), A.RandomCrop(max(height // 2, 1), max(width // 2, 1)), A.Rotate(15, p=1)):
            transform = A.Compose([move], bbox_params=A.BboxParams(format=form, label_fields=["labels"]))
            try:
                done = transform(image=np.zeros((height, width, 3), np.uint8), bboxes=boxes, labels=[0] * len(boxes))
            except ValueError as error:
                errors[key[1]] = str(error)
                continue
            given += len(boxes)
            left += len(done["bboxes"])
    seen["formats"][form] = {"given": given, "left": left, "errors": errors}
json.dump(seen, sys.stdout)
