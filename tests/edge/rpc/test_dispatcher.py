"""The dispatcher of requests: one reply each, out of order, bounded, cancelled, timed out, and nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

import msgspec
import pytest
from rest_framework import serializers

from core_app.errors import BadRequest, Conflict, Forbidden, GatewayError, InternalError, NotFound, RateLimited
from edge_app.rest.errors import as_gateway_error
from edge_app.rpc import (
    Dispatcher,
    ErrorTable,
    Method,
    MethodTimedOut,
    Request,
    RequestCancelled,
    serializer_parser,
    struct_parser,
)
from edge_app.sockets.order import RepliesFirst

WAIT = 5.0


class Range(msgspec.Struct, forbid_unknown_fields=True):
    first: int
    last: int


class Sum(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    a: int
    b: int = 0
    in_range: Range | None = None
    more_numbers: list[int] = []


class NameSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()


class Calls(Dispatcher[str]):
    """Methods that wait for the test, and lists of what was replied."""

    limit = 3

    def __init__(self, order: RepliesFirst | None = None) -> None:
        super().__init__(order)
        self.replies: list[tuple[Any, Any]] = []
        self.refusals: list[tuple[Any, GatewayError]] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.changed = asyncio.Event()
        self.knows_caller = True
        self.entered: list[str] = []
        self.left: list[str] = []
        self.methods = {  # type: ignore[misc]  # these methods belong to one test
            "add": Method.on_loop(struct_parser(Sum), self.add),
            "wait": Method.on_loop(dict, self.wait),
            "hurry": Method.on_loop(dict, self.wait, seconds=0.0),
            "stay": Method.on_loop(dict, self.stay),
            "time": Method.on_loop(dict, self.time, seconds=60),
            "fail": Method.on_loop(dict, self.fail),
            "secret": Method.on_loop(dict, self.wait, scope="secrets"),
            "unsendable": Method.on_loop(dict, self.unsendable),
            "now": Method.at_once(struct_parser(Sum), self.now),
            "fail now": Method.at_once(dict, self.fail_now),
            "secret now": Method.at_once(struct_parser(Sum), self.now, scope="secrets"),
            "greet": Method.on_loop(serializer_parser(NameSerializer), self.greet),
        }

    async def admit(self, request: Request, method: Method[str]) -> str:
        if method.scope is not None:
            raise Forbidden("This is not allowed.")
        return "caller"

    def admit_now(self, request: Request, method: Method[str]) -> str | None:
        if method.scope is not None:
            raise Forbidden("This is not allowed.")
        return "caller" if self.knows_caller else None

    def reply(self, request: Request, result: Any) -> None:
        if isinstance(result, set):
            raise TypeError("no JSON")
        self.replies.append((request.id, result))
        self.changed.set()

    def refuse(self, request: Request, error: GatewayError) -> None:
        self.refusals.append((request.id, error))
        self.changed.set()

    def error_of(self, cause: Exception) -> GatewayError:
        return as_gateway_error(cause) if isinstance(cause, serializers.ValidationError) else super().error_of(cause)

    async def add(self, caller: str, params: Sum) -> int:
        return params.a + params.b

    def now(self, caller: str, params: Sum) -> str:
        return f"{caller} {params.a + params.b}"

    def fail_now(self, caller: str, params: dict[str, Any]) -> None:
        raise ZeroDivisionError("secret text of a bug")

    async def wait(self, caller: str, params: dict[str, Any]) -> str:
        name = params["name"]
        self.enter(name)
        try:
            await self.gates.setdefault(name, asyncio.Event()).wait()
        finally:
            self.left.append(name)
        return str(name)

    async def stay(self, caller: str, params: dict[str, Any]) -> str:
        """Does not let itself be cancelled."""
        try:
            return await self.wait(caller, params)
        except asyncio.CancelledError:
            return "in spite of it"

    async def time(self, caller: str, params: dict[str, Any]) -> None:
        raise TimeoutError("of something inside the handler")

    async def fail(self, caller: str, params: dict[str, Any]) -> None:
        raise ZeroDivisionError("secret text of a bug")

    async def unsendable(self, caller: str, params: dict[str, Any]) -> set[int]:
        return {1}

    async def greet(self, caller: str, checked: Any) -> str:
        return f"hello {checked.validated_data['name']}"

    def enter(self, name: str) -> None:
        self.entered.append(name)
        self.changed.set()

    def open(self, name: str) -> None:
        self.gates.setdefault(name, asyncio.Event()).set()

    async def until_entered(self, count: int) -> None:
        async with asyncio.timeout(WAIT):
            while len(self.entered) < count:
                await self.next_change()

    async def next_change(self) -> None:
        self.changed.clear()
        await self.changed.wait()


async def in_time(work: Awaitable[Any]) -> None:
    async with asyncio.timeout(WAIT):
        await work


async def outcome(request: Request) -> GatewayError:
    """The refusal of a request that is alone."""
    calls = Calls()
    calls.dispatch(request)
    await in_time(calls.drain())
    assert calls.replies == []
    [(request_id, error)] = calls.refusals
    assert request_id == request.id
    return error


async def replies_before_events(order: RepliesFirst, calls: Calls) -> list[tuple[Any, Any]]:
    """Waits as a follower does, and returns the replies at the moment when it may put events in."""
    await order.before_events()
    return list(calls.replies)


async def test_a_request_gets_its_result() -> None:
    calls = Calls()
    calls.dispatch(Request("add", 1, {"a": 2, "b": 3}))
    assert calls.replies == []
    assert calls.in_flight == 1
    await in_time(calls.drain())
    assert calls.replies == [(1, 5)]
    assert calls.in_flight == 0


async def test_replies_leave_in_the_order_in_which_handlers_end() -> None:
    calls = Calls()
    for number, name in enumerate(("slow", "fast")):
        calls.dispatch(Request("wait", number, {"name": name}))
    await calls.until_entered(2)
    calls.open("fast")
    await in_time(calls.next_change())
    calls.open("slow")
    await in_time(calls.drain())
    assert calls.replies == [(1, "fast"), (0, "slow")]


@pytest.mark.parametrize(
    ("request_", "kind", "field"),
    [
        (Request("nothing", 1, {}), BadRequest, "method"),
        (Request("add", 1, {"a": "two"}), BadRequest, "a"),
        (Request("add", 1, {}), BadRequest, "a"),
        (Request("add", 1, {"a": 1, "c": 1}), BadRequest, "c"),
        (Request("add", 1, {"a": 1, "inRange": {"first": 1}}), BadRequest, "inRange.last"),
        (Request("add", 1, {"a": 1, "inRange": {"first": 1, "last": None}}), BadRequest, "inRange.last"),
        (Request("add", 1, {"a": 1, "moreNumbers": [1, "x"]}), BadRequest, "moreNumbers.1"),
        (Request("greet", 1, {}), BadRequest, "name"),
        (Request("secret", 1, {"name": "x"}), Forbidden, None),
        (Request("fail", 1, {}), InternalError, None),
        (Request("unsendable", 1, {}), InternalError, None),
        (Request("time", 1, {}), InternalError, None),
    ],
    ids=[
        "unknown method",
        "wrong type",
        "missing",
        "unknown field",
        "missing inside",
        "null inside",
        "inside a list",
        "missing for a serializer",
        "refused by admit",
        "a bug",
        "a result without an encoding",
        "a time-out of the handler's own",
    ],
)
async def test_a_refusal_says_what_is_wrong(request_: Request, kind: type[GatewayError], field: str | None) -> None:
    error = await outcome(request_)
    assert type(error) is kind
    assert error.field == field
    assert field is None or field in error.message or field == "method"
    assert "secret" not in error.message


async def test_an_unknown_exception_is_answered_with_an_error_id() -> None:
    error = await outcome(Request("fail", 1, {}))
    assert isinstance(error, InternalError)
    assert error.error_id.startswith("err_")


async def test_parameters_of_a_serializer_are_its_validated_data() -> None:
    calls = Calls()
    calls.dispatch(Request("greet", 1, {"name": "Ada"}))
    await in_time(calls.drain())
    assert calls.replies == [(1, "hello Ada")]


async def test_a_request_beyond_the_limit_is_refused_and_a_place_is_free_after_a_reply() -> None:
    calls = Calls()
    for number in range(calls.limit):
        calls.dispatch(Request("wait", number, {"name": "all"}))
    calls.dispatch(Request("add", 9, {"a": 1}))
    assert [(number, type(error)) for number, error in calls.refusals] == [(9, RateLimited)]
    calls.open("all")
    await in_time(calls.drain())
    calls.dispatch(Request("add", 10, {"a": 1}))
    await in_time(calls.drain())
    assert calls.replies[-1] == (10, 1)


async def test_a_method_ends_at_its_time_out() -> None:
    assert isinstance(await outcome(Request("hurry", 1, {"name": "never"})), MethodTimedOut)


async def test_one_request_is_cancelled_and_the_others_go_on() -> None:
    calls = Calls()
    for number, name in ((1, "one"), (2, "two")):
        calls.dispatch(Request("wait", number, {"name": name}))
    await calls.until_entered(2)
    assert calls.cancel(1)
    assert not calls.cancel(1)
    assert not calls.cancel(7)
    calls.open("two")
    await in_time(calls.drain())
    assert calls.replies == [(2, "two")]
    assert [(number, type(error)) for number, error in calls.refusals] == [(1, RequestCancelled)]
    assert sorted(calls.left) == ["one", "two"]


async def test_a_request_that_is_cancelled_before_its_handler_began_is_refused_too() -> None:
    calls = Calls()
    calls.dispatch(Request("wait", 1, {"name": "one"}))
    assert calls.cancel(1)
    await in_time(calls.drain())
    assert [(number, type(error)) for number, error in calls.refusals] == [(1, RequestCancelled)]
    assert calls.entered == []


async def test_a_handler_that_ignores_its_cancellation_is_not_answered_twice() -> None:
    calls = Calls()
    calls.dispatch(Request("stay", 1, {"name": "one"}))
    await calls.until_entered(1)
    assert calls.cancel(1)
    await in_time(calls.drain())
    assert calls.replies == []
    assert [(number, type(error)) for number, error in calls.refusals] == [(1, RequestCancelled)]


async def test_a_notification_gets_no_reply_whatever_it_comes_to() -> None:
    calls = Calls()
    for method, params in (("add", {"a": 1}), ("add", {}), ("fail", {}), ("nothing", {})):
        calls.dispatch(Request(method, None, params, notification=True))
        await in_time(calls.drain())
    assert (calls.replies, calls.refusals, calls.in_flight) == ([], [], 0)


@pytest.mark.parametrize("method", ["wait", "stay"])
async def test_a_close_leaves_no_task_and_replies_to_nobody(method: str) -> None:
    before = asyncio.all_tasks()
    calls = Calls()
    for number in range(3):
        calls.dispatch(Request(method, number, {"name": "never"}))
    await calls.until_entered(3)
    await in_time(calls.close())
    assert asyncio.all_tasks() <= before
    assert (calls.replies, calls.refusals, calls.in_flight) == ([], [], 0)


async def test_a_reply_precedes_the_events_that_its_request_causes() -> None:
    order = RepliesFirst()
    calls = Calls(order)
    calls.dispatch(Request("wait", 1, {"name": "commit"}))
    await calls.until_entered(1)
    announced = asyncio.create_task(replies_before_events(order, calls))
    calls.open("commit")
    await in_time(announced)
    assert announced.result() == [(1, "commit")]


async def test_a_request_waits_behind_events_that_wait_for_an_earlier_one() -> None:
    order = RepliesFirst()
    calls = Calls(order)
    calls.dispatch(Request("wait", 1, {"name": "one"}))
    await calls.until_entered(1)
    announced = asyncio.create_task(replies_before_events(order, calls))
    calls.dispatch(Request("wait", 2, {"name": "two"}))
    calls.open("two")
    calls.open("one")
    await in_time(announced)
    assert announced.result() == [(1, "one")]
    await in_time(calls.drain())
    assert calls.replies == [(1, "one"), (2, "two")]


def test_the_code_of_an_error_is_that_of_its_nearest_class() -> None:
    table = ErrorTable({GatewayError: 5000, BadRequest: 4000, NotFound: 4004})
    errors: Mapping[GatewayError, int] = {
        BadRequest("x"): 4000,
        NotFound("x"): 4004,
        Conflict("x"): 5000,
        RequestCancelled("x"): 5000,
    }
    assert [table.code(error) for error in errors] == list(errors.values())


def test_a_table_without_a_code_for_every_error_is_refused() -> None:
    with pytest.raises(ValueError, match="GatewayError"):
        ErrorTable({BadRequest: 4000})


class CallsInOrder(Calls):
    """The same methods, one at a time."""

    in_order = True


async def test_requests_in_order_begin_when_the_one_before_has_ended() -> None:
    calls = CallsInOrder()
    for name in ("first", "second", "third"):
        calls.dispatch(Request("wait", name, {"name": name}))
    calls.open("third")
    calls.open("second")
    await calls.until_entered(1)
    assert (calls.entered, calls.replies) == (["first"], [])
    calls.open("first")
    await in_time(calls.drain())
    assert [name for name, _ in calls.replies] == calls.entered == ["first", "second", "third"]


async def test_a_request_that_fails_or_is_cancelled_lets_the_next_one_begin() -> None:
    calls = CallsInOrder()
    calls.dispatch(Request("fail", 1, {}))
    calls.dispatch(Request("wait", 2, {"name": "stuck"}))
    calls.dispatch(Request("add", 3, {"a": 1}))
    await calls.until_entered(1)
    calls.cancel(2)
    await in_time(calls.drain())
    assert calls.replies == [(3, 1)]
    assert [request_id for request_id, _ in calls.refusals] == [1, 2]


async def test_a_client_that_waits_for_room_is_not_refused() -> None:
    calls = CallsInOrder()
    for number in range(calls.limit):
        calls.dispatch(Request("wait", number, {"name": "all"}))
    room = asyncio.create_task(calls.wait_room())
    await calls.until_entered(1)
    assert not room.done()
    calls.open("all")
    await in_time(room)
    calls.dispatch(Request("add", "last", {"a": 1}))
    await in_time(calls.drain())
    assert calls.refusals == []
    assert calls.replies[-1] == ("last", 1)


async def test_a_method_that_never_waits_is_answered_before_dispatch_returns() -> None:
    calls = Calls()
    calls.dispatch(Request("now", 1, {"a": 1, "b": 2}))
    assert calls.replies == [(1, "caller 3")]
    assert calls.in_flight == 0


async def test_a_method_that_never_waits_takes_a_task_where_its_caller_has_to_be_asked_for() -> None:
    calls = Calls()
    calls.knows_caller = False
    calls.dispatch(Request("now", 1, {"a": 1}))
    assert (calls.replies, calls.in_flight) == ([], 1)
    await calls.drain()
    assert calls.replies == [(1, "caller 1")]


async def test_a_method_that_never_waits_is_refused_at_once_for_every_fault() -> None:
    calls = Calls()
    calls.dispatch(Request("now", 1, {"a": "one"}))
    calls.dispatch(Request("fail now", 2, {}))
    calls.dispatch(Request("secret now", 3, {}))
    assert [(request_id, type(error).__name__) for request_id, error in calls.refusals] == [
        (1, "BadRequest"),
        (2, "InternalError"),
        (3, "Forbidden"),
    ]
    assert "secret" not in calls.refusals[1][1].message
    calls.dispatch(Request("now", 4, {"a": "one"}, notification=True))
    calls.dispatch(Request("now", 5, {"a": 1}, notification=True))
    assert (len(calls.refusals), calls.replies) == (3, [])


async def test_a_method_that_never_waits_counts_beside_those_that_do() -> None:
    calls = Calls()
    for number in range(calls.limit):
        calls.dispatch(Request("wait", number, {"name": "all"}))
    calls.dispatch(Request("now", 9, {"a": 1}))
    assert [(request_id, type(error).__name__) for request_id, error in calls.refusals] == [(9, "RateLimited")]
    calls.open("all")
    await calls.drain()
