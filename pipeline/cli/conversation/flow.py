"""The conversation from beginning to end: questions, the plan, the file, the run."""

import os
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.cli.console import program
from pipeline.cli.conversation import steps
from pipeline.cli.conversation.prompts import COMMAND, Choice, Prompter
from pipeline.cli.conversation.server import ask_credentials, ensure_credentials
from pipeline.cli.conversation.steps import Answers
from pipeline.commands.draft import SCOPES, checked, has_scope, name_from, overrides_of, save_new
from pipeline.config.commented_yaml import yaml_of
from pipeline.config.export import ExportConfig
from pipeline.errors import CredentialsError, ExportError

_RUN, _WRITE, _CHANGE, _LEAVE = "run", "write", "change", "leave"
_TOKENS = ("SYNAPSE_ACCESS_TOKEN", "SYNAPSE_PLUGIN_RUN_USER_TOKEN")

_STEPS: dict[str, Callable[[Answers], None]] = {
    "target": steps.ask_target,
    "project or version": steps.ask_scope,
    "records": steps.ask_records,
    "formats": steps.ask_formats,
    "splits": steps.ask_split,
    "classes": steps.ask_classes,
    "name": steps.ask_name,
    "destination": steps.ask_place,
}
_MISSING: dict[str, Callable[[Answers], None]] = {
    "target": steps.ask_target,
    "formats": steps.ask_formats,
    "name": steps.ask_name,
    "path": steps.ask_place,
}

_NOTES = {
    "target": "task, assignment or ground_truth",
    "path": "a folder, or a URL such as s3://bucket/folder",
    "formats": "what each loses: synapse-export formats NAME",
    "split": "docs/splits.md",
    "classes": "docs/classes.md",
}
_ORDER = ("name", "target", "filter", "storage", "path")


def converse(prompter: Prompter, values: dict[str, Any], *, runs: bool) -> str:
    """Ask for all that ``values`` lack, show the plan, and write the configuration.

    Returns the path of the file when it is to be run now, else ``""``. Enter runs it if ``runs``, else writes it only.
    Raises KeyboardInterrupt for Ctrl-C: nothing is written then.
    """
    token = _token()
    answers = Answers(prompter, values)
    prompter.tell("This asks what to export, shows what would become of it, and writes that as a configuration.")
    prompter.tell("Enter takes what is proposed. Ctrl-C leaves, and nothing is written.")
    try:
        ensure_credentials(prompter)
        for name, step in _STEPS.items():
            if not _has(values, name):
                step(answers)
        while True:
            config = _shown_plan(answers)
            file = name_from(str(values["name"]))
            chosen = _ask_end(prompter, file, runs=runs, is_fine=config is not None)
            if chosen != _CHANGE:
                break
            _change(answers)
    except KeyboardInterrupt:
        prompter.tell("\nNothing was written.")
        raise
    if chosen == _LEAVE:
        prompter.tell("Nothing was written.")
        return ""
    path = str(save_new(file, yaml_of(_ordered(values), {**_NOTES, **answers.notes})))
    prompter.tell(f"Written: {path}. The same without questions:")
    prompter.tell(f"{COMMAND}{program()} run {shlex.quote(path)}")
    if _token() != token:
        prompter.tell("  It needs the token in SYNAPSE_ACCESS_TOKEN (and SYNAPSE_HOST), or from 'synapse login'.")
    return path if chosen == _RUN else ""


def complete(prompter: Prompter, file: str, values: dict[str, Any], missing: Sequence[str], command: str) -> list[str]:
    """Ask for the ``missing`` keys of a configuration file; returns them as overrides. The file stays as it is."""
    answers = Answers(prompter, values)
    prompter.tell(f"{file} lacks {', '.join(missing)}.")
    for key in missing:
        if key.startswith("filter"):
            steps.ask_scope(answers)
        else:
            _MISSING[key](answers)
    keys = [key for key in missing if not key.startswith("filter")]
    if any(key.startswith("filter") for key in missing):
        keys += [f"filter.{key}" for key in values["filter"] if f"filter.{key}" in answers.notes]
    if "storage" in answers.notes:
        keys.append("storage")
    overrides = overrides_of(values, keys)
    told = " ".join(f"--set {shlex.quote(override)}" for override in overrides)
    prompter.tell("The same without questions:")
    prompter.tell(f"{COMMAND}{program()} {command} {shlex.quote(file)} {told}")
    return overrides


def _has(values: dict[str, Any], step: str) -> bool:
    """Whether a step need not be asked, because a flag has answered it."""
    match step:
        case "project or version":
            return has_scope(values)
        case "records":
            return len(values.get("filter") or ()) > 1
        case "formats":
            return steps.is_given(values, "formats") or steps.is_given(values, "format")
        case "splits":
            return steps.is_given(values, "split")
        case "destination":
            return steps.is_given(values, "path")
        case _:
            return steps.is_given(values, step)


def _shown_plan(answers: Answers) -> ExportConfig | None:
    """Show what a run would do; None when it would end before any work, which is told."""
    from pipeline.cli.plan_report import print_forecast

    while True:
        answers.prompter.tell("sampling the newest records for the plan …")
        answers.prompter.tell("")
        try:
            config = checked(answers.values)
            return config if print_forecast(config) == 0 else None
        except CredentialsError as error:
            answers.prompter.tell(f"  {error}")
            ask_credentials(answers.prompter)
        except ExportError as error:
            answers.prompter.tell(f"error: {error}")
            return None


def _ask_end(prompter: Prompter, file: str, *, runs: bool, is_fine: bool) -> str:
    choices = [
        Choice(_RUN, "run it and verify it", f"and keep the configuration as {file}.yaml"),
        Choice(_WRITE, f"write {file}.yaml only"),
        Choice(_CHANGE, "change an answer"),
        Choice(_LEAVE, "leave", "and write nothing"),
    ]
    if not is_fine:
        choices = [choice for choice in choices if choice.value != _RUN]
    default = _CHANGE if not is_fine else _RUN if runs else _WRITE
    prompter.tell("")
    return str(prompter.choose("What now?", choices, default))


def _change(answers: Answers) -> None:
    """Ask one question again, and those that its answer makes meaningless."""
    values = answers.values
    chosen = answers.prompter.choose("Which answer?", [Choice(name, name) for name in _STEPS])
    again = [chosen]
    if chosen in ("target", "project or version"):
        values["filter"] = {}
        values.pop("classes", None)
        again = ["target", "project or version", "records", "formats", "splits", "classes"]
        again = again[again.index(chosen) :]
        answers.notes.clear()
        answers.forget_origin()
    elif chosen == "records":
        scope = SCOPES[values["target"]]
        values["filter"] = {key: value for key, value in values["filter"].items() if key == scope}
        answers.forget_origin()
    elif chosen == "classes":
        values.pop("classes", None)
    elif chosen == "formats":
        values.pop("format", None)
    elif chosen == "destination":
        values.pop("storage", None)
    for name in again:
        _STEPS[name](answers)


def _ordered(values: dict[str, Any]) -> dict[str, Any]:
    """The values as people write them: what, from where, where to, and how."""
    return {key: values[key] for key in (*(key for key in _ORDER if key in values), *values)}


def _token() -> str | None:
    return next((os.environ[name] for name in _TOKENS if os.environ.get(name)), None)
