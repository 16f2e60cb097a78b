"""Asserts in the shared modules explain their failures as those of test modules do."""

import pytest

pytest.register_assert_rewrite(
    "tests.formats.row_checks",
    "tests.formats.tar_grammar",
    *(
        f"tests.formats.{family}.{module}"
        for family in ("coco", "imagefolder", "tables", "voc", "yolo")
        for module in ("cases", "grammar")
    ),
)
