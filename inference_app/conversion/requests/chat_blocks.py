"""Converter of chat's content parts and arguments to Anthropic's blocks and inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core_app.errors import BadRequest
from inference_app.conversion.exact_json import parse_object
from inference_app.conversion.requests.media import parse_data_url
from inference_app.conversion.validation import (
    Json,
    field_error,
    iter_objects,
    pick_fields,
    require_nonempty,
    require_object,
    require_string,
)


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


def arguments_of(arguments: Any) -> Json:
    """Returns a call's arguments as an object that keeps its text; other values are kept under `invalid_json`."""
    text = require_string(arguments or "{}", "arguments")
    value = parse_object(text)
    return value if value is not None else {"invalid_json": text}


def _block(path: str, part: Json) -> Json:
    kind = part.get("type")
    if kind == "text":
        return {"type": "text", "text": require_string(part.get("text"), f"{path}.text")}
    if kind == "refusal":
        return {"type": "text", "text": require_string(part.get("refusal"), f"{path}.refusal")}
    if kind == "image_url":
        image = part.get("image_url")
        given = image if isinstance(image, str) else require_object(image, f"{path}.image_url").get("url")
        url = require_nonempty(given, f"{path}.image_url.url")
        return {"type": "image", "source": _source(url, f"{path}.image_url.url")}
    if kind == "file":
        return _document(path, require_object(part.get("file"), f"{path}.file"))
    raise BadRequest(f"{path} is of a type that this provider does not take.", field=f"{path}.type")


def _source(url: str, field: str) -> Json:
    if (inline := parse_data_url(url)) is not None:
        return {"type": "base64", "media_type": inline.media_type, "data": inline.data}
    if url.startswith(("http://", "https://")):
        return {"type": "url", "url": url}
    raise field_error(field, "must be a base64 data URL or an http(s) address.")


def _document(path: str, file: Json) -> Json:
    """Returns a document; Anthropic takes text as text, and other inline documents as base64."""
    titled = {"title": file["filename"]} if file.get("filename") else {}
    if file.get("file_url"):
        source = _source(require_nonempty(file["file_url"], f"{path}.file.file_url"), f"{path}.file.file_url")
        return {"type": "document", "source": source, **titled}
    url = require_nonempty(file.get("file_data"), f"{path}.file.file_data")
    inline = parse_data_url(url)
    if inline is not None and (text := inline.text) is not None:
        source = {"type": "text", "media_type": "text/plain", "data": text}
        return {"type": "document", "source": source, **titled}
    return {"type": "document", "source": _source(url, f"{path}.file.file_data"), **titled}
