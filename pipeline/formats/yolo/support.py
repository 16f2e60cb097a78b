"""What becomes of each kind of annotation in each of YOLO's tasks."""

from collections.abc import Mapping

from pipeline.formats.support import KEPT, Fate, Kind
from pipeline.formats.yolo.outlines import Boxes, Outlines
from pipeline.reasons import Reason

_UNSUPPORTED = Fate("skipped", Reason.UNSUPPORTED_ANNOTATION_TYPE)
_OUTSIDE = Fate("skipped", Reason.OUTSIDE_IMAGE)
_CUT = Fate("lossy", Reason.CLIPPED_TO_IMAGE, "cut")

_ALL: Mapping[Kind, Fate] = {
    **dict.fromkeys(Kind, _UNSUPPORTED),
    Kind.ATTRIBUTES: Fate("lossy", Reason.CUSTOM_ATTRIBUTES_DROPPED),
    Kind.DROPPED_CLASS: Fate("skipped", Reason.CLASS_DROPPED),
}

DETECT: Mapping[Kind, Fate] = {
    **_ALL,
    Kind.BOX: KEPT,
    Kind.TURNED_BOX: Fate("lossy", Reason.ROTATION_ENCLOSED, "the box around it"),
    Kind.BOX_OVER_EDGE: _CUT,
    Kind.BOX_OUTSIDE: _OUTSIDE,
}

OBB: Mapping[Kind, Fate] = {
    **_ALL,
    Kind.BOX: Fate(how="its four corners"),
    Kind.TURNED_BOX: Fate(how="its four corners"),
    Kind.BOX_OVER_EDGE: Fate("lossy", Reason.CLIPPED_TO_IMAGE, "cut; a turned one keeps its angle where it can"),
    Kind.BOX_OUTSIDE: _OUTSIDE,
}

POSE: Mapping[Kind, Fate] = {
    **_ALL,
    Kind.BOX: Fate("skipped", Reason.UNSUPPORTED_ANNOTATION_TYPE, "unless it is the one box of a skeleton's group"),
    Kind.SKELETON_POINT: Fate(how="of one skeleton; outside the image it becomes missing, lossy"),
    Kind.UNGROUPED_POINT: Fate("skipped", Reason.KEYPOINT_GROUP_INVALID),
    Kind.UNKNOWN_POINT: Fate("skipped", Reason.KEYPOINT_PROFILE_UNSUPPORTED),
}

_WITH_HOLE: Mapping[Outlines, Fate] = {
    "bridge": Fate("lossy", Reason.MASK_BRIDGED, "one outline, by bridges of no width"),
    "largest": Fate("lossy", Reason.MASK_HOLE_DROPPED, "the hole is filled"),
    "split": Fate("lossy", Reason.MASK_HOLE_DROPPED, "the hole is filled"),
    "skip": Fate("skipped", Reason.MASK_CONTOUR_UNREPRESENTABLE),
}
_IN_PARTS: Mapping[Outlines, Fate] = {
    **_WITH_HOLE,
    "largest": Fate("lossy", Reason.MASK_PARTS_DROPPED, "its largest part"),
    "split": Fate("lossy", Reason.MASK_SPLIT, "a row for each part"),
}


def segment(outlines: Outlines, boxes: Boxes) -> Mapping[Kind, Fate]:
    """Those of task segment, with ``masks: instance``."""
    fates = {
        **_ALL,
        Kind.POLYGON: KEPT,
        Kind.POLYGON_OVER_EDGE: _CUT,
        Kind.POLYGON_OUTSIDE: _OUTSIDE,
        Kind.FLAT_POLYGON: Fate("skipped", Reason.INVALID_POLYGON),
        Kind.MASK: Fate(how="its outline, along the edges of pixels"),
        Kind.MASK_WITH_HOLE: _WITH_HOLE[outlines],
        Kind.MASK_IN_PARTS: _IN_PARTS[outlines],
    }
    if boxes == "rectangle":
        drawn = Fate(how="its four corners")
        fates |= {Kind.BOX: drawn, Kind.TURNED_BOX: drawn, Kind.BOX_OVER_EDGE: _CUT, Kind.BOX_OUTSIDE: _OUTSIDE}
    return fates
