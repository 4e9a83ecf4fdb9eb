"""The ledger's sums per day, so that reports read hundreds of rows where the ledger has millions.

They hold what the rows marked `folded` come to, never more: whatever marks, removes or unmarks such a row changes
the sums in its transaction (`tenants_app.services.usage`). They know keys and models, but no session and no person.
"""

from __future__ import annotations

from django.db import models

from tenants_app.models.account import Tenant


class UsageDay(models.Model):
    """What one key spent with one model on one day (UTC)."""

    tenant = models.ForeignKey(Tenant, models.PROTECT, db_index=False, related_name="+")
    day = models.DateField()
    key = models.PositiveBigIntegerField(default=0)
    """The API key's id, 0 for none: NULL would be unequal to itself in the constraint."""
    model = models.CharField(max_length=200)
    responses = models.PositiveBigIntegerField(default=0)
    runs = models.PositiveBigIntegerField(default=0)
    """Runs all of whose folded responses are in this row; the others are named by `UsageRun`."""
    unpriced = models.PositiveBigIntegerField(default=0)
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    cached_tokens = models.PositiveBigIntegerField(default=0)
    reasoning_tokens = models.PositiveBigIntegerField(default=0)
    cost = models.PositiveBigIntegerField(default=0)
    """In 10⁻¹⁰ US dollars, the last digit of the ledger's: what is taken away of whole numbers leaves nothing."""

    class Meta:
        constraints = [models.UniqueConstraint(name="usage_day_once", fields=["tenant", "day", "key", "model"])]

    def __str__(self) -> str:
        return f"{self.day} {self.model}"


class UsageRun(models.Model):
    """A run whose folded responses are in several rows of `UsageDay`, once for each: a run is counted once in every
    sum, however many days, keys or models it took."""

    cell = models.ForeignKey(UsageDay, models.CASCADE, related_name="+")
    run_id = models.CharField(max_length=80)

    class Meta:
        constraints = [models.UniqueConstraint(name="usage_run_once", fields=["run_id", "cell"])]

    def __str__(self) -> str:
        return self.run_id
