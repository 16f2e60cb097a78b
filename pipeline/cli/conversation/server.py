"""Questions that the server's lists answer: credentials, projects, versions, storages."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.cli.console import number
from pipeline.cli.conversation.prompts import Choice, Prompter
from pipeline.commands import discovery
from pipeline.errors import BackendError, CredentialsError, PreflightError, TransientError
from pipeline.synapse.credentials import find_credentials, host_in_use, use_token

_LONG_LIST = 20
_AGAIN = object()
_DAY = len("2026-07-01")


def asked_for[T](prompter: Prompter, what: str, call: Callable[[], T]) -> T:
    """What ``call`` gets from the server. When that refuses the token or is not there, the person says what to do."""
    while True:
        ensure_credentials(prompter)
        prompter.tell(f"{what} …")
        try:
            return call()
        except CredentialsError as error:
            prompter.tell(f"  {error}")
            ask_credentials(prompter)
        except (TransientError, PreflightError, BackendError) as error:
            prompter.tell(f"  {error}")
            choices = [Choice("again", "try again"), Choice("other", "another host or token"), Choice("", "stop")]
            answer = prompter.choose("What now?", choices)
            if not answer:
                raise
            if answer == "other":
                ask_credentials(prompter)


def ensure_credentials(prompter: Prompter) -> None:
    """Ask for a token where none is found."""
    if not find_credentials().token:
        prompter.tell("No Synapse access token was found.")
        ask_credentials(prompter)


def ask_credentials(prompter: Prompter) -> None:
    """Have the person log in, or type a token, which this process alone keeps."""
    login = shutil.which(
        "synapse", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    )
    choices = [Choice("type", "type a token", "for this time only; it is not shown and not saved")]
    if login:
        choices.append(Choice("login", "synapse login", "saves host and token in ~/.synapse/config.json"))
    if prompter.choose("Access token?", choices) == "login" and login:
        subprocess.run([login, "login"], check=False)  # noqa: S603  the SDK's own command, at this terminal
        return
    host = prompter.ask("Address of the API?", host_in_use(), _wrong_host)
    token = ""
    while not token:
        token = prompter.ask_secret("Token (not shown):")
    use_token(host, token)


def ask_project(prompter: Prompter) -> tuple[int, str]:
    """The id and the title of a project, chosen by name."""
    found = asked_for(prompter, "listing the projects", discovery.list_projects)

    def about(row: discovery.ProjectRow) -> str:
        tasks = "" if row.tasks is None else f"{number(row.tasks)} tasks"
        return ", ".join(
            filter(None, (row.category, tasks, row.created and f"made {row.created[:_DAY]}", f"id {row.id}"))
        )

    rows = sorted(found.rows, key=lambda row: bool(row.is_archived))
    choices = [Choice((row.id, row.title), row.title, about(row), row.id) for row in rows]
    chosen: tuple[int, str] = pick(prompter, "Project?", choices)
    return chosen


def ask_version(prompter: Prompter, project: int | None) -> tuple[int, str]:
    """The id of a version of a ground truth dataset, and what it is called."""
    datasets = asked_for(prompter, "listing the ground truth datasets", lambda: discovery.list_ground_truths(project))
    while True:
        choices = [Choice(row, row.name or f"dataset {row.id}", f"id {row.id}", row.id) for row in datasets.rows]
        dataset = pick(prompter, "Ground truth dataset?", choices)
        versions = asked_for(prompter, "listing its versions", partial(discovery.list_versions, dataset.id))
        choices = [
            Choice((row.id, f"{dataset.name} {row.version}"), row.version or f"version {row.id}", _about(row), row.id)
            for row in versions.rows
        ]
        if len(choices) == 1:
            prompter.tell(f"  its only version is {choices[0].title}")
            return choices[0].value  # type: ignore[no-any-return]
        if choices:
            return pick(prompter, "Version?", choices)  # type: ignore[no-any-return]
        prompter.tell(f"  {dataset.name or dataset.id} has no version; choose another dataset")


def ask_storage(prompter: Prompter) -> tuple[int, str]:
    """The id and the name of a storage of Synapse."""
    found = asked_for(prompter, "listing the storages", discovery.list_storages)

    def about(row: discovery.StorageRow) -> str:
        told = (row.provider, row.category, "the default" if row.is_default else "", f"id {row.id}")
        return ", ".join(filter(None, told))

    rows = sorted(found.rows, key=lambda row: not row.is_default)
    choices = [Choice((row.id, row.name), row.name or f"storage {row.id}", about(row), row.id) for row in rows]
    chosen: tuple[int, str] = pick(prompter, "Storage?", choices)
    return chosen


def pick(prompter: Prompter, question: str, choices: Sequence[Choice]) -> Any:
    """The value of one of the choices. A long list is searched first. Raises PreflightError when there is none."""
    if not choices:
        raise PreflightError(question.rstrip("?"), "there is none that this token can read; ask who gave it to you")
    while True:
        shown = _search(prompter, question, choices) if len(choices) > _LONG_LIST else list(choices)
        value = prompter.choose(question, shown)
        if value is not _AGAIN:
            return value


def _search(prompter: Prompter, question: str, choices: Sequence[Choice]) -> list[Choice]:
    asked = f"{question} Part of a name, or an id (Enter: all {number(len(choices))})"
    while True:
        typed = prompter.ask(asked, "", lambda _: "")
        found = [choice for choice in choices if discovery.matches(typed, choice.title, choice.number)]
        if found:
            return [*found, Choice(_AGAIN, "search again")]
        prompter.tell(f"  none is called like {typed!r}")


def _about(row: discovery.VersionRow) -> str:
    told = (row.description, row.created and f"made {row.created[:_DAY]}", "archived" if row.is_archived else "")
    return ", ".join(filter(None, (*told, f"id {row.id}")))


def _wrong_host(text: str) -> str:
    try:
        parts = urlsplit(text)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        fine = False
    return "" if fine else "write it as a URL, like https://api.synapse.sh"
