"""Daily sums of the ledger, so that reports read hundreds of rows instead of millions.

The sums always equal the ledger rows marked `folded`: marking, unmarking or removing such a row changes them in the
same transaction (`tenants_app.services.usage`). They record keys and models, but neither sessions nor end users.
"""

from __future__ import annotations

from django.db import models

from tenants_app.models.account import Tenant


class UsageDay(models.Model):
    """The spend of one key with one model on one UTC day."""

    tenant = models.ForeignKey(Tenant, models.PROTECT, db_index=False, related_name="+")
    day = models.DateField()
    key = models.PositiveBigIntegerField(default=0)
    """The API key's id, or 0 for none, because NULL would not be equal to itself in the constraint."""
    model = models.CharField(max_length=200)
    responses = models.PositiveBigIntegerField(default=0)
    runs = models.PositiveBigIntegerField(default=0)
    """Number of runs whose folded responses are all in this row; `UsageRun` lists the others."""
    unpriced = models.PositiveBigIntegerField(default=0)
    estimated = models.BigIntegerField(default=0, db_default=0)
    """Number of requests whose usage is an estimate. Rows that an older version folded are not in it, so removing them
    may make it negative, until `gateway usage rebuild`."""
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    cached_tokens = models.PositiveBigIntegerField(default=0)
    reasoning_tokens = models.PositiveBigIntegerField(default=0)
    cost = models.PositiveBigIntegerField(default=0)
    """In 10⁻¹⁰ US dollars, the ledger's last digit. Integers subtract to exactly zero."""

    class Meta:
        constraints = [models.UniqueConstraint(name="usage_day_once", fields=["tenant", "day", "key", "model"])]

    def __str__(self) -> str:
        return f"{self.day} {self.model}"


class UsageRun(models.Model):
    """A run in one of several `UsageDay` rows that have its folded responses.

    With these rows every report counts a run once, however many days, keys or models it used.
    """

    cell = models.ForeignKey(UsageDay, models.CASCADE, related_name="+")
    run_id = models.CharField(max_length=80)

    class Meta:
        constraints = [models.UniqueConstraint(name="usage_run_once", fields=["run_id", "cell"])]

    def __str__(self) -> str:
        return self.run_id
