"""How far each stage is, how far the run is, and when it may end.

A stage is timed by its own rate as soon as it has one. A stage that has not begun is timed by the stages that were
measured in this run and by ``SHARES``, a fixed guess; such an estimate is marked as one.
"""

import time
from collections import Counter, deque
from typing import Literal

import msgspec

STAGES = ("plan", "extract", "catalog", "render", "merge", "publish")
"""The stages of an export in order."""

SHARES = {"plan": 0.05, "extract": 1.0, "catalog": 0.01, "render": 0.5, "merge": 0.05, "publish": 0.02}
"""The time that a stage takes per record, relative to extract, until it is measured."""

RENDER_WITH_ORIGINALS = 3.0
"""The same for render when it copies originals: each is a request of its own."""

_REFERENCES = ("render", "extract")
_LEAST_SECONDS = 1.0  # a rate of less time says too little
_RECENT_SECONDS = 120.0
_SECONDS_BETWEEN_MARKS = 1.0
_PROBLEMS = 5


class Tally(msgspec.Struct):
    """The state of a stage: ``done`` of ``total`` units (records, or manifests), bytes moved, failures so far.

    ``resumed`` units are of an earlier run. Where the bytes to move are known, ``total_bytes`` of which
    ``resumed_bytes`` are of an earlier run, the stage is measured by them, because its units differ in size. ``whole``
    is the run that the stage belongs to. Times are seconds of ``time.monotonic()``; ``ended`` is None while it runs.
    """

    stage: str
    unit: str
    total: int
    done: int = 0
    resumed: int = 0
    bytes: int = 0
    failures: int = 0
    started: float = msgspec.field(default_factory=time.monotonic)
    ended: float | None = None
    total_bytes: int = 0
    resumed_bytes: int = 0
    whole: "Whole | None" = None
    marks: deque[tuple[float, float]] = msgspec.field(default_factory=deque)

    @property
    def seconds(self) -> float:
        """Return the seconds since the stage began, or those it took."""
        return max((time.monotonic() if self.ended is None else self.ended) - self.started, 1e-9)

    @property
    def rate(self) -> float:
        """Return units per second, not counting those of an earlier run."""
        return (self.done - self.resumed) / self.seconds

    @property
    def left(self) -> float:
        """Return which part of the stage is still to be done, from 1 to 0."""
        total = self.total_bytes or self.total
        done = self.resumed_bytes + self.bytes if self.total_bytes else self.done
        return min(1.0, max(0.0, 1 - done / total)) if total else 0.0

    @property
    def remaining(self) -> float | None:
        """Return the seconds to go at the rate of the last two minutes, or None while there is no rate."""
        if not self.left:
            return 0.0
        fresh = self._fresh()
        if fresh <= 0:
            return None
        total = self.total_bytes or self.total
        since, then = self.marks[0] if self.marks else (self.started, 0.0)
        recent = fresh - then
        pace = recent / max(time.monotonic() - since, 1e-9) if recent > 0 else fresh / self.seconds
        return self.left * total / pace

    @property
    def is_measured(self) -> bool:
        """Return whether enough was done in this run to tell how fast the stage is."""
        return self._fresh() > 0 and (self.ended is not None or self.seconds >= _LEAST_SECONDS)

    def mark(self) -> None:
        """Remember how much is done now, to tell the rate of the last two minutes."""
        now = time.monotonic()
        if not self.marks or now - self.marks[-1][0] >= _SECONDS_BETWEEN_MARKS:
            self.marks.append((now, self._fresh()))
            while len(self.marks) > 1 and now - self.marks[0][0] > _RECENT_SECONDS:
                self.marks.popleft()

    def _fresh(self) -> float:
        return self.bytes if self.total_bytes else self.done - self.resumed


class StageSnapshot(msgspec.Struct, frozen=True):
    """One stage at one moment, as plain values. Rates are per second, ``seconds`` is how long it has taken so far."""

    stage: str
    state: Literal["waiting", "running", "done"]
    unit: str = "records"
    done: int = 0
    total: int = 0
    resumed: int = 0
    share: float = 0.0
    bytes: int = 0
    failures: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    bytes_per_second: float = 0.0


class Snapshot(msgspec.Struct, frozen=True):
    """A run at one moment, as plain values.

    ``step`` says what it is doing between stages. ``to_go`` is in seconds, None while nothing is measured;
    ``is_guess`` says that a later stage is timed by a fixed share. ``failures`` counts by reason. ``retries`` are
    requests and shards that were tried again, ``lost_workers`` of these were killed, ran out of memory or took longer
    than ``run.shard_timeout``; ``problems`` are the last lines about them.
    """

    stage: str = ""
    step: str = ""
    elapsed: float = 0.0
    to_go: float | None = None
    is_guess: bool = False
    stages: tuple[StageSnapshot, ...] = ()
    failures: dict[str, int] = {}
    retries: int = 0
    lost_workers: int = 0
    problems: tuple[str, ...] = ()


class Whole:
    """The tally of a run: its stages, and what happened in all of them. One thread at a time changes it."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.ended: float | None = None
        self.stages: dict[str, Tally] = {}
        self.step = ""
        self.records = 0
        self.shares = dict(SHARES)
        self.reasons: Counter[str] = Counter()
        self.retries = 0
        self.lost_workers = 0
        self.problems: deque[str] = deque(maxlen=_PROBLEMS)

    @property
    def elapsed(self) -> float:
        """Return the seconds since the run began, or those it took."""
        return (time.monotonic() if self.ended is None else self.ended) - self.started

    # Others read while one thread writes: each value is taken in one go, which no other thread can come between.

    def to_go(self) -> tuple[float, bool] | None:
        """Return the seconds until the run ends, and whether a guess is in them; None while nothing is measured."""
        current = next(reversed(self.stages.values()), None)
        if current is None or current.stage == "plan":
            return None
        per_record = self._per_record()
        seconds, guess = current.remaining, False
        if seconds is None or not current.is_measured:
            guess = True
            share = self.shares.get(current.stage)
            if per_record is not None and share is not None:
                seconds = per_record * share * self.records * current.left
        if seconds is None:
            return None
        later = STAGES[STAGES.index(current.stage) + 1 :] if current.stage in STAGES else STAGES[2:]
        if current.ended is not None and not later:
            return 0.0, False
        if later and (per_record is None or not self.records):
            return seconds, True
        return seconds + sum((per_record or 0) * self.shares[stage] * self.records for stage in later), bool(
            guess or later
        )

    def snapshot(self) -> Snapshot:
        """Return the run as it is now."""
        stages = list(self.stages.values())
        remaining = self.to_go() if self.ended is None else None
        return Snapshot(
            stage=stages[-1].stage if stages and stages[-1].ended is None else "",
            step=self.step,
            elapsed=round(self.elapsed, 3),
            to_go=None if remaining is None else round(remaining[0], 1),
            is_guess=remaining is not None and remaining[1],
            stages=(*map(_begun, stages), *self._waiting(stages)),
            failures=dict(self.reasons),
            retries=self.retries,
            lost_workers=self.lost_workers,
            problems=tuple(self.problems),
        )

    def _waiting(self, stages: list[Tally]) -> list[StageSnapshot]:
        """The stages that have not begun."""
        last = max((STAGES.index(tally.stage) for tally in stages if tally.stage in STAGES), default=-1)
        names = STAGES[2:] if last < 0 and stages else STAGES[last + 1 :]  # a retry has no plan and no extract
        by_record = ("extract", "render")
        return [StageSnapshot(name, "waiting", total=self.records if name in by_record else 0) for name in names]

    def _per_record(self) -> float | None:
        """The seconds that a record takes in a stage of share 1, from the last stage that was measured."""
        for name in _REFERENCES:
            tally = self.stages.get(name)
            if tally is not None and tally.is_measured:
                return tally.seconds / (tally.done - tally.resumed) / self.shares[name]
        return None


def _begun(tally: Tally) -> StageSnapshot:
    fresh = tally.done - tally.resumed
    return StageSnapshot(
        stage=tally.stage,
        state="running" if tally.ended is None else "done",
        unit=tally.unit,
        done=tally.done,
        total=tally.total,
        resumed=tally.resumed,
        share=round(1 - tally.left, 4) if tally.ended is None else 1.0,
        bytes=tally.bytes,
        failures=tally.failures,
        seconds=round(tally.seconds, 3),
        rate=round(tally.rate, 1) if fresh > 0 else 0.0,
        bytes_per_second=round(tally.bytes / tally.seconds, 1),
    )
