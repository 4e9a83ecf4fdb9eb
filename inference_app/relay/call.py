"""A call: one request to the targets that can serve it, with retries and fallbacks until the first byte.

`async with upstream_call(request) as response` gives a response that has started, or raises GatewayError. After the
first byte there are no retries: a stream that breaks ends with an error event in the caller's dialect. However the
block is left, the provider's connection is closed and the call is metered once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import TracebackType

from inference_app.catalogue.config import ModelsConfig, models_config
from inference_app.errors import NoProvider, ProviderFailed
from inference_app.providers.circuits import CIRCUITS
from inference_app.providers.fault_sentences import fault_sentence
from inference_app.providers.retry_policy import Fault, deadline_seconds
from inference_app.relay.admission import admit
from inference_app.relay.asking import Asking
from inference_app.relay.attempt import AttemptFailed
from inference_app.relay.observers import CallObserver
from inference_app.relay.request import UpstreamRequest
from inference_app.relay.response import RelayedResponse
from inference_app.relay.targets import TARGETS, Target


def upstream_call(request: UpstreamRequest) -> UpstreamCall:
    """Returns the call, to be entered with `async with`, which may raise GatewayError."""
    return UpstreamCall(request)


class UpstreamCall:
    """One request: its admission, and the choice of the next target."""

    __slots__ = ("_response", "observer", "request")

    def __init__(self, request: UpstreamRequest) -> None:
        self.request = request
        self.observer = CallObserver(request)
        self._response: RelayedResponse | None = None

    async def __aenter__(self) -> RelayedResponse:
        observer = self.observer
        try:
            config, request = models_config(), self.request
            targets = TARGETS.targets_for(
                config, request.envelope.model, request.kind, request.converters, request.principal
            )
            first = targets[0].candidate
            observer.admission = await admit(config, request.principal, request.kind, request.envelope, first)
            self._response = await self._ask_targets(config, targets)
        except BaseException as error:
            observer.finish_without_response(error)
            raise
        observer.note_first_byte(self._response)
        return self._response

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        response, self._response = self._response, None
        assert response is not None
        response.close()
        self.observer.finish(response)

    async def _ask_targets(self, config: ModelsConfig, targets: list[Target]) -> RelayedResponse:
        """Asks target after target; raises ProviderFailed or NoProvider when none responds, and ProviderRefusal for the
        caller's own fault."""
        request, observer = self.request, self.observer
        breaker, tenant_id = config.defaults.circuit_breaker, request.principal.tenant_id
        cooldowns: list[float] = []
        failures: list[tuple[Target, Fault]] = []
        asking = Asking(config, request, observer)
        for index, target in enumerate(targets):
            if (cooldown := CIRCUITS.blocked_for(target.candidate, breaker, tenant_id)) is not None:
                observer.skip(target, "resting", cooldown)
                cooldowns.append(cooldown)
                continue
            if index and not await observer.admission.allows(request.principal, target.candidate):
                observer.skip(target, "budget")
                continue
            others = any(
                CIRCUITS.blocked_for(later.candidate, breaker, tenant_id) is None for later in targets[index + 1 :]
            )
            try:
                return await asking.ask(target, others=others)
            except AttemptFailed as failed:
                if failed.refusal is not None:
                    raise failed.refusal from None
                failures.append((target, failed.fault))
            if observer.elapsed_seconds() > deadline_seconds(streamed=request.streamed):
                break
        raise _exhausted_error(config, failures, cooldowns)


def _exhausted_error(
    config: ModelsConfig, failures: Sequence[tuple[Target, Fault]], cooldowns: list[float]
) -> NoProvider | ProviderFailed:
    """Returns the error after the last target: its failure, or that every target is in its cooldown. If a target only
    limits the rate, that is the error: the request may succeed later, after the longest of the delays."""
    if not failures:
        seconds = math.ceil(min(cooldowns, default=1.0)) or 1
        message = "Every provider of this model rests after failures; try again later."
        return NoProvider(message, retry_after=seconds)
    limited = [(target, fault) for target, fault in failures if fault.is_rate_limit]
    target, fault = max(limited, key=lambda failure: failure[1].retry_after or 0.0) if limited else failures[-1]
    name = target.candidate.provider
    return ProviderFailed(
        fault_sentence(name, config.providers[name], fault),
        provider_status=fault.status,
        seconds=fault.retry_after,
        rate_limited=bool(limited),
    )
