"""``plan``: show what a run would export and lose."""

from pipeline.cli.options import AsJson, ConfigFile, Overrides, load


def command(config: ConfigFile, overrides: Overrides = None, as_json: AsJson = False) -> int:
    """Show what would be exported and lost; write nothing.

    The exit code is that of a run, as far as it is known.
    """
    from pipeline.cli.plan_report import print_forecast

    return print_forecast(load(config, overrides), as_json=as_json)
