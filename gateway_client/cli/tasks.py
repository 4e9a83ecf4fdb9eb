"""`task`, `to`, `tasks`: work handed to agents, with its progress and its result."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from gateway_client import errors
from gateway_client.cli.command import PATIENT, Cli, command
from gateway_client.cli.live_markdown import markdown
from gateway_client.cli.screen import Screen
from gateway_client.cli.task_view import TaskView
from gateway_client.cli.when import since_text
from gateway_client.mesh_results import Task

Words = Annotated[list[str], typer.Argument(help="The task.", show_default=False)]
SpaceOption = Annotated[str | None, typer.Option("--space", help="The space whose files and messages it may use.")]
TimeoutOption = Annotated[float | None, typer.Option("--timeout", help="Seconds until the task fails.", min=1)]
FileOption = Annotated[list[str] | None, typer.Option("--file", help="A file of the space; may be repeated.")]
DetachOption = Annotated[bool, typer.Option("--detach", "-d", help="Submit it and print its id.")]


def register(app: typer.Typer) -> None:
    for each in (task, to, tasks):
        command(app)(each)


def task(
    cli: Cli,
    words: Words,
    capability: Annotated[
        list[str] | None, typer.Option("--capability", help="What the agent must be able to do; may be repeated.")
    ] = None,
    space: SpaceOption = None,
    file: FileOption = None,
    timeout: TimeoutOption = None,
    detach: DetachOption = False,
) -> None:
    """Hand a task to the agent that the gateway's rules choose; print its result.

    The exit code is 1 when the task fails. Ctrl-C cancels it, a second one leaves.
    """
    _run(cli, words, detach, capabilities=capability, space_id=space, files=file, task_timeout=timeout)


def to(
    cli: Cli,
    agent: Annotated[str, typer.Argument(help="The agent's id.", show_default=False)],
    words: Words,
    space: SpaceOption = None,
    file: FileOption = None,
    timeout: TimeoutOption = None,
    detach: DetachOption = False,
) -> None:
    """Hand a task to one agent; otherwise as 'task'."""
    _run(cli, words, detach, target=agent, space_id=space, files=file, task_timeout=timeout)


def tasks(
    cli: Cli,
    task_id: Annotated[str | None, typer.Argument(help="Show this task.", show_default=False)] = None,
    status: Annotated[str | None, typer.Option("--status", help="Only tasks of this status.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Only tasks of this agent.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="The number of tasks.", min=1)] = 20,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel the task.")] = False,
) -> None:
    """List tasks, the newest first, or show or cancel one."""
    if cancel and task_id is None:
        raise typer.BadParameter("--cancel needs the id of a task")
    with cli.gateway() as gateway:
        if task_id is not None:
            if cancel:
                gateway.tasks.cancel(task_id)
            _task_show(cli.screen, gateway.tasks.get(task_id))
            return
        found = list(gateway.tasks.list(status=status, agent=agent, limit=limit))
    if cli.screen.as_json:
        cli.screen.document(found)
        return
    rows = [(each.id, each.status, ", ".join(each.assigned_agents), since_text(each.created_at)) for each in found]
    cli.screen.table(("TASK", "STATUS", "AGENTS", "SUBMITTED"), rows, empty="There are no tasks.")


def _run(cli: Cli, words: list[str], detach: bool, **fields: Any) -> None:
    text = " ".join(words)
    if detach:
        fields["timeout"] = fields.pop("task_timeout")
        with cli.gateway() as gateway:
            receipt = gateway.tasks.submit(text, **fields)
        if cli.screen.as_json:
            cli.screen.document(receipt)
        else:
            cli.screen.text(receipt.task_id)
        return
    with cli.gateway() as gateway:
        gateway.health()
    with cli.gateway(PATIENT) as gateway:
        view = TaskView(cli.screen, gateway)
        ended = view.follow(gateway.tasks.run(text, **fields))
    if cli.screen.as_json:
        cli.screen.line(ended)
    elif not view.streamed or not isinstance(ended.result, str):
        _result_show(cli.screen, ended.result)
    if ended.error is not None:
        if cli.screen.as_json:
            raise typer.Exit(1)
        raise errors.TaskFailed(ended.error.code, ended.error.message)


def _result_show(screen: Screen, result: Any) -> None:
    if result is None:
        return
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, indent=2)
    if isinstance(result, dict) and screen.interactive:
        for agent, part in result.items():
            screen.note(f"\n{agent}", "bold")
            failed = isinstance(part, dict) and isinstance(part.get("error"), dict)
            shown = part["error"].get("message", "failed") if failed else part
            screen.show(markdown(shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)))
    elif screen.interactive and isinstance(result, str):
        screen.show(markdown(text))
    else:
        screen.text(text)


def _task_show(screen: Screen, task: Task) -> None:
    if screen.as_json:
        screen.document(task)
        return
    pairs = [
        ("task", task.id),
        ("status", task.status + (" (in part)" if task.partial else "")),
        ("agents", ", ".join(task.assigned_agents)),
        ("sessions", ", ".join(task.session_ids)),
        ("submitted", since_text(task.created_at)),
        ("changed", since_text(task.updated_at)),
    ]
    if task.error is not None:
        pairs.append(("error", f"{task.error.code}: {task.error.message}"))
    screen.fields(pairs)
    if task.result is not None:
        screen.out.print()
        _result_show(screen, task.result)
