"""COCO as ``torchvision.datasets.CocoDetection`` reads it: ``check_coco.py <export> <kind of annotations>``.

Prints, for each split, the categories by id, what each image shows, the images that cannot be opened, and how many
objects there are in the file, whether an image leads to them or not.
"""

import json
import sys
from pathlib import Path

from torchvision_without_cuda import datasets


def seen(dataset):
    """What one file and its images hold."""
    names = {category["id"]: category["name"] for category in dataset.coco.loadCats(dataset.coco.getCatIds())}
    images, unreadable = {}, []
    for index, image_id in enumerate(dataset.ids):
        described = dataset.coco.loadImgs(image_id)[0]
        try:
            image, target = dataset[index]
        except OSError:
            unreadable.append(described["file_name"])
            continue
        images[described["file_name"]] = {
            "described": [described["width"], described["height"]],
            "size": image.size,
            "objects": [
                {
                    "id": found["id"],
                    "class": names[found["category_id"]],
                    "box": found["bbox"],
                    "area": found["area"],
                    "keypoints": found.get("keypoints"),
                    "rle": isinstance(found["segmentation"], dict),
                    "pixels": int(dataset.coco.annToMask(found).sum()) if found["segmentation"] else None,
                }
                for found in target
            ],
        }
    return {"classes": names, "images": images, "unreadable": unreadable, "all": len(dataset.coco.anns)}


export, kind = Path(sys.argv[1]), sys.argv[2]
splits = {
    split: seen(datasets.CocoDetection(export / "images" / split, export / f"annotations/{kind}_{split}.json"))
    for split in ("train", "val", "test")
}
json.dump(splits, sys.stdout)
