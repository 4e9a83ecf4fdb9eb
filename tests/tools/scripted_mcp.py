"""An MCP server over HTTP that does what a test says: a scripted one, on a socket of its own, in a thread.

It speaks protocol 2025-11-25 with sessions, or 2026-07-28 without. What a real server never does is written here as
plain JSON; `tests.tools.mcp_server` is a real one.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn

JSON = dict[str, Any]
OBJECT: JSON = {"type": "object", "properties": {}}
WAIT_SECONDS = 60


def tool(name: Any, schema: Any = OBJECT, **more: Any) -> JSON:
    """An entry of a list of tools."""
    return {"name": name, "description": f"The tool {name}.", "inputSchema": schema, **more}


def text(value: str) -> JSON:
    """The result of a call."""
    return {"content": [{"type": "text", "text": value}]}


@dataclass
class Answer:
    """The answer to an HTTP request in place of the protocol's answer. `silent` holds it until the end."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    silent: bool = False
    broken: bool = False


Hook = Callable[[str, JSON, dict[str, str]], Answer | None]
"""Called with the HTTP method, the message and the headers."""


class ScriptedMcp:
    """The server. Every member may be changed while it runs."""

    def __init__(self, *, modern: bool = False) -> None:
        self.modern = modern
        self.tools: list[Any] = [tool("echo")]
        self.results: dict[str, Any] = {}
        """By tool: the result, or `{"error": …}` for a JSON-RPC error."""
        self.sessions: set[str] = set()
        self.requests: list[tuple[str, str]] = []
        """The HTTP method and the message's, in order."""
        self.headers: list[dict[str, str]] = []
        self.hook: Hook = lambda method, message, headers: None
        self.page_size = 0
        self._streams: list[asyncio.Queue[JSON]] = []
        self.listening = threading.Event()
        """Set once a client listens to notifications."""
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(128)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        config = uvicorn.Config(self, log_level="critical", lifespan="off", ws="none")
        self._server = uvicorn.Server(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> ScriptedMcp:
        self._thread.start()
        assert self._started.wait(WAIT_SECONDS)
        return self

    def stop(self) -> None:
        assert self._loop is not None
        self._server.should_exit = True
        self._server.force_exit = True
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(WAIT_SECONDS)
        self._socket.close()

    def called(self, method: str) -> int:
        """Returns the number of calls of a method."""
        return sum(1 for _, name in self.requests if name == method)

    def notify(self, method: str = "notifications/tools/list_changed") -> None:
        """Sends a notification to everybody who listens."""
        assert self._loop is not None
        for queue in self._streams:
            self._loop.call_soon_threadsafe(queue.put_nowait, {"jsonrpc": "2.0", "method": method})

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._started.set()
        await self._server.serve(sockets=[self._socket])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            part = await receive()
            body += part.get("body", b"")
            if not part.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        message: JSON = json.loads(body) if body else {}
        self.requests.append((scope["method"], message.get("method", "")))
        self.headers.append(headers)
        answer = self.hook(scope["method"], message, headers)
        if answer is not None:
            await self._send_scripted(answer, receive, send)
        elif scope["method"] == "GET":
            await self._stream(send, None)
        elif scope["method"] == "DELETE":
            self.sessions.discard(headers.get("mcp-session-id", ""))
            await _send(send, 200)
        else:
            await self._post(message, headers, send)

    async def _send_scripted(self, answer: Answer, receive: Any, send: Any) -> None:
        if answer.silent:
            await self._over.wait()
        given = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": given})
        await send({"type": "http.response.body", "body": answer.body, "more_body": answer.broken})
        if answer.broken:
            raise RuntimeError("The script ends the connection here.")

    async def _post(self, message: JSON, headers: dict[str, str], send: Any) -> None:
        method, session = message.get("method", ""), headers.get("mcp-session-id")
        if method == "subscriptions/listen":
            await self._stream(send, message["id"])
            return
        if method == "initialize":
            session = f"s{len(self.requests)}"
            self.sessions.add(session)
        elif not self.modern and session not in self.sessions and method != "server/discover":
            await _send(send, 404)
            return
        if "id" not in message:
            await _send(send, 202)
            return
        answered = self._answer(method, message.get("params") or {})
        reply = {"jsonrpc": "2.0", "id": message["id"], **answered}
        more = {"mcp-session-id": session} if method == "initialize" and session else {}
        await _send(send, 200, json.dumps(reply).encode(), {"content-type": "application/json", **more})

    def _answer(self, method: str, params: JSON) -> JSON:
        if method == "server/discover":
            return self._discover()
        if method == "initialize":
            return {
                "result": {
                    "protocolVersion": "2025-11-25",
                    "capabilities": {"tools": {"listChanged": True}},
                    "serverInfo": {"name": "scripted", "version": "1"},
                }
            }
        if method == "tools/list":
            return {"result": self._page(params.get("cursor"))}
        if method == "tools/call":
            result = self.results.get(params["name"], text(params["name"]))
            result = result(params) if callable(result) else result
            complete = {"resultType": "complete"} if self.modern else {}
            return result if "error" in result else {"result": {**complete, **result}}
        return {"error": {"code": -32601, "message": "Method not found"}}

    def _discover(self) -> JSON:
        if not self.modern:
            return {"error": {"code": -32601, "message": "Method not found"}}
        return {
            "result": {
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {"listChanged": True}},
                "resultType": "complete",
                "ttlMs": 0,
                "cacheScope": "private",
            }
        }

    def _page(self, cursor: Any) -> JSON:
        start = int(cursor or 0)
        end = start + (self.page_size or len(self.tools) or 1)
        page: JSON = {"tools": self.tools[start:end]}
        if end < len(self.tools):
            page["nextCursor"] = str(end)
        if self.modern:
            page |= {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        return page

    async def _stream(self, send: Any, listen_id: Any) -> None:
        """Sends notifications until the end."""
        queue: asyncio.Queue[JSON] = asyncio.Queue()
        head = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        meta = {"io.modelcontextprotocol/subscriptionId": listen_id}
        if listen_id is not None:
            acknowledged = {"notifications": {"toolsListChanged": True}, "_meta": meta}
            method = "notifications/subscriptions/acknowledged"
            await _send_event(send, {"jsonrpc": "2.0", "method": method, "params": acknowledged})
        else:
            await send({"type": "http.response.body", "body": b": here\n\n", "more_body": True})
        self._streams.append(queue)
        self.listening.set()
        over = asyncio.ensure_future(self._over.wait())
        while True:
            taken = asyncio.ensure_future(queue.get())
            await asyncio.wait({taken, over}, return_when=asyncio.FIRST_COMPLETED)
            if over.done():
                taken.cancel()
                return
            message = taken.result()
            if listen_id is not None:
                message = {**message, "params": {"_meta": meta}}
            await _send_event(send, message)


async def _send(send: Any, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
    given = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    given.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": given})
    await send({"type": "http.response.body", "body": body})


async def _send_event(send: Any, message: JSON) -> None:
    data = json.dumps(message).encode()
    await send({"type": "http.response.body", "body": b"event: message\ndata: " + data + b"\n\n", "more_body": True})


Start = Callable[..., ScriptedMcp]
Wait = Callable[[threading.Event], Awaitable[None]]
