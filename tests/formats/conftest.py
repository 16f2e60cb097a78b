"""Makes ``tests.formats`` importable however pytest was started, and lets the cases explain their failures."""

import sys
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)
for name in (
    "cases",
    "coco_cases",
    "coco_grammar",
    "imagefolder_grammar",
    "table_cases",
    "table_grammar",
    "tar_grammar",
    "voc_cases",
    "voc_grammar",
    "yolo_cases",
    "yolo_grammar",
):
    pytest.register_assert_rewrite(f"tests.formats.{name}")
