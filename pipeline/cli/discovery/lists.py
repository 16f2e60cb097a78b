"""``projects``, ``ground-truths``, ``versions``, ``storages``, ``tags``, ``classes``: what there is to choose from."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.options import AsJson
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.commands.discovery import Found

Search = Annotated[str | None, typer.Argument(metavar="SEARCH", help="a part of the title, or the id")]
Project = Annotated[
    int | None, typer.Argument(metavar="PROJECT", help="the id of a project, as the command projects lists it")
]
Dataset = Annotated[
    int, typer.Argument(metavar="DATASET", help="the id of a dataset, as the command ground-truths lists it")
]
Config = Annotated[
    Path | None, typer.Option("--config", metavar="CONFIG", help="a configuration; its project is the one asked for")
]


def projects(search: Search = None, as_json: AsJson = False) -> None:
    """List the projects that you can export from."""
    from pipeline.commands.discovery import list_projects

    _show("projects", list_projects(search or ""), as_json, end="next: ground-truths, tags or classes, and an id")


def ground_truths(project: Project = None, config: Config = None, as_json: AsJson = False) -> None:
    """List ground truth datasets.

    Those of a project, or of all projects.
    """
    from pipeline.commands.discovery import list_ground_truths

    number = _chosen(project, config) if config else project
    _show("ground_truths", list_ground_truths(number), as_json, end="next: versions, and an id")


def versions(dataset: Dataset, as_json: AsJson = False) -> None:
    """List the versions of a ground truth dataset.

    The filter of an export asks for the id of one: ground_truth_dataset_version.
    """
    from pipeline.commands.discovery import list_versions

    _show("versions", list_versions(dataset), as_json, end="the id is filter.ground_truth_dataset_version")


def storages(as_json: AsJson = False) -> None:
    """List the storages of Synapse.

    An export is written to one by its id: storage.
    """
    from pipeline.commands.discovery import list_storages

    _show("storages", list_storages(), as_json, end="the id is the key storage of a configuration")


def tags(project: Project = None, config: Config = None, as_json: AsJson = False) -> None:
    """List the tags of a project's tasks.

    Filters take their ids.
    """
    from pipeline.commands.discovery import list_tags

    _show("tags", list_tags(_chosen(project, config)), as_json, end="the id is a value of filter.tags")


def classes(project: Project = None, config: Config = None, as_json: AsJson = False) -> None:
    """List the classes of a project.

    In their order, with their tools, and the skeletons that its keypoints make.
    """
    from pipeline.cli.discovery.tables import print_json, print_rows
    from pipeline.commands.discovery import list_classes

    found = list_classes(_chosen(project, config))
    skeletons = [
        {
            "name": skeleton.name,
            "points": list(skeleton.points),
            "edges": [[skeleton.points[start], skeleton.points[end]] for start, end in skeleton.edges],
            "mirrored": {skeleton.points[i]: skeleton.points[other] for i, other in enumerate(skeleton.flip)},
        }
        for skeleton in found.skeletons
    ]
    rows = [{"class": row.name, "tools": list(row.tools)} for row in found.classes]
    if as_json:
        named = [{"name": row["class"], "tools": row["tools"]} for row in rows]
        print_json({"project": {"id": found.id, "title": found.title}, "classes": named, "skeletons": skeletons})
        return
    print_rows("classes", ("class", "tools"), rows)
    if skeletons:
        print()
        print_rows("skeletons", ("skeleton", "points"), [{"skeleton": one["name"], **one} for one in skeletons])


def _show(name: str, found: "Found[Any]", as_json: bool, end: str) -> None:
    import msgspec

    from pipeline.cli.discovery.tables import print_json, print_rows, say_incomplete

    rows = [msgspec.to_builtins(row) for row in found.rows]
    what = name.replace("_", " ")
    if as_json:
        print_json({name: rows, "is_complete": found.is_complete})
    else:
        print_rows(what, _columns(name), rows, end=end)
    if not found.is_complete:
        say_incomplete(what)


def _columns(name: str) -> tuple[str, ...]:
    from pipeline.commands import discovery

    rows = {
        "projects": discovery.ProjectRow,
        "ground_truths": discovery.DatasetRow,
        "versions": discovery.VersionRow,
        "storages": discovery.StorageRow,
        "tags": discovery.TagRow,
    }
    return rows[name].__struct_fields__


def _chosen(project: int | None, config: Path | None) -> int:
    """The project that is asked for by its id, or that a configuration exports from. Raises ConfigError for neither."""
    if project is not None:
        return project
    if config is None:
        raise ConfigError("PROJECT", "is missing; give its id, which the command projects lists, or --config my.yaml")
    from pipeline.cli.options import load
    from pipeline.commands.discovery import project_of

    return project_of(load(str(config), None))
