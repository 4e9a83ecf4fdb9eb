"""Encoded forms of an event are made once for all followers of a process, however many encoders there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from edge_app.sse.frames import EVENT_FRAME as SSE_FRAME
from events_app.batches import Encoder, StoredEvent
from faces.native.socket.frames import EVENT_FRAME as SOCKET_FRAME


class Counting:
    """Encoders that count how often each of them is called."""

    def __init__(self, count: int) -> None:
        self.calls: Counter[int] = Counter()
        self.encoders: list[Encoder[str]] = [Encoder(self._encode_as(number)) for number in range(count)]
        for number, encoder in enumerate(self.encoders):
            # The encoders of the application have taken the slots; an event does not know whose a slot is.
            encoder.index = number

    def _encode_as(self, number: int) -> Callable[[StoredEvent], str]:
        def encode(event: StoredEvent) -> str:
            self.calls[number] += 1
            return f"{number}:{event.offset}"

        return encode


def event() -> StoredEvent:
    return StoredEvent(1, 7, "steering", "run_1", b'{"text":"x"}')


@pytest.mark.parametrize("order", [[0, 1], [1, 0], [2, 0, 1], [1, 2, 0, 3], [3, 2, 1, 0], [0, 2, 2, 3, 1]])
def test_each_encoder_is_called_once_for_an_event(order: list[int]) -> None:
    counting, one = Counting(4), event()
    for number in order * 3:
        assert one.encode(counting.encoders[number]) == f"{number}:7"
    assert counting.calls == dict.fromkeys(order, 1)


def test_an_event_that_many_encoders_are_used_on_stays_what_it_is() -> None:
    counting, one = Counting(3), event()
    assert [one.encode(encoder) for encoder in counting.encoders] == ["0:7", "1:7", "2:7"]
    counted = one.counted_in(9, 70, 0)
    assert (counted.stream_id, counted.offset, counted.data, counted.source) == (9, 70, one.data, 1)
    assert counted.encode(counting.encoders[2]) == "2:70"


def test_the_forms_of_the_native_face() -> None:
    assert event().encode(SSE_FRAME) == b'id: 7\nevent: steering\ndata: {"text":"x"}\n\n'
    assert event().encode(SOCKET_FRAME) == '{"event":"steering","data":{"text":"x"},"id":7}'
    assert event().encode(SSE_FRAME) is not event().encode(SSE_FRAME)
    one = event()
    assert one.encode(SSE_FRAME) is one.encode(SSE_FRAME)
