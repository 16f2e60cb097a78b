"""Turned pictures of every form: marks are where the labels say, for programs that turn pictures and for Pillow."""

import pytest

from consumers.marks import as_decoded, judged, upright
from frames import FRAMES, export_frames, promised, readers


@pytest.mark.parametrize("exif", ["record", "bake", "ignore"])
def test_labels_are_on_the_marks_for_the_readers_that_the_documentation_promises(tmp_path, exif):
    export_frames(tmp_path, exif)
    table = readers()
    for reader, load in {"browsers": upright, "Pillow": as_decoded}.items():
        for format_, verdicts in judged(tmp_path, load).items():
            wanted = {name: promised(exif, frame, table[reader], format_) for name, frame in FRAMES.items()}
            assert verdicts == wanted, (reader, format_)
