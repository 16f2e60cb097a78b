"""``verify``: check that a finished export is complete and undamaged."""

from typing import Annotated

import typer

from pipeline.cli.options import ExportPlace, open_place

Full = Annotated[bool, typer.Option("--full", help="read every file and compare its sha256, not only its size")]


def command(path: ExportPlace, full: Full = False) -> None:
    """Check that an export is complete and undamaged."""
    from pipeline.commands.verify import verify

    success = verify(open_place(path), full=full)
    checked = "by sha256" if full else "by size"
    print(f"complete: {success.files:,} files checked {checked}, run {success.run_id}, content {success.content[:16]}")
