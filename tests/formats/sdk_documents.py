"""Documents for the Synapse SDK's own converters, so that tests can compare their output with ours."""

import random

import numpy as np

from pipeline.formats.testing.shapes import mask, ring
from pipeline.records import Annotation, Box, Mask, Point, Polygon

WIDTH, HEIGHT = 100, 50
CLASSES = ("bus", "car", "road")


def annotations():
    """Boxes, polygons and masks inside the image, in the order of their ids."""
    chance = random.Random(4711)
    drawn = []
    for number in range(40):
        x, y = chance.uniform(0, 80), chance.uniform(0, 40)
        size = (chance.uniform(0.5, 20), chance.uniform(0.5, 10))
        drawn.append(Annotation(f"box{number:02}", "bounding_box", chance.choice(CLASSES), Box(x, y, *size)))
    for number in range(3):
        noise = np.random.default_rng(number).random((HEIGHT, WIDTH)) < 0.3
        drawn.append(Annotation(f"mask{number}", "segmentation", chance.choice(CLASSES), mask(noise)))
    drawn.append(Annotation("mask3", "segmentation", "road", mask(ring(WIDTH, HEIGHT))))
    for number in range(20):
        points = tuple(chance.uniform(0, limit) for _ in range(chance.randint(3, 30)) for limit in (WIDTH, HEIGHT))
        drawn.append(Annotation(f"polygon{number:02}", "polygon", chance.choice(CLASSES), Polygon(points)))
    return tuple(drawn)


def document(drawn):
    """The image's part of a DM Schema V2 document."""
    tools = {}
    for annotation in drawn:
        shape, extra = annotation.shape, {}
        attrs = [{"name": name, "value": value} for name, value in annotation.attributes.items()]
        if isinstance(shape, Box):
            data = [shape.x, shape.y, shape.width, shape.height]
            attrs += [{"name": "rotation", "value": shape.rotation}] if shape.rotation else []
        elif isinstance(shape, Polygon):
            data = [list(pair) for pair in zip(shape.points[0::2], shape.points[1::2], strict=True)]
        elif isinstance(shape, Mask):
            data = np.frombuffer(shape.runs, "<i8").reshape(-1, 2).tolist()
            extra = {"encoding": "dm_rle", "isCompressed": True, "compressionFormat": "rle"}
        elif isinstance(shape, Point):
            data, extra = [shape.x, shape.y], {"visibility": shape.visibility, "group_id": annotation.group}
        item = {"id": annotation.id, "classification": annotation.label, "attrs": attrs, "data": data, **extra}
        tools.setdefault(annotation.tool, []).append(item)
    return tools
