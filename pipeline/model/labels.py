"""Class names: how the platform compares them, what a project configures, and what the user renames or drops."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class ClassNames(msgspec.Struct, frozen=True):
    """The user's renames (old and new name) and drops (old or new names) of classes.

    All names are normalised (:func:`tidy_label`); :func:`class_names` makes one from a configuration.
    """

    rename: dict[str, str] = {}
    drop: tuple[str, ...] = ()

    def final(self, label: str) -> str | None:
        """Return the class of a label, or None if it is dropped."""
        name = self.rename.get(label, label)
        return None if not name or label in self.drop or name in self.drop else name


def class_names(rename: Mapping[str, str], drop: Iterable[str]) -> ClassNames:
    """Return the renames and drops of a configuration, in an order that does not depend on the file's."""
    renames = {tidy_label(old): tidy_label(new) for old, new in rename.items()}
    return ClassNames(dict(sorted(renames.items())), tuple(sorted(set(map(tidy_label, drop)))))


def normalise_label(label: str) -> str:
    """Return a class name as the platform compares it: trimmed and NFC-normalised."""
    return unicodedata.normalize("NFC", label.strip())


def tidy_label(label: str) -> str:
    """Return a normalised class name with a space for each run of control characters and line separators."""
    return normalise_label(_CONTROLS.sub(" ", label) if has_controls(label) else label)


def has_controls(label: str) -> bool:
    """Tell whether a class name has control characters or line separators, which a line of a file cannot hold."""
    return not label.isprintable() and _CONTROLS.search(label) is not None


def configured_classes(configuration: Any) -> list[str]:
    """Return the classes of a project's ``configuration``, in their official order.

    For each tool in configuration order, each schema entry in order, the first occurrence wins. Both shapes are
    read, tool by tool: ``{"classification_schema": [{"code": "car"}, …]}`` and the older ``["car", …]``; entries
    that are neither are left out.
    """
    tools = configuration.get("classification") if isinstance(configuration, dict) else None
    found: dict[str, None] = {}
    for tool in tools.values() if isinstance(tools, dict) else ():
        entries = tool.get("classification_schema") if isinstance(tool, dict) else tool
        for entry in entries if isinstance(entries, list) else ():
            code = entry.get("code") if isinstance(entry, dict) else entry
            if isinstance(code, str) and tidy_label(code):
                found.setdefault(tidy_label(code))
    return list(found)


def configured_tools(configuration: Any) -> dict[str, tuple[str, ...]]:
    """Return the tools of each class of a project's ``configuration``, in the same order."""
    tools = configuration.get("classification") if isinstance(configuration, dict) else None
    found: dict[str, tuple[str, ...]] = {}
    for tool, own in tools.items() if isinstance(tools, dict) else ():
        for label in configured_classes({"classification": {tool: own}}):
            found[label] = (*found.get(label, ()), str(tool))
    return found


def configured_points(configuration: Any) -> list[str]:
    """Return the classes of the tool ``keypoint`` alone, in the same order."""
    tools = configuration.get("classification") if isinstance(configuration, dict) else None
    own = {"keypoint": tools.get("keypoint")} if isinstance(tools, dict) else {}
    return configured_classes({"classification": own})
