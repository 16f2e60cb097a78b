"""Annotation documents of every dialect as samples."""
