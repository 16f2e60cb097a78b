"""A folder of images as Hugging Face reads it: ``check_imagefolder.py <images> <cache>``.

Prints, for each split, its features, and the size, labels and objects of every image, by its id.
"""

import json
import sys

from datasets import load_dataset

images, cache = sys.argv[1:]
splits = {}
for split, rows in load_dataset(images, cache_dir=cache).items():
    found, unreadable = {}, []
    for index, row in enumerate(rows.remove_columns("image")):
        try:
            size = rows[index]["image"].size
        except OSError:
            unreadable.append(row["image_id"])
            continue
        found[row["image_id"]] = {**row, "size": size}
    names = rows.features["objects"]["category"].feature.names
    splits[split] = {"features": repr(rows.features), "classes": names, "images": found, "unreadable": unreadable}
json.dump(splits, sys.stdout)
