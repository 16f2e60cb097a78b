"""Formats by name: those built in, those that installed packages register, and those named by their class."""

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import msgspec

from pipeline.errors import ConfigError, did_you_mean
from pipeline.formats.foreign import CompletedFormat, GuardedFormat, never_ending
from pipeline.formats.options import OptionError, option_defaults
from pipeline.formats.protocol import BaseFormat, Format

FORMATS: Mapping[str, str] = {
    "coco": "pipeline.formats.coco:Coco",
    "csv": "pipeline.formats.tables.csv:Csv",
    "imagefolder": "pipeline.formats.imagefolder:ImageFolder",
    "parquet": "pipeline.formats.tables.parquet:Parquet",
    "semantic": "pipeline.formats.semantic:Semantic",
    "synapse_json": "pipeline.formats.synapse_json:SynapseJson",
    "voc": "pipeline.formats.voc:Voc",
    "webdataset": "pipeline.formats.webdataset:WebDataset",
    "yolo": "pipeline.formats.yolo:Yolo",
}
"""The built-in formats. They are imported when they are asked for."""

ENTRY_POINTS = "synapse_export.formats"
"""The group of entry points (name = ``package.module:Class``) by which an installed package registers a format."""


_SAID: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "coco": (
        "annotations/*_<split>.json and classes.json, as pycocotools and the libraries on top of it read them.",
        ("box_segmentation='empty'", "shard_images=0"),
    ),
    "csv": ("annotations.csv, all splits and all media in one table.", ("empty_images=True", "bom=False")),
    "imagefolder": (
        "images/<split>/metadata.parquet: a row per usable image, with its objects as parallel lists.",
        (),
    ),
    "parquet": (
        "parquet/split=<split>/part-<number>.parquet, each of images_per_file images, and parquet_other/.",
        ("images_per_file=100000", "empty_images=True"),
    ),
    "semantic": (
        "semantic/: for each image a PNG of one channel, whose pixels are numbers of classes.",
        ("layout='ultralytics'", "background='class'"),
    ),
    "synapse_json": (
        'json/<stem>.json per record: {"data": <document>, "files": <file infos without URLs>, "id": <record>}.',
        (),
    ),
    "voc": (
        "VOCdevkit/VOC2012/, as the readers of Pascal VOC expect it.",
        ("year=2012", "images='keep'", "class_sets=False"),
    ),
    "webdataset": (
        "webdataset/<split>-<number>.tar, each of images_per_tar images with their annotations.",
        ("images_per_tar=1000",),
    ),
    "yolo": (
        "labels/<split>/<stem>.txt, data.yaml and classes.txt, at the root or in a folder of their own.",
        (
            *("task='detect'", "folder=''", "boxes_from=()", "outlines='bridge'", "boxes='skip'", "simplify=0.0"),
            *("skeleton=''", "ndjson=False", "base_url=''"),
        ),
    ),
}
"""What the classes of the built-in formats say of themselves, so that a list of them imports none: their libraries take
half a second. A test compares it with the classes."""


class FormatInfo(msgspec.Struct, frozen=True):
    """A format that can be asked for by name.

    ``package`` is the installed package that registers it, ``""`` for a built-in one. ``problem`` says why it cannot be
    loaded; ``summary`` and ``options`` (``name=default`` each) are empty then.
    """

    name: str
    package: str = ""
    summary: str = ""
    options: tuple[str, ...] = ()
    problem: str = ""


def list_formats() -> list[FormatInfo]:
    """Return every format by name: the built-in ones, then those of installed packages, also the broken ones."""
    found = [FormatInfo(name, "", *_SAID[name]) for name in sorted(FORMATS)]
    return found + [_describe(point.name, _package(point), partial(_load_class, point.name)) for point in _plugins()]


def load_formats(entries: Iterable[tuple[str, Mapping[str, Any]]]) -> tuple[BaseFormat, ...]:
    """Load all formats of an export, each under a name of its own.

    Those that are not built in are guarded: they raise FormatError for what is no answer of a format. Raises
    ConfigError as :func:`load_format` does, and when two formats would have the same name.
    """
    loaded: dict[str, BaseFormat] = {}
    for name, options in entries:
        format_ = load_format(name, options)
        if name not in FORMATS:
            format_ = GuardedFormat(format_)
        if format_.name in loaded:
            format_ = format_.in_own_folder()
        if format_.name in loaded:
            raise ConfigError("formats", f"{format_.name!r} is asked for twice")
        loaded[format_.name] = format_
    return tuple(loaded.values())


def load_format(name: str, options: Mapping[str, Any] | None = None) -> BaseFormat:
    """Load the format called ``name`` (built in or of an installed package, or ``package.module:Class``).

    Raises ConfigError when there is no such format, when it cannot be loaded or is not a format, when an installed
    package claims a built-in name, and for an unknown or wrong option.
    """
    factory = _load_class(name)
    known = option_defaults(factory)
    for option in options or {}:
        if option not in known:
            hint = f"known: {', '.join(known)}" if known else "it has none"
            raise ConfigError(f"formats.{name}.{option}", f"unknown option{did_you_mean(option, known)}; {hint}")
    try:
        with never_ending(name, "its class"):
            loaded = factory(**(options or {}))
    except OptionError as error:
        raise ConfigError(f"formats.{name}.{error.option}", error.problem) from error
    except Exception as error:  # whatever a class of another package raises
        raise ConfigError(f"formats.{name}", str(error)) from error
    if isinstance(loaded, BaseFormat):
        return loaded
    if isinstance(loaded, Format):
        return CompletedFormat(loaded)
    raise ConfigError(f"formats.{name}", "is not a format: name, needs_payload, render and manifests are required")


def _load_class(name: str) -> Any:
    points = [point for point in _plugins() if point.name == name]
    packages = ", ".join(map(_package, points))
    if name in FORMATS:
        if points:
            text = f"{packages} registers a format of this name, which is built in: uninstall it, or have it renamed"
            raise ConfigError(f"formats.{name}", text)
        return _import_class(name, FORMATS[name])
    if len(points) > 1:
        raise ConfigError(f"formats.{name}", f"several packages register it ({packages}): uninstall all but one")
    if points:
        return _import_class(f"{name!r} of the package {packages}", points[0].value)
    if ":" in name:
        return _import_class(repr(name), name)
    names = sorted({*FORMATS, *(point.name for point in _plugins())})
    near, known = did_you_mean(name, names), ", ".join(names)
    raise ConfigError("formats", f"unknown format {name!r}{near}; known: {known}, or 'package.module:Class'")


def _import_class(subject: str, dotted: str) -> Any:
    module, _, attribute = dotted.partition(":")
    try:
        with never_ending(module, "its module"):
            return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever a module of another package raises when it is imported
        problem = f"cannot load {subject}: {type(error).__name__}: {error}"
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            problem += "; a module of your own is looked for beside the configuration (`formats` has --config for that)"
        raise ConfigError("formats", problem) from error


def _plugins() -> tuple[EntryPoint, ...]:
    return _plugins_on(tuple(sys.path))


@lru_cache(maxsize=1)
def _plugins_on(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Return what packages on the import path register; reading it takes about 10 ms, so it is done once."""
    del path
    return tuple(sorted(entry_points(group=ENTRY_POINTS), key=lambda point: (point.name, _package(point))))


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.module


def describe_format(name: str) -> FormatInfo:
    """Return what the class of a format says, which is imported for it; ``problem`` when it cannot be."""
    return _describe(name, "", partial(_load_class, name))


def _describe(name: str, package: str, load: Callable[[], Any]) -> FormatInfo:
    try:
        factory = load()
    except ConfigError as error:
        return FormatInfo(name, package, problem=str(error))
    summary = (factory.__doc__ or "").strip().partition("\n")[0].replace("``", "")
    options = option_defaults(factory)
    return FormatInfo(name, package, summary, tuple(f"{option}={default!r}" for option, default in options.items()))
