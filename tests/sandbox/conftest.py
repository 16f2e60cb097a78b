"""Sandboxes and plain requests for the sandbox's own tests."""

from contextlib import ExitStack

import pytest
import requests

from pipeline.sandbox import Sandbox, SandboxOptions


@pytest.fixture(scope="session")
def tidy():
    """A sandbox with 60 tidy records, raw documents; nobody may disturb it."""
    with Sandbox(SandboxOptions(records=60)) as sandbox:
        yield sandbox


@pytest.fixture
def start():
    """Start sandboxes of one's own; they stop with the test."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Sandbox(SandboxOptions(**{"records": 30, **options})))


@pytest.fixture
def get():
    """``get(sandbox, path or URL, **query)`` with the access token; answers a ``requests.Response``."""
    with requests.Session() as session:

        def request(sandbox, path, *, headers=None, **query):
            url = path if path.startswith("http") else sandbox.url + path
            own = {"Synapse-Access-Token": f"Token {sandbox.token}"}
            return session.get(url, params=query, headers=own if headers is None else headers, timeout=20)

        yield request


@pytest.fixture
def walk(get):
    """All rows of a list, following ``next``; ``between`` is called after each page."""

    def rows(sandbox, path, between=lambda: None, **query):
        answer, found = get(sandbox, path, **query).json(), []
        while True:
            found += answer["results"]
            between()
            if not answer["next"]:
                return found
            answer = get(sandbox, answer["next"]).json()

    return rows
