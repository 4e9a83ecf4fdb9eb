"""Commands: functions that get a `Cli` and may be given `--json` and `--url` before or after their name.

A failure of the gateway is one sentence on standard error and exit code 1; Ctrl-C is 130.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Annotated, Any

import typer

from gateway_client.cli.failures import failure_code, failure_explain
from gateway_client.cli.screen import Screen
from gateway_client.cli.settings import Settings, settings_load
from gateway_client.errors import GatewayError
from gateway_client.sync import Gateway
from gateway_client.transport import Timeouts

IMPATIENT = Timeouts(connect=5, retry=1.0, resume=60)
"""A person waits: what does not answer at once is told."""
PATIENT = Timeouts(connect=5, retry=60, resume=300)
"""In the middle of a conversation a restart of the gateway is waited for."""
INTERRUPTED = 130

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON: one document, or a line per item of a stream.")]
UrlOption = Annotated[str | None, typer.Option("--url", help="The gateway's address, before AGENT_GATEWAY_URL.")]


@dataclass(slots=True)
class Cli:
    """The screen and the settings of one command."""

    screen: Screen
    url: str | None
    _settings: list[Settings] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        if not self._settings:
            self._settings.append(settings_load(self.url))
        return self._settings[0]

    @contextmanager
    def gateway(self, timeouts: Timeouts = IMPATIENT) -> Iterator[Gateway]:
        """Opens the gateway, and closes it."""
        with Gateway(self.settings.url, self.settings.api_key, timeouts=timeouts) as gateway:
            yield gateway

    def explain(self, error: Exception) -> str:
        return failure_explain(error, self._settings[0] if self._settings else None)


def command(app: typer.Typer, name: str | None = None, **options: Any) -> Callable[..., Any]:
    """Registers a function as a command. Its first parameter, the `Cli`, is not one of the command line's."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def run(ctx: typer.Context, as_json: bool, url: str | None, **given: Any) -> None:
            before = ctx.find_root().obj or {}
            cli = Cli(Screen(as_json=as_json or before.get("json", False)), url or before.get("url"))
            with _failures_told(cli):
                function(cli, **given)

        signature = inspect.signature(function, eval_str=True)
        parameter = inspect.Parameter
        own = list(signature.parameters.values())[1:]
        added = [
            parameter("as_json", parameter.KEYWORD_ONLY, default=False, annotation=JsonOption),
            parameter("url", parameter.KEYWORD_ONLY, default=None, annotation=UrlOption),
        ]
        context = parameter("ctx", parameter.KEYWORD_ONLY, annotation=typer.Context)
        keywords = [each.replace(kind=parameter.KEYWORD_ONLY) for each in own]
        run.__signature__ = inspect.Signature([context, *keywords, *added])  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in (context, *keywords, *added)}
        app.command(name, **options)(run)
        return function

    return register


@contextmanager
def _failures_told(cli: Cli) -> Iterator[None]:
    try:
        yield
    except GatewayError as error:
        cli.screen.fail(cli.explain(error), failure_code(error))
        raise typer.Exit(1) from error
    except EOFError as error:
        cli.screen.fail("Standard input ended before the answer.")
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(INTERRUPTED) from error
    except BrokenPipeError as error:
        # The reader has gone, as `head` does. Python would complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from error
