"""Reason codes: why an annotation, image or record was skipped, changed or failed.

Codes in the first three groups are the Synapse SDK's own (``synapse_sdk``'s export report), so that
reports of both can be read side by side; the last group names what the SDK does not report.
"""

from enum import StrEnum


class Reason(StrEnum):
    """One code per reason; the value is what reports contain, the comment what it means."""

    # Skipped or changed by a format (SDK codes).
    UNSUPPORTED_ANNOTATION_TYPE = "UNSUPPORTED_ANNOTATION_TYPE"  # the format has no such annotation
    UNSUPPORTED_ORIENTED_BOUNDING_BOX = "UNSUPPORTED_ORIENTED_BOUNDING_BOX"  # rotation cannot be kept
    SEGMENTATION_EXCLUDED = "SEGMENTATION_EXCLUDED"  # masks: exclude
    SEMANTIC_SEGMENTATION_UNSUPPORTED = "SEMANTIC_SEGMENTATION_UNSUPPORTED"  # masks: semantic
    MASK_CONTOUR_UNREPRESENTABLE = "MASK_CONTOUR_UNREPRESENTABLE"  # too small to have an outline
    MASK_HOLE_DROPPED = "MASK_HOLE_DROPPED"  # the format's outlines have no holes
    KEYPOINT_GROUP_INVALID = "KEYPOINT_GROUP_INVALID"  # keypoint without a group
    KEYPOINT_PROFILE_UNSUPPORTED = "KEYPOINT_PROFILE_UNSUPPORTED"  # not a skeleton the format knows
    CUSTOM_ATTRIBUTES_DROPPED = "CUSTOM_ATTRIBUTES_DROPPED"  # attributes have no place in the format
    VOC_CLASS_LIMIT_EXCEEDED = "VOC_CLASS_LIMIT_EXCEEDED"  # its class has no index in a palette: not painted
    VOC_INSTANCE_LIMIT_EXCEEDED = "VOC_INSTANCE_LIMIT_EXCEEDED"  # one of too many in its image: its class is painted

    # Failed while the document was read (SDK codes).
    INVALID_GEOMETRY = "INVALID_GEOMETRY"  # not numbers, not finite, or absurdly large
    INVALID_BOUNDING_BOX = "INVALID_BOUNDING_BOX"  # no width or no height
    INVALID_POLYGON = "INVALID_POLYGON"  # fewer than three points
    INVALID_MASK_ENCODING = "INVALID_MASK_ENCODING"  # runs overlap or leave the image
    INVALID_CLASS_NAME = "INVALID_CLASS_NAME"  # no class
    MALFORMED_ANNOTATION = "MALFORMED_ANNOTATION"  # not the shape of any known annotation

    # Failed or skipped as a whole (SDK codes).
    NULL_DATA_DETECTED = "NULL_DATA_DETECTED"  # never labelled: data is null or {}
    SOURCE_IMAGE_INVALID = "SOURCE_IMAGE_INVALID"  # no image, or its size cannot be found
    IMAGE_MATERIALIZATION_FAILED = "IMAGE_MATERIALIZATION_FAILED"  # the original could not be copied
    ITEM_CONVERSION_FAILED = "ITEM_CONVERSION_FAILED"  # a format raised on this sample
    UNSUPPORTED_DOCUMENT = "UNSUPPORTED_DOCUMENT"  # not a DM document (schema: any)
    UNSUPPORTED_MEDIA = "UNSUPPORTED_MEDIA"  # video, text, point cloud … in an image format

    # Ours: changed or left out by a format.
    MASK_BRIDGED = "MASK_BRIDGED"  # parts and holes joined to one outline by bridges of no width
    MASK_SPLIT = "MASK_SPLIT"  # parts written as objects of their own
    MASK_PARTS_DROPPED = "MASK_PARTS_DROPPED"  # only the largest part is written
    MASK_SIMPLIFIED = "MASK_SIMPLIFIED"  # points of its outline were left out
    MASK_COVERED = "MASK_COVERED"  # painted over by later ones where only one class fits in a pixel
    NOT_PAINTED = "NOT_PAINTED"  # it encloses no pixel centre, or the image is too large: painted nowhere
    CLASS_LIMIT_EXCEEDED = "CLASS_LIMIT_EXCEEDED"  # its class has no number in a plane of one byte per pixel
    BOX_WIDENED = "BOX_WIDENED"  # one pixel wide or high, which readers take for empty: written with two
    SHAPE_ENCLOSED = "SHAPE_ENCLOSED"  # an outline, a mask or a skeleton written as the upright box around it
    GROUP_DROPPED = "GROUP_DROPPED"  # written as several objects, without saying that they belong together
    CLASS_RENAMED = "CLASS_RENAMED"  # its class is renamed, because the format cannot hold its name

    # Found while an original was copied.
    ORIGINAL_MISSING = "ORIGINAL_MISSING"  # the API lists the file and no URL of it
    EXIF_ORIENTATION = "EXIF_ORIENTATION"  # EXIF says it is turned; copied as it is
    EXIF_BAKED = "EXIF_BAKED"  # EXIF says it is turned; the copy is upright
    SIZE_CORRECTED = "SIZE_CORRECTED"  # not of the declared size; labels use the size of the picture
    IMAGE_NOT_JPEG = "IMAGE_NOT_JPEG"  # not a JPEG, but readers look for <id>.jpg only
    IMAGE_UNTERMINATED = "IMAGE_UNTERMINATED"  # bytes after the end of the JPEG, or the end is missing

    # Ours: put right while the document was read.
    BOX_TURNED_ROUND = "BOX_TURNED_ROUND"  # drawn from right to left or upwards: width and height are positive now
    CLASS_NAME_TIDIED = "CLASS_NAME_TIDIED"  # tabs and other controls in its class are spaces now

    # Ours: found while the data was read.
    GEOMETRY_MISSING = "GEOMETRY_MISSING"  # annotation without an entry in annotationsData
    ORPHAN_GEOMETRY = "ORPHAN_GEOMETRY"  # entry in annotationsData without an annotation
    DUPLICATE_ANNOTATION = "DUPLICATE_ANNOTATION"  # second annotation with the same id
    EMPTY_IMAGE = "EMPTY_IMAGE"  # labelled, without annotations (empty: drop)
    ANNOTATION_FAILED = "ANNOTATION_FAILED"  # an annotation of the image failed (on_failed_annotation: drop_image)
    CLASS_DROPPED = "CLASS_DROPPED"  # the class is in classes.drop
    OUTSIDE_IMAGE = "OUTSIDE_IMAGE"  # nothing of it lies inside the image
    CLIPPED_TO_IMAGE = "CLIPPED_TO_IMAGE"  # cut at the border of the image
    ROTATION_ENCLOSED = "ROTATION_ENCLOSED"  # rotated box written as its upright enclosing box
    WORKER_LOST = "WORKER_LOST"  # its workers were killed, ran out of memory or took too long
    RECORD_VANISHED = "RECORD_VANISHED"  # planned, but the API no longer returns it
    RECORD_FOREIGN = "RECORD_FOREIGN"  # belongs to another project than the one asked for
    PAYLOAD_UNAVAILABLE = "PAYLOAD_UNAVAILABLE"  # the document could not be fetched
    PAYLOAD_CORRUPT = "PAYLOAD_CORRUPT"  # size or digest differs from what the API promised
    MALFORMED_DOCUMENT = "MALFORMED_DOCUMENT"  # not JSON, or too deep or too large to be a document
