import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.encoding import ascii_json, has_values, one_line, without_nulls, yaml_path, yaml_string

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT, lambda v: st.lists(v) | st.dictionaries(TEXT, v)
)


@settings(deadline=None)
@given(VALUES)
def test_escaping_changes_no_value(value):
    escaped = ascii_json(json.dumps(value, ensure_ascii=False).encode())
    assert escaped.isascii()
    assert json.loads(escaped) == value


def test_ascii_is_not_even_copied():
    data = b'{"a":"\\u00e9"}'
    assert ascii_json(data) is data


@settings(deadline=None)
@given(TEXT)
def test_any_text_is_a_yaml_string_on_one_line(text):
    scalar = yaml_string(text)
    assert len(scalar.splitlines()) == 1
    assert yaml.safe_load(f"key: {scalar} # comment") == {"key": text}


@pytest.mark.parametrize("text", ["yes", "null", "1e3", "~", "a: b", "# a", "- a", "2026-01-01", "'", '"', "\\n", "🚗"])
def test_text_that_yaml_would_take_for_something_else_stays_text(text):
    assert yaml.safe_load(yaml_string(text)) == text


@pytest.mark.parametrize("path", ["images/train", "images/a: b", "images/#1", "images/도로", "images/a b"])
def test_a_path_is_quoted_only_where_it_must_be(path):
    assert yaml.safe_load(f"train: {yaml_path(path)}") == {"train": path}
    assert (yaml_path(path) == path) == (path == "images/train")


@settings(deadline=None)
@given(TEXT)
def test_one_line_is_one_line(text):
    assert len(one_line(text).splitlines()) <= 1


@settings(deadline=None)
@given(VALUES)
def test_values_without_nulls_are_left_as_they_are(value):
    pruned = without_nulls(value)
    assert not isinstance(value, dict) or has_values(value) == bool(pruned)
    assert "null" not in json.dumps(pruned).replace('"', "") or "null" in json.dumps(value)
    if "null" not in json.dumps(value):
        assert pruned == value


def test_nulls_and_numbers_json_has_not_are_left_out_at_any_depth():
    value = {"a": None, "b": [None, float("nan"), {"c": None, "d": (1, None)}], "e": float("inf"), "f": False, "g": ""}
    assert without_nulls(value) == {"b": [{"d": [1]}], "f": False, "g": ""}
