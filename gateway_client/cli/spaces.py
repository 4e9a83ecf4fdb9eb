"""`create-space` and `space …`: messages and files that agents share."""

from __future__ import annotations

import mimetypes
import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway_client.cli.command import Cli, command
from gateway_client.cli.plain_text import one_line
from gateway_client.cli.when import since_text
from gateway_client.errors import GatewayError

SpaceArgument = Annotated[str, typer.Argument(help="The space's id.", show_default=False)]
NameArgument = Annotated[str, typer.Argument(help="The file's name in the space.", show_default=False)]
WordsArgument = Annotated[list[str], typer.Argument(show_default=False)]


def register(app: typer.Typer) -> None:
    space = typer.Typer(help="Spaces: messages and files that agents share.", no_args_is_help=True)
    for group in (app, space):
        command(group, "create-space")(create_space)
    for each in (show, messages, say, files, put, get, search):
        command(space)(each)
    app.add_typer(space, name="space")


def create_space(
    cli: Cli,
    field: Annotated[
        list[str] | None, typer.Option("--metadata", metavar="NAME=VALUE", help="May be repeated.")
    ] = None,
) -> None:
    """Make a space and print its id."""
    pairs = [each.partition("=") for each in field or ()]
    if wrong := [name for name, sign, _ in pairs if not sign]:
        raise typer.BadParameter(f"--metadata is NAME=VALUE, not '{wrong[0]}'")
    with cli.gateway() as gateway:
        space_id = gateway.spaces.create({name: value for name, _, value in pairs})
    if cli.screen.as_json:
        cli.screen.document({"space_id": space_id})
    else:
        cli.screen.text(space_id)


def show(cli: Cli, space: SpaceArgument) -> None:
    """Show a space with its counts."""
    with cli.gateway() as gateway:
        info = gateway.spaces.get(space)
    if cli.screen.as_json:
        cli.screen.document(info)
        return
    pairs = [
        ("space", info.shared_space_id),
        ("messages", f"{info.message_count:,}"),
        ("files", f"{info.artifact_count:,}"),
        ("changed", since_text(info.updated_at)),
    ]
    cli.screen.fields([*pairs, *((one_line(name), str(value)) for name, value in info.metadata.items())])


def messages(
    cli: Cli,
    space: SpaceArgument,
    limit: Annotated[int, typer.Option("--limit", "-n", help="The number of messages.", min=1)] = 20,
) -> None:
    """Show the newest messages, the oldest of them first."""
    with cli.gateway() as gateway:
        found = list(gateway.spaces.messages(space, limit=limit))[::-1]
    if cli.screen.as_json:
        cli.screen.document(found)
        return
    for message in found:
        cli.screen.note(f"{one_line(message.role, 40)}, {since_text(message.created_at)}")
        cli.screen.text(message.content)


def say(
    cli: Cli,
    space: SpaceArgument,
    words: WordsArgument,
    role: Annotated[str | None, typer.Option("--role", help="Whose message it is.")] = None,
) -> None:
    """Add a message."""
    with cli.gateway() as gateway:
        message = gateway.spaces.add_message(space, " ".join(words), role=role)
    if cli.screen.as_json:
        cli.screen.document(message)
    else:
        cli.screen.text(message.id)


def files(cli: Cli, space: SpaceArgument) -> None:
    """List the files of a space."""
    with cli.gateway() as gateway:
        found = gateway.spaces.artifacts(space)
    if cli.screen.as_json:
        cli.screen.document(found)
        return
    rows = [(each.name, f"{each.size:,}", each.media_type, since_text(each.updated_at)) for each in found]
    cli.screen.table(("FILE", "BYTES#", "TYPE", "CHANGED"), rows, empty="The space has no files.")


def put(
    cli: Cli,
    space: SpaceArgument,
    file: Annotated[Path, typer.Argument(help="The file here.", show_default=False)],
    name: Annotated[str | None, typer.Option("--name", help="Its name in the space.")] = None,
) -> None:
    """Store a file in a space."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise GatewayError(f"{file} cannot be read: {error.strerror}.") from error
    media_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    with cli.gateway() as gateway:
        stored = gateway.spaces.store_artifact(space, name or file.name, content, media_type)
    if cli.screen.as_json:
        cli.screen.document(stored)
    else:
        cli.screen.note(f"Stored {one_line(stored.name)}, {stored.size:,} bytes.")


def get(
    cli: Cli,
    space: SpaceArgument,
    name: NameArgument,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it there; it must not exist.")] = None,
) -> None:
    """Get a file of a space. Without --output its text is printed; into a pipe its bytes as they are."""
    with cli.gateway() as gateway:
        content = gateway.spaces.artifact(space, name)
    if output is not None:
        try:
            with output.open("xb") as file:
                file.write(content)
        except OSError as error:
            raise GatewayError(f"{output} cannot be written: {error.strerror}.") from error
        cli.screen.note(f"Wrote {len(content):,} bytes to {output}.")
    elif cli.screen.as_json:
        cli.screen.document({"name": name, "text": content.decode("utf-8", "replace")})
    elif sys.stdout.isatty():
        cli.screen.text(content.decode("utf-8", "replace"))
    else:
        sys.stdout.buffer.write(content)


def search(
    cli: Cli,
    space: SpaceArgument,
    words: WordsArgument,
    semantic: Annotated[bool, typer.Option("--semantic", help="By meaning, where the gateway can.")] = False,
) -> None:
    """Search the messages and files of a space."""
    with cli.gateway() as gateway:
        found = gateway.spaces.search(space, " ".join(words), mode="semantic" if semantic else None)
    if cli.screen.as_json:
        cli.screen.document(found)
        return
    rows = [(each.kind, each.name or each.id or "", one_line(each.excerpt, 100)) for each in found]
    cli.screen.table(("KIND", "NAME", "TEXT"), rows, empty="Nothing was found.")
