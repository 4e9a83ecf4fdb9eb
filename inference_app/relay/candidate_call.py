"""A call to one candidate, in the chat dialect, for a caller that holds a conversation: the agent loop.

It chooses the next candidate itself, because each gets a conversation of its own and clients are told; it keeps its own
account, because the spend of a run is committed with its response; and it reads the steps of every wire itself, so only
the request is converted. Everything else is that of a relayed call.
"""

from __future__ import annotations

from functools import partial
from types import TracebackType

from core_app.errors import GatewayError
from inference_app.catalogue.config import ProviderEntry, Wire, models_config
from inference_app.catalogue.limits import Limits
from inference_app.catalogue.resolution import Candidate
from inference_app.conversion import RequestConverter
from inference_app.errors import ModelNotFound
from inference_app.relay.asking import Asking, AttemptObserver
from inference_app.relay.request import ProviderRequest
from inference_app.relay.response import RelayedResponse
from inference_app.relay.targets import Target
from inference_app.request_kinds import CONVERTED


class UnrenderedErrors:
    """The dialect of a caller that reads `RelayedResponse.failure`."""

    def body(self, error: GatewayError) -> dict[str, object]:
        """Returns nothing: no response is written."""
        return {}

    def event(self, error: GatewayError) -> bytes:
        """Returns nothing: the stream just ends."""
        return b""


UNRENDERED = UnrenderedErrors()


class CandidateCall:
    """The call, to be entered with `async with`, which may raise AttemptFailed and GatewayError. `others`: the caller
    has another candidate. `longest_delay` is the longest wait before a retry, in seconds."""

    def __init__(
        self,
        request: ProviderRequest,
        candidate: Candidate,
        observer: AttemptObserver,
        *,
        others: bool,
        longest_delay: float,
    ) -> None:
        self._request = request
        self._candidate = candidate
        self._observer = observer
        self._others = others
        self._longest_delay = longest_delay
        self._response: RelayedResponse | None = None

    async def __aenter__(self) -> RelayedResponse:
        config = models_config()
        provider = config.providers.get(self._candidate.provider)
        if provider is None:
            raise ModelNotFound(self._candidate.name)
        asking = Asking(config, self._request, self._observer, self._longest_delay)
        try:
            self._response = await asking.ask(_target(self._candidate, provider), others=self._others)
        except BaseException:
            self._observer.verdict.finish()
            raise
        self._request.envelope.drop_body()
        return self._response

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        response, self._response = self._response, None
        assert response is not None
        response.close()
        self._observer.verdict.finish_with(response.outcome)


def _target(candidate: Candidate, provider: ProviderEntry) -> Target:
    wire = provider.wire
    converter = None if wire == "openai-chat" else partial(_RequestConverter, wire)
    return Target(candidate, CONVERTED[wire], wire, converter)


class _RequestConverter:
    """A `Converter` of requests alone."""

    def __init__(self, wire: Wire) -> None:
        self._converter = RequestConverter("chat", wire)

    def request(self, body: bytes, limits: Limits, asked: str) -> bytes:
        return self._converter.request(body, limits, asked)

    def answer(self, body: bytes) -> bytes:
        return body

    def feed(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""

    def headers(self) -> list[tuple[bytes, bytes]]:
        return self._converter.headers()
