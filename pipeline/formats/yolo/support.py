"""What becomes of each kind of annotation in each of YOLO's tasks."""

from collections.abc import Collection, Mapping

from pipeline.formats.support import KEPT, Kind, Support
from pipeline.formats.yolo.segment import Boxes, Outlines
from pipeline.reasons import Reason

_UNSUPPORTED = Support("skipped", Reason.UNSUPPORTED_ANNOTATION_TYPE)
_OUTSIDE = Support("skipped", Reason.OUTSIDE_IMAGE)
_CUT = Support("lossy", Reason.CLIPPED_TO_IMAGE, "cut")

_ALL: Mapping[Kind, Support] = {
    **dict.fromkeys(Kind, _UNSUPPORTED),
    Kind.ATTRIBUTES: Support("lossy", Reason.CUSTOM_ATTRIBUTES_DROPPED),
    Kind.DROPPED_CLASS: Support("skipped", Reason.CLASS_DROPPED),
}

_DETECT: Mapping[Kind, Support] = {
    **_ALL,
    Kind.BOX: KEPT,
    Kind.TURNED_BOX: Support("lossy", Reason.ROTATION_ENCLOSED, "the box around it"),
    Kind.BOX_OVER_EDGE: _CUT,
    Kind.BOX_OUTSIDE: _OUTSIDE,
}

_ENCLOSED = Support("lossy", Reason.SHAPE_ENCLOSED, "the box around it")
_ENCLOSED_BY_SHAPE: Mapping[str, Mapping[Kind, Support]] = {
    "polygon": {
        Kind.POLYGON: _ENCLOSED,
        Kind.POLYGON_OVER_EDGE: Support("lossy", Reason.SHAPE_ENCLOSED, "the box around the part inside"),
        Kind.POLYGON_OUTSIDE: _OUTSIDE,
        Kind.FLAT_POLYGON: Support("skipped", Reason.INVALID_POLYGON),
    },
    "mask": dict.fromkeys((Kind.MASK, Kind.MASK_WITH_HOLE, Kind.MASK_IN_PARTS), _ENCLOSED),
    "keypoints": {
        Kind.SKELETON_POINT: Support("lossy", Reason.SHAPE_ENCLOSED, "the box around all of its group, if it has none"),
        Kind.UNGROUPED_POINT: Support("skipped", Reason.KEYPOINT_GROUP_INVALID),
        Kind.UNKNOWN_POINT: Support("skipped", Reason.KEYPOINT_PROFILE_UNSUPPORTED),
    },
}

OBB: Mapping[Kind, Support] = {
    **_ALL,
    Kind.BOX: Support(how="its four corners"),
    Kind.TURNED_BOX: Support(how="its four corners"),
    Kind.BOX_OVER_EDGE: Support("lossy", Reason.CLIPPED_TO_IMAGE, "cut; a turned one keeps its angle where it can"),
    Kind.BOX_OUTSIDE: _OUTSIDE,
}

POSE: Mapping[Kind, Support] = {
    **_ALL,
    Kind.BOX: Support("skipped", Reason.UNSUPPORTED_ANNOTATION_TYPE, "unless it is the one box of a skeleton's group"),
    Kind.SKELETON_POINT: Support(how="of one skeleton; outside the image it becomes missing, lossy"),
    Kind.UNGROUPED_POINT: Support("skipped", Reason.KEYPOINT_GROUP_INVALID),
    Kind.UNKNOWN_POINT: Support("skipped", Reason.KEYPOINT_PROFILE_UNSUPPORTED),
}

_WITH_HOLE: Mapping[Outlines, Support] = {
    "bridge": Support("lossy", Reason.MASK_BRIDGED, "one outline, by bridges of no width"),
    "largest": Support("lossy", Reason.MASK_HOLE_DROPPED, "the hole is filled"),
    "split": Support("lossy", Reason.MASK_HOLE_DROPPED, "the hole is filled"),
    "skip": Support("skipped", Reason.MASK_CONTOUR_UNREPRESENTABLE),
}
_IN_PARTS: Mapping[Outlines, Support] = {
    **_WITH_HOLE,
    "largest": Support("lossy", Reason.MASK_PARTS_DROPPED, "its largest part"),
    "split": Support("lossy", Reason.MASK_SPLIT, "a row for each part"),
}


def detect_support(boxes_from: Collection[str]) -> Mapping[Kind, Support]:
    """Return those of task detect, with ``masks: instance``."""
    found = dict(_DETECT)
    for shape in boxes_from:
        found |= _ENCLOSED_BY_SHAPE[shape]
    return found


def segment_support(outlines: Outlines, boxes: Boxes) -> Mapping[Kind, Support]:
    """Return those of task segment, with ``masks: instance``."""
    found = {
        **_ALL,
        Kind.POLYGON: KEPT,
        Kind.POLYGON_OVER_EDGE: _CUT,
        Kind.POLYGON_OUTSIDE: _OUTSIDE,
        Kind.FLAT_POLYGON: Support("skipped", Reason.INVALID_POLYGON),
        Kind.MASK: Support(how="its outline, along the edges of pixels"),
        Kind.MASK_WITH_HOLE: _WITH_HOLE[outlines],
        Kind.MASK_IN_PARTS: _IN_PARTS[outlines],
    }
    if boxes == "rectangle":
        drawn = Support(how="its four corners")
        found |= {Kind.BOX: drawn, Kind.TURNED_BOX: drawn, Kind.BOX_OVER_EDGE: _CUT, Kind.BOX_OUTSIDE: _OUTSIDE}
    return found
