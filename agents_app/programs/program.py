"""A program that answers one message: started without a shell, fed through standard input, read line by line.

Programs come from the operator's configuration alone, and nothing of a message is on their command line. Each session
has a directory of its own; the environment has nothing of the gateway's but what the entry passes on. Time, memory,
output and lines are limited, and the program ends with all its descendants, whatever ends the leg (`supervisor`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from agents_app.agent_http import agent_error
from agents_app.agent_settings import agent_settings
from agents_app.engine import Leg
from agents_app.programs import supervisor
from agents_app.programs.directories import directory_make
from agents_app.programs.fields import ProgramFields

END_SECONDS = 15.0
"""The time that the supervisor has to kill everything; it needs milliseconds, and more only under a fork bomb."""

ERROR_BYTES = 4096
"""The end of standard error that is kept for the log."""

CHUNK_BYTES = 64 * 1024


async def program_fields(leg: Leg) -> ProgramFields:
    """Returns the fields of the leg's agent. Raises AgentError, also for a program that no operator has defined."""
    found = await agent_settings(leg, ProgramFields)
    if not found.trusted:
        raise agent_error(leg, "is a program that no operator has registered.", code="unprocessable")
    return found.fields


@dataclass(frozen=True, slots=True)
class RunningProgram:
    """A program that runs: its lines, its standard input and its directory."""

    lines: AsyncIterator[bytes]
    input: asyncio.StreamWriter
    directory: Path


@contextlib.asynccontextmanager
async def run_program(
    leg: Leg, fields: ProgramFields, argv: Sequence[str], message: str
) -> AsyncIterator[AsyncIterator[bytes]]:
    """Starts a program, gives it the message, and yields its lines; see `open_program`."""
    async with open_program(leg, fields, argv) as program:
        feeding = asyncio.create_task(_feed(program.input, message.encode()))
        try:
            yield program.lines
        finally:
            feeding.cancel()
            await asyncio.wait([feeding])


@contextlib.asynccontextmanager
async def open_program(leg: Leg, fields: ProgramFields, argv: Sequence[str]) -> AsyncIterator[RunningProgram]:
    """Starts a program. It has ended, with all that it started, when the block ends. Raises AgentError, here and in the
    block; iterating over its lines to the end checks its exit status."""
    directory = await asyncio.to_thread(directory_make, leg.session.tenant_id, leg.session.session_id)
    process, lifeline = await _start(leg, fields, argv, directory)
    assert process.stdin is not None
    errors = bytearray()
    helpers = [asyncio.create_task(_keep_errors(process, errors))]
    seconds = fields.timeout or settings.GATEWAY_PROGRAM_SECONDS
    try:
        async with asyncio.timeout(seconds) as deadline:
            yield RunningProgram(_lines(leg, process, errors), process.stdin, directory)
    except TimeoutError:
        if not deadline.expired():
            raise
        reason = f"was ended after {seconds:g} seconds (GATEWAY_PROGRAM_SECONDS)."
        raise agent_error(leg, reason, code="timeout", logged=_shown(errors)) from None
    finally:
        os.close(lifeline)
        for helper in helpers:
            helper.cancel()
        await _await_end(process)
        await asyncio.gather(*helpers, return_exceptions=True)
        # The pipes stay open while a descendant that left the process group holds their other ends.
        process._transport.close()  # type: ignore[attr-defined]  # asyncio has no public way


async def _start(leg: Leg, fields: ProgramFields, argv: Sequence[str], directory: Path) -> tuple[Process, int]:
    memory = settings.GATEWAY_PROGRAM_MEMORY_BYTES if fields.memory_bytes is None else fields.memory_bytes
    read_end, write_end = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", supervisor.__file__, str(read_end), str(memory), *argv),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            cwd=directory,
            env=_environment(fields, directory),
            pass_fds=(read_end,),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        os.close(write_end)
        raise agent_error(leg, "could not be started.", logged=str(error)) from None
    except BaseException:
        os.close(write_end)
        raise
    finally:
        os.close(read_end)
    return process, write_end


def _environment(fields: ProgramFields, directory: Path) -> dict[str, str]:
    """Builds a clean environment. `HOME` is the session's directory unless the entry has another."""
    passed = {name: os.environ[name] for name in ("PATH", "LANG", "TZ", *fields.pass_env) if name in os.environ}
    return {"HOME": str(directory), **passed, **fields.env}


async def _feed(standard_input: asyncio.StreamWriter, message: bytes) -> None:
    with contextlib.suppress(OSError):
        standard_input.write(message)
        await standard_input.drain()
    standard_input.close()


async def _keep_errors(process: Process, errors: bytearray) -> None:
    assert process.stderr is not None
    while chunk := await process.stderr.read(CHUNK_BYTES):
        errors += chunk
        del errors[:-ERROR_BYTES]


async def _lines(leg: Leg, process: Process, errors: bytearray) -> AsyncIterator[bytes]:
    """Yields lines with their ends, then checks the exit status."""
    assert process.stdout is not None
    size, rest = 0, b""
    output, longest = settings.GATEWAY_AGENT_OUTPUT_BYTES, settings.GATEWAY_AGENT_LINE_BYTES
    while chunk := await process.stdout.read(CHUNK_BYTES):
        size += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line + b"\n"
        if len(rest) > longest:
            raise agent_error(leg, f"wrote a line of more than {longest} bytes (GATEWAY_AGENT_LINE_BYTES).")
        if size > output:
            raise agent_error(leg, f"wrote more than {output} bytes (GATEWAY_AGENT_OUTPUT_BYTES).")
    if rest:
        yield rest
    if code := await process.wait():
        started = code != supervisor.NOT_STARTED
        reason = f"ended with status {code}." if started else "is not installed here, or cannot be executed."
        raise agent_error(leg, reason, logged=_shown(errors))


async def _await_end(process: Process) -> None:
    """Waits until the supervisor has ended everything, even when the leg is cancelled again meanwhile."""
    ending: asyncio.Task[Any] = asyncio.create_task(_end(process))
    cancelled: asyncio.CancelledError | None = None
    while not ending.done():
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def _end(process: Process) -> None:
    # asyncio waits for the end of the pipes, too, which a program that wrote more than was read does not come to.
    for descriptor in (0, 1, 2):
        pipe = process._transport.get_pipe_transport(descriptor)  # type: ignore[attr-defined]  # asyncio has no public way
        if pipe is not None:
            pipe.close()
    try:
        async with asyncio.timeout(END_SECONDS):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(OSError):
            process.kill()
        await process.wait()


def _shown(errors: bytearray) -> str:
    return errors.decode("utf-8", "replace")
