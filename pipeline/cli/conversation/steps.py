"""The questions of a configuration, one function for each of its keys, in the order in which they are asked."""

from collections.abc import Mapping
from typing import Any

from pipeline.cli.console import number
from pipeline.cli.conversation.prompts import Choice, Prompter
from pipeline.cli.conversation.server import ask_project, ask_storage, ask_version, asked_for
from pipeline.commands import discovery
from pipeline.commands.draft import SCOPES, has_scope, name_from
from pipeline.commands.offers import (
    Origin,
    check_values,
    filter_values,
    find_origin,
    offer_formats,
    offer_yolo_tasks,
)
from pipeline.errors import ConfigError

_TARGETS = (
    Choice("task", "task", "the result of each task of a project"),
    Choice("assignment", "assignment", "what each annotator made of a task"),
    Choice("ground_truth", "ground truth", "a version of a ground truth dataset"),
)
_ALL, _COMPLETED, _MORE = "all", "completed", "more"


class Answers:
    """The values so far, a note for each where one helps a reader, and what is known of where the records come from."""

    def __init__(self, prompter: Prompter, values: dict[str, Any]) -> None:
        self.prompter = prompter
        self.values = values
        self.notes: dict[str, str] = {}
        self.origin: Origin | None = None

    @property
    def filter(self) -> dict[str, Any]:
        """The filter so far, which answers are put into."""
        given = self.values.setdefault("filter", {})
        if not isinstance(given, dict):
            raise ConfigError("filter", "must be a mapping of keys to values")
        return given

    def look(self) -> Origin:
        """What the filter selects at present."""
        if self.origin is None:
            target, chosen = str(self.values["target"]), dict(self.filter)
            self.origin = asked_for(self.prompter, "counting the records", lambda: find_origin(target, chosen))
        return self.origin

    def forget_origin(self) -> None:
        """Have the filter looked at again."""
        self.origin = None


def ask_target(answers: Answers) -> None:
    """``target``."""
    answers.values["target"] = answers.prompter.choose("What is exported?", _TARGETS)


def ask_scope(answers: Answers) -> None:
    """The project or the version, in ``filter``."""
    if has_scope(answers.values):
        return
    target = answers.values["target"]
    scope = SCOPES[target]
    given = dict(answers.filter)
    if target == "ground_truth":
        project = given.pop("project", None)  # narrows what is offered; the API's filter has no such key
        chosen, title = ask_version(answers.prompter, project if isinstance(project, int) else None)
    else:
        chosen, title = ask_project(answers.prompter)
    answers.values["filter"] = {scope: chosen, **given}
    answers.notes[f"filter.{scope}"] = title
    answers.forget_origin()


def ask_records(answers: Answers) -> None:
    """The other keys of ``filter``."""
    origin = answers.look()
    choices = [Choice(_ALL, f"all {number(origin.records)}")]
    if origin.completed is not None:
        about = f"{number(origin.completed)} of {number(origin.records)}"
        choices.append(Choice(_COMPLETED, "labelled ones only", f"status_label: completed, {about}"))
    choices.append(Choice(_MORE, "choose by filters", "states, people, tags, dates"))
    chosen = answers.prompter.choose("Which records?", choices)
    if chosen == _COMPLETED:
        answers.filter["status_label"] = "completed"
    elif chosen == _MORE:
        while _ask_filter(answers):
            pass
    if chosen != _ALL:
        answers.forget_origin()
        answers.prompter.tell(f"  {number(answers.look().records)} records match")


def _ask_filter(answers: Answers) -> bool:
    """One key of the filter; False when there are enough."""
    target, prompter = answers.values["target"], answers.prompter
    values = filter_values(target)
    free = [key for key in values if key != SCOPES[target]]
    order = sorted(free, key=lambda key: (_rank(key), not values[key], key))
    told = {key: ", ".join(values[key]) or _kind_of(key) for key in order}
    given = {key: f"now {answers.filter[key]}" for key in order if key in answers.filter}
    choices = [Choice("", "no more filters"), *(Choice(key, key, given.get(key, told[key])) for key in order)]
    key = prompter.choose("Filter by?", choices)
    if not key:
        return False
    value: Any
    if values[key] == ("true", "false"):
        value = prompter.choose(f"{key}?", [Choice(True, "true"), Choice(False, "false")])
    elif values[key]:
        value = prompter.choose_some(f"{key}?", [Choice(one, one) for one in values[key]], (), _some)
    elif key.endswith("tags") and "project" in answers.filter:
        project = int(answers.filter["project"])
        tags = asked_for(prompter, "listing the tags", lambda: discovery.list_tags(project))
        if not tags.rows:
            prompter.tell("  the project has no tags")
            return True
        offered = [Choice(row.id, row.name or str(row.id), f"id {row.id}") for row in tags.rows]
        value = prompter.choose_some(f"{key}?", offered, (), _some)
        named = [row.name for row in tags.rows if row.id in value]
        answers.notes[f"filter.{key}"] = ", ".join(named)
    else:
        value = prompter.ask(f"{key}?", "", lambda text: _wrong_value(answers, key, text))
    # Numbers and dates as YAML has them, several values as a list.
    answers.filter[key] = value[0] if isinstance(value, list) and len(value) == 1 else value
    return True


def _rank(key: str) -> int:
    """The keys that people filter by most come first."""
    common = ("status_", "categor", "tags", "task_tags", "users", "labelers", "reviewers", "created__", "is_discarded")
    return next((place for place, start in enumerate(common) if key.startswith(start)), len(common))


def _wrong_value(answers: Answers, key: str, text: str) -> str:
    if not text:
        return f"give {_kind_of(key)}"
    try:
        check_values(answers.values["target"], {**answers.filter, key: text})
    except ConfigError as error:
        return str(error)
    return ""


def _kind_of(key: str) -> str:
    if key in ("search", "schema", "classes", "discarded_filter"):
        return "a text"
    if "__" in key and not key.startswith("id__"):
        return "a date such as 2026-08-01"
    return "ids, such as 7, 12"


def ask_formats(answers: Answers) -> None:
    """``formats``, each with what it would lose of the project's own kinds of annotation."""
    origin, prompter = answers.look(), answers.prompter
    offers = offer_formats(origin.kinds)
    known = bool(origin.kinds)
    choices = [Choice(offer.name, offer.name, offer.losses if known else "") for offer in offers]
    chosen: list[Any] = prompter.choose_some("Formats?", choices, ["coco"], _some)
    if "yolo" in chosen:
        tasks = offer_yolo_tasks(origin.kinds)
        best = min(tasks, key=lambda offer: len(offer.skipped)).name
        offered = [Choice(offer.name, offer.name, offer.losses if known else "") for offer in tasks]
        task = prompter.choose("Task of YOLO?", offered, best)
        chosen[chosen.index("yolo")] = {"yolo": {"task": task}}
    answers.values["formats"] = chosen


def ask_split(answers: Answers) -> None:
    """``split``."""
    usual: dict[str, Any] = {"by": "hash", "ratios": {"train": 0.8, "val": 0.1, "test": 0.1}}
    choices = [
        Choice(usual, "80 % train, 10 % val, 10 % test", "by the record, the same in every run"),
        Choice({"by": "hash"}, "other shares"),
        Choice({"by": "none"}, "none", "all train"),
    ]
    if answers.values["target"] == "ground_truth":
        choices.insert(0, Choice({"by": "category"}, "by category", "train, validation, test of the dataset"))
    chosen = answers.prompter.choose("Splits?", choices)
    if chosen == {"by": "hash"}:
        typed = answers.prompter.ask("Shares of train, val and test, in percent?", "70, 20, 10", _wrong_shares)
        names = ("train", "val", "test")
        chosen = {
            "by": "hash",
            "ratios": {name: share / 100 for name, share in zip(names, _shares(typed), strict=True)},
        }
    answers.values["split"] = chosen


def _shares(text: str) -> list[int]:
    return [int(part) for part in text.replace(",", " ").replace("%", " ").split()]


def _wrong_shares(text: str) -> str:
    try:
        fine = len(_shares(text)) == 3 and sum(_shares(text)) == 100 and min(_shares(text)) >= 0
    except ValueError:
        fine = False
    return "" if fine else "three whole numbers that add up to 100, please: 70, 20, 10"


def ask_classes(answers: Answers) -> None:
    """``classes``: those that are left out."""
    names = answers.look().classes
    if not names:
        return
    choices = [Choice("all", f"all {number(len(names))}", ", ".join(names)), Choice("some", "choose")]
    if answers.prompter.choose("Classes?", choices) == "all":
        return
    kept = answers.prompter.choose_some("Classes to keep?", [Choice(name, name) for name in names], names, _some)
    if dropped := [name for name in names if name not in kept]:
        answers.values["classes"] = {"drop": dropped}
        answers.notes["classes.drop"] = "not written; counted in metadata/losses.jsonl"


def ask_name(answers: Answers) -> None:
    """``name``."""
    titles = [answers.notes.get(f"filter.{scope}", "") for scope in SCOPES.values()]
    usual = name_from(next(filter(None, titles), "") or (answers.origin.title if answers.origin else ""))
    answers.values["name"] = answers.prompter.ask("Name of the export?", usual, _wrong_name)


def _wrong_name(text: str) -> str:
    if not text or len(text) > 200:
        return "a name of 1 to 200 letters, please"
    return "" if text.isprintable() and "${" not in text else "a name without control characters and ${, please"


def ask_place(answers: Answers) -> None:
    """``path``, and ``storage`` where the destination is one of Synapse's."""
    prompter, name = answers.prompter, name_from(str(answers.values.get("name", "")))
    if answers.values.get("storage") is None:
        usual = f"./exports/{name}"
        choices = [
            Choice("here", usual, "a folder of this machine"),
            Choice("path", "another folder, or s3://, gs://, sftp://"),
            Choice("storage", "a storage of Synapse"),
        ]
        chosen = prompter.choose("Where to?", choices)
        if chosen == "here":
            answers.values["path"] = usual
            return
        if chosen == "path":
            answers.values["path"] = prompter.ask("Path or URL?", "", _wrong_path)
            return
        storage, title = ask_storage(prompter)
        answers.values["storage"] = storage
        answers.notes["storage"] = title
    answers.values["path"] = prompter.ask("Path inside the storage?", f"exports/{name}", _wrong_path)


def _wrong_path(text: str) -> str:
    return "" if text and text.isprintable() else "a path without control characters, please"


def _some(count: str) -> str:
    return "mark at least one" if count == "0" else ""


def is_given(values: Mapping[str, Any], key: str) -> bool:
    """Whether a key has a value."""
    return values.get(key) not in (None, "", [], {})
