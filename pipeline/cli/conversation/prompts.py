"""Questions on a terminal: menus, or numbered lines where the terminal can only print (``TERM=dumb``).

Everything goes beside the errors, so that the output stays data. Ctrl-C and Ctrl-D raise KeyboardInterrupt.
"""

import getpass
import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from pipeline.progress import printable

Check = Callable[[str], str]
"""Says what is wrong with an answer; ``""`` for nothing."""

COMMAND = "    "
"""Stands before a command that is told."""
_DOTS = "…"
_POINTER = 6  # columns before a choice, and one behind it


class Choice(msgspec.Struct, frozen=True):
    """One of several answers: its value, the name (or the ``number``) it is found by, and more about it."""

    value: Any
    title: str
    about: str = ""
    number: int | None = None


class Prompter(Protocol):
    """Asks one question at a time. Titles come from servers: no prompter lets them drive the terminal."""

    def tell(self, text: str) -> None:
        """Say something that needs no answer."""

    def choose(self, question: str, choices: Sequence[Choice], default: Any = None) -> Any:
        """The value of one choice; Enter takes ``default``, else the first."""

    def choose_some(self, question: str, choices: Sequence[Choice], chosen: Sequence[Any], check: Check) -> list[Any]:
        """The values of some choices; Enter takes ``chosen``. ``check`` is asked with their number."""

    def ask(self, question: str, default: str, check: Check) -> str:
        """A text without blanks around it; Enter takes ``default``."""

    def ask_secret(self, question: str) -> str:
        """A text that is not shown while it is typed."""


def open_prompter() -> Prompter:
    """The prompter for this terminal."""
    if os.environ.get("TERM") in (None, "", "dumb", "unknown"):
        return Lines()
    return Menus()


class Menus:
    """Menus that are moved through with the arrow keys (questionary)."""

    def __init__(self) -> None:
        import questionary
        from prompt_toolkit.output import ColorDepth, create_output

        self._questionary = questionary
        self._options: dict[str, Any] = {"output": create_output(sys.stderr)}
        if os.environ.get("NO_COLOR"):
            self._options["color_depth"] = ColorDepth.DEPTH_1_BIT
        plain = ("bold", "") if os.environ.get("NO_COLOR") else ("bold fg:ansiblue", "fg:ansiblue")
        self._options["style"] = questionary.Style(
            [
                *(("qmark", plain[1]), ("question", "bold"), ("answer", plain[0]), ("pointer", plain[0])),
                *(("highlighted", plain[0]), ("selected", "noreverse"), ("instruction", ""), ("text", "")),
            ]
        )

    def tell(self, text: str) -> None:
        """Say something that needs no answer."""
        _print(text)

    def choose(self, question: str, choices: Sequence[Choice], default: Any = None) -> Any:
        """The value of one choice; Enter takes ``default``, else the first."""
        made = self._choices(choices, ())
        pointed = next((one for one, choice in zip(made, choices, strict=True) if choice.value == default), None)
        found = self._asked(
            self._questionary.select(
                question,
                made,
                default=pointed,
                instruction="(arrows, Enter)",
                use_jk_keys=False,
                erase_when_done=True,
                **self._options,
            )
        )
        _print(f"? {question} {_tidy(found.title)}")
        return found.value

    def choose_some(self, question: str, choices: Sequence[Choice], chosen: Sequence[Any], check: Check) -> list[Any]:
        """The values of some choices; Enter takes ``chosen``. ``check`` is asked with their number."""
        while True:
            found = self._asked(
                self._questionary.checkbox(
                    question,
                    self._choices(choices, chosen),
                    instruction="(Space marks, Enter ends)",
                    use_jk_keys=False,
                    erase_when_done=True,
                    **self._options,
                )
            )
            # questionary tells what is wrong only where the terminal says how high it is.
            if not (wrong := check(str(len(found)))):
                break
            _print(f"  {wrong}")
        _print(f"? {question} {', '.join(_tidy(choice.title) for choice in found) or 'none'}")
        return [choice.value for choice in found]

    def ask(self, question: str, default: str, check: Check) -> str:
        """A text without blanks around it; Enter takes ``default``."""

        def validate(text: str) -> bool | str:
            return check(text.strip()) or True

        asked = self._questionary.text(
            question, default, validate=validate, validate_while_typing=False, **self._options
        )
        return str(self._asked(asked)).strip()

    def ask_secret(self, question: str) -> str:
        """A text that is not shown while it is typed, not even as stars: they would tell its length."""
        return _secret(question)

    def _choices(self, choices: Sequence[Choice], chosen: Sequence[Any]) -> list[Any]:
        return [
            self._questionary.Choice(title, value=choice, checked=choice.value in chosen)
            for title, choice in zip(titles(choices), choices, strict=True)
        ]

    def _asked(self, question: Any) -> Any:
        try:
            return question.unsafe_ask()
        except EOFError:
            raise KeyboardInterrupt from None


class Lines:
    """Numbered lines: for terminals that can only print, and for readers of screens."""

    def tell(self, text: str) -> None:
        """Say something that needs no answer."""
        _print(text)

    def choose(self, question: str, choices: Sequence[Choice], default: Any = None) -> Any:
        """The value of one choice; Enter takes ``default``, else the first."""
        first = next((place for place, choice in enumerate(choices, 1) if choice.value == default), 1)
        self._list(choices)
        while True:
            typed = _line(f"? {question} (number) [{first}] ") or str(first)
            if typed.isdecimal() and 1 <= int(typed) <= len(choices):
                return choices[int(typed) - 1].value
            _print(f"  a number from 1 to {len(choices)}, please")

    def choose_some(self, question: str, choices: Sequence[Choice], chosen: Sequence[Any], check: Check) -> list[Any]:
        """The values of some choices; Enter takes ``chosen``. ``check`` is asked with their number."""
        marked = ", ".join(str(place) for place, choice in enumerate(choices, 1) if choice.value in chosen)
        self._list(choices)
        while True:
            typed = _line(f"? {question} (numbers) [{marked}] ") or marked
            parts = typed.replace(",", " ").split()
            if all(part.isdecimal() and 1 <= int(part) <= len(choices) for part in parts):
                places = dict.fromkeys(map(int, parts))
                if not (wrong := check(str(len(places)))):
                    return [choices[place - 1].value for place in places]
                _print(f"  {wrong}")
            else:
                _print(f"  numbers from 1 to {len(choices)}, please: 1, 3")

    def ask(self, question: str, default: str, check: Check) -> str:
        """A text without blanks around it; Enter takes ``default``."""
        while True:
            typed = _line(f"? {question} " + (f"[{default}] " if default else "")) or default
            if not (wrong := check(typed)):
                return typed
            _print(f"  {wrong}")

    def ask_secret(self, question: str) -> str:
        """A text that is not shown while it is typed."""
        return _secret(question)

    def _list(self, choices: Sequence[Choice]) -> None:
        width = len(str(len(choices)))
        for place, title in enumerate(titles(choices), 1):
            _print(f"  {place:{width}} {title}")


def titles(choices: Sequence[Choice]) -> list[str]:
    """Each choice on one line that fits the terminal, what is about them in a column."""
    most = max(20, shutil.get_terminal_size().columns - _POINTER - 1)
    names = [_tidy(choice.title) for choice in choices]
    column = min(max(map(columns, names), default=0), most // 2)
    lines = []
    for name, choice in zip(names, choices, strict=True):
        about = _tidy(choice.about)
        padded = f"{cut(name, column)}{' ' * (column - columns(cut(name, column)))}  {about}" if about else name
        lines.append(cut(padded.rstrip(), most))
    return lines


def columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, most: int) -> str:
    """A text in at most ``most`` columns, with dots where it was longer."""
    if columns(text) <= most:
        return text
    while text and columns(text) > most - 1:
        text = text[:-1]
    return text.rstrip() + _DOTS


def _tidy(text: str) -> str:
    """One line without controls, in letters that terminals place alike."""
    return printable(" ".join(unicodedata.normalize("NFC", text).split()))


def _print(text: str) -> None:
    """Print beside the errors, broken between words; what is indented as a command stays whole, to be copied."""
    most = max(20, shutil.get_terminal_size().columns - 1)
    indent = " " * (len(text) - len(text.lstrip(" ")))
    for line in printable(text).split("\n"):
        broken = textwrap.wrap(line, most, subsequent_indent=indent + "  ", break_on_hyphens=False)
        print(line if line.startswith(COMMAND) else "\n".join(broken), file=sys.stderr, flush=True)


def _line(question: str) -> str:
    print(printable(question), file=sys.stderr, end="", flush=True)
    typed = sys.stdin.readline()
    if not typed:
        raise KeyboardInterrupt
    return typed.strip()


def _secret(question: str) -> str:
    try:
        return getpass.getpass(f"? {question} ", stream=sys.stderr).strip()
    except EOFError:
        raise KeyboardInterrupt from None
