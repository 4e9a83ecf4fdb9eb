"""A call: one request to the targets that can serve it, with retries and fallbacks until the first byte.

`async with upstream_call(request) as response` gives a response that has started, or raises GatewayError. After the
first byte there are no retries: a stream that breaks ends with an error event in the caller's dialect. However the
block is left, the provider's connection is closed and the call is metered once.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence
from types import TracebackType

from inference_app.catalogue.config import ModelsConfig, models_config
from inference_app.catalogue.limits import TARGET_LIMITS
from inference_app.errors import NoProvider, ProviderFailed
from inference_app.providers.circuits import CIRCUITS
from inference_app.providers.fault_sentences import fault_sentence
from inference_app.providers.retry_policy import (
    Fault,
    deadline_seconds,
    first_byte_seconds,
    is_retryable,
    retry_delay,
)
from inference_app.providers.upstreams import UPSTREAMS
from inference_app.relay.admission import admit
from inference_app.relay.attempt import AttemptFailed, make_attempt
from inference_app.relay.converter import Converter
from inference_app.relay.envelope import Envelope
from inference_app.relay.large_bodies import run_for_size
from inference_app.relay.observers import CallObserver
from inference_app.relay.passed_fit import fit_passed
from inference_app.relay.reasoning_filter import without_foreign_reasoning
from inference_app.relay.request import UpstreamRequest
from inference_app.relay.response import RelayedResponse
from inference_app.relay.spans import note_response_model
from inference_app.relay.stream import StreamObserver
from inference_app.relay.targets import TARGETS, Target, unknown_fields


def upstream_call(request: UpstreamRequest) -> UpstreamCall:
    """Returns the call, to be entered with `async with`, which may raise GatewayError. There is no other way to a
    provider."""
    return UpstreamCall(request)


class UpstreamCall:
    """One request: the choice of the next target, and the time that it may take."""

    __slots__ = ("_response", "observer", "request")

    def __init__(self, request: UpstreamRequest) -> None:
        self.request = request
        self.observer = CallObserver(request)
        self._response: RelayedResponse | None = None

    async def __aenter__(self) -> RelayedResponse:
        observer = self.observer
        try:
            config, request = models_config(), self.request
            targets = TARGETS.targets_for(
                config, request.envelope.model, request.kind, request.converters, request.principal
            )
            first = targets[0].candidate
            observer.admission = await admit(config, request.principal, request.kind, request.envelope, first)
            self._response = await self._ask_targets(config, targets)
        except BaseException as error:
            observer.finish_without_response(error)
            raise
        observer.note_first_byte(self._response)
        return self._response

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        response, self._response = self._response, None
        assert response is not None
        response.close()
        self.observer.finish(response)

    async def _ask_targets(self, config: ModelsConfig, targets: list[Target]) -> RelayedResponse:
        """Asks target after target; raises ProviderFailed or NoProvider when none responds."""
        request, observer = self.request, self.observer
        breaker, tenant_id = config.defaults.circuit_breaker, request.principal.tenant_id
        cooldowns: list[float] = []
        failures: list[tuple[Target, Fault]] = []
        for index, target in enumerate(targets):
            if (cooldown := CIRCUITS.blocked_for(target.candidate, breaker, tenant_id)) is not None:
                observer.skip(target, "resting", cooldown)
                cooldowns.append(cooldown)
                continue
            if index and not await observer.admission.allows(request.principal, target.candidate):
                observer.skip(target, "budget")
                continue
            others = any(
                CIRCUITS.blocked_for(later.candidate, breaker, tenant_id) is None for later in targets[index + 1 :]
            )
            try:
                return await self._ask_with_retries(config, target, others)
            except AttemptFailed as failed:
                failures.append((target, failed.fault))
            if observer.elapsed_seconds() > deadline_seconds(streamed=request.streamed):
                break
        raise _exhausted_error(config, failures, cooldowns)

    async def _ask_with_retries(self, config: ModelsConfig, target: Target, others: bool) -> RelayedResponse:
        """Asks one target as often as its policy says. For its circuits that is one call, whatever the number of tries.

        Raises AttemptFailed, or ProviderRefusal for the caller's own fault."""
        policy, verdict = config.defaults.retry, self.observer.verdict
        retry, stale = 0, True
        verdict.begin(target.candidate, config.defaults.circuit_breaker)
        while True:
            try:
                return await self._ask(config, target, others)
            except AttemptFailed as failed:
                fault = failed.fault
                # The provider may have closed an idle connection at the very moment it was used.
                free = stale and fault.kind == "disconnected" and fault.code == "disconnected"
                self.observer.fail(target, failed, free=free)
                verdict.note_try(failed, policy, free=free)
                if failed.refusal is not None:
                    verdict.finish()
                    raise failed.refusal from None
                delay = 0.0 if free else retry_delay(fault, policy, retry, random.random)
                spent = (
                    retry >= policy.max_retries or not is_retryable(fault, policy) or (fault.is_rate_limit and others)
                )
                if not free and (spent or self._is_too_late(delay, policy.max_delay_ms) or verdict.is_open()):
                    verdict.finish()
                    raise
                stale, retry = False, retry + (not free)
                await asyncio.sleep(delay)

    async def _ask(self, config: ModelsConfig, target: Target, others: bool) -> RelayedResponse:
        """Makes one attempt; raises AttemptFailed."""
        request, observer = self.request, self.observer
        upstream = UPSTREAMS.upstream(config, target.candidate, target.kind, target.wire)
        converter = None if target.converter is None else target.converter()
        size = len(request.envelope.raw)
        body, stream = await run_for_size(size, self._prepare, config, target, converter)
        observer.start(target, upstream.provider)
        seconds = first_byte_seconds(upstream.provider.timeout, streamed=request.streamed, others=others)
        headers = request.forwarded_headers if converter is None else {}
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

    def _prepare(
        self, config: ModelsConfig, target: Target, converter: Converter | None
    ) -> tuple[bytes, StreamObserver | None]:
        """Returns the body for the provider, and the observer of a streamed response."""
        envelope = self.request.envelope
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
        limit = deadline_seconds(streamed=self.request.streamed)
        return delay > max_delay_ms / 1000 or self.observer.elapsed_seconds() + delay > limit


def _exhausted_error(
    config: ModelsConfig, failures: Sequence[tuple[Target, Fault]], cooldowns: list[float]
) -> NoProvider | ProviderFailed:
    """Returns the error after the last target: its failure, or that every target is in its cooldown. If a target only
    limits the rate, that is the error: the request may succeed later, after the longest of the delays."""
    if not failures:
        seconds = math.ceil(min(cooldowns, default=1.0)) or 1
        message = "Every provider of this model rests after failures; try again later."
        return NoProvider(message, retry_after=seconds)
    limited = [(target, fault) for target, fault in failures if fault.is_rate_limit]
    target, fault = max(limited, key=lambda failure: failure[1].retry_after or 0.0) if limited else failures[-1]
    name = target.candidate.provider
    return ProviderFailed(
        fault_sentence(name, config.providers[name], fault),
        provider_status=fault.status,
        seconds=fault.retry_after,
        rate_limited=bool(limited),
    )
