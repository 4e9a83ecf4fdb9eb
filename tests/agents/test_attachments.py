"""Attachments of a conversation are read only for the request that sends them, the newest first, within the limit."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agents_app.attachments import MEMORY
from agents_app.engine import Attachment, Finished, HistoryMessage
from agents_app.registry import engine_get
from core_app.ids import new_id
from tests.agents.conftest import Upstream
from tests.agents.recording_leg import RecordingLeg, World, session_of

pytestmark = pytest.mark.usefixtures("upstream")


def store_pictures(world: World, *sizes: int) -> tuple[Attachment, ...]:
    """Stores pictures of these sizes in the world."""
    made = []
    for size in sizes:
        key = len(world.stored) + 1
        world.stored[key] = b"%d" % key * size
        made.append(Attachment("image", "image/png", f"p{key}.png", stored=key, size=size))
    return tuple(made)


def add_earlier_prompt(world: World, text: str, *sizes: int) -> None:
    """Adds an earlier prompt with pictures of these sizes, and its answer."""
    world.history.append(HistoryMessage(new_id("msg"), "user", text, store_pictures(world, *sizes)))
    world.history.append(HistoryMessage(new_id("msg"), "assistant", "Seen."))


def world_of(model: str = "scripted:hello") -> World:
    return World(session_of(model))


async def run_prompt(world: World, prompt: str = "Hi", attachments: tuple[Attachment, ...] = ()) -> RecordingLeg:
    world.prompt(prompt, attachments)
    leg = world.leg()
    assert isinstance(await engine_get("model").run_leg(leg), Finished)
    return leg


def sent_attachments(upstream: Upstream) -> list[str]:
    """Returns the attachments in the newest request: "picture", or the sentence that replaces one."""
    parts = [part for message in upstream.requests()[-1]["messages"] for part in message["content"] if part != ""]
    shown = []
    for part in parts:
        if isinstance(part, dict) and part["type"] == "image_url":
            shown.append("picture")
        elif isinstance(part, dict) and part["text"].startswith("["):
            shown.append(part["text"])
    return shown


async def test_what_is_stored_reaches_the_model_in_its_place(upstream: Upstream) -> None:
    world = world_of()
    add_earlier_prompt(world, "look", 3)
    await run_prompt(world, "and this", store_pictures(world, 4))
    assert sent_attachments(upstream) == ["picture", "picture"]
    assert "MTEx" in json.dumps(upstream.requests()[-1])


async def test_the_newest_are_sent_and_older_ones_are_named(upstream: Upstream, settings: Any) -> None:
    settings.GATEWAY_MAX_ATTACHMENT_BYTES = 10
    world = world_of()
    add_earlier_prompt(world, "look", 5, 4)
    await run_prompt(world, "and this", store_pictures(world, 6))
    assert sent_attachments(upstream) == ["[The image p1.png is not sent again.]", "picture", "picture"]
    assert set(world.read) == {2, 3}


async def test_nothing_is_held_beside_a_request(upstream: Upstream) -> None:
    world = world_of("scripted:tool:echo")
    held: list[int] = []
    world.tools["echo"] = lambda args: held.append(MEMORY.reserved_bytes) or "done"  # type: ignore[func-returns-value]
    await run_prompt(world, "look", store_pictures(world, 5))
    assert held == [0]
    # Once for each request.
    assert world.read == [1, 1]


async def test_what_was_erased_meanwhile_is_named(upstream: Upstream) -> None:
    world = world_of()
    pictures = store_pictures(world, 5)
    world.stored.clear()
    await run_prompt(world, "look", pictures)
    assert sent_attachments(upstream) == ["[The image p1.png is not sent again.]"]


async def test_what_is_cut_away_is_not_read(upstream: Upstream) -> None:
    world = world_of("scripted:context-full:3000")
    for number in range(10):
        add_earlier_prompt(world, f"{number} " * 200, 5)
    await run_prompt(world)
    world.read.clear()
    await run_prompt(world, "And now?")
    assert 0 < len(world.read) < 10
    assert min(world.read) > 1


async def test_a_tools_image_reaches_the_model_after_the_results(upstream: Upstream) -> None:
    world = world_of("scripted:tool:echo")
    world.media["echo"] = store_pictures(world, 3)
    await run_prompt(world, "look")
    roles = [message["role"] for message in upstream.requests()[-1]["messages"]]
    assert roles[-2:] == ["tool", "user"]
    assert "picture" in sent_attachments(upstream)
    # A later leg, which builds the conversation from what is stored, sends the same.
    before = upstream.requests()[-1]["messages"]
    await run_prompt(world, "and now")
    assert upstream.requests()[-1]["messages"][: len(before)] == before
