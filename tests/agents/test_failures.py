"""Failures of model requests as outcomes of legs, and which of them a run waits for."""

from __future__ import annotations

import pytest
from pydantic_ai.exceptions import UnexpectedModelBehavior, UserError

from agents_app.failures import ProviderCoolingDown, failure, outage_seconds
from core_app.errors import BadRequest
from inference_app.errors import ProviderRefusal
from inference_app.providers.retry_policy import Fault, FaultKind
from inference_app.relay.attempt import AttemptFailed


def status(number: int, seconds: float | None = None) -> AttemptFailed:
    return AttemptFailed(Fault("status", str(number), number, seconds))


def fault(kind: FaultKind, code: str = "some_code") -> AttemptFailed:
    return AttemptFailed(Fault(kind, code))


def refusal(number: int, message: str = "SECRET", **words: str) -> AttemptFailed:
    return AttemptFailed(Fault("status", str(number), number), ProviderRefusal(number, message, **words))


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (refusal(400, code="context_length_exceeded"), "context_length_exceeded", False),
        (refusal(400, "SECRET: this model's maximum context length is 8192"), "context_length_exceeded", False),
        (refusal(400, "SECRET: prompt is too long: 9 tokens > 8 maximum"), "context_length_exceeded", False),
        (refusal(400, "SECRET input token count (9) exceeds the maximum"), "context_length_exceeded", False),
        (refusal(413), "context_length_exceeded", False),
        (refusal(400, code="content_filter"), "unprocessable", False),
        (refusal(404), "unprocessable", False),
        (refusal(422), "unprocessable", False),
        (refusal(400), "bad_request", False),
        (status(418), "bad_request", False),
        (status(401), "upstream_error", False),
        (status(402), "upstream_error", False),
        (status(409), "upstream_error", True),
        (status(429), "rate_limited", True),
        (status(503), "upstream_error", True),
        (fault("timeout"), "timeout", True),
        (fault("connect", "connect_timeout"), "timeout", True),
        (fault("connect"), "upstream_error", True),
        (fault("disconnected"), "upstream_error", True),
        (fault("garbage"), "upstream_error", True),
        (fault("stream_error"), "upstream_error", True),
        (ProviderCoolingDown(3.0), "upstream_error", True),
        (UnexpectedModelBehavior("SECRET"), "upstream_error", True),
        (UserError("SECRET"), "unprocessable", False),
        (BadRequest("SECRET"), "unprocessable", False),
    ],
)
def test_a_failure_is_a_sentence_without_the_providers_words(error: Exception, code: str, retryable: bool) -> None:
    failed = failure(error, "some:model")
    assert (failed.code, failed.retryable) == (code, retryable)
    assert "SECRET" not in failed.reason
    assert failed.reason.endswith(".")


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (ProviderCoolingDown(3.0), 3.0),
        (status(429, 7.0), 7.0),
        (status(503), 0.0),
        (status(529), 0.0),
        (fault("connect"), 0.0),
        (fault("disconnected"), 0.0),
        (status(501), None),
        (status(409), None),
        (refusal(400), None),
        (fault("timeout"), None),
        (fault("garbage"), None),
        (UserError("no"), None),
    ],
)
def test_a_run_waits_for_a_provider_that_cannot_be_asked_and_for_no_other(
    error: Exception, seconds: float | None
) -> None:
    assert outage_seconds(error) == seconds
