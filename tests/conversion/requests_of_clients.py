"""Requests as the official Python clients send them: every case is a call of a client, caught by a local server.

`python -m tests.conversion.requests_of_clients` writes them, with what they are converted to, into golden/; the
tests catch them again and compare.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import anthropic
import openai
from pydantic import BaseModel

from inference_app.catalogue.config import Wire
from inference_app.conversion import ClientDialect, RequestConverter

Json = dict[str, Any]

GOLDEN = Path(__file__).parent / "golden"
PNG = "data:image/png;base64,iVBORw0KGgo="
WIRES: dict[ClientDialect, tuple[Wire, ...]] = {
    "responses": ("openai-chat", "anthropic"),
    "messages": ("openai-chat", "openai-responses"),
    "chat": ("anthropic", "openai-responses"),
}
INSTRUCTIONS = "You are a coding assistant.\n" + "\n".join(f"{n}. Keep rule {n} of the house." for n in range(40))


class Weather(BaseModel):
    city: str
    celsius: float


class _Catcher(BaseHTTPRequestHandler):
    """Keeps the body, and refuses: what a client does with answers is tested elsewhere."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.caught.append(body)  # type: ignore[attr-defined]
        self.send_response(400)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def catching() -> Iterator[tuple[str, list[Json]]]:
    """A server's address, and the bodies it was sent."""
    with HTTPServer(("127.0.0.1", 0), _Catcher) as server:
        server.caught = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", server.caught  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()


def function(name: str, **properties: str) -> Json:
    """A flat function tool."""
    schema = {name: {"type": kind} for name, kind in properties.items()}
    return {
        "type": "function",
        "name": name,
        "description": f"The tool {name}.",
        "strict": False,
        "parameters": {"type": "object", "properties": schema, "required": [*schema], "additionalProperties": False},
    }


def claude_tool(name: str, **properties: str) -> Json:
    """A tool of Anthropic's."""
    schema = {name: {"type": kind} for name, kind in properties.items()}
    return {"name": name, "description": f"The tool {name}.", "input_schema": {"type": "object", "properties": schema}}


def nested(name: str, **properties: str) -> Json:
    """A tool of chat's."""
    flat = function(name, **properties)
    return {"type": "function", "function": {key: value for key, value in flat.items() if key != "type"}}


def said(role: str, text: str) -> Json:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


ASSISTANT_TOOLS: list[Any] = [
    function("shell", command="string", workdir="string", timeout_ms="number"),
    function("update_plan", explanation="string"),
    function("view_image", path="string"),
    {
        "type": "custom",
        "name": "apply_patch",
        "description": "Use the apply_patch tool to edit files.",
        "format": {"type": "grammar", "syntax": "lark", "definition": "start: begin_patch hunk+ end_patch"},
    },
    {
        "type": "namespace",
        "name": "issue_tracker",
        "description": "Issues of the project.",
        "tools": [function("search", query="string"), function("comment", issue="string", text="string")],
    },
    *[function(f"extension_{number}", value="string") for number in range(30)],
    {"type": "web_search", "external_web_access": False},
]
ASSISTANT_TURNS: list[Any] = [
    said("developer", "<permissions>The sandbox may write to the workspace.</permissions>"),
    said("user", "<environment><cwd>/project</cwd></environment>"),
    said("user", "Fix the failing test."),
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
    said("assistant", "I will look around."),
    {"type": "function_call", "call_id": "call_1", "name": "shell", "arguments": '{"command":"ls"}'},
    {
        "type": "function_call",
        "call_id": "call_2",
        "name": "search",
        "namespace": "issue_tracker",
        "arguments": '{"query":"failing"}',
    },
    {"type": "function_call_output", "call_id": "call_1", "output": "sum.py\ntest_sum.py"},
    {"type": "function_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "#1 is wrong"}]},
    {"type": "custom_tool_call", "call_id": "call_3", "name": "apply_patch", "input": "*** Begin Patch\n*** End Patch"},
    {"type": "custom_tool_call_output", "call_id": "call_3", "output": "Success."},
    {"type": "function_call", "call_id": "call_4", "name": "view_image", "arguments": '{"path":"a.png"}'},
    {"type": "function_call_output", "call_id": "call_4", "output": [{"type": "input_image", "image_url": PNG}]},
    said("developer", "The user has interrupted the turn."),
    said("user", "Go on."),
]  # fmt: skip
CLAUDE_MARK = {"cache_control": {"type": "ephemeral"}}
CLAUDE_TURNS: list[Any] = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "<system-reminder>Today is Monday.</system-reminder>"},
            {"type": "text", "text": "Fix the failing test.", **CLAUDE_MARK},
        ],
    },
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Look.", "signature": "sig"},
            {"type": "text", "text": "I will look around."},
            {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}},
            {"type": "tool_use", "id": "toolu_2", "name": "Read", "input": {"path": "sum.py"}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sum.py"},
            {
                "type": "tool_result",
                "tool_use_id": "toolu_2",
                "is_error": True,
                "content": [{"type": "text", "text": "No such file."}],
                **CLAUDE_MARK,
            },
            {"type": "text", "text": "<system-reminder>Mind the sandbox.</system-reminder>"},
        ],
    },
]


def _responses(**fields: Any) -> Callable[[openai.OpenAI], Any]:
    return lambda client: client.responses.create(model="model", **fields)


def _messages(**fields: Any) -> Callable[[anthropic.Anthropic], Any]:
    given: Json = {"model": "model", "max_tokens": 1024, **fields}
    return lambda client: client.messages.create(**given)


def _chat(**fields: Any) -> Callable[[openai.OpenAI], Any]:
    return lambda client: client.chat.completions.create(model="model", **fields)


CASES: dict[str, tuple[ClientDialect, Callable[[Any], Any]]] = {
    "responses-text": ("responses", _responses(input="Hi", instructions="Be kind.", max_output_tokens=100)),
    "responses-image": (
        "responses",
        _responses(
            input=[
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "What is it?"},
                        {"type": "input_image", "image_url": PNG, "detail": "high"},
                    ],
                }
            ]
        ),
    ),
    "responses-parsed": (
        "responses",
        lambda client: client.responses.parse(model="model", input="Weather?", text_format=Weather),
    ),
    "responses-assistant": (
        "responses",
        _responses(
            instructions=INSTRUCTIONS,
            input=ASSISTANT_TURNS,
            tools=ASSISTANT_TOOLS,
            tool_choice="auto",
            parallel_tool_calls=True,
            reasoning={"effort": "medium", "summary": "auto"},
            store=False,
            stream=True,
            include=["reasoning.encrypted_content"],
            prompt_cache_key="thread",
            text={"verbosity": "low"},
            extra_body={"client_metadata": {"installation": "x"}},
        ),
    ),
    "messages-text": ("messages", _messages(messages=[{"role": "user", "content": "Hi"}], system="Be kind.")),
    "messages-parsed": (
        "messages",
        lambda client: client.messages.parse(
            model="model", max_tokens=100, messages=[{"role": "user", "content": "Weather?"}], output_format=Weather
        ),
    ),
    "messages-assistant": (
        "messages",
        _messages(
            system=[{"type": "text", "text": INSTRUCTIONS, **CLAUDE_MARK}],
            messages=CLAUDE_TURNS,
            tools=[
                claude_tool("Bash", command="string"),
                claude_tool("Read", path="string"),
                *[claude_tool(f"mcp__a_rather_long_name__{'x' * n}_tool", value="string") for n in range(25, 40)],
                {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
            ],
            tool_choice={"type": "auto", "disable_parallel_tool_use": False},
            thinking={"type": "enabled", "budget_tokens": 512},
            metadata={"user_id": "user"},
            stream=True,
        ),
    ),
    "chat-tools": (
        "chat",
        _chat(
            messages=[
                {"role": "developer", "content": "Be kind."},
                {"role": "user", "content": "Weather in Rome and Oslo?"},
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": f"c{n}", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
                        for n in range(2)
                    ],
                },
                {"role": "tool", "tool_call_id": "c0", "content": "20"},
                {"role": "tool", "tool_call_id": "c1", "content": "5"},
                {"role": "system", "content": "Answer briefly."},
            ],
            tools=[nested("weather", city="string")],
            max_completion_tokens=100,
            stream=True,
            stream_options={"include_usage": True},
        ),
    ),
    "chat-parsed": (
        "chat",
        lambda client: client.chat.completions.parse(
            model="model", messages=[{"role": "user", "content": "Weather?"}], response_format=Weather
        ),
    ),
}  # fmt: skip


def caught(name: str) -> Json:
    """The request of a case, as the installed client sends it."""
    dialect, ask = CASES[name]
    with catching() as (url, bodies):
        client: Any
        if dialect == "messages":
            client = anthropic.Anthropic(base_url=url, api_key="key", max_retries=0)
        else:
            client = openai.OpenAI(base_url=f"{url}/v1", api_key="key", max_retries=0)
        with client:
            try:
                ask(client)
            except (openai.BadRequestError, anthropic.BadRequestError):
                return bodies[-1]
    raise AssertionError("the client took a refusal for an answer")


def conversions(name: str, request: Json) -> Json:
    """Returns the request on each other wire, with the tools that were left out."""
    dialect, _ = CASES[name]
    made: Json = {}
    for wire in WIRES[dialect]:
        converter = RequestConverter(dialect, wire)
        made[wire] = {"request": converter.convert_request(request), "dropped": list(converter.dropped_tools)}
    return made


def main() -> None:
    for name in CASES:
        request = caught(name)
        golden = {"request": request, "converted": conversions(name, request)}
        path = GOLDEN / f"{name}.json"
        path.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
