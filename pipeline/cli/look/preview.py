"""``preview``: a contact sheet of samples with the annotations that exported files hold."""

import base64
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import ExportPlace, announce, load, open_place

Output = Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="where the picture is written")]
Images = Annotated[int, typer.Option("--images", min=1, max=200, help="how many images it shows")]
Columns = Annotated[int, typer.Option("--columns", min=1, max=20, help="how many of them side by side")]
Format = Annotated[str, typer.Option("--format", help="whose files are read: coco, yolo or voc; by default the first")]
_KITTY_CHUNK = 4096


def command(
    path: ExportPlace, output: Output = "preview.png", images: Images = 12, columns: Columns = 4, format_: Format = ""
) -> None:
    """Show samples of an export as its files label them.

    For a configuration whose export is not there yet, the newest records are exported to a temporary folder and shown.
    """
    from pipeline.cli.console import make_console, number, say
    from pipeline.commands.preview import preview_config, preview_export
    from pipeline.destination.existing import read_success
    from pipeline.run import run
    from pipeline.storage import open_storage

    storage = open_place(path)
    try:
        if Path(path).suffix in {".yaml", ".yml"} and read_success(storage) is None:
            announce(f"exporting the {images} newest records to a temporary folder …")
            found = preview_config(load(path, None), run, images=images, columns=columns, format_name=format_)
            where = "the newest records"
        else:
            found = preview_export(storage, images=images, columns=columns, format_name=format_)
            where = storage.url
    finally:
        storage.close()
    target = Path(output).expanduser().absolute()
    open_storage(str(target.parent)).write(target.name, found.png)
    console = make_console()
    if sys.stdout.isatty() and (shown := terminal_picture(found.png, os.environ)):
        print(shown)
    say(console, f"{found.images} images of {where}, with the labels of {found.format}")
    say(console, ", ".join(f"{name} {number(count)}" for name, count in sorted(found.objects.items())) or "no objects")
    for shown, name in sorted(found.numbers.items()):
        say(console, f"{shown} is {name}")
    say(console, f"picture: {target}")


def terminal_picture(png: bytes, environment: "os._Environ[str] | dict[str, str]") -> str:
    """Return what shows a picture in the terminal that ``environment`` names, or ``""`` for one that cannot.

    Known are the protocols of kitty (also Ghostty) and of iTerm2 (also WezTerm).
    """
    data = base64.b64encode(png).decode()
    program = environment.get("TERM_PROGRAM", "")
    if "KITTY_WINDOW_ID" in environment or "kitty" in environment.get("TERM", "") or program == "ghostty":
        chunks = [data[start : start + _KITTY_CHUNK] for start in range(0, len(data), _KITTY_CHUNK)]
        last = len(chunks) - 1
        return "".join(
            f"\x1b_G{'a=T,f=100,' if position == 0 else ''}m={int(position < last)};{chunk}\x1b\\"
            for position, chunk in enumerate(chunks)
        )
    if program in ("iTerm.app", "WezTerm"):
        return f"\x1b]1337;File=inline=1;size={len(png)};width=100%:{data}\a"
    return ""
