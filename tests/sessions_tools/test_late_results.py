"""Callbacks answered with 202: the run waits and continues with the result posted to the call's `resultUrl`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from core_app import clock, database
from core_app.ids import new_id
from edge_app.gate import failed_keys
from sessions_app.legs.sweep import sweep
from sessions_app.models import AgentSession
from tests.gateway_harness import Client, GatewayHarness
from tests.tools.conftest import CallbackServer
from tools_app.models import ToolCall


@dataclass
class WaitingRun:
    """A run whose callback was answered with 202. `poster` is the client that posts the result, without a key."""

    session: str
    request_id: str
    call_id: str
    address: str
    api: Client
    poster: Client

    async def post(self, body: Any) -> Any:
        return await self.poster.post(self.address, body)

    async def status(self) -> dict[str, Any]:
        return dict((await self.api.get(f"/v1/sessions/{self.session}/status")).json)

    async def text(self) -> str:
        return str((await self.api.follow_run(self.session, self.request_id))["lastMessage"]["content"])


@pytest.fixture
def waiting_run(api: Client, gateway: GatewayHarness, server: CallbackServer, settings: Any) -> Any:
    """Returns a context manager that starts a run which waits for a late result."""
    settings.GATEWAY_PUBLIC_URL = "https://gateway.test"
    server.replies = [(202, b"")]

    @asynccontextmanager
    async def begin(prompt: str = "use lookup") -> AsyncIterator[WaitingRun]:
        session = await api.session(model="demo:tour", tools=[{"name": "lookup", "callbackUrl": server.url}])
        request_id = await api.prompt(session, prompt)
        await gateway.wait_idle()
        body = server.received[-1].json
        assert body["resultUrl"].startswith("https://gateway.test/v1/callbacks/")
        yield WaitingRun(
            session, request_id, body["callId"], urlsplit(body["resultUrl"]).path, api, gateway.client(None)
        )

    return begin


def late(session: str) -> None:
    stream_id = AgentSession.objects.get(public_id=session).stream_id
    assert ToolCall.objects.filter(stream_id=stream_id).update(expires_at=clock.now() - timedelta(days=1))


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"result": "found it"}, "ok", "found it"),
        ({"result": [1, None]}, "ok", "[1,null]"),
        ({"error": "not there"}, "error", "not there"),
        ({"error": None, "result": 5}, "ok", "5"),
        ({"error": "not there", "result": None}, "error", "not there"),
        ({"result": None, "error": None}, "ok", "null"),
        ({"result": {"n": 10**22}}, "ok", '{"n":10000000000000000000000}'),
    ],
)
async def test_a_late_result_lets_the_run_go_on(waiting_run: Any, body: Any, status: str, told: str) -> None:
    async with waiting_run() as run:
        before = await run.status()
        assert (before["state"], before["run"]["status"]) == ("waiting_tool", "waiting")
        answer = await run.post(body)
        assert (answer.status, answer.json) == (200, {"callId": run.call_id, "status": "accepted"})
        assert (await run.text()).endswith(f"lookup answered: {told}")
        [end] = [frame.data for frame in await run.api.log(run.session) if frame.event == "tool_execution_end"]
        assert (end["status"], end["result"]) == (status, told)


async def test_the_address_is_good_for_one_result(waiting_run: Any, server: CallbackServer) -> None:
    async with waiting_run() as run:
        first = await run.post({"result": 1})
        again = await run.post({"result": 1})
        assert (again.status, again.json) == (200, first.json)
        assert (await run.post({"result": 2})).error == (409, "conflict")
        assert (await run.post({"error": "no"})).error == (409, "conflict")
        assert (await run.text()).endswith("lookup answered: 1")
        assert len(server.received) == 1


async def test_a_result_that_comes_again_with_its_keys_in_another_order_is_the_same(waiting_run: Any) -> None:
    async with waiting_run() as run:
        assert (await run.post({"result": {"a": 1, "b": [{"c": 2, "d": 10**22}]}})).status == 200
        assert (await run.post({"error": None, "result": {"b": [{"d": 10**22, "c": 2}], "a": 1}})).status == 200
        assert (await run.post({"result": {"a": 1, "b": [{"c": 2, "d": 10**22 + 1}]}})).error == (409, "conflict")
        await run.text()


@pytest.mark.parametrize("body", [{}, {"error": None}, {"result": 1, "error": "x"}, {"error": 7}, [], "text"])
async def test_what_is_no_result_is_refused_and_the_address_stays_good(waiting_run: Any, body: Any) -> None:
    async with waiting_run() as run:
        assert (await run.post(body)).error == (400, "bad_request")
        assert (await run.post({"result": 1})).status == 200
        await run.text()


async def test_guessing_is_limited_per_address_and_limits_no_good_token(
    waiting_run: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.GATEWAY_FAILED_KEYS_PER_MINUTE = 2
    group = new_id("adr")
    monkeypatch.setattr(failed_keys, "_address", lambda scope: group)
    async with waiting_run() as run:
        guess = run.address[:-1] + ("x" if run.address[-1] != "x" else "y")
        # Neither is read: the body would be 400.
        answers = [await run.poster.post(guess, {"no": "result"}) for _ in range(3)]
        assert [answer.status for answer in answers] == [404, 404, 429]
        assert int(answers[2].headers["retry-after"]) >= 1
        assert (await run.post({"result": 1})).status == 200
        await run.text()


async def test_an_address_that_is_nobodys_is_not_found(waiting_run: Any) -> None:
    async with waiting_run() as run:
        for address in (f"{run.address}x", "/v1/callbacks/", "/v1/callbacks/x", "/v1/callbacks/x/y"):
            assert (await run.poster.post(address, {"result": 1})).error == (404, "not_found")
        assert (await run.poster.get(run.address)).error == (405, "method_not_allowed")
        assert (await run.poster.post(run.address, body=b"x" * (1024 * 1024 + 1))).error == (413, "payload_too_large")
        await run.post({"result": 1})
        await run.text()


async def test_a_result_after_its_time_is_gone(waiting_run: Any) -> None:
    async with waiting_run() as run:
        await database.run(late, run.session)
        assert (await run.post({"result": 1})).error == (410, "gone")
        await database.run(sweep)
        assert "did not come in time" in await run.text()
        assert (await run.post({"result": 1})).error == (410, "gone")


async def test_a_result_after_an_abort_is_gone(waiting_run: Any) -> None:
    async with waiting_run() as run:
        await run.api.post(f"/v1/sessions/{run.session}/abort")
        assert (await run.post({"result": 1})).error == (410, "gone")


async def test_a_late_result_and_a_question_are_both_awaited(waiting_run: Any) -> None:
    async with waiting_run("use lookup and ask") as run:
        await run.post({"result": 1})
        status = await run.status()
        assert (status["state"], status["run"]["status"]) == ("waiting_input", "waiting")
        ref = status["pendingQuestions"][0]["ref"]
        await run.api.post(f"/v1/sessions/{run.session}/respond", {"ref": ref, "response": "Yes"})
        assert "lookup answered: 1\nask_user answered: Yes" in await run.text()


async def test_of_two_results_at_once_one_counts(waiting_run: Any) -> None:
    async with waiting_run() as run:
        answers = await asyncio.gather(*(run.post({"result": number}) for number in range(4)))
        assert sorted(answer.status for answer in answers) == [200, 409, 409, 409]
        winner = next(number for number, answer in enumerate(answers) if answer.status == 200)
        assert (await run.text()).endswith(f"lookup answered: {winner}")


async def test_a_waiting_callback_survives_a_restart_and_is_not_made_again(
    waiting_run: Any, gateway: GatewayHarness, server: CallbackServer
) -> None:
    async with waiting_run() as run:
        await gateway.restart()
        assert (await run.post({"result": "after"})).status == 200
        assert (await run.text()).endswith("lookup answered: after")
        assert len(server.received) == 1
