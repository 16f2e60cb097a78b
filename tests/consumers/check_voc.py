"""Pascal VOC as torchvision reads it: ``check_voc.py <folder of VOCdevkit> <set> ...``.

Prints, for each set, the objects of each image and what is painted for it; None for images that cannot be opened.
"""

import json
import sys
from pathlib import Path

import numpy as np
from torchvision_without_cuda import datasets


def read(dataset, describe):
    """What there is to say about each entry of a dataset, by the name of its image."""
    found = {}
    for index, path in enumerate(dataset.images):
        try:
            found[Path(path).name] = describe(*dataset[index])
        except OSError:
            found[Path(path).name] = None
    return found


def objects(image, document):
    """The size of an image, the one its document says, and ``[name, xmin, ymin, xmax, ymax]`` of its objects."""
    annotation = document["annotation"]
    return {
        "size": image.size,
        "described": [int(annotation["size"][key]) for key in ("width", "height")],
        "objects": [
            [found["name"], *(int(found["bndbox"][key]) for key in ("xmin", "ymin", "xmax", "ymax"))]
            for found in annotation.get("object", [])
        ],
    }


def painted(image, plane):
    """The size of an image and of its plane, and the indices that are in the plane."""
    return {
        "size": image.size,
        "plane": plane.size,
        "mode": plane.mode,
        "indices": np.unique(np.asarray(plane)).tolist(),
    }


root, *sets = sys.argv[1:]
seen = {
    name: {
        "images": read(datasets.VOCDetection(root, year="2012", image_set=name), objects),
        "planes": read(datasets.VOCSegmentation(root, year="2012", image_set=name), painted),
    }
    for name in sets
}
json.dump(seen, sys.stdout)
