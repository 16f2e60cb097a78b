"""``${VAR}`` in a configuration: expanded from the environment, and required for secrets."""

import os
import re
from typing import Any

from pipeline.errors import ConfigError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET_KEY = re.compile(
    r"secret|token|password|passwd|credential|private_key|access_key|account_key|^key$|sas", re.IGNORECASE
)


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


def refuse_literal_secrets(options: Any, path: str = "storage_options") -> None:
    """Raise ValueError for an option that holds a secret in plain text; the message calls it ``path``."""
    if isinstance(options, dict):
        for key, value in options.items():
            where = f"{path}.{key}"
            if isinstance(value, str) and _SECRET_KEY.search(str(key)) and value and not _VARIABLE.search(value):
                raise ValueError(
                    f"{where} holds a secret in plain text; write ${{VARIABLE}} and set it in the environment"
                )
            refuse_literal_secrets(value, where)
    elif isinstance(options, list):
        for position, value in enumerate(options):
            refuse_literal_secrets(value, f"{path}[{position}]")
