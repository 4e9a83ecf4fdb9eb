"""`python -m tests.benchmarks [name …] [--json]`: prints each figure beside its reference and its budget.

Benchmarks measure, and never fail a build. Load goes to the loopback interface only. The names are those of `REGISTRY`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable

import django

# Some benchmarks import models, which needs the settings.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
django.setup()

from tests.benchmarks import (
    agent_runs,
    at_scale,
    client_import,
    console,
    console_usage,
    fan_out,
    first_words,
    group_commit,
    hostile_bodies,
    hostile_input,
    hostile_tenant,
    hot_groups,
    ide_socket,
    idle_followers,
    job_wakeups,
    latency,
    long_session,
    mesh,
    model_engine,
    old_snapshots,
    processes,
    prompt_acceptance,
    relay,
    responses,
    retention,
    rpc,
    start_up,
)
from tests.benchmarks.figures import Figure
from tests.benchmarks.serving import machine_prepare

REGISTRY: dict[str, Callable[[], AsyncIterator[Figure]]] = {
    "group_commit": group_commit.measure,
    "hot_groups": hot_groups.measure,
    "latency": latency.measure,
    "fan_out": fan_out.measure,
    "idle_followers": idle_followers.measure,
    "prompt_acceptance": prompt_acceptance.measure,
    "start_up": start_up.measure,
    "first_words": first_words.measure,
    "client_import": client_import.measure,
    "console": console.measure,
    "console_usage": console_usage.measure,
    "model_engine": model_engine.measure,
    "agent_runs": agent_runs.measure,
    "long_session": long_session.measure,
    "relay": relay.measure,
    "rpc": rpc.measure,
    "ide_socket": ide_socket.measure,
    "processes": processes.measure,
    "old_snapshots": old_snapshots.measure,
    "retention": retention.measure,
    "job_wakeups": job_wakeups.measure,
    "hostile_input": hostile_input.measure,
    "hostile_tenant": hostile_tenant.measure,
    "hostile_bodies": hostile_bodies.measure,
    "mesh": mesh.measure,
    "responses": responses.measure,
    "at_scale": at_scale.measure,
}
ON_REQUEST = frozenset({"at_scale", "console", "console_usage"})
"""Benchmarks that run only when they are named: their preparation takes minutes."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(REGISTRY))
    parser.add_argument("--json", action="store_true", help="one JSON object per figure, on standard output")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in REGISTRY]:
        parser.error(f"there is no benchmark called {unknown[0]}; there are {', '.join(REGISTRY)}")
    machine_prepare()
    names = arguments.names or [name for name in REGISTRY if name not in ON_REQUEST]
    asyncio.run(run(names, as_json=arguments.json))
    return 0


async def run(names: list[str], *, as_json: bool) -> None:
    for name in names:
        began = time.perf_counter()
        if not as_json:
            print(name, flush=True)
        async for figure in REGISTRY[name]():
            print(json.dumps(figure.to_wire()) if as_json else figure.line(), flush=True)
        if not as_json:
            print(f"  ({time.perf_counter() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
