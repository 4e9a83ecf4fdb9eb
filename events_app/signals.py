"""Signals: small messages between processes that are worth nothing a moment later, such as who has just connected.

A signal goes to the subscribers of its topic in every process, over the channel layer, and may be lost. What must not
be lost is an event of a stream. Sending never waits: signals go through a bounded queue, which drops the oldest.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgpack
import structlog
from channels.layers import get_channel_layer

from core_app import database
from core_app.lifecycle import Part, process_wide
from core_app.log_lines import error_summary
from core_app.timeouts import cancel_tasks

QUEUE = 10_000
"""Signals that wait for the layer."""

RETRY_SECONDS = 0.5
"""Pause after the layer has failed."""

Receiver = Callable[[Mapping[str, Any]], None]
"""Takes a signal; it must neither wait nor raise."""

logger = structlog.get_logger("gateway.signals")


class Signals(Part):
    """The signals of this process. Every method belongs to the loop on which it was started."""

    def __init__(self) -> None:
        self._receivers: dict[str, list[Receiver]] = {}
        self._outgoing: deque[tuple[str, bytes]] = deque(maxlen=QUEUE)
        self._joined: set[str] = set()
        self._changed = asyncio.Event()
        self._opened = asyncio.Event()
        self._channel = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._layer: Any = None
        self._database = ""
        self._failing = False

    async def start(self) -> None:
        """Starts to send and to receive."""
        self._layer = get_channel_layer()
        self._database = await database.run(database.database_identity)
        self._changed, self._opened = asyncio.Event(), asyncio.Event()
        self._changed.set()
        self._tasks = [
            asyncio.create_task(self._exchange(), name="signals-exchange"),
            asyncio.create_task(self._receive(), name="signals-receive"),
        ]

    async def stop(self) -> None:
        """Ends both tasks; the channel's groups expire with the layer's own time."""
        tasks, self._tasks = self._tasks, []
        await cancel_tasks(*tasks)
        self._channel = ""
        self._joined.clear()
        self._outgoing.clear()

    def send(self, topic: str, signal: Mapping[str, Any]) -> None:
        """Sends a signal to the topic's subscribers in all processes, this one included; the oldest waiting signal is
        dropped where QUEUE wait."""
        self._outgoing.append((topic, msgpack.packb(dict(signal))))
        self._changed.set()

    def subscribe(self, topic: str, receiver: Receiver) -> None:
        """Calls `receiver` with every signal of the topic that arrives from now on."""
        self._receivers.setdefault(topic, []).append(receiver)
        self._changed.set()

    def unsubscribe(self, topic: str, receiver: Receiver) -> None:
        """Ends a subscription."""
        receivers = self._receivers.get(topic, [])
        if receiver in receivers:
            receivers.remove(receiver)
        if not receivers:
            self._receivers.pop(topic, None)
            self._changed.set()

    # -- the layer -----------------------------------------------------------------------------------

    def _group(self, topic: str) -> str:
        return f"{self._database}-signal-{topic}"

    async def _exchange(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._settle_groups()
                await self._send_all()
                self._failing = False
            except Exception as error:  # contains: whatever a layer raises; what waits is sent when it works again
                if not self._failing:
                    logger.warning("signals_unavailable", error=error_summary(error))
                self._failing = True
                self._joined.clear()  # a server that started anew has forgotten its groups
                await asyncio.sleep(RETRY_SECONDS)
                self._changed.set()

    async def _settle_groups(self) -> None:
        if not self._channel:
            self._channel = await self._layer.new_channel()
            self._opened.set()
        for topic in self._receivers.keys() - self._joined:
            await self._layer.group_add(self._group(topic), self._channel)
            self._joined.add(topic)
        for topic in self._joined - self._receivers.keys():
            await self._layer.group_discard(self._group(topic), self._channel)
            self._joined.discard(topic)

    async def _send_all(self) -> None:
        while self._outgoing:
            topic, signal = self._outgoing[0]
            await self._layer.group_send(self._group(topic), {"type": "signal", "topic": topic, "signal": signal})
            self._outgoing.popleft()

    async def _receive(self) -> None:
        await self._opened.wait()
        while True:
            try:
                message = await self._layer.receive(self._channel)
                self._dispatch(message["topic"], msgpack.unpackb(message["signal"]))
            except Exception as error:  # contains: whatever a layer raises
                logger.warning("signals_receive_failed", error=error_summary(error))
                self._joined.clear()
                self._changed.set()
                await asyncio.sleep(RETRY_SECONDS)

    def _dispatch(self, topic: str, signal: Mapping[str, Any]) -> None:
        for receiver in list(self._receivers.get(topic, ())):
            receiver(signal)


SIGNALS = process_wide(Signals())
"""Process-wide instance, started by `Gateway`."""
