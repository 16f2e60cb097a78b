"""``run``: export what a configuration describes."""

import time

from pipeline.cli.options import BreakLock, ConfigFile, Overrides, announce, load


def command(config: ConfigFile, overrides: Overrides = None, break_lock: BreakLock = False) -> None:
    """Export what a configuration describes.

    Run the same command again to continue after a crash.
    """
    began = time.monotonic()
    announce(f"reading {config} …")
    from pipeline.cli.console import make_listener
    from pipeline.cli.result import print_result
    from pipeline.run import run

    loaded = load(config, overrides)
    result = run(loaded, listener=make_listener(), break_lock=break_lock)
    print_result(result, loaded, config, seconds=time.monotonic() - began)
