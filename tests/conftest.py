"""Shared fixtures: one sandbox for all tests that do not disturb it, one server per kind of object store, places."""

import os
import sys

import hypothesis
import pytest

from pipeline.sandbox import EVERY_KIND_RECORDS, Sandbox, SandboxOptions

# Tests never talk to a real Synapse, whatever the developer's shell says.
for key in [key for key in os.environ if key.startswith("SYNAPSE_")]:
    del os.environ[key]
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
sys.path[:0] = [os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__))]

# One profile for all properties: on a busy machine an example takes any time, so none is judged by it. Properties may
# take fixtures, which are then the same for each example.
hypothesis.settings.register_profile(
    "untimed",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("untimed")

# Asserts in the shared modules explain their failures as those of test modules do. Here, not in ``tests/formats``: a
# run of the tests that failed last may collect a user of these modules before it enters that folder.
pytest.register_assert_rewrite(
    "tests.formats.row_checks",
    "tests.formats.tar_grammar",
    *(
        f"tests.formats.{family}.{module}"
        for family in ("coco", "imagefolder", "tables", "voc", "yolo")
        for module in ("cases", "grammar")
    ),
)

from store_proxy import StoreProxy  # noqa: E402 - found since the line above
from stores import GCSFS_PLAIN, STORES, GcsServer, S3Server, SftpServer, close_storages, empty_place, started  # noqa: E402

os.environ.update(GCSFS_PLAIN)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items):
    """Tests of one server share a worker, so that each is started once."""
    for item in items:
        for name in ("s3", "gcs", "sftp"):
            if f"{name}_server" in item.fixturenames:
                item.add_marker(pytest.mark.xdist_group(name))
    result = yield
    # pytest-xdist 3.8 names the group where pytest 9.2 does not look any more, so that no group has an effect:
    # https://github.com/pytest-dev/pytest-xdist/issues/1386
    for item in items:
        named = getattr(item, "_nodeid", item.nodeid)
        if named != item.nodeid:
            item._id = type(item.id).parse(named)
    return result


@pytest.fixture(autouse=True)
def _storages_are_closed():
    yield
    close_storages()


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


@pytest.fixture(scope="session")
def sftp_server():
    """An SFTP server."""
    with SftpServer() as server:
        yield server


@pytest.fixture
def proxy(s3_server):
    """A proxy of one's own before the S3 server; ``s3_server.place(endpoint=proxy.url)`` is a place behind it."""
    with StoreProxy(s3_server.endpoint) as proxy:
        yield proxy


@pytest.fixture(params=STORES)
def place(request, tmp_path):
    """An empty place to export to, in each kind of store."""
    return empty_place(request, request.param, tmp_path)
