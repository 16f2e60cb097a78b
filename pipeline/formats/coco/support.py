"""What becomes of each kind of annotation in COCO."""

from collections.abc import Mapping

from pipeline.formats.support import KEPT, Kind, Support
from pipeline.reasons import Reason

_OUTSIDE = Support("skipped", Reason.OUTSIDE_IMAGE)
_UNSUPPORTED = Support("skipped", Reason.UNSUPPORTED_ANNOTATION_TYPE)

SUPPORT: Mapping[Kind, Support] = {
    Kind.BOX: KEPT,
    Kind.TURNED_BOX: Support("lossy", Reason.ROTATION_ENCLOSED, "polygon of its corners and the box around it"),
    Kind.BOX_OVER_EDGE: Support("lossy", Reason.CLIPPED_TO_IMAGE, "cut"),
    Kind.BOX_OUTSIDE: _OUTSIDE,
    Kind.POLYGON: KEPT,
    Kind.POLYGON_OVER_EDGE: Support("lossy", Reason.CLIPPED_TO_IMAGE, "cut"),
    Kind.POLYGON_OUTSIDE: _OUTSIDE,
    Kind.FLAT_POLYGON: Support("skipped", Reason.INVALID_POLYGON),
    Kind.MASK: KEPT,
    Kind.MASK_WITH_HOLE: Support(how="with its holes"),
    Kind.MASK_IN_PARTS: Support(how="one object"),
    Kind.POLYLINE: _UNSUPPORTED,
    Kind.SKELETON_POINT: Support(how="in the file of its skeleton"),
    Kind.UNGROUPED_POINT: Support("skipped", Reason.KEYPOINT_GROUP_INVALID),
    Kind.UNKNOWN_POINT: Support("skipped", Reason.KEYPOINT_PROFILE_UNSUPPORTED),
    Kind.WHOLE: _UNSUPPORTED,
    Kind.RELATION: _UNSUPPORTED,
    Kind.OPAQUE: _UNSUPPORTED,
    Kind.ATTRIBUTES: Support(how="not those of keypoints"),
    Kind.DROPPED_CLASS: Support("skipped", Reason.CLASS_DROPPED),
}
"""With ``masks: instance``; options make no difference."""
