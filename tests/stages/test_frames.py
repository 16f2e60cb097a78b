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


LATE = {
    frame.name: frame
    for frame in FRAMES.values()
    if frame.form in ("PNG, late EXIF", "WEBP", "TIFF") and frame.orientation in (1, 3, 6) and frame.told != "smaller"
}
"""Pictures of which something important stands at the end."""


@pytest.mark.parametrize("exif", ["record", "bake", "ignore"])
@pytest.mark.parametrize("padding", [100_000, 9_000_000], ids=["small", "streamed"])
def test_an_orientation_far_behind_is_heeded_like_one_in_front(tmp_path, exif, padding):
    """Behind the first 64 KB, where headers are looked for, and in pictures that are never whole in memory."""
    requests = export_frames(tmp_path, exif, LATE, padding)
    table = readers()
    for reader, load in {"browsers": upright, "Pillow": as_decoded}.items():
        for format_, verdicts in judged(tmp_path, load).items():
            wanted = {name: promised(exif, frame, table[reader], format_) for name, frame in LATE.items()}
            assert verdicts == wanted, (reader, format_)
    parts = [request for request in requests if "Range" in request.headers]
    undeclared = [frame for frame in LATE.values() if frame.told == "missing"]
    # A WebP without EXIF says in its first bytes that it has none.
    assert len(parts) == 2 * len(undeclared) - 1
