"""The room that a model's context window has for the messages of a conversation.

The window comes from the configuration of the model, else from the public list of models, else from
GATEWAY_DEFAULT_CONTEXT_TOKENS. Instructions, tools and the response take their part of it. Tokens are estimated from
the length of the text; where the provider has counted more in the same conversation, its count corrects the estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic_ai.messages import ModelMessage, ModelResponse

from agents_app.context_window import CHARACTERS_PER_TOKEN, estimated_tokens
from agents_app.engine import SessionSpec
from agents_app.ready_model import ServedModel
from core_app import jsontext

MESSAGE_TOKENS = 4
"""Tokens that a message costs beside its text."""

RESPONSE_TOKENS = 4096
"""Tokens kept for a response without a limit, or an eighth of the window if that is less."""

LEAST_ROOM = 128
"""Tokens that messages have whatever else fills the window, so that a provider is asked and can say what is wrong."""

MAX_CORRECTION = 3.0
"""A larger factor would come from something else than the text, such as images."""

LEAST_CORRECTED = 500
"""Estimated tokens from which the provider's count is compared: below, fixed costs of a request weigh too much."""


@dataclass(frozen=True, slots=True)
class ContextRoom:
    """`tokens` are those that messages may have together by the estimate; each counts as at least `per_message`."""

    tokens: int
    per_message: int = MESSAGE_TOKENS

    def holds(self, messages: Sequence[ModelMessage]) -> bool:
        """True if the messages fit."""
        return estimated_tokens(messages, per_message=self.per_message) <= self.tokens

    @property
    def result_characters(self) -> int:
        """The most of one tool's result, a quarter of the room."""
        return self.tokens // 4 * CHARACTERS_PER_TOKEN

    @property
    def response_characters(self) -> int:
        """The most of all results of one response together, half of the room."""
        return self.tokens // 2 * CHARACTERS_PER_TOKEN


def fixed_tokens(session: SessionSpec) -> int:
    """Estimates the tokens that every request of the session has beside its messages."""
    size = len(session.system_prompt)
    size += sum(
        len(tool.name) + len(tool.description) + len(jsontext.encode(tool.parameters)) for tool in session.tools
    )
    if session.response_format is not None:
        size += len(jsontext.encode(session.response_format))
    return size // CHARACTERS_PER_TOKEN


def context_room(served: ServedModel, messages: Sequence[ModelMessage], *, fixed: int) -> ContextRoom | None:
    """Returns the room for the messages in requests to the model; None if its window is not known."""
    window = served.context_window
    if window is None:
        return None
    room = max(LEAST_ROOM, window - fixed - _kept_for_response(served, window))
    room = max(LEAST_ROOM, int(room / _correction(served, messages, fixed)))
    limit = served.max_messages
    return ContextRoom(room, max(MESSAGE_TOKENS, -(-room // limit)) if limit else MESSAGE_TOKENS)


def _kept_for_response(served: ServedModel, window: int) -> int:
    asked = served.settings.get("max_tokens")
    return min(RESPONSE_TOKENS, window // 8) if asked is None else min(asked, window // 2)


def _correction(served: ServedModel, messages: Sequence[ModelMessage], fixed: int) -> float:
    """Returns how many tokens the provider counted for each estimated one, in its newest response; at least 1."""
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        if isinstance(message, ModelResponse):
            estimate = estimated_tokens(messages[:index]) + fixed
            if message.model_name != served.model.model_name or estimate < LEAST_CORRECTED:
                return 1.0
            return min(MAX_CORRECTION, max(1.0, message.usage.input_tokens / estimate))
    return 1.0
