"""``run``: export what a configuration describes."""

import time

from pipeline.cli.conversation import entry
from pipeline.cli.options import AsJson, BreakLock, FailIfNothing, JsonProgress, Overrides, announce
from pipeline.errors import NOTHING_TO_DO


def command(
    config: entry.MaybeConfig = None,
    overrides: Overrides = None,
    break_lock: BreakLock = False,
    fail_if_nothing: FailIfNothing = False,
    as_json: AsJson = False,
    json_progress: JsonProgress = False,
    target: entry.TargetFlag = None,
    project: entry.ProjectFlag = None,
    version: entry.VersionFlag = None,
    formats: entry.FormatFlag = None,
    name: entry.NameFlag = None,
    path: entry.PathFlag = None,
    storage: entry.StorageFlag = None,
    no_input: entry.NoInput = False,
) -> int:
    """Export what a configuration describes.

    Run the same command again to continue after a crash. On a terminal, what is missing is asked for.
    """
    began = time.monotonic()
    if config is not None:
        announce(f"reading {config} …")
    given = entry.Given(
        target=target, project=project, version=version, formats=formats, name=name, path=path, storage=storage,
        no_input=no_input or as_json or json_progress,
    )  # fmt: skip
    found = entry.find_configuration(config, overrides, given, "run")
    if found is None:
        return 0
    if config is None and found[1]:
        entry.run_and_verify(*found)
        return 0
    from pipeline.cli.result import make_output
    from pipeline.run import run

    loaded, source = found
    output = make_output(as_json=as_json, json_progress=json_progress)
    result = run(loaded, listener=output.listener, break_lock=break_lock)
    output.print_result(result, loaded, source or "CONFIG", seconds=time.monotonic() - began)
    return NOTHING_TO_DO if fail_if_nothing and result.already_finished else 0
