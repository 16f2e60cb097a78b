"""Shared fixtures: one sandbox for all tests that do not disturb it, one server per kind of object store, places."""

import os
import sys

import pytest

from pipeline.sandbox import EVERY_KIND_RECORDS, Sandbox, SandboxOptions

# Tests never talk to a real Synapse, whatever the developer's shell says.
for key in [key for key in os.environ if key.startswith("SYNAPSE_")]:
    del os.environ[key]
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
sys.path.insert(0, os.path.dirname(__file__))

from stores import GCSFS_PLAIN, STORES, GcsServer, Place, S3Server, started  # noqa: E402 - found since the line above

os.environ.update(GCSFS_PLAIN)


def pytest_collection_modifyitems(items):
    """Tests of one server share a worker, so that each is started once."""
    for item in items:
        for name in ("s3", "gcs"):
            if f"{name}_server" in item.fixturenames:
                item.add_marker(pytest.mark.xdist_group(name))


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


@pytest.fixture(scope="session")
def s3_server():
    """A real S3 server."""
    yield from started(S3Server)


@pytest.fixture(scope="session")
def gcs_server():
    """A Google Cloud Storage emulator."""
    yield from started(GcsServer)


@pytest.fixture(params=STORES)
def place(request, tmp_path):
    """An empty place to export to, in each kind of store."""
    if request.param == "local":
        return Place(str(tmp_path / "out"))
    return request.getfixturevalue(f"{request.param}_server").place()
