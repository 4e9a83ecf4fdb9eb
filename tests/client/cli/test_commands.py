"""Commands without a terminal: their output, their JSON, their exit codes, against a real gateway."""

from __future__ import annotations

import asyncio
import json
import stat
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway_client import AsyncGateway
from gateway_client.cli import doctor, local
from gateway_client.gateway_state import ModelInfo
from inference_app.catalogue.shipped import PROVIDERS
from tests.client.cli.conftest import Home
from tests.stack.process import GatewayProcess

LISTS = ("agents", "tasks", "sessions", "models", "usage")


@pytest.mark.parametrize("words", LISTS)
def test_a_list_is_a_table_or_an_array(served_home: Home, words: str) -> None:
    assert served_home.run("to", "demo", "hello", "there").code == 0
    shown = served_home.run(words)
    assert (shown.code, "\x1b" in shown.out) == (0, False)
    for order in ((words, "--json"), ("--json", words)):
        done = served_home.run(*order)
        assert (done.code, done.err) == (0, "")
        assert isinstance(done.document, list)


def test_the_state_of_the_gateway(served_home: Home) -> None:
    assert served_home.run("health").out.startswith("ok, version")
    assert served_home.run("health", "--json").document["status"] == "ok"
    assert "demo" in served_home.run("status").out
    assert set(served_home.run("status", "--json").document) == {"health", "agents", "under_way"}
    assert served_home.run("quota", "--json").document == {}
    assert served_home.run("models").code == 0


def test_a_task_prints_its_result_alone(served_home: Home) -> None:
    done = served_home.run("to", "demo", "hello", "there")
    assert done.code == 0
    first, hint = done.out.splitlines()
    assert first == "This is the demo of the gateway, no model was asked: you wrote “hello there”."
    assert hint.startswith("Try: ")
    assert "Task task_" in done.err
    failed = served_home.run("to", "demo", "fail")
    assert (failed.code, failed.out) == (1, "")
    assert "EXECUTION_ERROR" in failed.err


def test_a_task_as_json_is_its_events_and_then_itself(served_home: Home) -> None:
    done = served_home.run("to", "demo", "hello", "--json")
    *events, task = done.lines
    assert {"task.submitted", "task.progress", "task.completed"} <= {event["type"] for event in events}
    assert (task["status"], done.err) == ("completed", "")
    failed = served_home.run("--json", "to", "demo", "fail")
    assert (failed.code, failed.lines[-1]["error"]["code"]) == (1, "EXECUTION_ERROR")


def test_a_task_is_left_alone_shown_and_cancelled(served_home: Home) -> None:
    task_id = served_home.run("to", "demo", "ask", "--detach").out.strip()
    assert served_home.run("tasks", task_id, "--json").document["id"] == task_id
    assert served_home.run("tasks", task_id, "--cancel", "--json").document["status"] == "cancelled"
    assert "CANCELLED" in served_home.run("tasks", task_id).out
    again = served_home.run("tasks", task_id, "--cancel", "--json")
    assert (again.code, json.loads(again.err)["error"]["code"]) == (1, "CONFLICT")


def test_a_task_that_no_agent_is_for(served_home: Home) -> None:
    done = served_home.run("task", "hello")
    assert done.code == 1
    assert "agent-gateway to <agent>" in done.err
    assert "'agent-gateway agents' lists" in served_home.run("to", "nobody", "hello").err


def test_chat_without_a_terminal_is_one_prompt(served_home: Home) -> None:
    done = served_home.run("chat", "--model", "demo:echo", text="first line\nsecond line\n")
    assert (done.code, done.out) == (0, "first line\nsecond line\n")
    failed = served_home.run("chat", "-m", "demo:tour", "fail")
    assert failed.code == 1
    lines = served_home.run("chat", "-m", "demo:echo", "--json", "hello").lines
    assert [line["event"] for line in lines][-1] == "agent_end"
    assert served_home.run("chat").code == 2


@pytest_asyncio.fixture
async def waiting(gateway: AsyncGateway) -> AsyncIterator[str]:
    """A session that waits for an approval and a question."""
    session = await gateway.sessions.create("demo:tour")
    await session.send("ask and approve")
    async with asyncio.timeout(60):
        while True:
            status = await session.status()
            if status.pending_approvals and status.pending_questions:
                break
    yield session.id
    await session.delete()


async def test_approvals_and_questions_are_settled_from_elsewhere(served_home: Home, waiting: str) -> None:
    shown = served_home.run("pending", waiting)
    assert '"action": "demo"' in shown.out
    document = served_home.run("pending", waiting, "--json").document
    approval = document["approvals"][0]["approvalId"]
    assert served_home.run("approve", waiting, "apr_unknown").code == 1
    assert served_home.run("approve", waiting, approval, "--args", "[1]").code == 2
    done = served_home.run("reject", waiting, "--reason", "no", "--json")
    assert done.document == {"approvalId": approval, "toolName": "demo_approval", "status": "rejected"}
    assert served_home.run("respond", waiting, "Yes").code == 0
    for command in (("approve", waiting), ("reject", waiting), ("respond", waiting, "x")):
        again = served_home.run(*command)
        assert (again.code, "waits for no" in again.err or "has no question" in again.err) == (1, True)


async def test_a_run_is_listed_and_aborted(served_home: Home, waiting: str) -> None:
    assert served_home.run("runs", waiting, "--json").document[0]["status"] == "waiting"
    assert served_home.run("abort", waiting).code == 0
    assert "aborted" in served_home.run("runs", waiting).out
    assert served_home.run("abort", waiting).code == 1


async def test_a_session_is_watched_to_its_close(served_home: Home, gateway: AsyncGateway) -> None:
    session = await gateway.sessions.create("demo:tour")
    await session.prompt("use nothing", on_approval=lambda approval: True).result()
    await session.delete()
    done = await asyncio.to_thread(served_home.run, "watch", session.id, "--all")
    assert done.code == 0
    assert "you wrote “use nothing”" in done.out
    assert "The session is closed." in done.err
    lines = (await asyncio.to_thread(served_home.run, "watch", session.id, "--all", "--json")).lines
    assert lines[-1]["event"] == "session_closed"
    rest = (await asyncio.to_thread(served_home.run, "watch", session.id, "--since", lines[2]["id"], "--json")).lines
    assert rest == lines[3:]


def test_a_space_with_messages_and_files(served_home: Home, tmp_path: Path) -> None:
    space = served_home.run("create-space", "--metadata", "project=x").out.strip()
    assert served_home.run("space", "create-space", "--json").document["space_id"].startswith("space-")
    assert "project" in served_home.run("space", "show", space).out
    assert served_home.run("space", "say", space, "a", "whale").code == 0
    assert served_home.run("space", "messages", space).out == "a whale\n"
    (tmp_path / "in.bin").write_bytes(b"\x00\xff")
    assert served_home.run("space", "put", space, str(tmp_path / "in.bin"), "--name", "x.bin").code == 0
    assert "x.bin" in served_home.run("space", "files", space).out
    target = str(tmp_path / "out.bin")
    assert served_home.run("space", "get", space, "x.bin", "-o", target).code == 0
    assert (tmp_path / "out.bin").read_bytes() == b"\x00\xff"
    assert served_home.run("space", "get", space, "x.bin", "-o", target).code == 1
    assert served_home.run("space", "search", space, "whale", "--json").document[0]["excerpt"] == "a whale"
    assert served_home.run("create-space", "--metadata", "x").code == 2
    assert served_home.run("space", "show", "space-unknown").code == 1


def test_doctor_finds_nothing_wrong(served_home: Home) -> None:
    done = served_home.run("doctor", "--json")
    assert done.code == 0
    assert {check["name"]: check["status"] for check in done.document["checks"]} == dict.fromkeys(
        ("address", "clock", "key", "scopes", "stream"), "ok"
    )
    assert "✓ stream" in served_home.run("doctor").out


SENTENCES = [
    (("sessions",), {"AGENT_GATEWAY_URL": "http://127.0.0.1:9"}, "No gateway answers at http://127.0.0.1:9"),
    (("doctor",), {"AGENT_GATEWAY_URL": "http://127.0.0.1:9"}, "agent-gateway start"),
    (("sessions",), {"AGENT_GATEWAY_API_KEY": "wrong"}, "does not know this API key"),
    (("sessions",), {"AGENT_GATEWAY_API_KEY": ""}, "wants an API key: set AGENT_GATEWAY_API_KEY"),
    (("doctor",), {"AGENT_GATEWAY_API_KEY": "wrong"}, "does not know this API key"),
    (("watch", "unknown"), {}, "There is no session 'unknown': 'agent-gateway sessions' lists"),
    (("chat", "-s", "unknown", "hello"), {}, "There is no session 'unknown'"),
    (("chat", "-m", "nonsense", "hello"), {}, "nonsense"),
    (("tasks", "unknown"), {}, "agent-gateway tasks"),
    (("sessions",), {"AGENT_GATEWAY_URL": "ftp://x"}, "AGENT_GATEWAY_URL is not an address"),
    (("sessions", "--url", "nonsense"), {}, "--url is not an address"),
]


@pytest.mark.parametrize(("words", "variables", "sentence"), SENTENCES)
def test_a_failure_is_a_sentence_that_says_what_to_do(
    served_home: Home, words: tuple[str, ...], variables: dict[str, str], sentence: str
) -> None:
    done = served_home.run(*words, **variables)
    assert done.code == 1
    assert sentence in done.err + done.out
    assert "Traceback" not in done.err
    if words[0] != "doctor":
        assert done.out == ""
        failure = json.loads(served_home.run("--json", *words, **variables).err)
        assert sentence in failure["error"]["message"]


@pytest.mark.parametrize(
    "words", [(), ("nonsense",), ("task",), ("approve",), ("usage", "--by", "x"), ("tasks", "--cancel")]
)
def test_what_is_typed_wrong_is_exit_code_2(home: Home, words: tuple[str, ...]) -> None:
    done = home.run(*words)
    assert done.code == 2
    assert "Traceback" not in done.err


def test_the_persons_configuration(home: Home) -> None:
    path = home.run("config", "path").out.strip()
    assert path == str(home.path / ".config/agent-gateway/config.toml")
    edited = home.run("config", "edit", EDITOR="sed -i s/^#.url/url/", VISUAL="")
    assert edited.code == 0
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    shown = home.run(
        "config", "show", "--json", AGENT_GATEWAY_URL="", AGENT_GATEWAY_API_KEY="0123456789abcdef"
    ).document
    assert shown["url"] == {"value": "http://127.0.0.1:4000", "from": path}
    assert shown["api_key"]["value"] == "0123…ef"
    broken = home.run("config", "edit", EDITOR="sed -i s/url/uri/", VISUAL="")
    assert (broken.code, "'uri' is not a setting" in broken.err) == (1, True)
    assert "config edit" in home.run("sessions").err or "'uri'" in home.run("sessions").err
    assert home.run("config", "edit", EDITOR="/nonexistent", VISUAL="").code == 1


def test_setup_reads_lines_and_knows_the_gateways_providers(home: Home) -> None:
    done = home.run("setup", "--directory", str(home.path), "--json", text="OPENAI_API_KEY=sk-1\n")
    assert done.document == {"path": str(home.path / ".env"), "written": ["OPENAI_API_KEY"]}
    for wrong in ("PATH=/x\n", "OPENAI_API_KEY\n", "OPENAI_API_KEY=a\x1bb\n"):
        assert home.run("setup", "--directory", str(home.path), text=wrong).code == 1
    assert (home.path / ".env").read_text(encoding="utf-8") == "OPENAI_API_KEY=sk-1\n"
    theirs = {name: fields["api_key_env"] for name, fields in PROVIDERS.items() if "api_key_env" in fields}
    assert theirs == local.PROVIDERS


def test_connect_and_disconnect(home: Home) -> None:
    (home.path / ".codex").mkdir()
    (home.path / ".codex/config.toml").write_text("# mine\n", encoding="utf-8")
    states = {row["tool"]: row["state"] for row in home.run("connect", "list", "--json").document}
    assert (states["codex"], states["gemini"], states["cursor"]) == ("", "impossible", "by hand")
    planned = home.run("connect", "codex", "--dry-run", "--model", "m")
    assert (planned.code, "a-key-of-20-characters" in planned.out + planned.err) == (0, False)
    assert (home.path / ".codex/config.toml").read_text(encoding="utf-8") == "# mine\n"
    done = home.run("connect", "codex", "gemini", "cursor", "--json", "--model", "m")
    assert done.code == 1
    assert [tool["status"] for tool in done.document["tools"]] == ["connected", "impossible", "by_hand"]
    assert home.run("connect", "codex", "--json", "--model", "m").document["tools"][0]["status"] == "unchanged"
    assert "connected" in home.run("connect", "list").out
    assert home.run("disconnect", "--json").document["tools"][0]["status"] == "disconnected"
    assert (home.path / ".codex/config.toml").read_text(encoding="utf-8") == "# mine\n"
    assert home.run("disconnect").code == 0
    assert home.run("connect", "nonsense").code == 2
    assert home.run("connect", "codex", AGENT_GATEWAY_API_KEY="").code == 1


@pytest.mark.parametrize(("offered", "written"), [(["gpt-6", "qwen3"], None), (["qwen3", "x"], "qwen3")])
def test_codex_keeps_its_own_model_where_the_gateway_has_it(
    home: Home, monkeypatch: pytest.MonkeyPatch, offered: list[str], written: str | None
) -> None:
    models = [ModelInfo(id=name, owned_by="x") for name in offered]
    monkeypatch.setattr("gateway_client.sync.Gateway.models", lambda gateway: models)
    assert home.run("connect", "codex").code == 0
    text = (home.path / ".codex/config.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text).get("model") == written


def test_a_tool_that_needs_a_model_gets_one(served_home: Home) -> None:
    """The first that is offered: the demo's, where there is no provider."""
    done = served_home.run("connect", "aider", "--json")
    assert (done.code, done.document["tools"][0]["status"]) == (0, "connected")


def test_a_tool_that_needs_a_model_where_none_is_offered_says_so(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway_client.sync.Gateway.models", lambda gateway: [])
    failed = home.run("connect", "aider", "--json")
    assert (failed.code, failed.document["tools"][0]["status"]) == (1, "failed")
    assert "--model" in failed.document["tools"][0]["detail"]
    assert home.run("connect", "aider", "--model", "demo:tour").code == 0


def test_the_program_itself_is_run(served_home: Home) -> None:
    done = served_home.start("to", "demo", "hello")
    assert (done.code, done.out.count("hello")) == (0, 1)
    failed = served_home.start("sessions", "--json", AGENT_GATEWAY_API_KEY="wrong")
    assert (failed.code, json.loads(failed.err)["error"]["code"]) == (1, "unauthorized")


def test_the_output_may_be_cut_off(served_home: Home) -> None:
    command = f'"{sys.executable}" -m gateway_client chat -m demo:tour long 20000 | head -c 20'
    environment = served_home.environment()
    done = subprocess.run(
        ["/bin/sh", "-c", command], env=environment, cwd=served_home.path, capture_output=True, timeout=120
    )
    assert done.stdout.startswith(b"This is the demo")
    assert b"Traceback" not in done.stderr


async def test_doctor_notices_a_proxy_that_holds_streams_back(
    served_home: Home, served: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", served.port)
        holds_back = asyncio.Event()

        async def forward() -> None:
            while piece := await reader.read(65536):
                if b"GET /v1/events" in piece:
                    holds_back.set()
                back.write(piece)
            back.close()

        async def answer() -> None:
            while piece := await there.read(65536):
                if not holds_back.is_set():
                    writer.write(piece)
            writer.close()

        await asyncio.gather(forward(), answer(), return_exceptions=True)

    monkeypatch.setattr(doctor, "STREAM_SECONDS", 0.5)
    proxy = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with proxy:
        address = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        done = await asyncio.to_thread(served_home.run, "doctor", AGENT_GATEWAY_URL=address)
    assert done.code == 1
    assert "✓ scopes" in done.out
    assert "proxy_buffering off" in done.out


def test_doctor_notices_clocks_that_differ() -> None:
    assert doctor.clock_check(3).status == "ok"
    assert "61 s behind" in doctor.clock_check(-61).detail
    assert doctor.clock_check(3600).status == "warning"
