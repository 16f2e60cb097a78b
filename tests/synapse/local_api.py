"""A small HTTP server that answers as a test says, and a client that does not wait long."""

import asyncio
import io
import json
import threading

from aiohttp import web
from PIL import Image

from pipeline.model.backoff import Backoff
from pipeline.synapse.http.transport import Transport
from pipeline.synapse.http.tries import RequestLimits

TOKEN = "syn_canary_token_0123456789"
SIGNATURE = "canarysignature0123456789"
QUICK = RequestLimits(
    Backoff(attempts=4, first=0.01, longest=0.05, jitter=0.5, longest_retry_after=0.3),
    connect=2,
    idle=1,
    attempt=2,
    deadline=10,
)


class LocalApi:
    """Serves ``answer(request)`` (a coroutine function) on a free port of ``host``; ``seen`` are the requests."""

    def __init__(self, answer, host="127.0.0.1", port=0):
        self.seen = []
        self._port = port
        self.most_at_once = 0
        self._open = 0
        self._answer = answer
        self._host = host
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    def __enter__(self):
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self):
        runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._port)
        await site.start()
        self.url = f"http://{self._host}:{runner.addresses[0][1]}"
        self._ready.set()
        await self._stop.wait()
        await site.stop()
        for _ in range(10):  # connections that were just accepted get their transport, which takes several turns
            await asyncio.sleep(0)
        transports = [handler.transport for handler in runner.server.connections if handler.transport]
        await runner.cleanup()
        for transport in transports:  # closing waits for what is still to be sent, to clients that may never read it
            transport.abort()
        await asyncio.sleep(0.01)

    async def _handle(self, request):
        self.seen.append(request)
        self._open += 1
        self.most_at_once = max(self.most_at_once, self._open)
        try:
            return await self._answer(request)
        finally:
            self._open -= 1


def scripted(*answers):
    """Give the answers one after the other, the last one for ever; each is a Response, or a coroutine function."""
    waiting = list(answers)

    async def answer(request):
        current = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if callable(current) and not isinstance(current, web.StreamResponse):
            return await current(request)
        return web.Response(status=current.status, body=current.body, headers=current.headers)

    return answer


async def cut(request):
    """Promise 1000 bytes, send 10, hang up."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"0123456789")
    request.transport.close()
    return response


async def reset(request):
    """Hang up without an answer."""
    request.transport.abort()
    return web.Response()


def transport(api, **options):
    """A client of ``api`` with a token, and with little patience."""
    headers = {"Synapse-Access-Token": f"Token {TOKEN}"}
    return Transport(api.url, headers=headers, **{"limits": QUICK, **options})


def signed(api, path="/blob"):
    """A presigned URL of ``api``."""
    return f"{api.url}{path}?X-Amz-Signature={SIGNATURE}"


def everything_of(error):
    """All that a traceback of the error could show."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), repr(error.args)]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(texts)


class TinyList:
    """The list endpoint of a LocalApi: rows by key, newest first, with ranges, ``ids=`` and cursors.

    ``ids_select`` says by which field ``ids=`` selects (None: it is ignored); ``spoil(rows, request)`` may return
    another answer for a page.
    """

    def __init__(self, rows, *, key="id", ids_select="id", has_cursor=True, has_ranges=True, spoil=None):
        self.rows = sorted(rows, key=lambda row: -row[key])
        self._key = key
        self._ids_select = ids_select
        self._has_cursor = has_cursor
        self._has_ranges = has_ranges
        self.spoil = spoil

    async def __call__(self, request):
        query = request.query
        rows = self.rows
        if self._has_ranges:
            low, high = int(query.get("id__gte", 0)), int(query.get("id__lt", query.get("id__lte", 10**9 - 1)))
            high += "id__lt" not in query
            rows = [row for row in rows if low <= row[self._key] < high]
        if self._ids_select and "ids" in query:
            ids = {int(part) for part in query["ids"].split(",")}
            rows = [row for row in rows if row[self._ids_select] in ids]
        if query.get("ordering", "").lstrip("-") == query.get("ordering"):
            rows = rows[::-1]
        size, start = int(query.get("page_size", 100)), int(query.get("at", 0))
        page = rows[start : start + size]
        more = start + size < len(rows)
        following = str(request.url.update_query(at=start + size)) if more else None
        body = {"next": following, "previous": None, "results": self._only(page, query.get("fields"))}
        if not (self._has_cursor and query.get("pagination") == "cursor"):
            body["count"] = len(rows)
        spoilt = self.spoil(page, request) if self.spoil else None
        return spoilt or web.Response(body=json.dumps(body).encode(), content_type="application/json")

    @staticmethod
    def _only(rows, fields):
        return [{k: v for k, v in row.items() if k in fields.split(",")} for row in rows] if fields else rows


class TinySynapse(LocalApi):
    """A whole server of tasks of project 12, for exports from end to end.

    ``spoil(rows, request)`` may return another answer for a page; ``fetch(request)`` may return one for a
    file, also as a coroutine.
    """

    project_id = 12

    def __init__(self, rows, *, spoil=None, fetch=None, **options):
        self.list = TinyList(rows, spoil=spoil, **options)
        self._fetch = fetch
        self.project = (b'{"id":12,"title":"tiny","configuration":{}}', 200)
        super().__init__(self._route)

    def environment(self):
        """What a process needs to talk to it."""
        return {"SYNAPSE_HOST": self.url, "SYNAPSE_ACCESS_TOKEN": TOKEN}

    async def _route(self, request):
        if request.path.startswith("/sdk/"):
            return await self.list(request)
        if request.path.startswith("/projects/"):
            if callable(self.project):
                return await self.project(request)
            body, status = self.project
            return web.Response(body=body, status=status, content_type="application/json")
        answer = self._fetch(request) if self._fetch else None
        if asyncio.iscoroutine(answer):
            return await answer
        return answer or web.Response(body=picture())


def picture(size=(640, 480), kind="JPEG"):
    """A picture of one colour as a file."""
    file = io.BytesIO()
    Image.new("RGB", size, (90, 120, 60)).save(file, kind)
    return file.getvalue()


def document(*ids, size=(640, 480)):
    """A DM v1 document with one box for each id."""
    boxes = [{"id": name, "tool": "bounding_box", "classification": {"class": "car"}} for name in ids]
    places = [{"id": name, "coordinate": {"x": 1, "y": 2, "width": 3, "height": 4}} for name in ids]
    return {
        "extra": {"image_1": {"width": size[0], "height": size[1]} if size else {}},
        "annotations": {"image_1": boxes},
        "annotationsData": {"image_1": places},
    }


def task(number, data=None, **fields):
    """A row of a task of project 12 with one annotated image."""
    info = {
        "url": f"/media/{number}.jpg",
        "file_name_original": f"{number}.jpg",
        "file_type": "image",
        "is_primary": True,
    }
    return {
        "id": number,
        "project": 12,
        "data": document(f"a{number}") if data is None else data,
        "data_unit": {"id": number, "files": {"image_1": info}},
        **fields,
    }
