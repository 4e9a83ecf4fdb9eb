"""Request bodies that create and change sessions: shapes and limits, no queries and no decisions.

Fields have the names that clients send; `source` is the name in the service that takes the value.
"""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from core_app.errors import Unprocessable
from edge_app.rest.fields import JSONObject, StrictInteger, StrictPattern, StrictString
from sessions_app.services.history import MAX_IMPORTED, MAX_IMPORTED_NAME, ImportedMessage
from sessions_app.services.session import SessionRequest
from tools_app.types import PlannedCall

SESSION_ID = r"[A-Za-z0-9_-]{1,64}"
MAX_TEXT = 1024 * 1024
MAX_SCHEMA_BYTES = 64 * 1024
SERVER_SIDE = ("plugins", "blueprint", "workingDir", "skillsDirs")
"""CMDC's fields for settings that are the operator's here. Accepted when empty."""


class ToolEntry(serializers.Field[Any, Any, Any, Any]):
    """The name of a built-in tool, or an inline registration, which `tools_app.registry` checks."""

    default_error_messages = {"invalid": "A tool is the name of a built-in tool or a registration object."}

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str | dict):
            self.fail("invalid")
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class ImportedCallSerializer(serializers.Serializer[Any]):
    """A tool call of an imported assistant message."""

    callId = StrictString(
        max_length=MAX_IMPORTED_NAME, help_text="The id of the call, by which the `tool_result` message refers to it."
    )
    name = StrictString(max_length=MAX_IMPORTED_NAME, help_text="The name of the tool that was called.")
    arguments = JSONObject(max_bytes=256 * 1024, help_text="The arguments of the call.")


class ImportedMessageSerializer(serializers.Serializer[Any]):
    """A message of history from before the session."""

    role = serializers.ChoiceField(
        ["user", "assistant", "tool_result"],
        help_text="The author of the message; `tool_result` is the result of a tool call.",
    )
    content = StrictString(allow_blank=True, max_length=MAX_TEXT, help_text="The text of the message.")
    toolCalls = serializers.ListField(
        child=ImportedCallSerializer(),
        required=False,
        allow_null=True,
        max_length=128,
        help_text="The tool calls of an assistant's message.",
    )
    callId = StrictString(
        required=False,
        allow_null=True,
        max_length=MAX_IMPORTED_NAME,
        help_text="The call that a `tool_result` message answers.",
    )
    endUser = StrictString(
        required=False,
        allow_null=True,
        max_length=200,
        help_text="The client's own user to whom the message belongs; erasing that user reaches it.",
    )


class SessionCreateSerializer(serializers.Serializer[Any]):
    """POST /v1/sessions."""

    document_rules = {
        "anyOf": [{"required": [name], "properties": {name: {"type": "string"}}} for name in ("model", "agent")]
    }

    model = StrictString(
        required=False,
        allow_null=True,
        max_length=200,
        help_text="The model: a public name, an alias or `provider:model`. `demo:tour` and `demo:echo` work offline.",
    )
    agent = StrictString(
        required=False,
        allow_null=True,
        max_length=200,
        help_text="The id of a configured agent, in place of a model or with a model of its own choice.",
    )
    sessionId = StrictPattern(
        SESSION_ID,
        required=False,
        allow_null=True,
        source="public_id",
        help_text="An id of the client's choice, unique in the tenant; by default the gateway makes one.",
    )
    systemPrompt = StrictString(
        required=False,
        allow_null=True,
        allow_blank=True,
        max_length=MAX_TEXT,
        source="system_prompt",
        help_text="Instructions for the model, sent before the conversation with every request.",
    )
    maxTurns = StrictInteger(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=10_000,
        source="max_turns",
        help_text="The number of model responses after which a run ends with `agent_abort`; 100 by default.",
    )
    maxTokens = StrictInteger(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=10_000_000,
        source="max_tokens",
        help_text="The most tokens that one model response may have.",
    )
    providerOpts = JSONObject(
        required=False,
        allow_null=True,
        source="options",
        help_text="Options of the model request, such as `temperature` and `top_p`; an unknown one is refused by name.",
    )
    tools = serializers.ListField(
        child=ToolEntry(),
        required=False,
        allow_null=True,
        max_length=128,
        help_text="Names of built-in tools (`ask_user`, `current_time`, `fetch_url`,"
        " `mcp:<server>`), and tools to register as `POST …/tools` does.",
    )
    userData = JSONObject(
        required=False,
        allow_null=True,
        source="user_data",
        help_text="Data of the client's own, returned with the session and never sent to a model.",
    )
    metadata = JSONObject(
        required=False,
        allow_null=True,
        help_text="Labels of the client's own, kept with the session and never sent to a model.",
    )
    groupId = StrictPattern(
        SESSION_ID,
        required=False,
        allow_null=True,
        source="group_id",
        help_text="The group whose event stream the session joins; it begins with its first session.",
    )
    title = StrictString(required=False, allow_null=True, max_length=200, help_text="A title for lists of sessions.")
    responseFormat = JSONObject(
        required=False,
        allow_null=True,
        max_bytes=MAX_SCHEMA_BYTES,
        source="response_format",
        help_text="A JSON Schema for the final answer of every run.",
    )
    historyPolicy = serializers.ChoiceField(
        ["error", "truncate", "summarize"],
        required=False,
        allow_null=True,
        source="history_policy",
        help_text="What happens when the model's context is full: fail, leave out the oldest"
        " messages (the default), or summarize them.",
    )
    outagePolicy = serializers.ChoiceField(
        ["wait", "fail"],
        required=False,
        allow_null=True,
        source="outage_policy",
        help_text="What a run does while no provider can be reached: `wait` (the default), or `fail`.",
    )
    approvals = serializers.DictField(
        child=serializers.ChoiceField(["always", "never"]),
        required=False,
        allow_null=True,
        help_text="Whether calls of a tool need an approval, by the tool's name or `*`. `never`"
        " lowers only what the same client asked for.",
    )

    messages = serializers.ListField(
        child=ImportedMessageSerializer(),
        required=False,
        allow_null=True,
        max_length=MAX_IMPORTED,
        help_text="Earlier history to begin with, oldest first.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        for name in SERVER_SIDE:
            if self.initial_data.get(name):
                raise Unprocessable(f"'{name}' is set by the operator of the gateway.", field=name)
        return attrs

    def to_request(self) -> SessionRequest:
        """Returns the validated values; fields that are absent or null take their defaults."""
        values = {name: value for name, value in self.validated_data.items() if value is not None}
        values["messages"] = [_imported_message(message) for message in values.get("messages", ())]
        return SessionRequest(**values)


def _imported_message(message: dict[str, Any]) -> ImportedMessage:
    calls = tuple(
        PlannedCall(call["callId"], call["name"], call["arguments"]) for call in message.get("toolCalls") or ()
    )
    return ImportedMessage(
        message["role"], message["content"], calls, message.get("callId"), end_user=message.get("endUser")
    )


class SessionPatchSerializer(serializers.Serializer[Any]):
    """PATCH /v1/sessions/:id; null removes `title` and `groupId`."""

    systemPrompt = StrictString(
        required=False,
        allow_blank=True,
        max_length=MAX_TEXT,
        source="system_prompt",
        help_text="The new instructions for the model.",
    )
    userData = JSONObject(required=False, source="user_data", help_text="Replaces the client's own data.")
    groupId = StrictPattern(
        SESSION_ID,
        required=False,
        allow_null=True,
        source="group_id",
        help_text="The group to join; null leaves the group.",
    )
    title = StrictString(required=False, allow_null=True, max_length=200, help_text="The new title; null removes it.")
    tools = serializers.ListField(
        child=StrictString(max_length=64),
        required=False,
        max_length=128,
        help_text="The built-in tools that the session may use, in place of those before.",
    )
    outagePolicy = serializers.ChoiceField(
        ["wait", "fail"],
        required=False,
        source="outage_policy",
        help_text="What a run does while no provider can be reached: `wait` or `fail`.",
    )
