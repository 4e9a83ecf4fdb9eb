"""The Responses face's share of the OpenAPI document: the endpoint that a provider answers."""

from __future__ import annotations

from collections.abc import Mapping

from edge_app.openapi import FaceDocument, Resolve, Schema
from inference_app.openapi import MODEL, OPENAI, STREAM, TAG, openai_error, relayed_operation

_INPUT: Schema = {"model": MODEL, "input": {"type": ["string", "array"]}, "stream": STREAM}


def paths(resolve: Resolve) -> Mapping[str, Schema]:
    """Returns the path items, by path."""
    operation = relayed_operation("createResponse", "Create a response, which is not stored", _INPUT, OPENAI)
    return {"/v1/responses": {"post": operation}}


def schemas() -> Mapping[str, Schema]:
    """Returns the error in OpenAI's shape, which the inference face has, too."""
    return {OPENAI: openai_error()}


DOCUMENT = FaceDocument(tags=(TAG,), paths=paths, schemas=schemas)
