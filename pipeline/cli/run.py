"""``run``: export what a configuration describes."""

import time

from pipeline.cli.conversation import entry
from pipeline.cli.options import BreakLock, Overrides, announce


def command(
    config: entry.MaybeConfig = None,
    overrides: Overrides = None,
    break_lock: BreakLock = False,
    target: entry.TargetFlag = None,
    project: entry.ProjectFlag = None,
    version: entry.VersionFlag = None,
    formats: entry.FormatFlag = None,
    name: entry.NameFlag = None,
    path: entry.PathFlag = None,
    storage: entry.StorageFlag = None,
    no_input: entry.NoInput = False,
) -> None:
    """Export what a configuration describes.

    Run the same command again to continue after a crash. On a terminal, what is missing is asked for.
    """
    began = time.monotonic()
    if config is not None:
        announce(f"reading {config} …")
    given = entry.Given(
        target=target, project=project, version=version, formats=formats, name=name, path=path, storage=storage,
        no_input=no_input,
    )  # fmt: skip
    found = entry.find_configuration(config, overrides, given, "run")
    if found is None:
        return
    if config is None and found[1]:
        entry.run_and_verify(*found)
        return
    from pipeline.cli.console import make_listener
    from pipeline.cli.result import print_result
    from pipeline.run import run

    loaded, source = found
    result = run(loaded, listener=make_listener(), break_lock=break_lock)
    print_result(result, loaded, source or "CONFIG", seconds=time.monotonic() - began)
