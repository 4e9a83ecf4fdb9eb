"""Errors as providers send them: their words, the status they stand for, and when to ask again.

Every provider has a shape of its own: OpenAI's object, Gemini's list, Mistral's flat object, FastAPI's `detail` as text
or as a list, an object within a choice, plain text. They come with an error's status, with 200 in place of a response,
and within streams. `parse_error` reads all of them. Pure functions; nothing here decides what a client sees.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from inference_app.providers.retry_policy import MAX_COOLDOWN_SECONDS

MAX_MESSAGE = 2000
MAX_DEPTH = 6
"""Objects within objects that are searched for the message."""

_MESSAGES = (
    "message", "msg", "detail", "error_message", "errorMessage", "error_msg", "status_msg", "error_description",
    "Message", "title", "reason",
)  # fmt: skip
"""Members that hold the sentence, in the order in which they are believed."""

_HOLDERS = ("error", "errors", "detail", "message", "base_resp", "response", "last_error", "cause")
"""Members that hold another error object, or a list of them."""

_STATUS_FIELDS = ("status_code", "statusCode", "http_status", "raw_status_code", "status", "code")

_STATUSES = {
    "invalid_request_error": 400,
    "invalid_argument": 400,
    "failed_precondition": 400,
    "out_of_range": 400,
    "bad_request": 400,
    "badrequesterror": 400,
    "context_length_exceeded": 400,
    "string_above_max_length": 400,
    "invalid_prompt": 400,
    "invalid_image": 400,
    "content_policy_violation": 400,
    "content_filter": 400,
    "unsupported_parameter": 400,
    "unsupported_value": 400,
    "model_not_found": 404,
    "not_found": 404,
    "not_found_error": 404,
    "notfounderror": 404,
    "request_too_large": 413,
    "unprocessable_entity": 422,
    "authentication_error": 401,
    "unauthenticated": 401,
    "unauthorized": 401,
    "invalid_api_key": 401,
    "invalidapikey": 401,
    "api_key_invalid": 401,
    "permission_error": 403,
    "permission_denied": 403,
    "forbidden": 403,
    "billing_error": 402,
    "insufficient_quota": 402,
    "insufficient_balance": 402,
    "insufficient_credits": 402,
    "payment_required": 402,
    "arrearage": 402,
    "billing_not_active": 402,
    "billing_hard_limit_reached": 402,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "rate_limit": 429,
    "too_many_requests": 429,
    "resource_exhausted": 429,
    "throttling": 429,
    "requests": 429,
    "tokens": 429,
    "api_error": 500,
    "server_error": 500,
    "internal": 500,
    "internal_error": 500,
    "internal_server_error": 500,
    "unavailable": 503,
    "service_unavailable": 503,
    "overloaded": 529,
    "overloaded_error": 529,
    "engine_overloaded": 529,
    "timeout_error": 504,
    "deadline_exceeded": 504,
}
"""The HTTP status that a code or type stands for, in lower case; others say nothing."""

_SPENT = re.compile(
    r"credit balance is too low|insufficient (?:account )?(?:balance|credits?|funds|quota)"
    r"|billing hard limit|account is not active|out of credits|account .{0,40}overdue|payment required",
    re.IGNORECASE,
)
_KEY = re.compile(
    r"api[ _-]?key (?:is )?(?:not valid|invalid|expired|not found)"
    r"|(?:incorrect|invalid|wrong|unknown|missing) api[ _-]?key|invalid (?:x-api-key|authentication|bearer token)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_DELAY = re.compile(r"(\d+(?:\.\d+)?)s\Z")
_ASK_AGAIN = re.compile(
    r"(?:try|retry)(?: again)? (?:in|after) (?:(\d+)m(?!s))?(\d+(?:\.\d+)?) ?(ms|s(?:econds?)?)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class ProviderError:
    """A provider's error. Values that it does not state are None.

    `status` is the HTTP status that the body states or its code stands for. `retry_after` is in seconds."""

    message: str | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None
    status: int | None = None
    retry_after: float | None = None

    @property
    def word(self) -> str | None:
        """The code, else the type, if it is a word and no sentence."""
        return next((name for name in (self.code, self.type) if name and _WORD.match(name)), None)

    def true_status(self, status: int | None) -> int | None:
        """Returns the status that counts: the account's fault comes with 400 or 429 at several providers, and an error
        in place of a response with none."""
        message = self.message or ""
        if self.status in (401, 402) or status in (401, 402, 403):
            return self.status if self.status in (401, 402) else status
        if status in (None, 400, 403, 404, 429) and _SPENT.search(message):
            return 402
        if status in (None, 400) and _KEY.search(message):
            return 401
        return self.status if status is None else status


def parse_error(body: bytes, *, plain: bool = False) -> ProviderError | None:
    """Returns the error in a body; None if there is none in it. `plain`: a short text is its own message."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return _plain_error(body) if plain else None
    found = error_of(document)
    return None if found is None else replace(found, retry_after=_delay_of(document, found.message))


def error_of(document: Any) -> ProviderError | None:
    """Returns the error that a decoded document is or contains."""
    found = _search(document, 0)
    return None if found is None or not (found.message or found.word or found.status) else found


def looks_like_error(document: Any) -> bool:
    """True for a document in the place of a completion that can only be an error."""
    if isinstance(document, list):
        return bool(document) and looks_like_error(document[0])
    if not isinstance(document, Mapping):
        return False
    if document.get("error") or document.get("errors") or "error" in (document.get("object"), document.get("type")):
        return True
    if document.get("detail") or document.get("error_msg") or document.get("error_code"):
        return True
    sentence = next((document[name] for name in _MESSAGES if isinstance(document.get(name), str)), None)
    return bool(sentence) and any(name in document for name in (*_STATUS_FIELDS, "type", "request_id", "success"))


def _search(value: Any, depth: int) -> ProviderError | None:
    if isinstance(value, str):
        return ProviderError(message=value[:MAX_MESSAGE]) if value.strip() else None
    if depth > MAX_DEPTH:
        return None
    if isinstance(value, list):
        return _of_list(value, depth)
    if not isinstance(value, Mapping):
        return None
    own = ProviderError(_sentence(value), _type(value), _code(value), _param(value), _status(value))
    for name in _HOLDERS:
        inner = value.get(name)
        if isinstance(inner, Mapping | list) or (name == "error" and isinstance(inner, str)):
            found = _search(inner, depth + 1)
            if found is not None:
                return _joined(found, own, _told_within(value, depth))
    if own.message is None and depth:
        own = replace(own, message=_field_sentences(value))
    return _joined(own, ProviderError(), _told_within(value, depth))


def _field_sentences(value: Mapping[str, Any]) -> str | None:
    """Returns the sentences of an object that has lists of them by field."""
    named = [(name, texts[0]) for name, texts in value.items() if isinstance(texts, list) and texts]
    return "; ".join(f"{name}: {text}" for name, text in named if isinstance(text, str))[:MAX_MESSAGE] or None


def _joined(found: ProviderError, outer: ProviderError, within: ProviderError | None) -> ProviderError:
    """Returns the inner error, with what only the outer object says; `within` are the words of the provider behind a
    reseller."""
    message = found.message or outer.message
    if within is not None and within.message and within.message != message:
        message = f"{message}: {within.message}"[:MAX_MESSAGE] if message else within.message
    return ProviderError(
        message,
        found.type or outer.type,
        found.code or outer.code,
        found.param or outer.param,
        found.status or outer.status,
    )


def _told_within(value: Mapping[str, Any], depth: int) -> ProviderError | None:
    """Returns what a reseller quotes of its provider (OpenRouter's `metadata.raw`)."""
    metadata = value.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, Mapping) else None
    if not isinstance(raw, str) or depth > 2:
        return _search(raw, depth + 1) if isinstance(raw, Mapping) else None
    try:
        return _search(msgspec.json.decode(raw.encode("utf-8", "replace")), depth + 1)
    except (msgspec.DecodeError, RecursionError):
        return None if "<" in raw else ProviderError(message=raw[:MAX_MESSAGE])


def _of_list(values: list[Any], depth: int) -> ProviderError | None:
    """Returns the error of a list: the first, with the sentences of all that are about fields of the request."""
    found = [error for value in values[:20] if (error := _search(value, depth + 1)) is not None]
    if not found:
        return None
    sentences = [f"{e.param}: {e.message}" if e.param and e.message else e.message or "" for e in found]
    message = "; ".join(sentence for sentence in sentences if sentence)[:MAX_MESSAGE]
    return replace(found[0], message=(message if len(found) > 1 else found[0].message) or None)


def _sentence(value: Mapping[str, Any]) -> str | None:
    for name in _MESSAGES:
        text = value.get(name)
        if isinstance(text, str) and text.strip():
            return text[:MAX_MESSAGE]
    return None


def _type(value: Mapping[str, Any]) -> str | None:
    """Returns the kind of error; an event's type and a validator's name of a rule are none."""
    word = _word(value.get("type"))
    return None if word is None or word == "error" or "loc" in value or "." in word or ":" in word else word


def _code(value: Mapping[str, Any]) -> str | None:
    for name in ("code", "error_code", "status_code", "error_type", "status", "__type"):
        if (word := _word(value.get(name))) is not None:
            return word
    return None


def _param(value: Mapping[str, Any]) -> str | None:
    """Returns the field at fault; FastAPI has its path in `loc`."""
    path = value.get("loc")
    if isinstance(path, list):
        return ".".join(str(part) for part in path if part != "body")[:100] or None
    return _word(value.get("param")) or _word(value.get("field"))


def _status(value: Mapping[str, Any]) -> int | None:
    for name in _STATUS_FIELDS:
        given = value.get(name)
        number = (
            int(given) if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) == 3 else given
        )
        if isinstance(number, int) and not isinstance(number, bool) and 400 <= number <= 599:
            return number
    return next((status for word in _names(value) if (status := _STATUSES.get(word)) is not None), None)


def _names(value: Mapping[str, Any]) -> Iterator[str]:
    for name in ("code", "error_code", "type", "error_type", "status"):
        word = value.get(name)
        if isinstance(word, str):
            yield word.lower()
    details = value.get("details")
    for detail in details if isinstance(details, list) else ():
        reason = detail.get("reason") if isinstance(detail, Mapping) else None
        if isinstance(reason, str):
            yield reason.lower()


def _word(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        # OpenRouter's codes are HTTP statuses.
        return str(value)[:100]
    return value[:100] if isinstance(value, str) and value else None


def _plain_error(body: bytes) -> ProviderError | None:
    """Returns the error for a short text; a page of HTML is none."""
    text = body[: MAX_MESSAGE * 4].decode("utf-8", "replace").strip()
    return None if not text or "<" in text[:200] or "\ufffd" in text else ProviderError(message=text[:MAX_MESSAGE])


def _delay_of(document: Any, message: str | None) -> float | None:
    """Returns the seconds after which to ask again: Gemini's RetryInfo, else the sentence that says so."""
    seconds = next(iter(_retry_infos(document, 0)), None)
    if seconds is None and message and (found := _ASK_AGAIN.search(message)) is not None:
        seconds = float(found[2]) / (1000 if found[3].lower() == "ms" else 1) + 60 * int(found[1] or 0)
    return None if seconds is None else min(max(0.0, seconds), MAX_COOLDOWN_SECONDS)


def _retry_infos(value: Any, depth: int) -> Iterator[float]:
    if depth > MAX_DEPTH:
        return
    if isinstance(value, list):
        for item in value[:20]:
            yield from _retry_infos(item, depth + 1)
    elif isinstance(value, Mapping):
        if (seconds := _duration(value.get("retryDelay", value.get("retry_delay")))) is not None:
            yield seconds
        for name in ("error", "details", "errors", "response"):
            yield from _retry_infos(value.get(name), depth + 1)


def _duration(value: Any) -> float | None:
    """Returns the seconds of a protobuf duration: `"34.07s"`, or an object with seconds and nanos."""
    if isinstance(value, str) and (found := _DELAY.match(value)) is not None:
        return float(found[1])
    if isinstance(value, Mapping):
        try:
            return float(value.get("seconds") or 0) + float(value.get("nanos") or 0) / 1e9
        except (TypeError, ValueError):
            return None
    return None
