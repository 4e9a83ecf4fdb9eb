"""Refusals of threads, with the codes on which Anthropic's clients act.

They answer most of them by sending the whole conversation: under a new thread, or, where threads are not served at all,
without one.
"""

from __future__ import annotations

from core_app.errors import BadRequest, NotFound
from inference_app.errors import WithDetails

FIELD = "thread"


class ThreadNotFound(WithDetails, NotFound):
    """`previous_message_id` names no answer that is kept: never, not any more, or not for this tenant."""

    def __init__(self, public_id: str) -> None:
        message = f"No thread was found for 'previous_message_id' '{public_id[:100]}'; send the whole conversation."
        super().__init__(message, field=FIELD)
        self.details = {"error_code": "thread_not_found"}


class ThreadAlreadyContinued(WithDetails, BadRequest):
    """The answer has been continued, and each one is continued once."""

    def __init__(self) -> None:
        super().__init__("This answer has been continued; continue from the newest one of its thread.", field=FIELD)
        self.details = {"error_code": "thread_already_continued"}


class ThreadContinueInFlight(WithDetails, BadRequest):
    """Another request continues the same answer now."""

    def __init__(self) -> None:
        super().__init__("Another request continues this answer at the moment; wait for its end.", field=FIELD)
        self.details = {"error_code": "thread_continue_in_flight"}


class ThreadFingerprintMismatch(WithDetails, BadRequest):
    """Fields that a thread keeps came with other values than it was created with."""

    def __init__(self, names: list[str]) -> None:
        fields = " and ".join(f"'{name}'" for name in names)
        super().__init__(f"{fields} must stay as the thread was created with; leave it out.", field=names[0])
        self.details = {"error_code": "thread_fingerprint_mismatch"}
