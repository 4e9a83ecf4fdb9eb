"""The Responses face's share of the OpenAPI document.

Objects are those of the official API; only what the gateway reads itself is described, everything else is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_app.openapi import FaceDocument, Resolve, Schema
from inference_app.openapi import (
    ANYTHING,
    DEMO_MODEL,
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

_FLAG: Schema = {"type": ["boolean", "null"]}
_PROMPT = "A text, or a list of input items in OpenAI's form."
_INPUT: Schema = {
    "model": MODEL,
    "input": {"type": ["string", "array"], "description": _PROMPT},
    "stream": STREAM,
}
_HELLO: Schema = {"model": DEMO_MODEL, "input": "Hello, gateway"}
_ITEMS: Schema = {
    "items": {
        **ANYTHING,
        "anyOf": [
            {"required": ["type"], "properties": {"type": {"type": "string", "description": "The kind of item."}}},
            {
                "required": ["role"],
                "properties": {
                    "role": {"type": "string", "description": "The author, of a message without a type."},
                    "type": False,
                },
            },
        ],
    },
    "maxItems": 20,
    "description": "Items in OpenAI's form.",
}
_ITEM: Schema = {"type": "message", "role": "user", "content": "Hello, gateway"}
_STATE: Schema = {
    "store": {**_FLAG, "description": "Keep the response; true unless the tenant or the gateway says otherwise."},
    "background": {**_FLAG, "description": "Run the response in the background; it is stored."},
    "previous_response_id": {"type": ["string", "null"], "description": "The stored response to continue."},
    "conversation": {
        "anyOf": [{"type": ["string", "null"]}, object_schema({"id": text("The conversation's id.")})],
        "description": "The conversation to read and to add to.",
    },
}
_ERRORS = (400, 401, 403, 404, 413, 429, 500, 503)
_PAGING: Mapping[str, tuple[Schema, str]] = {
    "limit": ({"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, "Items on a page."),
    "after": ({"type": "string"}, "The id of the last item of the page before."),
    "order": ({"enum": ["asc", "desc"], "default": "desc"}, "By age; the newest come first."),
}
_READING: Mapping[str, tuple[Schema, str]] = {
    "stream": ({"type": "boolean"}, "Send the events of a response in the background in place of the response."),
    "starting_after": ({"type": "integer", "minimum": 0}, "The `sequence_number` behind which the events begin."),
}


def paths(resolve: Resolve) -> Mapping[str, Schema]:
    """Returns the path items, by path."""
    one, stored = "/v1/responses/{response_id}", reference("StoredResponse")
    return {
        "/v1/responses": {"post": _create()},
        one: {
            "get": _operation("getResponse", "Get a response, or its events", stored, query=_READING, streams=True),
            "delete": _operation("deleteResponse", "Delete a response", reference("DeletedResponse")),
        },
        "/v1/responses/compact": {"post": _compact()},
        "/v1/responses/input_tokens": {
            "post": _operation(
                "countInputTokens",
                "Estimate the tokens of an input",
                object_schema(
                    {
                        "object": {"const": "response.input_tokens", "description": "The kind of object."},
                        "input_tokens": {"type": "integer", "description": "The estimated tokens."},
                    }
                ),
                (),
                body={
                    "model": {"type": ["string", "null"], "description": "The model that would be asked."},
                    "input": {"type": ["string", "array", "null"], "description": _PROMPT},
                    **{name: _STATE[name] for name in ("previous_response_id", "conversation")},
                },
                example=_HELLO,
            )
        },
        **_conversation_paths(),
        f"{one}/cancel": {"post": _operation("cancelResponse", "Cancel a response in the background", stored)},
        f"{one}/input_items": {
            "get": _operation("listInputItems", "List the input of a response", reference("ItemList"), query=_PAGING)
        },
    }


def schemas() -> Mapping[str, Schema]:
    """Returns the error in OpenAI's shape, which the inference face has, too, and the objects of this API."""
    stored: Schema = {
        "id": text("The response's id."),
        "object": {"const": "response", "description": "The kind of object."},
        "status": {
            "enum": ["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"],
            "description": "How far the response is.",
        },
        "output": {"type": "array", "items": ANYTHING, "description": "The items that the model made."},
    }
    deleted: Schema = {
        "id": text("The id of what was deleted."),
        "object": {"const": "response", "description": "The kind of object."},
        "deleted": {"const": True, "description": "It is deleted."},
    }
    nullable: Schema = {"type": ["string", "null"]}
    listed: Schema = {
        "object": {"const": "list", "description": "The kind of object."},
        "data": {"type": "array", "items": ANYTHING, "description": "The items of this page."},
        "first_id": {**nullable, "description": "The id of the first item; null on an empty page."},
        "last_id": {**nullable, "description": "The id of the last item; null on an empty page."},
        "has_more": {"type": "boolean", "description": "Whether another page follows."},
    }
    return {
        OPENAI: openai_error(),
        "StoredResponse": {**object_schema(stored), "additionalProperties": {}},
        "DeletedResponse": object_schema(deleted),
        "Conversation": object_schema(
            {
                "id": text("The conversation's id."),
                "object": {"const": "conversation", "description": "The kind of object."},
                "created_at": {"type": "integer", "description": "The moment of creation, in seconds since the epoch."},
                "metadata": {**ANYTHING, "description": "The client's own labels."},
            }
        ),
        "DeletedConversation": object_schema(
            {**deleted, "object": {"const": "conversation.deleted", "description": "The kind of object."}}
        ),
        "ItemList": object_schema(listed),
    }


def _conversation_paths() -> Mapping[str, Schema]:
    root = "/v1/conversations"
    one, whole = f"{root}/{{conversation_id}}", reference("Conversation")
    items, item = f"{one}/items", f"{one}/items/{{item_id}}"
    metadata: Schema = {
        "type": ["object", "null"],
        "additionalProperties": {"type": "string", "maxLength": 512},
        "description": "Labels of the client's own.",
    }
    create = {"items": {**_ITEMS, "type": ["array", "null"]}, "metadata": metadata}
    conversation, in_items, both = ("conversation_id",), ("conversation_id",), ("conversation_id", "item_id")
    return {
        root: {
            "post": _operation(
                "createConversation",
                "Create a conversation",
                whole,
                (),
                body=create,
                example={"items": [_ITEM], "metadata": {"topic": "demo"}},
            )
        },
        one: {
            "get": _operation("getConversation", "Get a conversation", whole, conversation),
            "post": _operation(
                "updateConversation",
                "Replace a conversation's metadata",
                whole,
                conversation,
                body={"metadata": metadata},
                example={"metadata": {"topic": "greetings"}},
                required=("metadata",),
            ),
            "delete": _operation(
                "deleteConversation", "Delete a conversation", reference("DeletedConversation"), conversation
            ),
        },
        items: {
            "get": _operation("listConversationItems", "List items", reference("ItemList"), in_items, query=_PAGING),
            "post": _operation(
                "addConversationItems",
                "Add items",
                reference("ItemList"),
                in_items,
                body={"items": {**_ITEMS, "type": "array"}},
                example={"items": [_ITEM]},
                required=("items",),
            ),
        },
        item: {
            "get": _operation("getConversationItem", "Get an item", ANYTHING, both),
            "delete": _operation("deleteConversationItem", "Delete an item", whole, both),
        },
    }


def _create() -> Schema:
    described = relayed_operation("createResponse", "Create a response", _INPUT, OPENAI, example=_HELLO)
    described["requestBody"]["content"]["application/json"]["schema"]["properties"] = {**_INPUT, **_STATE}
    return described


def _compact() -> Schema:
    described = relayed_operation(
        "compactConversation", "Compact a conversation", {"model": MODEL}, OPENAI, example=_HELLO, streams=False
    )
    given = {
        "input": {"type": ["string", "array", "null"], "description": _PROMPT},
        "instructions": {"type": ["string", "null"], "description": "Instructions for the model."},
    }
    described["requestBody"]["content"]["application/json"]["schema"]["properties"] |= {**given, **_STATE}
    return described


def _operation(
    name: str,
    summary: str,
    shape: Schema,
    ids: Sequence[str] = ("response_id",),
    *,
    query: Mapping[str, tuple[Schema, str]] | None = None,
    streams: bool = False,
    body: Schema | None = None,
    example: Schema | None = None,
    required: Sequence[str] = (),
) -> Schema:
    content: Schema = {"application/json": {"schema": shape}}
    if streams:
        content["text/event-stream"] = {"schema": {"description": "The response's events."}}
    described: Schema = {
        "type": "object",
        "properties": body,
        "required": list(required),
        "additionalProperties": {},
    }
    request: Schema = {
        "required": bool(required),
        "content": {"application/json": {"schema": described, "example": example}},
    }
    return {
        "operationId": name,
        "tags": [TAG],
        "summary": summary,
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in ids),
            *(
                {"name": field, "in": "query", "schema": schema, "description": text}
                for field, (schema, text) in (query or {}).items()
            ),
        ],
        **({} if body is None else {"requestBody": request}),
        "responses": {"200": {"description": "Done.", "content": content}, **error_responses(_ERRORS, OPENAI)},
        "x-scope": "inference",
        "x-dialect": OPENAI,
    }


DOCUMENT = FaceDocument(
    tags=(TAG,),
    paths=paths,
    schemas=schemas,
    path_parameters={
        "response_id": "The response's id, `id`.",
        "conversation_id": "The conversation's id, `id`.",
        "item_id": "The item's id, `id`.",
    },
)
