"""What the benchmark compares; each subject runs in a process of its own and prints one JSON line about itself."""

import asyncio
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAGE = 100
REQUESTS = 32


def run_plain(project: int, folder: Path) -> int:
    """The script people write today: the SDK's own listing in a loop, one JSON file per record."""
    from synapse_sdk.utils.auth import create_backend_client

    client = create_backend_client()
    client.timeout = {"connect": 5, "read": 120}
    params = {"project": project, "expand": "data_unit", "page_size": PAGE, "response_mode": "presigned"}
    tasks, _ = client.list_tasks(params, list_all=True)
    records = 0
    for task in tasks:
        data = task["data"]
        if isinstance(data, dict) and data.get("mode") == "presigned":
            import requests

            data = requests.get(data["presigned_url"], timeout=60).json()
        with (folder / f"{task['id']}.json").open("w") as file:
            json.dump(data, file)
        records += 1
    return records


def run_pipeline(project: int, folder: Path, executor: str) -> int:
    """The package itself: COCO and YOLO from one fetch, every promise kept."""
    from pipeline.config.export import ExportConfig
    from pipeline.run import run

    config = ExportConfig.model_validate(
        {
            "name": "benchmark",
            "target": "task",
            "filter": {"project": project},
            "path": str(folder / "export"),
            "save_original_file": False,
            "formats": ["coco", "yolo"],
            "run": {"executor": executor, "page_size": PAGE, "requests": REQUESTS},
        }
    )
    result = run(config)
    seconds = {stage: round(value, 3) for stage, value in result.summary["seconds"].items()}
    print(f"    stages of {executor}: {seconds}", file=sys.stderr)
    return result.success.ledger.records.written


def check_export(folder: Path, records: int) -> None:
    """Raise AssertionError for an export that lacks something: it would be fast for that reason."""
    from pipeline.commands.verify import verify
    from pipeline.storage import open_storage

    verify(open_storage(str(folder)))
    images = json.loads((folder / "annotations" / "instances_train.json").read_bytes())["images"]
    labels = sum(1 for _ in folder.glob("**/labels/**/*.txt"))
    assert len(images) == labels == records, (len(images), labels, records)


def run_limit(project: int, folder: Path) -> int:
    """The bare minimum: fetch, decode to typed values, write the document; no staging, no formats, no checks."""
    import aiohttp
    import msgspec

    class Point(msgspec.Struct, gc=False):
        x: float
        y: float

    class Box(msgspec.Struct, gc=False):
        x: float
        y: float
        width: float
        height: float

    class Geometry(msgspec.Struct, gc=False):
        id: str
        coordinate: Box | list[Point] | None = None

    class Label(msgspec.Struct, gc=False):
        id: str
        tool: str
        classification: dict[str, Any]

    class Document(msgspec.Struct, gc=False):
        annotations: dict[str, list[Label]]
        annotationsData: dict[str, list[msgspec.Raw]]  # noqa: N815  the platform's name

    class Row(msgspec.Struct, gc=False):
        id: int
        data: msgspec.Raw

    class Page(msgspec.Struct, gc=False):
        results: list[Row]

    class Wrapper(msgspec.Struct, gc=False):
        mode: str = ""
        presigned_url: str = ""

    async def main() -> int:
        headers = {"Synapse-Access-Token": f"Token {os.environ['SYNAPSE_ACCESS_TOKEN']}"}
        host = os.environ["SYNAPSE_HOST"]
        pages = msgspec.json.Decoder(Page)
        documents = msgspec.json.Decoder(Document)
        room = asyncio.Semaphore(REQUESTS)
        done = 0
        async with aiohttp.ClientSession(headers=headers) as session:

            async def ids() -> list[int]:
                query: dict[str, str | int] = {
                    "project": project,
                    "fields": "id",
                    "page_size": 1000,
                    "pagination": "cursor",
                    "ordering": "-id",
                }
                url: str | None = f"{host}/sdk/tasks/"
                found: list[int] = []
                while url:
                    async with session.get(url, params=query if "?" not in url else None) as answer:
                        page = await answer.json()
                    found += [row["id"] for row in page["results"]]
                    url = page["next"]
                return sorted(found)

            async def blob(url: str) -> bytes:
                async with room, session.get(url, headers={"Synapse-Access-Token": ""}) as answer:
                    return await answer.read()

            async def batch(keys: list[int]) -> None:
                nonlocal done
                query: dict[str, str | int] = {
                    "project": project, "expand": "data_unit", "page_size": PAGE, "pagination": "cursor",
                    "ordering": "-id", "id__gte": keys[0], "id__lte": keys[-1], "response_mode": "presigned",
                }  # fmt: skip
                async with room, session.get(f"{host}/sdk/tasks/", params=query) as answer:
                    rows = pages.decode(await answer.read()).results
                for row in rows:
                    data: bytes = bytes(row.data)
                    if data.startswith(b'{"mode"'):
                        data = await blob(msgspec.json.decode(data, type=Wrapper).presigned_url)
                    documents.decode(data)
                    descriptor = os.open(folder / f"{row.id}.json", os.O_WRONLY | os.O_CREAT)
                    os.write(descriptor, data)
                    os.close(descriptor)
                    done += 1

            keys = await ids()
            await asyncio.gather(*(batch(keys[n : n + PAGE]) for n in range(0, len(keys), PAGE)))
        return done

    return asyncio.run(main())


SUBJECTS: dict[str, Callable[[int, Path], int]] = {
    "plain": run_plain,
    "serial": lambda project, folder: run_pipeline(project, folder, "serial"),
    "processes": lambda project, folder: run_pipeline(project, folder, "processes"),
    "ray": lambda project, folder: run_pipeline(project, folder, "ray"),
    "limit": run_limit,
}


def _cpu() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    name, project_id, output = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    # What every subject needs is loaded before the clock starts: the comparison is about records, not imports.
    importlib.import_module("synapse_sdk.clients.backend")
    importlib.import_module("aiohttp" if name in ("plain", "limit") else "pipeline.run")
    started, cpu = time.perf_counter(), _cpu()
    count = SUBJECTS[name](project_id, output)
    figures = {
        "records": count,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": _cpu() - cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    if name in ("plain", "limit"):
        assert len(list(output.iterdir())) == count
    else:
        check_export(output / "export", count)
    print(json.dumps(figures))
