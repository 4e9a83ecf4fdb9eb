"""A task at the terminal: its progress, what its sessions wait for, and Ctrl-C, which cancels it."""

from __future__ import annotations

import queue
from dataclasses import dataclass, field

from gateway_client import errors
from gateway_client.cli.asks import approval_ask, question_ask
from gateway_client.cli.feed import EventFeed
from gateway_client.cli.run_view import RunView
from gateway_client.cli.screen import Screen
from gateway_client.events import Event, MessageDelta, RunRetried
from gateway_client.mesh_results import Task
from gateway_client.results import PendingApproval, PendingQuestion
from gateway_client.sync import Gateway, Session
from gateway_client.sync_mesh import TaskStream

QUIET_SECONDS = 1.5
"""A task without progress for so long may wait for a person."""


@dataclass(slots=True)
class TaskView:
    """Follows one task. `streamed`: its text was shown while it was written."""

    screen: Screen
    gateway: Gateway
    streamed: bool = False
    _told: set[str] = field(default_factory=set)
    _may_look: bool = True

    def follow(self, stream: TaskStream) -> Task:
        """Shows the task to its end and returns it."""
        is_cancelling = False
        with RunView(self.screen) as view, EventFeed(stream) as feed:
            while True:
                try:
                    if not self._step(view, feed, stream):
                        break
                except KeyboardInterrupt:
                    if is_cancelling or not stream.task_id:
                        raise
                    is_cancelling = True
                    view.note("Cancelling the task; Ctrl-C again leaves.", "yellow")
                    self._cancel(stream.task_id)
        assert stream.task_id is not None
        return self.gateway.tasks.get(stream.task_id)

    def _step(self, view: RunView, feed: EventFeed, stream: TaskStream) -> bool:
        """Shows the next event, or looks for what the task waits for; False at the end."""
        try:
            event = feed.next(QUIET_SECONDS)
        except queue.Empty:
            if stream.task_id:
                self._ask(view, stream.task_id)
            return True
        if event is not None:
            self._show(view, event)
        return event is not None

    def _show(self, view: RunView, event: Event) -> None:
        data = event.data
        if self.screen.as_json:
            self.screen.line(data)
        elif event.type == "task.progress" and self.screen.interactive:
            if data.get("reset"):
                view.show(Event(RunRetried.kind, data, event.id))
            self.streamed = self.streamed or bool(data["delta"])
            view.show(Event(MessageDelta.kind, data, event.id))
        elif event.type == "task.submitted":
            view.note(f"Task {data['task_id']}")
        elif event.type == "task.assigned":
            view.note(f"For {', '.join(data.get('agent_ids') or [data['agent_id']])}")

    def _ask(self, view: RunView, task_id: str) -> None:
        """Asks for the approvals and answers that the task's sessions wait for. A key without the scope cannot."""
        if not self._may_look or self.screen.as_json:
            return
        try:
            for session_id in self.gateway.tasks.get(task_id).session_ids:
                session = self.gateway.sessions.get(session_id)
                status = session.status()
                waiting: list[PendingApproval | PendingQuestion] = [
                    *status.pending_approvals,
                    *status.pending_questions,
                ]
                for each in waiting:
                    self._settle(view, task_id, session, each)
        except errors.Forbidden:
            self._may_look = False
        except (errors.Conflict, errors.Gone, errors.NotFound) as error:
            view.note(str(error), "yellow")

    def _settle(
        self, view: RunView, task_id: str, session: Session, waiting: PendingApproval | PendingQuestion
    ) -> None:
        name = waiting.approval_id if isinstance(waiting, PendingApproval) else waiting.ref
        if name in self._told:
            return
        self._told.add(name)
        if not self.screen.interactive:
            view.note(f"It waits for a person: agent-gateway pending {session.id}", "yellow")
            return

        def has_ended() -> bool:
            return self.gateway.tasks.get(task_id).has_ended

        with view.pause():
            if isinstance(waiting, PendingApproval):
                decision = approval_ask(self.screen, waiting.tool_name, waiting.args, waiting.hint, has_ended)
                if decision is not None and decision.approve:
                    session.approve(waiting.approval_id, args_hash=waiting.args_hash, remember=decision.remember)
                elif decision is not None:
                    session.reject(waiting.approval_id, reason=decision.reason)
            else:
                answer = question_ask(self.screen, waiting.question, waiting.options, has_ended)
                if answer is not None:
                    session.respond(waiting.ref, answer)

    def _cancel(self, task_id: str) -> None:
        try:
            self.gateway.tasks.cancel(task_id)
        except errors.Conflict:
            return  # it has ended
