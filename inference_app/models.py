"""Tables of the model gateway: the operator's settings (providers, routes, aliases, prices, tenants' models, budgets)
and the daily sums of relayed calls.

The settings take precedence over the configuration file and have its form. They are validated together with the file
before they are saved (`inference_app.operator.services`), and every process applies a change within seconds.
"""

from __future__ import annotations

from django.core.validators import RegexValidator
from django.db import models

from tenants_app.models import ApiKey, Tenant

NAME = RegexValidator(r"\A[a-z0-9][a-z0-9_-]{0,63}\Z", "A name has 1 to 64 lower-case letters, digits, '-' and '_'.")


class Row(models.Model):
    """The base of the operator's settings. Processes recognise a change by `updated_at`."""

    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True


class Provider(Row):
    """A provider, or changes to a provider of the file or a shipped one. `sealed_key` is encrypted and never shown."""

    name = models.CharField(max_length=64, unique=True, validators=[NAME])
    entry = models.JSONField(
        default=dict, blank=True, help_text="As in the file: base_url, wire, models, headers, timeout, …"
    )
    sealed_key = models.TextField(blank=True, default="", editable=False)
    enabled = models.BooleanField(default=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Route(Row):
    """The providers of model names with a prefix, in the order in which they are tried."""

    prefix = models.CharField(max_length=100, unique=True)
    providers = models.JSONField(help_text='A list of providers: ["openai", "openrouter"].')

    class Meta:
        ordering = ("prefix",)

    def __str__(self) -> str:
        return self.prefix


class Alias(Row):
    """A public name for one or several models."""

    name = models.CharField(max_length=100, unique=True)
    targets = models.JSONField(help_text='A model, or a list: [{"model": "openai:gpt-4o", "weight": 2}, …].')

    class Meta:
        ordering = ("name",)
        verbose_name_plural = "aliases"

    def __str__(self) -> str:
        return self.name


class Price(Row):
    """US dollars per million tokens of a provider's model. Empty: `cached` as `input`, `cache_write` 1.25 times and
    `cache_write_hour` 2 times as much."""

    provider = models.CharField(max_length=64)
    model = models.CharField(max_length=200)
    input = models.DecimalField(max_digits=14, decimal_places=6)
    output = models.DecimalField(max_digits=14, decimal_places=6)
    cached = models.DecimalField(max_digits=14, decimal_places=6, null=True, blank=True)
    cache_write = models.DecimalField(max_digits=14, decimal_places=6, null=True, blank=True)
    cache_write_hour = models.DecimalField(max_digits=14, decimal_places=6, null=True, blank=True)

    class Meta:
        ordering = ("provider", "model")
        constraints = [models.UniqueConstraint(name="price_once", fields=["provider", "model"])]

    def __str__(self) -> str:
        return f"{self.provider}:{self.model}"


class TenantModels(Row):
    """The models that a tenant may use; a tenant without a row may use all."""

    tenant = models.OneToOneField(Tenant, models.CASCADE, related_name="+")
    patterns = models.JSONField(
        default=list, blank=True, help_text='A list: ["gpt-4o*", "local:*"]; empty allows every model.'
    )
    substitution = models.BooleanField(
        null=True, blank=True, help_text="Whether an unknown model is served by the fallback chain."
    )

    class Meta:
        verbose_name_plural = "tenants' models"

    def __str__(self) -> str:
        return str(self.tenant)


class Budget(Row):
    """The limit of a tenant or one of its keys, for all models or one, per minute, day or month (UTC)."""

    PERIODS = [("minute", "minute"), ("day", "day"), ("month", "month")]

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    api_key = models.ForeignKey(ApiKey, models.CASCADE, null=True, blank=True, related_name="+")
    model = models.CharField(max_length=200, blank=True, default="", help_text="Empty: all models together.")
    period = models.CharField(max_length=10, choices=PERIODS)
    tokens = models.PositiveBigIntegerField(null=True, blank=True)
    usd = models.DecimalField(max_digits=14, decimal_places=6, null=True, blank=True)

    class Meta:
        ordering = ("tenant", "period")
        constraints = [
            models.CheckConstraint(
                name="budget_limits_something", condition=models.Q(tokens__isnull=False) | models.Q(usd__isnull=False)
            )
        ]

    def __str__(self) -> str:
        return f"{self.tenant} per {self.period}"


class RelayedDay(models.Model):
    """Sums of a tenant's relayed calls to one provider and model on one UTC day; the ledger has the usage of each call.

    `answer_ms` is the total time of the `answered` calls, `first_byte_ms` the time to the first byte of the `begun`
    ones: those that got a first byte.
    """

    tenant = models.ForeignKey(Tenant, models.CASCADE, db_index=False, related_name="+")
    day = models.DateField()
    provider = models.CharField(max_length=64)
    model = models.CharField(max_length=200)
    requests = models.PositiveBigIntegerField(default=0)
    answered = models.PositiveBigIntegerField(default=0)
    errors = models.PositiveBigIntegerField(default=0)
    refused = models.PositiveBigIntegerField(default=0)
    abandoned = models.PositiveBigIntegerField(default=0)
    failed_attempts = models.PositiveBigIntegerField(default=0)
    answer_ms = models.PositiveBigIntegerField(default=0)
    begun = models.PositiveBigIntegerField(default=0)
    first_byte_ms = models.PositiveBigIntegerField(default=0)
    cost_nanos = models.PositiveBigIntegerField(
        default=0, help_text="Billionths of a US dollar, where prices are known."
    )

    class Meta:
        constraints = [models.UniqueConstraint(name="relayed_day_once", fields=["tenant", "day", "provider", "model"])]
        indexes = [models.Index(name="relayed_by_day", fields=["day"])]

    def __str__(self) -> str:
        return f"{self.day} {self.provider}:{self.model}"
