"""The conversation of one leg with an agent: prompts, answers, and decisions about what the agent may do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from acp import schema

from agents_app.acp.messages import News, Permission
from agents_app.acp.parked import PARKED
from agents_app.acp.process import AgentProcess, Ended
from agents_app.agent_http import agent_error
from agents_app.engine import Leg, ToolRequest, Usage
from agents_app.exchange import Answer, Message, Output, ToolOutput, joined_text
from agents_app.programs.program import program_fields

HISTORY_CHARACTERS = 100_000
"""The end of the conversation that an agent is told which cannot open its session again."""

MAX_DECISIONS = 100
"""Decisions of a run that are remembered."""

CONTINUE = (
    "The session was interrupted while it waited for a decision about: {names}. "
    "Make that call again, and go on with the task."
)
"""The prompt of an agent that was started again; it asks again and gets the decision at once."""


class Conversation:
    """The conversation of a leg. It owns the running agent until it is parked or ended."""

    def __init__(self, leg: Leg) -> None:
        self._leg = leg
        self._process: AgentProcess | None = None

    async def ask(self, messages: tuple[Message, ...], state: Mapping[str, Any], output: Output) -> Answer:
        """Sends a prompt or decisions, and reads what the agent answers up to its end or its next requests for
        permission (`agents_app.exchange.Ask`)."""
        outputs = [message for message in messages if isinstance(message, ToolOutput)]
        decided = _decisions(state, outputs) if outputs else {}
        process = self._process or (self._take_parked() if outputs else None)
        if process is None or not process.alive:
            await self.end()
            process = await self._start(state)
            process.decided, process.repeated = decided, dict(decided)
            process.prompt(self._restarted(process, outputs) if outputs else self._first(process, messages))
        elif outputs:
            process.decided = decided
            _decide(process, outputs)
        else:
            process.decided, process.repeated = {}, {}
            process.prompt(joined_text(messages))
        return await self._read(process, output)

    async def park(self) -> None:
        """Keeps the agent for the next leg of the run, if it waits for permission; ends it otherwise."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.alive and process.asked:
            await PARKED.put(self._leg.run.run_id, process)
        else:
            await process.close()

    async def end(self) -> None:
        """Ends the agent; one that is answering is told first."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            await process.cancel()
        finally:
            await process.close()

    def _take_parked(self) -> AgentProcess | None:
        parked = PARKED.take(self._leg.run.run_id)
        self._process = parked if isinstance(parked, AgentProcess) else None
        return self._process

    async def _start(self, state: Mapping[str, Any]) -> AgentProcess:
        fields = await program_fields(self._leg)
        if not fields.command:
            raise agent_error(self._leg, "has no command.", code="unprocessable")
        self._process = process = AgentProcess(self._leg, fields, (fields.command, *fields.args))
        session = state.get("session")
        await process.start(session if isinstance(session, str) else None)
        return process

    def _first(self, process: AgentProcess, messages: tuple[Message, ...]) -> str:
        """Returns the prompt of a started agent. One that opened no session hears what was said before."""
        text = joined_text(messages)
        return text if process.loaded else self._with_history(text)

    def _restarted(self, process: AgentProcess, outputs: Sequence[ToolOutput]) -> str:
        names = ", ".join(output.name for output in outputs)
        if process.loaded:
            return CONTINUE.format(names=names)
        own = [one for one in self._leg.history if one.role == "user" and one.run_id == self._leg.run.run_id]
        return self._with_history("\n\n".join(one.content for one in own))

    def _with_history(self, text: str) -> str:
        left, kept = HISTORY_CHARACTERS, []
        for message in reversed(self._leg.history):
            if message.role not in ("user", "assistant") or message.run_id == self._leg.run.run_id:
                continue
            left -= len(message.content)
            if left < 0:
                break
            kept.append(f"{message.role}: {message.content}")
        parts = [self._leg.session.system_prompt] if self._leg.session.system_prompt else []
        if kept:
            parts.append("The conversation so far:\n\n" + "\n\n".join(reversed(kept)))
        return "\n\n".join([*parts, text])

    async def _read(self, process: AgentProcess, output: Output) -> Answer:
        gap = False
        while True:
            item = await process.next_item()
            if isinstance(item, Ended):
                return self._answer(process, item)
            if isinstance(item, Permission):
                process.asked.append(item)
                if not process.more_items():
                    return self._request_permissions(process)
            else:
                gap = await _show(item, output, gap)
                if process.asked and not process.more_items():
                    return self._request_permissions(process)

    def _request_permissions(self, process: AgentProcess) -> Answer:
        agent = self._leg.session.agent or self._leg.session.model
        requests = tuple(
            ToolRequest(
                asked.name,
                asked.args,
                asked.agent_call_id,
                for_agent=True,
                approval_hint=f"The agent {agent} asks for permission ({asked.kind}).",
            )
            for asked in process.asked
        )
        marks = {asked.agent_call_id: asked.mark for asked in process.asked}
        decided = {mark: list(decision) for mark, decision in process.decided.items()}
        return Answer(requests, {"session": process.session_id, "marks": marks, "decided": decided})

    def _answer(self, process: AgentProcess, ended: Ended) -> Answer:
        if ended.error is not None:
            raise ended.error
        assert ended.response is not None
        if ended.response.stop_reason in ("refusal", "cancelled"):
            raise agent_error(self._leg, f"stopped with the reason {ended.response.stop_reason}.")
        return Answer(state={"session": process.session_id}, usage=_usage(self._leg, ended.response.usage))


async def _show(news: News, output: Output, gap: bool) -> bool:
    """Streams what the agent tells. Text after something else begins a new paragraph; returns whether one is due."""
    if news.kind == "text":
        if news.text:
            await output.add_text(("\n\n" if gap and output.text else "") + news.text)
        return gap and not news.text
    if news.kind == "thought":
        await output.add_thinking(news.text)
        return gap
    await output.add_event(news.kind, news.data)
    return True


def _decisions(state: Mapping[str, Any], outputs: Sequence[ToolOutput]) -> dict[str, tuple[bool, str]]:
    """Returns the decisions of the run so far, by the marks of what they are about."""
    before = {mark: (bool(one[0]), str(one[1])) for mark, one in (state.get("decided") or {}).items()}
    marks = state.get("marks") or {}
    now = {
        marks[output.agent_call_id]: (not output.failed, output.content)
        for output in outputs
        if output.agent_call_id in marks
    }
    return dict(list({**before, **now}.items())[-MAX_DECISIONS:])


def _decide(process: AgentProcess, outputs: Sequence[ToolOutput]) -> None:
    # The failed ones last: of requests with one id, which no agent should send, a refused one refuses all.
    decisions = {output.agent_call_id: output for output in sorted(outputs, key=lambda output: output.failed)}
    for asked in process.asked:
        output = decisions[asked.agent_call_id]
        asked.decide(approved=not output.failed, comment=output.content)
    process.asked = []


def _usage(leg: Leg, usage: schema.Usage | None) -> Usage | None:
    if usage is None:
        return None
    cached = usage.cached_read_tokens or 0
    return Usage(
        leg.session.model,
        input_tokens=usage.input_tokens + cached + (usage.cached_write_tokens or 0),
        output_tokens=usage.output_tokens,
        cached_tokens=cached,
        reasoning_tokens=usage.thought_tokens or 0,
    )
