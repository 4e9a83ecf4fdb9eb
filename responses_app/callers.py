"""The caller of a stored response, as its run acts for it."""

from __future__ import annotations

from responses_app.models import StoredResponse
from tenants_app.models import Tenant
from tenants_app.principal import INFERENCE, Principal


def caller_of(row: StoredResponse) -> Principal:
    """Returns the principal of a background response: its tenant and the key that asked for it, whose budgets apply."""
    key = row.api_key
    slug = Tenant.objects.values_list("slug", flat=True).get(pk=row.tenant_id)
    name = key.name if key is not None else row.public_id
    return Principal(row.tenant_id, slug, row.api_key_id, name, frozenset({INFERENCE}))
