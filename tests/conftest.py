"""Shared fixtures: one sandbox for all tests that do not disturb it."""

import os
import sys

import pytest

from pipeline.sandbox import EVERY_KIND_RECORDS, Sandbox, SandboxOptions

# Tests never talk to a real Synapse, whatever the developer's shell says.
for key in [key for key in os.environ if key.startswith("SYNAPSE_")]:
    del os.environ[key]
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
sys.path.insert(0, os.path.dirname(__file__))


@pytest.fixture(scope="session")
def tidy():
    """A sandbox with 60 tidy records."""
    with Sandbox(SandboxOptions(profile="tidy", records=60)) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def nasty():
    """A sandbox with every malformation there is."""
    with Sandbox(SandboxOptions(profile="nasty", records=EVERY_KIND_RECORDS)) as sandbox:
        yield sandbox
