"""Errors reach the driver as they left the worker."""

import inspect
import pickle
import re

import pytest

from pipeline import errors

ALL = [value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, errors.ExportError)]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling_with_its_type_and_text(kind):
    error = kind("my.yaml:3", "run.workers", "must be positive")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error) == "my.yaml:3: run.workers: must be positive"
    assert copy.exit_code == error.exit_code


def test_the_docstring_draws_the_whole_tree():
    drawn = re.findall(r"^[ │├└─]*(\w+(?:Error|Large|Expired|Host|Refused))", errors.__doc__, re.MULTILINE)
    assert set(drawn) == {kind.__name__ for kind in ALL}


def test_the_drawn_exit_codes_are_the_real_ones():
    for name, code in re.findall(r"(\w+Error) .*exit (\d)$", errors.__doc__, re.MULTILINE):
        assert getattr(errors, name).exit_code == int(code), name
