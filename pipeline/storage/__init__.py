"""Where an export is written: a root and paths relative to it, with writes that are never seen half done.

Every write of the pipeline goes through here. A file appears under its final name complete or not at all: locally
through a temporary name on the same file system and ``os.replace``, on object stores by one PUT or a multipart
upload that is aborted on error. A bare ``with fs.open(path, "wb")`` publishes what was written so far when the
block raises, so no other module opens an output.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.storage.base import STAGING, Storage, check_relative, describe
from pipeline.storage.local import LocalStorage
from pipeline.storage.remote import open_remote

__all__ = ["STAGING", "LocalStorage", "Storage", "check_relative", "describe", "open_storage"]

_LOCAL_PROTOCOLS = ("", "file", "local")


def open_storage(url: str, options: Mapping[str, Any] | None = None) -> Storage:
    """The storage at ``url``: a local path, ``file://…``, or any fsspec URL (``s3://bucket/prefix``, ``memory://…``).

    Raises DestinationError when the protocol is unknown or its options are wrong; nothing is written.
    """
    protocol, _, rest = url.partition("://") if "://" in url else ("", "", url)
    if protocol in _LOCAL_PROTOCOLS:
        return LocalStorage(Path(rest).expanduser().absolute())
    return open_remote(url, options or {})
