"""Mutations of answers, for :class:`fuzz.proxy.Proxy`. Each maker takes the seed of its case and returns one.

What happens to a request depends on the seed, its address and how often it came, never on the order of requests.
"""

import gzip
import json
import random
import zlib
from collections import Counter
from dataclasses import replace

from tests.fuzz.damage import damaged
from tests.fuzz.proxy import with_body
from tests.fuzz.values import hostile, places, spoiled

ROUTES = (
    "api",
    "count",
    "plan",
    "plan",
    "documents",
    "documents",
    "documents",
    "files",
    "files",
    "payloads",
    "originals",
)
ELSEWHERE = "http://127.0.0.2:9/x"
STATUSES = (
    100, 101, 199, 201, 202, 204, 205, 206, 226, 299, 300, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403, 404, 405,
    406, 408, 409, 410, 413, 414, 416, 418, 422, 425, 426, 429, 431, 451, 499, 500, 501, 502, 503, 504, 507, 508, 511,
    520, 524, 599, 600, 999,
)  # fmt: skip


def chance(*parts):
    """A source of choices that depends on the parts alone."""
    return random.Random("/".join(map(str, parts)))


class Repeated:
    """Calls ``change(dice, request, answer)`` for some requests of some routes: once, twice or whenever they come."""

    def __init__(self, seed, change, routes, *, share=(1, 1, 1, 2)):
        dice = chance(seed, "repeated")
        self._seed, self._change = seed, change
        self._route = dice.choice(routes)
        self._share = dice.choice(share)
        self._times = dice.choice((1, 1, 2, 3, 10**9, 10**9))
        self._seen = Counter()

    def __call__(self, request, answer):
        if request.route != self._route or chance(self._seed, request.address).randrange(self._share):
            return answer
        self._seen[request.address] += 1
        if self._seen[request.address] > self._times:
            return answer
        return self._change(chance(self._seed, request.address, self._seen[request.address]), request, answer)


def answers(seed, *, has_payloads):
    """Bytes, headers, statuses and pages of any answer. Without ``has_payloads`` documents are in their rows only."""
    way = chance(seed, "way").choice((_bytes, _bytes, _packing, _lengths, _statuses, _types, _pages, _pages, _pages))
    left_out = {"payloads"} if not has_payloads else set()
    left_out |= {"api", "payloads", "originals"} if way is _pages else set()
    routes = tuple(route for route in ROUTES if route not in left_out)
    return Repeated(seed, way, routes)


def rows(seed, keys):
    """A field of a row, or of the envelope around it, but not the document in it."""
    dice = chance(seed, "rows")
    target, routes = (
        dice.choice(keys),
        dice.choice((("plan",), ("documents",), ("files",), ("documents", "files"), ("count",))),
    )
    return _Rows(seed, target, routes, in_document=False)


def documents(seed, keys):
    """A field of the document of a row."""
    return _Rows(seed, chance(seed, "documents").choice(keys), ("documents",), in_document=True)


class _Rows:
    """Spoils one place of the row with a key, the same whenever it comes, or only the first time."""

    def __init__(self, seed, key, routes, *, in_document):
        self._seed, self.key, self._routes, self._in_document = seed, key, routes, in_document
        self._once = chance(seed, "once").random() < 0.25
        self._done = set()

    def __call__(self, request, answer):
        if request.route not in self._routes or request.address in self._done:
            return answer
        page = _page(answer)
        rows = page.get("results") if page else None
        if not rows:
            return answer
        number = next((i for i, row in enumerate(rows) if self.key in (row.get("id"), row.get("pgh_id"))), None)
        if number is None and request.route != "count":
            return answer
        dice = chance(self._seed, request.route)
        row = ("results", number or 0)
        if self._in_document:
            found = [(*row, "data"), *((*row, "data", *path) for path in places(rows[number].get("data")))]
        else:
            found = [(*row, *path) for path in places({k: v for k, v in rows[number or 0].items() if k != "data"})]
            found += [("results",), row] if dice.random() < 0.1 else []
            found += [(key,) for key in page] if dice.random() < 0.1 else []
        if not found:
            return answer
        if self._once:
            self._done.add(request.address)
        body, _ = spoiled(dice, page, dice.choice(found))
        return with_body(answer, body)


def payloads(seed, keys):
    """A document outside its row: a field of it, its bytes, or the wrapper in the row that says where it is."""
    if chance(seed, "payloads").random() < 0.5:
        return _Rows(seed, chance(seed, "documents").choice(keys), ("documents",), in_document=True)

    def change(dice, request, answer):
        if dice.random() < 0.5:
            return with_body(answer, damaged(dice, answer.body)[0])
        document = json.loads(answer.body)
        found = list(places(document))
        return with_body(answer, spoiled(dice, document, dice.choice(found))[0]) if found else answer

    return Repeated(seed, change, ("payloads",))


def originals(seed):
    """The bytes of an original file, the answer that brings them, or another kind of file."""

    def change(dice, request, answer):
        if dice.random() < 0.7:
            return with_body(answer, damaged(dice, answer.body)[0])
        way = dice.choice((_packing, _lengths, _statuses, _types, _ranges))
        return way(dice, request, answer)

    return Repeated(seed, change, ("originals",))


def _page(answer):
    try:
        page = json.loads(answer.body)
    except ValueError:
        return None
    return page if isinstance(page, dict) and isinstance(page.get("results"), list) else None


def _bytes(dice, request, answer):
    return with_body(answer, damaged(dice, answer.body)[0])


def _packing(dice, request, answer):
    body, packed = answer.body, gzip.compress(answer.body, mtime=0)
    name, sent = dice.choice((
        ("gzip", body), ("gzip", packed), ("gzip", packed[: len(packed) // 2]), ("gzip", packed + b"garbage"),
        ("gzip", packed * 2),
        ("gzip", packed[:-8] + bytes(8)), ("gzip", b""), ("deflate", body), ("deflate", zlib.compress(body)), ("br",
        body),
        ("zstd", body), ("gzip, gzip", gzip.compress(packed)), ("identity", body), ("x-unknown", body), ("", body),
        ("gzip", gzip.compress(bytes(3 * 2**24))),
    ))  # fmt: skip
    return with_body(answer, sent, **{"Content-Encoding": name})


def _lengths(dice, request, answer):
    body, size = answer.body, len(answer.body)
    claims, sent, hangs_up = dice.choice((
        ((b"Content-Length: %d" % (size + 100),), body, True),
        ((b"Content-Length: %d" % (size * 2),), body[: size // 2], True),
        ((b"Content-Length: %d" % max(0, size - 7),), body, False),
        ((b"Content-Length: 0",), body, False),
        ((b"Content-Length: -5",), body, True),
        ((b"Content-Length: many",), body, True),
        ((b"Content-Length: " + b"9" * 30,), body, True),
        ((b"Content-Length: %d" % size, b"Content-Length: 3"), body, True),
        ((b"Transfer-Encoding: chunked",), b"%x\r\n%b\r\n0\r\n\r\n" % (size, body), False),
        ((b"Transfer-Encoding: chunked",), b"%x\r\n%b\r\n" % (size, body), True),
        ((b"Transfer-Encoding: chunked",), b"%x\r\n%b" % (size + 50, body), True),
        ((b"Transfer-Encoding: chunked",), b"zz\r\n" + body, True),
        ((b"Transfer-Encoding: chunked", b"Content-Length: 4"), b"%x\r\n%b\r\n0\r\n\r\n" % (size, body), True),
        ((b"Content-Length: %d" % size, b"X-Long: " + b"x" * 20_000), body, False),
        ((b"Content-Length: %d" % size, b"X-\xff\xfe: \xff", b"Set-Cookie: a=b"), body, False),
    ))  # fmt: skip
    if dice.random() < 0.15:
        return replace(answer, resets=True)
    if dice.random() < 0.05:
        return replace(answer, stalls=30.0)
    return replace(answer, body=sent, claims=claims, hangs_up=hangs_up)


def _statuses(dice, request, answer):
    status = dice.choice(STATUSES)
    headers = dict(answer.headers)
    if 300 <= status < 400 or dice.random() < 0.1:
        headers["Location"] = dice.choice((ELSEWHERE, request.target, "/", "file:///etc/passwd", "//x", "http://[", ""))
    if dice.random() < 0.3:
        headers["Retry-After"] = dice.choice(
            ("0", "-1", "nan", "1e9", "soon", "9" * 4000, "Fri, 31 Dec 9999 23:59:59 GMT")
        )
    body = dice.choice((answer.body, b"", b"{}", b'{"detail":"x"}', b"[" * 9000, b"\xff" * 50, b"<html>\x1b[2J</html>"))
    return replace(answer, status=status, headers=headers, body=body)


def _types(dice, request, answer):
    kind = dice.choice((
        "", "text/html", "text/plain; charset=utf-16", "application/xml", "application/octet-stream", "x", "image/jpeg",
        "application/json; charset=latin-1", "application/json; charset=nonsense", "multipart/byteranges; boundary=x",
        "application/json; " * 200,
    ))  # fmt: skip
    return replace(answer, headers={**answer.headers, "content-type": kind})


def _ranges(dice, request, answer):
    claim = dice.choice(
        ("bytes 0-3/1000", "bytes 7-9/10", "bytes */5", "bytes -", "x", f"bytes 0-{len(answer.body) - 1}/*")
    )
    tag = dice.choice(('"x"', "W/", "", '"' + "y" * 4000 + '"'))
    return replace(
        answer, status=dice.choice((200, 206)), headers={**answer.headers, "content-range": claim, "etag": tag}
    )


def _pages(dice, request, answer):
    """Rows that are missing, foreign, repeated or in another order; counts and cursors that are wrong."""
    page = _page(answer)
    if page is None:
        return answer
    rows = page["results"]
    raw = None
    match dice.randrange(10):
        case 0:
            page["results"] = rows + rows
        case 1:
            dice.shuffle(rows)
        case 2 if rows:
            del rows[dice.randrange(len(rows))]
        case 3:
            page["results"] = []
        case 4:
            page["count"] = dice.choice((0, 1, 5, 10**6, -1, "8", None, 1.5, 2**70, True))
        case 5:
            page["next"] = f"http://{dict(request.headers).get('Host')}{request.target}"
        case 6:
            page["next"] = dice.choice(
                (ELSEWHERE, "/", "", "x", "?cursor=x", "file:///etc/passwd", "http://[", 5, [], {}, True)
            )
        case 7:
            page["next"] = None
        case 8:
            page["results"] = dice.choice((None, {}, "x", 5, {"0": rows}, [rows], [None], [1, 2], ["x"]))
        case _:
            raw = dice.choice(("next", "previous", "count", "results"))
            page.pop(raw, None)
    text = json.dumps(page, ensure_ascii=False).encode()
    if raw is not None and dice.random() < 0.7:
        text = b'{"%b":%b,%b' % (raw.encode(), hostile(dice).encode("utf-8", "surrogatepass"), text[1:])
    return with_body(answer, text)
