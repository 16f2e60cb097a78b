"""Values that no field expects, and JSON with one of them in it; all choices come from a ``random.Random``."""

import json

_PLACE = "\ue000place of the value\ue000"

NUMBERS = (
    "0", "-0.0", "-1", "1", "0.5", "1e-320", "1e20", "-1e300", "1e999", "NaN", "Infinity", "-Infinity",
    "2147483648", "9007199254740993", "9223372036854775808", "-9223372036854775809", "18446744073709551616", "9" * 400,
    "9" * 5000,
)  # fmt: skip
TEXTS = (
    '""', '" "', '"x"', '"null"', '"0"', '"-1"', '"1e9"', '"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"\\udfff\\ud800"',
    '"\\u202e\\u05d0\\u0628"', '"\U0001f9d1\u200d\U0001f680"', '"\\u001b[2Jx\\u0007"', '"a\\nb\\r\\nc"',
    '"../../../x"', '"/etc/passwd"',
    '"C:\\\\x"', '"%2e%2e%2fx"', '"__proto__"', '"${HOME}"', '"a,b;\\"c\\""', '"<b>&amp;</b>"',
    '"' + "x" * 300 + '"', '"' + "\u00e9" * 70_000 + '"',
)  # fmt: skip
OTHERS = (
    "null", "true", "false", "[]", "{}", "[null]", "[[]]", '{"":null}', '{"id":1}', '["x"]', "[1,2,3]",
    "[" * 300 + "]" * 300, '{"a":' * 300 + "1" + "}" * 300, "[" * 20_000 + "]" * 20_000,
)  # fmt: skip


def hostile(dice):
    """A value as JSON text."""
    return dice.choice(dice.choice((NUMBERS, TEXTS, OTHERS)))


def places(value, path=()):
    """The paths of all nodes below a JSON value, those of containers too."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def at(value, path):
    """The node of a JSON value at a path."""
    for key in path:
        value = value[key]
    return value


def spoiled(dice, value, path):
    """The JSON text of ``value`` with something else at ``path``, and in a word what was done.

    ``value`` must not be used afterwards.
    """
    parent, key = at(value, path[:-1]), path[-1]
    old = parent[key]
    written = json.dumps(old)
    named = isinstance(parent, dict)
    ways = [
        "other",
        "other",
        "other",
        "missing",
        "list",
        "object",
        "text",
        *(("twice", "more", "renamed") if named else ("again", "turned")),
    ]
    way = dice.choice(ways)
    raw = None
    match way:
        case "other":
            raw = hostile(dice)
        case "missing":
            del parent[key]
        case "list":
            raw = f"[{written}]"
        case "object":
            raw = f'{{"value":{written}}}'
        case "text":
            raw = json.dumps(written)
        case "twice":
            raw = f"{written},{json.dumps(key)}:{hostile(dice)}"
            if dice.random() < 0.5:
                raw = f"{hostile(dice)},{json.dumps(key)}:{written}"
        case "more":
            raw = f"{written},{json.dumps('unknown ' + str(dice.randrange(9)))}:{hostile(dice)}"
        case "renamed":
            parent[dice.choice((key.upper(), f"{key} ", "", "id", "url"))] = parent.pop(key)
        case "again":
            raw = f"{written},{written}"
        case "turned":
            parent.reverse()
    if raw is not None:
        parent[key] = _PLACE
    text = json.dumps(value).replace(json.dumps(_PLACE), raw or "")
    shown = "" if raw is None else f" {raw[:40]}"
    return text.encode("utf-8", "surrogatepass"), f"{way} at {'.'.join(map(str, path))}{shown}"
