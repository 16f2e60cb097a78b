"""Semantic segmentation: the class of every pixel as PNG, in the layouts that trainers know."""

from pipeline.formats.semantic.format import Semantic

__all__ = ["Semantic"]
