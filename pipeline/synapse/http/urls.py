"""Parse URLs safely, redact them for messages, and keep requests on the API's own server."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlencode

from yarl import URL

from pipeline.errors import BackendError

_MEDIA = "media"
_SIGNATURE = re.compile(r"(?:^|&)[^=&]*(?:signature|\bsig)=", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x20\x7f]")


def parse_url(text: str) -> URL:
    """Parse a whole URL, byte for byte if it is properly quoted, because its signature covers that.

    Raises BackendError.
    """
    text = text.strip()
    try:
        url = URL(text, encoded=_is_quoted(text))
        _ = url.raw_host, url.port  # these are only checked when they are read
    except ValueError:
        # Not "from error": the ValueError quotes the query.
        raise BackendError(redacted_url(text), "is not a valid URL") from None
    return url


def redacted_url(url: str | URL) -> str:
    """Return what a message may show of a URL: scheme, host and path, without user, query and fragment."""
    text = str(url).split("?", 1)[0].split("#", 1)[0]
    scheme, separator, rest = text.rpartition("://")
    authority, slash, path = rest.partition("/")
    text = f"{scheme}{separator}{authority.rpartition('@')[2] if separator else authority}{slash}{path}"
    return re.sub(r"[^\x20-\x7e]", "?", text)[:300]


class ApiUrls:
    """The URLs of one API server, whose ``params`` go with every request. Raises ValueError for a bad ``base_url``.

    ``origin`` is scheme, host and port, safe to print; ``host`` is the bare host.
    """

    def __init__(self, base_url: str, params: Mapping[str, str]) -> None:
        self._base = URL(base_url.rstrip("/"))
        if self._base.scheme not in ("http", "https") or not self._base.host:
            raise ValueError("not an http or https URL")
        self._params = dict(params)
        self.origin = str(self._base.origin())
        self.host = self._base.raw_host or ""
        self.is_secure = self._base.scheme == "https"

    def of_request(self, address: str, params: Mapping[str, str]) -> URL:
        """Return the URL of an API request from a path below the base URL or a ``next`` link.

        It is always on this server: raises BackendError for a link that points anywhere else.
        """
        if "://" in address or address.startswith("//"):
            link = parse_url(address)
            if not self._is_own(link):
                raise BackendError(
                    redacted_url(address), f"a link to another server than {self.origin} is not followed"
                )
            address = link.raw_path_qs
        if address.startswith("/"):
            path, _, query = address.partition("?")
        else:
            path, _, query = f"{self._base.raw_path.rstrip('/')}/{address}".partition("?")
        given = dict(parse_qsl(query, keep_blank_values=True))
        return self._at_base(path, urlencode({**self._params, **given, **params}))

    def of_own_file(self, address: str) -> URL | None:
        """Return the URL of a file that is given as a path on this server, or None if ``address`` is a whole URL.

        Raises BackendError for a path that is not one of files: with the token, any answer of the API would come.
        """
        if "://" in address or address.startswith("//"):
            return None
        path, _, query = address.partition("?")
        if not _is_media_path(path):
            problem = f"is not the path of a file; the API's server keeps files below /{_MEDIA}/ only"
            raise BackendError(redacted_url(path), problem)
        return self._at_base(f"{self._base.raw_path.rstrip('/')}/{path.lstrip('/')}", query)

    def _is_own(self, link: URL) -> bool:
        base = self._base
        if (link.host or "").lower() != base.host or link.user or link.password:
            return False
        # Behind a proxy that ends TLS, servers often write http into their own links. Only the path is used.
        behind_proxy = (link.scheme, link.port, base.scheme, base.port) == ("http", 80, "https", 443)
        return behind_proxy or (link.scheme, link.port) == (base.scheme, base.port)

    def _at_base(self, path: str, query: str) -> URL:
        if not _is_quoted(path + query):
            raise BackendError(redacted_url(path), "is not a valid URL")
        base = self._base
        return URL.build(scheme=base.scheme, authority=base.raw_authority, path=path, query_string=query, encoded=True)


def is_signed(url: URL) -> bool:
    """Whether a URL carries a signature, so that nothing else has to prove who asks."""
    return _SIGNATURE.search(url.raw_query_string) is not None


def _is_media_path(path: str) -> bool:
    """Whether a path stays below the folder of files, however a server decodes it."""
    steps = unquote(unquote(path)).replace("\\", "/").lstrip("/").split("/")
    return steps[0] == _MEDIA and len(steps) > 1 and not any(step in (".", "..") for step in steps)


def parse_file_url(text: str) -> URL:
    """Parse the whole URL of a file. Raises BackendError if no file can be fetched from it."""
    url = parse_url(text)
    if url.scheme not in ("http", "https") or not url.raw_host:
        raise BackendError(redacted_url(text), "is not the URL of a file; it must begin with http:// or https://")
    if url.raw_user or url.raw_password:
        raise BackendError(redacted_url(text), "a URL with a user name or password in it is not fetched")
    return url


def _is_quoted(text: str) -> bool:
    """Whether a URL can go into a request line as it is."""
    return text.isascii() and not _CONTROL.search(text)
