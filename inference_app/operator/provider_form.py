"""The admin's form of a provider: fields for what most providers need, and the rest as in the configuration file."""

from __future__ import annotations

from typing import Any, get_args

from django import forms
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from inference_app.catalogue.config import Wire
from inference_app.catalogue.shipped import PROVIDERS
from inference_app.models import Provider

WIRES = [wire for wire in get_args(Wire) if wire != "demo"]
KNOWN = [name for name, entry in PROVIDERS.items() if entry.get("wire") != "demo"]
_TEXTS = ("base_url", "wire", "default_model", "api_key_env")


class KnownNames(forms.TextInput):
    """A text field that offers the names of the providers that the gateway knows."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        field = super().render(name, value, {**(attrs or {}), "list": "known-providers"}, renderer)
        options = format_html_join("", '<option value="{}"></option>', ((known,) for known in KNOWN))
        return format_html('{}<datalist id="known-providers">{}</datalist>', field, options)


class FurtherFields(forms.JSONField):
    """A JSON object that is shown as nothing when it is empty."""

    def prepare_value(self, value: Any) -> Any:
        return "" if value in (None, {}) else super().prepare_value(value)


class ProviderForm(forms.ModelForm):  # type: ignore[type-arg]
    """Form of a provider. A field that is left empty stays as the file or the gateway has it."""

    name = forms.CharField(
        max_length=64,
        widget=KnownNames(),
        help_text="A known provider, which needs its key alone, or a name of your own: the part before the colon in"
        " provider:model.",
    )
    key = forms.CharField(
        required=False,
        strip=True,
        label="Key",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="Stored encrypted and never shown. Empty leaves it as it is.",
    )
    forget_key = forms.BooleanField(required=False, help_text="Removes the stored key.")
    base_url = forms.CharField(
        required=False,
        label="Address",
        max_length=2000,
        widget=forms.TextInput(attrs={"size": 60, "placeholder": "https://api.example.com/v1"}),
        help_text="With /v1 for those that speak OpenAI's wire.",
    )
    wire = forms.ChoiceField(
        required=False,
        label="API",
        choices=[
            ("", "as the file or the gateway has it; openai-chat for new ones"),
            *((wire, wire) for wire in WIRES),
        ],
    )
    models = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "cols": 40}),
        help_text="One name a line. They are listed to clients; others may be asked for by name.",
    )
    default_model = forms.CharField(required=False, max_length=200)
    api_key_env = forms.CharField(
        required=False, label="Variable with the key", max_length=200, help_text="In place of a stored key."
    )
    no_key = forms.BooleanField(required=False, label="Needs no key", help_text="A server of your own, for instance.")
    entry = FurtherFields(
        required=False,
        label="Further fields",
        widget=forms.Textarea(attrs={"rows": 4, "cols": 60}),
        help_text="As in the configuration file, in JSON: headers, timeout, models with their limits, …",
    )

    class Meta:
        model = Provider
        fields = ("name", "enabled", "entry")
        help_texts = {"enabled": "Off: nothing is sent there."}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rest = dict(self.instance.entry or {})
        for name in _TEXTS:
            if isinstance(rest.get(name), str):
                self.initial[name] = rest.pop(name)
        if rest.get("api_key") == "none":
            self.initial["no_key"] = bool(rest.pop("api_key"))
        models = rest.get("models")
        if isinstance(models, list) and all(isinstance(model, str) for model in models):
            self.initial["models"] = "\n".join(rest.pop("models"))
        self.initial["entry"] = rest or None
        if not self.instance.sealed_key:
            del self.fields["forget_key"]

    def clean_entry(self) -> dict[str, Any]:
        given = self.cleaned_data["entry"] or {}
        if not isinstance(given, dict):
            raise forms.ValidationError("The fields are a JSON object.")
        return given

    def clean(self) -> dict[str, Any]:
        """Puts the entry together, which the service validates."""
        given = super().clean() or {}
        if "entry" in given:
            entry = dict(given["entry"])
            entry |= {name: given[name] for name in _TEXTS if given.get(name)}
            if given.get("no_key"):
                entry["api_key"] = "none"
            if lines := [line.strip() for line in given.get("models", "").splitlines() if line.strip()]:
                entry["models"] = lines
            given["entry"] = entry
        return given

    @property
    def stored_key(self) -> str | None:
        """The key for the service: None leaves the stored one, an empty text removes it."""
        return "" if self.cleaned_data.get("forget_key") else self.cleaned_data["key"] or None
