"""The filter of a configuration, checked and translated before anything is sent.

The backend answers an unknown or misspelt filter key with status 200 and the whole project. So only keys are sent that
are on the list of the target's own keys (those of ``synapse_sdk/plugins/actions/export/handlers.py``).
"""

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any
from urllib.parse import urlencode

from pipeline.errors import ConfigError, did_you_mean

LONGEST_QUERY = 10_000
"""Bytes of the encoded filter; servers refuse requests from about 11,500 bytes on."""

_COMPARISONS = ("gt", "gte", "lt", "lte")
_IDS = ("ids", "ids_ex")
_RANGE = ("id", "id__in", *(f"id__{comparison}" for comparison in _COMPARISONS))
_DATES = {
    "assignment": (
        "created",
        "label_submitted",
        "last_labeled",
        "last_reviewed",
        "labeler_last_action_at",
        "reviewer_last_action_at",
    ),
    "task": ("created",),
    "ground_truth": (),
}
_NUMBERS = {
    "assignment": (
        *("project", *_IDS, *_RANGE, "workshop", "tasks", "users", "reviewers", "groups", "stages"),
        *("task_tags", "tags"),
    ),
    "task": (
        *("project", *_IDS, *_RANGE, "assignments", "labelers", "reviewers", "groups", "stages"),
        *("workshops", "tags"),
    ),
    "ground_truth": ("ground_truth_dataset_version", *_IDS, "ground_truth", "task"),
}
_BOOLEANS = {
    "assignment": ("is_discarded", "is_discard_confirmed", "is_confirmed"),
    "task": ("is_discarded", "has_assignment", "has_reached_max_assignments", "assignments__is_discarded"),
    "ground_truth": (),
}
_LABEL_STATES = ("stand_by", "in_progress", "completed", "skipped")
_REVIEW_STATES = (*_LABEL_STATES, "rejected")
_CATEGORIES = ("train", "validation", "test")
_CHOICES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "assignment": {"status_label": _LABEL_STATES, "status_review": _REVIEW_STATES},
    "task": {"status_label": _LABEL_STATES, "status_review": _REVIEW_STATES},
    "ground_truth": {"category": _CATEGORIES, "categories": _CATEGORIES},
}
_TEXTS = {
    "assignment": ("search",),
    "task": ("search", "schema", "discarded_filter"),
    "ground_truth": ("search", "classes"),
}
_REQUIRED = {"assignment": "project", "task": "project", "ground_truth": "ground_truth_dataset_version"}
_SINGLE = {"project", "ground_truth_dataset_version", "id", *(f"id__{comparison}" for comparison in _COMPARISONS)}
_SENT_AS = {"ground_truth_dataset_version": "ground_truth_dataset_versions"}
_OWN_KEYS = {
    "page": "pages are read to the end",
    "page_size": "set run.page_size instead",
    "limit": "set other filters to export fewer records",
    "cursor": "pages are read to the end",
    "pagination": "the exporter chooses it",
    "ordering": "records are exported in the order of their ids",
    "fields": "the exporter chooses them",
    "expand": "the exporter chooses it",
    "response_mode": "the exporter chooses it",
    "url_host": "set SYNAPSE_PLUGIN_RUN_URL_HOST in the environment instead",
}


def allowed_keys(target: str) -> tuple[str, ...]:
    """Return the filter keys that the API's list of ``target`` understands, sorted."""
    dates = tuple(f"{column}__{comparison}" for column in _DATES[target] for comparison in _COMPARISONS)
    return tuple(sorted({*_NUMBERS[target], *_BOOLEANS[target], *_CHOICES[target], *_TEXTS[target], *dates}))


def allowed_values(target: str, key: str) -> tuple[str, ...]:
    """Return the values that a filter key of ``target`` can have, or none for numbers, dates and texts."""
    return ("true", "false") if key in _BOOLEANS[target] else _CHOICES[target].get(key, ())


def check_filter(target: str, filter: Mapping[str, Any]) -> dict[str, str]:  # noqa: A002  the configuration's word
    """Return the query parameters for a filter of ``target``: all keys are known and all values are strings.

    Words of the platform's guide are translated (``status``, ``user``, ``date_range`` …), lists become comma strings,
    empty values are left out. Raises a ConfigError that names ``filter.<key>`` and says what is right.
    """
    result: dict[str, str] = {}
    source: dict[str, str] = {}
    for word, value in filter.items():
        if _is_empty(value):
            continue
        for key, part in _translate(target, str(word), value).items():
            if key in result:
                raise ConfigError(f"filter.{word}", f"means the same as filter.{source[key]}; give one of them")
            source[key] = str(word)
            result[key] = _text(target, key, str(word), part)
    required = _REQUIRED[target]
    if required not in result:
        hint = "the version's id (a number)" if target == "ground_truth" else "the project's id (a number)"
        raise ConfigError(f"filter.{required}", f"is required for target {target}: {hint}")
    sent = {_SENT_AS.get(key, key): text for key, text in result.items()}
    size = len(urlencode(sent))
    if size > LONGEST_QUERY:
        longest = max(source, key=lambda key: len(result[key]))
        raise ConfigError(
            f"filter.{source[longest]}",
            f"makes a request of {size:,} bytes, servers take {LONGEST_QUERY:,}; "
            "use ranges (id__gte, id__lte), ids_ex, or several exports",
        )
    return sent


def _translate(target: str, word: str, value: Any) -> dict[str, Any]:
    """Translate a word of the configuration to keys of the API with their values."""
    keys = allowed_keys(target)
    if word in keys:
        return {word: value}
    if word in _OWN_KEYS:
        raise ConfigError(f"filter.{word}", f"cannot be set: {_OWN_KEYS[word]}")
    if target == "ground_truth":
        if word in ("ground_truth_dataset_versions", "version", "dataset_version"):
            return {"ground_truth_dataset_version": value}
    elif word == "project_id":
        return {"project": value}
    elif word == "status":
        return {"status_review" if str(value).strip() == "rejected" else "status_label": value}
    elif word in ("user", "users", "labeler"):
        return {"users" if target == "assignment" else "labelers": value}
    elif word in ("date_range", "date"):
        return _date_range(word, value)
    elif match := re.fullmatch(r"(?:(.+)_(after|before)|(?:date|created)_(from|to)|(start|end)_date)", word):
        column = match[1] or "created"
        if column in _DATES[target]:
            side = "gte" if {"after", "from", "start"} & {match[2], match[3], match[4]} else "lte"
            return {f"{column}__{side}": value}
    raise ConfigError(f"filter.{word}", f"unknown key for target {target}{_suggestion(word, keys)}")


def _date_range(word: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        sides = {"from": "gte", "start": "gte", "after": "gte", "gte": "gte", "gt": "gt"}
        sides |= {"to": "lte", "end": "lte", "before": "lte", "lte": "lte", "lt": "lt"}
        unknown = [str(key) for key in value if key not in sides]
        if not unknown:
            return {f"created__{sides[key]}": part for key, part in value.items() if not _is_empty(part)}
    elif isinstance(value, list | tuple) and len(value) == 2:
        return {f"created__{side}": part for side, part in zip(("gte", "lte"), value, strict=True) if part}
    raise ConfigError(f"filter.{word}", "write it as {from: 2026-08-01, to: 2026-08-31}")


def _suggestion(word: str, keys: tuple[str, ...]) -> str:
    return f"{did_you_mean(word, keys)}; known keys: {', '.join(keys)}"


def _is_empty(value: Any) -> bool:
    # The platform's own pages send date keys without values with nearly every export.
    return value is None or (isinstance(value, str) and not value.strip()) or value in ([], (), {})


def _text(target: str, key: str, word: str, value: Any) -> str:
    """Return a value as the API reads it. Raises ConfigError if the key cannot have it."""
    where = f"filter.{word}"
    if isinstance(value, Mapping):
        raise ConfigError(where, "must be a value or a list of values")
    if key in _BOOLEANS[target]:
        return _boolean(where, value)
    parts = [_scalar(where, part) for part in (value if isinstance(value, list | tuple | set) else [value])]
    if key not in _TEXTS[target]:
        parts = [piece.strip() for part in parts for piece in part.split(",") if piece.strip()]
    if key in _SINGLE and len(parts) != 1:
        raise ConfigError(where, "takes one value, not several")
    if key in _NUMBERS[target]:
        _check_numbers(where, key, parts)
    elif key in _CHOICES[target]:
        choices = _CHOICES[target][key]
        for part in parts:
            if part not in choices:
                raise ConfigError(where, f"{part!r} is none of: {', '.join(choices)}")
    elif key not in _TEXTS[target]:
        if len(parts) != 1:
            raise ConfigError(where, "takes one date, not several")
        _check_date(where, parts[0])
    return ",".join(parts)


def _scalar(where: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):  # datetime too
        return value.isoformat()
    if isinstance(value, str | int | float):
        return str(value).strip()
    raise ConfigError(where, f"cannot be a {type(value).__name__}")


def _boolean(where: str, value: Any) -> str:
    text = str(value).strip().lower()
    if text in ("true", "1", "yes"):
        return "true"
    if text in ("false", "0", "no"):
        return "false"
    raise ConfigError(where, "must be true or false")


def _check_numbers(where: str, key: str, parts: list[str]) -> None:
    for part in parts:
        if part.isascii() and part.isdigit():
            continue
        if key == "ground_truth_dataset_version":
            raise ConfigError(where, f"takes the version's id (a number), not its name {part!r}")
        raise ConfigError(where, f"takes ids (numbers), not {part!r}")


def _check_date(where: str, text: str) -> None:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            where, f"{text!r} is not an ISO-8601 date such as 2026-08-01 or 2026-08-01T00:00:00Z"
        ) from None
