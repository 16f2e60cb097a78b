"""Rows of a published CSV file, one by one, from the chunks of its bytes."""

import csv
from collections.abc import Iterable, Iterator

from pipeline.errors import DamagedExportError
from pipeline.formats.encoding import plain_cell

_MOST_FIELD = 2**27  # characters; Python's own bound of 131,072 is less than an outline may have


def csv_rows(chunks: Iterable[bytes], where: str) -> Iterator[dict[str, str]]:
    """Yield the rows below the header, by column, with the texts that were written.

    In memory is one row, and the chunk that it is in. Raises DamagedExportError, which names ``where`` and the line,
    for what is not CSV in UTF-8, and for a row that has not the columns of the header.
    """
    csv.field_size_limit(_MOST_FIELD)
    reader = csv.reader(map(bytes.decode, byte_lines(chunks)), strict=True)
    try:
        header = next(reader, [])
        for cells in reader:
            if len(cells) != len(header):
                raise DamagedExportError(
                    f"{where}:{reader.line_num}", f"has {len(cells)} columns instead of {len(header)}; {_ADVICE}"
                )
            yield dict(zip(header, map(plain_cell, cells), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DamagedExportError(f"{where}:{reader.line_num + 1}", f"is not CSV in UTF-8; {_ADVICE}") from error


def byte_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a file with their line breaks. A line longer than a chunk is collected once."""
    pieces: list[bytes] = []
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        pieces.append(first)
        for line in others:
            yield b"".join(pieces) + b"\n"
            pieces = [line]
    if any(pieces):
        yield b"".join(pieces)


_ADVICE = "the export was changed after it was written; verify names every such file"
