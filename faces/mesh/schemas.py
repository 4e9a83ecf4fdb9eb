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
    error=object_of(code=STRING, message=STRING, field=optional(STRING), error_id=optional(STRING)),
)
_STATUS: Schema = {"type": "string", "enum": list(TaskStatus.values)}
TASK_SUBMITTED = object_of(task_id=STRING, status={"const": "pending"}, message=STRING)
TASK_CANCELLED = object_of(task_id=STRING, status=_STATUS)
TASK_SUMMARY = object_of(id=STRING, status=_STATUS, assigned_agents=STRINGS, created_at=INTEGER, updated_at=INTEGER)
_TASK_ERROR: Schema = {"anyOf": [object_of(code=STRING, message=STRING), {"type": "null"}]}
TASK = object_of(
    **TASK_SUMMARY["properties"],
    result=ANY,
    error=_TASK_ERROR,
    session_ids=STRINGS,
    partial=optional({"const": True}),
    shared_space_id=optional(STRING),
    pipeline_id=optional(STRING),
    step=optional(INTEGER),
)
PIPELINE = object_of(task_ids=STRINGS, pipeline_id=STRING)
SPACE_CREATED = object_of(space_id=STRING)
SPACE = object_of(
    shared_space_id=STRING,
    message_count=INTEGER,
    artifact_count=INTEGER,
    metadata=ANY_OBJECT,
    created_at=INTEGER,
    updated_at=INTEGER,
)
MESSAGE: Schema = {
    **object_of(id=STRING, role=STRING, content=STRING, created_at=INTEGER, offset=INTEGER),
    # With the fields of the AgentMessage that was sent.
    "additionalProperties": True,
}
MESSAGES = object_of(messages=array_of(MESSAGE), next_cursor=TEXT_OR_NULL)
ARTIFACT = object_of(name=STRING, size=INTEGER, media_type=STRING, updated_at=INTEGER)
ARTIFACTS = object_of(artifacts=array_of(ARTIFACT))
RESULTS = object_of(
    results=array_of(
        object_of(
            kind={"type": "string", "enum": ["message", "artifact"]},
            id=optional(STRING),
            name=optional(STRING),
            excerpt=STRING,
            score={"type": "number"},
        )
    )
)
AGENT = object_of(
    id=STRING,
    name=STRING,
    type=STRING,
    capabilities=STRINGS,
    status={"type": "string", "enum": ["online", "offline", "busy"]},
    endpoint=TEXT_OR_NULL,
    lastSeen={"type": ["integer", "null"]},
)
AGENT_DETAILS = object_of(
    **AGENT["properties"],
    model=TEXT_OR_NULL,
    system_prompt=STRING,
    tools=STRINGS,
    timeout={"type": ["number", "null"]},
)
AGENT_STATE = object_of(id=STRING, status=STRING)
TOKEN = object_of(token=STRING, expiresAt=INTEGER)
BROADCAST_BODY: Schema = {
    **object_of(type={"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,64}$"}, data=optional(ANY)),
}
BROADCAST = object_of(delivered={"const": True}, client_count=INTEGER)
WS_INFO = object_of(message=STRING, endpoints=object_of(events=STRING, rpc=STRING, description=STRING), example=STRING)
HEALTH = object_of(
    status=STRING,
    timestamp=INTEGER,
    service=STRING,
    name=STRING,
    version=STRING,
    uptime={"type": "number"},
    agents=array_of(object_of(id=STRING, name=STRING, status=STRING)),
)
