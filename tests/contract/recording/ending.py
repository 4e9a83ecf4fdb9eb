"""The last words to a reader when the server is told to end. Nothing can be played after it."""

from __future__ import annotations

import asyncio
import signal

from tests.contract.recording.client import SHAPE, Client


def record(client: Client) -> None:
    """The section."""
    session = client.session("ending", groupId="ending", responseFormat=SHAPE)
    process = client.place.process
    client.transcript.title("a socket, a stream and a group's while the server ends")
    with (
        client.socket(session) as socket,
        client.stream(f"/v1/sessions/{session}/events?follow=session") as stream,
        client.stream("/v1/groups/ending/events?since=0") as group,
    ):
        socket.ask("ping")
        client.run(session, "hello")
        for reader in (stream, group, socket):
            reader.until("agent_end")
        process.signal(signal.SIGTERM)
        for ended in (stream, group):
            ended.rest()
        socket.closed()
    client.transcript.line(f"< exit {asyncio.run(process.wait_exit())}")
