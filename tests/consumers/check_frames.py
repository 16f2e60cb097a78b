"""Pictures with marks as readers load them: ``check_frames.py <export>``.

Prints, for each reader and format, the verdict of ``marks.py`` on each picture. Ultralytics leaves its cache files
in the tree.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
from marks import as_decoded, judged, upright, verdict
from torchvision_without_cuda import datasets
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset

LONG_SIDE = 160
"""Pixels of the long side of every picture, which Ultralytics then does not resize."""

export = Path(sys.argv[1])


def by_opencv(path):
    """A picture as OpenCV loads it; None if it cannot."""
    pixels = cv2.imread(str(path))
    return None if pixels is None else pixels[:, :, ::-1]


def voc_boxes(document):
    """The boxes of a document, which counts pixels from 1 and includes both corners."""
    objects = {found["name"]: found["bndbox"] for found in document["annotation"]["object"]}
    corners = {name: [int(box[key]) for key in ("xmin", "ymin", "xmax", "ymax")] for name, box in objects.items()}
    return {
        name: (left - 1, top - 1, right - left + 1, low - top + 1) for name, (left, top, right, low) in corners.items()
    }


def by_torchvision_coco():
    found = datasets.CocoDetection(export / "images/train", export / "annotations/instances_train.json")
    classes = {category["id"]: category["name"] for category in found.coco.loadCats(found.coco.getCatIds())}
    for image_id, (image, targets) in zip(found.ids, found, strict=True):
        name = found.coco.loadImgs(image_id)[0]["file_name"]
        yield name, verdict(image, {classes[target["category_id"]]: target["bbox"] for target in targets})


def by_torchvision_voc(load):
    found = datasets.VOCDetection(export, year="2012", image_set="train")
    for path, (image, document) in zip(found.images, found, strict=True):
        yield Path(path).stem, verdict(load(path) if load else image, voc_boxes(document))


def by_ultralytics():
    data = check_det_dataset(str(export / "data.yaml"), autodownload=False)
    found = YOLODataset(img_path=data["train"], data=data, task="detect", augment=False, imgsz=LONG_SIDE)
    for index, label in enumerate(found.labels):
        pixels, original, loaded = found.load_image(index)
        assert original == loaded, f"{label['im_file']} was resized"
        rows = zip(label["cls"][:, 0], label["bboxes"] * np.array(loaded[::-1] * 2), strict=True)
        boxes = {data["names"][int(number)]: (x - w / 2, y - h / 2, w, h) for number, (x, y, w, h) in rows}
        yield Path(label["im_file"]).name, verdict(pixels[:, :, ::-1], boxes)


seen = {
    "shown": judged(export, upright),
    "Pillow": judged(export, as_decoded),
    "OpenCV": {**judged(export, by_opencv), "voc": dict(by_torchvision_voc(by_opencv))},
    "torchvision": {"coco": dict(by_torchvision_coco()), "voc": dict(by_torchvision_voc(None))},
    "Ultralytics": {"yolo": dict(by_ultralytics())},
}
json.dump(seen, sys.stdout)
