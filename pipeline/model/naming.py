"""Names of output files: one safe leaf from any server-supplied name, and one owner for each name.

Names collide when their stems are equal after :func:`fold`, because every format writes ``<stem>.<its extension>``
and because some disks are blind to case or to Unicode normalisation. Collisions are resolved once for the whole
export, in two passes that need 8 bytes per sample: first the hashes of all stems (:func:`fold_hash`,
:func:`colliding_hashes`), then only the claims whose hash is not alone (:func:`resolve_collisions`).
"""

import hashlib
import os.path
import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.records import Sample

# Most file systems allow 255 bytes; the rest is for ``__<record id>_<n>`` and a longer extension.
MAX_LEAF_BYTES = 200
_MAX_SUFFIX_BYTES = 32

# Written as "_": forbidden by Windows, or read as a separator, comment or column by lists of names (VOC's
# ImageSets are read with numpy.loadtxt), and "%" where it starts a percent-encoded byte such as "%2e".
_REPLACED = re.compile(r'[:*?"<>|#\s]|%(?=[0-9A-Fa-f]{2})')
# Controls, lone surrogates, line and paragraph separators.
_REMOVED_CATEGORIES = frozenset(("Cc", "Cs", "Zl", "Zp"))
# Directional controls and the byte order mark show a name differently from what it is.
_REMOVED_CHARACTERS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
# Names of devices on Windows, with any extension (learn.microsoft.com, "Naming Files, Paths, and Namespaces").
_RESERVED = re.compile(r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³])(?:\.|$)", re.IGNORECASE)
# Files that readers of image folders look for beside the images (huggingface.co/docs/datasets, "ImageFolder").
_TAKEN = re.compile(r"(?:metadata\.(?:csv|jsonl|parquet)|README\.md)\Z", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}\.[A-Za-z0-9]{1,8}")


# Suffixes that readers of datasets take for images, and other names of JPEG that they do not.
_IMAGE_SUFFIXES = frozenset(
    (
        ".avif",
        ".bmp",
        ".dng",
        ".gif",
        ".heic",
        ".heif",
        ".jp2",
        ".jpeg",
        ".jpg",
        ".mpo",
        ".png",
        ".tif",
        ".tiff",
        ".webp",
    )
)
_ALIASES = frozenset((".jfif", ".jif", ".jpe", ".pjp", ".pjpeg"))


@lru_cache(maxsize=1024)  # a name is asked for several times in a row
def safe_leaf(name: str) -> str:
    """Return one file name without folders, safe on Windows, POSIX, S3, in tar files and in lists of names.

    Korean, emoji and other letters are kept, in NFC. At most :data:`MAX_LEAF_BYTES` bytes of UTF-8, cut between
    characters and before the extension. ``""`` when nothing usable remains. Applying it again changes nothing.
    """
    if _PLAIN.fullmatch(name) and ".." not in name and not _RESERVED.match(name) and not _TAKEN.match(name):
        return name
    leaf = name.replace("\\", "/").rpartition("/")[2]
    leaf = unicodedata.normalize("NFC", "".join(filter(_is_kept, leaf))).strip()
    leaf = _REPLACED.sub("_", leaf)
    if not leaf.strip("._-"):
        return ""
    stem, suffix = _trimmed(leaf)
    if len(suffix.encode()) > _MAX_SUFFIX_BYTES:
        stem, suffix = stem + suffix, ""
    leaf = _cut(stem, MAX_LEAF_BYTES - len(suffix.encode())) + suffix
    return "".join(_trimmed(leaf))


def has_image_suffix(name: str) -> bool:
    """Tell whether readers of datasets take a file of this name for an image."""
    return _split_name(name)[1].lower() in _IMAGE_SUFFIXES


def split_leaf(leaf: str) -> tuple[str, str]:
    """``("IMG.2024", ".jpg")`` of ``"IMG.2024.jpg"``: what the readers of datasets take for stem and extension."""
    return os.path.splitext(leaf)


@lru_cache(maxsize=1024)  # as above
def _split_name(name: str) -> tuple[str, str]:
    return split_leaf(safe_leaf(name))


def fold(stem: str) -> str:
    """Return the collision key of a stem: caseless and in NFC. Folding again changes nothing."""
    if stem.isascii():
        return stem.lower()
    while True:
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", stem).casefold())
        if folded == stem:
            return folded
        stem = folded


def fold_hash(stem: str) -> int:
    """Return a stable 64-bit hash of :func:`fold`; the same for a stem and its folded form."""
    digest = hashlib.blake2b(fold(stem).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def default_stem(record_id: int, ordinal: int, media: str) -> str:
    """Return the stem of a sample without a usable name: its record's id, and its media after the first sample."""
    if not ordinal:
        return str(record_id)
    return f"{record_id}_{safe_leaf(media).replace('.', '_') or ordinal}"


def proposed_stem_and_suffix(sample: Sample, policy: Literal["original", "id"]) -> tuple[str, str]:
    """Return the stem and the extension (with its dot, or ``""``) of a sample before collisions are resolved.

    The extension is the original one under either policy, or the one that the header of the image shows, where readers
    would not take the original one for an image's; a sample without a file has none.
    """
    if sample.file is None:
        return default_stem(sample.record_id, sample.ordinal, sample.media), ""
    stem, suffix = _split_name(sample.file.name)
    if sample.file.suffix:
        if suffix.lower() not in _ALIASES:
            stem += suffix  # of frame.0001 it is the number of the frame
        suffix = sample.file.suffix
    if not stem or policy != "original":
        stem = default_stem(sample.record_id, sample.ordinal, sample.media)
    return stem, suffix


def colliding_hashes(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the hashes that occur more than once, each once, ascending. ``hashes`` are all of the export."""
    ordered = np.sort(hashes)
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def resolve_collisions(
    claims: Iterable[tuple[str, int, int]], taken: Callable[[str], bool] = lambda _folded: False
) -> dict[tuple[int, int], str]:
    """Return the final stem of each claim ``(stem, record_id, ordinal)``, by ``(record_id, ordinal)``.

    Of claims whose folded stems are equal, the lowest ``(record_id, ordinal)`` keeps its stem; the others become
    ``stem__<record_id>``, then ``stem__<record_id>_2`` and so on, until it is neither assigned nor ``taken``.
    ``taken`` tells whether any claim of the whole export has this folded stem; it may also be asked about the claims
    given here. Claims that collide with no other may be left out. The result does not depend on the order of claims.
    """
    ordered = sorted((fold(stem), record_id, ordinal, stem) for stem, record_id, ordinal in claims)
    used = {folded for folded, *_ in ordered}
    stems: dict[tuple[int, int], str] = {}
    previous = None
    for folded, record_id, ordinal, stem in ordered:
        final = stem
        if folded == previous:
            final = f"{stem}__{record_id}"
            count = 1
            while (key := fold(final)) in used or taken(key):
                count += 1
                final = f"{stem}__{record_id}_{count}"
            used.add(key)
        previous = folded
        stems[record_id, ordinal] = final
    return stems


def _is_kept(character: str) -> bool:
    return unicodedata.category(character) not in _REMOVED_CATEGORIES and character not in _REMOVED_CHARACTERS


def _trimmed(leaf: str) -> tuple[str, str]:
    """Return stem and extension without what Windows strips, shells read as an option, or systems hide or reserve."""
    leaf = leaf.rstrip(". ")
    if leaf[:1] in ("-", "."):
        leaf = "_" + leaf[1:]
    if _RESERVED.match(leaf) or _TAKEN.match(leaf):
        leaf = "_" + leaf
    stem, suffix = split_leaf(leaf)
    return stem.rstrip(". "), suffix


def _cut(text: str, limit: int) -> str:
    """Return the longest start of ``text`` within ``limit`` bytes of UTF-8 that does not end inside a character."""
    return text.encode()[:limit].decode("utf-8", "ignore")
