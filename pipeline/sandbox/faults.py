"""Decide which request fails, and how. The same options and seed fail the same requests."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from pipeline.errors import ConfigError

Route = Literal["pages", "payloads", "originals", "api", "any"]

STATUS_KINDS = frozenset({"400", "401", "403", "404", "413", "429", "500", "502", "503", "504", "520", "524"})
OTHER_KINDS = frozenset(
    {
        "reset",  # the connection is reset before the answer
        "cut",  # Content-Length is right, the body stops at ``value`` of it (0.5)
        "html",  # 200 with a login page
        "empty",  # 200 with no body
        "badjson",  # 200, complete by Content-Length, but half a JSON document
        "slow",  # ``value`` seconds before the first byte (1)
        "drip",  # one byte every ``value`` seconds (1)
        "hang",  # never answers
        "corrupt",  # one byte of the body differs
        "redirect",  # 302 to the same path on 127.0.0.2
        "foreign_row",  # pages: the first row belongs to another project
        "duplicate_row",  # pages: the first row comes twice
        "missing_row",  # pages: the last row is left out
        "wrong_count",  # pages: count is 7 too high
        "foreign_next",  # pages: the next link points to 127.0.0.2
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One rule. The first rule that matches a request decides it.

    ``at`` holds request numbers, counted from 1 among the requests of the route that contain ``match`` in their
    path and query; ``every`` hits each n-th of them, ``rate`` a seeded share. ``times`` caps the number of hits and
    alone means the first k requests. With none of the four every request is hit. ``each`` counts per URL (path and
    query without signature and cursor state) instead of per route, which does not depend on the order in which
    parallel requests arrive. ``value`` is the kind's parameter: seconds, the share of the body, or ``Retry-After``.
    """

    route: Route = "any"
    kind: str = "503"
    at: tuple[int, ...] = ()
    every: int = 0
    times: int = 0
    rate: float = 0.0
    match: str = ""
    each: bool = False
    value: float | None = None

    def __post_init__(self) -> None:
        """Raise :class:`~pipeline.errors.ConfigError` for a route or kind that does not exist."""
        if self.route not in get_args(Route):
            raise ConfigError(f"fault route {self.route!r}", f"use one of {', '.join(get_args(Route))}")
        if self.kind not in STATUS_KINDS | OTHER_KINDS:
            raise ConfigError(
                f"fault kind {self.kind!r}", f"use one of {', '.join(sorted(STATUS_KINDS | OTHER_KINDS))}"
            )


def parse_fault(text: str) -> Fault:
    """Parse the command line form ``route:kind[:key=value…]``, e.g. ``pages:503:every=7`` or ``api:401:at=3,4``."""
    route, _, rest = text.partition(":")
    kind, *settings = rest.split(":")
    fault = Fault(route=route, kind=kind)  # type: ignore[arg-type]  # checked by Fault itself
    for setting in settings:
        name, _, value = setting.partition("=")
        try:
            match name:
                case "at":
                    fault = replace(fault, at=tuple(int(number) for number in value.split(",")))
                case "every":
                    fault = replace(fault, every=int(value))
                case "times":
                    fault = replace(fault, times=int(value))
                case "rate":
                    fault = replace(fault, rate=float(value))
                case "value":
                    fault = replace(fault, value=float(value))
                case "match":
                    fault = replace(fault, match=value)
                case "each":
                    fault = replace(fault, each=True)
                case _:
                    raise ConfigError(f"fault {text!r}", f"unknown setting {name!r}")
        except ValueError as error:
            raise ConfigError(f"fault {text!r}", f"{name} needs a number, not {value!r}") from error
    return fault


@dataclass(slots=True)
class FaultInjector:
    """Decides for each request whether it fails, and counts requests and hits."""

    seed: int
    faults: Sequence[Fault] = ()
    _seen: Counter[tuple[int, str]] = field(default_factory=Counter)
    _hits: Counter[tuple[int, str]] = field(default_factory=Counter)

    def replace(self, faults: Sequence[Fault]) -> None:
        """Replace the rules, and count from the beginning."""
        self.faults = tuple(faults)
        self._seen.clear()
        self._hits.clear()

    def pick(self, route: Route, url: str) -> Fault | None:
        """Return the fault for this request, or None. ``url`` is path and query without signatures."""
        chosen = None
        for number, fault in enumerate(self.faults):
            if fault.route not in (route, "any") or fault.match not in url:
                continue
            counter = (number, url if fault.each else "")
            self._seen[counter] += 1
            if chosen is None and self._hit(number, fault, counter):
                self._hits[counter] += 1
                chosen = fault
        return chosen

    def _hit(self, number: int, fault: Fault, counter: tuple[int, str]) -> bool:
        if fault.times and self._hits[counter] >= fault.times:
            return False
        seen = self._seen[counter]
        if not (fault.at or fault.every or fault.rate):
            return True
        if seen in fault.at or (fault.every and seen % fault.every == 0):
            return True
        if not fault.rate:
            return False
        digest = hashlib.blake2b(f"{self.seed}/{number}/{counter[1]}/{seen}".encode(), digest_size=4).digest()
        return int.from_bytes(digest) < fault.rate * 2**32
