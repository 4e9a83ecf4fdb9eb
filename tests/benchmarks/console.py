"""The console's pages over 10,000 sessions, and a session of 20,000 events in a browser.

Pages are requested as a browser requests them, 20 times over one connection; a figure is the median. In Chromium, where
it is installed, the time until conversation, timeline and events of the long session are drawn, and the longest task
meanwhile: so long the page takes no input.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from tests.benchmarks.at_scale import FILL_SECONDS, page_asked, statistics_collect
from tests.benchmarks.console_rows import SESSION
from tests.benchmarks.figures import Figure, percentile
from tests.benchmarks.serving import deployment, running_server
from tests.browser.pages import chromium, executable
from tests.stack.deployment import Deployment
from tests.stack.process import ROOT, GatewayProcess, free_port

SESSIONS = 10_000
BUDGET_MS = 300.0
DRAWN_MS = 3_000.0
TASK_MS = 300.0
TIMES = 5
PAGES = (
    "/console/sessions",
    "/console/sessions?cursor=5000",
    "/console/sessions?state=waiting_approval",
    "/console/sessions?agent=helper&model=demo:tour",
    "/console/sessions?endUser=user-7",
    "/console/sessions?search=about 77",
    "/console/sessions?search=nothing of this kind",
    "/console/inbox",
    f"/console/sessions/{SESSION}",
    f"/console/sessions/session-{SESSIONS - 1}",
    "/v1/sessions?limit=50",
    "/v1/inbox?limit=50",
    f"/v1/sessions/{SESSION}/events?format=json&limit=200&since=12000",
)

WATCH = """window.longest = 0; new PerformanceObserver(list => {
  for (const task of list.getEntries()) window.longest = Math.max(window.longest, task.duration);
}).observe({type: "longtask", buffered: true})"""
DRAWN = (".item.end", ".run-timeline .span", ".event-row strong")
"""Parts of conversation, timeline and events."""


async def measure() -> AsyncIterator[Figure]:
    for distributed, name in ((False, "SQLite"), (True, "PostgreSQL")):
        with deployment(distributed=distributed, RATE_LIMIT_RPM="0") as state:
            if state is None:
                continue
            found = await asyncio.to_thread(_fill, state)
            await asyncio.to_thread(statistics_collect, state)
            cookies = {"gateway_session": found["person"]}
            async with running_server(state) as server:
                async with aiohttp.ClientSession(server.url, cookies=cookies) as http:
                    for path in PAGES:
                        page = await page_asked(http, server, path)
                        label = f"{path[:44]}, {name}, p50"
                        processor = "ms of the server's processor"
                        yield Figure(label, page.median, "ms", page.processor, processor, BUDGET_MS)
                if executable() is not None:
                    for figure in await _drawn(server, found["person"], name):
                        yield figure


def _fill(state: Deployment) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.console_rows", str(SESSIONS)]
    environment = state.environment(free_port()) | {"DJANGO_SETTINGS_MODULE": "gateway_project.settings"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=FILL_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


async def _drawn(server: GatewayProcess, cookie: str, name: str) -> list[Figure]:
    """Opens the page of the long session several times."""
    drawn, longest = [], []
    async with chromium() as browser:
        for _ in range(TIMES):
            context = await browser.new_context(viewport={"width": 1280, "height": 900})
            await context.add_cookies([{"name": "gateway_session", "value": cookie, "url": server.url}])
            await context.add_init_script(WATCH)
            page = await context.new_page()
            await page.goto(f"{server.url}/console/sessions/{SESSION}")
            for part in DRAWN:
                await page.locator(part).first.wait_for(state="attached", timeout=120_000)
            drawn.append(float(await page.evaluate("performance.now()")))
            longest.append(float(await page.evaluate("window.longest")))
            await context.close()
    what = f"20,000 events in a browser, {name}"
    return [
        Figure(f"{what}, drawn, p50", percentile(drawn, 0.5), "ms", budget=DRAWN_MS),
        Figure(f"{what}, longest task, p50", percentile(longest, 0.5), "ms", budget=TASK_MS),
    ]
