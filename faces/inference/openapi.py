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
    DEMO_MODEL,
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
    text,
)

TAG_OPERATORS = "Model gateway"

_WITHOUT_PROVIDER = (400, 401, 403, 404, 413, 429, 500, 503)


def paths(resolve: Resolve) -> Mapping[str, Schema]:
    """Returns the path items, by path."""
    return {
        "/v1/chat/completions": {
            "post": with_background(
                relayed_operation("createChatCompletion", "Complete a chat", _CHAT, OPENAI, example=_HELLO)
            )
        },
        "/v1/embeddings": {
            "post": relayed_operation(
                "createEmbeddings", "Embed texts", _EMBEDDINGS, OPENAI, example=_EMBED, streams=False
            )
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
    details: Schema = {
        "error_code": text("A code for programs."),
        "unsupported": {
            "type": "array",
            "items": {"type": "string"},
            "description": "The fields of the request that rule a thread out.",
        },
    }
    anthropic = {
        "message": text("A sentence for people."),
        "type": text("The kind of error."),
        "details": {**object_schema(details, ("error_code",)), "description": "More about an error of a thread."},
    }
    model: Schema = {
        "id": text("The model's name in requests."),
        "object": {"const": "model", "description": "The kind of object."},
        "created": {"type": "integer", "description": "A moment, in seconds since the epoch."},
        "owned_by": text("The provider."),
        "context_window": {"type": "integer", "description": "The most tokens that the model can read, where known."},
        "capabilities": {
            "type": "array",
            "items": {"type": "string"},
            "description": "What the model can do, where known: `text`, `tools`, `image` …",
        },
        "pricing": {
            "type": "object",
            "additionalProperties": {"type": "number"},
            "description": "US dollars per million tokens, where known, by kind.",
        },
    }
    claude = {
        "type": text("The kind of object: `model`."),
        "id": text("The model's name in requests."),
        "display_name": text("The model's name for people."),
        "created_at": text("A moment in ISO 8601."),
        "lifecycle": text("Whether the model is current."),
    }
    return {
        OPENAI: openai_error(),
        ANTHROPIC: object_schema(
            {
                "type": {"const": "error", "description": "The kind of object."},
                "error": {**object_schema(anthropic, ("message", "type")), "description": "The error."},
            }
        ),
        "Model": object_schema(model, required=("id", "object", "created", "owned_by")),
        "AnthropicModel": object_schema(claude),
    }


_PROBES: Schema = {"type": "array", "items": ANYTHING}
_HELLO: Schema = {"model": DEMO_MODEL, "messages": [{"role": "user", "content": "Hello, gateway"}]}
_EMBED: Schema = {"model": "text-embedding-3-small", "input": ["Hello, gateway"]}
_CHAT: Schema = {
    "model": MODEL,
    "messages": {"type": "array", "items": ANYTHING, "description": "The conversation, in OpenAI's form."},
    "stream": STREAM,
}
_EMBEDDINGS: Schema = {"model": MODEL, "input": {"description": "A text, or a list of texts, to embed."}}
_THREAD: Schema = {
    "type": ["object", "null"],
    "properties": {
        "type": {"enum": ["create", "continue"], "description": "Whether a thread begins or goes on."},
        "previous_message_id": text("The answer that a thread goes on from."),
    },
    "description": "Keep the conversation under the answer's id, or continue one with new messages alone.",
}
_COMPACTION: Schema = {
    "type": ["object", "null"],
    "properties": {
        "type": {"const": "summarize", "description": "The kind of compaction."},
        "instructions": {"type": ["string", "null"], "description": "What the summary should keep."},
    },
    "description": "Answer with a summary of the conversation, which later requests send in its place.",
}
_MESSAGES: Schema = {
    "model": MODEL,
    "max_tokens": {"type": "integer", "minimum": 1, "description": "The most tokens that the response may have."},
    "messages": {
        "type": "array",
        "items": ANYTHING,
        "minItems": 1,
        "description": "The conversation, in Anthropic's form.",
    },
    "stream": STREAM,
}


def _create_message() -> Schema:
    described = relayed_operation(
        "createMessage", "Create a message", _MESSAGES, ANTHROPIC, example={**_HELLO, "max_tokens": 100}
    )
    schema = described["requestBody"]["content"]["application/json"]["schema"]
    schema["properties"] = {**schema["properties"], "thread": _THREAD, "compaction": _COMPACTION}
    return described


def _count_tokens() -> Schema:
    fields = {name: schema for name, schema in _MESSAGES.items() if name in ("model", "messages")}
    described = relayed_operation(
        "countTokens", "Count the tokens of a message's request", fields, ANTHROPIC, example=_HELLO, streams=False
    )
    counted = object_schema({"input_tokens": {"type": "integer", "description": "The tokens of the request."}})
    estimated = {"schema": {"const": "true"}, "description": "The gateway estimated the count; no provider was asked."}
    described["responses"]["200"] = {
        "description": "The count, from a provider or estimated.",
        "headers": {**HEADERS, "X-Gateway-Estimated": estimated},
        "content": {"application/json": {"schema": {**counted, "additionalProperties": {}}}},
    }
    return described


def _models() -> Schema:
    ends = {
        name: {"type": ["string", "null"], "description": f"The id of the {place} model; null on an empty page."}
        for name, place in (("first_id", "first"), ("last_id", "last"))
    }
    openai = {"object": {"const": "list", "description": "The kind of object."}, "data": _list("Model")}
    more = {"type": "boolean", "description": "Whether another page follows."}
    anthropic = {"data": _list("AnthropicModel"), "has_more": more, **ends}
    shapes = object_schema(openai), object_schema(anthropic)
    described = _model_operation("listModels", "List the models for the key", *shapes)
    cursor = {"type": "string"}
    cursors = [("after_id", cursor), ("before_id", cursor), ("limit", {"type": "integer", "minimum": 1})]
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
    return {"type": "array", "items": reference(component), "description": "The models."}


DOCUMENT = FaceDocument(
    tags=(TAG, TAG_OPERATORS),
    paths=paths,
    schemas=schemas,
    path_parameters={
        "model_id": "A public name, or `provider:model` with the colon percent-encoded.",
        "provider": "The provider's name.",
        "background_id": "The `id` of the answer to the request that started it: `bg_…`.",
        "completion_id": "The completion's id, `id`.",
        "message_id": "The message's id, `id`.",
    },
)
