"""The file system behind a storage, opened anew when its credentials run out."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import fsspec
import msgspec
from fsspec.asyn import sync

from pipeline.errors import DestinationError, StorageError, TransientError
from pipeline.storage.base import without_query
from pipeline.storage.store_errors import explain

_LEAST_SECONDS = 1.0
_KEPT = 2  # other threads may still be using the file systems of the last credentials
_CLOSE_SECONDS = 5


class Access(msgspec.Struct, frozen=True):
    """Where a storage is and how it is opened: a URL (or local path) and fsspec options with the credentials.

    ``seconds`` is how long the credentials are good for, None when they do not run out. Secret: for one process, and
    never written down.
    """

    url: str
    options: Mapping[str, Any]
    seconds: float | None = None


class Connection:
    """An fsspec file system and the path of the root in it.

    ``grant`` gives fresh credentials; without it those of ``access`` have to do. Safe to use from several threads.
    """

    def __init__(
        self,
        access: Access,
        grant: Callable[[], Access] | None = None,
        defaults: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    ) -> None:
        self.url = without_query(access.url).rstrip("/")
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
        """The names of the protocol that is spoken."""
        protocol = self._filesystem.protocol
        return frozenset((protocol,) if isinstance(protocol, str) else protocol)

    @property
    def can_renew(self) -> bool:
        """Whether credentials that have run out can be replaced."""
        return self._grant is not None

    def filesystem(self) -> Any:
        """The file system, with credentials that are good for a while."""
        if time.monotonic() >= self._renew_at:
            self.renew(self._filesystem)
        return self._filesystem

    def renew(self, stale: Any) -> None:
        """Connect anew, with new credentials where they can be had, unless another thread has since ``stale`` was used.

        Raises TransientError when nobody answers, and what ``grant`` raises.
        """
        with self._lock:
            if self._filesystem is not stale:
                return
            access = self._grant() if self._grant else self._access
            if without_query(access.url).rstrip("/") != self.url:
                raise StorageError(self.url, "the storage is at another place now; run the same command again")
            try:
                self._open(access)
            except DestinationError as error:
                raise TransientError(*error.args) from error
            self._retired.append(stale)
            while len(self._retired) > _KEPT:
                _close(self._retired.popleft())

    def _open(self, access: Access) -> str:
        try:
            # An instance that fsspec keeps would keep the credentials too.
            self._filesystem, root = fsspec.url_to_fs(
                access.url, **{"skip_instance_cache": True, **self._defaults(dict(access.options))}
            )
            # Another process writes here too: a cached listing would hide its files, even from exists(). Not asked for
            # as an option, because file systems without such a cache (sshfs) take it for one of their connection.
            self._filesystem.dircache.use_listings_cache = False
        except (ImportError, ValueError, TypeError) as error:
            raise DestinationError(without_query(access.url), f"cannot open this storage: {error}") from error
        except Exception as error:  # some connect at once, with errors of their own
            raise DestinationError(self.url, explain(error, self.url)) from error
        # At half their life: what is begun with them can still be finished. Where the clocks disagree and nothing
        # seems to be left, a refusal tells.
        lifetime = access.seconds if access.seconds and access.seconds > 0 else float("inf")
        self._renew_at = time.monotonic() + max(lifetime / 2, _LEAST_SECONDS)
        return str(root).rstrip("/")


def _close(filesystem: Any) -> None:
    """Close the client of an asynchronous file system in its own loop; left alone it ends in whichever is running."""
    for name in ("_s3creator", "_session"):  # s3fs, gcsfs
        client = getattr(filesystem, name, None)
        if client is not None:
            with contextlib.suppress(Exception):  # nobody needs it any more, whatever it says
                sync(filesystem.loop, client.__aexit__, None, None, None, timeout=_CLOSE_SECONDS)
