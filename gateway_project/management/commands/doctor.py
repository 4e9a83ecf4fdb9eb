"""`gateway doctor`: prints a line per check, and ends with exit code 1 when one is wrong.

Warnings do not change the exit code. `--json` prints the same as one JSON document.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from core_app.command import GatewayCommand
from gateway_project.operations.doctor import findings
from gateway_project.operations.finding import Finding

MARKS = {"ok": "ok      ", "warning": "warning ", "wrong": "WRONG   "}


class Command(GatewayCommand):
    help = "Checks everything that the gateway needs, and says what is wrong. It changes and creates nothing."
    # Missing data is one of its findings.
    needs_data = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        found = list(findings())
        healthy = all(finding.level != "wrong" for finding in found)
        if options["json"]:
            self.stdout.write(json.dumps({"ok": healthy, "checks": [asdict(finding) for finding in found]}, indent=2))
        else:
            self.stdout.write("\n".join(map(_format, found)))
        if not healthy:
            sys.exit(1)


def _format(finding: Finding) -> str:
    return f"{MARKS[finding.level]}{finding.check}: {finding.text}"
