"""Makes ``tests.formats`` importable however pytest was started, and lets the cases explain their failures."""

import sys
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)
pytest.register_assert_rewrite("tests.formats.cases", "tests.formats.coco_grammar", "tests.formats.yolo_grammar")
