"""The database as an operator's command meets it: whether there is one, and why it cannot be used."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.db import connection


def data_missing() -> str | None:
    """Returns a sentence when the embedded gateway has no database file where it looks for one, else None. Opening it
    would create an empty one, which a later backup would take for the gateway."""
    if connection.vendor != "sqlite" or Path(connection.settings_dict["NAME"]).exists():
        return None
    return (
        f"There is no gateway in GATEWAY_DATA_DIR, '{settings.GATEWAY_DATA_DIR}': nothing was ever served from there."
        " Set GATEWAY_DATA_DIR to the directory that the gateway serves from, or start one with 'gateway serve'."
    )


def database_reason(error: Exception) -> str:
    """Returns the driver's reason as a sentence, without its class and with what to do about a missing table. A driver
    names hosts and users and never passwords."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    reason = first.removeprefix("connection failed: ")
    if "no such table" in reason or ("relation" in reason and "does not exist" in reason):
        return f"{reason}. Its schema is not this version's: run 'gateway prepare', or start the gateway."
    return f"{reason}."
