"""The response of a provider on its way to the client, complete or streamed."""

from __future__ import annotations

from dataclasses import replace

import structlog

from core_app.errors import GatewayError
from core_app.header_pairs import HeaderPairs
from core_app.http1 import HttpClientError
from inference_app.catalogue.config import ProviderEntry
from inference_app.catalogue.resolution import Candidate
from inference_app.errors import ProviderFailed
from inference_app.providers.fault_sentences import fault_sentence
from inference_app.providers.provider_errors import parse_error
from inference_app.providers.retry_policy import CALLER_FAULT_STATUSES, Fault, FaultKind
from inference_app.relay.attempt import AttemptFailed, UpstreamResponse, error_data, provider_refusal, redacted_excerpt
from inference_app.relay.converter import Converter
from inference_app.relay.request import ProviderRequest
from inference_app.relay.targets import Target, substitution_headers, target_headers
from inference_app.spend.metering import Outcome
from inference_app.spend.text_estimate import IN_ANSWERS, estimated_tokens, media_of
from inference_app.spend.usage import Usage

logger = structlog.get_logger("gateway.relay")

_BROKEN = "stream_interrupted"
"""The code of a stream that ends without an error of the provider."""

_JSON = (b"content-type", b"application/json")
_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class RelayedResponse:
    """A response that has started: `first`, then the rest of a stream by `more`.

    `usage` is what the provider has reported so far; it is complete once the stream is over. `failure` is why a stream
    broke off, None otherwise.
    """

    __slots__ = (
        "_admission_headers",
        "_converter",
        "_opened",
        "_over",
        "_provider",
        "_request",
        "_substitution",
        "attempts",
        "candidate",
        "failure",
        "first",
        "outcome",
        "wire",
    )

    status = 200

    def __init__(
        self,
        request: ProviderRequest,
        target: Target,
        opened: UpstreamResponse,
        converter: Converter | None,
        *,
        provider: ProviderEntry,
        attempts: int,
        admission_headers: HeaderPairs,
    ) -> None:
        self._request = request
        self._opened = opened
        # As it was configured when the request began: it may be gone by the time that the stream ends.
        self._provider = provider
        self._admission_headers = admission_headers
        self._converter = converter
        self.candidate: Candidate = target.candidate
        self._substitution = substitution_headers(target)
        self.wire = target.wire
        self.attempts = attempts
        self.outcome: Outcome = "left"
        self.first = b""
        self.failure: AttemptFailed | None = None
        self._over = False

    @property
    def usage(self) -> Usage | None:
        """The usage that the provider has reported."""
        observer = self._opened.observer
        return self._opened.usage if observer is None else observer.usage

    @property
    def output_estimate(self) -> int:
        """Tokens of the response so far, estimated from its length, for a provider that does not report usage."""
        observer = self._opened.observer
        if observer is not None:
            return observer.output_estimate
        first = self._opened.first
        return estimated_tokens(len(first), media_of(first, IN_ANSWERS))

    @property
    def usage_is_whole(self) -> bool:
        """True if the usage is that of the whole response, even though the client may not have read all of it."""
        observer = self._opened.observer
        return observer is None or observer.counted_whole or observer.ended

    @property
    def headers(self) -> HeaderPairs:
        """The headers of the response; none comes from the provider."""
        headers: HeaderPairs = [*_STREAM] if self._opened.observer is not None else [_JSON]
        headers += (
            *target_headers(self.candidate),
            (b"x-gateway-attempts", b"%d" % self.attempts),
            *self._substitution,
            *self._admission_headers,
        )
        return headers if self._converter is None else headers + self._converter.headers()

    def begin(self) -> None:
        """Converts the first bytes where necessary; raises ValueError when they are not of the provider's wire."""
        opened, converter = self._opened, self._converter
        if opened.observer is None:
            self.first = opened.first if converter is None else converter.answer(opened.first)
            self.outcome = "ok"
        else:
            self.first = opened.first if converter is None else converter.feed(opened.first)

    async def more(self) -> bytes:
        """Returns the next bytes of a stream after `first`, none at its end. It is read as slowly as the client reads;
        nothing is buffered in between."""
        observer, silence = self._opened.observer, self._opened.silence
        if observer is None or silence is None or self._over:
            return b""
        readany, converter = self._opened.readany, self._converter
        assert readany is not None
        try:
            while observer.failed is None and not observer.cut:
                silence.resume()
                data = await readany()
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
        except (HttpClientError, TimeoutError, OSError, ValueError) as error:
            ended, rest = False, self._break_off(type(error).__name__, _kind_of(error))
        else:
            rest = (
                rest
                if ended
                else (
                    self._break_off("stream_error", "stream_error")
                    if observer.failed
                    else self._break_off("stream_ended", "disconnected")
                )
            )
        self.outcome, self._over = "ok" if ended else "broken", True
        return rest

    def _break_off(self, reason: str, kind: FaultKind) -> bytes:
        """Returns the last event of a stream that the provider did not finish."""
        observer, key = self._opened.observer, self._provider.key
        event = (observer.failed if observer is not None else None) or b""
        logger.warning(
            "stream_broke",
            candidate=self.candidate.name,
            reason=reason,
            request_id=self._request.request_id,
            body=redacted_excerpt(event, key),
        )
        self.failure = failed = _failure_in(event.replace(key.encode(), b"") if key else event, kind)
        return self._request.dialect.event(self._error_of(failed))

    def _error_of(self, failed: AttemptFailed) -> GatewayError:
        """Returns the error for the client: of the request's own fault in the provider's words, else its cause."""
        if failed.refusal is not None:
            return failed.refusal
        fault = failed.fault
        sentence = fault_sentence(self.candidate.provider, self._provider, replace(fault, kind="stream_error"))
        return ProviderFailed(sentence, provider_status=fault.status, seconds=fault.retry_after)

    def close(self) -> None:
        """Closes the provider's connection, unless the response was read to its end."""
        self._opened.close()


def _failure_in(event: bytes, kind: FaultKind) -> AttemptFailed:
    """Returns the failure for a stream that ends with an error event, or in the middle."""
    error = parse_error(error_data(event)) if event else None
    if error is None:
        return AttemptFailed(Fault(kind, _BROKEN))
    status = error.true_status(None)
    fault = Fault(kind, error.word or _BROKEN, status, error.retry_after)
    return AttemptFailed(fault, provider_refusal(status, error) if status in CALLER_FAULT_STATUSES else None)


def _kind_of(error: Exception) -> FaultKind:
    if isinstance(error, TimeoutError):
        return "timeout"
    return "disconnected" if isinstance(error, HttpClientError | OSError) else "garbage"
