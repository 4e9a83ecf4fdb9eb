#!/usr/bin/env python
"""Django's command line with the gateway's settings. A setting that cannot be read ends it with one sentence."""

from __future__ import annotations

import gc
import os
import sys

# Imports create a quarter of a million objects and free hardly any. With its defaults the garbage collector goes
# through them again and again, a sixth of a start. `serve` and `worker` set thresholds of their own once they serve.
gc.set_threshold(1_000_000, 20, 20)

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from environs import EnvError


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
    # Databases, backups and exports contain what only their owner may read, whatever the directory allows.
    os.umask(0o077)
    try:
        settings.INSTALLED_APPS  # noqa: B018  (reads the settings)
    except (EnvError, ImproperlyConfigured) as error:
        sys.exit(str(error))
    try:
        execute_from_command_line(sys.argv)
    except BrokenPipeError:
        # The reader closed the pipe, as `head` does; Python would report it again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
