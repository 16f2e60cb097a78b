"""The sections of a configuration: frozen models, each of which checks what can be checked of it alone."""

import ipaddress
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.model.labels import normalise_label
from pipeline.model.skeletons import PERSON_EDGES, PERSON_FLIP, PERSON_POINTS
from pipeline.model.splits import SPLIT_NAME

RECORD_KEY = "record"
_HOST_NAME = re.compile(r"\w[\w-]*(\.[\w-]+)*\.?")
_SPLIT_KEY = re.compile(r"record|file_name|data_unit(\.[^.]+)*|document(\.[^.]+)+")

type _SplitName = Annotated[str, Field(pattern=rf"^{SPLIT_NAME}$")]


class Model(BaseModel):
    """Base of all sections: immutable, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, validate_default=True)


class FormatConfig(Model):
    """One requested format: its name (or ``package.module:Class``) and its options."""

    name: str = Field(min_length=1)
    options: dict[str, Any] = {}


class ReportConfig(Model):
    """The page that shows an export to people: the language of its texts."""

    language: Literal["en", "ko"] = "en"


class SplitConfig(Model):
    """How samples are divided: ``none`` (all ``train``), ``hash`` of a key, ground truth ``category``, or as a ``file``
    says. Records with the same value of ``key`` are in the same split.
    """

    by: Literal["none", "hash", "category", "file"] = "none"
    ratios: dict[_SplitName, float] = {"train": 0.8, "val": 0.1, "test": 0.1}
    key: str = RECORD_KEY
    file: str = ""

    @field_validator("ratios")
    @classmethod
    def _ratios_add_up(cls, ratios: dict[str, float]) -> dict[str, float]:
        if not ratios or any(not 0 <= ratio <= 1 for ratio in ratios.values()):
            raise ValueError("each ratio must be between 0 and 1")
        if abs(sum(ratios.values()) - 1) > 1e-9:
            raise ValueError(f"must add up to 1, not {sum(ratios.values()):g}")
        return ratios

    @field_validator("key")
    @classmethod
    def _key_is_one_we_know(cls, key: str) -> str:
        if not _SPLIT_KEY.fullmatch(key):
            raise ValueError("must be record, data_unit, file_name, data_unit.<path> or document.<path>")
        if key.endswith("url"):
            raise ValueError("a URL is signed anew each time it is listed and groups nothing")
        return key

    @model_validator(mode="after")
    def _fits_together(self) -> "SplitConfig":
        if self.by == "file" and not self.file:
            raise ValueError("by: file needs file, a CSV file with a column for the key and a column 'split'")
        if self.file and self.by != "file":
            raise ValueError("file is only read with by: file")
        if self.key != RECORD_KEY and self.by not in ("hash", "file"):
            raise ValueError(f"key is not looked at with by: {self.by}; it needs by: hash or by: file")
        return self

    @property
    def groups(self) -> bool:
        """Return whether records are grouped by something other than their own id."""
        return self.key != RECORD_KEY


class ClassConfig(Model):
    """Class names: which come first, which are renamed (two with one new name are merged), which are left out.

    ``lock`` is a file that fixes the number of each class once it has one; ``drift`` says what may change then.
    """

    order: tuple[str, ...] = ()
    rename: dict[str, str] = {}
    drop: tuple[str, ...] = ()
    lock: str = ""
    drift: Literal["append", "error", "allow"] = "append"

    @field_validator("lock")
    @classmethod
    def _lock_is_no_part_of_an_export(cls, lock: str) -> str:
        if lock.endswith("metadata/classes.lock.json"):
            raise ValueError("belongs to a finished export, and a lock is written to; make a copy of it and name that")
        return lock


class SkeletonConfig(Model):
    """An object made of keypoints: their classes in order, the lines between them, and which are mirror images.

    The string ``coco_person_17`` in its place stands for COCO's person.
    """

    points: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)
    edges: tuple[tuple[str, str], ...] = ()
    flip: tuple[tuple[str, str], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _read_preset(cls, values: Any) -> Any:
        if values == "coco_person_17":
            return {"points": PERSON_POINTS, "edges": PERSON_EDGES, "flip": PERSON_FLIP}
        if isinstance(values, str):
            raise ValueError("the only skeleton with a name of its own is coco_person_17; describe others by points")
        return values

    @field_validator("points")
    @classmethod
    def _points_differ(cls, points: tuple[str, ...]) -> tuple[str, ...]:
        points = tuple(map(normalise_label, points))
        _refuse_repeated(points)
        return points

    @field_validator("edges", "flip")
    @classmethod
    def _pairs_are_of_two(cls, pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        for first, second in pairs:
            if normalise_label(first) == normalise_label(second):
                raise ValueError(f"{first!r} is paired with itself")
        return tuple((normalise_label(first), normalise_label(second)) for first, second in pairs)

    @model_validator(mode="after")
    def _names_are_points(self) -> "SkeletonConfig":
        for key, pairs in (("edges", self.edges), ("flip", self.flip)):
            for name in (name for pair in pairs for name in pair):
                if name not in self.points:
                    raise ValueError(f"{key} names {name!r}, which is not one of the points")
        _refuse_repeated(" and ".join(sorted(pair)) for pair in self.edges)
        _refuse_repeated(name for pair in self.flip for name in pair)
        return self


class RunConfig(Model):
    """How the work is done. No value here changes a byte of the result.

    ``file_hosts`` are names, addresses or networks from which files may be fetched although their address is private.
    """

    executor: Literal["auto", "processes", "ray", "serial"] = "auto"
    address: str | None = None
    workers: int | None = Field(default=None, ge=1)
    memory_mb: int = Field(default=512, ge=0)
    shard_size: int = Field(default=500, ge=1, le=100_000)
    page_size: int = Field(default=100, ge=1, le=1000)
    requests: int = Field(default=32, ge=1, le=1000)
    shard_timeout: int = Field(default=3600, ge=0)
    file_hosts: tuple[str, ...] = ()
    largest_original_mb: int = Field(default=16_384, ge=1)
    keep_staging: bool = False

    @field_validator("file_hosts")
    @classmethod
    def _hosts_are_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            _check_host(host)
        return hosts


def _check_host(host: str) -> None:
    try:
        ipaddress.ip_network(host.strip("[]"))
    except ValueError:
        pass
    else:
        return
    try:
        network = ipaddress.ip_network(host, strict=False)
    except ValueError:
        # A name does not end in a number: 10.0.0 or 127.1 would be read as an address by some resolvers.
        if not _HOST_NAME.fullmatch(host) or host.rstrip(".").rpartition(".")[2].isdigit():
            problem = f"{host!r} must be a host name, an address or a network, without scheme, port and path"
            raise ValueError(problem) from None
    else:
        raise ValueError(f"{host!r} has bits after its prefix; write {network}")


def _refuse_repeated(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{name!r} is named twice")
        seen.add(name)
