"""Originals with the same bytes: found, listed, refused, or kept in one split."""
