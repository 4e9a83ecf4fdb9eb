"""The examples of docs/protocol-codelab.md, run as printed against a real gateway and a real agent runtime."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from tests.stack.agent_runtime import runtime_process
from tests.stack.deployment import KEY, Deployment
from tests.stack.process import GatewayProcess, free_port

pytestmark = pytest.mark.timeout(300)

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ["protocol-codelab.md", "protocol-codelab.ru.md"]
SERVICE_KEY = "stack-service-key"
SECONDS = 60


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return found


async def run(*command: str) -> str:
    """Runs a command to its end; returns what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, output.decode()
    return output.decode()


def test_both_pages_have_the_same_examples_and_tables() -> None:
    english, russian = ((DOCS / page).read_text(encoding="utf-8") for page in PAGES)
    for language in ("sh", "python"):
        assert blocks(PAGES[0], language) == blocks(PAGES[1], language)
    assert len(blocks(PAGES[0], "sh")) == 2
    rows = [[line.split("|")[1] for line in text.splitlines() if line.startswith("| `")] for text in (english, russian)]
    assert rows[0] == rows[1]
    assert english.count("\n## ") == russian.count("\n## ")


async def test_the_examples_work_as_printed(
    deployment: Deployment, process: Callable[..., GatewayProcess], http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    gateway, port = process(), free_port()
    deployment.settings.update(
        {"_INTERNAL_API_KEY": SERVICE_KEY, "_AGENT_URL": f"http://127.0.0.1:{port}", "_RECONNECT_GRACE": "60"}
    )
    execute, read = blocks(PAGES[0], "sh")
    (client,) = blocks(PAGES[0], "python")
    script = tmp_path / "client.py"
    script.write_text(client, encoding="utf-8")
    await gateway.start()
    made = {"sessionId": "my-session", "agent": "remote"}
    async with http.post(f"{gateway.url}/v1/sessions", json=made, headers={"X-API-Key": KEY}) as response:
        assert response.status == 201
    prelude = f"export API_KEY={KEY} SERVICE_KEY={SERVICE_KEY}\n"

    async def shell(commands: str) -> str:
        return await run("bash", "-e", "-c", prelude + commands.replace(":4000", f":{gateway.port}"))

    address = f"ws://127.0.0.1:{gateway.port}/ws/my-session"
    async with runtime_process(gateway.url, SERVICE_KEY, port):
        shown = await run(sys.executable, str(script), address, KEY, "tools 2")
        assert shown == "0 [200 {'echo': {'number': 0}}] 1 [200 {'echo': {'number': 1}}] "
        waiting = asyncio.create_task(run(sys.executable, str(script), address, KEY, "hang"))
        answer = json.loads(await shell(execute))
        assert answer == {"status": "ok", "result": {"echo": {"path": "a.txt"}}}
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
    documents = [json.loads(line) for line in (await shell(read.replace("\n", "; echo\n"))).split("\n") if line]
    assert [next(iter(document)) for document in documents] == [
        "agents",
        "session_id",
        "session_id",
        "session_id",
        "audit_log",
        "metrics",
    ]
    assert documents[2]["messages"][0]["content"] == "tools 2"
