"""A YOLO tree as Ultralytics reads it for training: ``check_yolo.py <data.yaml> <task>``.

Prints, for each split, how many labels were found, missing, empty and corrupt, what Ultralytics said about them, and
the rows of each image; and how many objects come out of batches. It leaves its cache files in the tree.
"""

import json
import sys
from pathlib import Path

from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset, load_dataset_cache_file

BATCH = 16

file, task = sys.argv[1:]
data = check_det_dataset(file, autodownload=False)
splits = {}
for split in ("train", "val", "test"):
    if not data.get(split):
        continue
    dataset = YOLODataset(img_path=data[split], data=data, task=task, augment=False)
    cache = load_dataset_cache_file(Path(dataset.label_files[0]).parent.with_suffix(".cache"))
    batches = [
        YOLODataset.collate_fn([dataset[index] for index in range(start, min(start + BATCH, len(dataset)))])
        for start in range(0, len(dataset), BATCH)
    ]
    splits[split] = {
        **dict(zip(("found", "missing", "empty", "corrupt", "images"), cache["results"], strict=True)),
        "messages": cache["msgs"],
        "rows": {
            Path(label["im_file"]).name: {
                "size": label["shape"][::-1],
                "boxes": [
                    [data["names"][int(index)], *box]
                    for index, box in zip(label["cls"][:, 0], label["bboxes"].tolist(), strict=True)
                ],
                "outlines": [outline.tolist() for outline in label["segments"]],
                "points": None if label.get("keypoints") is None else label["keypoints"].tolist(),
            }
            for label in dataset.labels
        },
        "objects": sum(len(batch["cls"]) for batch in batches),
        "masks": sum(int(batch["masks"].max()) > 0 for batch in batches) if task == "segment" else None,
    }
json.dump({"classes": list(data["names"].values()), "splits": splits}, sys.stdout)
