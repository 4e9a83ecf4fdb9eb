"""The observers of a relayed call: circuits, spans, the log, and the meter, which counts every call once."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from dataclasses import replace
from functools import partial

import structlog

from core_app.tracing import NO_SPAN
from inference_app.catalogue.config import ProviderEntry
from inference_app.catalogue.resolution import Candidate
from inference_app.errors import NoProvider, ProviderFailed, ProviderRefusal
from inference_app.providers.fault_sentences import fault_sentence
from inference_app.providers.instruments import INSTRUMENTS
from inference_app.relay.admission import Admission
from inference_app.relay.attempt import AttemptFailed
from inference_app.relay.request import UpstreamRequest
from inference_app.relay.response import RelayedResponse
from inference_app.relay.spans import end_attempt, fail_attempt, start_attempt
from inference_app.relay.targets import Target
from inference_app.relay.verdict import CallVerdict
from inference_app.spend.batch_write import RequestSpend
from inference_app.spend.metering import METER, CallRecord, Outcome
from inference_app.spend.request_price import known_price, request_price
from inference_app.spend.usage import Usage

logger = structlog.get_logger("gateway.relay")

_PROCESS = secrets.token_hex(4)
_NUMBERS = itertools.count()
_METERED = (asyncio.CancelledError, ProviderRefusal, ProviderFailed, NoProvider)
"""Ends without a response that are metered as calls of the candidate that was being asked."""


class CallObserver:
    """The record of one call: its attempts, its times, and what they mean for circuits, spans and the ledger.

    It is the meter's `RunningRequest` while an attempt runs."""

    __slots__ = (
        "_asking", "_first_byte", "_in_flight", "_ledger_id", "_provider", "_request", "_response", "_started",
        "admission", "attempts", "span", "verdict",
    )  # fmt: skip

    def __init__(self, request: UpstreamRequest) -> None:
        self._request = request
        self._started = time.monotonic()
        self._first_byte: float | None = None
        self._asking: Candidate | None = None
        self._response: RelayedResponse | None = None
        self._provider: ProviderEntry | None = None
        self._in_flight = False
        # The request's id may be the client's own, which may come twice; a call is charged once, not never.
        self._ledger_id = f"{request.request_id}.{_PROCESS}{next(_NUMBERS):x}"
        self.admission = Admission()
        self.attempts = 0
        self.span = NO_SPAN
        self.verdict = CallVerdict(request.principal.tenant_id)

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

    def start(self, target: Target, provider: ProviderEntry) -> None:
        """Counts an attempt that starts now. `provider` is its configuration, which prices the attempt even if it is
        gone by the end."""
        self.attempts += 1
        self._provider = provider
        if self.attempts > 1:
            INSTRUMENTS.record_retry(target.candidate)
        self._asking, self._in_flight = target.candidate, True
        request = self._request
        if target.substituted_for is not None:
            logger.warning(
                "model_substituted",
                asked=target.substituted_for[:200],
                candidate=target.candidate.name,
                tenant=request.principal.tenant_slug,
                request_id=request.request_id,
            )
        if request.kind != "count_tokens":
            METER.begin(self)
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
        METER.end(self)
        fail_attempt(self.span, failed)
        assert self._provider is not None
        sentence = fault_sentence(target.candidate.provider, self._provider, fault)
        METER.record_failed_attempt(self._request.principal, target.candidate, fault.code, fault.reason, sentence)
        if fault.may_have_cost and not free and (spend := self._spend(target.candidate, self._estimate())) is not None:
            METER.record_spend(spend)
        logger.warning(
            "attempt_failed",
            candidate=target.candidate.name,
            attempt=self.attempts,
            reason=fault.kind,
            code=fault.code,
            told=sentence,
            status=fault.status,
            counted=not (free or fault.is_rate_limit or failed.refusal is not None),
            request_id=self._request.request_id,
        )

    def note_first_byte(self, response: RelayedResponse) -> None:
        """Notes that the first byte of the response is here."""
        self._first_byte = time.monotonic()
        self._response = response

    def spend_so_far(self) -> RequestSpend:
        """Returns the spend of the running attempt, as estimated now."""
        assert self._asking is not None
        spend = self._spend(self._asking, self._estimate())
        assert spend is not None
        spend.running = True
        return spend

    def finish(self, response: RelayedResponse) -> None:
        """Meters a call that has a response, however far the client read it."""
        METER.end(self)
        self.verdict.finish_with(response.outcome)
        end_attempt(self.span, None if response.outcome == "ok" else response.outcome, response.usage)
        self._meter(response.candidate, response.outcome, self._spend(response.candidate, self._usage(response)))

    def finish_without_response(self, error: BaseException) -> None:
        """Meters a call that ends with `error` before it has a response."""
        METER.end(self)
        self.verdict.finish()
        candidate = self._asking
        end_attempt(self.span, type(error).__name__, None)
        if candidate is None or not isinstance(error, _METERED):
            self.admission.release()
        elif isinstance(error, asyncio.CancelledError):
            self._meter(candidate, "left", self._spend(candidate, self._estimate()) if self._in_flight else None)
        else:
            self._meter(candidate, "refused" if isinstance(error, ProviderRefusal) else "failed", None)

    def _estimate(self) -> Usage:
        """Returns the usage of the running attempt so far."""
        response = self._response
        if response is not None:
            return self._usage(response)
        return Usage(self._request.envelope.input_estimate, 0, estimated=True)

    def _usage(self, response: RelayedResponse) -> Usage:
        """Returns the usage that the provider reported, else the estimate. Some report in the course of a stream, the
        input first and the output at the end, so one that was cut off has a part of it."""
        reported, output = response.usage, response.output_estimate
        if reported is None:
            return Usage(self._request.envelope.input_estimate, output, estimated=True)
        if response.outcome == "ok" or response.usage_is_whole:
            return reported
        return replace(reported, output=max(output, reported.output), estimated=True)

    def _spend(self, candidate: Candidate, usage: Usage) -> RequestSpend | None:
        """Returns the spend of the newest attempt; None for a request that is free. The reservation is of the call, so
        only `_meter` settles it."""
        request = self._request
        if request.kind == "count_tokens":
            return None
        return RequestSpend(
            origin="inference",
            tenant_id=request.principal.tenant_id,
            key_id=request.principal.key_id,
            run_id=self._ledger_id,
            number=self.attempts,
            candidate=candidate,
            usage=usage,
            price=partial(request_price, candidate, provider=self._provider),
            known_price=partial(known_price, candidate, provider=self._provider),
        )

    def _meter(self, candidate: Candidate, outcome: Outcome, spend: RequestSpend | None) -> None:
        if spend is None:
            self.admission.release()
        else:
            spend.reservation = self.admission.reservation_for(candidate)
        METER.record(
            CallRecord(
                principal=self._request.principal,
                candidate=candidate,
                outcome=outcome,
                first_byte_ms=None if self._first_byte is None else (self._first_byte - self._started) * 1000,
                total_ms=(time.monotonic() - self._started) * 1000,
                spend=spend,
            )
        )
