"""Queries of API keys."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q, QuerySet

from tenants_app.models import ApiKey

KEY_STATES = ("active", "expired", "revoked")


def keys_in_state(keys: QuerySet[ApiKey], state: str, moment: datetime) -> QuerySet[ApiKey]:
    """Returns those of the keys that are in one of KEY_STATES at `moment`; all of them for another text."""
    wanted = {
        "active": Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=moment)),
        "expired": Q(revoked_at=None, expires_at__lte=moment),
        "revoked": Q(revoked_at__isnull=False),
    }
    return keys.filter(wanted.get(state, Q()))
