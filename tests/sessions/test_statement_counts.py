"""The number of statements of a prompt, a leg and a group commit. They bound what a database can serve: a rise is a
decision, not an accident."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.test.utils import CaptureQueriesContext

from agents_app.engine import Finished, Leg, LegOutcome
from core_app import database
from sessions_app.services.prompt import Prompt, prompt_accept
from sessions_app.services.session import SessionRequest, session_create
from tests.conftest import Caller
from tests.events.conftest import Rounds, leased_stream, rounds
from tests.events.test_commit import delta
from tests.gateway_harness import Client, GatewayHarness
from tests.scripted_engine import ScriptedEngine, say

__all__ = ["rounds"]

PROMPT = 14
SILENT_LEG = 34
COMPLETION = 9
"""The same on both databases."""

GROUP_COMMIT = {"postgresql": 2, "sqlite": 3}

OF_TRANSACTIONS = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")


def statements(queries: Any) -> list[str]:
    return [sql for query in queries if not (sql := str(query["sql"])).startswith(OF_TRANSACTIONS)]


def listing(found: list[str]) -> str:
    """Returns the statements for a person, without their columns."""
    return "\n".join(
        f"{number}. {re.sub(r'SELECT .*? FROM', 'SELECT … FROM', sql)[:110]}" for number, sql in enumerate(found, 1)
    )


@pytest.mark.django_db(transaction=True)
def test_a_prompt_is_so_many_statements(owner: Caller) -> None:
    session = session_create(principal=owner.principal, request=SessionRequest(model="demo:echo"))
    # What the first prompt of a process looks up is left out.
    prompt_accept(principal=owner.principal, public_id=session.public_id, prompt=Prompt(text="one"))
    with CaptureQueriesContext(connection) as asked:
        prompt_accept(principal=owner.principal, public_id=session.public_id, prompt=Prompt(text="two"))
    assert len(statements(asked)) == PROMPT, listing(statements(asked))


class LegStatements:
    """The statements of the threads that serve legs."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.savepoints = 0

    def note(self, sql: str) -> None:
        if not threading.current_thread().name.startswith("gateway-legs"):
            return
        self.savepoints += sql.startswith("SAVEPOINT")
        if not sql.startswith(OF_TRANSACTIONS):
            self.seen.append(sql)


@pytest.fixture
def of_legs(monkeypatch: pytest.MonkeyPatch) -> LegStatements:
    counted = LegStatements()
    for name in ("_execute", "_executemany"):
        original = getattr(CursorWrapper, name)

        def counting(self: Any, sql: str, params: Any, *more: Any, original: Any = original) -> Any:
            counted.note(sql)
            return original(self, sql, params, *more)

        monkeypatch.setattr(CursorWrapper, name, counting)
    return counted


async def test_a_leg_is_so_many_statements_and_so_many_more_for_each_completion(
    api: Client, gateway: GatewayHarness, script: ScriptedEngine, of_legs: LegStatements
) -> None:
    """From its claim to the look that finds no other run and gives the lease back."""

    async def count(completions: int) -> list[str]:
        async def answer(leg: Leg) -> LegOutcome:
            for _ in range(completions):
                await say(leg, ["a", "b"])
            return Finished("done")

        script.behaviour = answer
        session = await api.session()
        of_legs.seen.clear()
        await api.run(session, "go")
        await gateway.wait_idle()
        return list(of_legs.seen)

    await count(1)
    none, two = await count(0), await count(2)
    assert len(none) == SILENT_LEG, listing(none)
    assert (len(two) - len(none)) / 2 == COMPLETION, listing(two)
    assert of_legs.savepoints == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("legs", [1, 10])
async def test_a_group_commit_is_so_many_statements_however_many_legs_it_has(rounds: Rounds, legs: int) -> None:
    writers = [rounds.writer((await database.run(leased_stream)).fence, "run_1") for _ in range(legs)]
    for writer in writers:
        await writer.emit(delta("a"))

    def commit() -> list[str]:
        with CaptureQueriesContext(connection) as asked:
            rounds.commit_round()
        return statements(asked)

    assert len(found := await database.run(commit)) == GROUP_COMMIT[connection.vendor], listing(found)
