"""Text that every reader decodes alike, on every platform."""

import csv
import json
import math
import re
from collections.abc import Iterable
from typing import Any

_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_PLAIN = frozenset((str, bool, int))
_PLAIN_PATH = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(/[A-Za-z0-9_-]+)*")

# What spreadsheets take for the start of a formula, after OWASP's "CSV Injection"; the wide forms are Excel's in Asia.
_FORMULA_START = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")


class _Echo:
    """A file whose ``write`` returns the text: ``csv.writer.writerow`` then returns the row."""

    def write(self, text: str) -> str:
        return text


# The line end decides which characters are quoted: with a bare LF, Python below 3.13 leaves a CR inside a cell bare.
_row_writer: Any = csv.writer(_Echo(), lineterminator="\r\n")


def csv_line(values: Iterable[object]) -> bytes:
    """One CSV row (RFC 4180, UTF-8, but LF): text that a spreadsheet would run gets a ``'``, numbers stay numbers.

    None is an empty cell.
    """
    line: str = _row_writer.writerow([_harmless(value) if isinstance(value, str) else value for value in values])
    return line[:-2].encode() + b"\n"


def _harmless(text: str) -> str:
    # A text that has the apostrophe already gets another one, so that taking one away gives every text back.
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA_START) and not _NUMBER.fullmatch(text) else text


def ascii_json(data: bytes) -> bytes:
    r"""The same JSON value with every character outside ASCII as ``\uXXXX``.

    pycocotools, torchvision and most training code open annotation files in the encoding of the machine's locale,
    which is not UTF-8 on Windows: raw UTF-8 fails there or, worse, silently becomes other names.
    """
    if data.isascii():
        return data
    # Python's own escapes are JSON's for U+0100 to U+FFFF, which is all there is in most languages.
    escaped = data.decode().encode("ascii", "backslashreplace")
    if b"\\x" not in escaped and b"\\U" not in escaped:
        return escaped
    return _NOT_ASCII.sub(lambda match: json.dumps(match[0])[1:-1], data.decode()).encode("ascii")


def yaml_string(text: str) -> str:
    r"""``text`` as a double-quoted YAML scalar on one line.

    A JSON string is one already, except that JSON leaves characters raw that YAML folds (U+0085, U+2028) or refuses
    (other control characters, U+FFFE), so everything unprintable is escaped. Printable text stays readable, and
    no surrogate pairs are written: PyYAML does not put them together again.
    """
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(character if character.isprintable() else _yaml_escape(ord(character)) for character in quoted)


def yaml_path(path: str) -> str:
    """A relative path as a YAML scalar, quoted only where it must be."""
    return path if _PLAIN_PATH.fullmatch(path) else yaml_string(path)


def _yaml_escape(code: int) -> str:
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def one_line(text: str) -> str:
    """``text`` without line breaks of any kind (as ``str.splitlines`` knows them), each replaced by a space."""
    return " ".join(text.splitlines())


def without_nulls(value: Any) -> Any:
    """A JSON value without the nulls (and numbers JSON cannot write) inside its objects and arrays, at any depth.

    ``null`` as the value of a key means "nothing chosen", which a missing key says as well; loaders that copy keys
    as they come (Detectron2) or call methods on values (pycocotools) stop at it.
    """
    if isinstance(value, dict):
        for inner in value.values():
            if type(inner) not in _PLAIN:
                break
        else:
            return value
        return {
            key: inner if type(inner) in _PLAIN else without_nulls(inner)
            for key, inner in value.items()
            if type(inner) in _PLAIN or not _is_null(inner)
        }
    if isinstance(value, list | tuple):
        return [without_nulls(inner) for inner in value if not _is_null(inner)]
    return value


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))
