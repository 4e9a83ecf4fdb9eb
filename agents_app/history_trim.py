"""What the session's history policy does when a conversation does not fit its model.

`truncate` drops the oldest part, `summarize` puts the same model's summary in its place, `error` does nothing.
Only what the model is sent is shortened; the stored history stays whole, and the next response notes the cut
so that later legs begin there instead of failing first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic_ai.direct import model_request_stream
from pydantic_ai.exceptions import ModelConnectionError, ModelTimeoutError
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, UserPromptPart

from agents_app.context_window import (
    CHARACTERS_PER_TOKEN,
    SUMMARY_INSTRUCTIONS,
    estimated_tokens,
    shortened,
    transcript,
)
from agents_app.conversation import Cut, answer_text, message_id_of, summary_request
from agents_app.engine import Leg
from agents_app.events import ContextSummarized, ContextTruncated
from agents_app.failures import PROVIDER_ERRORS
from agents_app.ready_model import ServedModel
from agents_app.response_usage import usage_of
from agents_app.spans import model_span, response_noted
from core_app.jsontext import clean_text
from core_app.tracing import tracing_enabled

logger = logging.getLogger(__name__)

SUMMARY_TRIES = 3
"""Each with half the transcript of the one before: what does not fit is why we are here."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """The conversation to go on with; `cut` is None when its beginning has no stored id."""

    messages: list[ModelMessage]
    cut: Cut | None


async def fitted(leg: Leg, served: ServedModel, messages: Sequence[ModelMessage]) -> Fitted | None:
    """Applies the policy once and announces it; None when the policy or the conversation allows nothing."""
    if leg.session.history_policy == "error":
        return None
    before = estimated_tokens(messages)
    # Half, so that a conversation that grows on is not cut at every turn.
    short = shortened(messages, min(before, served.context_window or before) // 2)
    if short is None:
        return None
    summary = None
    if leg.session.history_policy == "summarize":
        summary = await _summary(leg, served, short.dropped, before)
    tokens = estimated_tokens(short.dropped)
    if summary is None:
        await leg.emit(ContextTruncated(messages=len(short.dropped), tokens=tokens))
    else:
        await leg.emit(ContextSummarized(messages=len(short.dropped), tokens=tokens))
    kept = short.kept if summary is None else _with_summary(short.kept, short.lead, summary)
    return Fitted(kept, _cut(served.name, short.kept, short.kept_from, summary))


def _with_summary(kept: list[ModelMessage], lead: int, summary: str) -> list[ModelMessage]:
    return [*kept[:lead], summary_request(summary), *kept[lead:]]


def _cut(model: str, kept: Sequence[ModelMessage], first: ModelMessage, summary: str | None) -> Cut | None:
    start = next(index for index, message in enumerate(kept) if message is first)
    named = (message_id for message in kept[start:] if (message_id := message_id_of(message)))
    kept_from = next(named, None)
    return Cut(model, kept_from, summary) if kept_from else None


async def _summary(leg: Leg, served: ServedModel, dropped: Sequence[ModelMessage], tokens: int) -> str | None:
    """The model's own summary of what goes; None when it gives none, then the conversation is truncated.

    It is asked like for any response: while its circuit is closed and no budget is spent, and for what it costs.
    """
    limit = max(tokens * CHARACTERS_PER_TOKEN // 2, 2_000)
    for _ in range(SUMMARY_TRIES):
        if served.circuit.cooldown_remaining() is not None or await served.budget.exhausted_reason() is not None:
            return None
        request = ModelRequest(
            parts=[UserPromptPart(content=transcript(dropped, limit))], instructions=SUMMARY_INSTRUCTIONS
        )
        try:
            with served.circuit.observe_request(), model_span(leg, served, [request]) as asking:
                response = await _asked(served, request)
                usage = usage_of(response, served, [request])
                if tracing_enabled():
                    response_noted(asking, response, usage)
        except PROVIDER_ERRORS:
            logger.warning("%s gave no summary of %d characters.", served.name, limit, exc_info=True)
            limit //= 2
            continue
        await leg.spend(usage)
        served.budget.record_spend(usage)
        return clean_text(answer_text(response)).strip() or None
    return None


async def _asked(served: ServedModel, request: ModelRequest) -> ModelResponse:
    timer = asyncio.timeout(served.first_event_seconds)
    try:
        async with timer, model_request_stream(served.model, [request], model_settings=served.settings) as stream:
            async for _ in stream:
                timer.reschedule(None)
            response = stream.get()
    except TimeoutError as error:
        if timer.expired():
            raise ModelTimeoutError(served.name, "Nothing came in time.") from error
        raise
    if response.finish_reason is None and served.says_end:
        raise ModelConnectionError(served.name, "The stream ended in the middle of the summary.")
    return response
