"""The dispatcher of RPC requests: method to handler, a task per request, bounded, cancellable, with time-outs.

It knows nothing of sessions, sockets or frames. `dispatch` never waits, so the read loop goes on while handlers run and
replies leave in the order in which handlers end. Every request gets exactly one reply or refusal, whatever its handler
does, unless the connection closes first.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from core_app import database
from core_app.errors import BadRequest, GatewayError, RateLimited
from edge_app.rpc.errors import MethodTimedOut, RequestCancelled, rpc_error
from edge_app.sockets.order import RepliesFirst

C = TypeVar("C")
P = TypeVar("P")

Params = Mapping[str, Any]

_CANCELLED_BY_PEER = "cancelled by the peer"


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `id` is the client's, None when the client sent none; two requests may share one."""

    method: str
    id: str | int | None
    params: Params


@dataclass(frozen=True, slots=True)
class Method(Generic[C]):
    """A method: `run` gets what `Dispatcher.admit` returned and the raw parameters, and returns the result.

    `counted` is for `admit`: whether the request takes from the key's rate limit. `seconds` is the time-out, None for
    no limit. A method on the database should have none, because its transaction goes on after the time-out.
    """

    run: Callable[[C, Params], Awaitable[Any]]
    counted: bool = False
    seconds: float | None = None

    @classmethod
    def on_loop(
        cls, parse: Callable[[Params], P], handle: Callable[[C, P], Awaitable[Any]], **options: Any
    ) -> Method[C]:
        """A coroutine with parsed parameters."""

        async def run(context: C, params: Params) -> Any:
            return await handle(context, parse(params))

        return cls(run, **options)

    @classmethod
    def on_database(cls, parse: Callable[[Params], P], perform: Callable[[C, P], Any], **options: Any) -> Method[C]:
        """A service: its parameters are parsed and it runs in one database thread."""

        def work(context: C, params: Params) -> Any:
            return perform(context, parse(params))

        async def run(context: C, params: Params) -> Any:
            return await database.run(work, context, params)

        return cls(run, **options)


class Dispatcher(ABC, Generic[C]):
    """The requests of one connection; belongs to its loop. A face overrides the hooks."""

    methods: ClassVar[Mapping[str, Method[Any]]] = {}

    limit: ClassVar[int] = 16
    """Requests of one connection under way at the same time; the next one is refused (`too_many`)."""

    __slots__ = ("_order", "_tasks")

    def __init__(self, order: RepliesFirst | None = None) -> None:
        """`order` makes replies precede the events that their requests cause."""
        self._order = order
        self._tasks: dict[asyncio.Task[None], Request] = {}

    # -- hooks ---------------------------------------------------------------------------------------

    @abstractmethod
    async def admit(self, request: Request) -> C:
        """Returns the handler's context, such as the principal; raises GatewayError to refuse the request."""

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
        return self.too_many() if len(self._tasks) >= self.limit else None

    def unknown_method(self, request: Request) -> GatewayError:
        """The refusal of a method that does not exist."""
        return BadRequest(f"There is no method {request.method[:64]!r}.", field="method")

    def too_many(self) -> GatewayError:
        """The refusal of a request beyond `limit`."""
        return RateLimited(f"A connection may have {self.limit} requests under way; wait for a reply.")

    def error_of(self, cause: Exception) -> GatewayError:
        """The GatewayError that says what `cause` says."""
        return rpc_error(cause)

    def span(self, request: Request) -> AbstractContextManager[Any]:
        """The span around a handler."""
        return nullcontext()

    # -- requests ------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Number of requests whose handlers have not ended."""
        return len(self._tasks)

    def dispatch(self, request: Request) -> None:
        """Starts a request, or refuses it at once; returns without waiting."""
        if (error := self.objection(request)) is not None:
            self.refuse(request, error)
            return
        task = asyncio.create_task(self._run(request))
        self._tasks[task] = request
        task.add_done_callback(self._forget)

    def cancel(self, request_id: str | int) -> bool:
        """Cancels the requests of this id; False when none is under way. They are refused as cancelled."""
        tasks = [task for task, request in self._tasks.items() if request.id == request_id]
        for task in tasks:
            task.cancel(_CANCELLED_BY_PEER)
        return bool(tasks)

    async def drain(self) -> None:
        """Waits until every request has its reply."""
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    async def close(self) -> None:
        """Cancels all requests and waits for the end of their handlers; none of them gets a reply."""
        for task in self._tasks:
            task.cancel()
        await self.drain()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)

    async def _run(self, request: Request) -> None:
        try:
            await self._perform(request, self.methods[request.method])
        except asyncio.CancelledError as cancelled:
            if cancelled.args != (_CANCELLED_BY_PEER,):
                raise
            self.refuse(request, RequestCancelled("The request was cancelled."))
        except Exception as cause:  # the boundary of this wire: every request gets its reply
            self.refuse(request, self.error_of(cause))

    async def _perform(self, request: Request, method: Method[C]) -> None:
        context = await self.admit(request)
        with self.span(request):
            if method.seconds is None:
                await self._answer(request, method, context)
                return
            try:
                async with asyncio.timeout(method.seconds) as limit:
                    await self._answer(request, method, context)
            except TimeoutError:
                if not limit.expired():
                    raise
                raise MethodTimedOut(f"{request.method} did not end within {method.seconds:g} seconds.") from None

    async def _answer(self, request: Request, method: Method[C], context: C) -> None:
        if self._order is None:
            self.reply(request, await method.run(context, request.params))
            return
        async with self._order.answering():
            self.reply(request, await method.run(context, request.params))
