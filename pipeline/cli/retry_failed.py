"""``retry-failed``: try the failed records of a finished export again."""

import time

from pipeline.cli.options import (
    AsJson,
    BreakLock,
    ConfigFile,
    FailIfNothing,
    JsonProgress,
    Overrides,
    announce,
    load,
)
from pipeline.errors import NOTHING_TO_DO


def command(
    config: ConfigFile,
    overrides: Overrides = None,
    break_lock: BreakLock = False,
    fail_if_nothing: FailIfNothing = False,
    as_json: AsJson = False,
    json_progress: JsonProgress = False,
) -> int:
    """Try the failed records of an export again.

    Only those are fetched. The dataset is patched to what a run without these failures would have written.
    """
    began = time.monotonic()
    announce(f"reading {config} …")
    from pipeline.cli.result import make_output
    from pipeline.commands.retry_failed import retry_failed

    loaded = load(config, overrides)
    output = make_output(as_json=as_json, json_progress=json_progress)
    result = retry_failed(loaded, listener=output.listener, break_lock=break_lock)
    output.print_result(result, loaded, config, seconds=time.monotonic() - began)
    return NOTHING_TO_DO if fail_if_nothing and result.already_finished else 0
