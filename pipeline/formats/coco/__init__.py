"""COCO: instances, keypoints and masks as JSON."""

from pipeline.formats.coco.format import Coco

__all__ = ["Coco"]
