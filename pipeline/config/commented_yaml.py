"""Values as the YAML of a configuration, with comments."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml


def yaml_of(values: Mapping[str, Any], notes: Mapping[str, str]) -> str:
    """The values as YAML, each key with its note as a comment behind it, inner keys named as ``filter.project``."""
    head = "# Made by synapse-export. Keys: docs/configuration.md; the token is never in this file.\n"
    return head + "".join(f"{line}\n" for line in _lines(values, notes, ""))


def _lines(values: Mapping[str, Any], notes: Mapping[str, str], outer: str) -> Iterator[str]:
    indent = "  " * bool(outer)
    for key, value in values.items():
        path = f"{outer}{key}"
        # A name from the server ends no comment and drives no terminal.
        note = "".join(c if c.isprintable() else "\ufffd" for c in notes.get(path, ""))
        behind = f" # {note}" if note else ""
        if isinstance(value, Mapping) and value and not outer:
            yield f"{yaml_scalar(key)}:{behind}"
            yield from _lines(value, notes, f"{path}.")
        else:
            yield f"{indent}{yaml_scalar(key)}: {yaml_scalar(value)}{behind}"


def yaml_scalar(value: Any) -> str:
    """A value on one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")
