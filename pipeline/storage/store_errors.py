"""Classify and explain the errors of object stores without importing the stores' libraries.

If the code of an error is known, the store's own message is left out, because it names no fix.
"""

from collections.abc import Iterator
from enum import Enum, auto
from typing import Any

from pipeline.storage.base import describe


class Trouble(Enum):
    """What an error of a store means for the request."""

    ABSENT = auto()
    """The object does not exist."""
    EXISTS = auto()
    """The object exists and must not be replaced."""
    DENIED = auto()
    """The credentials are wrong, have expired, or do not allow this."""
    PASSING = auto()
    """The store is in trouble; the same request may succeed later."""
    LOST = auto()
    """The connection is gone; over a new one the same request may succeed."""
    UNREACHABLE = auto()
    """The address does not answer, and the library has already retried for a while."""
    FINAL = auto()
    """Anything else: repeating the request will not help."""


_EXPIRED = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired", "RequestExpired"}
)
_UNKNOWN_KEY = frozenset(
    {"InvalidAccessKeyId", "InvalidClientTokenId", "InvalidTokenId", "UnrecognizedClientException"}
)
_FORBIDDEN = frozenset({"AccessDenied", "AllAccessDisabled", "AccountProblem", "403", "Forbidden"})
_ELSEWHERE = frozenset(
    {"PermanentRedirect", "Redirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
_BUSY = frozenset(
    {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "OperationAborted", "Throttling"}
    | {"ThrottlingException", "RequestLimitExceeded", "IncompleteBody", "BadDigest"}
    | {"408", "429", "500", "502", "503", "504"}
)
_CONFLICT = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})
_NO_CREDENTIALS = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "DefaultCredentialsError"}
)
_UNREACHABLE = frozenset(
    {"EndpointConnectionError", "ConnectTimeoutError", "ClientConnectorError", "ClientConnectorDNSError"}
)
_NO_ANSWER = frozenset({"ConnectionRefusedError", "gaierror"})
_LOST = frozenset(
    {"SFTPNoConnection", "SFTPConnectionLost", "ConnectionLost", "ChannelOpenError", "SMBConnectionClosed"}
)
_CUT = frozenset(
    {"HTTPClientError", "ReadTimeoutError", "ConnectionClosedError", "ResponseStreamingError", "ResponseParserError"}
    | {"IncompleteReadError", "ChecksumError", "ClientPayloadError", "ServerDisconnectedError", "ClientOSError"}
    | {"FSTimeoutError", "ChunkedEncodingError", "ProxyError", "IncompleteRead"}
)


def trouble_of(error: BaseException) -> Trouble:
    """Classify an error. Errors that do not come from a store are final."""
    code, names = code_of(error), _names(error)
    if code in _CONFLICT or isinstance(error, FileExistsError):
        return Trouble.EXISTS
    if code in {"NoSuchKey", "404", "NotFound", "NoSuchUpload"}:
        return Trouble.ABSENT
    # 400 without a code is how S3 answers HEAD with an expired token: such an answer has no body that says so.
    refused = _EXPIRED | _UNKNOWN_KEY | _FORBIDDEN | {"400", "401", "SignatureDoesNotMatch"}
    if code in refused or "RefreshError" in names:
        return Trouble.DENIED
    if names & _UNREACHABLE:
        return Trouble.UNREACHABLE
    if names & _LOST:
        return Trouble.LOST
    if code in _BUSY or names & _CUT:
        return Trouble.PASSING
    if code or names & _NO_CREDENTIALS:
        return Trouble.FINAL
    if isinstance(error, FileNotFoundError):
        return Trouble.ABSENT
    if isinstance(error, PermissionError) or (isinstance(error, OSError) and str(error).startswith("Forbidden")):
        return Trouble.DENIED
    if isinstance(error, TimeoutError | ConnectionError):
        return Trouble.PASSING
    return Trouble.FINAL


def explain(error: BaseException, url: str) -> str:
    """Return one line that says what is wrong and what to do; ``url`` is that of the root, whose bucket is named."""
    code, names = code_of(error), _names(error)
    bucket = url.partition("://")[2].partition("/")[0]
    if code == "NoSuchBucket":
        return f"there is no bucket {bucket!r}; create it, or correct path"
    if code in _EXPIRED or "RefreshError" in names:
        return "the credentials have expired; set new ones and run the same command again"
    if code in _UNKNOWN_KEY:
        return (
            "the store does not know the access key; check storage_options.key (or AWS_ACCESS_KEY_ID), "
            "and endpoint_url for a store that is not AWS"
        )
    if code == "SignatureDoesNotMatch":
        return "the secret key is not that of the access key; check storage_options.secret (or AWS_SECRET_ACCESS_KEY)"
    if code in _ELSEWHERE:
        region = _region(error)
        return (
            f"bucket {bucket!r} is in another region{f' ({region})' if region else ''}; "
            f"set storage_options.client_kwargs.region_name{f': {region}' if region else ''} (or AWS_DEFAULT_REGION)"
        )
    if code == "RequestTimeTooSkewed":
        return "this machine's clock is more than 15 minutes off; correct it"
    if code == "401":
        return "the credentials are not accepted; check storage_options.token (or GOOGLE_APPLICATION_CREDENTIALS)"
    if names & _NO_CREDENTIALS:
        return (
            "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or storage_options.key and "
            "secret), for Google GOOGLE_APPLICATION_CREDENTIALS (or storage_options.token)"
        )
    if names & (_UNREACHABLE | _NO_ANSWER):
        return "the store cannot be reached; check its address (endpoint_url, or host and port) and the network"
    if "HostKeyNotVerifiable" in names:
        return "the server's key is not in known_hosts; find out why before you add it"
    if "PermissionDenied" in names:
        return "the server refuses this user; check username, and password or key, in storage_options"
    if trouble_of(error) is Trouble.DENIED:
        return "the credentials do not allow this; they need to read, write, list and delete objects there"
    return describe(error)


def code_of(error: BaseException) -> str:
    """Return the store's own code of an error (``NoSuchBucket``, ``503``), or ``""`` if it has none."""
    for link in _chain(error):
        response = getattr(link, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        code = getattr(link, "code", None)
        if type(link).__name__ == "HttpError" and code:
            return str(code)
    return ""


def _region(error: BaseException) -> str:
    for link in _chain(error):
        response: Any = getattr(link, "response", None)
        if isinstance(response, dict):
            headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            return str(response.get("Error", {}).get("Region") or headers.get("x-amz-bucket-region") or "")
    return ""


def _names(error: BaseException) -> frozenset[str]:
    """Return the class names of an error and of its causes, so that their libraries need not be imported."""
    return frozenset(kind.__name__ for link in _chain(error) for kind in type(link).__mro__)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__
