"""Ultralytics YOLO: detection, segmentation, pose and oriented boxes."""

from pipeline.formats.yolo.format import Yolo

__all__ = ["Yolo"]
