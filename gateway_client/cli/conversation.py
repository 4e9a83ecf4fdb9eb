"""A run at the terminal: its events, the approvals and questions that it waits for, and Ctrl-C.

The first Ctrl-C aborts the run and shows how it ends; the second one leaves.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from gateway_client import errors
from gateway_client.background import Stream
from gateway_client.cli.asks import approval_ask, question_ask
from gateway_client.cli.feed import EventFeed
from gateway_client.cli.plain_text import one_line
from gateway_client.cli.run_view import RunView
from gateway_client.cli.screen import Screen
from gateway_client.events import AgentEnd, ApprovalRequired, ApprovalResolved, AskUser, Event, QuestionResolved
from gateway_client.sync import Session


@dataclass(slots=True)
class Conversation:
    """A session at a terminal."""

    screen: Screen
    session: Session
    thinking: bool = False

    def follow(self, stream: Stream) -> Event | None:
        """Shows a run to its end and returns its last event."""
        last: Event | None = None
        is_aborting = False
        with RunView(self.screen, thinking=self.thinking) as view, EventFeed(stream) as feed:
            while True:
                try:
                    event = feed.next()
                    if event is None:
                        return last
                    last = event
                    view.show(event)
                    if self.screen.interactive and isinstance(event, (ApprovalRequired, AskUser)):
                        with view.pause():
                            self._reply(event, feed)
                    elif isinstance(event, (ApprovalRequired, AskUser)) and not self.screen.as_json:
                        view.note(waiting_text(self.session.id, event), "yellow")
                except KeyboardInterrupt:
                    if is_aborting:
                        raise
                    is_aborting = True
                    view.note("Aborting the run; Ctrl-C again leaves.", "yellow")
                    self._abort(last)

    def _reply(self, event: ApprovalRequired | AskUser, feed: EventFeed) -> None:
        status = self.session.status()
        try:
            if isinstance(event, ApprovalRequired):
                if all(pending.approval_id != event.approval_id for pending in status.pending_approvals):
                    return
                decision = approval_ask(
                    self.screen, event.tool_name, event.args, event.hint, lambda: feed.comes(_resolves(event))
                )
                if decision is not None and decision.approve:
                    self.session.approve(event.approval_id, args_hash=event.args_hash, remember=decision.remember)
                elif decision is not None:
                    self.session.reject(event.approval_id, reason=decision.reason)
                return
            if all(pending.ref != event.ref for pending in status.pending_questions):
                return
            answer = question_ask(
                self.screen, event.question, event.options or [], lambda: feed.comes(_resolves(event))
            )
            if answer is not None:
                self.session.respond(event.ref, answer)
        except (errors.Conflict, errors.Gone) as error:
            self.screen.note(str(error), "yellow")  # somebody else was faster, or it has expired

    def _abort(self, last: Event | None) -> None:
        try:
            if last is not None and last.request_id:
                self.session.abort_run(last.request_id)
            else:
                self.session.abort()
        except errors.Conflict:
            return  # it has ended: the stream says how


def has_answer(last: Event | None) -> bool:
    """True for a run that ended with its answer."""
    return isinstance(last, AgentEnd)


def waiting_text(session_id: str, event: ApprovalRequired | AskUser) -> str:
    """Returns the command that answers what a run waits for."""
    if isinstance(event, ApprovalRequired):
        return (
            f"{event.tool_name} needs an approval: agent-gateway approve {session_id} {event.approval_id}"
            f" (or reject); its arguments: {one_line(json.dumps(event.args, ensure_ascii=False))}"
        )
    question = one_line(event.question)
    return f"A question: {question} — agent-gateway respond {session_id} <answer> --ref {event.ref}"


def _resolves(asked: Event) -> Callable[[Event], bool]:
    def check(event: Event) -> bool:
        if isinstance(asked, ApprovalRequired) and isinstance(event, ApprovalResolved):
            return bool(event.approval_id == asked.approval_id)
        if isinstance(asked, AskUser) and isinstance(event, QuestionResolved):
            return bool(event.ref == asked.ref)
        return event.is_terminal

    return check
