"""The response of a provider on its way to the client, complete or streamed."""

from __future__ import annotations

import aiohttp
import structlog

from core_app.header_pairs import HeaderPairs
from inference_app.catalogue.config import models_config
from inference_app.catalogue.resolution import Candidate
from inference_app.errors import ProviderFailed
from inference_app.relay.attempt import UpstreamResponse, error_code, redacted_excerpt
from inference_app.relay.converter import Converter
from inference_app.relay.request import UpstreamRequest
from inference_app.relay.targets import Target, target_headers
from inference_app.spend.metering import Outcome
from inference_app.spend.usage import Usage

logger = structlog.get_logger("gateway.relay")

_JSON = (b"content-type", b"application/json")
_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class RelayedResponse:
    """A response that has started: `first`, then the rest of a stream by `more`.

    `usage` is what the provider has reported so far; it is complete once the stream is over.
    """

    __slots__ = (
        "_admission_headers",
        "_converter",
        "_opened",
        "_over",
        "_request",
        "attempts",
        "candidate",
        "first",
        "outcome",
        "wire",
    )

    status = 200

    def __init__(
        self,
        request: UpstreamRequest,
        target: Target,
        opened: UpstreamResponse,
        converter: Converter | None,
        *,
        attempts: int,
        admission_headers: HeaderPairs,
    ) -> None:
        self._request = request
        self._opened = opened
        self._admission_headers = admission_headers
        self._converter = converter
        self.candidate: Candidate = target.candidate
        self.wire = target.wire
        self.attempts = attempts
        self.outcome: Outcome = "left"
        self.first = b""
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
        return len(self._opened.first) // 4 if observer is None else observer.output_estimate

    @property
    def headers(self) -> HeaderPairs:
        """The headers of the response; none comes from the provider."""
        headers: HeaderPairs = [*_STREAM] if self._opened.observer is not None else [_JSON]
        headers += (
            *target_headers(self.candidate),
            (b"x-gateway-attempts", b"%d" % self.attempts),
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
            ended, rest = False, self._break_off(type(error).__name__)
        else:
            rest = rest if ended else self._break_off("stream_error" if observer.failed else "stream_ended")
        self.outcome, self._over = "ok" if ended else "broken", True
        return rest

    def _break_off(self, reason: str) -> bytes:
        """Returns the last event of a stream that the provider did not finish."""
        observer = self._opened.observer
        error = observer.failed if observer is not None else None
        code = (error_code(error) if error else None) or "stream_interrupted"
        logger.warning(
            "stream_broke",
            candidate=self.candidate.name,
            reason=reason,
            request_id=self._request.request_id,
            body=redacted_excerpt(error or b"", models_config().providers[self.candidate.provider].key),
        )
        return self._request.dialect.event(ProviderFailed(self.candidate.provider, code))

    def close(self) -> None:
        """Closes the provider's connection, unless the response was read to its end."""
        self._opened.close()
