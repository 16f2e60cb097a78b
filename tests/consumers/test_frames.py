"""Turned pictures of every form, as OpenCV, Pillow, torchvision and Ultralytics load them."""

from pathlib import Path

import pytest

from frames import FRAMES, export_frames, promised, readers

READERS = {"shown": "browsers", "Pillow": "Pillow", "OpenCV": "OpenCV", "torchvision": "torchvision",
           "Ultralytics": "Ultralytics"}  # fmt: skip
"""The reader of the documentation's table that each loader of the check is."""


@pytest.mark.parametrize("exif", ["record", "bake", "ignore"])
def test_every_reader_finds_the_marks_where_the_documentation_promises(exif, tmp_path, ask):
    export_frames(tmp_path, exif)
    table = readers()
    seen = ask("frames", tmp_path)
    assert set(seen) == set(READERS)
    for reader, formats in seen.items():
        for format_, verdicts in formats.items():
            named = {Path(name).stem: found for name, found in verdicts.items()}
            wanted = {
                Path(name).stem: promised(exif, frame, table[READERS[reader]], format_)
                for name, frame in FRAMES.items()
            }
            assert named == wanted, (reader, format_)
