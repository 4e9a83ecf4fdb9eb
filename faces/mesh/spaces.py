"""Spaces: creation, look-up, messages, and the limits of a tenant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db.models import Sum

from core_app import jsontext
from core_app.database import write_transaction
from core_app.errors import QuotaExceeded
from faces.mesh.errors import SpaceNotFound
from faces.mesh.events import ContextUpdated
from faces.mesh.models import Space, SpaceMessage
from faces.mesh.space_log import message_insert
from faces.mesh.stream import mesh_append, mesh_lock
from tenants_app.principal import Principal


def space_create(*, principal: Principal, metadata: Mapping[str, Any]) -> Space:
    """Creates a space. Raises QuotaExceeded at GATEWAY_MAX_SPACES_PER_TENANT."""
    limit = settings.GATEWAY_MAX_SPACES_PER_TENANT
    with write_transaction():
        if limit > 0 and Space.objects.filter(tenant_id=principal.tenant_id).count() >= limit:
            raise QuotaExceeded(f"The tenant has {limit} spaces (GATEWAY_MAX_SPACES_PER_TENANT).")
        return Space.objects.create(tenant_id=principal.tenant_id, metadata=jsontext.encode_text(metadata))


def space_get(principal: Principal, public_id: str) -> Space:
    """Returns the tenant's space. Raises SpaceNotFound."""
    space = Space.objects.filter(tenant_id=principal.tenant_id, public_id=public_id).first()
    if space is None:
        raise space_not_found(public_id)
    return space


def space_lock(principal: Principal, public_id: str) -> Space:
    """Locks the tenant's events and the space until the transaction ends; returns the space as it is then."""
    space = space_get(principal, public_id)
    mesh_lock(principal.tenant_id)
    locked = Space.objects.select_for_update().filter(pk=space.pk).first()
    if locked is None:
        raise space_not_found(public_id)
    return locked


def space_not_found(public_id: str) -> SpaceNotFound:
    """Returns the error for an id that the tenant has no space of."""
    return SpaceNotFound(f"There is no space {public_id!r}.")


def bytes_check(tenant_id: int, more: int) -> None:
    """Raises QuotaExceeded when `more` bytes would exceed GATEWAY_MAX_SPACE_BYTES_PER_TENANT."""
    limit = settings.GATEWAY_MAX_SPACE_BYTES_PER_TENANT
    used = Space.objects.filter(tenant_id=tenant_id).aggregate(used=Sum("bytes"))["used"] or 0
    if limit > 0 and used + more > limit:
        raise QuotaExceeded(f"The tenant's spaces may have {limit} bytes (GATEWAY_MAX_SPACE_BYTES_PER_TENANT).")


def space_message_add(
    *,
    principal: Principal,
    public_id: str,
    role: str,
    content: str,
    body: Mapping[str, Any],
    message_id: str | None = None,
) -> SpaceMessage:
    """Adds a message to a space. Raises SpaceNotFound, QuotaExceeded."""
    bytes_check(principal.tenant_id, len(content.encode()))
    with write_transaction():
        space = space_lock(principal, public_id)
        message = message_insert(space, role=role, content=content, body=body, public_id=message_id)
        changed = ContextUpdated(space_id=space.public_id, change="message", message_id=message.public_id)
        mesh_append(principal.tenant_id, [changed])
    return message


def spaces_page(principal: Principal, *, before: int | None, limit: int) -> tuple[list[Space], int | None]:
    """Returns a page of the tenant's spaces, the newest first, and the cursor of the next page; None at the end."""
    rows = Space.objects.filter(tenant_id=principal.tenant_id)
    rows = rows if before is None else rows.filter(pk__lt=before)
    found = list(rows.order_by("-id")[: limit + 1])
    return found[:limit], found[limit - 1].pk if len(found) > limit else None


def space_messages(space: Space, *, before: int | None, limit: int) -> tuple[list[SpaceMessage], int | None]:
    """Returns the newest messages before an offset, the oldest of them first, and the offset to go on before."""
    rows = SpaceMessage.objects.filter(space=space)
    if before is not None:
        rows = rows.filter(number__lt=before)
    found = list(rows.order_by("-number")[: limit + 1])
    page = found[:limit][::-1]
    return page, page[0].number if len(found) > limit else None
