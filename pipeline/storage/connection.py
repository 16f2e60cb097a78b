"""The file system behind a storage, reopened when its credentials expire."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import fsspec
from fsspec.asyn import sync

from pipeline.errors import DestinationError, StorageError, TransientError
from pipeline.redaction import redact
from pipeline.storage.base import Access
from pipeline.storage.store_errors import explain

_LEAST_SECONDS = 1.0
_KEPT = 2  # other threads may still be using the file systems of the last credentials
_CLOSE_SECONDS = 5


class Connection:
    """An fsspec file system and the path of the root in it.

    ``grant`` returns fresh credentials; without it, those of ``access`` are kept. Safe to use from several threads.
    """

    def __init__(
        self,
        access: Access,
        grant: Callable[[], Access] | None = None,
        defaults: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    ) -> None:
        self.url = redact(access.url).rstrip("/")
        self._access = access
        self._grant = grant
        self._defaults = defaults
        self._lock = threading.Lock()
        self._retired: deque[Any] = deque()
        self._filesystem: Any
        self._renew_at: float
        self.root = self._open(access)

    @property
    def protocols(self) -> frozenset[str]:
        """The names of the protocol."""
        protocol = self._filesystem.protocol
        return frozenset((protocol,) if isinstance(protocol, str) else protocol)

    @property
    def can_renew(self) -> bool:
        """Whether expired credentials can be replaced."""
        return self._grant is not None

    def filesystem(self) -> Any:
        """Return the file system, with credentials that are valid for a while."""
        if time.monotonic() >= self._renew_at:
            self.renew(self._filesystem)
        return self._filesystem

    def renew(self, stale: Any) -> None:
        """Reconnect, with new credentials if possible, unless another thread has done so since ``stale`` was used.

        Raises TransientError if the store does not answer, and what ``grant`` raises.
        """
        with self._lock:
            if self._filesystem is not stale:
                return
            access = self._grant() if self._grant else self._access
            if redact(access.url).rstrip("/") != self.url:
                raise StorageError(self.url, "the storage has moved to another address; run the same command again")
            try:
                self._open(access)
            except DestinationError as error:
                raise TransientError(*error.args) from error
            self._retired.append(stale)
            while len(self._retired) > _KEPT:
                _close(self._retired.popleft())

    def close(self) -> None:
        """Close the clients of the file system, in their own loop. A later use connects again."""
        with self._lock:
            while self._retired:
                _close(self._retired.popleft())
            _close(self._filesystem)
            self._renew_at = 0.0

    def _open(self, access: Access) -> str:
        try:
            # An instance in the cache of fsspec would keep its credentials.
            self._filesystem, root = fsspec.url_to_fs(
                access.url, **{"skip_instance_cache": True, **self._defaults(dict(access.options))}
            )
            # Another process writes here too: a cached listing would hide its files, even from exists(). This is not
            # an option in the call, because file systems without such a cache (sshfs) pass it to their connection.
            self._filesystem.dircache.use_listings_cache = False
        except (ImportError, ValueError, TypeError) as error:
            raise DestinationError(redact(access.url), f"cannot open this storage: {error}") from error
        except Exception as error:  # some connect at once, with their own errors
            raise DestinationError(self.url, explain(error, self.url)) from error
        # At half their life, so that running requests can still finish. If the clocks disagree and no time seems to be
        # left, a refusal leads to new credentials.
        lifetime = access.seconds if access.seconds and access.seconds > 0 else float("inf")
        self._renew_at = time.monotonic() + max(lifetime / 2, _LEAST_SECONDS)
        return str(root).rstrip("/")


def _close(filesystem: Any) -> None:
    """Close the clients of an asynchronous file system in its own loop.

    Otherwise its finalizer closes them in whatever loop is running then, where the last answers never arrive.
    """
    for name, end in (("_s3creator", "__aexit__"), ("_session", "__aexit__"), ("_pool", "close"), ("_stack", "aclose")):
        client = getattr(filesystem, name, None)  # s3fs, gcsfs, and both of sshfs
        close = getattr(client, end, None)
        if close is not None:
            arguments = (None, None, None) if end == "__aexit__" else ()
            with contextlib.suppress(Exception):  # it is no longer used, so its errors do not matter
                sync(filesystem.loop, close, *arguments, timeout=_CLOSE_SECONDS)
