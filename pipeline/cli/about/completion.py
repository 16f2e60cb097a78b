"""``completion``: what a shell needs to complete commands, options, formats and paths."""

from enum import StrEnum
from typing import Annotated

import typer

VARIABLE = "_SYNAPSE_EXPORT_COMPLETE"
"""With it in its environment the program answers a shell that completes a line."""


class Shell(StrEnum):
    """The shells that are known."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def command(shell: Annotated[Shell, typer.Argument(help="bash, zsh or fish")]) -> None:
    """Print what makes a shell complete this program.

    It is for eval: eval "$(synapse-export completion bash)".
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # used there, not exported

    print(get_completion_script(prog_name="synapse-export", complete_var=VARIABLE, shell=shell.value))


def complete_format(incomplete: str) -> list[str]:
    """The built-in formats that begin so."""
    from pipeline.formats import FORMATS

    return [name for name in FORMATS if name.startswith(incomplete)]
