"""A dataset as Datumaro imports it: ``check_datumaro.py <format> <folder>``.

Prints the labels and, by subset and item, the annotations; and the items whose image cannot be opened.
"""

import json
import sys
from collections import defaultdict

import datumaro

format_, folder = sys.argv[1:]
dataset = datumaro.Dataset.import_from(folder, format_)
labels = [label.name for label in dataset.categories()[datumaro.AnnotationType.label]]
subsets, unreadable = defaultdict(dict), []
for item in dataset:
    try:
        item.media.data.shape  # noqa: B018  # decodes it
    except AttributeError:  # what Datumaro makes of an image OpenCV cannot decode
        unreadable.append(item.id)
    subsets[item.subset][item.id] = [
        {
            "type": found.type.name,
            "class": labels[found.label],
            "id": found.id,
            "box": found.get_bbox() if found.type.name == "bbox" else None,
        }
        for found in item.annotations
    ]
json.dump({"classes": labels, "subsets": subsets, "unreadable": unreadable}, sys.stdout)
