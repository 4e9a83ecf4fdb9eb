"""Searches by meaning, with a provider of embeddings whose vectors count a few words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from core_app import database
from faces.mesh.models import SearchEntry
from inference_app.spend.metering import METER
from tenants_app.models import LedgerEntry
from tests.conftest import Caller
from tests.faces.mesh.conftest import CONFIG, mesh_error
from tests.gateway_harness import Client, GatewayHarness

pytestmark = pytest.mark.django_db(transaction=True)

MEANINGS = (("cat", "kitten", "猫"), ("car", "engine"), ("music", "song"))


class Provider:
    """Embeds a text as the number of its words of each meaning."""

    def __init__(self) -> None:
        self.inputs: list[list[str]] = []
        self.broken = False

    async def embeddings(self, request: web.Request) -> web.Response:
        texts = (await request.json())["input"]
        self.inputs.append(texts)
        data = [{"object": "embedding", "index": n, "embedding": self.vector(text)} for n, text in enumerate(texts)]
        if self.broken:
            data.pop()
        return web.json_response({"object": "list", "data": data[::-1], "model": "m", "usage": {"prompt_tokens": 3}})

    def vector(self, text: str) -> list[float]:
        return [0.01 + sum(text.lower().count(word) for word in words) for words in MEANINGS]


@pytest_asyncio.fixture
async def provider(tmp_path: Path, settings: Any) -> AsyncIterator[Provider]:
    made, application = Provider(), web.Application()
    application.router.add_post("/v1/embeddings", made.embeddings)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    models = f"models: {{providers: {{local: {{base_url: '{url}', api_key: none, models: [{{id: m}}]}}}}}}"
    path = tmp_path / "semantic.yaml"
    path.write_text(f"{CONFIG}\n{models}\nspaces: {{embedding_model: 'local:m'}}\n", encoding="utf-8")
    settings.GATEWAY_CONFIG = path
    yield made
    await runner.cleanup()


async def fill(api: Client) -> str:
    space = str((await api.post("/spaces", {})).json["space_id"])
    for content in ("A kitten sleeps.", "The engine of the car", "Sing a song"):
        await api.post(f"/spaces/{space}/messages", {"content": content})
    await api.ask(
        "PUT", f"/spaces/{space}/artifacts/pets.txt", body="猫 and 猫".encode(), headers={"content-type": "text/plain"}
    )
    return space


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_what_means_the_same_is_found(api: Client, provider: Provider, prefix: str) -> None:
    space = await fill(api)
    path = f"{prefix}/spaces/{space}/search?q=cat&mode=semantic"
    results = (await api.get(f"{path}&limit=2")).json["results"]
    assert {result.get("name", result["excerpt"]) for result in results} == {"pets.txt", "A kitten sleeps."}
    assert results[0]["score"] == pytest.approx(1.0, abs=0.01)
    # What has a vector is not sent again.
    assert len((await api.get(path)).json["results"]) == 4
    assert [len(texts) for texts in provider.inputs] == [5, 1]


async def test_embeddings_are_spent_by_the_caller(api: Client, provider: Provider, owner: Caller) -> None:
    space = await fill(api)
    await api.get(f"/spaces/{space}/search?q=cat&mode=semantic")
    await METER.flush()
    (entry,) = await database.run(lambda: list(LedgerEntry.objects.all()))
    assert (entry.input_tokens, entry.api_key_id) == (3, owner.principal.key_id)


async def test_a_provider_that_answers_nonsense_is_an_error(api: Client, provider: Provider) -> None:
    space = await fill(api)
    provider.broken = True
    answer = await api.get(f"/spaces/{space}/search?q=cat&mode=semantic")
    assert mesh_error(answer) == (502, "UPSTREAM_ERROR")
    assert await database.run(SearchEntry.objects.filter(embedding_model__isnull=False).count) == 0


async def test_another_tenants_space_and_a_bad_query_are_refused(
    api: Client, provider: Provider, gateway: GatewayHarness, stranger: Caller
) -> None:
    space = await fill(api)
    theirs = await gateway.client(stranger).get(f"/spaces/{space}/search?q=cat&mode=semantic")
    assert mesh_error(theirs) == (404, "SPACE_NOT_FOUND")
    for query in ("mode=semantic", "q=+&mode=semantic", "q=x&mode=semantic&limit=x"):
        assert mesh_error(await api.get(f"/spaces/{space}/search?{query}")) == (400, "INVALID_REQUEST")
    assert provider.inputs == []
