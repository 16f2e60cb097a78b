"""A YOLO tree as Ultralytics trains on it, augmented: ``check_augmented.py <data.yaml> <task>``.

Prints, for each split, how many images there are, and how many items and objects came out of it. It leaves its cache
files in the tree.
"""

import json
import random
import sys

import numpy as np
import torch
from ultralytics.cfg import get_cfg
from ultralytics.data.build import build_dataloader, build_yolo_dataset
from ultralytics.data.utils import check_det_dataset

EVERYTHING = {
    "degrees": 10, "shear": 5, "perspective": 0.0005, "flipud": 0.5, "mosaic": 0.8, "mixup": 0.3, "cutmix": 0.3,
    "copy_paste": 0.5, "imgsz": 160,
}  # fmt: skip
BATCH = 16

file, task = sys.argv[1:]
for seed in (random.seed, np.random.seed, torch.manual_seed):
    seed(0)
splits = {}
data = check_det_dataset(file, autodownload=False)
config = get_cfg(overrides={"task": task, "mode": "train", **EVERYTHING})
for split in ("train", "val", "test"):
    dataset = build_yolo_dataset(config, data[split], BATCH, data, mode="train")
    loader = build_dataloader(dataset, BATCH, workers=0, shuffle=False)
    taken = [batch for batch, _ in zip(loader, range(-(-len(dataset) // BATCH)), strict=False)]
    assert all(torch.isfinite(batch["bboxes"]).all() for batch in taken)
    splits[split] = {
        "images": len(dataset),
        "items": sum(len(batch["img"]) for batch in taken),
        "objects": sum(len(batch["cls"]) for batch in taken),
    }
json.dump(splits, sys.stdout)
