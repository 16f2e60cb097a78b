"""Options are declared by annotations; what does not fit is refused by the option's name, before any work."""

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
from msgspec import Meta

from pipeline.errors import ConfigError
from pipeline.formats import FORMATS, BaseFormat, OptionError, load_format


@dataclass(frozen=True)
class Declared(BaseFormat):
    """A format whose options are declarations."""

    mode: Literal["fast", "exact"] = "fast"
    parts: tuple[int, ...] = ()
    share: Annotated[float, Meta(ge=0, le=1)] = 0.5
    colours: dict[str, str] = field(default_factory=dict)

    name = "declared"

    def manifests(self, catalog):
        return ()

    def render(self, sample, catalog):
        return ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "slow"}, "mode: must be one of fast, exact, not 'slow'"),
        ({"mode": None}, "mode: must be one of fast, exact, not None"),
        ({"share": 1.5}, "share: must be a number from 0 to 1, not 1.5"),
        ({"share": float("nan")}, "share: must be a number from 0 to 1, not nan"),
        ({"parts": [1, "two"]}, "parts: is not valid: Expected `int`, got `str`"),
        ({"colour": "red"}, "colour: unknown option; did you mean 'colours'?; known: mode, parts, share, colours"),
    ],
)
def test_options_of_a_base_format_are_checked_by_their_annotations(options, message):
    with pytest.raises(ConfigError, match=re.escape(f"formats.{__name__}:Declared.{message}")):
        load_format(f"{__name__}:Declared", options)


def test_options_get_the_type_of_their_annotation():
    loaded = load_format(f"{__name__}:Declared", {"parts": [1, 2], "share": 1})
    assert loaded == Declared(parts=(1, 2), share=1.0)
    assert isinstance(loaded.share, float)


def test_options_are_checked_without_a_configuration_too():
    with pytest.raises(OptionError, match="share must be a number from 0 to 1, not 2"):
        Declared(share=2)


@pytest.mark.parametrize("name", FORMATS)
def test_an_unknown_option_of_any_format_is_refused(name):
    with pytest.raises(ConfigError, match=rf"^formats\.{name}\.colour: unknown option; (known: |it has none)"):
        load_format(name, {"colour": "red"})


@dataclass(frozen=True)
class Unresolved(Declared):
    """A format with an annotation that names a type that is not there."""

    size: "Missing" = 1  # noqa: F821  # what the test is about


def test_an_annotation_that_names_nothing_is_refused():
    with pytest.raises(ConfigError, match="name 'Missing' is not defined"):
        load_format(f"{__name__}:Unresolved")
