"""The event loop of the synchronous clients, and the streams that it reads for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from gateway_client.event_stream import EventStream
from gateway_client.events import Event
from gateway_client.results import RunResult

T = TypeVar("T")


class BackgroundLoop:
    """An event loop in a daemon thread; `run` waits for a coroutine there."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gateway-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs it to its end; an interruption of the waiting thread cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """Yields the items of an asynchronous iterator."""
        missing = object()
        while (item := self.run(_next(items, missing))) is not missing:
            yield cast(T, item)

    @property
    def closed(self) -> bool:
        return self._loop.is_closed()

    def close(self) -> None:
        """Stops the loop."""
        self.run(_shut_down())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Stream:
    """The events of a run or of a session, as an iterator. `position` is the id of the last one."""

    def __init__(self, loop: BackgroundLoop, stream: EventStream) -> None:
        self._loop = loop
        self._stream = stream

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        event = self._loop.run(_next(self._stream, None))
        if event is None:
            raise StopIteration
        return cast(Event, event)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def position(self) -> str | None:
        return self._stream.position

    def close(self) -> None:
        """Ends the connection. The run itself goes on."""
        self._loop.run(self._stream.aclose())

    def result(self) -> RunResult:
        """Reads to the end of the run and returns its answer. Raises RunAborted when it ended without one."""
        return self._loop.run(self._stream.result())


async def _next(items: AsyncIterator[Any], default: object) -> object:
    return await anext(items, default)


async def _shut_down() -> None:
    """Ends what still runs on the loop, and the generators and threads that it started."""
    loop = asyncio.get_running_loop()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
