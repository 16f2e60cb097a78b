"""The ``sandbox`` command."""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import get_args, get_type_hints

from pipeline.sandbox.faults import parse_fault
from pipeline.sandbox.instance import Sandbox
from pipeline.sandbox.options import SandboxOptions


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to ``parser``; their defaults are those of :class:`SandboxOptions`."""
    hints = get_type_hints(SandboxOptions)
    default = SandboxOptions()

    def choice(name: str, text: str) -> None:
        parser.add_argument(_flag(name), choices=get_args(hints[name]), default=getattr(default, name), help=text)

    def number(name: str, kind: type, text: str) -> None:
        parser.add_argument(_flag(name), type=kind, default=getattr(default, name), metavar="N", help=text)

    choice("profile", "tidy pictures, nasty data, or the benchmark's record")
    number("records", int, "number of records (default: %(default)s)")
    number("seed", int, "same seed, same data (default: %(default)s)")
    number("port", int, "port on 127.0.0.1; 0 takes a free one (default: %(default)s)")
    parser.add_argument("--kinds", default="", metavar="A,B", help="nasty only: use these malformations")
    choice("payload", "documents in the row, behind presigned URLs, or both")
    choice("pagination", "page: an old backend that ignores pagination=cursor")
    choice("file_urls", "signed URLs, /media/ paths as on air-gapped deployments, or null for some or all")
    choice("session", "how storage sessions are answered")
    number("page_latency", float, "seconds before each page")
    number("offset_latency", float, "further seconds per row skipped by page number")
    number("blob_latency", float, "seconds before each object")
    number("url_ttl", float, "life of presigned URLs in seconds (default: %(default)s)")
    number("session_ttl", float, "life of storage sessions in seconds (default: %(default)s)")
    number("more_projects", int, "projects besides the two with data (default: %(default)s)")
    number("clock", float, "seconds by which the server's clock is ahead (default: %(default)s)")
    number("max_concurrency", int, "answer 429 above this number of open API requests")
    number("page_slots", int, "pages served at once; others wait")
    number("copied", int, "each so many-th record has the picture of another one (default: none)")
    parser.add_argument("--storage-location", metavar="DIR", help="directory behind storage 11")
    parser.add_argument(
        "--ids-ignored-for-ground-truth", action="store_true", help="ids= has no effect on ground truth events"
    )
    parser.add_argument(
        "--fault", action="append", default=[], metavar="ROUTE:KIND[:KEY=VALUE…]", help="e.g. pages:503:every=7"
    )
    parser.add_argument("--ready-file", type=Path, metavar="PATH", help="write the connection as JSON once listening")


def serve(arguments: Sequence[str], program: str = "python -m pipeline.sandbox") -> int:
    """Parse the command's options and serve until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(
        prog=program, description="Serve a local Synapse API with made-up data, for trying things out."
    )
    _add_arguments(parser)
    return _serve(parser.parse_args(arguments))


def _serve(arguments: argparse.Namespace) -> int:
    options = SandboxOptions(
        profile=arguments.profile,
        records=arguments.records,
        seed=arguments.seed,
        kinds=tuple(kind for kind in arguments.kinds.split(",") if kind),
        payload=arguments.payload,
        pagination=arguments.pagination,
        ids_filter_ground_truth=not arguments.ids_ignored_for_ground_truth,
        page_latency=arguments.page_latency,
        offset_latency=arguments.offset_latency,
        blob_latency=arguments.blob_latency,
        url_ttl=arguments.url_ttl,
        file_urls=arguments.file_urls,
        max_concurrency=arguments.max_concurrency,
        page_slots=arguments.page_slots,
        session=arguments.session,
        session_ttl=arguments.session_ttl,
        more_projects=arguments.more_projects,
        clock=arguments.clock,
        copied=arguments.copied,
        storage_location=arguments.storage_location,
        faults=tuple(parse_fault(text) for text in arguments.fault),
        port=arguments.port,
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Sandbox(options) as sandbox:
        _announce(sandbox)
        if arguments.ready_file is not None:
            _write(arguments.ready_file, json.dumps(sandbox.description()))
        while not stop.wait(3600):
            pass
    return 0


def _announce(sandbox: Sandbox) -> None:
    lines = [f"Sandbox Synapse API at {sandbox.url}"]
    lines += [f"export {name}={value}" for name, value in sandbox.environment().items()]
    lines += [
        f"# project {sandbox.project_id}, {sandbox.options.records} records ({sandbox.options.profile})",
        f"# ground truth dataset version {sandbox.version_id}",
        f"# storage {sandbox.storage_id} at {sandbox.storage_location}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
