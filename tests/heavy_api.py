"""An API whose records are as heavy as a test says, and an export from it that says how much memory it took.

The documents are in the test's process and the export in one of its own, so that only the exporter is measured.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from aiohttp import web

from exporting import ROOT, environment, write_config
from synapse.local_api import TOKEN, LocalApi

# Runs an export, and says what its process peaked at, in megabytes.
# VmHWM and not ru_maxrss: the latter begins with what the process that started this one had in memory.
MEASURE = """
import json, sys
from pipeline.cli import main
code = main(sys.argv[1:])
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(json.dumps({"code": code, "megabytes": peak / 1024}))
"""


class HeavyApi(LocalApi):
    """Tasks 1, 2, … of project 12, in one list; ``documents`` are their JSON, as bytes.

    With ``presigned`` a row says where its document is, and its digest. ``more(request)`` may answer other requests.
    """

    def __init__(self, documents, *, presigned=False, size=(3840, 2160), more=None):
        super().__init__(self._respond)
        self._documents = documents
        self._presigned = presigned
        self._size = size
        self._more = more
        self._digests = {}

    def environment(self):
        """The variables by which the exporter finds it."""
        return {"SYNAPSE_HOST": self.url, "SYNAPSE_ACCESS_TOKEN": TOKEN}

    def _row(self, number):
        document = self._documents[number - 1]
        if self._presigned:
            if id(document) not in self._digests:
                self._digests[id(document)] = hashlib.sha256(document).hexdigest()
            where = {
                "mode": "presigned", "presigned_url": f"{self.url}/document/{number}", "size": len(document),
                "data_digest": self._digests[id(document)],
            }  # fmt: skip
            document = json.dumps(where).encode()
        width, height = self._size
        meta = {"width": width, "height": height}
        info = {"url": f"{self.url}/image/{number}", "file_name_original": f"{number}.jpg", "file_type": "image"}
        unit = {"id": number, "files": {"image_1": {**info, "is_primary": True, "meta": meta}}}
        head = json.dumps({"id": number, "project": 12, "data_unit": unit}).encode()
        return head[:-1] + b', "data": ' + document + b"}"

    async def _respond(self, request):
        if self._more and (answer := await self._more(request)):
            return answer
        if request.path.startswith("/document/"):
            return web.Response(body=self._documents[int(request.path.rpartition("/")[2]) - 1])
        if request.path.startswith("/projects/"):
            return web.json_response({"id": 12, "title": "Heavy", "configuration": {}})
        return await self._list(request)

    async def _list(self, request):
        query = request.query
        low, high = int(query.get("id__gte", 0)), int(query.get("id__lt", query.get("id__lte", 10**9 - 1)))
        high += "id__lt" not in query
        keys = [key for key in range(len(self._documents), 0, -1) if low <= key < high]
        if "ids" in query:
            keys = [key for key in keys if str(key) in query["ids"].split(",")]
        count, keys = len(keys), keys[: int(query.get("page_size", 100))]
        light = "data" not in query.get("fields", "data").split(",")
        rows = [json.dumps({"id": key}).encode() if light else self._row(key) for key in keys]
        following = None
        if len(keys) < count:
            kept = {name: value for name, value in query.items() if name not in ("id__lte", "id__lt")}
            following = str(request.url.with_query({**kept, "id__lt": str(keys[-1])}))
        envelope = {"next": following, "previous": None, "count": count}
        pieces = [json.dumps(envelope).encode()[:-1] + b', "results": [']
        for position, row in enumerate(rows):
            pieces += [b"," if position else b"", row]
        pieces.append(b"]}")
        # Not joined: a page of a gigabyte is only announced, when the client wants none of it.
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = sum(map(len, pieces))
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        return response


def measured(api, folder, *, records, command="run", executor="serial", **overrides):
    """Run ``command``, which exports all of ``api`` in shards of so many records.

    Returns the exit code, the peak of the process in megabytes and what it said.
    """
    run = {"executor": executor, "shard_size": records, **overrides.pop("run", {})}
    values = {
        "name": "heavy", "target": "task", "filter": {"project": 12}, "path": str(Path(folder) / "out"),
        "formats": ["coco", "csv", "parquet"], "split": {"by": "hash"}, "save_original_file": False, "run": run,
        **overrides,
    }  # fmt: skip
    Path(folder).mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, command, write_config(folder, values)],
        cwd=ROOT, capture_output=True, text=True,
        env={**environment(), **api.environment()}, timeout=560, check=True,
    )  # fmt: skip
    told = json.loads(done.stdout.splitlines()[-1])
    print(f"peak: {told['megabytes']:.0f} MB")  # noqa: T201  shown by pytest -s, and for a test that fails
    return told["code"], told["megabytes"], done.stderr
