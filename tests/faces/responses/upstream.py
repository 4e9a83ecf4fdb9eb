"""A provider that speaks chat completions and nothing else, and insists on the order of its messages.

Started by `python -m tests.faces.responses.upstream`, like `tests.faces.inference.upstream`. The scenario `coder` works
on a task with the tools of the request: it reads and looks around in parallel, edits, runs the tests and reports.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from tests.agents import upstream
from tests.agents.upstream import Body, Chunk, Send, call, error, text
from tests.faces.inference.upstream import app as relayed_app
from tests.faces.inference.upstream import replay_body, whole_body

PATCH = "*** Begin Patch\n*** Update File: sum.py\n-return a - b\n+return a + b\n*** End Patch"


def coder(body: Body, rest: str) -> Iterator[Chunk]:
    """Yields the next step of the task, after the results so far."""
    tools = {tool["function"]["name"]: tool["function"] for tool in body["tools"]}
    read, shell, edit = (_find_tool(tools, word) for word in ("read", "shell", "patch"))
    done = [message["content"] for message in body["messages"] if message["role"] == "tool"]
    if not done:
        yield {"reasoning_content": "I should look first."}
        yield from text("Looking ", "around.")
        yield from call(0, read, json.dumps({"path": "sum.py"}), "call_0")
        yield from call(1, shell, json.dumps({"command": "ls"}), "call_1")
    elif len(done) == 2:
        yield from call(0, edit, json.dumps({"input": PATCH}), "call_0")
    elif len(done) == 3:
        yield from call(0, shell, json.dumps({"command": "pytest"}), "call_0")
    else:
        yield from text("Fixed: ", str(done[-1]))


def _find_tool(tools: dict[str, Any], word: str) -> str:
    return next(name for name in tools if word in name.lower())


LOOK = "cat sum.py"
MEND = "sed -i 's/a - b/a + b/' sum.py && cat sum.py"
WHOLE_PATCH = "\n".join(
    [
        "*** Begin Patch",
        "*** Update File: sum.py",
        "@@",
        " def add(a, b):",
        "-    return a - b",
        "+    return a + b",
        "*** End Patch",
    ]
)


def assistant(body: Body, rest: str) -> Iterator[Chunk]:
    """Works on the task of `coder` with the tools of installed assistants: some shell, perhaps a patch tool,
    perhaps code that calls the others. Requests beside the task (for a title) get text without a call."""
    tools = {tool["function"]["name"]: tool["function"] for tool in body.get("tools") or ()}
    done = [message["content"] for message in body["messages"] if message["role"] == "tool"]
    if not any(map(is_shell, tools)) or len(done) > 1:
        yield from text("Fixed ", "the sum.")
    elif not done:
        yield {"reasoning_content": "I should look first."}
        yield from text("Looking.")
        yield from call(0, *shell_call(tools, LOOK), "call_0")
    elif "apply_patch" in tools:
        yield from call(0, "apply_patch", json.dumps({"input": WHOLE_PATCH}), "call_0")
    else:
        yield from call(0, *shell_call(tools, MEND), "call_0")


def is_shell(name: str) -> bool:
    return name.lower() in ("bash", "exec_command", "functions__exec", "run_shell_command", "shell")


def shell_call(tools: dict[str, Any], command: str) -> tuple[str, str]:
    """Returns the call that runs `command` with the shell among `tools`."""
    name = next(filter(is_shell, tools))
    if name == "functions__exec":
        code = f"text(await tools.exec_command({{cmd: {json.dumps(command)}}}))"
        return name, json.dumps({"input": code})
    parameters = tools[name]["parameters"]["properties"]
    values = {"cmd": command, "command": command, "description": "Works on the sum", "is_background": False}
    return name, json.dumps({key: value for key, value in values.items() if key in parameters})


def city(body: Body, rest: str) -> Iterator[Chunk]:
    """Yields JSON of the requested schema, if there is one."""
    asked = body.get("response_format", {}).get("json_schema", {}).get("schema")
    yield from text('{"name"', ': "Rome"}' if asked else ': "nobody asked"}')


def cut_short(body: Body, rest: str) -> Iterator[Chunk]:
    """Yields a refusal."""
    yield {"refusal": "I will "}
    yield {"refusal": "not."}


def hosted(body: Body, rest: str) -> Iterator[Chunk]:
    """Calls the first tool whose name ends in `echo` once, and says what it brought."""
    name = next(tool["function"]["name"] for tool in body["tools"] if tool["function"]["name"].endswith("echo"))
    results = [message["content"] for message in body["messages"] if message["role"] == "tool"]
    yield from text("Tools said: ", *results) if results else call(0, name, json.dumps({"x": 0}), "call_0")


upstream.SCENARIOS |= {"hosted": hosted, "assistant": assistant, "coder": coder, "city": city, "declining": cut_short}


def order_check(messages: list[Body]) -> None:
    """Raises an error unless every call has its result directly behind it, as real providers require."""
    awaited: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            if message["tool_call_id"] not in awaited:
                raise error(400, "invalid_request_error", "An answer without its call.")
            awaited.discard(message["tool_call_id"])
        elif awaited:
            raise error(400, "invalid_request_error", "A call without its answer.")
        awaited |= {called["id"] for called in message.get("tool_calls") or ()}


async def app(scope: dict[str, Any], receive: Any, send: Send) -> None:
    """The ASGI application; accepts chat completions only."""
    if scope["type"] != "http" or scope["method"] != "POST":
        await relayed_app(scope, receive, send)
        return
    if not scope["path"].endswith("/chat/completions"):
        await upstream.answer(send, 404, {"error": {"message": "no such path", "type": "not_found", "code": None}})
        return
    raw = await whole_body(receive)
    try:
        order_check(json.loads(raw)["messages"])
    except upstream.Respond as refusal:
        await upstream.answer(send, refusal.status, refusal.body)
        return
    await relayed_app(scope, replay_body(raw, receive), send)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    listener = socket.create_server(("127.0.0.1", parser.parse_args().port))
    print(listener.getsockname()[1], flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off"))
    asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    main()
