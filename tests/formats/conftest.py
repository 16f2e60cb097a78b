"""Lets the shared cases explain their failures as tests do."""

import pytest

pytest.register_assert_rewrite(
    "tests.formats.imagefolder_grammar",
    "tests.formats.tar_grammar",
    *(
        f"tests.formats.{family}.{module}"
        for family in ("coco", "tables", "voc", "yolo")
        for module in ("cases", "grammar")
    ),
)
