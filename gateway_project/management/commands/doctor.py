"""`manage.py doctor`: one line for everything that has to be right, and exit code 1 when something is wrong.

Warnings are shown and are no failure. `--json` prints the same as one JSON document.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from gateway_project.operations.doctor import Finding, findings

MARKS = {"ok": "ok      ", "warning": "warning ", "wrong": "WRONG   "}


class Command(BaseCommand):
    help = "Looks at everything that the gateway needs and says what is wrong."
    # It runs the checks of the settings itself, and says what they found.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        found = list(findings())
        well = all(finding.level != "wrong" for finding in found)
        if options["json"]:
            self.stdout.write(json.dumps({"ok": well, "checks": [asdict(finding) for finding in found]}, indent=2))
        else:
            self.stdout.write("\n".join(map(_line, found)))
        if not well:
            sys.exit(1)


def _line(finding: Finding) -> str:
    return f"{MARKS[finding.level]}{finding.check}: {finding.text}"
