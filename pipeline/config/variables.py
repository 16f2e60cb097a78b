"""Secrets of a configuration: ``${VAR}`` is expanded from the environment, and required for them."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.config.plain_values import Problem, leaves
from pipeline.config.yaml_text import KeyPath
from pipeline.errors import ConfigError
from pipeline.redaction import HOW_TO_GIVE_ONE, has_password, is_signed

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# Names of options as the libraries of stores have them; what they call a secret is never the name of something else.
_SECRET_KEY = re.compile(
    r"secret|token|passw|passphrase|passcode|pwd|credential|private_?key|access_?key|key$|sas|connection_?str|conn_?str"
    r"|authori[sz]ation|auth$|cookie|signature",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"-----BEGIN|(Account|SharedAccess)Key\s*=|SharedAccessSignature\s*=|^\s*(Bearer|Basic)\s", re.IGNORECASE
)
# A format may call something else a key or a token.
_SECRET_OPTION = re.compile(
    r"secret|passw|passphrase|credential|(private|access|account|api)_?key|connection_?str|authori[sz]ation",
    re.IGNORECASE,
)
_OF_FORMATS = ("format", "formats", "extra_params")
_PLACES = (("path",), ("split", "file"), ("classes", "lock"))


def expand_variables(value: Any, where: str) -> Any:
    """Return ``value`` with every ``${VAR}`` in its strings replaced from the environment.

    Raises ConfigError naming ``where`` and the variable when it is not set.
    """
    if isinstance(value, str):

        def replace(match: re.Match[str]) -> str:
            name = match.group(1)
            if name not in os.environ:
                raise ConfigError(where, f"environment variable {name} is not set")
            return os.environ[name]

        return _VARIABLE.sub(replace, value)
    if isinstance(value, dict):
        return {key: expand_variables(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [expand_variables(item, f"{where}[{position}]") for position, item in enumerate(value)]
    return value


def exposed_secrets(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Return every secret in a configuration that others would see: in a message, a summary, a task argument.

    A secret belongs into ``storage_options``, as a reference to a variable, and nowhere else.
    """
    for path, value in leaves(values):
        if value in (None, "") or isinstance(value, bool):
            continue
        name = next((part for part in reversed(path[1:]) if isinstance(part, str)), "")
        problem = _in_options(name, str(value)) if path[0] == "storage_options" else _elsewhere(path, name, str(value))
        if problem:
            yield path, problem


def _in_options(name: str, text: str) -> str:
    if _VARIABLE.search(text):
        return ""
    if _SECRET_KEY.search(name) or _SECRET_VALUE.search(text) or has_password(text) or is_signed(text):
        return "holds a secret in plain text; write ${VARIABLE} and set it in the environment"
    return ""


def _elsewhere(path: KeyPath, name: str, text: str) -> str:
    if has_password(text):
        return f"holds a URL with a password; {HOW_TO_GIVE_ONE}"
    if is_signed(text) or (path in _PLACES and "://" in text and "?" in text):
        return (
            "holds a URL with a query, which may be a signature, and the configuration is published; write the URL "
            "without it and give credentials in storage_options, or fetch the file and name that"
        )
    if path[0] in _OF_FORMATS and _SECRET_OPTION.search(name):
        return "holds a secret, and options of formats are published; let the format read the environment itself"
    return ""
