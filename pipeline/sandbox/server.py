"""The HTTP server: routes, authentication, faults and the request log (contract, section 12.1)."""

import asyncio
import hashlib
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from aiohttp import web

from pipeline.sandbox import resources
from pipeline.sandbox.blobs import Blobs
from pipeline.sandbox.data import SandboxData
from pipeline.sandbox.fault_effects import after_answer, before_answer
from pipeline.sandbox.faults import Fault, FaultInjector, Route, parse_fault
from pipeline.sandbox.filters import BadFilterError
from pipeline.sandbox.listing import InvalidPageError, Listing, ListRequest
from pipeline.sandbox.nasty import check_kinds
from pipeline.sandbox.options import SandboxOptions, Target
from pipeline.sandbox.resources import RefusedError, envelope, envelope_v2
from pipeline.sandbox.rows import Rows, Signer

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

TENANT = "sandbox"
_LISTS: dict[str, Target] = {"tasks": "task", "assignments": "assignment", "ground_truth_events": "ground_truth"}
_SECRET_HEADERS = {"authorization", "synapse-access-token", "synapse-tenant", "synapse-agent", "cookie"}
_LOGGED_REQUESTS = 200_000
_IGNORED: web.RequestKey[list[str]] = web.RequestKey("ignored", list)
_FAULT: web.RequestKey[str] = web.RequestKey("fault", str)


@dataclass(slots=True)
class LogEntry:
    """One request as it arrived, without token values and signatures; ``status`` 0 means no answer was finished."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    status: int = 0
    ignored_keys: list[str] = field(default_factory=list)
    bytes: int = 0
    started: float = 0.0
    """Seconds of the clock that only goes forward; ``seconds`` is how long the answer took."""
    seconds: float = 0.0
    fault: str = ""


class Server:
    """State and handlers of one sandbox; lives on one event loop."""

    def __init__(self, options: SandboxOptions, storage_location: str) -> None:
        check_kinds(options.kinds)
        self.options = options
        self.data = SandboxData(options)
        signer = Signer(hashlib.sha256(f"sandbox signing key {options.seed}".encode()).digest())
        self.rows = Rows(self.data, signer)
        self.listing = Listing(options, self.data, self.rows)
        self.injector = FaultInjector(options.seed, options.faults)
        self.blobs = Blobs(options, self.data, signer)
        self.log: deque[LogEntry] = deque(maxlen=_LOGGED_REQUESTS)
        self.jobs: dict[str, dict[str, Any]] = {}
        self.job_logs: list[dict[str, Any]] = []
        digest = hashlib.sha256(f"sandbox token {options.seed}".encode()).hexdigest()
        self.token, self.user_token = f"syn_{digest[:32]}", f"user_{digest[32:]}"
        self.revoked = False
        self.describe_storage: Callable[[], Mapping[str, Any]] = lambda: resources.file_system(storage_location)
        """Provider and configuration of the storage, asked at each request for it."""
        self._open_requests = 0
        self._slots = asyncio.Semaphore(options.page_slots) if options.page_slots else None

    def application(self) -> web.Application:
        """Return the aiohttp application with all routes."""
        app = web.Application(middlewares=[self._gate], client_max_size=64 * 2**20)
        app.add_routes(
            [
                web.get("/agents/", self._json(lambda _: envelope([resources.agent()]))),
                web.get("/projects/", self._json(lambda _: envelope(resources.projects()))),
                web.get(r"/projects/{id:\d+}/", self._json(lambda r: resources.project(_id(r)))),
                web.get(r"/tasks/{id:\d+}/", self._json(lambda r: self._one("task", r))),
                web.get(r"/assignments/{id:\d+}/", self._json(lambda r: self._one("assignment", r))),
                web.get("/task_tags/", self._json(lambda _: envelope(resources.tags()))),
                web.get(r"/data_collections/{id:\d+}/", self._json(lambda _: resources.collection())),
                web.get("/ground_truth_dataset_versions/", self._json(_versions)),
                web.get(r"/ground_truth_dataset_versions/{id:\d+}/", self._json(lambda r: resources.version(_id(r)))),
                web.get("/v2/users/me/", self._json(lambda _: envelope_v2(resources.user_v2()))),
                web.get("/v2/projects/", self._json(lambda _: envelope_v2(resources.projects_v2(len(self.data))))),
                web.get(
                    r"/v2/ground-truth-datasets/{id:\d+}/",
                    self._json(lambda r: envelope_v2(resources.dataset_v2(_id(r)))),
                ),
                web.get("/storages/", self._json(lambda _: envelope([self._storage(resources.STORAGE)]))),
                web.get(r"/storages/{id:\d+}/", self._json(self._get_storage)),
                web.post(
                    r"/storages/{id:\d+}/session/",
                    self._json(lambda r: resources.session(_id(r), self.describe_storage, self.options)),
                ),
                web.get("/jobs/{id}/", self._json(lambda r: self._job(r.match_info["id"]))),
                web.patch("/jobs/{id}/", self._patch_job),
                web.get("/jobs/{id}/console_logs/", self._json(self._console_logs)),
                web.get("/jobs/{id}/tail_console_logs/", self._tail_console_logs),
                web.post("/logs/", self._post_logs),
                web.get("/blobs/{key:.+}", self.blobs.signed),
                web.get("/media/{key:.+}", self.blobs.media),
                web.get("/__sandbox__/log", self._show_log),
                web.post("/__sandbox__/{action}", self._control),
            ]
        )
        for name in _LISTS:
            app.router.add_get(f"/sdk/{name}/", self._list)
            app.router.add_get(f"/sdk/{name}/{{variant:data|files}}/", self._list)
        return app

    @web.middleware
    async def _gate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/__sandbox__/"):
            return await handler(request)
        started = time.monotonic()
        route = _route(request.path)
        entry = LogEntry(request.method, request.path, _shown_query(request), _shown_headers(request), started=started)
        self.log.append(entry)
        guarded = route in {"api", "pages"}
        self._open_requests += guarded
        try:
            fault = self.injector.pick(route, _fault_url(entry))
            entry.fault = fault.kind if fault else ""
            response = await self._answer(request, handler, fault, guarded=guarded)
            entry.status = response.status
            if isinstance(response, web.Response):
                entry.bytes = len(cast("bytes", response.body or b""))
            return response
        finally:
            self._open_requests -= guarded
            entry.ignored_keys = request.get(_IGNORED, [])
            entry.seconds = time.monotonic() - started

    async def _answer(
        self, request: web.Request, handler: Handler, fault: Fault | None, *, guarded: bool
    ) -> web.StreamResponse:
        limit = self.options.max_concurrency
        if guarded and limit is not None and self._open_requests > limit:
            return web.json_response({"detail": "Too many open requests."}, status=429, headers={"Retry-After": "1"})
        if fault is not None:
            early = await before_answer(request, fault)
            if early is not None:
                return early
            request[_FAULT] = fault.kind
        if guarded and not self._authenticated(request):
            return web.json_response({"detail": "Authentication credentials were not provided."}, status=401)
        try:
            response = await handler(request)
        except RefusedError as error:
            return web.json_response(error.args[1], status=error.args[0])
        except BadFilterError as error:
            return web.json_response({error.args[0]: [error.args[1]]}, status=400)
        except InvalidPageError as error:
            return web.json_response({"detail": error.args[0]}, status=404)
        except web.HTTPNotFound:
            return web.json_response({"detail": "Not found."}, status=404)
        return await after_answer(request, response, fault) if fault is not None else response

    def _authenticated(self, request: web.Request) -> bool:
        headers = request.headers
        user = headers.get("Authorization") == f"Token {self.user_token}" and headers.get("Synapse-Tenant") in {
            f"Token {TENANT}",
            TENANT,
        }
        given = headers.get("Synapse-Access-Token", "")
        access = given == (self.token if request.path.startswith("/v2/") else f"Token {self.token}")
        return (user or access) and not self.revoked

    def _json(self, answer: Callable[[web.Request], Any]) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            return web.json_response(answer(request))

        return handler

    async def _list(self, request: web.Request) -> web.StreamResponse:
        if self._slots is None:
            return await self._page(request)
        async with self._slots:
            return await self._page(request)

    async def _page(self, request: web.Request) -> web.StreamResponse:
        answer = self.listing.answer(
            ListRequest(
                target=_LISTS[request.path.split("/")[2]],
                variant=request.match_info.get("variant", ""),
                path=request.path,
                query=dict(request.query.items()),
                origin=f"http://{request.host}",
                fault=request.get(_FAULT, ""),
            )
        )
        request[_IGNORED] = list(answer.ignored)
        latency = self.options.page_latency + self.options.offset_latency * answer.offset
        if latency > 100:
            return web.Response(status=524, text="<html>524: A timeout occurred</html>", content_type="text/html")
        if latency:
            await asyncio.sleep(latency)
        return web.Response(body=answer.body, content_type="application/json")

    def _one(self, target: Target, request: web.Request) -> Any:
        keys = self.data.keys[target]
        key = _id(request)
        if key not in keys or key in self.listing.deleted[target]:
            raise resources.not_found()
        pieces = self.rows.pieces(target, keys.index(key), expanded=True, presigned=False)
        return json.loads(b"".join(self.rows.signed(pieces, f"http://{request.host}")))

    def _storage(self, number: int, *, configured: bool = False) -> dict[str, Any]:
        return resources.storage(number, self.describe_storage(), configured=configured)

    def _get_storage(self, request: web.Request) -> Any:
        return self._storage(_id(request), configured=request.query.get("with_configuration", "").lower() == "true")

    def _job(self, number: str) -> dict[str, Any]:
        return self.jobs.setdefault(number, resources.job(number))

    async def _patch_job(self, request: web.Request) -> web.StreamResponse:
        job = self._job(request.match_info["id"])
        job.update(await request.json())
        return web.json_response(job)

    def _console_logs(self, request: web.Request) -> Any:
        return [entry for entry in self.job_logs if str(entry.get("job")) == request.match_info["id"]]

    async def _tail_console_logs(self, request: web.Request) -> web.StreamResponse:
        messages = [{"type": "connected"}]
        messages += [
            {"type": "log", "message": str(entry.get("data", {}).get("content", ""))}
            for entry in self._console_logs(request)
        ]
        messages.append({"type": "complete"})
        text = "".join(f"data: {json.dumps(message)}\n\n" for message in messages)
        return web.Response(text=text, content_type="text/event-stream")

    async def _post_logs(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        entries = body if isinstance(body, list) else [body]
        self.job_logs += entries
        return web.json_response(body, status=201)

    async def _show_log(self, _: web.Request) -> web.StreamResponse:
        return web.json_response([shown(entry) for entry in self.log])

    async def _control(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else {}
        match request.match_info["action"]:
            case "clear":
                self.log.clear()
            case "faults":
                self.injector.replace([parse_fault(text) for text in body["faults"]])
            case "delete":
                self.delete(body["target"], body["ids"])
            case "change":
                self.change(body["target"], body["ids"])
            case "add":
                self.add(body["count"])
            case "revoke":
                self.revoked = bool(body.get("revoked", True))
            case _:
                raise web.HTTPNotFound
        return web.json_response({"ok": True})

    def warm(self) -> None:
        """Render the rows of all targets before the first request."""
        for target in self.data.keys:
            for index in range(len(self.data)):
                self.rows.pieces(target, index, expanded=True, presigned=self.options.payload != "raw")

    def delete(self, target: Target, keys: list[int]) -> None:
        """Leave rows out of every later answer."""
        self.listing.deleted[target] |= set(keys)
        self.listing.forget()

    def change(self, target: Target, keys: list[int]) -> None:
        """Label records again: their documents are different from the next answer on."""
        wanted = set(keys)
        self.data.change(index for index, key in enumerate(self.data.keys[target]) if key in wanted)
        self.rows.forget()

    def add(self, count: int) -> None:
        """Add rows with higher keys to all targets, because a record exists under each of them."""
        self.data.grow(count)
        self.listing.forget()


def shown(entry: LogEntry) -> dict[str, Any]:
    """Return a log entry as plain JSON values."""
    return {name: getattr(entry, name) for name in LogEntry.__slots__}


def _id(request: web.Request) -> int:
    return int(request.match_info["id"])


def _versions(request: web.Request) -> dict[str, Any]:
    wanted = request.query.get("ground_truth_dataset", "")
    rows = [resources.version(number) for number in sorted(resources.VERSIONS, reverse=True)]
    return envelope([row for row in rows if wanted in {"", str(row["ground_truth_dataset"])}])


def _route(path: str) -> Route:
    if path.startswith("/sdk/"):
        return "pages"
    if path.startswith("/blobs/payloads/"):
        return "payloads"
    if path.startswith(("/blobs/", "/media/")):
        return "originals"
    return "api"


def _shown_query(request: web.Request) -> dict[str, str]:
    return {name: "***" if name == "X-Sig" else value for name, value in request.query.items()}


def _shown_headers(request: web.Request) -> dict[str, str]:
    shown_headers = {}
    for name, value in request.headers.items():
        scheme = value.partition(" ")[0] + " ***" if " " in value else "***"
        shown_headers[name.lower()] = scheme if name.lower() in _SECRET_HEADERS else value
    return shown_headers


def _fault_url(entry: LogEntry) -> str:
    query = "&".join(f"{name}={value}" for name, value in sorted(entry.query.items()) if not name.startswith("X-"))
    return f"{entry.path}?{query}" if query else entry.path
