"""Tests for formats, your own too: a suite that every format must pass, and the small export that it renders.

::

    from pipeline.formats.testing import FormatCases


    class TestMyFormat(FormatCases):
        format = MyFormat()
"""

import sys

if "pytest" in sys.modules:  # asserts of the suite explain their failures as those of a test module do
    sys.modules["pytest"].register_assert_rewrite(f"{__name__}.cases", f"{__name__}.joining")

from pipeline.formats.testing.cases import FormatCases, strict_json
from pipeline.formats.testing.joining import (
    Files,
    digest_files,
    find_losses,
    join_samples,
    join_shards,
    original_of,
    transform_bytes,
)
from pipeline.formats.testing.sample_set import catalog_of, empty_catalog, samples

__all__ = [
    "Files",
    "FormatCases",
    "catalog_of",
    "digest_files",
    "empty_catalog",
    "find_losses",
    "join_samples",
    "join_shards",
    "original_of",
    "samples",
    "strict_json",
    "transform_bytes",
]
