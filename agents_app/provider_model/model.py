"""The agent library's `Model` for one candidate of a leg, which asks through the relay."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import RunContext

from agents_app.context_window import CHARACTERS_PER_TOKEN, estimated_tokens
from agents_app.provider_model.chat_body import ChatBody
from agents_app.provider_model.content import data_bytes, fetch_addresses
from agents_app.provider_model.observer import RequestObserver
from agents_app.provider_model.profiles import profile_of
from agents_app.provider_model.response_stream import ResponseParts
from agents_app.ready_model import Feed, Spans, Spending
from core_app import jsontext
from core_app.errors import BadRequest, GatewayError, PayloadTooLarge
from core_app.ids import new_id
from inference_app.catalogue.config import ProviderEntry
from inference_app.catalogue.limits import Limits
from inference_app.catalogue.resolution import Candidate
from inference_app.conversion.stored_conversation import Detail
from inference_app.providers.retry_policy import Fault
from inference_app.relay.attempt import AttemptFailed
from inference_app.relay.candidate_call import UNRENDERED, CandidateCall
from inference_app.relay.envelope import open_envelope
from inference_app.relay.large_bodies import run_for_size
from inference_app.relay.request import ProviderRequest
from inference_app.relay.response import RelayedResponse

MAX_DELAY = 30.0
"""Seconds. When a provider asks for a longer pause, there is no retry: the run waits without holding anything."""


class ProviderModel(Model[None]):
    """A model of a configured provider. `others`: the leg has another candidate.

    `observe` is to be called before each request, which is then counted there."""

    _relocates_tool_files = True
    _unsupported_file_inputs = frozenset({"video"})

    def __init__(self, candidate: Candidate, entry: ProviderEntry, tenant_id: int, *, others: bool) -> None:
        super().__init__()
        self._candidate = candidate
        self._entry = entry
        self._tenant_id = tenant_id
        self._others = others
        self._observer: RequestObserver | None = None
        self._feed: Feed | None = None
        self._detail = Detail.WHOLE
        self._simpler: Detail | None = None
        self._known_profile = profile_of(candidate, entry.wire)
        self._body = ChatBody(self, self._known_profile, candidate.provider, entry, entry.wire)

    def observe(self, spending: Spending, spans: Spans, feed: Feed | None = None) -> bool:
        """Sets where the next request is counted, and who takes the events of its response."""
        self._observer, self._feed = RequestObserver(self._tenant_id, spending, spans), feed
        return feed is not None

    def simplify(self) -> bool:
        """Sends less of what a provider could refuse from now on, as it refused the last request. Returns false if
        that request had nothing to leave out."""
        if self._simpler is None:
            return False
        self._detail, self._simpler = self._simpler, None
        return True

    @property
    def limits(self) -> Limits:
        """The limits of the target."""
        return self._body.limits

    @property
    def model_name(self) -> str:
        """The model's public name."""
        return self._candidate.model

    @property
    def system(self) -> str:
        """The configured provider."""
        return self._candidate.provider

    @property
    def profile(self) -> Any:
        """The library's knowledge of the model."""
        return self._known_profile

    def _thinking_applies(self, thinking: Any) -> bool:
        # The unified setting is only sent for Anthropic's wire, whose models are known.
        return self._entry.wire == "anthropic" and super()._thinking_applies(thinking)

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Returns the complete response of a stream: there is no other way to a provider."""
        async with self.request_stream(messages, model_settings, model_request_parameters) as stream:
            async for _ in stream:
                pass
            return stream.get()

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """Asks the provider; raises AttemptFailed, and UserError for what its wire cannot express."""
        settings, params = self.prepare_request(model_settings, model_request_parameters)
        raw = await self._encode(messages, settings or ModelSettings(), params)
        observer, self._observer = self._observer, None
        assert observer is not None
        request = ProviderRequest(
            kind="chat", envelope=await open_envelope(raw), request_id=new_id("req"), dialect=UNRENDERED
        )
        del raw
        call = CandidateCall(request, self._candidate, observer, others=self._others, longest_delay=MAX_DELAY)
        async with AsyncExitStack() as stack:
            response = await _enter(stack, call)
            yield ResponseParts(
                params,
                _response=response,
                _feed=self._feed,
                _profile=self._known_profile,
                _provider=self._candidate.provider,
                _model=self._candidate.model,
            )

    async def _encode(
        self, messages: Sequence[ModelMessage], settings: ModelSettings, params: ModelRequestParameters
    ) -> bytes:
        instructions = [part.content for part in self._get_instruction_parts(messages, params) or ()]
        fetched = await fetch_addresses(messages, self._known_profile, self._entry.wire)

        def encode() -> bytes:
            given = cast(dict[str, Any], settings)
            body, self._simpler = self._body.build(fetched, given, params, instructions, self._detail)
            return jsontext.encode(body)

        size = estimated_tokens(fetched) * CHARACTERS_PER_TOKEN + data_bytes(fetched)
        try:
            return await run_for_size(size, encode)
        except BadRequest as error:
            raise UserError(error.message) from error


async def _enter(stack: AsyncExitStack, call: CandidateCall) -> RelayedResponse:
    """Begins the call. The conversion's own refusals become those that the loop knows."""
    try:
        return await stack.enter_async_context(call)
    except PayloadTooLarge:
        raise AttemptFailed(Fault("status", "request_too_large", 413)) from None
    except GatewayError as error:
        raise UserError(error.message) from error
