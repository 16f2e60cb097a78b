"""``sandbox``: serve a local Synapse API with made-up data."""

import typer

PASS_ALL = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""The options are the sandbox's own: its parser reads them, and it is imported for this command only."""


def command(context: typer.Context) -> int:
    """Serve a local Synapse API with made-up data."""
    from pipeline.sandbox.command import serve

    try:
        return serve(context.args, program="synapse-export sandbox")
    except SystemExit as stop:  # how its parser ends after --help or a wrong option
        return stop.code if isinstance(stop.code, int) else 1
