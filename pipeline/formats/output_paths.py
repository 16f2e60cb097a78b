"""Which paths a format may give its files, and whose a path is."""

import re

from pipeline.errors import FormatError
from pipeline.model.naming import fold

RESERVED_NAMES = ("images", "files", "metadata", "_staging", "_SUCCESS.json", "SHA256SUMS")
"""What the export itself writes at its root, or what its readers would take for that."""

# Readers look for these files beside the images, so a format may write them there. No original ever has their names.
BESIDE_IMAGES = re.compile(r"images/(?:[^/]+/metadata\.parquet|README\.md)")
_RESERVED = frozenset(map(fold, RESERVED_NAMES))
# Lists of files have a line for each file, as UTF-8.
_UNLISTABLE = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
MAKE_IT_DIFFER = "make the path differ, for example by the stem of the sample"
_FORMULA = re.compile("'*[=+\\-@＝＋－＠]")


class PathOwners:
    """Paths that are taken, each by the format (or part of the export) that named it first.

    Paths that differ only in case or composition are one path, because they are one on some disks.
    """

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}

    def claim(self, path: str, owner: str) -> None:
        """Take a path for a file of the format ``owner``. Raises FormatError when it may not have it."""
        if problem := _problem(path):
            raise FormatError(owner, f"gives a file the path {path!r}, which {problem}")
        self.take(path, owner)

    def take(self, path: str, owner: str) -> None:
        """Take a path for ``owner``, which may be the export itself. Raises FormatError when it is taken."""
        key = fold(path)
        if other := self._owners.get(key):
            also = "it has written before" if other == owner else f"is also written by {other}"
            raise FormatError(owner, f"writes {path}, which {also}; {MAKE_IT_DIFFER}")
        self._owners[key] = owner


def _problem(path: str) -> str:
    """Return what is wrong with a path that a format gives, as the end of a sentence, or ``""``."""
    parts = path.split("/")
    if "\\" in path or any(part in ("", ".", "..") for part in parts):
        return "is not a relative path with / below the export"
    if _UNLISTABLE.search(path):
        return "has a character that no list of files can hold; leave it out"
    if _FORMULA.match(path):
        return "begins with a sign that the list of files, a CSV file, has to change; begin with a letter"
    if fold(parts[0]) in _RESERVED and not BESIDE_IMAGES.fullmatch(path):
        return f"is reserved: the export itself writes {', '.join(RESERVED_NAMES)}"
    return ""
