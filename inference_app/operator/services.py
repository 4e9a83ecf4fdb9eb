"""Services that change the operator's settings. A change is validated together with the file and audited.

A row that would make the configuration invalid is refused with a sentence, and nothing changes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from hashlib import sha256
from typing import Any

from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, transaction
from django.db.models import Model

from core_app import sealing
from core_app.config_file import ConfigurationError
from core_app.database import write_transaction
from core_app.errors import Unprocessable
from core_app.suggestion import suggestion
from inference_app.catalogue.config import MODELS, models_config, parse
from inference_app.models import NAME, Alias, Budget, Price, Provider, Route, TenantModels
from inference_app.operator.operator_settings import overlay_read, rows_apply
from tenants_app.models import ApiKey, Tenant
from tenants_app.services import audit_record

MAX_KEY_CHARACTERS = 4000
OperatorSetting = Provider | Route | Alias | Price | TenantModels | Budget

_FIELDS: Mapping[type, str] = {Provider: "entry", Route: "providers", Alias: "targets"}
"""Fields that may name what the configuration does not have."""

_UNAUDITED = ("id", "updated_at", "sealed_key")


def provider_named(name: str) -> Provider:
    """Returns the stored row of a provider, or a new one that is not saved yet. Raises Unprocessable for a name that
    none can have."""
    try:
        NAME(name)
    except ValidationError as error:
        raise Unprocessable(str(error.message), field="name") from None
    return Provider.objects.filter(name=name).first() or Provider(name=name)


def provider_save(*, provider: Provider, actor: str, key: str | None = None) -> None:
    """Saves a provider; `key` None leaves its stored key, an empty one removes it. Raises Unprocessable."""
    if {"api_key_env", "api_key"} & set(provider.entry) and (key or (key is None and provider.sealed_key)):
        raise Unprocessable("The entry names a key and the row has one: leave one of them out.", field="entry")
    if key is not None:
        provider.sealed_key = sealing.seal(_check_key(key)) if key else ""
    row_save(row=provider, actor=actor)


def row_save(*, row: OperatorSetting, actor: str) -> None:
    """Saves a row if the configuration is valid with it; raises Unprocessable otherwise."""
    if isinstance(row, Budget) and row.api_key is not None and row.api_key.tenant_id != row.tenant_id:
        raise Unprocessable("The key is another tenant's.", field="api_key")
    if isinstance(row, Budget) and _is_only_alias(row.model):
        raise Unprocessable("That is an alias: calls are counted by the model that they reach.", field="model")
    if isinstance(row, TenantModels) and not _is_text_list(row.patterns):
        raise Unprocessable("The patterns are a list of texts.", field="patterns")
    try:
        with write_transaction():
            before = _audit_detail(type(row)._default_manager.filter(pk=row.pk).first())
            row.save()
            _check_configuration(row)
            action, detail = f"{_model_name(row)}.save", {"before": before, "now": _audit_detail(row)}
            audit_record(actor=actor, action=action, target=str(row), tenant_id=_tenant_id(row), detail=detail)
            _apply_after_commit()
    except (DataError, IntegrityError):
        # JSON that a database rejects (Infinity, NUL), or a name that a concurrent request has just taken.
        raise Unprocessable("Not saved: the database does not take that value, or has the name already.") from None


def budget_set(
    *,
    tenant: Tenant,
    api_key: ApiKey | None,
    model: str,
    period: str,
    tokens: int | None,
    usd: Decimal | None,
    actor: str,
) -> tuple[Budget, bool]:
    """Sets the budget of a tenant or one of its keys, for a model ("" is all together) and a period. Returns it, and
    whether it is new. Raises Unprocessable."""
    if tokens is None and usd is None:
        raise Unprocessable("A budget limits tokens, US dollars, or both.", field="tokens")
    with write_transaction():
        # Two requests at once would make two budgets otherwise.
        Tenant.objects.select_for_update().get(pk=tenant.pk)
        what = {"tenant": tenant, "api_key": api_key, "model": model, "period": period}
        budget = Budget.objects.filter(**what).order_by("pk").first() or Budget(**what)
        is_new = budget.pk is None
        budget.tokens, budget.usd = tokens, usd
        row_save(row=budget, actor=actor)
    return budget, is_new


def row_remove(*, row: OperatorSetting, actor: str) -> None:
    """Deletes a row; raises Unprocessable if the configuration needs it."""
    with write_transaction():
        target, tenant_id, before = str(row), _tenant_id(row), _audit_detail(row)
        row.delete()
        _check_configuration(row)
        detail = {"before": before}
        audit_record(
            actor=actor, action=f"{_model_name(row)}.remove", target=target, tenant_id=tenant_id, detail=detail
        )
        _apply_after_commit()


def _apply_after_commit() -> None:
    """Puts the rows into force in this process once they are committed, so that who saved them can test them at once.
    Other processes notice them within seconds."""
    transaction.on_commit(rows_apply, robust=True)


def _audit_detail(row: Model | None) -> dict[str, Any]:
    """Returns a row's fields for the audit trail; of a provider's stored key a digest that identifies it, and of its
    headers, which may hold a credential, the names alone."""
    if row is None:
        return {}
    detail = {field.name: field.value_from_object(row) for field in row._meta.fields if field.name not in _UNAUDITED}
    if isinstance(row, Provider):
        detail["key"] = sha256(row.sealed_key.encode()).hexdigest()[:8] if row.sealed_key else None
        if isinstance(headers := row.entry.get("headers"), dict):
            detail["entry"] = {**row.entry, "headers": sorted(headers)}
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in detail.items()}


def _check_configuration(row: OperatorSetting) -> None:
    """Raises Unprocessable, with the field of the row, where the configuration is not valid with the rows as they are.
    The file is named only where it is at fault itself."""
    overlay = overlay_read()
    try:
        config = MODELS.check(lambda section: parse(section, overlay))
    except ConfigurationError as error:
        if isinstance(row, Provider) and f"{error.path}.".startswith(own := f"models.providers.{row.name}."):
            place = error.path.removeprefix(own.removesuffix("."))
            text = f"Not saved: {place.removeprefix('.') or row.name} {error.reason}"
            raise Unprocessable(text, field=f"entry{place}") from None
        text = f"{error.path} {error.reason}" if error.path else str(error)
        raise Unprocessable(f"Not saved: {text}", field=_FIELDS.get(type(row))) from None
    if isinstance(row, Price) and row.pk is not None and row.provider not in config.providers:
        near = suggestion(row.provider, config.providers)
        raise Unprocessable(f"Not saved: there is no provider '{row.provider}'.{near}", field="provider")


def _is_only_alias(name: str) -> bool:
    """Returns True for an alias under whose name no call is counted: none of its targets has that name."""
    targets = models_config().model_aliases.get(name)
    return targets is not None and not any(re.split("[:/]", target.model, maxsplit=1)[-1] == name for target in targets)


def _check_key(key: str) -> str:
    if len(key) > MAX_KEY_CHARACTERS or not key.isprintable() or not key.isascii():
        raise Unprocessable("A key is a line of ASCII text.", field="key")
    return key.strip()


def _is_text_list(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _model_name(row: Model) -> str:
    return str(row._meta.model_name)


def _tenant_id(row: Model) -> int | None:
    tenant_id: int | None = getattr(row, "tenant_id", None)
    return tenant_id
