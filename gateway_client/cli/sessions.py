"""`sessions`, `runs`, `watch`, `pending`, `approve`, `reject`, `respond`, `abort`: conversations of anybody's."""

from __future__ import annotations

import json
from itertools import islice
from typing import Annotated, Any

import typer

from gateway_client.cli.asks import args_text
from gateway_client.cli.command import PATIENT, Cli, command
from gateway_client.cli.conversation import waiting_text
from gateway_client.cli.feed import EventFeed
from gateway_client.cli.plain_text import one_line
from gateway_client.cli.run_view import RunView
from gateway_client.cli.when import since_text
from gateway_client.errors import GatewayError
from gateway_client.events import ApprovalRequired, AskUser
from gateway_client.results import PendingApproval, PendingQuestion

SessionArgument = Annotated[str, typer.Argument(help="The session's id.", show_default=False)]
ApprovalArgument = Annotated[
    str | None, typer.Argument(help="The approval's id; may be left out when only one waits.", show_default=False)
]


def register(app: typer.Typer) -> None:
    for each in (sessions, runs, watch, pending, approve, reject, respond, abort):
        command(app)(each)


def sessions(
    cli: Cli,
    state: Annotated[str | None, typer.Option("--state", help="Only sessions in this state.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Only sessions with this agent.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="The number of sessions.", min=1)] = 20,
) -> None:
    """List sessions, the newest first."""
    with cli.gateway() as gateway:
        found = list(islice(gateway.sessions.list(state=state, agent=agent), limit))
    if cli.screen.as_json:
        cli.screen.document(found)
        return
    rows = [
        (
            each.session_id,
            each.state,
            each.agent or each.model,
            one_line(each.title or "", 40),
            f"{each.turns:,}",
            f"{each.total_tokens:,}",
            since_text(each.updated_at),
        )
        for each in found
    ]
    columns = ("SESSION", "STATE", "AGENT", "TITLE", "TURNS#", "TOKENS#", "CHANGED")
    cli.screen.table(columns, rows, empty="There are no sessions.")


def runs(
    cli: Cli,
    session: SessionArgument,
    limit: Annotated[int, typer.Option("--limit", "-n", help="The number of runs.", min=1)] = 20,
) -> None:
    """List the runs of a session, the newest first."""
    with cli.gateway() as gateway:
        found = list(islice(gateway.sessions.get(session).runs(), limit))
    if cli.screen.as_json:
        cli.screen.document(found)
        return
    rows = [
        (
            each.request_id,
            each.end_reason or each.status,
            f"{each.token_usage.total_tokens:,}",
            f"${each.cost_usd:.4f}" if each.cost_known else "unknown",
            since_text(each.created_at),
            one_line(each.last_message.content if each.last_message else "", 60),
        )
        for each in found
    ]
    cli.screen.table(("RUN", "STATUS", "TOKENS#", "COST#", "STARTED", "ANSWER"), rows, empty="The session has no runs.")


def watch(
    cli: Cli,
    session: SessionArgument,
    everything: Annotated[bool, typer.Option("--all", help="From the first event, not from now.")] = False,
    since: Annotated[str | None, typer.Option("--since", help="After this position.")] = None,
    thinking: Annotated[bool, typer.Option("--thinking", help="Show the model's thinking.")] = False,
) -> None:
    """Watch a session until it is closed, whoever works in it. Ctrl-C leaves."""
    with cli.gateway() as gateway:
        now = gateway.sessions.get(session).status()
    with cli.gateway(PATIENT) as gateway:
        watched = gateway.sessions.get(session)
        position = since if since is not None else 0 if everything else now.last_event_index
        if not cli.screen.as_json:
            cli.screen.note(f"Watching {session}, which is {now.state}. Ctrl-C leaves.")
        view = RunView(cli.screen, thinking=thinking, prompts=True, drawn=False)
        with view, EventFeed(watched.events(position)) as feed:
            while (event := feed.next()) is not None:
                view.show(event)
                if isinstance(event, (ApprovalRequired, AskUser)) and not cli.screen.as_json:
                    view.note(waiting_text(session, event), "yellow")


def pending(cli: Cli, session: SessionArgument) -> None:
    """Show the approvals and questions that a session waits for."""
    with cli.gateway() as gateway:
        status = gateway.sessions.get(session).status()
    if cli.screen.as_json:
        cli.screen.document({"approvals": status.pending_approvals, "questions": status.pending_questions})
        return
    for approval in status.pending_approvals:
        cli.screen.fields([("approval", approval.approval_id), ("tool", approval.tool_name)])
        cli.screen.text(args_text(approval.args))
    for question in status.pending_questions:
        cli.screen.fields([("question", question.ref), ("text", question.question)])
        for option in question.options:
            cli.screen.text(f"  {one_line(option['id'])}  {one_line(option.get('label', ''))}")
    if not (status.pending_approvals or status.pending_questions):
        cli.screen.note("The session waits for nobody.")


def approve(
    cli: Cli,
    session: SessionArgument,
    approval: ApprovalArgument = None,
    args: Annotated[str | None, typer.Option("--args", help="Other arguments for the call, as JSON.")] = None,
    comment: Annotated[str | None, typer.Option("--comment", help="A comment that is stored with it.")] = None,
    remember: Annotated[
        bool, typer.Option("--remember", help="Later calls of this tool in this session need no approval.")
    ] = False,
) -> None:
    """Approve a tool call that a session waits for."""
    changed = _json_object(args)
    with cli.gateway() as gateway:
        opened = gateway.sessions.get(session)
        found = _the_approval(opened.status().pending_approvals, approval, session)
        opened.approve(found.approval_id, args=changed, comment=comment, args_hash=found.args_hash, remember=remember)
    _decided(cli, found, "approved")


def reject(
    cli: Cli,
    session: SessionArgument,
    approval: ApprovalArgument = None,
    reason: Annotated[str | None, typer.Option("--reason", help="The reason, which the model is told.")] = None,
) -> None:
    """Reject a tool call that a session waits for."""
    with cli.gateway() as gateway:
        opened = gateway.sessions.get(session)
        found = _the_approval(opened.status().pending_approvals, approval, session)
        opened.reject(found.approval_id, reason=reason)
    _decided(cli, found, "rejected")


def respond(
    cli: Cli,
    session: SessionArgument,
    answer: Annotated[list[str], typer.Argument(help="The answer, or the id of an option.", show_default=False)],
    ref: Annotated[str | None, typer.Option("--ref", help="The question, when several wait.")] = None,
) -> None:
    """Answer a question that a session waits for."""
    with cli.gateway() as gateway:
        opened = gateway.sessions.get(session)
        found = _the_question(opened.status().pending_questions, ref, session)
        opened.respond(found.ref, " ".join(answer))
    if cli.screen.as_json:
        cli.screen.document({"ref": found.ref, "status": "answered"})
    else:
        cli.screen.note(f"Answered: {one_line(found.question)}")


def abort(cli: Cli, session: SessionArgument) -> None:
    """Abort the current run of a session."""
    with cli.gateway() as gateway:
        gateway.sessions.get(session).abort()
    if cli.screen.as_json:
        cli.screen.document({"session": session, "status": "aborted"})
    else:
        cli.screen.note("Aborted.")


def _json_object(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"--args is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise typer.BadParameter("--args is not a JSON object")
    return value


def _the_approval(waiting: list[PendingApproval], wanted: str | None, session: str) -> PendingApproval:
    found = [each for each in waiting if wanted in (None, each.approval_id)]
    if len(found) == 1:
        return found[0]
    ids = ", ".join(each.approval_id for each in waiting)
    if not waiting:
        raise GatewayError(f"Session {session} waits for no approval.")
    raise GatewayError(f"Session {session} waits for these approvals: {ids}. Name one.")


def _the_question(waiting: list[PendingQuestion], wanted: str | None, session: str) -> PendingQuestion:
    found = [each for each in waiting if wanted in (None, each.ref)]
    if len(found) == 1:
        return found[0]
    if not waiting:
        raise GatewayError(f"Session {session} has no question.")
    raise GatewayError(f"Session {session} has these questions: {', '.join(each.ref for each in waiting)}. Use --ref.")


def _decided(cli: Cli, approval: PendingApproval, status: str) -> None:
    if cli.screen.as_json:
        cli.screen.document({"approvalId": approval.approval_id, "toolName": approval.tool_name, "status": status})
    else:
        cli.screen.note(f"{status.capitalize()}: {one_line(approval.tool_name)} {one_line(str(approval.args))}")
