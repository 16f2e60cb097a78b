"""An NDJSON dataset as Ultralytics converts it for training: ``check_ndjson.py <dataset.ndjson> <output folder>``.

Prints, for each split, the number of images and the rows of all label files together, sorted: the converter gives
images and labels names of its own.
"""

import asyncio
import json
import sys
from pathlib import Path

from ultralytics.data.converter import convert_ndjson_to_yolo
from ultralytics.data.utils import check_det_dataset

source, output = sys.argv[1:]
settings = asyncio.run(convert_ndjson_to_yolo(source, output))
data = check_det_dataset(str(settings), autodownload=False)
splits = {}
for split in ("train", "val", "test"):
    if data.get(split):
        images = Path(data[split])
        labels = Path(str(images).replace("/images/", "/labels/"))
        rows = [
            [float(n) for n in line.split()] for file in labels.glob("*.txt") for line in file.read_text().splitlines()
        ]
        splits[split] = {"images": len(list(images.iterdir())), "rows": sorted(rows)}
json.dump({"classes": list(data["names"].values()), "splits": splits}, sys.stdout)
