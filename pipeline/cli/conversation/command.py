"""``new``: a conversation that makes a configuration, and runs it."""

from pipeline.cli.conversation.entry import (
    FormatFlag,
    Given,
    NameFlag,
    NoInput,
    PathFlag,
    ProjectFlag,
    StorageFlag,
    TargetFlag,
    VersionFlag,
    find_configuration,
    run_and_verify,
)
from pipeline.cli.options import Overrides


def command(
    target: TargetFlag = None,
    project: ProjectFlag = None,
    version: VersionFlag = None,
    formats: FormatFlag = None,
    name: NameFlag = None,
    path: PathFlag = None,
    storage: StorageFlag = None,
    overrides: Overrides = None,
    no_input: NoInput = False,
) -> None:
    """Ask what to export, and export it.

    The plan is shown before anything is written. What a flag says is not asked.
    """
    given = Given(
        target=target, project=project, version=version, formats=formats, name=name, path=path, storage=storage,
        no_input=no_input,
    )  # fmt: skip
    if (found := find_configuration(None, overrides, given, "run")) is not None:
        run_and_verify(*found)
