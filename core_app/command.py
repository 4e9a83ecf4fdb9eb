"""The base of the gateway's commands: every failure is a sentence on standard error, without a class and a traceback.

A command that works on the gateway's data never creates it: started in the wrong directory it would otherwise do its
work, a backup for instance, on an empty gateway.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from django.core.checks import ERROR, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, handle_default_options
from django.db import DatabaseError, connections

from core_app.config_file import ConfigurationError
from core_app.database_files import data_missing, database_reason
from core_app.errors import GatewayError

SETTINGS_TAG = "gateway"


class GatewayCommand(BaseCommand):
    """A command of the gateway. `needs_data`: it works on the database, which must be there; `checks_settings`: it
    starts only with settings that can work."""

    needs_data = True
    checks_settings = False
    requires_system_checks = ()
    suppressed_base_arguments = {
        "--version", "--verbosity", "--settings", "--pythonpath", "--traceback", "--no-color", "--force-color",
        "--skip-checks",
    }  # fmt: skip

    def run_from_argv(self, argv: Sequence[str]) -> None:
        """Runs the command; ends the process with 1 and a sentence when it fails."""
        self._called_from_command_line = True
        options = self.create_parser(argv[0], argv[1]).parse_args(list(argv[2:]))
        given = vars(options)
        positional = given.pop("args", ())
        handle_default_options(options)
        try:
            self.execute(*positional, **given)
        except CommandError as error:
            if options.traceback:
                raise
            self.stderr.write(str(error))
            sys.exit(error.returncode)
        finally:
            connections.close_all()

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Checks what the command needs and runs it; raises CommandError with a sentence."""
        if self.checks_settings:
            self._check_settings()
        if self.needs_data and (fault := data_missing()) is not None:
            raise CommandError(fault)
        try:
            return super().execute(*args, **options)
        except (ImproperlyConfigured, ConfigurationError) as error:
            raise CommandError(str(error)) from None
        except GatewayError as error:
            raise CommandError(error.message) from None
        except DatabaseError as error:
            raise CommandError(f"The database cannot be used: {database_reason(error)}") from None

    def _check_settings(self) -> None:
        messages = run_checks(tags=[SETTINGS_TAG])
        if errors := [f"{message.msg} ({message.id})" for message in messages if message.level >= ERROR]:
            raise CommandError("\n".join(errors))
        for message in messages:
            self.stderr.write(f"warning: {message.msg} ({message.id})")

    def confirm(self, question: str, *, word: str) -> bool:
        """Asks on the terminal for `word`; raises CommandError where nobody can answer."""
        try:
            return input(f"{question} Type '{word}' to go on: ") == word
        except EOFError:
            raise CommandError("Nobody can be asked here, and nothing was done: add --yes.") from None

    def write_table(self, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Prints rows under their heads, in columns of equal width; a script reads them with --json instead."""
        lines = [list(map(str, row)) for row in rows]
        if not lines:
            self.stderr.write("There is none.")
            return
        table = [list(heads), *lines]
        widths = [max(len(line[column]) for line in table) for column in range(len(heads))]
        for line in table:
            padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
            self.stdout.write("  ".join(padded).rstrip())
