"""The stages of an export, in order: plan, extract, catalog, render, merge, publish."""
