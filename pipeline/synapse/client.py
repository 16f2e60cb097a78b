"""The Synapse API as one process uses it, with the credentials and single calls of the Synapse SDK.

The SDK finds the token and makes the single calls (project, version, storage session); its exceptions are turned into
ours here. Pages, payloads and originals go over :class:`~pipeline.synapse.http.transport.Transport` with the same
headers.
"""

import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn, Self

from pydantic import ValidationError
from synapse_sdk import exceptions as sdk
from synapse_sdk.utils.auth import CONFIG_FILE, create_backend_client, create_backend_client_v2
from synapse_sdk.utils.storage.errors import StorageError as SdkStorageError
from synapse_sdk.utils.storage.provider import BackendSessionProvider

from pipeline.errors import BackendError, CredentialsError, PreflightError, TransientError
from pipeline.storage import Access
from pipeline.synapse.http.answers import server_message
from pipeline.synapse.http.sdk_adapter import BoundedAdapter
from pipeline.synapse.http.transport import Transport
from pipeline.synapse.http.tries import RequestLimits

CALL_TRIES = 3
"""Tries of one SDK call if the server is in trouble; a host that cannot be reached is tried once."""

_OPENED = "it opens file_system, amazon_s3, minio, gcp, sftp and smb; for another give its URL as path"
_UNWRITABLE = {"http": "is read-only", "https": "is read-only", "synology": "cannot be written by the Synapse SDK"}


class SynapseClient(Transport):
    """One connection to a Synapse backend. Holds a token: never pickled, never passed to another process."""

    def __init__(
        self, backend: Any, *, requests: int = 32, limits: RequestLimits | None = None, file_hosts: Iterable[str] = ()
    ) -> None:
        headers = backend._get_headers()  # noqa: SLF001  the SDK's header rule, the same in all its versions
        if not all(text.isascii() and text.isprintable() for text in headers.values()):
            problem = "the access token has a letter or a line break that no token has; copy it again, as one line"
            raise CredentialsError(problem)
        try:
            super().__init__(
                backend.base_url,
                headers=headers,
                params=backend.default_params,
                requests=requests,
                limits=limits,
                file_hosts=file_hosts,
            )
        except ValueError:
            raise PreflightError("SYNAPSE_HOST", "must be a URL like https://api.synapse.sh") from None
        self.clock_ahead: float | None = None
        """By how many seconds this machine's clock was ahead of the server's when the SDK was last answered. Servers
        tell their time in whole seconds, and None is for one that does not tell it."""
        self._backend = backend
        self._bound(backend)

    @classmethod
    def from_environment(
        cls, *, requests: int = 32, limits: RequestLimits | None = None, file_hosts: Iterable[str] = ()
    ) -> Self:
        """Make a client with the credentials that the Synapse SDK finds: environment variables, then its config file.

        Raises CredentialsError if there are none. Sends no request.
        """
        try:
            backend = create_backend_client()
        except (AttributeError, TypeError):  # a host that is a number, a list in place of an object
            raise CredentialsError(f"{CONFIG_FILE} is not what 'synapse login' writes; run 'synapse login'") from None
        if backend is None:
            raise _no_token()
        return cls(backend, requests=requests, limits=limits, file_hosts=file_hosts)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled, because the pickle would hold the token."""
        raise TypeError("a SynapseClient holds a token; make a new one in the other process")

    def close(self) -> None:
        """Close all connections; the client cannot be used afterwards."""
        self._backend.close()
        super().close()

    def project(self, number: int) -> dict[str, Any]:
        """Return the project's own record: ``title``, ``configuration`` and more."""
        return self._object(f"project {number}", lambda: self._backend.get_project(number))

    def ground_truth_version(self, number: int) -> dict[str, Any]:
        """Return a ground truth dataset version: ``version``, ``ground_truth_dataset`` and more."""
        return self._object(
            f"ground truth dataset version {number}", lambda: self._backend.get_ground_truth_version(number)
        )

    def ground_truth_project(self, dataset: int) -> int | None:
        """Return the project in which a ground truth dataset was made, or None. Needs the v2 API."""
        found = self.answer(f"ground truth dataset {dataset}", f"v2/ground-truth-datasets/{dataset}/")
        project = found.get("project_id") if isinstance(found, dict) else None
        return project if isinstance(project, int) and abs(project) < 2**63 else None

    def answer(self, what: str, address: str, params: Mapping[str, str] | None = None) -> dict[str, Any] | list[Any]:
        """Return the JSON object or list at ``address``: a path below the API's address, or a ``next`` link.

        Paths below ``v2/`` are asked with the credentials as the v2 API wants them; of its envelope only what is inside
        is returned, for a list ``results`` and ``next``. ``what`` names it in errors. Raises CredentialsError,
        PreflightError, TransientError, or BackendError for a link to another server.
        """
        url = self.urls.of_request(address, params or {})
        is_second = url.raw_path.removeprefix(self.urls.of_request("", {}).raw_path).startswith("v2/")
        with self._second() if is_second else nullcontext(self._backend) as backend:
            # The SDK's own methods cover a few of these lists only, and its models refuse null.
            found: dict[str, Any] | list[Any] = self._json(
                what,
                lambda: backend._get(str(url)),  # noqa: SLF001
                (Mapping, list),
            )
            return found

    @contextmanager
    def _second(self) -> Iterator[Any]:
        """The SDK's client of the v2 API. It finds the same credentials, which are sent in other headers."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of plain http, which the other client accepts in silence
            second = create_backend_client_v2()
        if second is None:
            raise _no_token()
        self._bound(second)
        try:
            yield second
        finally:
            second.reset_connection()

    def open_storage(self, number: int, path: str, purpose: str = "write") -> Access:
        """Return where ``path`` in a Synapse storage is and how to open it; the credentials expire with the session.

        Raises PreflightError if the storage does not exist, cannot be written, or ``path`` leaves it.
        """
        what = f"storage {number}"
        if "\\" in path or "\0" in path or any(part == ".." for part in path.split("/")):
            raise PreflightError("path", f"{path!r} must stay inside {what}")

        def open_session() -> Any:
            try:
                return BackendSessionProvider(self._backend).open(number, purpose=purpose)
            except ValidationError as error:
                # Only the kind of storage may be quoted: everything else may be a secret.
                kinds = [problem["input"] for problem in error.errors() if problem["loc"] == ("provider",)]
                if not kinds:
                    raise
                problem = (
                    f"is a storage of the kind {str(kinds[0])[:40]!r}, which the Synapse SDK cannot open; {_OPENED}"
                )
                raise PreflightError(what, problem) from None

        session = self._call(what, open_session)
        provider = str(session.provider)
        if provider in _UNWRITABLE:
            raise PreflightError(what, f"is a {provider} storage, which {_UNWRITABLE[provider]}")
        place = self._call(what, lambda: session.path(path))
        if not hasattr(place, "storage_options"):
            return Access(os.path.abspath(place), {})
        ends = session.expires_at
        seconds = None if ends is None else (ends - datetime.now(UTC)).total_seconds()
        return Access(str(place), dict(place.storage_options), seconds)

    def _bound(self, backend: Any) -> None:
        """The SDK's session would repeat a refused connection for twelve seconds, follow redirects with the token, and
        read an answer without end.
        """
        session = backend.requests_session
        session.max_redirects = 0
        session.hooks["response"].append(self._note_clock)
        for scheme in ("http://", "https://"):
            session.mount(scheme, BoundedAdapter(self.limits))

    def _note_clock(self, response: Any, *_: Any, **__: Any) -> None:
        with suppress(ValueError, OverflowError):  # a server may say anything: then nothing is compared
            told = parsedate_to_datetime(response.headers.get("Date", ""))
            self.clock_ahead = (datetime.now(UTC) - told.astimezone(UTC)).total_seconds()

    # The border between the SDK's exceptions and ours

    def _object(self, what: str, call: Callable[[], Any]) -> dict[str, Any]:
        found: dict[str, Any] = self._json(what, call, (Mapping,))
        return found

    def _json(self, what: str, call: Callable[[], Any], kinds: tuple[type, ...]) -> Any:
        def call_for_json() -> Any:
            answer = call()
            if not isinstance(answer, kinds):
                raise _NotJsonError
            # Half of a surrogate pair in a text could not be staged.
            return json.loads(json.dumps(answer, ensure_ascii=False).encode(errors="replace"))

        return self._call(what, call_for_json)

    def _call[T](self, what: str, call: Callable[[], T]) -> T:
        for attempt in range(1, CALL_TRIES + 1):
            try:
                return call()
            except _NotJsonError:
                if attempt == CALL_TRIES:
                    problem = f"answers with a text instead of {what}; is SYNAPSE_HOST the address of the API itself?"
                    raise PreflightError(self.origin, problem) from None
            except sdk.ClientError as error:
                if "redirect" in str(error.detail).lower():
                    problem = "answers with a redirect; is SYNAPSE_HOST the address of the API itself?"
                    raise PreflightError(self.origin, problem) from None
                if attempt == CALL_TRIES or not _may_pass(error):
                    self._raise(what, error)
            except SdkStorageError as error:
                raise PreflightError(what, f"cannot be used: {type(error).__name__.removesuffix('Error')}") from None
            except (ImportError, KeyError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
                # The SDK's own models refuse a configuration; what they say may quote the secrets in it.
                raise PreflightError(what, f"the Synapse SDK cannot use it ({type(error).__name__})") from None
            time.sleep(self.limits.backoff.wait(attempt))
        raise AssertionError  # the loop returns or raises

    def _raise(self, what: str, error: sdk.ClientError) -> NoReturn:
        # A text is the SDK's own or a proxy's page, and may quote an address; JSON is what the API itself says.
        said = server_message(error.detail, self._headers) if isinstance(error.detail, dict | list) else ""
        match error:
            case sdk.AuthenticationError():
                refused = "does not accept the access token (HTTP 401); set SYNAPSE_ACCESS_TOKEN or run 'synapse login'"
                problem: Exception = CredentialsError(self.origin, refused)
            case sdk.AuthorizationError():
                problem = PreflightError(what, f"{self.origin} refuses access with this token (HTTP 403)")
            case sdk.NotFoundError():
                problem = PreflightError(what, f"is not on {self.origin}, or this token's member has no role in it")
            case sdk.ClientConnectionError() | sdk.ClientTimeoutError():
                reason = "gives no answer in time" if isinstance(error, sdk.ClientTimeoutError) else "cannot be reached"
                problem = TransientError(self.origin, f"{reason}; is SYNAPSE_HOST right?")
            case sdk.ServerError() | sdk.RateLimitError():
                problem = TransientError(self.origin, f"answered HTTP {error.status_code} when asked for {what}")
            case sdk.ValidationError():
                problem = PreflightError(what, f"was refused (HTTP {error.status_code})", said)
            case _:
                problem = BackendError(what, f"HTTP {error.status_code}", said)
        raise problem from None


class _NotJsonError(Exception):
    """The SDK returned a text: a body with status 200 that is not JSON, such as a login page or half an answer."""


def _no_token() -> CredentialsError:
    return CredentialsError("no Synapse access token; set SYNAPSE_ACCESS_TOKEN or run 'synapse login'")


def _may_pass(error: sdk.ClientError) -> bool:
    """Whether a retry within seconds may help; it does not if the host does not exist."""
    if isinstance(error, sdk.ServerError | sdk.RateLimitError):
        return True
    return isinstance(error, sdk.ClientConnectionError) and "connection error" in str(error.detail)
