#!/usr/bin/env python
"""Django's command line, bound to the gateway's settings; a setting that cannot be read is one sentence."""

from __future__ import annotations

import gc
import os
import sys

# Imports make a quarter of a million objects and drop hardly any: with its defaults the collector goes through them
# time and again, a sixth of a start. `serve` and `worker` set their own thresholds when they answer.
gc.set_threshold(1_000_000, 20, 20)

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from environs import EnvError


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
    try:
        settings.INSTALLED_APPS  # noqa: B018  (reads the settings)
    except (EnvError, ImproperlyConfigured) as error:
        sys.exit(str(error))
    try:
        execute_from_command_line(sys.argv)
    except BrokenPipeError:
        # Who read it has enough, as `head` has; and Python would say so again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
