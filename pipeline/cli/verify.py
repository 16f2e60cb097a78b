"""``verify``: check that a finished export is complete and undamaged."""

from typing import Annotated

import typer

from pipeline.cli.options import AsJson, ExportPlace, open_place

Full = Annotated[bool, typer.Option("--full", help="read every file and compare its sha256, not only its size")]


def command(path: ExportPlace, full: Full = False, as_json: AsJson = False) -> None:
    """Check that an export is complete and undamaged."""
    from pipeline.cli.console import json_text
    from pipeline.commands.verify import verify

    storage = open_place(path)
    success = verify(storage, full=full)
    checked = "sha256" if full else "size"
    if as_json:
        told = {
            "url": storage.url,
            "complete": True,
            "checked": checked,
            "files": success.files,
            "run_id": success.run_id,
            "content": success.content,
        }
        print(json_text(told))
        return
    print(
        f"complete: {success.files:,} files checked by {checked}, run {success.run_id}, content {success.content[:16]}"
    )
