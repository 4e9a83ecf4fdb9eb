"""Responses with a good status that are not completions, or deviate from the standards: errors in
place of a completion, comments before it, an end without its blank line, an absurd `Retry-After`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from inference_app.catalogue.config import MODELS
from inference_app.providers.retry_policy import retry_after_seconds
from inference_app.relay import attempt
from tests.faces.inference.conftest import KEY, Heard, RelayClient, ledger
from tests.faces.inference.test_failures import error_of, state_of

NO_ANSWERS = [
    '{"error": {"message": "SECRET", "code": 502}}',
    '{"type": "error", "error": {"type": "overloaded_error", "message": "SECRET"}}',
    '{"error": "SECRET"}',
    '{"detail": "SECRET"}',
    '{"choices": []}',
    "{}",
]


@pytest.mark.parametrize("answer", NO_ANSWERS)
async def test_an_error_in_the_place_of_an_answer_is_a_failed_attempt(relay: RelayClient, answer: str) -> None:
    heard = await relay.chat(f"scripted:no-answer:{answer}")
    assert error_of(heard) == (502, "PROVIDER_ERROR")
    assert b"SECRET" not in heard.body
    assert await ledger() == []


async def test_a_provider_that_answers_errors_with_a_good_status_opens_its_circuit(relay: RelayClient) -> None:
    model = f"scripted:no-answer:{NO_ANSWERS[0]}"
    for _ in range(3):
        await relay.chat(model)
    assert state_of(model) == "OPEN"


@pytest.mark.parametrize(("path", "wanted"), [("/v1/messages", "messages"), ("/v1/responses", "everything")])
async def test_so_it_is_on_the_other_wires(relay: RelayClient, path: str, wanted: str) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    body = {"model": f"{wanted}:no-answer:{NO_ANSWERS[1]}", "max_tokens": 5, "messages": messages, "input": "Hi"}
    heard = await relay.post(path, body)
    assert (heard.status, b"SECRET" in heard.body) == (502, False)


@pytest.mark.parametrize(
    "body", ['{"data": []}', '{"choices": [{}], "error": false}', '{"choices": [{}], "error": {}}']
)
async def test_an_answer_with_an_empty_error_beside_it_is_an_answer(relay: RelayClient, body: str) -> None:
    assert (await relay.chat(f"scripted:no-answer:{body}")).json is not None


def first_fails(settings: Any, model: str) -> None:
    """`in-turn` asks that model first, then one that answers."""
    file = Path(settings.GATEWAY_CONFIG)
    targets = f'[{{model: "{model}", weight: 1000000}}, {{model: "second:hello", weight: 0}}]'
    file.write_text(file.read_text().replace("model_aliases:", f"model_aliases:\n    in-turn: {targets}"))
    MODELS.forget()


async def test_comments_before_an_error_do_not_keep_the_next_candidate_from_answering(
    relay: RelayClient, settings: Any
) -> None:
    first_fails(settings, "scripted:commented:502")
    heard = await relay.chat("in-turn", stream=True)
    assert (heard.headers["x-gateway-provider"], heard.text) == ("second", "Hello, world.")


async def test_a_code_that_is_a_number_is_told(relay: RelayClient) -> None:
    heard = await relay.chat("scripted:commented:502", stream=True)
    assert heard.json["error"]["message"] == "scripted: 502"


async def test_a_slow_answers_comments_pass_after_a_while(relay: RelayClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "COMMENTS_SECONDS", 0.0)
    heard = await relay.chat("scripted:commented", stream=True)
    assert (heard.text, b": STILL LOOKING\n\n" in heard.body) == ("Here.", True)


async def test_an_event_that_lacks_its_blank_line_is_ended_and_counted(relay: RelayClient) -> None:
    heard = await relay.chat("scripted:unended", stream=True)
    assert heard.body.endswith(b"}\n\n")
    assert heard.text == "The end."
    (entry,) = await ledger()
    assert (entry.kind, entry.input_tokens, entry.output_tokens) == ("inference", 11, 7)


PROVIDERS, CALLERS = "server_error", "context_length_exceeded"


async def ask_for_failure(relay: RelayClient, code: str, *, stream: bool) -> Heard:
    model = f"everything:response-failed:{code}"
    return await relay.post("/v1/responses", {"model": model, "input": "Hi", "stream": stream, "store": False})


async def test_a_response_that_the_provider_failed_is_told_without_its_words(relay: RelayClient) -> None:
    whole, streamed = [await ask_for_failure(relay, PROVIDERS, stream=stream) for stream in (False, True)]
    assert error_of(whole) == (502, "PROVIDER_ERROR")
    last = streamed.events[-1]
    assert (last["type"], last["response"]["error"]["message"]) == ("response.failed", "everything: server_error")
    assert (last["response"]["id"], last["sequence_number"]) == ("resp_1", 1)
    assert b"SECRET" not in whole.body + streamed.body


async def test_a_response_that_the_request_failed_is_handed_on(relay: RelayClient) -> None:
    for stream in (False, True):
        heard = await ask_for_failure(relay, CALLERS, stream=stream)
        assert (heard.status, CALLERS.encode() in heard.body) == (200, True)
    assert state_of(f"everything:response-failed:{CALLERS}") == "CLOSED"


NOW = datetime(2026, 1, 1, tzinfo=UTC)
ASKED = {
    "7": 7,
    "0.5": 0.5,
    "-5": 0,
    "1e300": 3600,
    "Thu, 01 Jan 2026 00:01:00 GMT": 60,
    "Fri, 02 Jan 2026 00:00:00 GMT": 3600,
    "Wed, 31 Dec 2025 00:00:00 GMT": 0,
    "nan": None,
    "inf": None,
    "soon": None,
    "Mon, 01 Jan 99999 00:00:00 GMT": None,
    "Mon, 01 Jan 2024 00:00:00 +99999999999999999999": None,
}


@pytest.mark.parametrize(("value", "seconds"), ASKED.items())
def test_a_wish_to_be_left_alone_is_heard_within_reason(value: str, seconds: float | None) -> None:
    assert retry_after_seconds(value, NOW) == seconds


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("value", ["1e300", "Mon, 01 Jan 2024 00:00:00 +9999999999999999"])
async def test_an_absurd_wish_reaches_nobody(relay: RelayClient, value: str, stream: bool) -> None:
    heard = await relay.chat(f"scripted:limited:{value}", stream=stream)
    assert error_of(heard) == (429, "rate_limit_exceeded")
    assert int(heard.headers.get("retry-after", "1")) <= 3600


@pytest.mark.parametrize(("status", "stream"), [(200, False), (400, False), (401, False), (500, False), (200, True)])
async def test_a_provider_that_repeats_its_key_tells_it_to_nobody(
    relay: RelayClient, caplog: pytest.LogCaptureFixture, status: int, stream: bool
) -> None:
    heard = await relay.chat(f"scripted:telltale:{status}", stream=stream)
    assert KEY not in heard.body.decode()
    assert "is wrong" in caplog.text
    assert KEY not in caplog.text
