"""Where an export is written: a root and relative paths, with writes that are never visible half done.

Every write of the pipeline goes through here. A file appears under its final name whole or not at all: locally
through a temporary name on the same file system and ``os.replace``, on object stores by one PUT or a multipart
upload that is aborted on error. A bare ``with fs.open(path, "wb")`` publishes what was written so far when the
block raises, so no other module opens an output.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import DestinationError
from pipeline.redaction import HOW_TO_GIVE_ONE, has_password, redact
from pipeline.storage.base import STAGING, TEMPORARY, Access, Extent, Piece, Storage, check_relative, describe
from pipeline.storage.local import LocalStorage

__all__ = [
    "STAGING",
    "TEMPORARY",
    "Access",
    "Extent",
    "LocalStorage",
    "Piece",
    "Storage",
    "check_relative",
    "describe",
    "open_access",
    "open_storage",
]

_LOCAL_PROTOCOLS = ("", "file", "local")


def open_storage(url: str, options: Mapping[str, Any] | None = None) -> Storage:
    """Return the storage at ``url``: a local path, ``file://…``, or any fsspec URL (``s3://bucket/prefix``, ``memory://…``).

    Raises DestinationError if the protocol is unknown, its options are wrong, or the URL holds a password, which
    whoever sees the URL would see; nothing is written.
    """
    if has_password(url):
        raise DestinationError(redact(url), f"the URL holds a password; {HOW_TO_GIVE_ONE}")
    return open_access(Access(url, options or {}))


def open_access(access: Access, grant: Callable[[], Access] | None = None) -> Storage:
    """Return the storage that ``access`` leads to; ``grant`` returns new credentials when these expire.

    Raises as :func:`open_storage` does.
    """
    protocol, _, rest = access.url.partition("://") if "://" in access.url else ("", "", access.url)
    if protocol in _LOCAL_PROTOCOLS:
        return LocalStorage(Path(rest).expanduser().absolute())
    from pipeline.storage.stores import open_store  # noqa: PLC0415  fsspec, which an export to a disk does not need

    return open_store(protocol, access, grant)
