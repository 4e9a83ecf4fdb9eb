"""One target that is asked: as often as the policy says, until its response has started or it has failed.

Circuits and cooldowns hear of it once, at the end, however often it was tried. What an attempt costs and what is told
about it is the observer's. There is no other way to a provider.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from core_app.tracing import Span
from inference_app.catalogue.config import ModelsConfig, ProviderEntry
from inference_app.catalogue.limits import TARGET_LIMITS
from inference_app.providers.retry_policy import (
    Fault,
    deadline_seconds,
    first_byte_seconds,
    is_retryable,
    retry_delay,
)
from inference_app.providers.upstreams import UPSTREAMS
from inference_app.relay.admission import Admission
from inference_app.relay.attempt import AttemptFailed, make_attempt
from inference_app.relay.converter import Converter
from inference_app.relay.envelope import Envelope
from inference_app.relay.large_bodies import run_for_size
from inference_app.relay.passed_fit import fit_passed
from inference_app.relay.reasoning_filter import without_foreign_reasoning
from inference_app.relay.request import ProviderRequest
from inference_app.relay.response import RelayedResponse
from inference_app.relay.spans import note_response_model
from inference_app.relay.stream import StreamObserver
from inference_app.relay.targets import Target, unknown_fields
from inference_app.relay.verdict import CallVerdict


class AttemptObserver(Protocol):
    """The record of a request's attempts: for a relayed call the `CallObserver`, for a run the agent loop's own.

    `verdict` is its word to the circuits, `admission` what the budgets said."""

    attempts: int
    admission: Admission
    verdict: CallVerdict

    @property
    def span(self) -> Span:
        """The span of the running attempt."""

    def elapsed_seconds(self) -> float:
        """Seconds since the request started."""

    def start(self, target: Target, provider: ProviderEntry) -> None:
        """Notes an attempt that starts now."""

    def fail(self, target: Target, failed: AttemptFailed, *, free: bool) -> None:
        """Notes a failed attempt. A `free` one does not count against the provider."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A request that asks one target after another, and what it tells about that. `longest_delay` is the longest time
    in seconds that it waits before a retry; None: that of the policy."""

    config: ModelsConfig
    request: ProviderRequest
    observer: AttemptObserver
    longest_delay: float | None = None

    async def ask(self, target: Target, *, others: bool) -> RelayedResponse:
        """Returns the response, which has started; its end is told to the verdict by the caller. `others`: another
        target is left. Raises AttemptFailed, and BadRequest for what the target's wire cannot express."""
        policy, observer = self.config.defaults.retry, self.observer
        verdict = observer.verdict
        retry, stale = 0, True
        verdict.begin(target.candidate, self.config.defaults.circuit_breaker)
        while True:
            try:
                return await self._attempt(target, others)
            except AttemptFailed as failed:
                fault = failed.fault
                # The provider may have closed an idle connection at the very moment it was used.
                free = stale and fault.kind == "disconnected" and fault.code == "disconnected"
                observer.fail(target, failed, free=free)
                verdict.note_try(failed, policy, free=free)
                delay = 0.0 if free else retry_delay(fault, policy, retry, random.random)
                spent = (
                    retry >= policy.max_retries or not is_retryable(fault, policy) or (fault.is_rate_limit and others)
                )
                if failed.refusal is not None or (
                    not free and (spent or self._is_too_late(delay, policy.max_delay_ms) or verdict.is_open())
                ):
                    verdict.finish()
                    raise
                stale, retry = False, retry + (not free)
                await asyncio.sleep(delay)

    async def _attempt(self, target: Target, others: bool) -> RelayedResponse:
        """Makes one attempt; raises AttemptFailed."""
        request, observer = self.request, self.observer
        upstream = UPSTREAMS.upstream(self.config, target.candidate, target.kind, target.wire)
        converter = None if target.converter is None else target.converter()
        size = len(request.envelope.raw)
        body, stream = await run_for_size(size, self._prepare, target, converter)
        observer.start(target, upstream.provider)
        seconds = first_byte_seconds(upstream.provider.timeout, streamed=request.streamed, others=others)
        headers: Mapping[str, str] = request.forwarded_headers if converter is None else {}
        if carried := observer.span.headers(upstream.host):
            headers = {**headers, **carried}
        opened = await make_attempt(
            upstream, body, headers=headers, observer=stream, seconds=seconds, converted=converter is not None
        )
        response = RelayedResponse(
            request,
            target,
            opened,
            converter,
            provider=upstream.provider,
            attempts=observer.attempts,
            admission_headers=observer.admission.headers,
        )
        try:
            await run_for_size(0 if converter is None else len(opened.first), response.begin)
        except ValueError:
            opened.close()
            raise AttemptFailed(Fault("garbage", "invalid_answer")) from None
        note_response_model(observer.span, opened.first)
        observer.verdict.note_first_byte()
        return response

    def _prepare(self, target: Target, converter: Converter | None) -> tuple[bytes, StreamObserver | None]:
        """Returns the body for the provider, and the observer of a streamed response."""
        config, envelope = self.config, self.request.envelope
        provider = config.providers[target.candidate.provider]
        refuses, named = provider.refuses, provider.upstream_model(target.candidate.model)
        limits = TARGET_LIMITS.limits(target.candidate.provider, provider, target.wire, target.candidate.model)
        counts = target.wire == "openai-chat" and target.kind == "chat" and envelope.streamed
        counts = counts and "stream_options" not in refuses
        limit = self.observer.admission.limit_field(self.request.kind, target.candidate.model)
        if converter is None:
            envelope = without_foreign_reasoning(envelope, target.wire)
            envelope = fit_passed(envelope, target.wire, limits, provider.limits)
            body = envelope.body_for(named, include_usage=counts, limit=limit)
            strip = counts and not envelope.wants_usage
        else:
            model, unknown = target.candidate.model, unknown_fields(config, target)
            directed = envelope.body_for(model, leave_out=unknown, limit=limit)
            converted = Envelope.open(converter.request(directed, limits, envelope.model))
            body, strip = converted.body_for(named, include_usage=counts, leave_out=refuses), False
        if not envelope.streamed:
            return body, None
        return body, StreamObserver(target.wire, strip_usage=strip, passes_failures=converter is None)

    def _is_too_late(self, delay: float, max_delay_ms: int) -> bool:
        longest = max_delay_ms / 1000 if self.longest_delay is None else self.longest_delay
        limit = deadline_seconds(streamed=self.request.streamed)
        return delay > longest or self.observer.elapsed_seconds() + delay > limit
