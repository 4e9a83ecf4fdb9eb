"""A backup that is taken while legs stream and a run waits, restored elsewhere: every session goes on there."""

from __future__ import annotations

import asyncio
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.settings import DEPLOYMENT
from tests.stack import laws
from tests.stack.client import Client, until
from tests.stack.deployment import Deployment, database_of_its_own
from tests.stack.process import ROOT, GatewayProcess, free_port

STREAMING = [f"streams-{number}" for number in range(4)]
WORDS = 80
PROGRAMS = ("pg_dump", "pg_restore")

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def restore_copy(deployment: Deployment, stack: ExitStack) -> Deployment:
    """A second deployment on a copy that was made as the documents say."""
    directory = deployment.directory.parent / "restored"
    if DEPLOYMENT == "embedded":
        command(deployment, sys.executable, "manage.py", "backup", str(directory))
        return Deployment(directory, settings=deployment.settings)
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        pytest.skip(f"{missing[0]} is not installed here, so PostgreSQL is not backed up.")
    directory.mkdir()
    dump = str(deployment.directory.parent / "gateway.dump")
    command(deployment, "pg_dump", "--format=custom", f"--file={dump}", deployment.database_url)
    url = stack.enter_context(database_of_its_own(deployment.database_url))
    command(deployment, "pg_restore", "--no-owner", f"--dbname={url}", dump)
    return Deployment(directory, url, deployment.redis_url, deployment.settings)


def command(deployment: Deployment, *words: str) -> str:
    """Runs it with the deployment's settings; what it said."""
    environment = deployment.environment(free_port())
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def streams(client: Client, session_id: str) -> bool:
    return sum(event.type == "message_delta" for event in await client.log(session_id)) > 5


async def is_in(client: Client, session_id: str, state: str) -> bool:
    return bool((await client.get(f"/v1/sessions/{session_id}"))["state"] == state)


async def test_every_session_goes_on_in_the_restored_copy(
    deployment: Deployment, process: Callable[..., GatewayProcess], http: aiohttp.ClientSession, stack: ExitStack
) -> None:
    first = process("first")
    await first.start()
    client = Client(http, first.url)
    accepted: dict[str, set[str]] = {}
    for session_id in [*STREAMING, "waits"]:
        await client.create(session_id, providerOpts={"delayMs": 40})
        text = "approve and say long 5" if session_id == "waits" else f"long {WORDS}"
        accepted[session_id] = {await client.prompt(session_id, text)}
    await client.create("rests", model="demo:echo")
    answered = await client.post("/v1/sessions/rests/prompt?wait=60", {"text": "before"}, expect=200)
    accepted["rests"] = {answered["requestId"]}
    await until(lambda: is_in(client, "waits", "waiting_approval"), 30, "a run waits")
    for session_id in STREAMING:
        await until(lambda s=session_id: streams(client, s), 30, f"{session_id} streams")  # type: ignore[misc]

    copy = await asyncio.to_thread(restore_copy, deployment, stack)
    of_copy = copy.rows("SELECT COUNT(*) FROM sessions_app_run WHERE state = 'running'")
    assert of_copy == [(len(STREAMING),)], "the copy was made after the runs: it shows nothing"
    assert (await client.get("/v1/sessions/rests"))["state"] == "idle"
    await first.kill()

    second = process("second", copy)
    await second.start()
    client = Client(http, second.url)
    approval = (await client.get("/v1/sessions/waits/status"))["pendingApprovals"][0]
    await client.post("/v1/sessions/waits/approve", {"approvalId": approval["approvalId"]}, expect=200)
    accepted["rests"].add(await client.prompt("rests", "after"))
    for session_id, runs in accepted.items():
        await until(lambda s=session_id: is_in(client, s, "idle"), 60, f"{session_id} has ended")  # type: ignore[misc]
        events = await client.log(session_id)
        laws.offsets_have_no_gap(events)
        laws.every_run_ends_once(events, runs)
        laws.texts_are_whole(events)
        assert events[-1].type == "agent_end"
        assert any(event.type == "run_retried" for event in events) == (session_id in STREAMING)
    laws.usage_is_counted_once(copy)


@pytest.mark.skipif(DEPLOYMENT != "embedded", reason="PostgreSQL has pg_dump instead of this command.")
async def test_a_copy_is_its_owners_and_has_the_key_that_seals(
    deployment: Deployment, process: Callable[..., GatewayProcess]
) -> None:
    own_key = Deployment(deployment.directory, settings={**deployment.settings, "SECRET_KEY": ""})
    server = process("sealed", own_key)
    await server.start()
    target = deployment.directory.parent / "copy"
    await asyncio.to_thread(command, own_key, sys.executable, "manage.py", "backup", str(target))
    assert sorted(file.name for file in target.iterdir()) == ["gateway.sqlite3", "secret_key"]
    for file in target.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (target / "secret_key").read_bytes() == (deployment.directory / "secret_key").read_bytes()


@pytest.mark.skipif(DEPLOYMENT != "embedded", reason="PostgreSQL has pg_dump instead of this command.")
def test_a_backup_never_writes_over_something(deployment: Deployment, tmp_path: Path) -> None:
    command(deployment, sys.executable, "manage.py", "prepare")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "note").write_text("mine", encoding="utf-8")
    words = (sys.executable, "manage.py", "backup", str(tmp_path / "kept"))
    environment = deployment.environment(free_port())
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "is not empty" in done.stderr
    assert [file.name for file in (tmp_path / "kept").iterdir()] == ["note"]
