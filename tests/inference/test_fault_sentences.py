"""Faults of providers in words: each names the provider, the cause, and the setting to look at."""

from __future__ import annotations

import pytest

from inference_app.catalogue.config import ProviderEntry
from inference_app.providers.fault_sentences import fault_sentence
from inference_app.providers.retry_policy import Fault

WITH_VARIABLE = ProviderEntry(base_url="https://api.example.com/v1", api_key_env="DEEPSEEK_API_KEY")
ADDRESS, VARIABLE = "models.providers.deepseek.base_url", "DEEPSEEK_API_KEY"


@pytest.mark.parametrize(
    ("fault", "cause", "setting"),
    [
        (Fault("status", "invalid_api_key", 401), "refused the key", VARIABLE),
        (Fault("status", "403", 403), "refused access", VARIABLE),
        (Fault("status", "402", 402), "is spent", VARIABLE),
        (Fault("status", "429", 429, retry_after=24.2), "limits the rate of requests", "try again in 25 s"),
        (Fault("connect", "name_not_resolved"), "does not resolve", ADDRESS),
        (Fault("connect", "connection_failed"), "nothing listens", ADDRESS),
        (Fault("connect", "tls_failed"), "certificate", ADDRESS),
        (Fault("connect", "connect_timeout"), "does not answer", "models.providers.deepseek.timeout"),
        (Fault("timeout", "timeout"), "timeout", "models.providers.deepseek.timeout"),
    ],
)
def test_a_fault_names_the_provider_the_cause_and_the_setting(fault: Fault, cause: str, setting: str) -> None:
    sentence = fault_sentence("deepseek", WITH_VARIABLE, fault)
    assert "deepseek" in sentence
    assert cause in sentence
    assert setting in sentence
    assert sentence.endswith(".")
    assert "api.example.com" not in sentence
