"""The format protocol: turn one numbered sample into bytes, and say which files are joined from all shards.

A format does no I/O, keeps no state and never sees another sample, so the memory bound, safe writes, determinism
and accounting are written once, outside it. See ``docs/own-format.md`` for one in 20 lines.
"""

import dataclasses
import importlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec

from pipeline.errors import ConfigError
from pipeline.model.catalog import Catalog
from pipeline.records import NumberedSample


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Bytes of one output file: the whole file, or (with ``section``) one item of a manifest's section.

    ``path`` is relative to the root of the export, with ``/``. An item carries no separator.

    With ``original`` the bytes are those of the sample's original (``NumberedSample.original_path``), and ``data`` is
    empty: the format never sees them. ``as_jpeg`` has them decoded and encoded anew; only for whole files.
    """

    path: str
    data: bytes = b""
    section: str = ""
    original: bool = False
    as_jpeg: bool = False


class Loss(msgspec.Struct, frozen=True, gc=False):
    """An annotation that was not written (``skipped``) or was written changed (``lossy``).

    ``annotation_id`` is the source annotation's own id, or ``""`` when the whole sample is meant: it is left out with
    all its annotations (``skipped``), or is there but not as its readers expect it (``lossy``).
    ``reason`` is one of :class:`pipeline.reasons.Reason`, or a code of the format's own.
    """

    annotation_id: str
    outcome: Literal["skipped", "lossy"]
    reason: str


class Section(msgspec.Struct, frozen=True, gc=False):
    """A run of items in a manifest: ``open``, the items joined by ``separator``, ``close``."""

    name: str
    open: bytes = b""
    separator: bytes = b""
    close: bytes = b""


class Manifest(msgspec.Struct, frozen=True, gc=False):
    """A file made of sections, in this order; a manifest whose bytes are known has one section without items.

    ``transform`` (``package.module:function``) turns the joined bytes into the file's, for files that cannot be joined:
    it takes and gives an iterator of bytes of any cut, holds a bounded amount of them, and is a pure function.
    ``optional``: there is no such file when no item is in it.
    """

    path: str
    sections: tuple[Section, ...]
    transform: str = ""
    optional: bool = False


@runtime_checkable
class Format(Protocol):
    """What a format is. Options are the fields of a frozen dataclass that has these members.

    Not asked of a format, but used where there is one: ``needs_originals`` (a class attribute; True: makes no sense
    without copies of the images), ``reader_memory`` (bytes of memory that reading one byte of its manifests takes),
    ``apart()`` (itself in a folder of its own, for when another format of the same name is in the export), and
    ``fates()`` (what becomes of each kind of annotation, :mod:`pipeline.formats.support`).
    """

    @property
    def name(self) -> str:
        """The name in the configuration, in the ledger and in reports."""

    @property
    def needs_payload(self) -> bool:
        """Whether ``sample.payload`` and ``sample.files`` must be staged (costs staging space)."""

    def render(self, sample: NumberedSample, catalog: Catalog) -> Iterable[Entry | Loss]:
        """Bytes and losses of one sample: a pure function, called once per sample, in any process.

        Every annotation of the sample is either in an entry or in a ``skipped`` loss. A sample the format cannot
        hold at all gives one ``skipped`` loss with an empty annotation id, and one for each of its annotations.
        """

    def manifests(self, catalog: Catalog) -> Iterable[Manifest]:
        """The files joined from all shards; each ``(path, section)`` that ``render`` uses is declared here."""


FORMATS: Mapping[str, str] = {
    "coco": "pipeline.formats.coco.format:Coco",
    "csv": "pipeline.formats.tables.csv:Csv",
    "imagefolder": "pipeline.formats.imagefolder:ImageFolder",
    "parquet": "pipeline.formats.tables.parquet:Parquet",
    "synapse_json": "pipeline.formats.synapse_json:SynapseJson",
    "voc": "pipeline.formats.voc.format:Voc",
    "webdataset": "pipeline.formats.webdataset:WebDataset",
    "yolo": "pipeline.formats.yolo.format:Yolo",
}


def load_formats(entries: Iterable[tuple[str, Mapping[str, Any]]]) -> tuple[Format, ...]:
    """All formats of an export, each under a name of its own.

    Raises ConfigError as :func:`load_format` does, and when two formats would have the same name.
    """
    loaded: dict[str, Format] = {}
    for name, options in entries:
        format_ = load_format(name, options)
        if format_.name in loaded and hasattr(format_, "apart"):
            format_ = format_.apart()
        if format_.name in loaded:
            raise ConfigError("formats", f"{format_.name!r} is asked for twice")
        loaded[format_.name] = format_
    return tuple(loaded.values())


def load_format(name: str, options: Mapping[str, Any] | None = None) -> Format:
    """The format called ``name`` (or ``package.module:Class``), with its options set.

    Raises ConfigError when there is no such format, when it is not a format, or for an unknown or wrong option.
    """
    dotted = FORMATS.get(name, name)
    module_name, _, attribute = dotted.partition(":")
    if not attribute:
        known = ", ".join(sorted(FORMATS))
        raise ConfigError("formats", f"unknown format {name!r}; known: {known}, or 'package.module:Class'")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError("formats", f"cannot load {name!r}: {error}") from error
    known_options = [field.name for field in dataclasses.fields(factory)] if dataclasses.is_dataclass(factory) else []
    for option in options or {}:
        if option not in known_options:
            hint = f"known: {', '.join(known_options)}" if known_options else "it has none"
            raise ConfigError(f"formats.{name}.{option}", f"unknown option; {hint}")
    try:
        loaded = factory(**(options or {}))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"formats.{name}", str(error)) from error
    if not isinstance(loaded, Format):
        raise ConfigError(f"formats.{name}", "is not a format: name, needs_payload, render and manifests are required")
    return loaded
