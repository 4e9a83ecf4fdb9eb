"""The hub: this process's only client of the channel layer (design, decision 1).

One channel is a member of the group of every stream that somebody here follows. It is drained at once into the
followers' bounded queues; each event is decoded once. Publishing never waits: a bounded queue and one task. What
the layer loses is found again by comparing the followed streams with their heads, twice a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterable

import structlog
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import DatabaseError

from core_app import database
from events_app.batches import Batch
from events_app.layer import layer_close
from events_app.positions import heads

CHECK_SECONDS = 0.5
"""A head that is ahead of us in two checks running was missed: a lost message costs at most twice this."""

ACTIVE_SECONDS = 10.0
"""A stream is compared at every check for this long after its last message or follower; later at heartbeats."""

ALWAYS_CHECKED = 2000
"""Up to so many followed streams the distinction is not worth making: one query takes them all."""

PUBLISH_QUEUE = 20_000

RETRY_SECONDS = 0.1
"""After a failed receive."""

log = structlog.get_logger("gateway.hub")


class Subscription:
    """A follower's end: batches in, woken once; never more than GATEWAY_FOLLOWER_QUEUE of them.

    `given` is the newest offset that this follower was handed or has read: what another follower of the stream
    read says nothing about it.
    """

    __slots__ = ("_waiter", "batches", "closed", "given", "hub", "nudged", "overflowed", "stream_id")

    def __init__(self, hub: Hub, stream_id: int) -> None:
        self.hub = hub
        self.stream_id = stream_id
        self.batches: deque[Batch] = deque()
        self.given = 0
        self.nudged = False
        self.overflowed = False
        self.closed = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, batch: Batch) -> None:
        """Takes a batch, or notes that the follower fell behind."""
        if len(self.batches) >= settings.GATEWAY_FOLLOWER_QUEUE:
            self.overflowed = True
            self.batches.clear()
        elif not self.overflowed:
            self.batches.append(batch)
            self.given = max(self.given, batch.last)
        self.wake()

    def nudge(self) -> None:
        """Tells the follower that the log has more than it was given."""
        self.nudged = True
        self.wake()

    def close(self) -> None:
        """Ends the follower at its next step."""
        self.closed = True
        self.wake()

    def wake(self) -> None:
        """Ends the follower's wait."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, seconds: float) -> bool:
        """Until there is something to do (True) or `seconds` have passed (False)."""
        if self.batches or self.nudged or self.closed or self.overflowed:
            return True
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = loop.call_later(seconds, _expire, waiter)
        try:
            return not await waiter
        finally:
            timer.cancel()
            self._waiter = None


def _expire(waiter: asyncio.Future[object]) -> None:
    if not waiter.done():
        waiter.set_result(True)


class _Followed:
    """A stream that has followers here. `suspect` is its head at the check before."""

    __slots__ = ("active_at", "joined", "subscriptions", "suspect")

    def __init__(self) -> None:
        self.subscriptions: dict[Subscription, None] = {}
        self.joined = False
        self.suspect = 0
        self.active_at = time.monotonic()


class Hub:
    """A `core_app.lifecycle.Part`; every method but `publish` belongs to the loop it was started on."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._streams: dict[int, _Followed] = {}
        self._outgoing: deque[Batch] = deque()
        self._outgoing_ready = asyncio.Event()
        self._join_lock = asyncio.Lock()
        self._channel = ""
        self.draining = False
        self.dropped = 0
        self.repaired = 0

    @property
    def running(self) -> bool:
        """Whether this process has a started hub."""
        return self._loop is not None

    @property
    def follower_count(self) -> int:
        """Followers attached here."""
        return sum(len(followed.subscriptions) for followed in self._streams.values())

    async def start(self) -> None:
        """Takes a channel and begins to receive, publish and check."""
        self._outgoing_ready, self._join_lock = asyncio.Event(), asyncio.Lock()
        self._loop, self.draining = asyncio.get_running_loop(), False
        self._layer, self._channel = get_channel_layer(), ""
        self._database = await database.run(database.database_identity)
        self._tasks = [
            asyncio.create_task(work(), name=f"hub-{name}")
            for name, work in (("receive", self._receive), ("publish", self._publish), ("check", self._check))
        ]

    async def drain(self) -> None:
        """Ends every follower; each tells its client to reconnect."""
        self.draining = True
        for followed in list(self._streams.values()):
            for subscription in list(followed.subscriptions):
                subscription.close()

    async def stop(self) -> None:
        """Ends the tasks and the layer's connections."""
        self._loop = None
        # Cancelled in the middle of a command, the Redis layer may swallow it: the task goes on, and is told again.
        while running := [task for task in self._tasks if not task.done()]:
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=RETRY_SECONDS)
        self._tasks.clear()
        self._streams.clear()
        self._outgoing.clear()
        try:
            await layer_close(self._layer)
        except Exception as error:  # Redis may be away; the process ends all the same
            log.warning("channel_close_failed", error=type(error).__name__)

    # -- publishing ----------------------------------------------------------------------------------

    def publish(self, batches: Iterable[Batch]) -> None:
        """Announces committed batches; from any thread, at once. A process without a hub (a command) leaves it to
        the followers' own checks."""
        if (loop := self._loop) is not None:
            # The loop may close at any moment, which must not look like a commit that failed.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._enqueue, list(batches))

    def _enqueue(self, batches: list[Batch]) -> None:
        for batch in batches:
            if len(self._outgoing) >= PUBLISH_QUEUE:
                self.dropped += 1
            else:
                self._outgoing.append(batch)
        self._outgoing_ready.set()

    async def _publish(self) -> None:
        while True:
            await self._outgoing_ready.wait()
            self._outgoing_ready.clear()
            while self._outgoing:
                batch = self._outgoing.popleft()
                try:
                    await self._layer.group_send(self._group(batch.stream_id), batch.message())
                except Exception as error:
                    self.dropped += 1
                    log.warning("channel_send_failed", stream=batch.stream_id, error=type(error).__name__)

    # -- following -----------------------------------------------------------------------------------

    async def attach(self, stream_id: int) -> Subscription:
        """A subscription that misses nothing sent after this returns (short of what the layer loses)."""
        subscription = Subscription(self, stream_id)
        followed = self._streams.setdefault(stream_id, _Followed())
        followed.subscriptions[subscription] = None
        followed.active_at = time.monotonic()
        if not followed.joined:
            try:
                await self._join(stream_id, followed)
            except asyncio.CancelledError:
                self.detach(subscription)
                raise
        return subscription

    def detach(self, subscription: Subscription) -> None:
        """Ends a subscription; the group is left at the next check when nobody here follows the stream."""
        followed = self._streams.get(subscription.stream_id)
        if followed is not None:
            followed.subscriptions.pop(subscription, None)

    def _group(self, stream_id: int) -> str:
        return f"{self._database}-stream-{stream_id}"

    async def _join(self, stream_id: int, followed: _Followed) -> None:
        async with self._join_lock:
            try:
                if not self._channel:
                    self._channel = await self._layer.new_channel()
                if not followed.joined:
                    await self._layer.group_add(self._group(stream_id), self._channel)
                    followed.joined = True
            except Exception as error:
                log.warning("channel_join_failed", stream=stream_id, error=type(error).__name__)

    async def _receive(self) -> None:
        while not self._channel:
            await self._join_any()
        while True:
            try:
                self._dispatch(Batch.of(await self._layer.receive(self._channel)))
            except Exception as error:  # a layer raises what it likes; without this task nothing would be live again
                log.warning("channel_receive_failed", error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    def _dispatch(self, batch: Batch) -> None:
        followed = self._streams.get(batch.stream_id)
        if followed is not None:
            followed.active_at = time.monotonic()
            for subscription in followed.subscriptions:
                subscription.put(batch)

    async def _join_any(self) -> None:
        try:
            async with self._join_lock:
                self._channel = self._channel or await self._layer.new_channel()
        except Exception as error:
            log.warning("channel_unavailable", error=type(error).__name__)
            await asyncio.sleep(CHECK_SECONDS)

    # -- gap repair ----------------------------------------------------------------------------------

    async def _check(self) -> None:
        last_full = time.monotonic()
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            full = time.monotonic() - last_full >= settings.GATEWAY_HEARTBEAT_SECONDS
            if full:
                last_full = time.monotonic()
            try:
                await self.check(full=full)
            except DatabaseError as error:
                log.warning("head_check_failed", error=type(error).__name__)

    async def check(self, *, full: bool) -> None:
        """Compares followed streams with their heads and nudges the followers of those that stayed behind."""
        await self._tidy()
        oldest = time.monotonic() - ACTIVE_SECONDS
        everything = full or len(self._streams) <= ALWAYS_CHECKED
        ids = [key for key, value in self._streams.items() if everything or value.active_at >= oldest]
        if not ids:
            return
        for stream_id, head in (await database.run(heads, ids)).items():
            followed = self._streams.get(stream_id)
            if followed is not None:
                self._compare(followed, head)

    def _compare(self, followed: _Followed, head: int) -> None:
        for subscription in followed.subscriptions:
            if subscription.given < followed.suspect:
                self.repaired += 1
                subscription.nudge()
        followed.suspect = head

    async def _tidy(self) -> None:
        for stream_id, followed in list(self._streams.items()):
            if not followed.subscriptions:
                del self._streams[stream_id]
                if followed.joined:
                    await self._leave(stream_id)
            elif not followed.joined:
                await self._join(stream_id, followed)

    async def _leave(self, stream_id: int) -> None:
        try:
            async with self._join_lock:
                if stream_id not in self._streams:
                    await self._layer.group_discard(self._group(stream_id), self._channel)
        except Exception as error:
            log.warning("channel_leave_failed", stream=stream_id, error=type(error).__name__)


HUB = Hub()
"""The hub of this process."""
