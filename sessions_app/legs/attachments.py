"""Download of attachments that a client gave by URL, through the guarded client, before the first model request.

The bytes are stored as the attachment's content. A retried leg therefore downloads nothing again, and no URL that a
tenant chose is ever passed to a model provider.
"""

from __future__ import annotations

from django.conf import settings
from django.db.models import Sum
from django.db.models.functions import Coalesce, Length

from core_app import database
from core_app.database import write_transaction
from core_app.errors import Unprocessable
from core_app.guarded_client import CLIENT, CallFailed, TooLarge
from events_app import log
from events_app.lease import Fence
from sessions_app.models import PromptAttachment
from sessions_app.services.attachments import content_store
from tenants_app.models import Tenant

FETCH_SECONDS = 30.0


async def attachments_fetch(*, run_id: str, fence: Fence, tenant_id: int) -> None:
    """Downloads the attachments that the run's prompt gave by URL. Raises Unprocessable, which names the URL that
    failed."""
    if not (missing := await database.run_leg(tenant_id, _attachments_to_fetch, run_id)):
        return
    tenant = await database.run_leg(tenant_id, _tenant_get, tenant_id)
    left = settings.GATEWAY_MAX_ATTACHMENT_BYTES - await database.run_leg(tenant_id, _stored_bytes, run_id)
    for pk, url in missing:
        data = await _fetch(url, tenant, left)
        left -= len(data)
        await database.run_leg(tenant_id, _store, fence, pk, data)


async def _fetch(url: str, tenant: Tenant, limit: int) -> bytes:
    try:
        answer = await CLIENT.request(
            "GET",
            url,
            timeout=FETCH_SECONDS,
            max_bytes=limit,
            allow_private=tenant.allow_private,
            owner=tenant.pk,
        )
    except TooLarge:
        limit = settings.GATEWAY_MAX_ATTACHMENT_BYTES
        raise Unprocessable(
            f"With the attachment at {url} they are together more than {limit} bytes (GATEWAY_MAX_ATTACHMENT_BYTES).",
            field="attachments",
        ) from None
    except CallFailed as error:
        raise Unprocessable(f"The attachment at {url} {error.reason}", field="attachments") from None
    if answer.status != 200:
        raise Unprocessable(f"The attachment at {url} answered {answer.status}.", field="attachments")
    return answer.body


def _attachments_to_fetch(run_id: str) -> list[tuple[int, str]]:
    rows = PromptAttachment.objects.filter(run_id=run_id, url__isnull=False)
    return [(pk, url) for pk, url in rows.values_list("pk", "url") if url is not None]


def _stored_bytes(run_id: str) -> int:
    rows = PromptAttachment.objects.filter(run_id=run_id, url__isnull=True)
    return rows.aggregate(size=Sum(Coalesce("content__size", Length("data"))))["size"] or 0


def _tenant_get(tenant_id: int) -> Tenant:
    return Tenant.objects.get(pk=tenant_id)


def _store(fence: Fence, pk: int, data: bytes) -> None:
    with write_transaction():
        log.lock_fenced(fence)
        PromptAttachment.objects.filter(pk=pk).update(content=content_store(data), url=None)
