"""A session as the tools know it: a stream, a lease, and everything that was settled in it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import pytest_asyncio

from core_app import database
from core_app.guarded_client import CLIENT
from core_app.jsontext import decode
from events_app import lease, log
from events_app.lease import Fence
from tenants_app.models import Tenant
from tools_app import calls, registry
from tools_app.models import ToolCall
from tools_app.types import CallContext, CallResult, SettledCall, ToolRequest


@dataclass
class Session:
    """A session as the runner knows it when it executes calls; sync methods for threads, async ones for tests."""

    tenant: Tenant
    stream_id: int
    fence: Fence
    run_id: str = "run_1"
    settled: list[SettledCall] = field(default_factory=list)
    messages: int = 0

    def attach(self, name: str = "lookup", **registration: Any) -> dict[str, Any]:
        return registry.tool_attach(
            tenant_id=self.tenant.pk, stream_id=self.stream_id, registration={"name": name, **registration}
        )

    def plan(self, *wanted: tuple[str, Any]) -> list[str]:
        self.messages += 1
        with database.write_transaction():
            planned = calls.calls_plan(
                tenant_id=self.tenant.pk,
                stream_id=self.stream_id,
                run_id=self.run_id,
                message_id=f"msg_{self.stream_id}_{self.messages}",
                requests=[ToolRequest(name, args, "call_0") for name, args in wanted],
            )
        return [call.call_id for call in planned]

    def planned(self, name: str, args: Any) -> str:
        return self.plan((name, args))[0]

    def planned_by_agent(self, name: str, args: Any, approval_hint: str | None = None) -> str:
        """Plans a call that an external agent addressed to the client."""
        return self._plan_one(ToolRequest(name, args, "call_0", for_client=True, approval_hint=approval_hint))

    def planned_for_agent(self, name: str, args: Any) -> str:
        """Plans a call that an external agent makes itself."""
        return self._plan_one(ToolRequest(name, args, "call_0", for_agent=True, approval_hint="The agent asks."))

    def _plan_one(self, request: ToolRequest) -> str:
        self.messages += 1
        with database.write_transaction():
            planned = calls.calls_plan(
                tenant_id=self.tenant.pk,
                stream_id=self.stream_id,
                run_id=self.run_id,
                message_id=f"msg_{self.stream_id}_{self.messages}",
                requests=[request],
            )
        return planned[0].call_id

    def context(self, **changes: Any) -> CallContext:
        known: dict[str, Any] = {
            "session_id": "s-1",
            "request_id": self.run_id,
            "tenant_id": self.tenant.pk,
            "builtins": ("ask_user", "current_time", "fetch_url"),
            "base_url": "https://gateway.test",
        }
        return CallContext(**{**known, **changes})

    async def execute(self, call_id: str, **changes: Any) -> CallResult | None:
        return await calls.call_execute(
            call_id=call_id, fence=self.fence, context=self.context(**changes), on_settled=self.settled.append
        )

    def executed(self, call_id: str, **changes: Any) -> CallResult | None:
        """The same for a sync test: begins the call, which must not need to be executed."""
        step = calls._begin(call_id, self.fence, self.context(**changes), self.settled.append)
        assert step is None or isinstance(step, CallResult)
        return step

    def taken_over(self) -> None:
        """The process is dead, another one has the session."""
        lease.lease_release(fence=self.fence)
        fence = lease.lease_claim(stream_id=self.stream_id, owner="other", seconds=60)
        assert fence is not None
        self.fence = fence

    def call(self, call_id: str) -> ToolCall:
        return ToolCall.objects.get(pk=call_id)

    def make_late(self, call_id: str) -> None:
        with database.write_transaction():
            moment = self.call(call_id).expires_at
            assert moment is not None
            ToolCall.objects.filter(pk=call_id).update(expires_at=moment.replace(year=2020))

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        return [(event.type, decode(event.data)) for event in log.read(self.stream_id, after=0, limit=1000)]

    def types(self) -> list[str]:
        return [type_ for type_, _ in self.events()]

    def event(self, type_: str) -> dict[str, Any]:
        """The data of the only event of that type."""
        (data,) = [data for found, data in self.events() if found == type_]
        return data


def make_session(tenant: Tenant) -> Session:
    with database.write_transaction():
        stream = log.stream_create(kind="session")
    fence = lease.lease_claim(stream_id=stream.pk, owner="here", seconds=60)
    assert fence is not None
    return Session(tenant, stream.pk, fence)


@pytest.fixture
def session(tenant: Tenant) -> Session:
    return make_session(tenant)


@pytest.fixture
def other_session(other_tenant: Tenant) -> Session:
    return make_session(other_tenant)


@dataclass
class Received:
    """A request that reached the callback server."""

    body: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Reply = tuple[int, bytes] | Callable[[BaseHTTPRequestHandler], None]


class CallbackServer:
    """A real server; answers with `replies` in turn, the last one again and again."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.replies: list[Reply] = [(200, b'{"result":"done"}')]
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(60)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.received.append(Received(body, {name.lower(): value for name, value in self.headers.items()}))
                outer.answer(self)

            do_GET = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if callable(reply):
            reply(handler)
            return
        status, body = reply
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


@pytest.fixture
def server() -> Iterator[CallbackServer]:
    server = CallbackServer()
    yield server
    server.stop()


@pytest.fixture
def private_allowed(settings: Any) -> None:
    settings.GATEWAY_CALLBACK_ALLOW_PRIVATE = True


@pytest_asyncio.fixture
async def guarded() -> Any:
    """Closes the client's sessions of this test's loop."""
    yield
    await CLIENT.stop()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools_app.executors.callback.PAUSES", (0.0, 0.0))
