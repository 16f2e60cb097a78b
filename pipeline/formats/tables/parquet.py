"""Parquet: the rows of ``csv`` with types, in files of a fixed number of images. See ``docs/formats/parquet.md``.

Parquet files cannot be joined, so shards contribute lines of JSON, one per sample, after a first line that names the
columns. :func:`pipeline.formats.tables.arrow.to_parquet` turns them into the file while they are joined.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from pipeline.formats import BaseFormat, Contents, Entry, Loss, Manifest, Section
from pipeline.formats.annotation_rows import (
    COLUMNS,
    AnnotationColumns,
    decode_raw,
    describe_media,
    make_rows,
    table_support,
)
from pipeline.formats.images import count_files
from pipeline.formats.support import Kind, Support
from pipeline.model.catalog import Catalog
from pipeline.records import NumberedSample

OTHER = "parquet_other/part-00000.parquet"
"""Holds the rows of samples without a usable image: they have no position in a file of their split."""

_ROWS = "rows"
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Parquet(BaseFormat):
    """``parquet/split=<split>/part-<number>.parquet``, each of ``images_per_file`` images, and ``parquet_other/``.

    ``empty_images`` as in ``csv``.
    """

    images_per_file: Annotated[int, Meta(ge=1)] = 100_000
    empty_images: bool = True

    name: ClassVar[str] = "parquet"

    def manifests(self, catalog: Catalog) -> Iterable[Manifest]:
        """Return the files of every split, and the one for samples without a usable image."""
        columns = [name for name in COLUMNS if name != "split"]
        for split, images in catalog.splits.items():
            for number in range(count_files(images, self.images_per_file)):
                yield _manifest(_path(split, number), catalog, columns)
        yield _manifest(OTHER, catalog, COLUMNS)

    def render(self, sample: NumberedSample, catalog: Catalog) -> Iterable[Entry | Loss]:
        """Return the rows of a sample as one line: the media's values and a list of each annotation's."""
        rows, losses = make_rows(sample, catalog)
        if not rows and self.empty_images:
            rows = [AnnotationColumns()]
        if not rows:
            return losses
        usable = sample.sample.has_image
        path = _path(sample.split, sample.position // self.images_per_file) if usable else OTHER
        media = msgspec.structs.asdict(describe_media(sample))
        if usable:
            del media["split"]
        values = [[*map(_value, msgspec.structs.astuple(row))] for row in rows]
        return [Entry(path, _encode((list(media.values()), values)) + b"\n", _ROWS), *losses]

    def support(self) -> Mapping[Kind, Support]:
        """Return that everything is kept but dropped classes."""
        return table_support()

    def how_to_read(self, url: str, split: str, contents: Contents) -> str:  # noqa: ARG002  # DuckDB reads all splits
        """Return how DuckDB reads all files as one table: those of images, or if there are none, of everything else."""
        filled = {path.partition("/")[0] for path, _ in contents.filled if path.startswith(("parquet/", OTHER))}
        if not filled:
            return ""
        files = "parquet/*/*.parquet" if "parquet" in filled else OTHER
        return f"DuckDB: select * from read_parquet('{url}/{files}')"  # noqa: S608  # shown, not run


def _manifest(path: str, catalog: Catalog, columns: Sequence[str]) -> Manifest:
    head = _encode({"columns": columns, "classes": catalog.classes}) + b"\n"
    return Manifest(path, (Section(_ROWS, open=head),), transform="pipeline.formats.tables.arrow:to_parquet")


def _path(split: str, number: int) -> str:
    return f"parquet/split={split}/part-{number:05d}.parquet"


def _value(value: object) -> object:
    return decode_raw(value) if isinstance(value, msgspec.Raw) else value
