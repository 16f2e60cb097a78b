"""Check that a payload cannot exhaust a JSON reader, at a fraction of the cost of reading it."""

import re
from itertools import accumulate

# How deep lists and objects may be nested. Standard JSON readers fail between 500 and 1000.
MAX_DEPTH = 100
# How many empty objects and lists a document may have: each takes twenty times the size of its JSON in memory.
MAX_EMPTY = 1 << 20
# How many digits a number may have. Python's own reader refuses integers of more than 4300.
MAX_DIGITS = 4270
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_SAMPLED = 431
_MANY_DIGITS = re.compile(rb"[0-9]{%d,}" % (MAX_DIGITS // _SAMPLED))
_TOO_MANY_DIGITS = re.compile(rb"[0-9]{%d}" % MAX_DIGITS)


def reason_unreadable(data: bytes) -> str:
    """Return why a JSON reader would fail on these bytes, or ``""``."""
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            return "not UTF-8"
    if len(data) > 2 * MAX_EMPTY and data.count(b"{}") + data.count(b"[]") > MAX_EMPTY:
        return f"more than {MAX_EMPTY:,} empty lists and objects"
    if _has_too_many_digits(data):
        return f"a number of {MAX_DIGITS} digits or more"
    return ""


def is_too_deep(data: bytes) -> bool:
    """Tell whether lists and objects are nested deeper than :data:`MAX_DEPTH`."""
    # Empty texts and innermost pairs of brackets are taken away, two kinds of pair per round: what is gone after half
    # as many rounds is not too deep. A bracket within a text keeps a quote before it, unless there are escaped quotes.
    if b"\\" not in data or b'\\"' not in data:
        rest = data.translate(None, _NOT_STRUCTURE).replace(b'""', b"")
        for _ in range(MAX_DEPTH // 2):
            if not rest:
                return False
            rest = rest.replace(b"{}", b"").replace(b"[]", b"")
    brackets = _STRINGS.sub(b"", data).translate(None, _NOT_BRACKETS)
    return max(accumulate(1 if bracket in b"[{" else -1 for bracket in brackets), default=0) > MAX_DEPTH


def _has_too_many_digits(data: bytes) -> bool:
    # So many digits in a row show in every 431st byte, nine times or more; only such places are looked at in full. A
    # prime, because lists of equally long numbers repeat themselves.
    for run in _MANY_DIGITS.finditer(data[::_SAMPLED]):
        around = ((run.start() - 1) * _SAMPLED, (run.end() + 1) * _SAMPLED)
        if _TOO_MANY_DIGITS.search(data, max(around[0], 0), around[1]):
            return _TOO_MANY_DIGITS.search(_STRINGS.sub(b"", data)) is not None
    return False
