"""The observers of a relayed call: circuits, spans, the log, and the meter, which counts every call once."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time

import structlog

from core_app.tracing import NO_SPAN
from inference_app.catalogue.config import models_config
from inference_app.catalogue.resolution import Candidate
from inference_app.errors import NoProvider, ProviderFailed, ProviderRefusal
from inference_app.providers.circuits import CIRCUITS
from inference_app.relay.admission import Admission
from inference_app.relay.attempt import AttemptFailed
from inference_app.relay.request import UpstreamRequest
from inference_app.relay.response import RelayedResponse
from inference_app.relay.spans import end_attempt, fail_attempt, start_attempt
from inference_app.relay.targets import Target
from inference_app.spend.metering import METER, CallRecord, Outcome
from inference_app.spend.usage import Usage

logger = structlog.get_logger("gateway.relay")

_PROCESS = secrets.token_hex(4)
_NUMBERS = itertools.count()
_METERED = (asyncio.CancelledError, ProviderRefusal, ProviderFailed, NoProvider)
"""Ends without a response that are metered as calls of the candidate that was being asked."""


class CallObserver:
    """The record of one call: its attempts, its times, and what they mean for circuits, spans and the ledger."""

    __slots__ = ("_asking", "_first_byte", "_in_flight", "_request", "_started", "admission", "attempts", "span")

    def __init__(self, request: UpstreamRequest) -> None:
        self._request = request
        self._started = time.monotonic()
        self._first_byte: float | None = None
        self._asking: Candidate | None = None
        self._in_flight = False
        self.admission = Admission()
        self.attempts = 0
        self.span = NO_SPAN

    def elapsed_seconds(self) -> float:
        """Seconds since the call started."""
        return time.monotonic() - self._started

    def skip(self, target: Target, reason: str, seconds: float = 0.0) -> None:
        """Logs a target that is not asked."""
        logger.info(
            "candidate_skipped",
            candidate=target.candidate.name,
            reason=reason,
            seconds=round(seconds, 1),
            request_id=self._request.request_id,
        )

    def start(self, target: Target) -> None:
        """Counts an attempt that starts now."""
        self.attempts += 1
        self._asking, self._in_flight = target.candidate, True
        CIRCUITS.begin(target.candidate)
        request = self._request
        self.span = start_attempt(
            target.candidate,
            target.kind,
            number=self.attempts,
            streamed=request.streamed,
            request_id=request.request_id,
        )

    def fail(self, target: Target, failed: AttemptFailed, *, free: bool) -> None:
        """Notes a failed attempt. A `free` one does not count against the provider."""
        fault, self._in_flight = failed.fault, False
        fail_attempt(self.span, failed)
        METER.record_failed_attempt(self._request.principal, target.candidate, fault.code)
        logger.warning(
            "attempt_failed",
            candidate=target.candidate.name,
            attempt=self.attempts,
            reason=fault.kind,
            code=fault.code,
            status=fault.status,
            counted=not (free or fault.is_rate_limit or failed.refusal is not None),
            request_id=self._request.request_id,
        )

    def note_first_byte(self) -> None:
        """Notes that the first byte of the response is here."""
        self._first_byte = time.monotonic()

    def finish(self, response: RelayedResponse) -> None:
        """Meters a call that has a response, however far the client read it."""
        if response.outcome == "ok":
            CIRCUITS.note_success(response.candidate)
        elif response.outcome == "broken":
            CIRCUITS.note_failure(response.candidate, models_config().defaults.circuit_breaker)
        else:
            CIRCUITS.note_abandoned(response.candidate)
        end_attempt(self.span, None if response.outcome == "ok" else response.outcome, response.usage)
        self._meter(response.candidate, response.outcome, response.usage, response.output_estimate)

    def finish_without_response(self, error: BaseException) -> None:
        """Meters a call that ends with `error` before it has a response."""
        candidate = self._asking
        end_attempt(self.span, type(error).__name__, None)
        if candidate is None or not isinstance(error, _METERED):
            self.admission.release()
        elif isinstance(error, asyncio.CancelledError):
            if self._in_flight:
                CIRCUITS.note_abandoned(candidate)
            self._meter(candidate, "left", None, 0)
        else:
            self._meter(candidate, "refused" if error.status < 500 else "failed", Usage(0, 0), 0)

    def _meter(self, candidate: Candidate, outcome: Outcome, usage: Usage | None, output_estimate: int) -> None:
        request, now = self._request, time.monotonic()
        if usage is None:
            usage = Usage(request.envelope.input_estimate, output_estimate, estimated=True)
        METER.record(
            CallRecord(
                settle=self.admission.bind_settlement(candidate),
                principal=request.principal,
                request_id=request.request_id,
                kind=request.kind,
                candidate=candidate,
                outcome=outcome,
                attempts=self.attempts,
                usage=usage,
                first_byte_ms=None if self._first_byte is None else (self._first_byte - self._started) * 1000,
                total_ms=(now - self._started) * 1000,
                # The request's id may be the client's own, which may come twice; a call is charged once, not never.
                ledger_id=f"{request.request_id}.{_PROCESS}{next(_NUMBERS):x}",
            )
        )
