"""Checks of session tokens: many at the same time share their queries, and none is answered with another's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from core_app import database
from core_app.errors import Unauthorized, Unavailable
from tenants_app.models import ConnectionToken
from tenants_app.services import connection_token
from tenants_app.services.connection_token import (
    aconnection_token_check,
    connection_token_end,
    connection_token_issue,
)
from tests.conftest import Caller

pytestmark = pytest.mark.django_db(transaction=True)

TOKENS = 40


async def issue(owner: Caller, count: int) -> list[int]:
    def work() -> list[int]:
        return [
            connection_token_issue(principal=owner.principal, method="token", client_id=str(number)).token_id
            for number in range(count)
        ]

    return await database.run(work)


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of tokens that were looked up with one query."""
    sizes: list[int] = []
    holders = connection_token._holders

    def counted(token_ids: Sequence[int]) -> Any:
        sizes.append(len(token_ids))
        return holders(token_ids)

    monkeypatch.setattr(connection_token, "_holders", counted)
    return sizes


async def test_tokens_that_are_checked_at_the_same_time_share_a_query(owner: Caller, queries: list[int]) -> None:
    tokens = await issue(owner, TOKENS)
    await asyncio.gather(*(aconnection_token_check(token) for token in tokens for _ in range(2)))
    assert sum(queries) == TOKENS
    assert len(queries) <= 2
    await asyncio.gather(*(aconnection_token_check(token) for token in tokens))
    assert sum(queries) == TOKENS


async def test_more_tokens_than_one_query_takes_are_looked_up_in_parts(
    owner: Caller, queries: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_token, "LOOKED_UP", 16)
    await asyncio.gather(*(aconnection_token_check(token) for token in await issue(owner, TOKENS)))
    assert max(queries) <= 16


async def test_each_token_has_its_own_answer(owner: Caller) -> None:
    tokens = await issue(owner, 3)
    revoked = await database.run(ConnectionToken.objects.get, pk=tokens[1])
    await database.run(lambda: connection_token_end(token=revoked, actor="tests"))
    found = await asyncio.gather(
        *(aconnection_token_check(token) for token in (*tokens, max(tokens) + 1)), return_exceptions=True
    )
    assert [type(each) for each in found] == [type(None), Unauthorized, type(None), Unauthorized]


async def test_tokens_are_checked_without_a_cache_too(owner: Caller, settings: Any) -> None:
    settings.GATEWAY_KEY_CACHE_SECONDS = 0
    (token,) = await issue(owner, 1)
    await aconnection_token_check(token)
    await database.run(ConnectionToken.objects.filter(pk=token).delete)
    with pytest.raises(Unauthorized):
        await aconnection_token_check(token)


async def test_a_failed_query_fails_those_who_wait_for_it_and_nobody_later(
    owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = await issue(owner, 2)

    def fail(token_ids: Sequence[int]) -> Any:
        raise Unavailable("The database does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(connection_token, "_holders", fail)
        found = await asyncio.gather(*(aconnection_token_check(token) for token in tokens), return_exceptions=True)
    assert [type(each) for each in found] == [Unavailable, Unavailable]
    await asyncio.gather(*(aconnection_token_check(token) for token in tokens))


async def test_a_caller_that_leaves_takes_the_answer_from_nobody(owner: Caller) -> None:
    (token,) = await issue(owner, 1)
    leaving = asyncio.create_task(aconnection_token_check(token))
    staying = asyncio.create_task(aconnection_token_check(token))
    await asyncio.sleep(0)
    leaving.cancel()
    await staying
    with pytest.raises(asyncio.CancelledError):
        await leaving
