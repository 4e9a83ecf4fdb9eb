"""The room's members of the error tree (`core_app.errors`)."""

from __future__ import annotations

from core_app.errors import BadRequest, NotFound


class PreviousNotFound(BadRequest):
    """`previous_response_id`, or a response before it, is not stored, or not any more."""

    code = "previous_response_not_found"

    def __init__(self, public_id: str | None) -> None:
        message = f"Previous response with id '{(public_id or '')[:100]}' not found."
        super().__init__(message, field="previous_response_id")


class ConversationNotFound(NotFound):
    """A conversation that does not exist."""

    code = "conversation_not_found"

    def __init__(self, public_id: str, *, field: str = "conversation_id") -> None:
        super().__init__(f"Conversation with id '{public_id[:100]}' not found.", field=field)
