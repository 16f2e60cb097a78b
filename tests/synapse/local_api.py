"""A small HTTP server that answers as a test says, and a client that does not wait long."""

import asyncio
import threading

from aiohttp import web

from pipeline.synapse.transport import Retry, Transport

TOKEN = "syn_canary_token_0123456789"
SIGNATURE = "canarysignature0123456789"
QUICK = Retry(
    tries=4, first_wait=0.01, longest_wait=0.05, longest_retry_after=0.3, connect=2, idle=1, attempt=2, deadline=10
)


class LocalApi:
    """Serves ``answer(request)`` (a coroutine function) on a free port of ``host``; ``seen`` are the requests."""

    def __init__(self, answer, host="127.0.0.1"):
        self.seen = []
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
        await web.TCPSite(runner, self._host, 0).start()
        self.url = f"http://{self._host}:{runner.addresses[0][1]}"
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

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
    return Transport(api.url, headers=headers, **{"retry": QUICK, **options})


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
