"""What consumers may say about our exports: each line that looks like trouble is explained in the documentation."""

import re

from exporting import ROOT

EXPLAINED = {
    "could't match this file with any of these tasks": "docs/formats/coco.md",
    "ignoring corrupt image/label": "docs/formats/yolo.md",
    "ignoring corrupt image/mask": "docs/formats/semantic.md",
    "corrupt JPEG restored and saved": "docs/formats/yolo.md",
    "duplicate labels removed": "docs/formats/yolo.md",
    "can't read data": "docs/images.md",
}
"""Words of a line, and the page that quotes them and says why they come."""

_TROUBLE = re.compile(r"warn|error|corrupt|ignoring|duplicate|invalid|deprecated", re.IGNORECASE)
_PROGRESS = re.compile(r"\b0 corrupt|images, .* corrupt: ")


def unexplained(lines):
    """The lines that look like trouble and are not in the list."""
    return [
        line
        for line in lines
        if _TROUBLE.search(line) and not _PROGRESS.search(line) and not any(words in line for words in EXPLAINED)
    ]


def quoted():
    """For each entry of the list, whether its page quotes it."""
    return {words: words in (ROOT / page).read_text(encoding="utf-8") for words, page in EXPLAINED.items()}
