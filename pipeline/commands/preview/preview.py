"""Samples of an export on a contact sheet, with the annotations that its published files hold.

Before a run, the newest records are exported to a temporary folder with the configuration, and that export is shown:
what is drawn is always read back from files that a run wrote.
"""

import hashlib
import heapq
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from pipeline.commands.preview.readers import Chosen, read_coco, read_voc, read_yolo
from pipeline.commands.session import open_session
from pipeline.config.export import ExportConfig
from pipeline.config.sections import ClassConfig, FormatConfig, RunConfig
from pipeline.destination import metadata
from pipeline.destination.existing import read_success
from pipeline.destination.rows import csv_rows
from pipeline.errors import ConfigError, EmptySelectionError, PreflightError
from pipeline.images.contact_sheet import Drawn, Tile, draw_sheet, shown_label
from pipeline.model.shards import unpack_keys
from pipeline.storage import Storage, open_storage

type _Reader = Callable[[Storage, Sequence[Chosen], Mapping[str, Any]], dict[int, list[Drawn]]]

_READERS: Mapping[str, _Reader] = {"coco": read_coco, "yolo": read_yolo, "voc": read_voc}
FORMATS = tuple(_READERS)
"""The formats that can be drawn."""


class Preview(msgspec.Struct, frozen=True):
    """A contact sheet: the PNG, the format whose files were read, how many images and objects of each class it shows.

    ``numbers`` are the classes whose names cannot be drawn, by what stands in the picture in their place.
    """

    png: bytes
    format: str
    images: int
    objects: dict[str, int]
    numbers: dict[str, str]


def preview_export(storage: Storage, *, images: int = 12, columns: int = 4, format_name: str = "") -> Preview:
    """Draw ``images`` images of a finished export, chosen by a hash of their paths: the same ones each time.

    ``format_name`` is the format whose files are read, by default the first of :data:`FORMATS` that the export has.
    Raises PreflightError when there is no export or no image, ConfigError when it lacks the format, and
    DamagedExportError where its files are not as they were written.
    """
    if read_success(storage) is None:
        raise PreflightError(f"{storage.url} holds no finished export; there is no {metadata.SUCCESS}")
    summary = msgspec.json.decode(storage.find(metadata.SUMMARY) or b"{}")
    config = summary["config"]
    if config.get("packaging") != "files":
        raise PreflightError(f"{storage.url} has its labels in archives; export with packaging: files to look at them")
    options = {entry["name"]: entry["options"] for entry in reversed(config["formats"])}
    name = format_name or next((name for name in FORMATS if name in options), "")
    if name not in options or name not in _READERS:
        held = ", ".join(sorted(options))
        raise ConfigError(f"format {name}".rstrip(), f"cannot be drawn of an export that has {held}; {_one_of()}")
    chosen = heapq.nsmallest(images, _images(storage), key=lambda one: hashlib.sha256(one.path.encode()).digest())
    if not chosen:
        raise PreflightError(f"{storage.url} has no copied image; export with save_original_file: true to see any")
    chosen.sort(key=lambda one: (one.split, one.record_id))
    found = _READERS[name](storage, chosen, options[name])
    tiles = [
        Tile(
            storage.find(one.path),
            f"{one.split}  {one.record_id}  {one.path.rpartition('/')[2]}",
            found[one.image_id],
            fractions=name == "yolo",
        )
        for one in chosen
    ]
    objects: dict[str, int] = {}
    numbers: dict[str, str] = {}
    for drawn in (drawn for tile in tiles for drawn in tile.objects):
        objects[drawn.label] = objects.get(drawn.label, 0) + 1
        if shown_label(drawn) != drawn.label:
            numbers[shown_label(drawn)] = drawn.label
    return Preview(draw_sheet(tiles, columns), name, len(tiles), objects, numbers)


def preview_config(
    config: ExportConfig,
    run: Callable[[ExportConfig], object],
    *,
    images: int = 12,
    columns: int = 4,
    format_name: str = "",
) -> Preview:
    """Export the newest records of a configuration to a temporary folder with ``run``, and draw them.

    Nothing is written at the configuration's path, and its class lock is not touched, so that classes may get other
    colours than those of the run. Raises what a run raises, and what :func:`preview_export` raises.
    """
    names = [entry for entry in config.formats if entry.name in _READERS]
    with tempfile.TemporaryDirectory(prefix="synapse-preview-") as folder:
        with open_session(config.model_copy(update=_place(folder))) as session:
            keys = unpack_keys(session.workspace.source.sample(images).keys).tolist()
        if not keys:
            raise EmptySelectionError("the filter matches no record", "there is nothing to show")
        few = config.model_copy(
            update={
                **_place(folder),
                "filter": {**config.filter, "ids": keys},
                "formats": tuple(names) or (FormatConfig(name="coco"),),
                "save_original_file": True,
                "packaging": "files",
                "duplicates": "report",
                "max_failures": "100%",
                "classes": config.classes.model_copy(update={"lock": ClassConfig().lock}),
                "run": config.run.model_copy(update={"executor": "serial", "keep_staging": RunConfig().keep_staging}),
            }
        )
        run(few)
        return preview_export(open_storage(folder), images=images, columns=columns, format_name=format_name)


def _place(folder: str) -> dict[str, Any]:
    return {"path": folder, "storage": None, "storage_options": {}, "on_existing": "overwrite"}


def _images(storage: Storage) -> Iterator[Chosen]:
    for row in csv_rows(storage.chunks(metadata.RECORDS), f"{storage.url}/{metadata.RECORDS}"):
        if row["output_name"].startswith("images/") and row["sha256"]:
            yield Chosen(int(row["record_id"]), int(row["image_id"]), row["split"], row["output_name"])


def _one_of() -> str:
    return f"choose one of {', '.join(FORMATS)} that the export has"
