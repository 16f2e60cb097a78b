"""Chromium without a screen, over its DevTools protocol: what a page looks like, asks for and complains about."""

import asyncio
import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import aiohttp

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""The program, None where it is not installed."""


class Seen:
    """What happened while a page was open: its width, requests for anything but itself, complaints, and a picture."""

    def __init__(self):
        self.requests = []
        self.complaints = []
        self.scroll_width = 0
        self.picture = b""


def look_at(path, *, width, dark=False, height=1000, whole=False):
    """Open a file in a window of ``width`` pixels and return what was :class:`Seen`; ``whole`` shows all of it."""
    return asyncio.run(_look_at(Path(path), width, dark, height, whole))


async def _look_at(path, width, dark, height, whole):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = subprocess.Popen(  # noqa: ASYNC220  it is started once, and waited for below
            [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
             "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            port = await _port(Path(profile) / "DevToolsActivePort", browser)
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    pages = await answer.json(content_type=None)
                address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
                async with session.ws_connect(address, max_msg_size=0) as socket:
                    return await _Tab(socket).visit(path.absolute().as_uri(), width, dark, height, whole)
        finally:
            browser.terminate()
            browser.wait(20)


async def _port(file, browser):
    for _ in range(600):
        if browser.poll() is not None:
            raise RuntimeError(f"Chromium ended with exit code {browser.returncode}")
        with contextlib.suppress(FileNotFoundError, IndexError, ValueError):
            return int(file.read_text().splitlines()[0])
        await asyncio.sleep(0.05)
    raise TimeoutError("Chromium does not say its port")


class _Tab:
    def __init__(self, socket):
        self._socket = socket
        self._numbers = itertools.count(1)
        self._seen = Seen()
        self._loaded = False

    async def visit(self, address, width, dark, height, whole):
        for domain in ("Page", "Network", "Runtime", "Log"):
            await self._call(f"{domain}.enable")
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self._call("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self._call("Emulation.setEmulatedMedia", features=[scheme])
        await self._call("Page.navigate", url=address)
        while not self._loaded:
            self._note(await self._socket.receive_json(timeout=60), address)
        size = await self._call("Runtime.evaluate", expression="document.documentElement.scrollWidth")
        self._seen.scroll_width = size["result"]["value"]
        picture = await self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        self._seen.picture = base64.b64decode(picture["data"])
        return self._seen

    async def _call(self, method, **parameters):
        number = next(self._numbers)
        await self._socket.send_str(json.dumps({"id": number, "method": method, "params": parameters}))
        while (message := await self._socket.receive_json(timeout=60)).get("id") != number:
            self._note(message)
        assert "error" not in message, message
        return message["result"]

    def _note(self, message, address=""):
        parameters = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Network.requestWillBeSent":
                url = parameters["request"]["url"]
                if not url.startswith(("data:", "file:")):
                    self._seen.requests.append(url)
            case "Log.entryAdded":
                self._seen.complaints.append(parameters["entry"]["text"])
            case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled":
                self._seen.complaints.append(json.dumps(parameters)[:500])
