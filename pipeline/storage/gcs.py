"""Google Cloud Storage, through gcsfs."""

import contextlib
import http.client
import logging
import os
import socket
import threading
import urllib.request
import uuid
from itertools import batched
from pathlib import Path
from typing import Any, override

from pipeline.storage.base import TEMPORARY, Extent
from pipeline.storage.multipart import ABORT_ERRORS, PartedStorage, Upload

_COMPOSED = 32  # sources of one compose request: cloud.google.com/storage/docs/composite-objects
_NEVER = 2**62
_METADATA = "169.254.169.254"
_STORE = "storage.googleapis.com:443"
_PRODUCT = Path("/sys/class/dmi/id/product_name")
_KNOCK_SECONDS = 2.0


class NoCredentialsError(Exception):
    """No credentials were found, and the store cannot be asked without any."""


def gcs_defaults(options: dict[str, Any]) -> dict[str, Any]:
    """Return the user's gcsfs options. Call it before gcsfs is imported.

    For a custom address (an emulator) gcsfs must not ask Google's control plane about the bucket, because it would wait
    for minutes. What it logs before it raises is left out: the error says it in one line.

    Raises NoCredentialsError.
    """
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    if options.get("endpoint_url") or os.environ.get("STORAGE_EMULATOR_HOST"):
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    elif not options.get("token") and not _has_credentials():
        # Google's library would ask the absent server of a machine in its cloud again and again, for a minute. Without
        # credentials, what everybody may read can still be read.
        os.environ["NO_GCE_CHECK"] = "true"
        if not urllib.request.getproxies() and not _answers(_STORE):
            raise NoCredentialsError
    return options


def _has_credentials() -> bool:
    """Whether Google's library may find credentials: in a file, or at the server that its machines ask for them."""
    home = Path.home()
    config = Path(os.environ.get("CLOUDSDK_CONFIG") or home / ".config/gcloud")
    files = (config / "application_default_credentials.json", home / ".gcs_tokens")
    if os.environ.get("GOOGLE_APPLICATION_CREDENTIALS") or any(file.exists() for file in files):
        return True
    if _PRODUCT.exists() and _PRODUCT.read_text(errors="replace").startswith("Google"):
        return True  # the server of a machine that has just started may need a moment
    return _is_of_google(os.environ.get("GCE_METADATA_HOST") or os.environ.get("GCE_METADATA_IP") or _METADATA)


def _is_of_google(address: str) -> bool:
    """Whether Google's server of credentials is at ``host:port``; other clouds have theirs at the same address."""
    try:
        with contextlib.closing(http.client.HTTPConnection(address, timeout=_KNOCK_SECONDS)) as connection:
            connection.request("GET", "/", headers={"Metadata-Flavor": "Google"})
            return connection.getresponse().getheader("Metadata-Flavor") == "Google"
    except (OSError, http.client.HTTPException):
        return False


def _answers(address: str) -> bool:
    """Whether a connection to ``host:port`` is accepted, soon."""
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()
    except OSError:
        return False
    return True


class GcsStorage(PartedStorage):
    """A bucket, or a prefix in it. It composes whole objects only, so ranges of other objects are sent."""

    least_copied = _NEVER

    @override
    def _begin(self, path: str) -> Upload:
        return _ComposedUpload(self, path)

    def _compose(self, path: str, sources: list[str]) -> None:
        full = [self._full(source) for source in sources]
        self._write_with(path, lambda fs, target: fs.merge(target, full))


class _ComposedUpload:
    """An upload whose parts are objects below the staging area, composed at the end, up to 32 at a time."""

    def __init__(self, storage: GcsStorage, path: str) -> None:
        self._storage = storage
        self._path = path
        self._folder = f"{TEMPORARY}/compose-{uuid.uuid4().hex}"
        self._made: list[str] = []
        self._parts: dict[int, str] = {}
        self._lock = threading.Lock()

    def put(self, number: int, data: bytes | bytearray) -> None:
        """Send a part."""
        name = f"{self._folder}/{number:05d}"
        with self._lock:
            self._made.append(name)
            self._parts[number] = name
        self._storage.write(name, bytes(data))

    def copy(self, number: int, source: Extent) -> None:
        """Send a part that is a range of another object."""
        self.put(number, self._storage.read_range(source.path, source.start, source.length))

    def complete(self, size: int) -> None:  # noqa: ARG002  a part that is missing is an error of the request
        """Compose the object and delete its parts."""
        sources = [name for _, name in sorted(self._parts.items())]
        level = 0
        while len(sources) > _COMPOSED:
            level += 1
            composed = []
            for number, group in enumerate(batched(sources, _COMPOSED)):
                composed.append(f"{self._folder}/{level}-{number:05d}")
                self._made.append(composed[-1])
                self._storage._compose(composed[-1], list(group))  # noqa: SLF001  the upload is part of the storage
            sources = composed
        self._storage._compose(self._path, sources)  # noqa: SLF001  as above
        self.abort()

    def abort(self) -> None:
        """Delete the parts."""
        with contextlib.suppress(*ABORT_ERRORS):
            self._storage.delete(self._made)
