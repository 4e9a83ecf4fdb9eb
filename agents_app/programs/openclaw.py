"""The `openclaw` engine: `openclaw agent --local --json`, with the prompt in a file of the session's directory.

OpenClaw reads no prompt from standard input, and a command line is shown to everybody on the machine, so it gets a file
(`--message-file`), which is gone when it ends. It keeps the conversation under an id that the gateway makes from the
session's. It answers with one JSON document, so nothing is streamed; tokens are what it reports.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from agents_app.agent_http import agent_error
from agents_app.engine import Leg, LegOutcome, Usage
from agents_app.exchange import Answer, Ask, Exchange, Message, Output, joined_text
from agents_app.programs.directories import directory_make
from agents_app.programs.program import program_fields, run_program
from core_app import jsontext
from core_app.errors import BadRequest
from core_app.ids import new_id

MAX_STARTS = 20
"""Lines of the output that are tried as the first of the answer."""


class OpenClawEngine:
    """Runs legs on OpenClaw."""

    name = "openclaw"
    builtin_tools: tuple[str, ...] = ()

    async def run_leg(self, leg: Leg) -> LegOutcome:
        """Executes one leg to its end."""
        return await Exchange(leg, self.name, _ask(leg)).run()


def _ask(leg: Leg) -> Ask:
    async def ask(messages: tuple[Message, ...], state: Mapping[str, Any], output: Output) -> Answer:
        fields = await program_fields(leg)
        # An operator who names the subcommand also says how it is to run: its agent, its gateway.
        run = fields.args if "agent" in fields.args else (*fields.args, "agent", "--local")
        async with _message_file(leg, joined_text(messages)) as name:
            argv = (fields.command or "openclaw", *run, "--session-id", _session(leg), "--message-file", name)
            argv += ("--model", fields.model) if fields.model else ()
            async with run_program(leg, fields, (*argv, "--json"), "") as lines:
                written = b"".join([line async for line in lines])
        return await _read(leg, written, output)

    return ask


@contextlib.asynccontextmanager
async def _message_file(leg: Leg, text: str) -> AsyncIterator[str]:
    """Writes the message into the session's directory for the block; yields its name there."""
    directory = await asyncio.to_thread(directory_make, leg.session.tenant_id, leg.session.session_id)
    path = directory / f".{new_id('message')}.md"
    await asyncio.to_thread(_write, path, text)
    try:
        yield path.name
    finally:
        path.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(text.encode())


def _session(leg: Leg) -> str:
    """Returns OpenClaw's id of the conversation, in which nothing is a client's."""
    key = f"{leg.session.tenant_id}/{leg.session.session_id}".encode()
    return f"gateway-{hashlib.sha256(key).hexdigest()[:32]}"


async def _read(leg: Leg, written: bytes, output: Output) -> Answer:
    document = _document(leg, written)
    # Through its own gateway the result is one level deeper.
    result = document.get("result") if isinstance(document.get("result"), dict) else document
    assert isinstance(result, dict)
    texts = list(_texts(result.get("payloads")))
    if not texts:
        raise agent_error(leg, "answered without a text.", logged=repr(written[-200:]))
    for text in texts:
        await output.add_text(("\n\n" if output.text else "") + text)
    return Answer(usage=_usage(leg, result))


def _document(leg: Leg, written: bytes) -> dict[str, Any]:
    """Returns the JSON document of the output, which may stand below lines of a log."""
    start = 0
    for _ in range(MAX_STARTS):
        with contextlib.suppress(BadRequest):
            value = jsontext.decode_untrusted(written[start:])
            if isinstance(value, dict):
                return value
        if (start := written.find(b"\n{", start) + 1) == 0:
            break
    raise agent_error(leg, "answered with something that is no JSON object.", logged=repr(written[:200]))


def _texts(payloads: Any) -> Iterator[str]:
    for payload in payloads if isinstance(payloads, list) else ():
        if isinstance(payload, dict) and isinstance(text := payload.get("text"), str) and text:
            yield text


def _usage(leg: Leg, result: Mapping[str, Any]) -> Usage:
    about = _object(_object(result.get("meta")).get("agentMeta"))
    counts = _object(about.get("usage"))
    cached = _count(counts.get("cacheRead"))
    return Usage(
        leg.session.model,
        input_tokens=_count(counts.get("input")) + cached + _count(counts.get("cacheWrite")),
        output_tokens=_count(counts.get("output")),
        cached_tokens=cached,
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


ENGINE = OpenClawEngine()
