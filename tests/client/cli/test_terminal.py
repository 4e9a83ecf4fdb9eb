"""`chat`, `task` and `setup` at a real terminal, with keys and Ctrl-C."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import AsyncIterator

import pytest

from gateway_client import AsyncGateway
from tests.client.cli.conftest import Home
from tests.client.cli.terminal import Terminal, terminal
from tests.stack.conftest import Start
from tests.stack.deployment import KEY

CTRL_C, CTRL_D = "\x03", "\x04"


@contextlib.asynccontextmanager
async def at_terminal(home: Home, *words: str) -> AsyncIterator[Terminal]:
    with terminal(words, home.environment(), home.path) as opened:
        yield opened


async def test_a_conversation_with_an_approval_and_a_question(served_home: Home) -> None:
    async with at_terminal(served_home, "chat", "--model", "demo:tour", "think, approve") as screen:
        await screen.see("✻ Thought for")
        await screen.see("Approval: demo_approval")
        await screen.see("leave open")
        screen.press("y")
        await screen.see("approved by")
        await screen.see("demo_approval answered")
        await screen.see("tokens")
        await screen.see("› ")
        screen.press("ask me\r")
        await screen.see("[2] No")
        await screen.see("leave open")
        screen.press("2")
        await screen.see("ask_user answered: No")
        await screen.see("› ")
        screen.press("/quit\r")
        await screen.see("chat --session ses_")
        assert await screen.end() == 0


async def test_a_rejection_tells_the_model_the_reason(served_home: Home) -> None:
    async with at_terminal(served_home, "chat", "-m", "demo:tour", "approve") as screen:
        await screen.see("leave open")
        screen.press("r")
        await screen.see("Reason: ")
        screen.press("not today\r")
        await screen.see("rejected this call: not today")
        await screen.see("› ")
        screen.press(CTRL_D)
        assert await screen.end() == 0


async def test_control_c_aborts_the_run_and_a_second_one_leaves(served_home: Home, gateway: AsyncGateway) -> None:
    async with at_terminal(served_home, "chat", "-m", "demo:tour", "ask") as screen:
        session_id = (await screen.see(", demo:tour")).split()[1].rstrip(",")
        await screen.see("leave open")
        screen.press(CTRL_C)
        await screen.see("Ended: aborted")
        await screen.see("› ")
        screen.press(CTRL_C)
        await screen.see("chat --session")
        assert await screen.end() == 130
    session = await gateway.sessions.get(session_id)
    assert [run.end_reason async for run in session.runs()] == ["aborted"]


async def test_a_decision_of_somebody_else_ends_the_question(served_home: Home, gateway: AsyncGateway) -> None:
    session = await gateway.sessions.create("demo:tour")
    async with at_terminal(served_home, "chat", "--session", session.id, "approve") as screen:
        await screen.see("leave open")
        (pending,) = (await session.status()).pending_approvals
        await session.reject(pending.approval_id, reason="decided elsewhere")
        await screen.see("decided elsewhere")
        await screen.see("› ")
        screen.press(CTRL_D)
        assert await screen.end() == 0


async def test_a_chat_goes_on_after_a_kill_of_its_server(process: Start, home: Home) -> None:
    server = process()
    await server.start()
    person = Home(home.path, {"AGENT_GATEWAY_URL": server.url, "AGENT_GATEWAY_API_KEY": KEY})
    async with at_terminal(person, "chat", "-m", "demo:tour", "approve") as screen:
        await screen.see("leave open")
        await server.kill()
        await server.start()
        screen.press("y")
        await screen.see("Approved and done")
        await screen.see("› ")
        screen.press(CTRL_D)
        assert await screen.end() == 0


HOSTILE = "\x1b]0;title\x07\x1b[31mred \x9b31m \u202etxet &#27;[2J `\x1b[H` [x](http://a\x1b]8;;b)"


async def test_nothing_that_a_model_writes_reaches_the_terminal_as_a_command(
    served_home: Home, gateway: AsyncGateway
) -> None:
    session = await gateway.sessions.create("demo:echo")
    receipt = await session.send(HOSTILE)
    await session.resume(receipt.request_id).result()
    async with at_terminal(served_home, "watch", session.id, "--all") as screen:
        await screen.see("tokens")
        for forbidden in ("\x1b]0", "\x1b[31mred", "\x9b", "\u202e", "\x1b[2J", "\x1b[H", "\x1b]8"):
            assert forbidden not in screen.raw
        assert "␛[31mred" in screen.text
    async with at_terminal(served_home, "chat", "--session", session.id, HOSTILE.replace("\x1b", "\\")) as screen:
        await screen.see("tokens")
        assert "\x1b[2J" not in screen.raw


async def test_a_task_shows_its_progress_and_asks_for_approvals(served_home: Home) -> None:
    async with at_terminal(served_home, "to", "demo", "approve") as screen:
        await screen.see("Task task_")
        await screen.see("leave open")
        screen.press("y")
        await screen.see("Approved and done")
        assert await screen.end() == 0


async def test_control_c_cancels_a_task(served_home: Home) -> None:
    async with at_terminal(served_home, "to", "demo", "ask") as screen:
        await screen.see("leave open")
        screen.press(CTRL_C)
        await screen.see("CANCELLED")
        assert await screen.end() == 1


async def test_setup_asks_for_keys_without_showing_them(home: Home) -> None:
    (home.path / ".env").write_text("# mine\nFOO=1\n", encoding="utf-8")
    async with at_terminal(home, "setup", "--directory", str(home.path)) as screen:
        await screen.see("empty ends): ")
        screen.press("deepseek\r")
        await screen.see("nothing is shown): ")
        screen.press("sk-secret\r")
        await screen.see("Restart the gateway")
        assert await screen.end() == 0
        assert "sk-secret" not in screen.raw
    assert (home.path / ".env").read_text(encoding="utf-8") == "# mine\nFOO=1\nDEEPSEEK_API_KEY=sk-secret\n"
    assert stat.S_IMODE((home.path / ".env").stat().st_mode) == 0o600


@pytest.mark.parametrize(("keys", "is_there"), [("y", True), ("n", False)])
async def test_connect_asks_before_each(home: Home, keys: str, is_there: bool) -> None:
    (home.path / ".claude").mkdir()
    async with at_terminal(home, "connect", "claude-code", "--model", "m", "--interactive") as screen:
        assert "a-key-of" not in await screen.see("[n] no")
        screen.press(keys)
        assert await screen.end() == 0
    assert (home.path / ".claude/settings.json").exists() is is_there
