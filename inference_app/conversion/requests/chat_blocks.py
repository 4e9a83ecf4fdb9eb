"""Converter of chat's content parts and arguments to Anthropic's blocks and inputs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

from core_app import jsontext
from core_app.errors import BadRequest
from inference_app.conversion.validation import (
    Json,
    field_error,
    iter_objects,
    pick_fields,
    require_nonempty,
    require_object,
    require_string,
)

_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]+\Z")
_OTHER = re.compile(r"[^A-Za-z0-9_-]")
_DATA_URL = re.compile(r"data:([\w.+/-]+);base64,", re.ASCII)


def blocks_of(content: Any, field: str) -> Iterator[Json]:
    """Yields the blocks of a message's content, without empty texts, which Anthropic rejects."""
    if isinstance(content, str):
        if content:
            yield {"type": "text", "text": content}
        return
    for path, part in iter_objects(content, field):
        block = _block(path, part)
        if block.get("text") != "":
            yield {**block, **pick_cache_control(part)}


def pick_cache_control(part: Json) -> Json:
    """Returns Anthropic's cache mark, which some chat clients also set."""
    return pick_fields(part, ("cache_control",))


def call_id_of(given: str) -> str:
    """Returns a call id in Anthropic's characters; other providers use more (`functions.look:0`)."""
    if _PLAIN_ID.match(given):
        return given
    return f"{_OTHER.sub('_', given)}_{hashlib.sha256(given.encode('utf-8', 'replace')).hexdigest()[:8]}"


def arguments_of(arguments: Any) -> Json:
    """Returns a call's arguments as an object; other values are kept under `invalid_json`."""
    text = require_string(arguments or "{}", "arguments")
    try:
        value = jsontext.decode_untrusted(text.encode("utf-8", "replace"))
    except BadRequest:
        value = None
    return value if isinstance(value, dict) else {"invalid_json": text}


def _block(path: str, part: Json) -> Json:
    kind = part.get("type")
    if kind == "text":
        return {"type": "text", "text": require_string(part.get("text"), f"{path}.text")}
    if kind == "refusal":
        return {"type": "text", "text": require_string(part.get("refusal"), f"{path}.refusal")}
    if kind == "image_url":
        url = require_nonempty(
            require_object(part.get("image_url"), f"{path}.image_url").get("url"), f"{path}.image_url.url"
        )
        return {"type": "image", "source": _source(url, f"{path}.image_url.url")}
    if kind == "file":
        return _document(path, require_object(part.get("file"), f"{path}.file"))
    raise BadRequest(f"{path} is of a type that this provider does not take.", field=f"{path}.type")


def _source(url: str, field: str) -> Json:
    if (head := _DATA_URL.match(url)) is not None:
        return {"type": "base64", "media_type": head.group(1), "data": url[head.end() :]}
    if url.startswith(("http://", "https://")):
        return {"type": "url", "url": url}
    raise field_error(field, "must be a base64 data URL or an http(s) address.")


def _document(path: str, file: Json) -> Json:
    source = _source(require_nonempty(file.get("file_data"), f"{path}.file.file_data"), f"{path}.file.file_data")
    titled = {"title": file["filename"]} if file.get("filename") else {}
    return {"type": "document", "source": source, **titled}
