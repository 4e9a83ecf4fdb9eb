"""The command `gateway`: everything that an operator does from a shell. `manage.py` is the same.

It reads the settings, which `serve --host` and `--port` override, decides whether the command may create the data
directory, and runs the command. Each failure is one sentence on standard error and a non-zero exit code.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence

# Imports create a quarter of a million objects and free hardly any. With its defaults the garbage collector goes
# through them again and again, a sixth of a start. `serve` and `worker` set thresholds of their own once they serve.
gc.set_threshold(1_000_000, 20, 20)

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import ManagementUtility
from django.db import DatabaseError
from environs import EnvError

from gateway_project.configuration import data_creation

COMMANDS = {
    "Start": {
        "serve": "serve the gateway (--host, --port)",
        "worker": "run sessions that web processes with GATEWAY_RUNNER=worker queue",
        "prepare": "migrate the database and seed keys, without serving",
    },
    "Look": {
        "doctor": "check everything that the gateway needs, and say what is wrong",
        "usage": "report, fold or rebuild usage: gateway usage report --by model",
    },
    "Who may": {
        "tenant": "list, add, set, disable and enable tenants",
        "key": "list, issue and revoke API keys",
        "user": "list and add people who sign in, give roles, set passwords, disable and enable",
    },
    "Models": {"provider": "list, add, remove and test model providers"},
    "Data": {
        "backup": "copy the data of an embedded gateway, while it serves",
        "restore": "put a backup into the data directory",
        "export": "write a tenant's sessions as JSON lines",
        "erase": "erase a session, an end user or a tenant's sessions",
        "retention": "remove now what is older than tenants keep it",
        "restored": "tell clients that the database went back in time",
        "reseal": "encrypt stored secrets under the present GATEWAY_SECRET_KEY",
    },
}
"""The commands of the gateway, in groups, each with its line of help."""

CREATING = frozenset({"serve", "prepare", "runserver", "migrate", "test"})
"""Commands that may create the data directory and its secret key."""

ON_DATA = frozenset({"createsuperuser", "changepassword", "shell", "dbshell", "dumpdata", "loaddata", "showmigrations"})
"""Commands of Django that open the database, which SQLite would create."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command of `arguments`, by default those of the process."""
    argv = list(["gateway", *sys.argv[1:]] if arguments is None else arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
    # Databases, backups and exports contain what only their owner may read, whatever the directory allows.
    os.umask(0o077)
    command = argv[1] if len(argv) > 1 else ""
    if is_help(argv):
        sys.stdout.write(help_text())
        return
    if command == "serve":
        take_address(argv[2:])
    if command not in CREATING or {"-h", "--help"} & set(argv):
        data_creation.forbid()
    try:
        settings.INSTALLED_APPS  # noqa: B018  (reads the settings)
    except (EnvError, ImproperlyConfigured) as error:
        sys.exit(str(error))
    try:
        _run(argv, command)
    except BrokenPipeError:
        # The reader closed the pipe, as `head` does; Python would report it again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        # As a shell reports a process that SIGINT ended.
        sys.exit(130)


def is_help(argv: Sequence[str]) -> bool:
    """Returns True where the list of commands is asked for: without a command, and with `help` or `--help` alone.
    `help --commands` lists Django's, too."""
    return list(argv[1:]) in ([], ["help"], ["--help"], ["-h"])


def help_text() -> str:
    """Returns the list of commands in their groups."""
    lines = ["gateway COMMAND …     ('gateway COMMAND --help' describes one)", ""]
    for group, commands in COMMANDS.items():
        lines += [f"{group}:", *(f"  {name:<10} {text}" for name, text in commands.items()), ""]
    lines.append("Settings are in .env and the environment: docs/configuration.md.")
    lines.append("Django's commands work, too: 'gateway help --commands' lists all.")
    return "\n".join(lines) + "\n"


def take_address(arguments: Sequence[str]) -> None:
    """Puts `--host` and `--port` into the environment, where the settings read them."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--host")
    parser.add_argument("--port")
    given, _ = parser.parse_known_args(list(arguments))
    for name, value in (("GATEWAY_HOST", given.host), ("GATEWAY_PORT", given.port)):
        if value:
            os.environ[name] = value


def _run(argv: list[str], command: str) -> None:
    utility = ManagementUtility(argv)
    if command not in ON_DATA:
        utility.execute()
        return
    # After the settings, which name the database.
    from core_app.database_files import data_missing, database_reason  # noqa: PLC0415

    if (fault := data_missing()) is not None:
        sys.exit(fault)
    try:
        utility.execute()
    except DatabaseError as error:
        sys.exit(f"The database cannot be used: {database_reason(error)}")


if __name__ == "__main__":
    main()
