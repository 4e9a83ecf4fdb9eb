"""The inference face's share of the OpenAPI document: OpenAI's and Anthropic's endpoints, and the operators' pages.

Bodies are those of the official APIs, which this gateway hands on: only the fields that it reads itself are described,
everything else is allowed. Errors are in the dialect of the path's clients.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_app.openapi import FaceDocument, Resolve, Schema

TAG = "Models"
TAG_OPERATORS = "Model gateway"

OPENAI, ANTHROPIC = "OpenAIError", "AnthropicError"

ERRORS: Mapping[int, str] = {
    400: "The request is wrong, here or at the provider.",
    401: "The key is missing or not valid.",
    402: "A budget of the tenant, the key or the model is spent (`insufficient_quota`).",
    403: "The key lacks the scope.",
    404: "No provider has that model, or it is not the tenant's to use (`model_not_found`).",
    413: "The body is too long, here or at the provider.",
    422: "The provider cannot work with the request.",
    429: "The key's limit on this path or a budget of a minute is used up (`rate_limit_exceeded`).",
    500: "The gateway failed; `x-error-id` is in its log.",
    502: "Every candidate failed (`PROVIDER_ERROR`).",
    503: "No provider of the model has a key and a closed circuit (`NO_PROVIDER`), or the gateway is full.",
}
_RETRY_AFTER: Schema = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
_WITHOUT_PROVIDER = (400, 401, 403, 404, 413, 429, 500, 503)

HEADERS: Schema = {
    "X-Gateway-Provider": {"schema": {"type": "string"}, "description": "The provider that responded."},
    "X-Gateway-Model": {"schema": {"type": "string"}, "description": "The provider's own name of the model."},
    "X-Gateway-Attempts": {"schema": {"type": "string"}, "description": "The number of requests to providers."},
    "X-Gateway-Dropped-Tools": {
        "schema": {"type": "string"},
        "description": "Hosted tools that were left out because the provider does not have them.",
    },
    "X-Gateway-Budget-Tokens-Left": {"schema": {"type": "string"}, "description": "Of the narrowest budget."},
    "X-Gateway-Budget-Usd-Left": {"schema": {"type": "string"}, "description": "Of the narrowest budget."},
}

MODEL: Schema = {"type": "string", "minLength": 1, "description": "A name, an alias, or `provider:model`."}
STREAM: Schema = {"type": ["boolean", "null"], "description": "Respond with server-sent events."}
ANYTHING: Schema = {"type": "object", "additionalProperties": {}}


def paths(resolve: Resolve) -> Mapping[str, Schema]:
    """Returns the path items, by path."""
    return {
        "/v1/chat/completions": {"post": relayed_operation("createChatCompletion", "Complete a chat", _CHAT, OPENAI)},
        "/v1/embeddings": {
            "post": relayed_operation("createEmbeddings", "Embed texts", _EMBEDDINGS, OPENAI, streams=False)
        },
        "/v1/messages": {"post": relayed_operation("createMessage", "Create a message", _MESSAGES, ANTHROPIC)},
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
    nullable: Schema = {"type": ["string", "null"]}
    openai = {"message": {"type": "string"}, "type": {"type": "string"}, "param": nullable, "code": nullable}
    anthropic = {"message": {"type": "string"}, "type": {"type": "string"}}
    model = {
        "id": {"type": "string"},
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": {"type": "string", "description": "The provider."},
        "context_window": {"type": "integer"},
        "capabilities": {"type": "array", "items": {"type": "string"}},
        "pricing": {"type": "object", "additionalProperties": {"type": "number"}},
    }
    claude = {name: {"type": "string"} for name in ("type", "id", "display_name", "created_at")}
    return {
        OPENAI: _object({"error": _object(openai)}),
        ANTHROPIC: _object({"type": {"const": "error"}, "error": _object(anthropic)}),
        "Model": _object(model, required=("id", "object", "created", "owned_by")),
        "AnthropicModel": _object(claude),
    }


_PROBES: Schema = {"type": "array", "items": ANYTHING}
_CHAT: Schema = {"model": MODEL, "messages": {"type": "array", "items": ANYTHING}, "stream": STREAM}
_EMBEDDINGS: Schema = {"model": MODEL, "input": {}}
_MESSAGES: Schema = {
    "model": MODEL,
    "max_tokens": {"type": "integer", "minimum": 1},
    "messages": {"type": "array", "items": ANYTHING},
    "stream": STREAM,
}


def _object(properties: Schema, required: tuple[str, ...] | None = None) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required or properties)}


def relayed_operation(name: str, summary: str, fields: Schema, dialect: str, *, streams: bool = True) -> Schema:
    """Returns an operation whose response is a provider's; `fields` are those of the body that the gateway reads."""
    content: Schema = {"application/json": {"schema": ANYTHING}}
    if streams:
        events = "The events of the official API; an error after the first byte is the last event."
        content["text/event-stream"] = {"schema": {"type": "string", "description": events}}
    return {
        "operationId": name,
        "tags": [TAG],
        "summary": summary,
        "requestBody": _body(fields),
        "responses": {
            "200": {"description": "The provider's response.", "headers": HEADERS, "content": content},
            **_errors(tuple(ERRORS), dialect),
        },
        "x-scope": "inference",
        "x-dialect": dialect,
    }


def _body(fields: Schema) -> Schema:
    required = [name for name in fields if name != "stream"]
    schema = {"type": "object", "properties": fields, "required": required, "additionalProperties": {}}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


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
    described = _model_operation("listModels", "List the models for the key", _object(openai), _object(anthropic))
    cursors = [("after_id", "string"), ("before_id", "string"), ("limit", "integer")]
    described["parameters"] += [
        {
            "name": name,
            "in": "query",
            "schema": {"type": kind},
            "description": "Paging, in Anthropic's shape.",
        }
        for name, kind in cursors
    ]
    return described


def _model() -> Schema:
    described = _model_operation("getModel", "Get a model", _ref("Model"), _ref("AnthropicModel"))
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
            **_errors(_WITHOUT_PROVIDER, OPENAI, ANTHROPIC),
        },
        "x-scope": "inference",
        "x-dialect": OPENAI,
    }


def _errors(statuses: tuple[int, ...], *dialects: str) -> Schema:
    schema = _ref(dialects[0]) if len(dialects) == 1 else {"anyOf": [_ref(dialect) for dialect in dialects]}
    return {
        str(status): {
            "description": ERRORS[status],
            "headers": _RETRY_AFTER if status == 429 else {},
            "content": {"application/json": {"schema": schema}},
        }
        for status in statuses
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
    return {"type": "array", "items": _ref(component)}


def _ref(component: str) -> Schema:
    return {"$ref": f"#/components/schemas/{component}"}


DOCUMENT = FaceDocument(
    tags=(TAG, TAG_OPERATORS),
    paths=paths,
    schemas=schemas,
    path_parameters={
        "model_id": "A public name, or `provider:model` with the colon percent-encoded.",
        "provider": "The provider's name.",
    },
)
