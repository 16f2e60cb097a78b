"""What may be shown of a URL. Everything that is printed, staged or published about one goes through here."""

import re

_URL = re.compile(r"""([A-Za-z][A-Za-z0-9+.-]*://)([^\s"'<>]*)""")
_USER_WITH_PASSWORD = re.compile(r"(?![^:]*:\d*([/?#]|$))[^:/?#]*:")  # what looks like a port is none
_QUERY = re.compile(r"[?#].*?(?=[.,:;)\]}]*$)")  # without the punctuation of the sentence that it ends
_SIGNED = re.compile(r"[?&]([^=&]*[-_.])?(sig|signature|token|secret|passw(or)?d|credential|api_?key)=", re.IGNORECASE)

HOW_TO_GIVE_ONE = (
    "write it without, and give what is secret in the storage_options of a configuration: "
    "{username: …, password: ${VARIABLE}}, or what that storage calls them"
)
"""What to do instead of writing a password into a URL, as the end of a sentence."""


def redact(text: str) -> str:
    """Return the text, with only scheme, host and path of every URL: no password, no query, no fragment.

    A query may be a signature, and which of its names are secret is known to its server only.
    """
    return _URL.sub(_without_secrets, text) if "://" in text else text


def has_password(text: str) -> bool:
    """Return whether a URL in the text holds a password, or a token in place of a user."""
    return any(_without_user(match) != match[2] for match in _URL.finditer(text)) if "://" in text else False


def is_signed(text: str) -> bool:
    """Return whether a URL in the text has a query that looks like a signature."""
    return any(_SIGNED.search(match[2]) for match in _URL.finditer(text)) if "://" in text else False


def _without_secrets(match: re.Match[str]) -> str:
    return match[1] + _QUERY.sub("", _without_user(match), count=1)


def _without_user(match: re.Match[str]) -> str:
    """Return what follows the user of a URL who has a password. ``container@account`` of Azure has none.

    For http a lone user is a secret, too: many servers take a token for it.
    """
    rest = match[2]
    user, at, place = rest.rpartition("@")  # a password may hold "@", "/" and "?", against the rules
    if at and _USER_WITH_PASSWORD.match(user):
        return place
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if match[1].lower() in ("http://", "https://") and "@" in authority:
        return rest[authority.rindex("@") + 1 :]
    return rest
