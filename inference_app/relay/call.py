"""A request to the targets that can serve it: retries and fallbacks until the first byte, then bytes through.

`async with upstream_call(request) as answer` gives a response that has started, or raises GatewayError. After the first
byte nothing is asked again: a stream that breaks ends with an error event in the caller's dialect. However the block is
left, the provider's connection is closed and the call is metered once.
"""

from __future__ import annotations

import asyncio
import math
import random
from types import TracebackType

from inference_app.catalogue.config import ModelsConfig, models_config
from inference_app.errors import NoProvider, ProviderFailed
from inference_app.providers.circuits import CIRCUITS
from inference_app.providers.retry_policy import Fault, again, cooling, deadline_seconds, first_byte_seconds, pause
from inference_app.providers.upstreams import UPSTREAMS
from inference_app.relay.admission import admit
from inference_app.relay.answer import UpstreamAnswer
from inference_app.relay.attempt import Failed, attempt
from inference_app.relay.converter import Converter
from inference_app.relay.envelope import Envelope
from inference_app.relay.observers import CallObserver
from inference_app.relay.reasoning_filter import without_foreign_reasoning
from inference_app.relay.request import AT_ONCE_BYTES, UpstreamRequest
from inference_app.relay.spans import note_response_model
from inference_app.relay.stream import StreamObserver
from inference_app.relay.targets import TARGETS, Target, unknown_fields


def upstream_call(request: UpstreamRequest) -> UpstreamCall:
    """The one way to a provider; raises GatewayError when the block is entered."""
    return UpstreamCall(request)


class UpstreamCall:
    """One request under way: which target is asked next, and for how long."""

    def __init__(self, request: UpstreamRequest) -> None:
        self.request = request
        self.observer = CallObserver(request)
        self._answer: UpstreamAnswer | None = None

    async def __aenter__(self) -> UpstreamAnswer:
        observer = self.observer
        try:
            config, request = models_config(), self.request
            targets = TARGETS.targets_for(
                config, request.envelope.model, request.kind, request.converters, request.principal
            )
            first = targets[0].candidate
            observer.admission = await admit(config, request.principal, request.kind, request.envelope, first)
            self._answer = await self._ask_targets(config, targets)
        except BaseException as error:
            observer.finish_without_answer(error)
            raise
        observer.answered()
        return self._answer

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        answer, self._answer = self._answer, None
        assert answer is not None
        answer.close()
        self.observer.finish(answer)

    async def _ask_targets(self, config: ModelsConfig, targets: list[Target]) -> UpstreamAnswer:
        """Asks target after target; raises ProviderFailed or NoProvider when none responds."""
        request, observer = self.request, self.observer
        breaker = config.defaults.circuit_breaker
        cooldowns: list[float] = []
        last: tuple[Target, Failed] | None = None
        for index, target in enumerate(targets):
            if (cooldown := CIRCUITS.blocked_for(target.candidate, breaker)) is not None:
                observer.skip(target, "resting", cooldown)
                cooldowns.append(cooldown)
                continue
            if index and not await observer.admission.allows(request.principal, target.candidate):
                observer.skip(target, "budget")
                continue
            others = any(CIRCUITS.blocked_for(later.candidate, breaker) is None for later in targets[index + 1 :])
            try:
                return await self._ask_with_retries(config, target, others)
            except Failed as failed:
                last = target, failed
            if observer.elapsed() > deadline_seconds(streamed=request.streamed):
                break
        raise _exhausted_error(last, cooldowns)

    async def _ask_with_retries(self, config: ModelsConfig, target: Target, others: bool) -> UpstreamAnswer:
        """Asks one target as often as its policy says; raises Failed, or ProviderRefusal for the caller's own fault."""
        policy, breaker = config.defaults.retry, config.defaults.circuit_breaker
        retry, stale = 0, True
        while True:
            try:
                return await self._ask(config, target, others)
            except Failed as failed:
                fault = failed.fault
                # The provider may have closed an idle connection at the very moment it was used.
                free = stale and fault.kind == "disconnected" and fault.code == "disconnected"
                self.observer.fail(target, failed, free=free)
                if failed.refusal is not None:
                    CIRCUITS.succeeded(target.candidate)
                    raise failed.refusal from None
                if fault.cooling:
                    CIRCUITS.cool(target.candidate, cooling(fault, policy))
                    CIRCUITS.left(target.candidate)
                elif free:
                    CIRCUITS.left(target.candidate)
                else:
                    CIRCUITS.failed(target.candidate, breaker)
                delay = 0.0 if free else pause(fault, policy, retry, random.random)
                spent = retry >= policy.max_retries or not again(fault, policy) or (fault.cooling and others)
                if not free and (spent or self._is_too_late(delay, policy.max_delay_ms) or self._is_open(target)):
                    raise
                stale, retry = False, retry + (not free)
                await asyncio.sleep(delay)

    async def _ask(self, config: ModelsConfig, target: Target, others: bool) -> UpstreamAnswer:
        """Makes one attempt; raises Failed."""
        request, observer = self.request, self.observer
        upstream = UPSTREAMS.upstream(config, target.candidate, target.kind, target.wire)
        converter = None if target.converter is None else target.converter()
        body, stream = await self._prepare(config, target, converter)
        observer.start(target)
        seconds = first_byte_seconds(upstream.provider.timeout, streamed=request.streamed, others=others)
        passed_on = request.passed_on if converter is None else {}
        if carried := observer.span.headers(upstream.url.host):
            passed_on = {**passed_on, **carried}
        opened = await attempt(upstream, body, passed_on=passed_on, observer=stream, seconds=seconds)
        answer = UpstreamAnswer(
            request,
            target,
            opened,
            converter,
            attempts=observer.attempts,
            admission_headers=observer.admission.headers,
        )
        try:
            if converter is not None and len(opened.first) > AT_ONCE_BYTES:
                await asyncio.to_thread(answer.begin)
            else:
                answer.begin()
        except ValueError:
            opened.close()
            raise Failed(Fault("garbage", "invalid_answer")) from None
        note_response_model(observer.span, opened.first)
        if CIRCUITS.state(target.candidate) == "HALF_OPEN":
            CIRCUITS.succeeded(target.candidate)
        return answer

    async def _prepare(
        self, config: ModelsConfig, target: Target, converter: Converter | None
    ) -> tuple[bytes, StreamObserver | None]:
        """Returns the body for the provider, and the observer of a streamed response."""
        envelope = self.request.envelope
        provider = config.providers[target.candidate.provider]
        refuses, named = provider.refuses, provider.sent(target.candidate.model)
        counts = target.wire == "openai-chat" and target.kind == "chat" and envelope.streamed
        counts = counts and "stream_options" not in refuses
        if converter is None:
            envelope = without_foreign_reasoning(envelope, target.wire)
            body = envelope.directed(named, include_usage=counts)
            strip = counts and not envelope.usage_asked
        else:
            directed = envelope.directed(target.candidate.model, leave_out=unknown_fields(config, target))
            large = len(directed) > AT_ONCE_BYTES
            body = await asyncio.to_thread(converter.request, directed) if large else converter.request(directed)
            converted = Envelope.open(body)
            body, strip = converted.directed(named, include_usage=counts, leave_out=refuses), False
        return body, StreamObserver(target.wire, strip_usage=strip) if envelope.streamed else None

    def _is_too_late(self, delay: float, max_delay_ms: int) -> bool:
        limit = deadline_seconds(streamed=self.request.streamed)
        return delay > max_delay_ms / 1000 or self.observer.elapsed() + delay > limit

    def _is_open(self, target: Target) -> bool:
        return CIRCUITS.state(target.candidate) == "OPEN"


def _exhausted_error(last: tuple[Target, Failed] | None, cooldowns: list[float]) -> NoProvider | ProviderFailed:
    """Returns the error after the last target: its failure, or that every target is in its cooldown."""
    if last is None:
        seconds = math.ceil(min(cooldowns, default=1.0)) or 1
        message = "Every provider of this model rests after failures; try again later."
        return NoProvider(message, retry_after=seconds)
    target, failed = last
    wait = failed.fault.retry_after
    seconds_left = None if wait is None else max(1, math.ceil(wait))
    return ProviderFailed(target.candidate.provider, failed.fault.code, seconds_left)
