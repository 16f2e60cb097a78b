"""``run``: export what a configuration describes."""

from pipeline.cli.options import BreakLock, ConfigFile, Overrides, load


def command(config: ConfigFile, overrides: Overrides = None, break_lock: BreakLock = False) -> None:
    """Export what a configuration describes.

    Run the same command again to continue after a crash.
    """
    from pipeline.cli.console import make_listener
    from pipeline.cli.result import print_result
    from pipeline.run import run

    loaded = load(config, overrides)
    print_result(run(loaded, listener=make_listener(), break_lock=break_lock), loaded, config)
