"""``retry-failed``: try the failed records of a finished export again."""

import time

from pipeline.cli.options import BreakLock, ConfigFile, Overrides, announce, load


def command(config: ConfigFile, overrides: Overrides = None, break_lock: BreakLock = False) -> None:
    """Try the failed records of an export again.

    Only those are fetched. The dataset is patched to what a run without these failures would have written.
    """
    began = time.monotonic()
    announce(f"reading {config} …")
    from pipeline.cli.console import make_listener
    from pipeline.cli.result import print_result
    from pipeline.commands.retry_failed import retry_failed

    loaded = load(config, overrides)
    result = retry_failed(loaded, listener=make_listener(), break_lock=break_lock)
    print_result(result, loaded, config, seconds=time.monotonic() - began)
