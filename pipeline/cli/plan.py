"""``plan``: show what a run would export and lose."""

from pipeline.cli.conversation import entry
from pipeline.cli.options import AsJson, Overrides


def command(
    config: entry.MaybeConfig = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    target: entry.TargetFlag = None,
    project: entry.ProjectFlag = None,
    version: entry.VersionFlag = None,
    formats: entry.FormatFlag = None,
    name: entry.NameFlag = None,
    path: entry.PathFlag = None,
    storage: entry.StorageFlag = None,
    no_input: entry.NoInput = False,
) -> int:
    """Show what would be exported and lost; write nothing.

    The exit code is that of a run, as far as it is known. On a terminal, what is missing is asked for.
    """
    given = entry.Given(
        target=target, project=project, version=version, formats=formats, name=name, path=path, storage=storage,
        no_input=no_input or as_json,
    )  # fmt: skip
    found = entry.find_configuration(config, overrides, given, "plan")
    if found is None:
        return 0
    if config is None and found[1]:
        entry.run_and_verify(*found)  # the plan has been shown
        return 0
    from pipeline.cli.plan_report import print_forecast

    return print_forecast(found[0], as_json=as_json)
