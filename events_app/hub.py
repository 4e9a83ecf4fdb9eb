"""The hub: the only client of the channel layer in a process (docs/architecture.md, "The life of a prompt").

The hub has one channel, a member of the group of every stream that is followed here. Its messages go at once into the
followers' bounded queues, and each event is decoded once. Publishing never waits: a bounded queue and one task. Batches
that the layer loses are found twice a second, by comparing the followed streams with their heads in the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterable, Sequence

import structlog
from channels.layers import get_channel_layer
from django.conf import settings

from core_app import database
from core_app.lifecycle import Part, Periodic, process_wide
from core_app.log_lines import error_summary
from core_app.timeouts import cancel_tasks, running_loop
from events_app.batches import Batch
from events_app.gaps import STREAMS, Gap, gaps_read
from events_app.layer import layer_close
from events_app.positions import heads
from events_app.subscription import Subscription

CHECK_SECONDS = 0.5
"""Pause between two checks. A stream that is behind its head in both was missed, so a lost message costs at most twice
this."""

ACTIVE_SECONDS = 10.0
"""For this long after its last message or new follower a stream is compared at every check, then at heartbeats."""

ALWAYS_CHECKED = 2000
"""With at most this many followed streams every check compares all of them, in one or two queries."""

JOIN_SECONDS = 1.0
"""A follower waits this long for its stream's group when Redis hangs. Then it starts without, and the checks bring it
what the layer does not."""

PUBLISH_QUEUE = 20_000
"""Batches that wait for the layer; further ones are dropped, and followers read them from the log."""

LOG_SECONDS = 60.0
"""Pause between two log lines about batches that do not reach the layer: with many legs, a thousand a second do not."""

LAYER_DOWN_ADVICE = (
    "Events reach their readers by way of the database, up to a second late, until the channel layer works again. See"
    " that Redis runs, and that GATEWAY_REDIS_URL has its address and password."
)

RETRY_SECONDS = 0.1
"""Pause after a failed receive."""

logger = structlog.get_logger("gateway.hub")


class _Followed:
    """A stream that has followers here. `suspect` is its head at the previous check; `attempt` is done when the next
    attempt to join its group is."""

    __slots__ = ("active_at", "attempt", "joined", "subscriptions", "suspect")

    def __init__(self) -> None:
        self.subscriptions: dict[Subscription, None] = {}
        self.joined = False
        self.attempt: asyncio.Future[None] | None = None
        self.suspect = 0
        self.active_at = time.monotonic()

    @property
    def given(self) -> int:
        """The newest offset that one of the followers was handed or has read."""
        return max((subscription.given for subscription in self.subscriptions), default=0)


class Hub(Part):
    """Delivers committed batches to the followers of this process.

    Every method but `publish` and `audience` belongs to the loop on which the hub was started.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._streams: dict[int, _Followed] = {}
        self._outgoing: deque[Batch] = deque()
        self._outgoing_ready = asyncio.Event()
        self._channel = ""
        self._channel_opened = asyncio.Event()
        self._to_join: dict[int, None] = {}
        self._emptied: dict[int, None] = {}
        self._groups_changed = asyncio.Event()
        self._checks = Periodic(
            "hub-check", self._check_in_time, lambda: CHECK_SECONDS, first=False, failed=_log_failed_check
        )
        self._full_check_at = 0.0
        self._layer_down = False
        """True when the layer failed at the last attempt to join a group."""
        self._unlogged = 0
        self._log_at = 0.0
        self.draining = False
        self.dropped = 0
        self.repaired = 0

    @property
    def running(self) -> bool:
        """True between start and stop."""
        return self._loop is not None

    @property
    def follower_count(self) -> int:
        """The number of subscriptions in this process."""
        return sum(len(followed.subscriptions) for followed in self._streams.values())

    def audience(self, stream_ids: Iterable[int]) -> int:
        """Returns how many followers these streams have here; from any thread, true for a moment."""
        followed = [self._streams.get(stream_id) for stream_id in stream_ids]
        return sum(len(each.subscriptions) for each in followed if each is not None)

    async def start(self) -> None:
        """Starts the tasks that join groups, receive, publish and check."""
        self._outgoing_ready, self._channel_opened, self._groups_changed = (asyncio.Event() for _ in range(3))
        self._loop, self.draining = asyncio.get_running_loop(), False
        self._layer, self._channel, self._layer_down = get_channel_layer(), "", False
        self._database = await database.run(database.database_identity)
        self._tasks = [
            asyncio.create_task(work(), name=f"hub-{name}")
            for name, work in (
                ("receive", self._receive),
                ("publish", self._publish),
                ("groups", self._maintain_groups),
            )
        ]
        self._full_check_at = time.monotonic() + settings.GATEWAY_HEARTBEAT_SECONDS
        await self._checks.start()

    async def drain(self) -> None:
        """Ends every follower, which tells its client to reconnect."""
        self.draining = True
        for followed in list(self._streams.values()):
            for subscription in list(followed.subscriptions):
                subscription.close()

    async def stop(self) -> None:
        """Ends the tasks and the layer's connections."""
        self._loop = None
        await self._checks.stop()
        await cancel_tasks(*self._tasks)
        self._tasks.clear()
        for pending in (self._streams, self._outgoing, self._to_join, self._emptied):
            pending.clear()
        try:
            await layer_close(self._layer)
        except Exception as error:  # Redis may be down; the process ends all the same
            logger.warning("channel_close_failed", error=error_summary(error))

    # -- publishing ----------------------------------------------------------------------------------

    def publish(self, batches: Iterable[Batch]) -> None:
        """Announces committed batches; from any thread, without waiting. In a process without a started hub (a command)
        the other processes find them with their checks."""
        if (loop := self._loop) is not None:
            # The loop may close at any moment, which must not look like a failed commit.
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
                except Exception as error:  # contains: whatever a layer raises; followers read the log
                    self._send_failed(error)

    def _send_failed(self, error: Exception) -> None:
        self.dropped += 1
        self._unlogged += 1
        if time.monotonic() >= self._log_at:
            logger.warning(
                "channel_send_failed", batches=self._unlogged, error=error_summary(error), do=LAYER_DOWN_ADVICE
            )
            self._unlogged, self._log_at = 0, time.monotonic() + LOG_SECONDS

    # -- following -----------------------------------------------------------------------------------

    async def attach(self, subscription: Subscription) -> None:
        """Starts a subscription. It misses nothing that is sent after this returns, except what the layer loses."""
        stream_id = subscription.stream_id
        followed = self._streams.setdefault(stream_id, _Followed())
        followed.subscriptions[subscription] = None
        followed.active_at = time.monotonic()
        if not followed.joined and self.running:
            try:
                await self._wait_joined(stream_id, followed)
            except asyncio.CancelledError:
                self.detach(subscription)
                raise

    def detach(self, subscription: Subscription) -> None:
        """Ends a subscription. When it was the stream's last one here, the next check leaves the group."""
        subscription.disarm()
        followed = self._streams.get(subscription.stream_id)
        if followed is not None:
            followed.subscriptions.pop(subscription, None)
            if not followed.subscriptions:
                self._emptied[subscription.stream_id] = None

    def _group(self, stream_id: int) -> str:
        return f"{self._database}-stream-{stream_id}"

    async def _wait_joined(self, stream_id: int, followed: _Followed) -> None:
        """Waits until the stream's group was joined, an attempt failed, or JOIN_SECONDS have passed."""
        self._to_join[stream_id] = None
        self._groups_changed.set()
        if self._layer_down:
            return
        if followed.attempt is None:
            followed.attempt = running_loop().create_future()
        await asyncio.wait([followed.attempt], timeout=JOIN_SECONDS)

    async def _maintain_groups(self) -> None:
        """Joins and leaves groups, one after the other. A task of its own, because neither followers nor the checks may
        wait for a layer that hangs."""
        try:
            await self._open_channel()
        except Exception as error:  # contains: whatever a layer raises; the first follower tries again
            self._layer_down = True
            logger.warning("channel_unavailable", error=error_summary(error), do=LAYER_DOWN_ADVICE)
        while True:
            await self._groups_changed.wait()
            self._groups_changed.clear()
            await self._join_groups()
            await self._leave_groups()

    async def _join_groups(self) -> None:
        while self._to_join:
            stream_id = next(iter(self._to_join))
            followed = self._streams.get(stream_id)
            if followed is not None and followed.subscriptions and not followed.joined:
                try:
                    await self._join(stream_id, followed)
                except Exception as error:  # contains: whatever a layer raises; the next check tries again
                    if not self._layer_down:
                        logger.warning(
                            "channel_join_failed",
                            streams=len(self._to_join),
                            error=error_summary(error),
                            do=LAYER_DOWN_ADVICE,
                        )
                    self._layer_down = True
                    for waiting in self._to_join:
                        self._settle_join(waiting)
                    return
                self._layer_down = False
                self._settle_join(stream_id)
            self._to_join.pop(stream_id, None)

    def _settle_join(self, stream_id: int) -> None:
        followed = self._streams.get(stream_id)
        if followed is not None and followed.attempt is not None:
            followed.attempt.set_result(None)
            followed.attempt = None

    async def _open_channel(self) -> None:
        if not self._channel:
            self._channel = await self._layer.new_channel()
            self._channel_opened.set()

    async def _join(self, stream_id: int, followed: _Followed) -> None:
        await self._open_channel()
        await self._layer.group_add(self._group(stream_id), self._channel)
        followed.joined = True

    async def _leave_groups(self) -> None:
        while self._emptied and not self._to_join:
            stream_id = next(iter(self._emptied))
            followed = self._streams.get(stream_id)
            if followed is not None and not followed.subscriptions:
                if followed.joined and not await self._leave_group(stream_id, followed):
                    return
                if not followed.subscriptions:
                    del self._streams[stream_id]
            self._emptied.pop(stream_id, None)

    async def _leave_group(self, stream_id: int, followed: _Followed) -> bool:
        # Set before the call, so that a follower that comes meanwhile joins the group again.
        followed.joined = False
        try:
            await self._layer.group_discard(self._group(stream_id), self._channel)
        except Exception as error:  # contains: whatever a layer raises; the next check tries again
            logger.warning("channel_leave_failed", streams=len(self._emptied), error=error_summary(error))
            followed.joined = not followed.subscriptions
            return False
        return True

    async def _receive(self) -> None:
        await self._channel_opened.wait()
        while True:
            try:
                self._dispatch(Batch.of(await self._layer.receive(self._channel)))
            except Exception as error:  # contains: whatever a layer raises; without this task no event is live
                logger.warning("channel_receive_failed", error=error_summary(error))
                await asyncio.sleep(RETRY_SECONDS)

    def _dispatch(self, batch: Batch) -> None:
        followed = self._streams.get(batch.stream_id)
        if followed is not None:
            followed.active_at = time.monotonic()
            for subscription in followed.subscriptions:
                subscription.put(batch)

    # -- gap repair ----------------------------------------------------------------------------------

    async def _check_in_time(self) -> None:
        if self._to_join or self._emptied:
            self._groups_changed.set()
        full = time.monotonic() >= self._full_check_at
        if full:
            self._full_check_at = time.monotonic() + settings.GATEWAY_HEARTBEAT_SECONDS
        await self.check(full=full)

    async def check(self, *, full: bool) -> None:
        """Compares followed streams with their heads, all of them or the active ones. Hands their followers what they
        missed, doubts those that are ahead, and ends the followers of streams that were removed."""
        oldest = time.monotonic() - ACTIVE_SECONDS
        everything = full or len(self._streams) <= ALWAYS_CHECKED
        ids = [key for key, value in self._streams.items() if everything or value.active_at >= oldest]
        if not ids:
            return
        # Before the heads are read: what is given meanwhile may be newer than they are.
        given = {stream_id: self._streams[stream_id].given for stream_id in ids}
        found = await database.run(heads, ids)
        gaps: list[Gap] = []
        for stream_id in ids:
            if (followed := self._streams.get(stream_id)) is None:
                continue
            if stream_id in found:
                if late := self._compare(followed, *found[stream_id], given[stream_id]):
                    gaps.append(Gap.of(stream_id, given=late, head=found[stream_id][0]))
            else:
                for subscription in followed.subscriptions:
                    subscription.close()
        for start in range(0, len(gaps), STREAMS):
            await self._repair(gaps[start : start + STREAMS])

    def _compare(self, followed: _Followed, head: int, generation: int, given: int) -> Sequence[int]:
        """Compares with the head and its generation; `given` is the newest offset that a follower had before. Returns
        what those that stayed behind were given."""
        late = []
        for subscription in followed.subscriptions:
            if subscription.generation != generation or (given > head and subscription.given > head):
                subscription.doubt()
            elif subscription.given < followed.suspect:
                late.append(subscription.given)
        self.repaired += len(late)
        followed.suspect = head
        return late

    async def _repair(self, gaps: Sequence[Gap]) -> None:
        """Reads once for all followers of each stream. A follower that lacks more than was read reads for itself."""
        found = await database.run(gaps_read, gaps)
        for stream_id, _, through in gaps:
            followed, batches = self._streams.get(stream_id), found.get(stream_id, ())
            for subscription in followed.subscriptions if followed is not None else ():
                for batch in batches:
                    if subscription.given < batch.last:
                        subscription.put(batch)
                if subscription.given < through:
                    subscription.nudge()


def _log_failed_check(error: Exception) -> None:
    logger.warning("head_check_failed", error=error_summary(error))


HUB = process_wide(Hub())
"""Process-wide instance, started by `Gateway`."""
