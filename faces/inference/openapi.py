"""The inference face's share of the OpenAPI document: OpenAI's and Anthropic's endpoints, and the operators' pages.

Bodies are those of the official APIs, which this gateway hands on: only the fields that it reads itself are described,
everything else is allowed. Errors are in the dialect of the path's clients.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_app.openapi import FaceDocument, Resolve, Schema
from faces.inference.openapi_background import background_paths, with_background
from inference_app.openapi import (
    ANTHROPIC,
    ANYTHING,
    HEADERS,
    MODEL,
    OPENAI,
    STREAM,
    TAG,
    error_responses,
    object_schema,
    openai_error,
    reference,
    relayed_operation,
)

TAG_OPERATORS = "Model gateway"

_WITHOUT_PROVIDER = (400, 401, 403, 404, 413, 429, 500, 503)


def paths(resolve: Resolve) -> Mapping[str, Schema]:
    """Returns the path items, by path."""
    return {
        "/v1/chat/completions": {
            "post": with_background(relayed_operation("createChatCompletion", "Complete a chat", _CHAT, OPENAI))
        },
        "/v1/embeddings": {
            "post": relayed_operation("createEmbeddings", "Embed texts", _EMBEDDINGS, OPENAI, streams=False)
        },
        "/v1/messages": {"post": with_background(_create_message())},
        **background_paths(),
        "/v1/messages/count_tokens": {"post": _count_tokens()},
        "/v1/models": {"get": _models()},
        "/v1/models/{model_id}": {"get": _model()},
        "/model-gateway/health": {"get": _operator_page("modelsHealth", "Get the known state of the providers")},
        "/model-gateway/health/all": {"get": _operator_page("probeProviders", "Probe every provider", _PROBES)},
        "/model-gateway/health/{provider}": {"get": _one_provider()},
        "/model-gateway/quota": {"get": _operator_page("providersQuota", "Get the quotas left at the providers")},
        "/model-gateway/stats": {"get": _operator_page("relayStats", "Get the relay statistics since the start")},
    }


def schemas() -> Mapping[str, Schema]:
    """Returns the errors of both dialects, and the models of both."""
    details = {"error_code": {"type": "string"}, "unsupported": {"type": "array", "items": {"type": "string"}}}
    anthropic = {
        "message": {"type": "string"},
        "type": {"type": "string"},
        "details": object_schema(details, ("error_code",)),
    }
    model = {
        "id": {"type": "string"},
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": {"type": "string", "description": "The provider."},
        "context_window": {"type": "integer"},
        "capabilities": {"type": "array", "items": {"type": "string"}},
        "pricing": {"type": "object", "additionalProperties": {"type": "number"}},
    }
    claude = {name: {"type": "string"} for name in ("type", "id", "display_name", "created_at", "lifecycle")}
    return {
        OPENAI: openai_error(),
        ANTHROPIC: object_schema({"type": {"const": "error"}, "error": object_schema(anthropic, ("message", "type"))}),
        "Model": object_schema(model, required=("id", "object", "created", "owned_by")),
        "AnthropicModel": object_schema(claude),
    }


_PROBES: Schema = {"type": "array", "items": ANYTHING}
_CHAT: Schema = {"model": MODEL, "messages": {"type": "array", "items": ANYTHING}, "stream": STREAM}
_EMBEDDINGS: Schema = {"model": MODEL, "input": {}}
_THREAD: Schema = {
    "type": ["object", "null"],
    "properties": {"type": {"enum": ["create", "continue"]}, "previous_message_id": {"type": "string"}},
    "description": "Keep the conversation under the answer's id, or continue one with new messages alone.",
}
_COMPACTION: Schema = {
    "type": ["object", "null"],
    "properties": {"type": {"const": "summarize"}, "instructions": {"type": ["string", "null"]}},
    "description": "Answer with a summary of the conversation, which later requests send in its place.",
}
_MESSAGES: Schema = {
    "model": MODEL,
    "max_tokens": {"type": "integer", "minimum": 1},
    "messages": {"type": "array", "items": ANYTHING},
    "stream": STREAM,
}


def _create_message() -> Schema:
    described = relayed_operation("createMessage", "Create a message", _MESSAGES, ANTHROPIC)
    schema = described["requestBody"]["content"]["application/json"]["schema"]
    schema["properties"] = {**schema["properties"], "thread": _THREAD, "compaction": _COMPACTION}
    return described


def _count_tokens() -> Schema:
    fields = {name: schema for name, schema in _MESSAGES.items() if name in ("model", "messages")}
    described = relayed_operation(
        "countTokens", "Count the tokens of a message's request", fields, ANTHROPIC, streams=False
    )
    counted = {"type": "object", "properties": {"input_tokens": {"type": "integer"}}, "required": ["input_tokens"]}
    estimated = {"schema": {"const": "true"}, "description": "The gateway estimated the count; no provider was asked."}
    described["responses"]["200"] = {
        "description": "The count, from a provider or estimated.",
        "headers": {**HEADERS, "X-Gateway-Estimated": estimated},
        "content": {"application/json": {"schema": {**counted, "additionalProperties": {}}}},
    }
    return described


def _models() -> Schema:
    ends = {"first_id": {"type": ["string", "null"]}, "last_id": {"type": ["string", "null"]}}
    openai = {"object": {"const": "list"}, "data": _list("Model")}
    anthropic = {"data": _list("AnthropicModel"), "has_more": {"type": "boolean"}, **ends}
    shapes = object_schema(openai), object_schema(anthropic)
    described = _model_operation("listModels", "List the models for the key", *shapes)
    text = {"type": "string"}
    cursors = [("after_id", text), ("before_id", text), ("limit", {"type": "integer", "minimum": 1})]
    described["parameters"] += [
        {
            "name": name,
            "in": "query",
            "schema": schema,
            "description": "Paging, in Anthropic's shape.",
        }
        for name, schema in cursors
    ]
    return described


def _model() -> Schema:
    described = _model_operation("getModel", "Get a model", reference("Model"), reference("AnthropicModel"))
    described["parameters"].insert(0, _path("model_id"))
    return described


def _model_operation(name: str, summary: str, openai: Schema, anthropic: Schema) -> Schema:
    version = {"name": "anthropic-version", "in": "header", "schema": {"type": "string"}}
    return {
        "operationId": name,
        "tags": [TAG],
        "summary": summary,
        "parameters": [{**version, "description": "Selects Anthropic's shape of the response."}],
        "responses": {
            "200": {
                "description": "In OpenAI's shape, or in Anthropic's.",
                "content": {"application/json": {"schema": {"anyOf": [openai, anthropic]}}},
            },
            **error_responses(_WITHOUT_PROVIDER, OPENAI, ANTHROPIC),
        },
        "x-scope": "inference",
        "x-dialect": OPENAI,
    }


def _operator_page(name: str, summary: str, schema: Schema = ANYTHING) -> Schema:
    return {
        "operationId": name,
        "tags": [TAG_OPERATORS],
        "summary": summary,
        "responses": {
            "200": {"description": "The present state.", "content": {"application/json": {"schema": schema}}}
        },
        "x-scope": "platform",
    }


def _one_provider() -> Schema:
    return {**_operator_page("probeProvider", "Probe one provider"), "parameters": [_path("provider")]}


def _path(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _list(component: str) -> Schema:
    return {"type": "array", "items": reference(component)}


DOCUMENT = FaceDocument(
    tags=(TAG, TAG_OPERATORS),
    paths=paths,
    schemas=schemas,
    path_parameters={
        "model_id": "A public name, or `provider:model` with the colon percent-encoded.",
        "provider": "The provider's name.",
        "completion_id": "The completion's id, `id`.",
        "message_id": "The message's id, `id`.",
    },
)
