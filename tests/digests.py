"""The digest by which tests compare exports."""

import hashlib

from pipeline.destination import metadata
from pipeline.storage import STAGING, Storage


def tree_digest(storage: Storage) -> str:
    """Return the sha256 of all that must be the same for the same data and configuration, computed from the files.

    Two exports are byte-identical when theirs are equal: everything counts except the staging area, the files that
    hold times (:data:`pipeline.destination.metadata.VOLATILE`) and their lines in ``SHA256SUMS``.
    """
    lines = []
    for path, _ in storage.files():
        if path.startswith(f"{STAGING}/") or path in metadata.VOLATILE:
            continue
        if path == metadata.CHECKSUMS:
            kept = [line for line in storage.read(path).splitlines() if not line.decode().endswith(metadata.VOLATILE)]
            lines.append(f"{metadata.digest(b'\n'.join(kept))}  {path}")
        else:
            lines.append(f"{hashlib.sha256(storage.read(path)).hexdigest()}  {path}")
    return metadata.digest("\n".join(sorted(lines)).encode())
