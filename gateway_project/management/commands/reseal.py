"""`gateway reseal`: seals every secret under the present GATEWAY_SECRET_KEY, as a step of its rotation."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from core_app.command import GatewayCommand
from gateway_project.operations.secret_rotation import secrets_reseal


class Command(GatewayCommand):
    help = "Seals secrets under the present GATEWAY_SECRET_KEY that are under one of GATEWAY_SECRET_KEY_FALLBACKS."
    checks_settings = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only count them")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        report = secrets_reseal(dry=dry_run)
        verb = "are under a former key" if dry_run else "were sealed anew"
        self.stdout.write(f"{sum(report.former.values())} of {report.all} secrets {verb}{_kinds(report.former)}.")
        if report.unreadable:
            count = sum(report.unreadable.values())
            self.stderr.write(f"{count} cannot be opened by any key{_kinds(report.unreadable)}: set them again.")
            sys.exit(1)


def _kinds(counts: Mapping[str, int]) -> str:
    text = ", ".join(f"{count} of {kind}" for kind, count in sorted(counts.items()))
    return f" ({text})" if text else ""
