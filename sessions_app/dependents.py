"""Dependents: faces and rooms above this one that keep data of tenants beside sessions, such as tasks and spaces.

A dependent takes part in the sweep, in retention and in the erasure of a tenant or of an end user. So whatever calls
these (the sweep of every process, the chores, the commands) reaches all data without knowing whose it is.
"""

from __future__ import annotations

from collections.abc import Iterator

import structlog

from core_app.lifecycle import process_wide
from events_app.removal import GoOn
from tenants_app.models import Tenant

logger = structlog.get_logger("gateway.sweep")


class Dependent:
    """Base of dependents. Each step does nothing unless a subclass overrides it, and may be repeated at any time."""

    def sweep(self, go_on: GoOn) -> None:
        """One round of what time brings about, such as deadlines; one process at a time, every few seconds. `go_on` is
        asked before each piece of work."""

    def retention_apply(self, tenant: Tenant, go_on: GoOn) -> None:
        """Removes what is older than the tenant's retention times."""

    def tenant_erase(self, tenant: Tenant) -> None:
        """Removes everything of the tenant, before its sessions are removed."""

    def end_user_erase(self, tenant_id: int, end_user: str) -> None:
        """Removes what this end user of the tenant made, before the end user's sessions are removed."""

    def export(self, tenant_id: int, end_user: str | None) -> Iterator[bytes]:
        """Yields what is stored of the tenant, or of one of its end users, as lines of JSON with a `kind`."""
        return iter(())


class Dependents:
    """The registered dependents. Filled by `AppConfig.ready` of their apps."""

    def __init__(self) -> None:
        self._dependents: list[Dependent] = []

    def register(self, dependent: Dependent) -> None:
        """Calls the dependent from now on."""
        self._dependents.append(dependent)

    def sweep(self, go_on: GoOn) -> None:
        """Lets each dependent run its round. A failure of one is logged and leaves the others alone."""
        for dependent in self._dependents:
            try:
                dependent.sweep(go_on)
            except Exception:  # contains: a dependent must not keep the sweep from the sessions
                logger.exception("dependent_sweep_failed", dependent=type(dependent).__name__)

    def retention_apply(self, tenant: Tenant, go_on: GoOn) -> None:
        """Applies each dependent's retention."""
        for dependent in self._dependents:
            dependent.retention_apply(tenant, go_on)

    def tenant_erase(self, tenant: Tenant) -> None:
        """Erases each dependent's data of the tenant."""
        for dependent in self._dependents:
            dependent.tenant_erase(tenant)

    def end_user_erase(self, tenant_id: int, end_user: str) -> None:
        """Erases each dependent's data of the end user."""
        for dependent in self._dependents:
            dependent.end_user_erase(tenant_id, end_user)

    def export(self, tenant_id: int, end_user: str | None) -> Iterator[bytes]:
        """Yields the lines of each dependent."""
        for dependent in self._dependents:
            yield from dependent.export(tenant_id, end_user)


DEPENDENTS = process_wide(Dependents())
"""Process-wide instance."""
