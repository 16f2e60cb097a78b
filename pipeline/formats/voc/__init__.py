"""Pascal VOC: XML, image lists and segmentation planes."""

from pipeline.formats.voc.format import Voc

__all__ = ["Voc"]
