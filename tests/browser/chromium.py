"""A Chromium without a window, driven over its DevTools protocol: as much of it as walking through pages needs.

Everything a person does is done by its selector; what leads to another page waits for that page. It keeps its state
in a directory of its own and asks nobody outside.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import aiohttp

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
CLICKABLE = ", ".join(f"{place} {kind}" for place in ("main", "form") for kind in ("a", "button", "input[type=submit]"))
VIOLATIONS = """document.addEventListener("securitypolicyviolation", event => reportViolation(
  `${document.URL}: ${event.effectiveDirective} blocked ${event.blockedURI} at ${event.sourceFile}:${event.lineNumber}`
))"""
"""Runs before a page's own scripts, whatever its policy says."""

SECONDS = 90.0
EXIT_SECONDS = 60.0


def executable() -> str | None:
    """The path of Chromium on this machine; None without it."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One browser with one page."""

    def __init__(self, directory: Path, *, width: int = 1280, height: int = 900) -> None:
        self._directory = directory
        self._size = (width, height)
        self._process: subprocess.Popen[bytes] | None = None
        self._http: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._number = 0
        self._loaded = asyncio.Event()
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader: asyncio.Task[None] | None = None
        self.errors: list[str] = []
        self.violations: list[str] = []
        """Everything that a page's policy blocked, with the page and the place in it."""

        self.dialogs: list[str] = []

    async def __aenter__(self) -> Browser:
        self._spawn()
        self._http = aiohttp.ClientSession()
        try:
            async with asyncio.timeout(SECONDS):
                await self._connect()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    def _spawn(self) -> None:
        program = executable()
        assert program is not None
        size = f"--window-size={self._size[0]},{self._size[1]}"
        command = (program, *FLAGS, f"--user-data-dir={self._directory}", size, "about:blank")
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    async def __aexit__(self, *failure: object) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self._socket is not None:
            await self._socket.close()
        if self._http is not None:
            await self._http.close()
        if self._process is not None:
            self._process.terminate()
            try:
                await asyncio.to_thread(self._process.wait, EXIT_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    async def _connect(self) -> None:
        assert self._http is not None
        note = self._directory / "DevToolsActivePort"
        while not note.exists() or len(note.read_text().splitlines()) < 2:
            assert self._process is not None
            assert self._process.poll() is None, "Chromium ended at once."
            await asyncio.sleep(0.05)
        port = note.read_text().splitlines()[0]
        async with self._http.put(f"http://127.0.0.1:{port}/json/new?about:blank") as answer:
            target = await answer.json()
        self._socket = await self._http.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0)
        self._reader = asyncio.create_task(self._read())
        for domain in ("Page", "Runtime", "Log"):
            await self._do(f"{domain}.enable")
        await self._do("Runtime.addBinding", name="reportViolation")
        await self._do("Page.addScriptToEvaluateOnNewDocument", source=VIOLATIONS)

    async def _read(self) -> None:
        assert self._socket is not None
        async for message in self._socket:
            received = json.loads(message.data)
            if "id" in received:
                self._answers.pop(received["id"]).set_result(received)
            elif received["method"] == "Page.loadEventFired":
                self._loaded.set()
            elif received["method"] == "Page.javascriptDialogOpening":
                self.dialogs.append(received["params"]["message"])
            elif received["method"] == "Runtime.bindingCalled":
                self.violations.append(received["params"]["payload"])
            elif received["method"] == "Runtime.exceptionThrown":
                self.errors.append(received["params"]["exceptionDetails"]["text"])
            elif received["method"] == "Log.entryAdded" and received["params"]["entry"]["level"] == "error":
                self.errors.append(
                    f"{received['params']['entry']['text']} {received['params']['entry'].get('url', '')}"
                )

    async def _do(self, method: str, **parameters: Any) -> dict[str, Any]:
        assert self._socket is not None
        self._number += 1
        future = self._answers[self._number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        async with asyncio.timeout(SECONDS):
            received = await future
        assert "error" not in received, received
        return dict(received["result"])

    async def run(self, script: str) -> Any:
        """Returns the value of a piece of JavaScript."""
        result = await self._do("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def open(self, url: str) -> None:
        """Goes to an address and waits until the page is there."""
        self._loaded.clear()
        await self._do("Page.navigate", url=url)
        await self._page_came()

    async def fill(self, **values: str) -> None:
        """Types into the fields of these names; a check box or radio button of that value is chosen."""
        for name, value in values.items():
            script = f"""(() => {{
              const fields = [...document.getElementsByName({json.dumps(name)})];
              const box = fields.find(f => ["checkbox", "radio"].includes(f.type) && f.value == {json.dumps(value)});
              if (box) {{ box.checked = true; return true; }}
              if (!fields.length) return false;
              fields[0].value = {json.dumps(value)};
              return fields[0].value == {json.dumps(value)}; }})()"""
            assert await self.run(script), f"there is no field {name!r} that takes {value!r}"

    async def choose(self, name: str, label: str) -> None:
        """Chooses an option by what it says."""
        script = f"""(() => {{
          const list = document.getElementsByName({json.dumps(name)})[0];
          const option = [...list.options].find(o => o.text.trim().startsWith({json.dumps(label)}));
          if (!option) return false;
          list.value = option.value; return true; }})()"""
        assert await self.run(script), f"{name!r} has no option {label!r}"

    async def click(self, words: str) -> None:
        """Clicks the link or button that says these words, and waits for the page that it leads to."""
        script = f"""(() => {{
          const says = e => (e.tagName == "INPUT" ? e.value : e.textContent).trim();
          const all = [...document.querySelectorAll("{CLICKABLE}")];
          const found = all.find(e => says(e) == {json.dumps(words)} && e.offsetParent);
          if (!found) return false;
          found.click(); return true; }})()"""
        self._loaded.clear()
        assert await self.run(script), f"there is nothing to click that says {words!r}: {await self.text()}"
        await self._page_came()

    async def _page_came(self) -> None:
        async with asyncio.timeout(SECONDS):
            await self._loaded.wait()

    async def text(self) -> str:
        """The text of the page."""
        return str(await self.run("document.body.innerText"))

    async def path(self) -> str:
        """The address of the page."""
        return str(await self.run("location.pathname"))

    async def value(self, selector: str) -> str:
        """The text of the first element that the selector finds."""
        return str(await self.run(f"document.querySelector({json.dumps(selector)})?.textContent.trim()"))

    async def dark(self, on: bool) -> None:
        """Prefers dark colours, or light ones."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if on else "light"}]
        await self._do("Emulation.setEmulatedMedia", features=features)

    async def resize(self, width: int, height: int) -> None:
        """Gives the page another size."""
        await self._do(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    async def shot(self, file: Path, *, whole: bool = True) -> None:
        """A picture of the page."""
        result = await self._do("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        await asyncio.to_thread(file.write_bytes, base64.b64decode(result["data"]))
