"""The dispatcher of RPC requests: method to handler, a task per request, bounded, cancellable, with time-outs.

It knows nothing of sessions, sockets or frames. `dispatch` never waits, so the read loop goes on while handlers run and
replies leave in the order in which handlers end. A method that never waits needs no task: its reply is put in before
`dispatch` returns. Every request gets exactly one reply or refusal, whatever its handler does, unless the connection
closes first.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import structlog

from core_app import database
from core_app.errors import BadRequest, GatewayError, RateLimited
from core_app.shares import Claim
from core_app.timeouts import cancel_tasks, running_loop
from edge_app.rpc.errors import MethodTimedOut, RequestCancelled, rpc_error
from edge_app.rpc.parameters import Params, Parse
from edge_app.sockets.order import RepliesFirst

C = TypeVar("C")
P = TypeVar("P")

logger = structlog.get_logger("gateway.rpc")


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `id` is the client's, None when the client sent none; two requests may share one."""

    method: str
    id: str | int | None
    params: Params

    notification: bool = False
    """True for a request that the client expects no reply to: neither its result nor its error is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method(Generic[C]):
    """A method: `run` gets what `Dispatcher.admit` returned and the raw parameters, and returns the result."""

    run: Callable[[C, Params], Awaitable[Any]]

    scope: str | None = None
    """The scope that the caller needs; for `admit`."""

    counted: bool = False
    """True for requests that take from the key's rate limit; for `admit`."""

    seconds: float | None = None
    """The time-out of the handler, None for no limit. A method on the database should have none, because its
    transaction goes on after the time-out."""

    shape: Any = None
    """The class of the parameters, for the face's document."""

    answer: Callable[[C, Params], Any] | None = None
    """Returns the result at once, for a method that never waits; it costs no task where `admit_now` knows the caller.
    Such a method causes no event that its reply has to precede."""

    @classmethod
    def at_once(cls, parse: Parse[P], handle: Callable[[C, P], Any], **options: Any) -> Method[C]:
        """Returns a method whose handler is a plain function that neither waits nor takes long."""

        def answer(context: C, params: Params) -> Any:
            return handle(context, parse(params))

        async def run(context: C, params: Params) -> Any:
            return answer(context, params)

        return cls(run=run, answer=answer, **options)

    @classmethod
    def on_loop(cls, parse: Parse[P], handle: Callable[[C, P], Awaitable[Any]], **options: Any) -> Method[C]:
        """Returns a method whose handler is a coroutine function with parsed parameters."""

        async def run(context: C, params: Params) -> Any:
            return await handle(context, parse(params))

        return cls(run=run, **options)

    @classmethod
    def on_database(cls, parse: Parse[P], perform: Callable[[C, P], Any], **options: Any) -> Method[C]:
        """Returns a method whose handler is a service: parameters are parsed, and it runs, in one database thread.

        The context is the principal, or has it as `principal`, with the session as `session_id` where there is one: the
        thread is counted for them.
        """

        def work(context: C, params: Params) -> Any:
            return perform(context, parse(params))

        async def run(context: C, params: Params) -> Any:
            return await database.run_action(_claim(context), work, context, params)

        return cls(run=run, **options)


def _claim(context: Any) -> Claim:
    """Returns the tenant and the session that a handler's thread is counted for."""
    principal = getattr(context, "principal", context)
    return Claim(getattr(principal, "tenant_id", None), getattr(context, "session_id", None))


class PendingRequest:
    """A request under way. It is `open` until its reply or refusal has been put in, or nobody wants one any more."""

    __slots__ = ("open", "request", "task")

    task: asyncio.Task[None]

    def __init__(self, request: Request) -> None:
        self.request = request
        self.open = True


class Dispatcher(ABC, Generic[C]):
    """The requests of one connection; belongs to its loop. A face overrides the hooks."""

    methods: ClassVar[Mapping[str, Method[Any]]] = {}

    limit: ClassVar[int] = 16
    """Requests of one connection under way at the same time; the next one is refused (`too_many`)."""

    in_order: ClassVar[bool] = False
    """True where requests take effect in the order in which they came: each begins when the one before has ended."""

    __slots__ = ("_calls", "_order", "_turn")

    def __init__(self, order: RepliesFirst | None = None) -> None:
        """`order` makes replies precede the events that their requests cause."""
        self._order = order
        self._calls: dict[asyncio.Task[None], PendingRequest] = {}
        # The lock serves in the order of asking, and tasks begin in the order of their creation.
        self._turn: AbstractAsyncContextManager[Any] = asyncio.Lock() if self.in_order else nullcontext()

    # -- hooks ---------------------------------------------------------------------------------------

    @abstractmethod
    async def admit(self, request: Request, method: Method[C]) -> C:
        """Returns the handler's context, such as the principal; raises GatewayError to refuse the request."""

    def admit_now(self, request: Request, method: Method[C]) -> C | None:
        """Returns what `admit` would where that is known without waiting, else None; raises what `admit` would. Asked
        for methods with an `answer` only."""
        return None

    @abstractmethod
    def reply(self, request: Request, result: Any) -> None:
        """Puts the reply in the outbox; never waits."""

    @abstractmethod
    def refuse(self, request: Request, error: GatewayError) -> None:
        """Puts the refusal in the outbox; never waits."""

    def objection(self, request: Request) -> GatewayError | None:
        """Returns why the request is refused at once: an unknown method, or too many under way."""
        if request.method not in self.methods:
            return self.unknown_method(request)
        return self.too_many() if len(self._calls) >= self.limit else None

    def unknown_method(self, request: Request) -> GatewayError:
        """Returns the error for a method that does not exist."""
        return BadRequest(f"There is no method {request.method[:64]!r}.", field="method")

    def too_many(self) -> GatewayError:
        """Returns the error for a request beyond `limit`."""
        return RateLimited(f"A connection may have {self.limit} requests under way; wait for a reply.")

    def error_of(self, cause: Exception) -> GatewayError:
        """Returns the GatewayError for an exception of `admit`, of the parser or of the handler."""
        return rpc_error(cause)

    def span(self, request: Request) -> AbstractContextManager[Any]:
        """Returns the span around a request."""
        return nullcontext()

    # -- requests ------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Number of requests whose handlers have not ended."""
        return len(self._calls)

    def is_under_way(self, request_id: str | int | None) -> bool:
        """Returns True while a request of this id waits for its reply."""
        return any(call.open and call.request.id == request_id for call in self._calls.values())

    def dispatch(self, request: Request) -> None:
        """Starts a request, or refuses it at once; returns without waiting."""
        call = PendingRequest(request)
        if (error := self.objection(request)) is not None:
            self._refuse(call, error)
            return
        method = self.methods[request.method]
        if method.answer is not None and not self.in_order and self._answer(call, method, method.answer):
            return
        call.task = running_loop().create_task(self._run(call))
        self._calls[call.task] = call
        call.task.add_done_callback(self._forget)

    def cancel(self, request_id: str | int) -> bool:
        """Cancels the requests of this id and refuses them at once; False when none is under way.

        What a cancelled method has begun in the database goes on, and its result is dropped.
        """
        calls = [call for call in self._calls.values() if call.open and call.request.id == request_id]
        for call in calls:
            call.task.cancel()
            self._refuse(call, RequestCancelled("The request was cancelled."))
        return bool(calls)

    async def wait_room(self) -> None:
        """Waits until fewer than `limit` requests are under way, for a face whose clients wait in place of being
        refused."""
        while len(self._calls) >= self.limit:
            await asyncio.wait(list(self._calls), return_when=asyncio.FIRST_COMPLETED)

    async def drain(self) -> None:
        """Waits until every request has its reply."""
        if self._calls:
            await asyncio.wait(list(self._calls))

    async def close(self) -> None:
        """Cancels all requests and waits for the end of their handlers; none of them gets a reply."""
        for call in self._calls.values():
            call.open = False
        await cancel_tasks(*self._calls)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._calls.pop(task, None)

    def _answer(self, call: PendingRequest, method: Method[C], answer: Callable[[C, Params], Any]) -> bool:
        """Answers a request at once; returns False where its caller is not known without waiting."""
        try:
            context = self.admit_now(call.request, method)
            if context is None:
                return False
            with self.span(call.request):
                self._reply(call, answer(context, call.request.params))
        except Exception as cause:  # the boundary of this wire: every request gets its reply
            self._refuse(call, self.error_of(cause))
        return True

    async def _run(self, call: PendingRequest) -> None:
        try:
            async with self._turn:
                with self.span(call.request):
                    await self._perform(call, self.methods[call.request.method])
        except Exception as cause:  # the boundary of this wire: every request gets its reply
            self._refuse(call, self.error_of(cause))

    async def _perform(self, call: PendingRequest, method: Method[C]) -> None:
        context = await self.admit(call.request, method)
        if method.seconds is None:
            await self._handle(call, method, context)
            return
        try:
            async with asyncio.timeout(method.seconds) as limit:
                await self._handle(call, method, context)
        except TimeoutError:
            if not limit.expired():
                raise
            message = f"{call.request.method} did not end within {method.seconds:g} seconds."
            raise MethodTimedOut(message) from None

    async def _handle(self, call: PendingRequest, method: Method[C], context: C) -> None:
        if self._order is None:
            self._reply(call, await method.run(context, call.request.params))
            return
        async with self._order:
            self._reply(call, await method.run(context, call.request.params))

    def _reply(self, call: PendingRequest, result: Any) -> None:
        if call.open and not call.request.notification:
            self.reply(call.request, result)
        call.open = False

    def _refuse(self, call: PendingRequest, error: GatewayError) -> None:
        if call.request.notification:
            logger.info("notification_failed", method=call.request.method, error=error.code)
        elif call.open:
            self.refuse(call.request, error)
        call.open = False
