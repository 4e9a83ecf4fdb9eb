"""Retries of model requests: which errors are retried, how often and after which pause."""

from __future__ import annotations

import pytest
from pydantic_ai.exceptions import (
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelRateLimitError,
    ModelTimeoutError,
    UnexpectedModelBehavior,
    UserError,
)

from agents_app.failures import MAX_WAIT, RETRY_WINDOW, failure, is_transient, retry_delay
from agents_app.ready_model import RetryRule

RULE = RetryRule(retries=2, base_delay=0.5, max_delay=0.8)


def http(status: int) -> ModelHTTPError:
    return ModelHTTPError(status_code=status, model_name="m", body="SECRET")


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 520, 529])
def test_a_passing_fault_is_tried_again(status: int) -> None:
    assert is_transient(http(status))


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422, 501, 505])
def test_a_lasting_fault_is_not(status: int) -> None:
    assert not is_transient(http(status))


def test_the_pause_doubles_with_a_quarter_of_chance_up_to_its_bound() -> None:
    first, second = retry_delay(RULE, 0, 0.0, http(500)), retry_delay(RULE, 1, 0.0, http(500))
    assert first is not None
    assert second is not None
    assert 0.375 <= first <= 0.625
    assert 0.6 <= second <= 1.0


def test_there_are_as_many_tries_as_the_rule_says_and_none_after_the_window() -> None:
    assert retry_delay(RULE, 2, 0.0, http(500)) is None
    assert retry_delay(RULE, 0, RETRY_WINDOW + 1, http(500)) is None


def test_the_provider_says_how_long_to_wait_within_reason() -> None:
    def rate_limit_error(seconds: float) -> ModelRateLimitError:
        return ModelRateLimitError("m", "slow down", retry_after=seconds)

    assert retry_delay(RULE, 0, 0.0, rate_limit_error(7)) == 7
    assert retry_delay(RULE, 0, 0.0, rate_limit_error(MAX_WAIT + 1)) is None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ModelContextWindowExceededError("m", "SECRET"), "context_length_exceeded"),
        (http(413), "context_length_exceeded"),
        (ModelTimeoutError("m", "SECRET"), "timeout"),
        (ModelConnectionError("m", "SECRET"), "upstream_error"),
        (UnexpectedModelBehavior("SECRET"), "upstream_error"),
        (UserError("SECRET"), "unprocessable"),
        (http(422), "unprocessable"),
        (http(400), "bad_request"),
    ],
)
def test_a_failure_is_a_sentence_without_the_providers_words(error: Exception, code: str) -> None:
    failed = failure(error, "some:model")
    assert failed.code == code
    assert "SECRET" not in failed.reason
    assert failed.reason.endswith(".")
