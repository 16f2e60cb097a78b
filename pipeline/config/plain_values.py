"""What no value of a configuration may be, wherever it stands: the stages, stores and readers could not hold it."""

import math
from collections.abc import Iterator
from typing import Any

from pipeline.config.yaml_text import MOST_LEVELS, KeyPath

type Problem = tuple[KeyPath, str]
"""Where a value stands, and what is wrong with it, as the end of a sentence."""

_NUMBERS = range(-(2**63), 2**64)  # what JSON readers and writers agree on


def unusable_values(value: Any, path: KeyPath = ()) -> Iterator[Problem]:
    """Return every value that is unusable, with its place."""
    if len(path) > MOST_LEVELS:
        yield path[:1], f"is nested deeper than {MOST_LEVELS} levels; write it flatter"
    elif isinstance(value, dict):
        for key, item in value.items():
            if problem := _of_text(str(key)):
                yield path, f"has a key that {problem}"
            else:
                yield from unusable_values(item, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            yield from unusable_values(item, (*path, position))
    elif problem := _of_scalar(value):
        yield path, problem


def leaves(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Return all values that are neither mappings nor lists, each with its place."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            yield from leaves(item, (*path, position))
    else:
        yield path, value


def _of_scalar(value: Any) -> str:
    if isinstance(value, str):
        return _of_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    if isinstance(value, int) and value not in _NUMBERS:
        return "is a number of more than 64 bits; write text in quotes"
    return ""


def _of_text(text: str) -> str:
    if "\0" in text:
        return "holds a NUL character; remove it"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds half a character (a lone surrogate); remove it"
    return ""
