"""Geometry, masks and image files: pure functions on numbers and bytes."""
