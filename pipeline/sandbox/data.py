"""All records of a sandbox under their three targets: keys, facts to filter by, documents and ground truth."""

import hashlib
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple

from pipeline.sandbox.bench import IMAGE_SIZE, bench_blob, bench_inline, bench_scene
from pipeline.sandbox.documents import blob_json, inline_json
from pipeline.sandbox.nasty import nasty_record
from pipeline.sandbox.options import TARGETS, SandboxOptions, Target
from pipeline.sandbox.records import Record, image_file, record_rng, relabelled, tidy_record
from pipeline.sandbox.scenes import Scene, Thing

PROJECT, OTHER_PROJECT, FORBIDDEN_PROJECT = 12, 13, 14
VERSION, OLDER_VERSION, OTHER_VERSION = 99, 98, 97
DATASET, OTHER_DATASET = 209, 210
FOREIGN_ROWS = 3
"""Rows of another project, first in every table, that a request without its filter would deliver."""

_KOREA = timezone(timedelta(hours=9))
_START = datetime(2026, 7, 1, tzinfo=_KOREA)
_TIE = 7
_CACHED_RECORDS = 2000
_FIRST_KEY: Mapping[Target, int] = {"task": 1000, "assignment": 400_001, "ground_truth": 900_001}
_CATEGORIES = ("train",) * 7 + ("validation",) * 2 + ("test",)


class Facts(NamedTuple):
    """The columns that rows can be filtered by, besides their keys."""

    project: int
    versions: tuple[int, ...]
    status_label: str
    status_review: str
    user: int
    reviewer: int | None
    workshop: int
    group: int
    stage: int
    tags: tuple[int, ...]
    task_tags: tuple[int, ...]
    discarded: bool
    confirmed: bool
    created: str
    last_labeled: str | None
    last_reviewed: str | None
    category: str | None
    ground_truth_id: int


@dataclass(frozen=True, slots=True)
class MediaTruth:
    """What an export should contain of one media; sizes are those of the stored picture, in pixels."""

    media: str
    width: int
    height: int
    file_name: str | None
    things: tuple[Thing, ...]
    faulty: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RecordTruth:
    """What an export should contain of one record. ``key`` is the target's unique key, ``id`` the row's id."""

    key: int
    id: int
    index: int
    kind: str
    category: str | None
    readable: bool
    media: tuple[MediaTruth, ...]

    @property
    def annotations(self) -> tuple[Thing, ...]:
        """Return all readable annotations of all media."""
        return tuple(thing for media in self.media for thing in media.things)

    @property
    def file_name(self) -> str | None:
        """Return the original name of the file of the first media."""
        return self.media[0].file_name if self.media else None


class SandboxData:
    """The data of a sandbox, made from its options alone. Records are built when they are asked for."""

    def __init__(self, options: SandboxOptions) -> None:
        self.options = options
        self.keys: dict[Target, list[int]] = {target: [] for target in TARGETS}
        self.changed: set[int] = set()
        self._gaps = random.Random(f"{options.seed}/keys")
        self._records: dict[int, Record] = {}
        self.grow(options.records + FOREIGN_ROWS)

    def grow(self, count: int) -> None:
        """Add ``count`` rows at the end of every target, with higher keys than all before."""
        for _ in range(count):
            for target in TARGETS:
                keys = self.keys[target]
                last = keys[-1] if keys else _FIRST_KEY[target]
                keys.append(last + self._gaps.choice((1, 1, 2, 6)))

    def change(self, indexes: Iterable[int]) -> None:
        """Label the clean records at these positions again."""
        if self.options.profile != "tidy":
            raise ValueError("only records of the tidy profile can be labelled anew")
        self.changed |= set(indexes)
        self._records.clear()

    def __len__(self) -> int:
        return len(self.keys["task"])

    def record(self, index: int) -> Record:
        """Return the record at a position: the same object or an equal one at every call."""
        found = self._records.get(index)
        if found is None:
            if len(self._records) >= _CACHED_RECORDS:
                self._records.clear()
            found = self._records[index] = self.build_record(index)
            for file in (found.files or ()) if self.options.file_urls != "signed" else ():
                if self.options.file_urls == "media":
                    file.url = "media" if file.url == "signed" else file.url
                elif self.options.file_urls == "none" or index % 3 == 1:
                    file.url = "null"
        return found

    def build_record(self, index: int) -> Record:
        """Return the record of a row: a scene of the profile, or one of its malformations."""
        options = self.options
        if options.profile == "bench":
            scene = Scene("image_1", *IMAGE_SIZE)
            return Record(index, "bench", [scene], "shared", [image_file(scene, f"bench_{index:08d}.jpg", "jpg")])
        rng = record_rng(options.seed, index)
        assignment_id = self.keys["assignment"][index]
        if options.profile == "nasty" and index >= FOREIGN_ROWS:
            number = index - FOREIGN_ROWS
            return nasty_record(rng, index, number, assignment_id, options.image_size, options.kinds)
        record = tidy_record(rng, index, assignment_id, options.image_size)
        return relabelled(record, rng, assignment_id) if index in self.changed else record

    def inline(self, index: int) -> tuple[bytes, ...]:
        """Return the document as rows carry it, in pieces to be joined."""
        if self.options.profile == "bench":
            return bench_inline(self.options.seed, index, self.keys["assignment"][index])
        record = self.record(index)
        return (inline_json(record.document, record.literals),)

    def blob(self, index: int) -> bytes:
        """Return the document as the object store holds it."""
        if self.options.profile == "bench":
            return bench_blob(self.options.seed, index, self.keys["assignment"][index])
        record = self.record(index)
        return blob_json(record.document, record.literals)

    def facts(self, index: int) -> Facts:
        """Return the columns of a record; ``created`` has ties of seven and never decreases with the key."""
        dice = hashlib.blake2b(f"{self.options.seed}/facts/{index}".encode(), digest_size=16).digest()
        status = ("completed",) * 7 + ("in_progress", "stand_by", "skipped")
        created = _START + timedelta(seconds=97 * self.tie(index), milliseconds=567)
        labeled = created + timedelta(hours=1, seconds=dice[0]) if dice[1] % 10 < 9 else None
        foreign = index < FOREIGN_ROWS
        older = index % 2 == 0
        nasty = self.options.profile == "nasty"
        return Facts(
            project=OTHER_PROJECT if foreign else PROJECT,
            versions=(OTHER_VERSION,) if foreign else (VERSION, OLDER_VERSION) if older else (VERSION,),
            status_label=status[dice[1] % 10],
            status_review=("completed", "completed", "stand_by", "rejected")[dice[2] % 4],
            user=7 + dice[3] % 5,
            reviewer=20 + dice[4] % 3 if dice[4] % 2 else None,
            workshop=614 + dice[5] % 2,
            group=31 + dice[6] % 2,
            stage=41 + dice[7] % 3,
            tags=tuple(sorted({1 + dice[8] % 4, 1 + dice[9] % 4})) if dice[10] % 2 else (),
            task_tags=(11 + dice[11] % 3,) if dice[10] % 3 else (),
            discarded=dice[12] % 25 == 0,
            confirmed=dice[13] % 3 != 0,
            created=created.isoformat(timespec="milliseconds"),
            last_labeled=labeled.isoformat(timespec="milliseconds") if labeled else None,
            last_reviewed=(labeled + timedelta(days=1)).isoformat(timespec="milliseconds")
            if labeled and dice[4] % 2
            else None,
            category=None if nasty and dice[14] % 9 == 0 else _CATEGORIES[dice[15] % 10],
            ground_truth_id=20_000 + (index - 1 if nasty and index % 10 == 9 else index),
        )

    @staticmethod
    def tie(index: int) -> int:
        """Return a number that rows created at the same moment share; it grows with the position."""
        return index // _TIE

    def truth(self, target: Target, index: int) -> RecordTruth:
        """Return what an export should contain of one row of a target."""
        record, facts, key = self.record(index), self.facts(index), self.keys[target][index]
        scenes = record.scenes
        if self.options.profile == "bench":
            scenes = [bench_scene(self.options.seed, index)]
        names = {file.spec: file.info.get("file_name_original") for file in record.files or ()}
        media = tuple(
            MediaTruth(s.media, s.width, s.height, names.get(s.media), tuple(s.things), dict(s.faulty)) for s in scenes
        )
        return RecordTruth(
            key=key,
            id=facts.ground_truth_id if target == "ground_truth" else key,
            index=index,
            kind=record.kind,
            category=facts.category if target == "ground_truth" else None,
            readable=record.readable,
            media=media,
        )


def utc_in(seconds: float) -> str:
    """Return the time ``seconds`` from now, ISO 8601 in UTC."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
