"""``plan``: show what a run would export and lose."""

from pipeline.cli.options import ConfigFile, Overrides, load


def command(config: ConfigFile, overrides: Overrides = None) -> None:
    """Show what would be exported and lost; write nothing."""
    from pipeline.cli.plan_report import print_forecast

    print_forecast(load(config, overrides))
