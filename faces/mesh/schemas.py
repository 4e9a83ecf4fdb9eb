"""Schemas of the AgentMesh protocol's responses, for the OpenAPI document."""

from __future__ import annotations

from edge_app.openapi import Schema
from faces.mesh.models import TaskStatus

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
ANY: Schema = {}
ANY_OBJECT: Schema = {"type": "object", "additionalProperties": True}
STRINGS: Schema = {"type": "array", "items": STRING}
_OPTIONAL = "x-optional"


def with_sentence(schema: Schema, description: str) -> Schema:
    """Returns the schema of a property with the sentence that says what it is."""
    return {**schema, "description": description}


def text(description: str) -> Schema:
    """Returns the schema of a string."""
    return with_sentence(STRING, description)


def number(description: str) -> Schema:
    """Returns the schema of a whole number."""
    return with_sentence(INTEGER, description)


def optional(schema: Schema) -> Schema:
    """Marks a property that is not always there."""
    return {**schema, _OPTIONAL: True}


def object_of(**properties: Schema) -> Schema:
    """Returns the schema of an object with these properties, of which all but the optional ones are always there."""
    required = [name for name, schema in properties.items() if _OPTIONAL not in schema]
    kept = {name: {k: v for k, v in schema.items() if k != _OPTIONAL} for name, schema in properties.items()}
    return {"type": "object", "properties": kept, "required": required}


def array_of(items: Schema) -> Schema:
    """Returns the schema of an array."""
    return {"type": "array", "items": items}


ERROR_NAME = "MeshError"
ERROR = object_of(
    error=with_sentence(
        object_of(
            code=text("A stable code."),
            message=text("A sentence for people."),
            field=optional(text("The field at fault, when it is one.")),
            error_id=optional(text("Of an internal error: its id in the log.")),
        ),
        "The error.",
    ),
)
_STATUS: Schema = with_sentence({"type": "string", "enum": list(TaskStatus.values)}, "The state of the task.")
_TASK_ID = text("The task's id.")
_CREATED = number("The moment of creation, in milliseconds since the epoch.")
_UPDATED = number("The moment of the last change, in milliseconds since the epoch.")
TASK_SUBMITTED = object_of(
    task_id=_TASK_ID,
    status=with_sentence({"const": "pending"}, "Always `pending`: agents are told after this response."),
    message=text("A sentence for people."),
)
TASK_CANCELLED = object_of(task_id=_TASK_ID, status=_STATUS)
TASK_SUMMARY = object_of(
    id=_TASK_ID,
    status=_STATUS,
    assigned_agents=with_sentence(STRINGS, "The agents that execute the task."),
    created_at=_CREATED,
    updated_at=_UPDATED,
)
_TASK_ERROR: Schema = {
    "anyOf": [object_of(code=text("A stable code."), message=text("A sentence for people.")), {"type": "null"}],
    "description": "Why the task failed or was cancelled; null otherwise.",
}
_PIPELINE_ID = text("The pipeline's id.")
TASK = object_of(
    **TASK_SUMMARY["properties"],
    result=with_sentence(ANY, "The result; null until there is one."),
    error=_TASK_ERROR,
    session_ids=with_sentence(STRINGS, "The sessions in which the agents worked."),
    partial=optional(with_sentence({"const": True}, "Some of several agents failed: the result is of the others.")),
    shared_space_id=optional(text("The space of the task.")),
    pipeline_id=optional(_PIPELINE_ID),
    step=optional(number("The place of the task in its pipeline, from 0.")),
)
PIPELINE = object_of(
    task_ids=with_sentence(STRINGS, "The tasks, one for each step."),
    pipeline_id=_PIPELINE_ID,
)
_SPACE_ID = text("The space's id.")
SPACE_CREATED = object_of(space_id=_SPACE_ID)
SPACE = object_of(
    shared_space_id=_SPACE_ID,
    message_count=number("Messages in the space."),
    artifact_count=number("Artifacts in the space."),
    metadata=with_sentence(ANY_OBJECT, "The client's own data."),
    created_at=_CREATED,
    updated_at=_UPDATED,
)
MESSAGE: Schema = {
    **object_of(
        id=text("The message's id."),
        role=text("The author, in the client's own words."),
        content=text("The text of the message."),
        created_at=_CREATED,
        offset=number("The place of the message in its space, from 1."),
    ),
    # With the fields of the AgentMessage that was sent.
    "additionalProperties": True,
}
MESSAGES = object_of(
    messages=with_sentence(array_of(MESSAGE), "The messages of this page, oldest first."),
    next_cursor=with_sentence(TEXT_OR_NULL, "`cursor` of the page with the messages before; null on the last one."),
)
ARTIFACT = object_of(
    name=text("The artifact's name."),
    size=number("The size in bytes."),
    media_type=text("The media type that it was stored with."),
    updated_at=_UPDATED,
)
ARTIFACTS = object_of(artifacts=with_sentence(array_of(ARTIFACT), "The artifacts by name."))
RESULTS = object_of(
    results=with_sentence(
        array_of(
            object_of(
                kind=with_sentence({"type": "string", "enum": ["message", "artifact"]}, "The kind of place."),
                id=optional(text("The message's id.")),
                name=optional(text("The artifact's name.")),
                excerpt=text("The text around the place."),
                score=with_sentence({"type": "number"}, "The higher, the better; comparable in one response only."),
            )
        ),
        "The places that were found, best first.",
    )
)
AGENT = object_of(
    id=text("The agent's id."),
    name=text("The agent's name for people."),
    type=text("The engine of the agent."),
    capabilities=with_sentence(STRINGS, "What the agent can do."),
    status=with_sentence({"type": "string", "enum": ["online", "offline", "busy"]}, "Whether it can be given work."),
    endpoint=with_sentence(TEXT_OR_NULL, "The address of a remote agent; null for others."),
    lastSeen=with_sentence(
        {"type": ["integer", "null"]}, "The last sign of life, in milliseconds since the epoch; null without one."
    ),
)
AGENT_DETAILS = object_of(
    **AGENT["properties"],
    model=with_sentence(TEXT_OR_NULL, "The model of an agent of type `model`; null for others."),
    system_prompt=text("Instructions for the model."),
    tools=with_sentence(STRINGS, "The built-in tools that the agent may use."),
    timeout=with_sentence({"type": ["number", "null"]}, "The time that it may take, in seconds; null for the default."),
)
AGENT_STATE = object_of(id=text("The agent's id."), status=text("`registered` or `unregistered`."))
TOKEN = object_of(
    token=text("The token for `?token=`; it is shown once."),
    expiresAt=number("The moment before which it has to be used first, in milliseconds since the epoch."),
)
BROADCAST_BODY = object_of(
    type=with_sentence({"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,64}$"}, "The type of the event."),
    data=optional(with_sentence(ANY, "The content of the event: any JSON.")),
)
BROADCAST_EXAMPLE = {"type": "build.finished", "data": {"ok": True}}
BROADCAST = object_of(
    delivered=with_sentence({"const": True}, "The event is in the stream."),
    client_count=number("Followers that are connected to this process."),
)
WS_INFO = object_of(
    message=text("A sentence for people."),
    endpoints=with_sentence(
        object_of(
            events=text("The address of the live events."),
            rpc=text("The address of the RPC socket."),
            description=text("What the addresses are for."),
        ),
        "The addresses.",
    ),
    example=text("A line of code that follows the live events."),
)
HEALTH = object_of(
    status=text("`ok` while the gateway responds."),
    timestamp=number("The moment of the response, in milliseconds since the epoch."),
    service=text("The protocol."),
    name=text("The gateway's name."),
    version=text("The gateway's version."),
    uptime=with_sentence({"type": "number"}, "Seconds since the start of this process."),
    agents=with_sentence(
        array_of(
            object_of(
                id=text("The agent's id."),
                name=text("The agent's name for people."),
                status=text("`online`, `offline` or `busy`."),
            )
        ),
        "The agents that the key may use; none without a key.",
    ),
)
