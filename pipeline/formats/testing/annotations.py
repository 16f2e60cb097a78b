"""Annotations of the sample set: each shape, each awkward position, name and attribute."""

import math

from pipeline.formats.testing.shapes import box, mask, point, polygon, rectangles, ring
from pipeline.model.skeletons import Skeleton
from pipeline.records import Annotation, Box, Opaque, Point, Polyline, Relation, Whole

DROPPED = "ignore me"
"""The class that the catalog of the sample set drops."""

EVERY_SHAPE = (
    box("b1", "car", 21.5, 24.2, 22.5, 18.9, color="red", occluded=False, note=None, tags=["a", None, {"b": None}]),
    box("b2", "bus", 60.123456789, 5.0, 30.0, 10.5),
    polygon("p1", "road", 0, 30, 40, 25, 99.5, 31, 100, 50, 0, 50),
    Annotation("m1", "segmentation", "road", mask(ring(100, 50))),
    Annotation("l1", "polyline", "lane", Polyline((1.0, 2.0, 30.0, 40.0, 50.0, 45.0))),
    Annotation("k1", "keypoint", "nose", Point(31.0, 26.0, 1), group="g1"),
    Annotation("c1", "classification", "sunny", Whole()),
    Annotation("r1", "relation", "", Relation("b1", "b2")),
    Annotation("o1", "3d_bounding_box", "truck", Opaque(b'{"psr":{"position":{"x":1,"y":2,"z":3}}}')),
)
TURNED = (
    box("t1", "car", 50.0, 20.0, 40.0, 20.0, rotation=0.5),
    box("full-turn", "car", 10.0, 10.0, 30.0, 20.0, rotation=2 * math.pi),
    box("quarter-turn", "bus", 100.0, 40.0, 40.0, 20.0, rotation=math.pi / 2),
    box("hardly", "bus", 150.0, 70.0, 10.0, 8.0, rotation=1e-9),
    box("over-the-edge", "car", -10.0, 40.0, 30.0, 10.0, rotation=-0.7),
    box("away", "car", 300.0, 40.0, 30.0, 10.0, rotation=0.3),
)
EDGES = (
    box("cut", "car", -5.0, -2.5, 20.0, 10.0),
    box("outside", "car", 120.0, 10.0, 5.0, 5.0),
    box("noise", "car", -1e-7, 0.0, 50.0000001, 50.00000001),
    box("all", "bus", 0.0, 0.0, 100.0, 50.0),
    box("tiny", "bus", 40.0, 20.0, 0.00005, 0.00001),
    box("touching", "car", 100.0, 10.0, 5.0, 5.0),
    box("larger", "car", -10.0, -10.0, 300.0, 300.0),
    polygon("cut-polygon", "road", -10, 10, 20, 10, 20, 30),
    polygon("outside-polygon", "road", 110, 10, 130, 10, 120, 30),
    polygon("flat-polygon", "road", 10, 10, 20, 20, 30, 30),
)
NAMES = (
    box("n1", 'he said "yes": #1', 1.0, 2.0, 3.0, 4.0),
    box("n2", "null", 1.0, 2.0, 3.0, 4.0),
    box("n3", "C:\\new", 1.0, 2.0, 3.0, 4.0),
    box("n4", "a\u2028b\u0085c", 1.0, 2.0, 3.0, 4.0),
    box("n5", "1.0", 1.0, 2.0, 3.0, 4.0),
    box("n6", "\U0001f697", 1.0, 2.0, 3.0, 4.0),
)
CROWDS = (
    box("crowd1", "person", 1.0, 2.0, 30.0, 40.0, iscrowd=True),
    box("crowd2", "person", 1.0, 2.0, 30.0, 40.0, crowd="true"),
    box("one", "person", 1.0, 2.0, 3.0, 4.0, iscrowd=0, crowd="none"),
)

PERSON = Skeleton(
    "person",
    ("nose", "left_eye", "right_eye", "left_hand", "right_hand"),
    edges=((0, 1), (0, 2), (1, 3), (2, 4)),
    flip=(0, 2, 1, 4, 3),
)
ARROW = Skeleton("arrow", ("tail", "tip"), edges=((0, 1),), flip=(0, 1))

PEOPLE = (
    box("person-box", "person", 20.0, 10.0, 60.0, 80.0),
    point("whole-1", "nose", 50, 20.5, group="whole"),
    point("whole-2", "right_eye", 45, 18, 1, group="whole"),
    point("whole-3", "left_eye", 55, 18.25, group="whole"),
    point("whole-4", "left_hand", 75, 60, group="whole"),
    point("whole-5", "right_hand", 0, 0, 0, group="whole"),
    point("part-1", "left_hand", 190, 60, group="part"),
    point("part-2", "nose", 205, 20, group="part"),  # outside the image
    Annotation("boxed-box", "bounding_box", "person", Box(100.0, 10.0, 40.0, 70.0), {}, "boxed"),
    point("boxed-1", "nose", 120, 20, group="boxed"),
    point("boxed-2", "left_eye", 122, 18, group="boxed"),
    point("arrow-1", "tip", 150, 90, group="arrow"),
    point("arrow-2", "tail", 170, 80, group="arrow"),
    point("twice-1", "nose", 10, 10, group="twice"),
    point("twice-2", "nose", 12, 10, group="twice"),
    point("alone", "nose", 14, 10),
    point("unknown-1", "antenna", 16, 10, group="unknown"),
    point("unknown-2", "nose", 18, 10, group="unknown"),
    point("unseen-1", "nose", 0, 0, 0, group="unseen"),
    point("unseen-2", "left_eye", 0, 0, 0, group="unseen"),
)

MASKS = (
    Annotation("plain", "segmentation", "car", mask(rectangles((5, 5, 25, 20, 1)))),
    Annotation("holed", "segmentation", "bus", mask(rectangles((30, 5, 50, 25, 1), (35, 10, 45, 20, 0)))),
    Annotation("parted", "segmentation", "car", mask(rectangles((2, 25, 12, 35, 1), (20, 28, 30, 38, 1)))),
    Annotation("pixel", "segmentation", "car", mask(rectangles((59, 39, 60, 40, 1)))),
    Annotation("covered", "segmentation", "road", mask(rectangles((0, 0, 60, 40, 1))), {"difficult": True}),
)
