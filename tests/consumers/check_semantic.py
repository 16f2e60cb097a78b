"""Planes of classes as Ultralytics trains on them: ``check_semantic.py <data.yaml>``.

Prints, for each split, how many images came out, how many masks are missing, how many pixels each class has, and how
many images came out augmented. It leaves its cache files in the tree.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from ultralytics.cfg import get_cfg
from ultralytics.data.build import build_yolo_dataset
from ultralytics.data.utils import check_det_dataset


def count(planes):
    """How many pixels have each number."""
    found = Counter()
    for plane in planes:
        numbers, pixels = np.unique(plane, return_counts=True)
        found.update(dict(zip(map(str, numbers.tolist()), pixels.tolist(), strict=True)))
    return found


(file,) = sys.argv[1:]
data = check_det_dataset(file, autodownload=False)
config = get_cfg(overrides={"task": "semantic", "mode": "train", "imgsz": 160})
splits = {}
for split in ("train", "val", "test"):
    plain = build_yolo_dataset(config, data[split], 1, data, mode="val")
    augmented = build_yolo_dataset(config, data[split], 4, data, mode="train")
    batches = [augmented.collate_fn([augmented[index]]) for index in range(len(augmented))]
    splits[split] = {
        "images": len(plain),
        "missing": sum(not Path(path).exists() for path in plain.mask_files),
        "pixels": count(map(plain.load_mask, range(len(plain)))),
        "classes": list(data["names"].values()),
        "augmented": sum(len(batch["img"]) for batch in batches),
    }
json.dump(splits, sys.stdout)
