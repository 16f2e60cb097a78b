"""``report``: show a finished export as one page."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import ExportPlace, open_place


class Language(StrEnum):
    """The languages of the page."""

    EN = "en"
    KO = "ko"


Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="the file to write")]
InLanguage = Annotated[
    Language | None, typer.Option("--language", help="the language of its texts, if not that of the configuration")
]


def command(path: ExportPlace, output: Output = Path("report.html"), language: InLanguage = None) -> None:
    """Write the report of an export as an HTML page.

    The page loads nothing, and the export stays as it is.
    """
    from pipeline.commands.report import write_report
    from pipeline.storage import open_storage

    target = open_storage(str(output.absolute().parent))
    size = write_report(open_place(path), target, output.name, language.value if language else "")
    print(f"{output}: {size:,} bytes")
