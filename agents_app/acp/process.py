"""A running agent: its program, its connection and what it tells, for as long as its owner keeps it.

The program runs in a task of its own, because it may outlive the leg that started it: an agent that waits for
permission is kept for the leg that brings the decision.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from acp import PROTOCOL_VERSION, RequestError, schema
from acp.connection import Connection
from acp.meta import AGENT_METHODS, CLIENT_METHODS
from acp.utils import serialize_params
from pydantic import BaseModel, ValidationError

from agents_app.acp.files import FileRefused, read_text, write_text
from agents_app.acp.messages import News, Permission, news_of, permission_of
from agents_app.acp.transport import ProgramTransport
from agents_app.agent_http import agent_error
from agents_app.engine import Leg
from agents_app.exchange import AgentError
from agents_app.programs.fields import ProgramFields
from agents_app.programs.program import RunningProgram, open_program
from core_app.timeouts import cancel_tasks

START_SECONDS = 120.0
"""Time to start and to open a session: some agents are large programs."""

CANCEL_SECONDS = 2.0
"""Time that an agent has to note that its answer was cancelled, before it is ended."""

VERSION = "0.1.0"
Model = TypeVar("Model", bound=BaseModel)


class Ended:
    """The end of an answer: `error` is None when the agent finished it."""

    def __init__(self, response: schema.PromptResponse | None, error: AgentError | None) -> None:
        self.response = response
        self.error = error


Item = News | Permission | Ended


class AgentProcess:
    """One start of an agent. `items` has what it tells in order, and ends each answer with `Ended`."""

    def __init__(self, leg: Leg, fields: ProgramFields, argv: Sequence[str]) -> None:
        self._leg = leg
        self._fields = fields
        self._argv = argv
        self._stop = asyncio.Event()
        self._ready: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._running: asyncio.Task[None] | None = None
        self._answering: asyncio.Task[None] | None = None
        self._transport: ProgramTransport | None = None
        self._failure: AgentError | None = None
        self._silent = True
        self._items: asyncio.Queue[Item] = asyncio.Queue()
        self._directory = Path()
        self.session_id = ""
        self.loaded = False
        self.decided: dict[str, tuple[bool, str]] = {}
        """Decisions of the run by the mark of what they are about, for an agent that has to be started again."""
        self.repeated: dict[str, tuple[bool, str]] = {}
        """Decisions that an agent which was started again is given without anybody being asked: each of them once."""
        self.asked: list[Permission] = []
        """Requests for permission that wait."""

    @property
    def alive(self) -> bool:
        """True while the program runs."""
        return self._running is not None and not self._running.done()

    async def start(self, session_id: str | None) -> None:
        """Starts the program and opens its session: the one of this id if the agent can, else a new one. Raises
        AgentError; the owner closes the process in any case."""
        self._running = asyncio.create_task(self._run(), name="acp-agent")
        try:
            async with asyncio.timeout(START_SECONDS):
                await asyncio.shield(self._ready)
                await self._open_session(session_id)
        except TimeoutError:
            raise agent_error(
                self._leg, f"did not open a session within {START_SECONDS:g} seconds.", code="timeout"
            ) from None

    async def _open_session(self, session_id: str | None) -> None:
        fs = schema.FileSystemCapabilities(read_text_file=True, write_text_file=True)
        introduction = schema.InitializeRequest(
            protocol_version=PROTOCOL_VERSION,
            client_capabilities=schema.ClientCapabilities(fs=fs, terminal=False),
            client_info=schema.Implementation(name="agent-gateway", version=VERSION),
        )
        agent = await self._request("initialize", introduction, schema.InitializeResponse)
        if agent.protocol_version != PROTOCOL_VERSION:
            raise agent_error(self._leg, f"speaks version {agent.protocol_version} of the protocol.")
        can_load = bool(agent.agent_capabilities and agent.agent_capabilities.load_session)
        if session_id is not None and can_load:
            await self._load_session(session_id)
        if not self.loaded:
            new = schema.NewSessionRequest(cwd=str(self._directory), mcp_servers=[])
            self.session_id = (await self._request("session_new", new, schema.NewSessionResponse)).session_id
        self._silent = False

    async def _load_session(self, session_id: str) -> None:
        load = schema.LoadSessionRequest(cwd=str(self._directory), mcp_servers=[], session_id=session_id)
        # An agent that has lost the session, with its files, begins a new one.
        with contextlib.suppress(AgentError):
            await self._request("session_load", load, schema.LoadSessionResponse)
            self.session_id, self.loaded = session_id, True
        if not self.alive:
            raise self._broken()

    def prompt(self, text: str) -> None:
        """Sends a prompt; its answer comes in `items`."""
        self._answering = asyncio.create_task(self._answer(text), name="acp-prompt")

    async def _answer(self, text: str) -> None:
        block = schema.TextContentBlock(type="text", text=text)
        prompt = schema.PromptRequest(prompt=[block], session_id=self.session_id)
        try:
            end = Ended(await self._request("session_prompt", prompt, schema.PromptResponse), None)
        except AgentError as error:
            end = Ended(None, error)
        self._items.put_nowait(end)

    async def next_item(self) -> Item:
        """Returns the next thing that the agent tells."""
        item = await self._items.get()
        if self._transport is not None:
            self._transport.make_room()
        return item

    def more_items(self) -> bool:
        """True when the next thing is there already."""
        return not self._items.empty()

    async def cancel(self) -> None:
        """Cancels the answer, and waits a little for the agent to note it."""
        answering = self._answering
        if answering is None or answering.done() or not self.alive:
            return
        with contextlib.suppress(Exception):  # contains: the process is ended next, whatever it says
            async with asyncio.timeout(CANCEL_SECONDS):
                notice = schema.CancelNotification(session_id=self.session_id)
                await self._ready.result().send_notification(AGENT_METHODS["session_cancel"], serialize_params(notice))
                for asked in self.asked:
                    asked.answer.cancel()
                await asyncio.wait([answering])

    async def close(self) -> None:
        """Ends the program with all that it started, also when the caller is cancelled meanwhile."""
        self._stop.set()
        if self._answering is not None:
            await cancel_tasks(self._answering)
        if self._running is not None:
            ending, cancelled = self._running, False
            while not ending.done():
                try:
                    await asyncio.wait([ending])
                except asyncio.CancelledError:
                    cancelled = True
            if cancelled:
                raise asyncio.CancelledError

    async def _run(self) -> None:
        try:
            async with open_program(self._leg, self._fields, self._argv) as program:
                await self._converse(program)
        except AgentError as error:
            self._failure = error
        except Exception as error:  # contains: a bug here must end the run, and never the parked programs' owner
            self._failure = agent_error(self._leg, "failed inside the gateway.", logged=repr(error))
        finally:
            for asked in self.asked:
                asked.answer.cancel()
            if not self._ready.done():
                self._ready.set_exception(self._broken())
                # Its owner may be gone.
                self._ready.exception()

    async def _converse(self, program: RunningProgram) -> None:
        self._directory = program.directory
        self._transport = ProgramTransport(self._leg, program, waiting=self._items.qsize, ended=self._stop.set)
        connection = Connection(self._handle, self._transport)
        self._ready.set_result(connection)
        try:
            await self._stop.wait()
        finally:
            await connection.close()
        if self._transport.failure is not None:
            raise self._transport.failure

    def _broken(self) -> AgentError:
        transport = self._transport
        failure = self._failure or (transport.failure if transport is not None else None)
        return failure or agent_error(self._leg, "ended in the middle of its answer.")

    async def _request(self, name: str, params: BaseModel, kind: type[Model]) -> Model:
        connection = self._ready.result()
        try:
            answer = await connection.send_request(AGENT_METHODS[name], serialize_params(params))
            return kind.model_validate(answer if isinstance(answer, dict) else {})
        except RequestError as error:
            logged = f"{error.code} {error} {error.data}"
            raise agent_error(self._leg, f"answered {AGENT_METHODS[name]} with an error.", logged=logged) from None
        except ValidationError as error:
            reason = f"answered {AGENT_METHODS[name]} with something that is not the protocol's."
            raise agent_error(self._leg, reason, logged=str(error)) from None
        except ConnectionError:
            await self._ended()
            raise self._broken() from None

    async def _ended(self) -> None:
        """Waits for the end of the program, which knows why it ended."""
        self._stop.set()
        if self._running is not None and not self._running.done():
            await asyncio.wait([self._running])

    async def _handle(self, method: str, params: Any, is_notification: bool) -> Any:
        """Answers a message of the agent. An error is the agent's; nothing else is raised."""
        given = params if isinstance(params, dict) else {}
        try:
            if method == CLIENT_METHODS["session_update"]:
                return self._take_update(given)
            if is_notification:
                return None
            if method == CLIENT_METHODS["session_request_permission"]:
                return await self._ask(schema.RequestPermissionRequest.model_validate(given))
            if method == CLIENT_METHODS["fs_read_text_file"]:
                return await self._read(schema.ReadTextFileRequest.model_validate(given))
            if method == CLIENT_METHODS["fs_write_text_file"]:
                return await self._write(schema.WriteTextFileRequest.model_validate(given))
        except ValidationError:
            raise RequestError.invalid_params() from None
        except FileRefused as refused:
            raise RequestError(-32602, str(refused)) from None
        # Terminals are refused like all that was not offered.
        raise RequestError.method_not_found(method[:100])

    def _take_update(self, params: dict[str, Any]) -> None:
        """Keeps an update. One that is no ACP is dropped: newer agents have kinds that this version does not know."""
        if self._silent:
            return
        try:
            update = schema.SessionNotification.model_validate(params).update
        except ValidationError:
            return
        if (news := news_of(update)) is not None:
            self._items.put_nowait(news)

    async def _ask(self, request: schema.RequestPermissionRequest) -> schema.RequestPermissionResponse:
        answer: asyncio.Future[schema.RequestPermissionResponse] = asyncio.get_running_loop().create_future()
        permission = permission_of(request, answer)
        if (known := self.repeated.pop(permission.mark, None)) is not None:
            permission.decide(approved=known[0], comment=known[1])
        else:
            self._items.put_nowait(permission)
        try:
            return await answer
        except asyncio.CancelledError:
            if not answer.cancelled():
                raise
            outcome = schema.DeniedOutcome(outcome="cancelled")
            return schema.RequestPermissionResponse(outcome=outcome)

    async def _read(self, request: schema.ReadTextFileRequest) -> schema.ReadTextFileResponse:
        text = await asyncio.to_thread(read_text, self._directory, request.path, line=request.line, limit=request.limit)
        return schema.ReadTextFileResponse(content=text)

    async def _write(self, request: schema.WriteTextFileRequest) -> schema.WriteTextFileResponse:
        await asyncio.to_thread(write_text, self._directory, request.path, request.content)
        return schema.WriteTextFileResponse()
