"""A request to the providers that can serve it: retries and failover until the first byte, then bytes through.

`async with upstream_call(request) as answer` gives an answer that has begun, or raises GatewayError. What comes after
the first byte is never asked for again: a stream that breaks ends with an error event in the caller's dialect. However
the block is left, the provider's connection ends with it and the call is metered once.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType

import aiohttp
import structlog

from core_app.header_pairs import HeaderPairs
from core_app.tracing import NO_SPAN
from inference_app.catalogue.config import ModelsConfig, models_config
from inference_app.catalogue.resolution import Candidate
from inference_app.errors import NoProvider, ProviderFailed, ProviderRefusal
from inference_app.providers.circuits import CIRCUITS
from inference_app.providers.retry_policy import Fault, again, cooling, deadline_seconds, first_byte_seconds, pause
from inference_app.providers.upstreams import UPSTREAMS
from inference_app.relay.admission import Admission, admitted
from inference_app.relay.attempt import Failed, Opened, attempt, error_code, shown
from inference_app.relay.converter import Converter, Converters
from inference_app.relay.dialect import Dialect
from inference_app.relay.envelope import Envelope
from inference_app.relay.reasoning_filter import without_foreign
from inference_app.relay.spans import attempt_begun, attempt_ended, attempt_failed, attempt_opened
from inference_app.relay.stream import StreamObserver
from inference_app.relay.targets import PLANS, Step, served_by, unknown_fields
from inference_app.request_kinds import Kind
from inference_app.spend.metering import METER, CallRecord, Outcome
from inference_app.spend.usage import Usage
from tenants_app.principal import Principal

_log = structlog.get_logger("gateway.relay")
_PROCESS = secrets.token_hex(4)
_NUMBERS = itertools.count()
_JSON = (b"content-type", b"application/json")
_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
_METERED = (asyncio.CancelledError, ProviderRefusal, ProviderFailed, NoProvider)
"""Ends without a response that are metered as calls of the candidate that was being asked."""


AT_ONCE_BYTES = 64 * 1024
"""What is larger is converted in a thread: a megabyte takes tens of milliseconds, in which no other stream moves."""


@dataclass(slots=True)
class UpstreamRequest:
    """`converters` are asked for when a candidate does not take the request's own wire; `passed_on` are the client's
    headers that a provider of that wire gets."""

    kind: Kind
    envelope: Envelope
    principal: Principal
    request_id: str
    dialect: Dialect
    converters: Converters = field(default_factory=dict)
    passed_on: Mapping[str, str] = field(default_factory=dict)

    @property
    def streamed(self) -> bool:
        return self.envelope.streamed


class UpstreamAnswer:
    """What the client gets: `first`, then of a stream all that `more` gives. `usage` is what the provider has said so
    far, whole once the stream is over."""

    status = 200

    def __init__(self, call: UpstreamCall, step: Step, opened: Opened, converter: Converter | None) -> None:
        self._call = call
        self._step = step
        self._opened = opened
        self._converter = converter
        self.candidate: Candidate = step.candidate
        self.wire = step.wire
        self.attempts = call.attempts
        self.outcome: Outcome = "left"
        self.first = b""
        self._over = False

    @property
    def usage(self) -> Usage | None:
        observer = self._opened.observer
        return self._opened.usage if observer is None else observer.usage

    @property
    def output_estimate(self) -> int:
        """Tokens of the answer so far, by its length: for a provider that does not count."""
        observer = self._opened.observer
        return len(self._opened.first) // 4 if observer is None else observer.output_estimate

    @property
    def headers(self) -> HeaderPairs:
        """Nothing of them comes from the provider."""
        headers: HeaderPairs = [*_STREAM] if self._opened.observer is not None else [_JSON]
        headers += (
            *served_by(self.candidate),
            (b"x-gateway-attempts", b"%d" % self.attempts),
            *self._call.admission.headers,
        )
        return headers if self._converter is None else headers + self._converter.headers()

    def begin(self) -> None:
        """The first bytes, converted where need be; ValueError when they cannot be."""
        opened, converter = self._opened, self._converter
        if opened.observer is None:
            self.first = opened.first if converter is None else converter.answer(opened.first)
            self.outcome = "ok"
        else:
            self.first = opened.first if converter is None else converter.feed(opened.first)

    async def more(self) -> bytes:
        """The next of a stream after `first`, empty when it is over. Read as slowly as the client reads: nothing is
        gathered in between."""
        observer, silence = self._opened.observer, self._opened.silence
        if observer is None or silence is None or self._over:
            return b""
        content, converter = self._opened.response.content, self._converter
        try:
            while observer.failed is None:
                silence.resume()
                data = await content.readany()
                silence.pause()
                if not data:
                    break
                if (data := observer.feed(data)) and converter is not None:
                    data = converter.feed(data)
                if data:
                    return data
            rest = observer.finish()
            ended = observer.ended
            if ended and converter is not None:
                rest = (converter.feed(rest) if rest else b"") + converter.finish()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            ended, rest = False, self._broken(type(error).__name__)
        else:
            rest = rest if ended else self._broken("stream_error" if observer.failed else "stream_ended")
        self.outcome, self._over = "ok" if ended else "broken", True
        return rest

    def _broken(self, reason: str) -> bytes:
        """The last event of a stream that the provider did not bring to its end."""
        observer = self._opened.observer
        said = observer.failed if observer is not None else None
        code = (error_code(said) if said else None) or "stream_interrupted"
        _log.warning(
            "stream broke",
            candidate=self.candidate.name,
            reason=reason,
            request_id=self._call.request.request_id,
            body=shown(said or b"", models_config().providers[self.candidate.provider].key),
        )
        return self._call.request.dialect.event(ProviderFailed(self.candidate.provider, code))

    def close(self) -> None:
        """Ends the provider's connection, unless the answer was read to its end."""
        self._opened.close()


def upstream_call(request: UpstreamRequest) -> UpstreamCall:
    """The one way to a provider; raises GatewayError when the block is entered."""
    return UpstreamCall(request)


class UpstreamCall:
    """One request under way."""

    def __init__(self, request: UpstreamRequest) -> None:
        self.request = request
        self.attempts = 0
        self._began = time.monotonic()
        self._first_byte: float | None = None
        self._answer: UpstreamAnswer | None = None
        self._asking: Candidate | None = None
        self._in_flight = False
        self._failed: tuple[Candidate, str] | None = None
        self._span = NO_SPAN
        self.admission = Admission()

    async def __aenter__(self) -> UpstreamAnswer:
        try:
            config, request = models_config(), self.request
            steps = PLANS.steps(config, request.envelope.model, request.kind, request.converters, request.principal)
            first = steps[0].candidate
            self.admission = await admitted(config, request.principal, request.kind, request.envelope, first)
            self._answer = await self._walked(config, steps)
        except BaseException as error:
            self._ended_without_answer(error)
            raise
        self._first_byte = time.monotonic()
        return self._answer

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The answer names its call: without the way back nothing of them waits for the collector.
        answer, self._answer = self._answer, None
        assert answer is not None
        answer.close()
        if answer.outcome == "ok":
            CIRCUITS.succeeded(answer.candidate)
        elif answer.outcome == "broken":
            CIRCUITS.failed(answer.candidate, models_config().defaults.circuit_breaker)
        else:
            CIRCUITS.left(answer.candidate)
        attempt_ended(self._span, None if answer.outcome == "ok" else answer.outcome, answer.usage)
        self._meter(answer.candidate, answer.outcome, answer.usage, answer.output_estimate)

    async def _walked(self, config: ModelsConfig, steps: list[Step]) -> UpstreamAnswer:
        """Candidate after candidate; raises GatewayError when none gave an answer."""
        request = self.request
        breaker = config.defaults.circuit_breaker
        resting: list[float] = []
        failed: Failed | None = None
        for index, step in enumerate(steps):
            if (rest := CIRCUITS.blocked_for(step.candidate, breaker)) is not None:
                self._skipped(step, "resting", rest)
                resting.append(rest)
                continue
            if index and not await self.admission.allows(request.principal, step.candidate):
                self._skipped(step, "budget")
                continue
            others = any(CIRCUITS.blocked_for(later.candidate, breaker) is None for later in steps[index + 1 :])
            try:
                return await self._tried(config, step, others)
            except Failed as error:
                failed = error
                self._failed = (step.candidate, error.fault.code)
            if self._elapsed() > deadline_seconds(streamed=request.streamed):
                break
        raise self._refusal(failed, resting)

    async def _tried(self, config: ModelsConfig, step: Step, others: bool) -> UpstreamAnswer:
        """One candidate, as often as its policy says; raises Failed, or ProviderRefusal for the caller's own fault."""
        policy, breaker = config.defaults.retry, config.defaults.circuit_breaker
        retry, stale = 0, True
        while True:
            try:
                return await self._once(config, step, others)
            except Failed as failed:
                fault = failed.fault
                # The provider may have closed an idle connection at the very moment it was used.
                free = stale and fault.kind == "disconnected" and fault.code == "disconnected"
                self._noted(step, failed, free=free)
                if failed.refusal is not None:
                    CIRCUITS.succeeded(step.candidate)
                    raise failed.refusal from None
                if fault.cooling:
                    CIRCUITS.cool(step.candidate, cooling(fault, policy))
                    CIRCUITS.left(step.candidate)
                elif free:
                    CIRCUITS.left(step.candidate)
                else:
                    CIRCUITS.failed(step.candidate, breaker)
                delay = 0.0 if free else pause(fault, policy, retry, random.random)
                spent = retry >= policy.max_retries or not again(fault, policy) or (fault.cooling and others)
                if not free and (spent or self._too_late(delay, policy.max_delay_ms) or self._is_open(step)):
                    raise
                stale, retry = False, retry + (not free)
                await asyncio.sleep(delay)

    async def _once(self, config: ModelsConfig, step: Step, others: bool) -> UpstreamAnswer:
        request = self.request
        upstream = UPSTREAMS.upstream(config, step.candidate, step.kind, step.wire)
        converter = None if step.converter is None else step.converter()
        body, observer = await self._prepared(config, step, converter)
        self.attempts += 1
        self._asking, self._in_flight = step.candidate, True
        CIRCUITS.begin(step.candidate)
        seconds = first_byte_seconds(upstream.provider.timeout, streamed=request.streamed, others=others)
        passed_on = request.passed_on if converter is None else {}
        self._span = attempt_begun(
            step.candidate,
            step.kind,
            number=self.attempts,
            streamed=request.streamed,
            request_id=request.request_id,
        )
        if carried := self._span.headers(upstream.url.host):
            passed_on = {**passed_on, **carried}
        opened = await attempt(upstream, body, passed_on=passed_on, observer=observer, seconds=seconds)
        answer = UpstreamAnswer(self, step, opened, converter)
        try:
            if converter is not None and len(opened.first) > AT_ONCE_BYTES:
                await asyncio.to_thread(answer.begin)
            else:
                answer.begin()
        except ValueError:
            opened.close()
            raise Failed(Fault("garbage", "invalid_answer")) from None
        attempt_opened(self._span, opened.first)
        if CIRCUITS.state(step.candidate) == "HALF_OPEN":
            CIRCUITS.succeeded(step.candidate)
        return answer

    async def _prepared(
        self, config: ModelsConfig, step: Step, converter: Converter | None
    ) -> tuple[bytes, StreamObserver | None]:
        envelope = self.request.envelope
        provider = config.providers[step.candidate.provider]
        refuses, named = provider.refuses, provider.sent(step.candidate.model)
        counts = step.wire == "openai-chat" and step.kind == "chat" and envelope.streamed
        counts = counts and "stream_options" not in refuses
        if converter is None:
            envelope = without_foreign(envelope, step.wire)
            body = envelope.directed(named, include_usage=counts)
            strip = counts and not envelope.usage_asked
        else:
            directed = envelope.directed(step.candidate.model, leave_out=unknown_fields(config, step))
            large = len(directed) > AT_ONCE_BYTES
            body = await asyncio.to_thread(converter.request, directed) if large else converter.request(directed)
            converted = Envelope.open(body)
            body, strip = converted.directed(named, include_usage=counts, leave_out=refuses), False
        return body, StreamObserver(step.wire, strip_usage=strip) if envelope.streamed else None

    def _refusal(self, failed: Failed | None, resting: list[float]) -> NoProvider | ProviderFailed:
        if failed is None or self._failed is None:
            seconds = math.ceil(min(resting, default=1.0)) or 1
            return NoProvider(
                "Every provider of this model rests after failures; try again later.", retry_after=seconds
            )
        candidate, code = self._failed
        wait = failed.fault.retry_after
        return ProviderFailed(candidate.provider, code, None if wait is None else max(1, math.ceil(wait)))

    def _too_late(self, delay: float, max_delay_ms: int) -> bool:
        limit = deadline_seconds(streamed=self.request.streamed)
        return delay > max_delay_ms / 1000 or self._elapsed() + delay > limit

    def _is_open(self, step: Step) -> bool:
        return CIRCUITS.state(step.candidate) == "OPEN"

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _skipped(self, step: Step, reason: str, rest: float = 0.0) -> None:
        name, request_id = step.candidate.name, self.request.request_id
        _log.info("candidate skipped", candidate=name, reason=reason, seconds=round(rest, 1), request_id=request_id)

    def _noted(self, step: Step, failed: Failed, *, free: bool) -> None:
        fault, self._in_flight = failed.fault, False
        attempt_failed(self._span, failed)
        METER.failed_attempt(self.request.principal, step.candidate, fault.code)
        _log.warning(
            "attempt failed",
            candidate=step.candidate.name,
            attempt=self.attempts,
            reason=fault.kind,
            code=fault.code,
            status=fault.status,
            counted=not (free or fault.cooling or failed.refusal is not None),
            request_id=self.request.request_id,
        )

    def _ended_without_answer(self, error: BaseException) -> None:
        candidate = self._asking
        attempt_ended(self._span, type(error).__name__, None)
        if candidate is None or not isinstance(error, _METERED):
            self.admission.release()
            return
        if isinstance(error, asyncio.CancelledError):
            if self._in_flight:
                CIRCUITS.left(candidate)
            self._meter(candidate, "left", None, 0)
        else:
            self._meter(candidate, "refused" if error.status < 500 else "failed", Usage(0, 0), 0)

    def _meter(self, candidate: Candidate, outcome: Outcome, usage: Usage | None, output_estimate: int) -> None:
        request, now = self.request, time.monotonic()
        if usage is None:
            usage = Usage(request.envelope.input_estimate, output_estimate, estimated=True)
        METER.record(
            CallRecord(
                settle=self.admission.settling(candidate),
                principal=request.principal,
                request_id=request.request_id,
                kind=request.kind,
                candidate=candidate,
                outcome=outcome,
                attempts=self.attempts,
                usage=usage,
                first_byte_ms=None if self._first_byte is None else (self._first_byte - self._began) * 1000,
                total_ms=(now - self._began) * 1000,
                # The request's id may be the client's own, which may come twice; a call is charged once, not never.
                ledger_id=f"{request.request_id}.{_PROCESS}{next(_NUMBERS):x}",
            )
        )
