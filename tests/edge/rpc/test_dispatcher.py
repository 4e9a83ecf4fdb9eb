"""The dispatcher of requests: one reply each, out of order, bounded, cancelled, timed out, and nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from core_app.errors import BadRequest, Forbidden, GatewayError, InternalError, RateLimited
from edge_app.rpc import Dispatcher, Method, MethodTimedOut, Request, RequestCancelled
from edge_app.sockets.order import RepliesFirst


class Sum(msgspec.Struct):
    a: int
    b: int = 0


def parse_sum(params: Mapping[str, Any]) -> Sum:
    return msgspec.convert(dict(params), Sum)


class Calls(Dispatcher[str]):
    """Methods that wait for the test, and a list of what left."""

    limit = 3

    def __init__(self, order: RepliesFirst | None = None) -> None:
        super().__init__(order)
        self.replies: list[tuple[Any, Any]] = []
        self.refusals: list[tuple[Any, GatewayError]] = []
        self.gates: dict[Any, asyncio.Event] = {}
        self.entered: list[Any] = []
        self.methods = {  # type: ignore[misc]  # these methods belong to one test
            "add": Method.on_loop(parse_sum, self.add),
            "wait": Method.on_loop(dict, self.hold),
            "hurry": Method.on_loop(dict, self.hold, seconds=0.0),
            "fail": Method.on_loop(dict, self.fail),
            "forbid": Method.on_loop(parse_sum, self.add),
        }

    async def admit(self, request: Request) -> str:
        if request.method == "forbid":
            raise Forbidden("This is not allowed.")
        return "caller"

    def reply(self, request: Request, result: Any) -> None:
        self.replies.append((request.id, result))

    def refuse(self, request: Request, error: GatewayError) -> None:
        self.refusals.append((request.id, error))

    async def add(self, caller: str, params: Sum) -> int:
        return params.a + params.b

    async def hold(self, caller: str, params: dict[str, Any]) -> str:
        self.entered.append(params["name"])
        await self.gates.setdefault(params["name"], asyncio.Event()).wait()
        return str(params["name"])

    async def fail(self, caller: str, params: dict[str, Any]) -> None:
        raise ZeroDivisionError("secret text of a bug")

    def open(self, name: str) -> None:
        self.gates.setdefault(name, asyncio.Event()).set()


async def run_ready(calls: Calls, until: int) -> None:
    """Runs the loop until so many handlers have been entered."""
    async with asyncio.timeout(5):
        while len(calls.entered) < until:  # noqa: ASYNC110  (nothing else says so)
            await asyncio.sleep(0)


async def drained(calls: Calls) -> Calls:
    async with asyncio.timeout(5):
        await calls.drain()
    return calls


async def test_a_request_gets_its_result() -> None:
    calls = Calls()
    calls.dispatch(Request("add", 1, {"a": 2, "b": 3}))
    assert calls.replies == []
    assert (await drained(calls)).replies == [(1, 5)]
    assert calls.in_flight == 0


async def test_replies_leave_in_the_order_in_which_handlers_end() -> None:
    calls = Calls()
    for number, name in enumerate(("slow", "fast")):
        calls.dispatch(Request("wait", number, {"name": name}))
    await run_ready(calls, 2)
    calls.open("fast")
    async with asyncio.timeout(5):
        while not calls.replies:  # noqa: ASYNC110  (nothing else says so)
            await asyncio.sleep(0)
    calls.open("slow")
    assert (await drained(calls)).replies == [(1, "fast"), (0, "slow")]


@pytest.mark.parametrize(
    ("request_", "kind", "field"),
    [
        (Request("nothing", 1, {}), BadRequest, "method"),
        (Request("add", 1, {"a": "two"}), BadRequest, "a"),
        (Request("add", 1, {}), BadRequest, None),
        (Request("forbid", 1, {"a": 1}), Forbidden, None),
        (Request("fail", 1, {}), InternalError, None),
    ],
    ids=["unknown method", "bad parameter", "missing parameter", "refused by admit", "a bug"],
)
async def test_a_refusal_says_what_is_wrong(request_: Request, kind: type[GatewayError], field: str | None) -> None:
    calls = Calls()
    calls.dispatch(request_)
    [(request_id, error)] = (await drained(calls)).refusals
    assert request_id == 1
    assert type(error) is kind
    assert error.field == field
    assert "secret" not in error.message
    assert calls.replies == []


async def test_a_request_beyond_the_limit_is_refused_and_a_place_is_free_after_a_reply() -> None:
    calls = Calls()
    for number in range(calls.limit):
        calls.dispatch(Request("wait", number, {"name": "all"}))
    calls.dispatch(Request("add", 9, {"a": 1}))
    assert [(number, type(error)) for number, error in calls.refusals] == [(9, RateLimited)]
    calls.open("all")
    await drained(calls)
    calls.dispatch(Request("add", 10, {"a": 1}))
    assert (await drained(calls)).replies[-1] == (10, 1)


async def test_a_method_ends_at_its_time_out() -> None:
    calls = Calls()
    calls.dispatch(Request("hurry", 1, {"name": "never"}))
    [(request_id, error)] = (await drained(calls)).refusals
    assert request_id == 1
    assert isinstance(error, MethodTimedOut)


async def test_one_request_is_cancelled_and_the_others_go_on() -> None:
    calls = Calls()
    for number, name in ((1, "one"), (2, "two")):
        calls.dispatch(Request("wait", number, {"name": name}))
    await run_ready(calls, 2)
    assert calls.cancel(1)
    assert not calls.cancel(7)
    calls.open("two")
    await drained(calls)
    assert calls.replies == [(2, "two")]
    assert [(number, type(error)) for number, error in calls.refusals] == [(1, RequestCancelled)]


async def test_a_close_leaves_no_task_and_replies_to_nobody() -> None:
    calls = Calls()
    for number in range(3):
        calls.dispatch(Request("wait", number, {"name": "never"}))
    await run_ready(calls, 3)
    before = asyncio.all_tasks()
    async with asyncio.timeout(5):
        await calls.close()
    assert asyncio.all_tasks() < before
    assert (calls.replies, calls.refusals, calls.in_flight) == ([], [], 0)


async def test_a_reply_precedes_the_events_that_its_request_causes() -> None:
    order = RepliesFirst()
    calls = Calls(order)
    calls.dispatch(Request("wait", 1, {"name": "commit"}))
    await run_ready(calls, 1)
    announced = asyncio.ensure_future(order.before_events())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not announced.done()
    calls.open("commit")
    async with asyncio.timeout(5):
        await announced
    assert calls.replies == [(1, "commit")]
