"""Request bodies, counted as they arrive and never beyond their limit.

The gate reads the whole body of a request for Django before the request takes one of its threads, so that a slow
sender holds none. Streams count while they read.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from django.conf import settings

from core_app import jsontext
from core_app.content_codings import CODINGS, BrokenCoding, UnknownCoding, decode_body, open_decoder
from core_app.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType
from core_app.timeouts import Deadline
from edge_app.http.asgi import ClientGone, Headers, Message, Receive, Scope, header
from edge_app.http.body_budget import BodyShare

SENDER_SECONDS = 60.0
"""A client that sends nothing of its body for this long gets an error and is cut off; and so does one whose body, after
this time, has arrived more slowly than GATEWAY_MIN_BODY_BYTES_PER_SECOND."""


def declared_length(scope: Scope) -> int | None:
    """Returns Content-Length, or None without one; raises BadRequest for a value that is no length."""
    given = header(scope, b"content-length")
    if given is None:
        return None
    if not given.isdigit() or len(given) > 18:
        raise BadRequest("Content-Length is not a number.")
    return int(given)


def length_check(scope: Scope, limit: int, share: BodyShare) -> None:
    """Raises PayloadTooLarge when the declared length is over the limit, and RateLimited or Unavailable when memory has
    no room for it; nothing is read."""
    length = declared_length(scope)
    if length is None:
        return
    if length > limit:
        raise too_large(limit)
    share.expect(length)


def may_be_long(scope: Scope, limit: int) -> bool:
    """Returns True when a response that does not read the body should end the connection: the rest of the body may be
    of any length."""
    length = header(scope, b"content-length")
    if length is None:
        return header(scope, b"transfer-encoding") is not None
    return not length.isdigit() or len(length) > 18 or int(length) > limit


async def read_body(receive: Receive, limit: int) -> bytes:
    """Returns the whole body; raises PayloadTooLarge at the first byte too many, ClientGone, or BadRequest for
    a body that stops or drips."""
    chunks, size, began = [], 0, monotonic()
    while True:
        behind = monotonic() - began - size / settings.GATEWAY_MIN_BODY_BYTES_PER_SECOND
        message = await _next_message(receive, SENDER_SECONDS - max(0.0, behind))
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


async def read_json(scope: Scope, receive: Receive) -> Any:
    """Returns the JSON of a request to a bare ASGI endpoint, an empty object without a body. Raises BadRequest,
    UnsupportedMediaType, and what `read_body` raises."""
    media_type = (header(scope, b"content-type") or b"").partition(b";")[0].strip().lower()
    if media_type not in (b"", b"application/json"):
        raise UnsupportedMediaType("The body has to be sent as application/json.")
    raw = await read_body(receive, settings.GATEWAY_MAX_BODY_BYTES)
    return jsontext.decode_untrusted(raw) if raw.strip() else {}


async def decoded_body(body: bytes, coding: str, limit: int, grow: Callable[[int], None]) -> bytes:
    """Returns a body without its content coding. What it decodes to is counted: by `limit`, and by `grow`, which is
    told all bytes that are held and may raise. Raises UnsupportedMediaType, PayloadTooLarge or BadRequest."""
    try:
        decoder = open_decoder(coding)
        decoded = body if decoder is None else await decode_body(body, decoder, limit, lambda n: grow(len(body) + n))
    except UnknownCoding:
        raise UnsupportedMediaType(
            f"The body's Content-Encoding is not supported; it may be {', '.join(CODINGS)} or none.",
            field="Content-Encoding",
        ) from None
    except BrokenCoding:
        raise BadRequest("The body is not in the coding that Content-Encoding names.") from None
    if decoded is None:
        raise too_large(limit)
    grow(len(decoded))
    return decoded


def count_body(receive: Receive, limit: int, share: BodyShare) -> Receive:
    """Returns `receive` that raises PayloadTooLarge at the first byte too many, and RateLimited or Unavailable at the
    first one for which memory has no room."""
    size = 0

    async def count() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body") or b"")
        if size > limit:
            raise too_large(limit)
        share.grow_to(size)
        return message

    return count


def replay_body(body: bytes, receive: Receive) -> Receive:
    """Returns `receive` that gives `body` first, then what the server sends next (the disconnect)."""
    pending = [body]

    async def replay() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await receive()

    return replay


def with_length(scope: Scope, body: bytes) -> Scope:
    """Returns the scope with the body's true length: DRF reads a chunked body as an empty one."""
    headers: Headers = [
        (name, value) for name, value in scope["headers"] if name not in (b"content-length", b"transfer-encoding")
    ]
    if body:
        headers.append((b"content-length", str(len(body)).encode()))
    return {**scope, "headers": headers}


def too_large(limit: int) -> PayloadTooLarge:
    """Returns the error for a body over the limit."""
    return PayloadTooLarge(f"The body is larger than {limit} bytes.")


async def _next_message(receive: Receive, seconds: float) -> Message:
    if seconds > 0:
        with suppress(TimeoutError):
            async with Deadline(seconds):
                return await receive()
    raise BadRequest("The body did not arrive in time.")
