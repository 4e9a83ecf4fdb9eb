"""Converter of one request: from a client's dialect to a provider's wire, and the response back.

Requests are converted through the chat format: one module per dialect into it, one per wire out of it. Responses are
converted through steps: a reader of the wire yields them and a writer of the dialect consumes them, for streams and
for complete bodies. A converter serves one attempt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from core_app.errors import BadRequest
from core_app.ids import new_id as random_id
from inference_app.catalogue.config import Wire
from inference_app.catalogue.limits import WIRE_LIMITS, Limits
from inference_app.conversion import exact_json
from inference_app.conversion.failures import CompletionError
from inference_app.conversion.fields import dropped_fields, header_value, without_refused
from inference_app.conversion.fit import Fit
from inference_app.conversion.readers.chat import ChatReader
from inference_app.conversion.readers.messages import MessagesReader
from inference_app.conversion.readers.responses import ResponsesReader
from inference_app.conversion.requests.call_order import call_ids
from inference_app.conversion.requests.chat_names import rename_tools
from inference_app.conversion.requests.chat_to_messages import chat_to_messages
from inference_app.conversion.requests.chat_to_responses import chat_to_responses
from inference_app.conversion.requests.messages_to_chat import messages_to_chat
from inference_app.conversion.requests.responses_to_chat import responses_to_chat
from inference_app.conversion.requests.state import restore_chat_state, restore_state
from inference_app.conversion.sse import DONE, EventParser, EventTooLarge, bare_event, typed_event
from inference_app.conversion.steps import (
    End,
    Failure,
    Json,
    Reader,
    Start,
    Step,
    UsageReport,
    Writer,
    malformed_failure,
)
from inference_app.conversion.tool_names import ToolNames
from inference_app.conversion.usage import Usage
from inference_app.conversion.validation import size_check
from inference_app.conversion.writers.chat import ChatWriter
from inference_app.conversion.writers.messages import MessagesWriter
from inference_app.conversion.writers.responses import ResponsesWriter

ClientDialect = Literal["chat", "messages", "responses"]

MAX_HEADER = 1000
"""Maximum length of the headers with dropped tools and fields, because clients limit the size of headers."""

_WRITERS: dict[ClientDialect, Callable[..., Writer]] = {
    "chat": ChatWriter,
    "messages": MessagesWriter,
    "responses": ResponsesWriter,
}
_SHAPE_ERRORS = (AttributeError, KeyError, TypeError, ValueError, IndexError)
"""Errors that a reader raises for JSON whose structure is not that of its wire."""


class RequestConverter:
    """Converts between the dialect `client` and the different wire `wire`.

    A complete response goes through `answer`, a stream through `feed` and then `finish`.
    """

    def __init__(
        self,
        client: ClientDialect,
        wire: Wire,
        *,
        new_id: Callable[[str], str] = random_id,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._wire = wire
        self._new_id = new_id
        self._now = now
        self._names = ToolNames()
        self._made_reader: Reader | None = None
        self._made_writer: Writer | None = None
        self._events = EventParser()
        self._failure: Failure | None = None
        self._over = False
        self._asked: str | None = None
        self.dropped_tools: tuple[str, ...] = ()
        self.dropped_fields: tuple[str, ...] = ()
        self.usage: Usage | None = None

    def convert_request(self, body: Json, limits: Limits | None = None) -> Json:
        """Returns the provider's request, within the limits of the target (None: those of all providers of the wire).
        Raises BadRequest for what the target cannot express."""
        self._names = ToolNames()
        body = without_refused(self._client, body)
        chat, dropped = self._request_to_chat(body)
        left_out = [*dropped_fields(self._client, body), *dropped_fields(self._wire, chat)]
        several = isinstance(chat.get("n"), int) and chat["n"] > 1
        messages = chat.get("messages")
        if isinstance(messages, list) and (restored := restore_state(messages)) is not messages:
            chat = {**chat, "messages": restored}
        if self._wire == "anthropic":
            chat, more = chat_to_messages(chat)
            dropped += more
        elif self._wire == "openai-responses":
            chat = chat_to_responses(chat)
        else:
            # Clients need ids that are unique in the conversation; some providers number calls from 0 in each response.
            self._made_reader = ChatReader(self._new_id, call_ids(chat["messages"]), several=several)
        fit = Fit(self._client, limits or WIRE_LIMITS[self._wire])
        chat = fit.apply(self._wire, chat)
        self.dropped_tools = dropped
        self.dropped_fields = tuple(dict.fromkeys((*left_out, *fit.dropped)))
        self._made_writer = self._new_writer(body)
        return chat

    def convert_response(self, body: Json) -> Json:
        """Returns the client's response body. Raises CompletionError (a ValueError) for an invalid completion."""
        writer = self._writer
        writer.whole = True
        try:
            for step in self._reader.read_body(body):
                writer.write(self._note(step))
        except CompletionError:
            raise
        except _SHAPE_ERRORS:
            raise CompletionError(malformed_failure()) from None
        return writer.final_body()

    def request(self, body: bytes, limits: Limits | None = None, asked: str | None = None) -> bytes:
        """Applies `convert_request` to JSON bytes; raises PayloadTooLarge for a body that is too large to decode.

        `asked` is the name by which a client asked for the model. A Messages client gets it back in the response:
        Claude Code returns signed thinking only to the model that its message names.
        """
        size_check(body)
        self._asked = asked if self._client == "messages" else None
        value = exact_json.decode_request(body)
        if not isinstance(value, dict):
            raise BadRequest("The body must be a JSON object.")
        return exact_json.encode(self.convert_request(value, limits))

    def answer(self, body: bytes) -> bytes:
        """Applies `convert_response` to JSON bytes."""
        return exact_json.encode(self.convert_response(_parse_object(body, exact_json.decode_answer)))

    def feed(self, data: bytes) -> bytes:
        """Returns the client's events for these bytes of the provider's stream, which may be split anywhere.

        Raises CompletionError on the call after the stream failed, so that earlier events are delivered first; for an
        oversized event at once.
        """
        self._raise_failure()
        try:
            return self._convert_events(self._events.feed(data))
        except EventTooLarge:
            raise CompletionError(malformed_failure()) from None

    def finish(self) -> bytes:
        """Returns the last events of the client's stream. Raises CompletionError for an unfinished completion."""
        self._raise_failure()
        rest = self._convert_events(self._events.end())
        if not self._over and self._failure is None:
            rest += b"".join(self._encode_event(event) for event in self._write_steps(self._reader.end))
        self._raise_failure()
        return rest

    def fail(self, failure: Failure) -> bytes:
        """Returns the events that end the client's stream after a provider failure; empty if the stream has ended."""
        if self._over:
            return b""
        self._over = True
        return b"".join(map(self._encode_event, self._writer.write(failure)))

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Returns `x-gateway-dropped-tools` and `x-gateway-dropped` if tools or fields were dropped."""
        named = ((b"x-gateway-dropped-tools", self.dropped_tools), (b"x-gateway-dropped", self.dropped_fields))
        return [(header, header_value(names, MAX_HEADER)) for header, names in named if names]

    def _request_to_chat(self, body: Json) -> tuple[Json, tuple[str, ...]]:
        if self._client == "responses":
            return responses_to_chat(body, self._names)
        if self._client == "messages":
            return messages_to_chat(body, self._names)
        given = body.get("messages")
        messages = restore_chat_state(given)
        return rename_tools(body if messages is given else {**body, "messages": messages}, self._names), ()

    @property
    def _writer(self) -> Writer:
        if self._made_writer is None:
            self._made_writer = self._new_writer({})
        return self._made_writer

    @property
    def _reader(self) -> Reader:
        if self._made_reader is None:
            self._made_reader = self._new_reader()
        return self._made_reader

    def _new_writer(self, body: Json) -> Writer:
        return _WRITERS[self._client](body, self._names, self._new_id, self._now)

    def _new_reader(self) -> Reader:
        if self._wire == "anthropic":
            return MessagesReader()
        return ResponsesReader() if self._wire == "openai-responses" else ChatReader(self._new_id)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise CompletionError(self._failure)

    def _convert_events(self, datas: Iterable[bytes]) -> bytes:
        written = []
        for data in datas:
            if self._over or self._failure is not None:
                break
            written += [self._encode_event(event) for event in self._write_steps(partial(self._read_event, data))]
        return b"".join(written)

    def _read_event(self, data: bytes) -> Iterable[Step]:
        if data.strip() == DONE:
            return self._reader.end()
        return self._reader.read(_parse_object(data))

    def _write_steps(self, steps: Callable[[], Iterable[Step]]) -> Iterator[Json]:
        """Yields the events of the steps. Stops at a failure and stores it."""
        try:
            for step in steps():
                yield from self._writer.write(self._note(step))
        except CompletionError as error:
            self._failure = error.failure
        except _SHAPE_ERRORS:
            self._failure = malformed_failure()

    def _note(self, step: Step) -> Step:
        """Returns the step to write, and notes what the caller wants to know of it; raises CompletionError for a
        failure."""
        if isinstance(step, Start):
            return step if self._asked is None else replace(step, model=self._asked)
        if isinstance(step, UsageReport):
            self.usage = step.usage
        elif isinstance(step, End):
            self._over = True
        elif isinstance(step, Failure):
            raise CompletionError(step)
        return step

    def _encode_event(self, event: Json) -> bytes:
        return bare_event(event) if self._client == "chat" else typed_event(event)


def _parse_object(data: bytes, decode: Callable[[bytes], Any] = exact_json.decode) -> Json:
    """Parses a provider's JSON object; raises CompletionError for anything else."""
    try:
        value = decode(data)
    except BadRequest:
        raise CompletionError(malformed_failure()) from None
    if not isinstance(value, dict):
        raise CompletionError(malformed_failure())
    return value
