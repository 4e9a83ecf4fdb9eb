"""Tasks whose agent is a program, through the deaths of the processes that serve and execute them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.settings import DEPLOYMENT
from tests.stack.client import Client, until
from tests.stack.conftest import deployment_of
from tests.stack.deployment import KEY, Deployment
from tests.stack.fleet import SETTINGS, WorkerProcess
from tests.stack.process import GatewayProcess

pytestmark = pytest.mark.timeout(600)

SCRIPT = 'sleep 3600 & echo $! $$ >> "$0/pids"; while [ ! -e "$0/go" ]; do sleep 0.05; done; echo "done by $$"'


class Site:
    """A gateway: one process, or a web process and a worker, with an agent that waits for a file of the test."""

    def __init__(self, directory: Path, deployment: Deployment) -> None:
        self.directory = directory
        config = directory / "gateway.yaml"
        agent = {"id": "slow", "type": "process", "command": "/bin/sh", "args": ["-c", SCRIPT, str(directory)]}
        config.write_text(f"agents: [{agent}]\n", encoding="utf-8")
        deployment = replace(deployment, settings={**deployment.settings, "CONFIG": str(config)})
        if DEPLOYMENT == "distributed":
            deployment = replace(deployment, settings={**SETTINGS, **deployment.settings})
        self.web = GatewayProcess(deployment, "web")
        self.worker = WorkerProcess(deployment, "worker") if DEPLOYMENT == "distributed" else self.web

    @property
    def processes(self) -> list[GatewayProcess]:
        return list(dict.fromkeys([self.web, self.worker]))

    async def start(self) -> None:
        for process in self.processes:
            if not process.alive:
                await process.start()

    def pids(self) -> list[int]:
        """The processes of the agent: in every start its child, then itself."""
        file = self.directory / "pids"
        return [int(pid) for pid in file.read_text(encoding="utf-8").split()] if file.exists() else []

    def release(self) -> None:
        """Lets the agent answer."""
        (self.directory / "go").touch()


def is_running(pid: int) -> bool:
    """Returns False for a process that has ended, also for one that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> Any:
    """A running site; it ends with the test."""
    (tmp_path / "data").mkdir(mode=0o700)
    with ExitStack() as stack:
        site = Site(tmp_path, deployment_of(tmp_path / "data", stack))
        for process in site.processes:
            stack.callback(process.end)
        await site.start()
        yield site


async def submit(client: Client, **options: Any) -> str:
    """Submits a task to the program."""
    body = {"target": "slow", "payload": {"task": "work", "options": {"timeout": 300, **options}}}
    return str((await client.post("/tasks", body, expect=202))["task_id"])


def has_status(client: Client, task: str, status: str) -> Callable[[], Any]:
    async def check() -> bool:
        try:
            return bool((await client.get(f"/tasks/{task}"))["status"] == status)
        except aiohttp.ClientError:
            return False

    return check


@pytest.mark.parametrize("killed", ["worker", "web", "both"])
async def test_a_task_survives_the_kill_of_its_processes(site: Site, http: aiohttp.ClientSession, killed: str) -> None:
    client = Client(http, site.web.url)
    task = await submit(client, stream=True)
    await until(has_status(client, task, "running"), 10, "the task runs")
    await until(lambda: len(site.pids()) == 2, 20, "its program runs")
    first = site.pids()
    for process in {"worker": [site.worker], "web": [site.web], "both": site.processes}[killed]:
        await process.kill()
    if killed != "web" or site.web is site.worker:
        await until(lambda: not any(map(is_running, first)), 10, "the program ends with the process that started it")
    await site.start()
    if killed != "web" or site.web is site.worker:
        await until(lambda: len(site.pids()) == 4, 20, "the program is started again")
    assert (await client.get(f"/tasks/{task}"))["status"] == "running"
    site.release()
    await until(has_status(client, task, "completed"), 20, "the task completes")
    shown = await client.get(f"/tasks/{task}")
    assert shown["result"].strip() == f"done by {site.pids()[-1]}"
    await until(lambda: not any(map(is_running, site.pids())), 10, "nothing is left")


async def test_a_cancelled_task_leaves_no_process(site: Site, http: aiohttp.ClientSession) -> None:
    client = Client(http, site.web.url)
    task = await submit(client)
    await until(lambda: len(site.pids()) == 2, 20, "its program runs")
    assert all(map(is_running, site.pids()))
    answer = await client.post(f"/tasks/{task}/cancel", {}, expect=200)
    assert answer == {"task_id": task, "status": "cancelled"}
    await until(lambda: not any(map(is_running, site.pids())), 15, "the program and its child are gone")
    assert (await client.get(f"/tasks/{task}"))["error"]["code"] == "CANCELLED"


async def test_a_deadline_ends_the_program(site: Site, http: aiohttp.ClientSession) -> None:
    client = Client(http, site.web.url)
    task = await submit(client, timeout=2)
    await until(has_status(client, task, "failed"), 10, "the deadline passes")
    assert (await client.get(f"/tasks/{task}"))["error"]["code"] == "TIMEOUT"
    await until(lambda: not any(map(is_running, site.pids())), 15, "the program and its child are gone")


async def test_live_events_go_on_after_the_kill_of_a_process(site: Site, http: aiohttp.ClientSession) -> None:
    client = Client(http, site.web.url)
    seen: list[dict[str, Any]] = []
    last_id = ""

    async def follow(end: str) -> None:
        nonlocal last_id
        headers = {"X-API-Key": KEY, **({"Last-Event-ID": last_id} if last_id else {})}
        async with http.get(f"{site.web.url}/events", headers=headers) as answer:
            async for line in answer.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "id":
                    last_id = value
                elif name == "data":
                    seen.append(json.loads(value))
                    if seen[-1]["type"] == end:
                        return

    async with asyncio.timeout(120):
        following = asyncio.create_task(follow("task.started"))
        await until(lambda: bool(seen), 10, "it follows")
        task = await submit(client, stream=True)
        await following
        for process in site.processes:
            await process.kill()
        await site.start()
        site.release()
        await follow("task.completed")
    types = [event["type"] for event in seen if event.get("task_id") == task]
    assert [name for name in types if name != "task.progress"] == [
        "task.submitted",
        "task.assigned",
        "task.started",
        "task.completed",
    ]
