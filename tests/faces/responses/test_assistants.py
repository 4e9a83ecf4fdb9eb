"""Coding assistants that speak only Responses, or only Messages, finish a task over a provider of chat alone."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai
import pytest

from tests.agents.conftest import Upstream

INSTRUCTIONS = "You are a coding assistant. " + "Follow the rules of the house. " * 400
MAX_TURNS = 10


@dataclass
class Workspace:
    """The machine that the assistant works on."""

    files: dict[str, str] = field(default_factory=lambda: {"sum.py": "def add(a, b):\n    return a - b\n"})
    done: list[str] = field(default_factory=list)

    def read(self, path: str) -> str:
        self.done.append("read")
        return self.files[path]

    def shell(self, command: str) -> str:
        self.done.append(command)
        if command == "ls":
            return "\n".join(self.files)
        return "1 passed" if "a + b" in self.files["sum.py"] else "1 failed"

    def patch(self, text: str) -> str:
        assert text.startswith("*** Begin Patch")
        self.done.append("patch")
        self.files["sum.py"] = self.files["sum.py"].replace("a - b", "a + b")
        return "applied"


RESPONSES_TOOLS: Any = [
    {
        "type": "function",
        "name": "shell",
        "description": "Runs a command.",
        "parameters": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
        "strict": False,
    },
    {
        "type": "namespace",
        "name": "a_very_long_name_of_a_server_that_has_the_files_of_the_workspace",
        "description": "The workspace's files.",
        "tools": [
            {
                "type": "function",
                "name": "read_file",
                "parameters": {"type": "object", "properties": {"path": {"type": "string"}}},
            },
            {"type": "function", "name": "list_files", "parameters": {"type": "object", "properties": {}}},
        ],
    },
    {
        "type": "custom",
        "name": "apply_patch",
        "description": "Patches files.",
        "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "*** Begin Patch" /.+/s'},
    },
    {"type": "web_search", "search_context_size": "low"},
]


def responses_output(item: Any, workspace: Workspace) -> Any:
    """Returns the result of a tool call, as the assistant sends it."""
    if item.type == "custom_tool_call":
        assert item.name == "apply_patch"
        said = workspace.patch(item.input)
        return {"type": "custom_tool_call_output", "call_id": item.call_id, "output": said}
    arguments = json.loads(item.arguments)
    if item.name == "read_file":
        assert item.namespace == RESPONSES_TOOLS[1]["name"]
        said = workspace.read(**arguments)
    else:
        assert (item.name, item.namespace) == ("shell", None)
        said = workspace.shell(**arguments)
    return {"type": "function_call_output", "call_id": item.call_id, "output": said}


@pytest.mark.parametrize("model", ["plain:coder"])
def test_an_assistant_that_speaks_only_responses_finishes_its_task(
    openai_client: openai.OpenAI, plain: Upstream, model: str
) -> None:
    workspace = Workspace()
    conversation: list[Any] = [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Sandbox: read-write."}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Fix the sum."}]},
    ]
    for _ in range(MAX_TURNS):
        items = _streamed_items(openai_client, model, conversation)
        conversation += [item.to_dict() for item in items]
        calls = [item for item in items if item.type in ("function_call", "custom_tool_call")]
        if not calls:
            break
        conversation += [responses_output(call, workspace) for call in calls]
    assert workspace.done == ["read", "ls", "patch", "pytest"]
    assert conversation[-1]["content"][0]["text"] == "Fixed: 1 passed"
    asked = plain.requests()
    assert len(asked) == 4
    assert [message["role"] for message in asked[-1]["messages"]] == [
        "system", "system", "user", "assistant", "tool", "tool", "assistant", "tool", "assistant", "tool",
    ]  # fmt: skip


def _streamed_items(client: openai.OpenAI, model: str, conversation: list[Any]) -> list[Any]:
    """Returns the items of one response, each taken when it is done, as assistants do."""
    stream = client.responses.create(
        model=model,
        instructions=INSTRUCTIONS,
        input=conversation,
        tools=RESPONSES_TOOLS,
        tool_choice="auto",
        parallel_tool_calls=True,
        reasoning={"effort": "medium", "summary": "auto"},
        store=False,
        include=["reasoning.encrypted_content"],
        prompt_cache_key="thread-1",
        stream=True,
    )
    items, ended = [], False
    for event in stream:
        if event.type == "response.output_item.done":
            items.append(event.item)
        ended = ended or event.type == "response.completed"
    assert ended
    return items


READ = "mcp__a_very_long_name_of_a_server_that_has_the_files_of_the_workspace__read_file"
MESSAGES_TOOLS: Any = [
    {"name": "Shell", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}},
    {"name": READ, "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}},
    {"name": "Patch", "input_schema": {"type": "object", "properties": {"input": {"type": "string"}}}},
    {"type": "web_search_20250305", "name": "web_search"},
]


def messages_result(use: Any, workspace: Workspace) -> Any:
    if use.name == READ:
        said = workspace.read(**use.input)
    elif use.name == "Patch":
        said = workspace.patch(use.input["input"])
    else:
        assert use.name == "Shell"
        said = workspace.shell(**use.input)
    return {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": said}]}


def test_an_assistant_that_speaks_only_messages_finishes_its_task(
    anthropic_client: anthropic.Anthropic, plain: Upstream
) -> None:
    workspace = Workspace()
    reminder = {"type": "text", "text": "<system-reminder>Be careful.</system-reminder>"}
    task = {"type": "text", "text": "Fix the sum.", "cache_control": {"type": "ephemeral"}}
    conversation: list[Any] = [{"role": "user", "content": [reminder, task]}]
    for _ in range(MAX_TURNS):
        message = _streamed_message(anthropic_client, conversation)
        conversation.append({"role": "assistant", "content": [block.to_dict() for block in message.content]})
        uses = [block for block in message.content if block.type == "tool_use"]
        assert (message.stop_reason == "tool_use") == bool(uses)
        if not uses:
            break
        conversation.append({"role": "user", "content": [messages_result(use, workspace) for use in uses]})
    assert workspace.done == ["read", "ls", "patch", "pytest"]
    assert conversation[-1]["content"][0]["text"] == "Fixed: 1 passed"
    assert [message["role"] for message in plain.requests()[-1]["messages"]] == [
        "system", "user", "assistant", "tool", "tool", "assistant", "tool", "assistant", "tool",
    ]  # fmt: skip


def _streamed_message(client: anthropic.Anthropic, conversation: list[Any]) -> Any:
    with client.messages.stream(
        model="plain:coder",
        max_tokens=32_000,
        system=[{"type": "text", "text": INSTRUCTIONS, "cache_control": {"type": "ephemeral"}}],
        messages=conversation,
        tools=MESSAGES_TOOLS,
        thinking={"type": "enabled", "budget_tokens": 10_000},
        metadata={"user_id": "user_1"},
    ) as stream:
        return stream.get_final_message()
