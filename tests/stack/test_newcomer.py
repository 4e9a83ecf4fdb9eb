"""The newcomer: a copy of the checkout, the README's lines as they are printed in both languages, and a first answer.

A scripted provider answers in place of DeepSeek and Qwen, at addresses that the copy's configuration file names; the
packages are those of this environment, so that `make run` has nothing to install.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from tests.settings import DEPLOYMENT
from tests.stack.checkout import checkout_prepare, group_lives
from tests.stack.client import until
from tests.stack.process import free_port
from tests.stack.tree import ROOT

SECONDS = 120
ANSWER = "Hello from the scripted provider."
KEY = "my-key-of-20-characters"

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(DEPLOYMENT != "embedded", reason="README's gateway is the embedded one."),
    pytest.mark.skipif(not shutil.which("make") or not shutil.which("curl"), reason="README uses make and curl."),
]


def blocks(name: str, heading: str) -> list[str]:
    """Returns the shell blocks of a section of the README."""
    text = (ROOT / name).read_text(encoding="utf-8")
    section = re.split(r"^## ", text.partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]
    found: list[str] = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    assert found, heading
    return found


class Vendor:
    """A provider that answers every chat request with ANSWER, whole or streamed."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        """The key and the model of each request."""

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append((request.headers["Authorization"], body["model"]))
        usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
        head = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
        if not body.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
            return web.json_response({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        deltas = [{"role": "assistant", "content": ANSWER}, {}]
        for number, delta in enumerate(deltas):
            choice = {"index": 0, "delta": delta, "finish_reason": "stop" if number else None}
            chunk = {**head, "object": "chat.completion.chunk", "choices": [choice], "usage": usage if number else None}
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response


@pytest_asyncio.fixture
async def vendor() -> AsyncIterator[tuple[Vendor, str]]:
    """The provider and its address."""
    one = Vendor()
    application = web.Application()
    application.router.add_post("/v1/chat/completions", one.chat)
    runner = web.AppRunner(application)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield one, f"http://127.0.0.1:{port}/v1"
    await runner.cleanup()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the checkout with an environment that has everything."""
    return checkout_prepare(tmp_path / "agent-gateway")


class Newcomer:
    """A person with two terminals in the checkout."""

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout
        self.port = free_port()
        self.variables = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}

    def point_providers_at(self, address: str) -> None:
        """Names the scripted provider's address, as `config/gateway.yaml` may for any provider."""
        names = ("deepseek", "qwen")
        entries = ", ".join(f'{name}: {{base_url: "{address}"}}' for name in names)
        (self.checkout / "config" / "gateway.yaml").write_text(f"models: {{providers: {{{entries}}}}}\n")

    async def type(self, block: str) -> str:
        """Runs a block of the README but for `make run`; returns what it printed."""
        script = block.replace("make run\n", "").replace("127.0.0.1:4000", f"127.0.0.1:{self.port}")
        shell = await asyncio.create_subprocess_exec(
            "bash", "-e", "-c", f"export KEY={KEY}; {script}",
            cwd=self.checkout, env=self.variables, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await asyncio.wait_for(shell.communicate(), SECONDS)
        assert shell.returncode == 0, output
        return output.decode()

    @asynccontextmanager
    async def make_run(self) -> AsyncIterator[None]:
        """Runs `make run` in the first terminal, until it answers, and ends it with Ctrl-C afterwards."""
        with (self.checkout / "output").open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                # The packages are those of this environment: their stamp is taken as it is.
                *("make", "-o", ".venv/runtime.stamp", "run"),
                cwd=self.checkout, env=self.variables | {"GATEWAY_PORT": str(self.port)},
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

        async def group_ended() -> bool:
            return not group_lives(process.pid)

        try:
            async with asyncio.timeout(SECONDS), aiohttp.ClientSession() as session:
                while not await self._answers(session):
                    assert process.returncode is None, self.screen()
                    await asyncio.sleep(0.05)
            yield
            os.killpg(process.pid, signal.SIGINT)
            # make itself ends at once; the gateway drains first.
            await asyncio.wait_for(process.wait(), SECONDS)
            await until(group_ended, SECONDS, "the gateway has ended")
        finally:
            if group_lives(process.pid):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def _answers(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"http://127.0.0.1:{self.port}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    def screen(self) -> str:
        return (self.checkout / "output").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "heading"), [("README.md", "A real model"), ("README.zh-CN.md", "接入真实模型")], ids=["en", "zh"]
)
async def test_a_key_in_env_and_the_readmes_lines_lead_to_a_first_answer(
    name: str, heading: str, checkout: Path, vendor: tuple[Vendor, str]
) -> None:
    provider, address = vendor
    newcomer = Newcomer(checkout)
    newcomer.point_providers_at(address)
    setting_up, asking, *others = blocks(name, heading)
    await newcomer.type(setting_up)
    async with newcomer.make_run():
        said = await newcomer.type(asking)
        assert said.count(ANSWER) == 2, said
        assert '"object":"chat.completion"' in said.replace(" ", "")
        assert '"sessionId":"real"' in said
    assert [model for _, model in provider.asked] == ["deepseek-chat", "deepseek-chat"]
    assert {key for key, _ in provider.asked} == {"Bearer sk-..."}
    screen = newcomer.screen()
    assert "admin user     admin" in screen
    assert "Traceback" not in screen
    assert f"http://127.0.0.1:{newcomer.port}/admin/" in screen
    # In the Chinese one: a second provider, after another start.
    for more, question in zip(others[::2], others[1::2], strict=True):
        await newcomer.type(more)
        async with newcomer.make_run():
            assert ANSWER in await newcomer.type(question)
        assert provider.asked[-1] == ("Bearer sk-...", "qwen-plus")
    assert "admin user" not in newcomer.screen().removeprefix(screen)


async def test_without_any_key_the_demo_answers_as_the_screen_says(checkout: Path) -> None:
    newcomer = Newcomer(checkout)
    async with newcomer.make_run():
        screen = newcomer.screen()
        printed = screen.partition("Try it:\n")[2].partition("A real model")[0]
        said = await newcomer.type(printed)
        assert "event: agent_end" in said
        assert "This is the demo of the gateway" in said.replace('"}\n', "")
    assert "These are shown once" in screen
