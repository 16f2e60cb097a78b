"""The query keys that each list endpoint understands, and the rows they select (contract, section 4)."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipeline.sandbox.data import FOREIGN_ROWS, PROJECT, VERSION, Facts, SandboxData
from pipeline.sandbox.options import Target

_COMPARISONS = ("gt", "gte", "lt", "lte")
_ASSIGNMENT_DATES = (
    "created",
    "label_submitted",
    "last_labeled",
    "last_reviewed",
    "labeler_last_action_at",
    "reviewer_last_action_at",
)
_COMMON = {"ids", "ids_ex", "search"}
_KEYS = {"project", "id", "id__in", *(f"id__{c}" for c in _COMPARISONS)}
ALLOWED: Mapping[Target, frozenset[str]] = {
    "assignment": frozenset(
        _COMMON
        | _KEYS
        | {"workshop", "tasks", "users", "reviewers", "groups", "stages", "task_tags", "tags", "status_label"}
        | {"status_review", "is_discarded", "is_discard_confirmed", "is_confirmed"}
        | {f"{field}__{comparison}" for field in _ASSIGNMENT_DATES for comparison in _COMPARISONS}
    ),
    "task": frozenset(
        _COMMON
        | _KEYS
        | {"is_discarded", "schema", "has_assignment", "has_reached_max_assignments", "status_label", "status_review"}
        | {"assignments", "assignments__is_discarded", "labelers", "reviewers", "groups", "stages", "workshops"}
        | {"tags", "discarded_filter"}
        | {f"created__{comparison}" for comparison in _COMPARISONS}
    ),
    "ground_truth": frozenset(
        _COMMON
        | {"ground_truth_dataset_version", "ground_truth_dataset_versions", "ground_truth", "category", "categories"}
        | {"classes", "task"}
    ),
}
LISTING_KEYS = frozenset(
    {"page", "page_size", "pagination", "cursor", "ordering", "fields", "expand", "response_mode", "url_host"}
)
_NUMBERS = {
    "project", "workshop", "tasks", "users", "reviewers", "groups", "stages", "task_tags", "tags", "assignments",
    "labelers", "workshops", "ground_truth_dataset_version", "ground_truth_dataset_versions", "ground_truth", "task",
}  # fmt: skip
_MAIN_ROWS = {
    ("project", str(PROJECT)),
    ("ground_truth_dataset_version", str(VERSION)),
    ("ground_truth_dataset_versions", str(VERSION)),
}  # the filters of nearly every request: all rows but the foreign ones


class BadFilterError(Exception):
    """A value that cannot be read. It becomes 400 with the name of the field, as Django REST framework answers."""


@dataclass(slots=True)
class Selection:
    """The rows that pass a filter: their positions in the table, ascending, and their keys."""

    positions: Sequence[int]
    keys: Sequence[int]
    orders: dict[str, list[int]] = field(default_factory=dict)


def split_query(
    target: Target, query: Mapping[str, str], *, ids_filter_ground_truth: bool
) -> tuple[dict[str, str], list[str]]:
    """Return the filters of a query that are understood and not empty, and the keys that are ignored."""
    filters: dict[str, str] = {}
    ignored: list[str] = []
    for key, value in query.items():
        if key in LISTING_KEYS:
            continue
        if key not in ALLOWED[target] or (
            target == "ground_truth" and key in {"ids", "ids_ex"} and not ids_filter_ground_truth
        ):
            ignored.append(key)
        elif value.strip():
            filters[key] = value
    return filters, ignored


def select(data: SandboxData, target: Target, deleted: set[int], filters: Mapping[str, str]) -> Selection:
    """Return the rows that pass all ``filters``. Raises :class:`BadFilterError`."""
    keys = data.keys[target]
    positions: Sequence[int] = range(len(data))
    lowest, highest, wanted = 0, len(keys), None
    tests: list[Callable[[int, Facts], bool]] = []
    for name, value in filters.items():
        match name:
            case "id" | "id__in" | "ids":
                chosen = set(_integers(name, value))
                wanted = chosen if wanted is None else wanted & chosen
            case "id__gt" | "id__gte":
                (key,) = _integers(name, value)
                lowest = max(lowest, (bisect_right if name == "id__gt" else bisect_left)(keys, key))
            case "id__lt" | "id__lte":
                (key,) = _integers(name, value)
                highest = min(highest, (bisect_left if name == "id__lt" else bisect_right)(keys, key))
            case "ids_ex":
                deleted = deleted | set(_integers(name, value))
            case _ if (name, value) in _MAIN_ROWS:
                lowest = max(lowest, FOREIGN_ROWS)
            case _:
                tests.append(_test(data, name, value))
    if wanted is not None:
        places = ((bisect_left(keys, key), key) for key in sorted(wanted))
        positions = [i for i, key in places if lowest <= i < highest and i < len(keys) and keys[i] == key]
    elif lowest or highest < len(keys):
        positions = range(lowest, max(lowest, highest))
    if deleted:
        positions = [i for i in positions if keys[i] not in deleted]
    if tests:
        positions = [i for i in positions if (facts := data.facts(i)) and all(test(i, facts) for test in tests)]
    if isinstance(positions, range):
        return Selection(positions, keys[positions.start : positions.stop])
    return Selection(positions, [keys[i] for i in positions])


def _integers(name: str, value: str) -> list[int]:
    try:
        return [int(part) for part in value.split(",") if part.strip()]
    except ValueError as error:
        raise BadFilterError(name, "Enter a number.") from error


def _test(data: SandboxData, name: str, value: str) -> Callable[[int, Facts], bool]:
    if name in _NUMBERS:
        return _number_test(data, name, set(_integers(name, value)))
    column, _, comparison = name.partition("__")
    if comparison in _COMPARISONS:
        return _date_test(name, column, comparison, value)
    words = {part.strip() for part in value.split(",")}
    flag = value.strip().lower() in {"true", "1"}
    match name:
        case "status_label":
            return lambda _, facts: facts.status_label in words
        case "status_review":
            return lambda _, facts: facts.status_review in words
        case "category" | "categories":
            return lambda _, facts: facts.category in words
        case "is_discarded" | "assignments__is_discarded":
            return lambda _, facts: facts.discarded is flag
        case "is_confirmed":
            return lambda _, facts: facts.confirmed is flag
        case "is_discard_confirmed" | "has_reached_max_assignments":
            return lambda _, __: not flag
        case "has_assignment":
            return lambda _, __: flag
        case "schema":
            return lambda i, _: data.record(i).schema in words
        case "classes":
            return lambda i, _: any(thing.label in words for scene in data.record(i).scenes for thing in scene.things)
        case "search":
            return lambda i, _: any(
                value in str(file.info.get("file_name_original", "")) for file in data.record(i).files or ()
            )
        case _:  # discarded_filter: accepted; what it narrows is not documented
            return lambda _, __: True


def _number_test(data: SandboxData, name: str, numbers: set[int]) -> Callable[[int, Facts], bool]:
    match name:
        case "project":
            return lambda _, facts: facts.project in numbers
        case "ground_truth_dataset_version" | "ground_truth_dataset_versions":
            return lambda _, facts: not numbers.isdisjoint(facts.versions)
        case "workshop" | "workshops":
            return lambda _, facts: facts.workshop in numbers
        case "users" | "labelers":
            return lambda _, facts: facts.user in numbers
        case "reviewers":
            return lambda _, facts: facts.reviewer in numbers
        case "groups":
            return lambda _, facts: facts.group in numbers
        case "stages":
            return lambda _, facts: facts.stage in numbers
        case "tags":
            return lambda _, facts: not numbers.isdisjoint(facts.tags)
        case "task_tags":
            return lambda _, facts: not numbers.isdisjoint(facts.task_tags)
        case "ground_truth":
            return lambda _, facts: facts.ground_truth_id in numbers
        case "assignments":
            return lambda i, _: data.keys["assignment"][i] in numbers
        case _:
            return lambda i, _: data.keys["task"][i] in numbers


def _date_test(name: str, column: str, comparison: str, value: str) -> Callable[[int, Facts], bool]:
    try:
        limit = datetime.fromisoformat(value.strip().replace(" ", "+") if "T" in value else value.strip())
    except ValueError as error:
        raise BadFilterError(name, "Enter a valid date/time.") from error
    limit = limit.replace(tzinfo=UTC) if limit.tzinfo is None else limit
    source = {"created": "created", "last_reviewed": "last_reviewed", "reviewer_last_action_at": "last_reviewed"}
    attribute = source.get(column, "last_labeled")

    def test(_: int, facts: Facts) -> bool:
        text: str | None = getattr(facts, attribute)
        if text is None:
            return False
        moment = datetime.fromisoformat(text)
        match comparison:
            case "gt":
                return moment > limit
            case "gte":
                return moment >= limit
            case "lt":
                return moment < limit
            case _:
                return moment <= limit

    return test
