"""Options of a format: the fields of its dataclass, checked against their annotations."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect


class OptionError(ValueError):
    """An option has a wrong value. Arguments: the option's name and the problem, for example ``must be text``."""

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(option, problem)
        self.option = option
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.option} {self.problem}"


def option_defaults(factory: Any) -> Mapping[str, Any]:
    """Return the options of a format's class by name, each with its default, or ``...`` for one without a default.

    A class that is not a dataclass has no options.
    """
    fields = dataclasses.fields(factory) if dataclasses.is_dataclass(factory) else ()
    return {field.name: _default_of(field) for field in fields if field.init}


def check_options(format_: Any) -> None:
    """Check every field of a dataclass against its annotation, and convert the value to it (a list to a tuple).

    Raises OptionError for the first value that its annotation does not allow; numbers must be finite.
    """
    hints = get_type_hints(type(format_), include_extras=True)
    for option in option_defaults(format_):
        value = getattr(format_, option)
        try:
            converted = msgspec.convert(value, hints[option])
        except msgspec.ValidationError as error:
            raise OptionError(option, _problem(hints[option], value, str(error))) from None
        if isinstance(converted, float) and not math.isfinite(converted):
            raise OptionError(option, _problem(hints[option], value, "must be finite"))
        object.__setattr__(format_, option, converted)


def _default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return ... if field.default is dataclasses.MISSING else field.default


def _problem(hint: Any, value: object, found: str) -> str:
    if get_origin(hint) is Literal:  # msgspec sorts the choices
        allowed = f"one of {', '.join(map(str, get_args(hint)))}"
    else:
        allowed = _describe(inspect.type_info(hint))
    return f"must be {allowed}, not {value!r}" if allowed else f"is not valid: {found}"


def _describe(kind: inspect.Type) -> str:
    """Return what values a type allows, as a noun for a message; ``""`` for types that have no short one."""
    if isinstance(kind, inspect.Metadata):
        return (kind.extra_json_schema or {}).get("description") or _describe(kind.type)
    if isinstance(kind, inspect.BoolType):
        return "true or false"
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        noun = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
        bounds = ((" from", kind.ge), (" above", kind.gt), (" to", kind.le), (" below", kind.lt))
        return noun + "".join(f"{word} {bound}" for word, bound in bounds if bound is not None)
    return "text" if isinstance(kind, inspect.StrType) else ""
