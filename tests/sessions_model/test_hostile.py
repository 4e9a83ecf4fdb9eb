"""A hostile tenant delays nobody else: while it does its worst the loop is never held for more than 50 ms."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.conftest import Caller
from tests.gateway_harness import Client, GatewayHarness
from tests.loop_watch import LIMIT, Watch, loop_watched
from tools_app import schema, schema_cost

pytestmark = pytest.mark.django_db(transaction=True)

UGLY = "a\ud800b\x00c\udfff"
BOMB: dict[str, Any] = {
    "type": "object",
    "properties": {"x": {"type": "string", "pattern": "^(a+)+$"}},
    "required": ["x"],
}


def nested_schema(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"x": schema}}
    return schema


async def regex_bombs(api: Client, server: Any) -> None:
    tool = {"name": "echo", "description": "d", "parameters": BOMB, "callbackUrl": server.url}
    session = await api.session(model="demo:tour", tools=[tool])
    await api.run(session, 'use echo {"x": "' + "a" * 40 + '!"}')


async def schema_bombs(api: Client, server: Any) -> None:
    hungry = BOMB["properties"]["x"]
    wide = {"type": "object", "properties": {f"p{number}": hungry for number in range(500)}}
    session = await api.session(model="demo:tour")
    for parameters in (nested_schema(60), nested_schema(300), wide, {"$ref": "https://example.com/schema"}):
        tool = {"name": "echo", "description": "d", "parameters": parameters, "callbackUrl": server.url}
        assert (await api.post(f"/v1/sessions/{session}/tools", tool)).status in (201, 400)


async def huge_results(api: Client, server: Any) -> None:
    server.answers = [b'{"result": "' + b"x" * 10_000_000 + b'"}']
    tool = {"name": "echo", "description": "d", "parameters": {"type": "object"}, "callbackUrl": server.url}
    session = await api.session(model="demo:tour", tools=[tool])
    await api.run(session, "use echo")


async def a_thousand_tools(api: Client, server: Any) -> None:
    await api.run(await api.session(model="scripted:many-calls:1000"), "go")


async def endless_loops(api: Client, server: Any) -> None:
    tool = {"name": "echo", "description": "d", "parameters": {"type": "object"}, "callbackUrl": server.url}
    await api.run(await api.session(model="scripted:endless", tools=[tool], maxTurns=30), "go")


async def ugly_strings(api: Client, server: Any) -> None:
    session = await api.session(
        model="scripted:unclean",
        title=UGLY,
        systemPrompt=UGLY,
        userData={UGLY: UGLY},
        tools=[{"name": "echo", "description": UGLY, "parameters": {"type": "object"}, "callbackUrl": server.url}],
    )
    run = await api.run(session, UGLY, endUser=UGLY, metadata={UGLY: [UGLY]})
    assert run["status"] == "completed"


async def long_answers(api: Client, server: Any) -> None:
    await api.run(await api.session(model="demo:tour"), "long 3000")


async def usual(api: Client, server: Any) -> None:
    """Does what a normal run does, so that imports and first reads of a process do not count as the attack."""
    tool = {"name": "echo", "description": "d", "parameters": {"type": "object"}, "callbackUrl": server.url}
    await api.run(await api.session(model="demo:tour", tools=[tool]), "use echo")


ATTACKS = [regex_bombs, schema_bombs, huge_results, a_thousand_tools, endless_loops, ugly_strings, long_answers]


ROUNDS = 3
"""Repetitions of an attack: a real blockage comes back each time, a cost of a cold cache only once."""


def forget_schemas() -> None:
    """Clears the caches, so that no round profits from the one before."""
    for known in (schema._validator, schema._work_of, schema_cost.positions):
        known.cache_clear()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
async def test_the_loop_is_free_for_the_others(
    gateway: GatewayHarness,
    api: Client,
    stranger: Caller,
    server: Any,
    attack: Callable[[Client, Any], Coroutine[Any, Any, None]],
) -> None:
    neighbour = gateway.client(stranger)
    session = await neighbour.session(model="scripted:hello")
    await neighbour.run(session, "warm up")
    await usual(neighbour, server)
    rounds: list[Watch] = []
    while len(rounds) < ROUNDS and (not rounds or rounds[-1].longest > LIMIT):
        forget_schemas()
        with loop_watched() as watch:
            attacking = asyncio.create_task(attack(api, server))
            while not attacking.done():
                run = await neighbour.run(session, "hello")
                assert run["lastMessage"]["content"] == "Hello, world."
            await attacking
        rounds.append(watch)
    assert rounds[-1].longest <= LIMIT, [(each.longest, each.culprit) for each in rounds]
