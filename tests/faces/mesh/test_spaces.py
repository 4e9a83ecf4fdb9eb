"""Spaces: messages, artifacts, search, limits, and what tasks leave in them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from core_app import clock, database
from faces.mesh import artifacts
from faces.mesh.models import FileContent, StoredFile
from tenants_app.models import Tenant
from tests.conftest import Caller
from tests.faces.mesh.conftest import Script, ended, live, mesh_error, submit
from tests.gateway_harness import Answer, Client, GatewayHarness
from tests.scripted_engine import prompt_of, saying_leg

pytestmark = pytest.mark.django_db(transaction=True)


async def make_space(client: Client) -> str:
    answer = await client.post("/spaces", {"metadata": {"project": "x"}})
    assert answer.status == 201
    return str(answer.json["space_id"])


async def put(client: Client, space: str, name: str, content: bytes, media_type: str = "text/plain") -> Answer:
    path = f"/spaces/{space}/artifacts/{name}"
    return await client.ask("PUT", path, body=content, headers={"content-type": media_type})


async def found(client: Client, space: str, query: str) -> list[dict[str, Any]]:
    answer = await client.get(f"/spaces/{space}/search?q={quote(query)}")
    assert answer.status == 200, answer.body
    return list(answer.json["results"])


async def test_a_space_counts_its_messages_and_artifacts(api: Client) -> None:
    space = await make_space(api)
    assert space.startswith("space-")
    await api.post(f"/spaces/{space}/messages", {"content": "hello"})
    await put(api, space, "a.txt", b"some words")
    shown = (await api.get(f"/v1/spaces/{space}")).json
    assert (shown["shared_space_id"], shown["message_count"], shown["artifact_count"]) == (space, 1, 1)
    assert shown["metadata"] == {"project": "x"}
    assert shown["updated_at"] >= shown["created_at"] > 1_600_000_000_000
    assert mesh_error(await api.get("/spaces/space-none")) == (404, "SPACE_NOT_FOUND")
    assert mesh_error(await api.post("/spaces", {"metadata": []})) == (400, "INVALID_REQUEST")


async def test_messages_are_read_from_the_newest_back(api: Client) -> None:
    space = await make_space(api)
    for number in range(5):
        added = await api.post(f"/spaces/{space}/messages", {"content": f"message {number}", "role": "assistant"})
        assert (added.status, added.json["offset"]) == (201, number + 1)
    page = (await api.get(f"/spaces/{space}/messages?limit=2")).json
    assert [message["content"] for message in page["messages"]] == ["message 3", "message 4"]
    page = (await api.get(f"/spaces/{space}/messages?limit=3&cursor={page['next_cursor']}")).json
    assert [message["content"] for message in page["messages"]] == ["message 0", "message 1", "message 2"]
    assert page["next_cursor"] is None


async def test_a_message_may_be_an_agent_message(api: Client) -> None:
    space = await make_space(api)
    body = {
        "id": "msg-7",
        "type": "response",
        "source": "one",
        "target": "two",
        "correlation_id": "c",
        "timestamp": 1,
        "result": "It is done.",
    }
    added = (await api.post(f"/spaces/{space}/messages", body)).json
    assert (added["id"], added["content"], added["source"], added["role"]) == ("msg-7", "It is done.", "one", "user")
    event = {"type": "event", "source": "one", "event_type": "seen", "event_data": {"page": 1}}
    assert (await api.post(f"/spaces/{space}/messages", event)).json["content"] == '{"page":1}'
    assert mesh_error(await api.post(f"/spaces/{space}/messages", {"type": "event"})) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize("where", ["directory", "database"])
async def test_an_artifact_is_stored_replaced_and_deleted(
    api: Client, tmp_path: Path, settings: Any, where: str
) -> None:
    if where == "database":
        settings.STORAGES = {**settings.STORAGES, "artifacts": {"BACKEND": "faces.mesh.storage.DatabaseStorage"}}

    def stored_files() -> list[Any]:
        if where == "database":
            return list(FileContent.objects.all())
        return [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]

    space = await make_space(api)
    stored = await put(api, space, "report.txt", b"first", "text/plain; charset=utf-8")
    assert (stored.status, stored.json["size"], stored.json["media_type"]) == (200, 5, "text/plain; charset=utf-8")
    await put(api, space, "report.txt", b"\x00\xffsecond", "application/octet-stream")
    read = await api.get(f"/spaces/{space}/artifacts/report.txt")
    assert (read.body, read.headers["content-type"]) == (b"\x00\xffsecond", "application/octet-stream")
    assert read.headers["x-content-type-options"] == "nosniff"
    assert [a["name"] for a in (await api.get(f"/spaces/{space}/artifacts")).json["artifacts"]] == ["report.txt"]
    assert len(await database.run(stored_files)) == 1
    assert (await api.delete(f"/spaces/{space}/artifacts/report.txt")).status == 204
    assert mesh_error(await api.get(f"/spaces/{space}/artifacts/report.txt")) == (404, "ARTIFACT_NOT_FOUND")
    assert await database.run(stored_files) == []
    assert (await api.get(f"/spaces/{space}")).json["artifact_count"] == 0


@pytest.mark.parametrize("name", ["..", ".", "a%20b", "%2e%2e", "a" * 129, "%C3%A4"])
async def test_a_bad_name_is_refused(api: Client, name: str) -> None:
    space = await make_space(api)
    answer = await put(api, space, unquote(name), b"x")
    assert mesh_error(answer) == (400, "INVALID_REQUEST")
    assert await database.run(StoredFile.objects.count) == 0


async def test_an_artifact_has_at_most_eight_mebibytes(api: Client) -> None:
    space = await make_space(api)
    assert (await put(api, space, "big", b"x" * artifacts.MAX_BYTES)).status == 200
    assert mesh_error(await put(api, space, "big", b"x" * (artifacts.MAX_BYTES + 1))) == (413, "PAYLOAD_TOO_LARGE")


async def test_the_limits_of_a_tenant(api: Client, settings: Any) -> None:
    space = await make_space(api)
    settings.GATEWAY_MAX_SPACES_PER_TENANT = 1
    settings.GATEWAY_MAX_SPACE_BYTES_PER_TENANT = 10
    assert mesh_error(await api.post("/spaces", {})) == (402, "QUOTA_EXCEEDED")
    assert (await put(api, space, "a", b"12345678")).status == 200
    assert mesh_error(await put(api, space, "b", b"12345678")) == (402, "QUOTA_EXCEEDED")
    long = await api.post(f"/spaces/{space}/messages", {"content": "12345678"})
    assert mesh_error(long) == (402, "QUOTA_EXCEEDED")
    await api.delete(f"/spaces/{space}/artifacts/a")
    assert (await put(api, space, "b", b"12345678")).status == 200


TEXTS = [
    "The deployment of the billing service failed at midnight.",
    "Billing is fine again; the billing tests pass.",
    "机器学习模型的训练已经完成。",
    "学习新的机器很有趣。",
    "コードレビューをお願いします。",
    "กรุณาแปลเอกสารนี้",
    "Die Straße ist gesperrt.",
]

SEARCHES = [
    ("billing", [1, 0]),
    ("BILLING failed", [0]),
    ("bill", []),
    ("机器学习", [2]),
    ("机器", [2, 3]),
    ("学习", [2, 3]),
    ("训", [2]),
    ("成", [2]),
    ("レビュー", [4]),
    ("แปล", [5]),
    ("strasse", [6]),
    ("billing 机器", []),
    ("absent", []),
    ("!!!", []),
    ('" OR * NEAR(', []),
    ("':* & !", []),
]


@pytest.mark.parametrize(("query", "expected"), SEARCHES)
async def test_messages_are_found_by_their_words(api: Client, query: str, expected: list[int]) -> None:
    space, other = await make_space(api), await make_space(api)
    ids = [(await api.post(f"/spaces/{space}/messages", {"content": text})).json["id"] for text in TEXTS]
    await api.post(f"/spaces/{other}/messages", {"content": " ".join(TEXTS)})
    results = await found(api, space, query)
    assert sorted(result["id"] for result in results) == sorted(ids[number] for number in expected)
    assert all(result["kind"] == "message" and result["excerpt"] for result in results)
    scores = [result["score"] for result in results]
    assert scores == sorted(scores, reverse=True)


async def test_the_best_match_comes_first(api: Client) -> None:
    space = await make_space(api)
    for text in TEXTS[:2]:
        await api.post(f"/spaces/{space}/messages", {"content": text})
    assert (await found(api, space, "billing"))[0]["excerpt"].startswith("Billing is fine")


async def test_artifacts_are_found_by_name_and_text_and_no_longer_once_replaced(api: Client) -> None:
    space = await make_space(api)
    await put(api, space, "quarterly-report.md", "收入增长了百分之十".encode())
    assert [result["name"] for result in await found(api, space, "增长")] == ["quarterly-report.md"]
    assert [result["name"] for result in await found(api, space, "quarterly")] == ["quarterly-report.md"]
    await put(api, space, "quarterly-report.md", b"nothing")
    assert await found(api, space, "增长") == []
    await api.delete(f"/spaces/{space}/artifacts/quarterly-report.md")
    assert await found(api, space, "quarterly") == []


async def test_semantic_search_needs_a_model(api: Client) -> None:
    space = await make_space(api)
    assert mesh_error(await api.get(f"/spaces/{space}/search?q=x&mode=semantic")) == (422, "INVALID_REQUEST")
    assert mesh_error(await api.get(f"/spaces/{space}/search?q=x&mode=other")) == (400, "INVALID_REQUEST")
    assert mesh_error(await api.get(f"/spaces/{space}/search")) == (400, "INVALID_REQUEST")


async def test_a_task_in_a_space_gets_its_files_and_leaves_its_messages(api: Client, script: Script) -> None:
    prompts: list[str] = []

    async def remember(leg: Any) -> Any:
        prompts.append(prompt_of(leg))
        return await saying_leg("A summary.")(leg)

    script.by_agent["one"] = remember
    space = await make_space(api)
    await put(api, space, "notes.txt", b"Remember the milk.")
    await put(api, space, "image.png", b"\x89PNG", "image/png")
    context = {"shared_space_id": space}
    async with live(api, spaceId=space) as reader:
        task_id = await submit(api, "Summarize", context=context, files=["notes.txt", "image.png"])
        task = await ended(api, task_id)
        assert (await reader.next_of("context.updated")).data["change"] == "message"
        assert (await reader.next_of("task.completed")).data["space_id"] == space
    assert task["shared_space_id"] == space
    assert prompts[0].startswith("Summarize\n\nFile notes.txt (text/plain, 18 bytes):\nRemember the milk.")
    assert "image.png (image/png, 4 bytes)" in prompts[0]
    messages = (await api.get(f"/spaces/{space}/messages")).json["messages"]
    assert [(message["role"], message["content"]) for message in messages] == [
        ("user", "Summarize"),
        ("assistant", "A summary."),
    ]
    assert messages[1]["agent_id"] == "one"
    missing = {"payload": {"task": "x", "context": context, "files": ["absent.txt"]}}
    assert mesh_error(await api.post("/tasks", missing)) == (400, "INVALID_REQUEST")
    unknown = {"payload": {"task": "x", "context": {"shared_space_id": "space-none"}}}
    assert mesh_error(await api.post("/tasks", unknown)) == (404, "SPACE_NOT_FOUND")


async def test_the_history_of_a_task_is_the_beginning_of_its_conversation(api: Client) -> None:
    history = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, {"note": "no message"}]
    task = await ended(api, await submit(api, "Go on", context={"history": history}))
    messages = (await api.get(f"/v1/sessions/{task['session_ids'][0]}/messages")).json["messages"]
    assert [message["content"] for message in messages[:3]] == ["Hi", "Hello", "Go on"]


async def test_another_tenants_space_is_unknown(api: Client, gateway: GatewayHarness, stranger: Caller) -> None:
    space = await make_space(api)
    await api.post(f"/spaces/{space}/messages", {"content": "secret"})
    await put(api, space, "a.txt", b"secret")
    other = gateway.client(stranger)
    for method, path in [
        ("GET", f"/spaces/{space}"),
        ("GET", f"/spaces/{space}/messages"),
        ("GET", f"/spaces/{space}/artifacts"),
        ("GET", f"/spaces/{space}/artifacts/a.txt"),
        ("DELETE", f"/spaces/{space}/artifacts/a.txt"),
        ("GET", f"/spaces/{space}/search?q=secret"),
    ]:
        assert mesh_error(await other.ask(method, path)) == (404, "SPACE_NOT_FOUND")
    assert mesh_error(await put(other, space, "a.txt", b"mine")) == (404, "SPACE_NOT_FOUND")
    assert mesh_error(await other.post(f"/spaces/{space}/messages", {"content": "x"})) == (404, "SPACE_NOT_FOUND")
    assert (await api.get(f"/spaces/{space}/artifacts/a.txt")).body == b"secret"


async def test_a_file_that_was_left_behind_is_deleted_later(api: Client, tmp_path: Path) -> None:
    def leave() -> StoredFile:
        stored = artifacts._file_write(Tenant.objects.get(slug="acme").pk, b"orphan")
        with database.write_transaction():
            StoredFile.objects.update(created_at=clock.now() - timedelta(hours=2))
        artifacts.files_clean(lambda: True)
        return stored

    stored = await database.run(leave)
    assert not artifacts.storage().exists(stored.name)
    assert await database.run(StoredFile.objects.count) == 0
