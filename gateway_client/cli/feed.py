"""Events read by a thread, so that a command can wait for a key and for an event at once."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable

from gateway_client.background import Stream
from gateway_client.events import Event

AHEAD = 500
"""Events that are read before they are shown; then the thread waits, and with it the gateway."""
GLANCE = 0.1


class _End:
    """The end of the stream, with the error that caused it."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class EventFeed:
    """The events of a stream. Use it with `with`."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._queue: queue.Queue[Event | _End] = queue.Queue(AHEAD)
        self._seen: deque[Event | _End] = deque()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, name="gateway-events", daemon=True)

    def __enter__(self) -> EventFeed:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._stream.close()

    def next(self, seconds: float | None = None) -> Event | None:
        """Waits for the next event; None is the end. Raises the stream's error, or queue.Empty after `seconds`."""
        item = self._seen.popleft() if self._seen else self._queue.get(timeout=seconds)
        if not isinstance(item, _End):
            return item
        self._seen.append(item)
        if item.error is not None:
            raise item.error
        return None

    def comes(self, wanted: Callable[[Event], bool]) -> bool:
        """Looks at the events that have come and not been taken yet."""
        while True:
            try:
                self._seen.append(self._queue.get_nowait())
            except queue.Empty:
                return any(isinstance(item, _End) or wanted(item) for item in self._seen)

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            for event in self._stream:
                self._put(event)
        except BaseException as failure:  # handed to who waits for the next event
            error = failure
        self._put(_End(error))

    def _put(self, item: Event | _End) -> None:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=GLANCE)
                break
            except queue.Full:
                continue
