"""The observer of a stream returns the same events however the provider's bytes are cut into reads."""

from __future__ import annotations

import pytest

from inference_app.relay.stream import StreamObserver

TEXT = (
    b'data: {"choices":[{"index":0,"delta":{"content":"the usage of \\"error\\""},"finish_reason":null}],"usage":null}'
)
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}'
EXTRA = b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7}}'
DONE = b"data: [DONE]"
FAILED = b'data: {"error":{"message":"secret of the provider","code":"overloaded"}}'


def events(*every: bytes, end: bytes = b"\n\n") -> bytes:
    return b"".join(event + end for event in every)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_only_the_usage_that_the_client_did_not_ask_for_is_taken_out(end: bytes, size: int) -> None:
    given = events(TEXT, TEXT, STOP, EXTRA, DONE, end=end)
    observer = StreamObserver("openai-chat", strip_usage=True)
    passed = b"".join(observer.feed(given[at : at + size]) for at in range(0, len(given), size)) + observer.finish()
    assert passed == events(TEXT, TEXT, STOP, DONE, end=end)
    assert observer.usage is not None
    assert (observer.usage.input, observer.usage.output) == (11, 7)
    assert observer.ended


def test_usage_that_the_client_asked_for_stays() -> None:
    observer = StreamObserver("openai-chat", strip_usage=False)
    assert observer.feed(events(STOP, EXTRA, DONE)) == events(STOP, EXTRA, DONE)


def test_nothing_passes_from_an_error_on() -> None:
    observer = StreamObserver("openai-chat", strip_usage=True)
    assert observer.feed(events(TEXT, FAILED, TEXT, DONE)) == events(TEXT)
    assert observer.failed == events(FAILED)
    assert not observer.ended


def test_a_stream_that_only_talks_of_its_end_has_not_ended() -> None:
    observer = StreamObserver("openai-chat", strip_usage=True)
    observer.feed(events(b'data: {"choices":[{"delta":{"content":"then comes data: [DONE]"},"finish_reason":null}]}'))
    assert not observer.ended
    assert observer.output_estimate >= 1


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_events_whose_lines_end_with_cr_alone_pass_one_by_one(size: int) -> None:
    given = events(TEXT, TEXT, STOP, EXTRA, DONE, end=b"\r\r")
    observer = StreamObserver("openai-chat", strip_usage=True)
    passed = [observer.feed(given[at : at + size]) for at in range(0, len(given), size)]
    assert b"".join(passed) + observer.finish() == events(TEXT, TEXT, STOP, DONE)
    assert observer.usage is not None
    assert observer.ended
    if size == 1:
        assert [piece for piece in passed if piece] == [events(event) for event in (TEXT, TEXT, STOP, DONE)]


def test_a_stream_may_change_from_cr_to_crlf_anywhere() -> None:
    observer = StreamObserver("openai-chat", strip_usage=False)
    cut = [b"event: a\r", b"data: 1\r", b"\n\r", b"\ndata: [DONE]\r", b"\r"]
    assert b"".join(map(observer.feed, cut)) == b"event: a\ndata: 1\n\ndata: [DONE]\n\n"


def test_of_many_events_in_one_piece_only_those_that_say_something_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    read_event = StreamObserver._read_event

    def note(self: StreamObserver, event: bytes) -> bytes:
        parsed.append(event)
        return read_event(self, event)

    monkeypatch.setattr(StreamObserver, "_read_event", note)
    word = b'data: {"choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
    end = word.replace(b"null", b'"stop"') + b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\ndata: [DONE]\n\n'
    observer = StreamObserver("openai-chat", strip_usage=True)
    assert observer.feed(word * 100 + end) == word * 100 + word.replace(b"null", b'"stop"') + b"data: [DONE]\n\n"
    assert observer.ended
    assert len(parsed) <= 6


@pytest.mark.parametrize("before", [1, 2, 3, 8])
@pytest.mark.parametrize("after", [0, 1, 5])
def test_an_error_of_any_shape_is_found_among_others_in_one_piece(before: int, after: int) -> None:
    delta = (
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}\n\n'
    )
    observer = StreamObserver("anthropic", strip_usage=False)
    observer.feed(delta * before + b'data: {"message":"oh","code":"InternalError"}\n\n' + delta * after)
    assert observer.failed is not None
