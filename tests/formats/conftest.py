"""The shared cases explain their failures as test modules do."""

import pytest

pytest.register_assert_rewrite("tests.formats.cases", "tests.formats.yolo_grammar")
