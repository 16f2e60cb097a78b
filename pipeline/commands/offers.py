"""What there is to choose from for the keys of a configuration: records, filters, formats and what each loses."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from pipeline.commands.discovery import LIMITS
from pipeline.formats import FORMATS, load_format
from pipeline.formats.support import Kind
from pipeline.model.source import Project
from pipeline.synapse.client import SynapseClient
from pipeline.synapse.listing.filters import allowed_keys, allowed_values, check_filter
from pipeline.synapse.source import Source

_KINDS = {
    "bounding_box": Kind.BOX,
    "polygon": Kind.POLYGON,
    "segmentation": Kind.MASK,
    "polyline": Kind.POLYLINE,
    "keypoint": Kind.SKELETON_POINT,
    "classification": Kind.WHOLE,
    "relation": Kind.RELATION,
}

YOLO_TASKS = ("detect", "segment", "pose", "obb")
_WORDS = {
    Kind.BOX: "boxes",
    Kind.POLYGON: "polygons",
    Kind.MASK: "masks",
    Kind.POLYLINE: "polylines",
    Kind.SKELETON_POINT: "keypoints",
    Kind.WHOLE: "classifications",
    Kind.RELATION: "relations",
    Kind.OPAQUE: "other annotations",
}


class Origin(msgspec.Struct, frozen=True):
    """Where records come from. ``records`` is how many the filter matches, ``completed`` how many of these are
    labelled (None where the target has no such state), ``kinds`` the kinds of annotation that the project's tools make.
    """

    title: str
    project: int | None
    records: int
    completed: int | None
    classes: tuple[str, ...]
    kinds: tuple[Kind, ...]


class FormatOffer(msgspec.Struct, frozen=True):
    """A format, or one with an option, and what it does to the kinds of annotation of a project."""

    name: str
    skipped: tuple[str, ...]
    lossy: tuple[str, ...]
    more: str = ""

    @property
    def losses(self) -> str:
        """What is lost, in words."""
        told = [f"leaves out {', '.join(self.skipped)}"] if self.skipped else []
        told += [f"changes {', '.join(self.lossy)}"] if self.lossy else []
        return "; ".join([*told, *filter(None, [self.more])]) or "keeps all"


def find_origin(target: str, filter: Mapping[str, Any]) -> Origin:  # noqa: A002  the configuration's word
    """Look at what a filter that names a project or a version selects.

    Raises ConfigError for a filter that is wrong, CredentialsError, PreflightError, TransientError or BackendError.
    """
    client = SynapseClient.from_environment(limits=LIMITS)
    try:
        source = Source(client, target, filter)
        project = source.check()
        records = source.count()
        completed = None
        if target != "ground_truth" and "status_label" not in filter:
            completed = Source(client, target, {**filter, "status_label": "completed"}).count()
        return Origin(
            title=project.title,
            project=project.id,
            records=records,
            completed=completed,
            classes=project.classes,
            kinds=_kinds(project),
        )
    finally:
        client.close()


def offer_formats(kinds: Collection[Kind]) -> list[FormatOffer]:
    """The built-in formats without options; of YOLO what it loses whichever its task is."""
    return [_offer(name, {}, name, kinds) if name != "yolo" else _any_yolo(kinds) for name in sorted(FORMATS)]


def offer_yolo_tasks(kinds: Collection[Kind]) -> list[FormatOffer]:
    """YOLO with each of its tasks, named by the task."""
    return [_offer("yolo", {"task": task}, task, kinds) for task in YOLO_TASKS]


def _any_yolo(kinds: Collection[Kind]) -> FormatOffer:
    tasks = offer_yolo_tasks(kinds)
    skipped = tuple(word for word in tasks[0].skipped if all(word in task.skipped for task in tasks))
    return FormatOffer("yolo", skipped, (), "more, by its task")


def filter_values(target: str) -> dict[str, tuple[str, ...]]:
    """The keys that a filter of ``target`` takes, each with its allowed values; none for numbers, dates and texts."""
    return {key: allowed_values(target, key) for key in allowed_keys(target)}


def check_values(target: str, filter: Mapping[str, Any]) -> None:  # noqa: A002
    """Raise ConfigError for a filter that cannot be sent."""
    check_filter(target, filter)


def _offer(name: str, options: Mapping[str, Any], title: str, kinds: Collection[Kind]) -> FormatOffer:
    support = load_format(name, options).support()

    def with_outcome(outcome: str) -> tuple[str, ...]:
        return tuple(_WORDS[kind] for kind in kinds if kind in support and support[kind].outcome == outcome)

    return FormatOffer(title, with_outcome("skipped"), with_outcome("lossy"))


def _kinds(project: Project) -> tuple[Kind, ...]:
    tools = dict.fromkeys(tool for tools in project.tools.values() for tool in tools)
    return tuple(dict.fromkeys(_KINDS.get(tool, Kind.OPAQUE) for tool in tools))
