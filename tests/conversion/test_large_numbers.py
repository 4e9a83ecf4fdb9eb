"""A number that no reader can hold is refused, by name of what it is, and never read as null."""

from __future__ import annotations

import pytest

from core_app.errors import BadRequest
from inference_app.conversion import CompletionError
from tests.conversion.building import converter


def test_a_request_with_a_number_out_of_range_is_refused() -> None:
    with pytest.raises(BadRequest, match="too large"):
        converter("responses", "openai-chat").request(b'{"model":"m","input":"Hi","temperature":1e400}')


def test_an_answer_with_a_number_out_of_range_is_none() -> None:
    with pytest.raises(CompletionError):
        converter("responses", "openai-chat").answer(b'{"choices":[],"created":1e400}')


def test_numbers_in_range_stay_as_they_are() -> None:
    sent = converter("messages", "openai-chat").request(
        b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"temperature":1e-400}'
    )
    assert b'"temperature":0.0' in sent
