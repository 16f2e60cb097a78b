"""Hugging Face imagefolder: a table of each split's images, beside the images."""

from pipeline.formats.imagefolder.format import ImageFolder

__all__ = ["ImageFolder"]
