"""Text that every reader decodes alike, on every platform: CSV, JSON, YAML."""

import csv
import json
import math
import re
from collections.abc import Iterable
from typing import Any

_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_PLAIN = frozenset((str, bool, int))
_PLAIN_PATH = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(/[A-Za-z0-9_-]+)*")

# Spreadsheets take these for the start of a formula (OWASP, "CSV Injection"); Excel in Asia takes the wide forms too.
_FORMULA_START = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_MARKS = frozenset((*_FORMULA_START, "'"))
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")


class _Echo:
    """A file whose ``write`` returns the text, so that ``csv.writer.writerow`` returns the row."""

    def write(self, text: str) -> str:
        return text


# The line end decides which characters are quoted: with a bare LF, Python below 3.13 does not quote a CR in a cell.
_row_writer: Any = csv.writer(_Echo(), lineterminator="\r\n")


def csv_line(values: Iterable[object]) -> bytes:
    """Return one CSV row (RFC 4180 in UTF-8, but with LF as the line end).

    Text that a spreadsheet would run as a formula gets a ``'`` in front; numbers stay numbers. None is an empty cell.
    """
    line: str = _row_writer.writerow([_harmless(value) if isinstance(value, str) else value for value in values])
    return line[:-2].encode() + b"\n"


def _harmless(text: str) -> str:
    if text[:1] not in _MARKS:
        return text
    # A text that already has the apostrophe gets another one, so that removing one restores every text.
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA_START) and not _NUMBER.fullmatch(text) else text


def plain_cell(cell: str) -> str:
    """Return the text that :func:`csv_line` wrote as ``cell``."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA_START) else cell


def ascii_json(data: bytes) -> bytes:
    r"""Return the same JSON value with every character outside ASCII as ``\uXXXX``.

    pycocotools, torchvision and most training code open annotation files in the encoding of the machine's locale,
    which is not UTF-8 on Windows: raw UTF-8 fails there or, worse, silently becomes other names.
    """
    if data.isascii():
        return data
    # For U+0100 to U+FFFF Python's escapes are those of JSON, and most languages have no other characters.
    escaped = data.decode().encode("ascii", "backslashreplace")
    if b"\\x" not in escaped and b"\\U" not in escaped:
        return escaped
    return _NOT_ASCII.sub(lambda match: json.dumps(match[0])[1:-1], data.decode()).encode("ascii")


def yaml_string(text: str) -> str:
    r"""Return ``text`` as a double-quoted YAML scalar on one line.

    A JSON string is one already, but JSON does not escape characters that YAML folds (U+0085, U+2028) or refuses (other
    control characters, U+FFFE). So everything unprintable is escaped. Printable text stays readable, and no surrogate
    pairs are written, because PyYAML does not join them.
    """
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(character if character.isprintable() else _yaml_escape(ord(character)) for character in quoted)


def yaml_path(path: str) -> str:
    """Return a relative path as a YAML scalar, quoted only where it must be."""
    return path if _PLAIN_PATH.fullmatch(path) else yaml_string(path)


def _yaml_escape(code: int) -> str:
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def one_line(text: str) -> str:
    """Return ``text`` with a space for each line break of any kind (those of ``str.splitlines``)."""
    return " ".join(text.splitlines())


def without_nulls(value: Any) -> Any:
    """Return a JSON value without the nulls in its objects and arrays, at any depth, and without NaN and infinities.

    ``null`` as the value of a key means "nothing chosen", and so does a missing key. Loaders that copy every key
    (Detectron2) or call methods on values (pycocotools) fail on a null.
    """
    if isinstance(value, dict):
        if _PLAIN.issuperset(map(type, value.values())):
            return value
        return {
            key: inner if type(inner) in _PLAIN else without_nulls(inner)
            for key, inner in value.items()
            if type(inner) in _PLAIN or not _is_null(inner)
        }
    if isinstance(value, list | tuple):
        return [without_nulls(inner) for inner in value if not _is_null(inner)]
    return value


def has_values(attributes: dict[str, Any]) -> bool:
    """Tell whether :func:`without_nulls` leaves anything of an object."""
    for value in attributes.values():
        if type(value) in _PLAIN:
            return True
    return bool(without_nulls(attributes))


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))
