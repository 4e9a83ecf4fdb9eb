"""`chat`: a conversation with streaming, approvals and questions at the terminal."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gateway_client import errors
from gateway_client.cli.command import PATIENT, Cli, command
from gateway_client.cli.conversation import Conversation, has_answer
from gateway_client.cli.keys import line_ask
from gateway_client.sync import Gateway, Session

DEMO = "demo:tour"
HELP = """/model NAME  continue with another model
/quit        leave (also Ctrl-D); the session stays"""


def register(app: typer.Typer) -> None:
    command(app)(chat)


def chat(
    cli: Cli,
    words: Annotated[list[str] | None, typer.Argument(help="The first prompt.", show_default=False)] = None,
    session: Annotated[str | None, typer.Option("--session", "-s", help="Continue a session.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="The model of a new session.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", "-a", help="The agent of a new session.")] = None,
    system: Annotated[str | None, typer.Option("--system", help="The system prompt of a new session.")] = None,
    thinking: Annotated[bool, typer.Option("--thinking", help="Show the model's thinking.")] = False,
) -> None:
    """Talk with an agent.

    Without --model and --agent: the model of the configuration, else the first one that the gateway offers.
    Ctrl-C aborts the run, a second one leaves. A line that ends with a backslash goes on in the next one. Without a
    terminal, standard input is one prompt.
    """
    first = " ".join(words or []) or _piped(cli)
    with cli.gateway() as gateway:
        gateway.health()
    with cli.gateway(PATIENT) as gateway:
        opened = _open(cli, gateway, session, model, agent, system)
        talk = Conversation(cli.screen, opened, thinking)
        last = talk.follow(opened.prompt(first)) if first else None
        if cli.screen.interactive:
            try:
                _talk(cli, talk, opened)
            finally:
                cli.screen.note(f"\nThe session stays: agent-gateway chat --session {opened.id}")
        elif not has_answer(last):
            raise typer.Exit(1)


def _open(
    cli: Cli, gateway: Gateway, session: str | None, model: str | None, agent: str | None, system: str | None
) -> Session:
    if session is None:
        wanted = model or (None if agent else cli.settings.model or _any_model(gateway))
        opened = gateway.sessions.create(wanted, agent=agent, system_prompt=system)
    elif model or agent or system:
        raise typer.BadParameter("--session continues a session that has them already: leave the others out")
    else:
        opened = gateway.sessions.get(session)
    if not cli.screen.as_json:
        cli.screen.note(f"Session {opened.id}, {opened.info.agent or opened.info.model}. /help tells the commands.")
    return opened


def _any_model(gateway: Gateway) -> str:
    """Returns the first model that the gateway offers; its demo while no provider has a key."""
    offered = gateway.models()
    return offered[0].id if offered else DEMO


def _piped(cli: Cli) -> str:
    if cli.screen.interactive or sys.stdin.isatty():
        return ""
    text = sys.stdin.read().strip()
    if not text:
        raise typer.BadParameter("there is no prompt: give it as words, or on standard input")
    return text


def _talk(cli: Cli, talk: Conversation, session: Session) -> None:
    while True:
        try:
            prompt = line_ask("\n› ").strip()
        except EOFError:
            cli.screen.err.print()
            return
        if prompt in ("/quit", "/exit"):
            return
        try:
            if prompt.startswith("/"):
                _slash(cli, session, prompt)
            elif prompt:
                talk.follow(session.prompt(prompt))
        except errors.GatewayError as error:  # told, and the conversation goes on
            cli.screen.fail(cli.explain(error))


def _slash(cli: Cli, session: Session, line: str) -> None:
    name, _, argument = line.partition(" ")
    if name == "/model" and argument.strip():
        session.switch_model(argument.strip())
        cli.screen.note(f"From now on: {argument.strip()}")
    else:
        cli.screen.note(HELP)
