"""The command `gateway apikey`: the former name of `gateway key`, for scripts that have it."""

from __future__ import annotations

from tenants_app.management.commands.key import Command

__all__ = ["Command"]
