"""The sender of webhooks: a part of every process that attempts due deliveries, a bounded number at a time.

Each endpoint and each tenant gets a share of the slots. An endpoint whose last attempt here failed gets one slot until
an attempt succeeds, so dead endpoints hold few. Any number of processes may send: one of them claims each delivery.
Of a receiver's response only the status is kept; the body is read up to a limit and dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

import structlog
from django.db import DatabaseError

from core_app import database
from core_app.errors import GatewayError
from core_app.guarded_client import CLIENT, AddressRefused, CallFailed, GuardedResponse, TimedOut
from core_app.lifecycle import Part
from core_app.log_lines import error_summary
from core_app.metrics import WEBHOOK_ATTEMPTS
from core_app.sealing import unseal
from core_app.timeouts import cancel_tasks
from events_app.webhooks import claims
from events_app.webhooks.claims import Attempt, SessionNames
from events_app.webhooks.models import DeliveryState, WebhookEndpoint
from events_app.webhooks.outbox import WAKEUP
from events_app.webhooks.removal import RemovalRounds
from events_app.webhooks.schedule import pause_after
from events_app.webhooks.signing import headers_of, secrets_of

POLL_SECONDS = 1.0
"""Pause between two looks at the database: deliveries that other processes add, or that become due, wait this long."""

ATTEMPT_SECONDS = 15.0
MAX_RESPONSE_BYTES = 4096

IN_FLIGHT, PER_TENANT, PER_ENDPOINT = 256, 32, 8
"""Concurrent attempts of this process, for one tenant and for one endpoint."""

GRACE_SECONDS = 2.0
"""Time that running attempts have to end when the process stops. Deliveries of the others are due again at once."""

logger = structlog.get_logger("gateway.webhooks")


class WebhookSender(Part):
    """Claims and attempts due deliveries. `names` returns the wire ids of sessions."""

    def __init__(self, names: SessionNames) -> None:
        self._names = names
        self._wakeup = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._sending: dict[asyncio.Task[None], Attempt] = {}
        self._failing: set[int] = set()
        self._removal = RemovalRounds()

    async def start(self) -> None:
        """Starts the loop with a round at once, which sends what an earlier process did not."""
        loop, wakeup = asyncio.get_running_loop(), asyncio.Event()

        def notify() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
                loop.call_soon_threadsafe(wakeup.set)

        self._wakeup, WAKEUP.listener = wakeup, notify
        self._task = asyncio.create_task(self._run(), name="webhooks")

    async def drain(self) -> None:
        """Claims nothing more; running attempts go on."""
        WAKEUP.listener = None
        task, self._task = self._task, None
        if task is not None:
            await cancel_tasks(task)

    async def stop(self) -> None:
        """Waits GRACE_SECONDS for running attempts and releases the claims of the others."""
        await self.drain()
        if self._sending:
            await asyncio.wait(list(self._sending), timeout=GRACE_SECONDS)
        unfinished = dict(self._sending)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        if unfinished:
            await database.run(claims.claims_release, attempts=list(unfinished.values()))

    async def _run(self) -> None:
        while True:
            self._wakeup.clear()
            try:
                await self.round()
                await self._removal.round()
            except DatabaseError as error:
                logger.warning("webhook_round_failed", error=error_summary(error))
            except Exception:  # contains: one broken delivery must not end those of all other endpoints
                logger.exception("webhook_round_failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wakeup.wait()

    async def round(self) -> None:
        """Claims due deliveries while there are free slots, and starts their attempts."""
        by_endpoint = Counter(attempt.endpoint.pk for attempt in self._sending.values())
        full = [pk for pk, count in by_endpoint.items() if count >= self._endpoint_slots(pk)]
        if len(self._sending) >= IN_FLIGHT:
            return
        for endpoint in await database.run(claims.endpoints_due, limit=IN_FLIGHT, besides=full):
            slots = self._free_slots(endpoint)
            if slots > 0:
                await self._claim_and_send(endpoint, slots)

    async def _claim_and_send(self, endpoint: WebhookEndpoint, slots: int) -> None:
        # Shielded: claimed deliveries are attempted or released, also when a drain cancels the round.
        claiming = asyncio.ensure_future(
            database.run(claims.deliveries_claim, endpoint=endpoint, limit=slots, names=self._names)
        )
        try:
            attempts = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            for attempt in await claiming:
                self._send_soon(attempt)
            raise
        for attempt in attempts:
            self._send_soon(attempt)

    def _send_soon(self, attempt: Attempt) -> None:
        task = asyncio.create_task(self._send(attempt), name="webhook")
        self._sending[task] = attempt
        task.add_done_callback(self._forget_attempt)

    def _forget_attempt(self, task: asyncio.Task[None]) -> None:
        attempt = self._sending.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # The claim runs out by itself, and the delivery is due again.
            logger.error("webhook_outcome_lost", delivery=attempt.delivery_id, error=error_summary(error))
        self._wakeup.set()

    def _endpoint_slots(self, endpoint_id: int) -> int:
        return 1 if endpoint_id in self._failing else PER_ENDPOINT

    def _free_slots(self, endpoint: WebhookEndpoint) -> int:
        busy = [attempt.endpoint for attempt in self._sending.values()]
        own = sum(other.pk == endpoint.pk for other in busy)
        tenants = sum(other.tenant_id == endpoint.tenant_id for other in busy)
        return min(self._endpoint_slots(endpoint.pk) - own, PER_TENANT - tenants, IN_FLIGHT - len(busy))

    async def _send(self, attempt: Attempt) -> None:
        if attempt.body is None:
            await self._settle(attempt, DeliveryState.DEAD, None, "event_removed")
            return
        response = await _post(attempt, attempt.body)
        if isinstance(response, str):
            await self._handle_failure(attempt, None, response, None)
        else:
            await self._handle_response(attempt, response)

    async def _handle_response(self, attempt: Attempt, response: GuardedResponse) -> None:
        if 200 <= response.status < 300:
            self._failing.discard(attempt.endpoint.pk)
            await self._settle(attempt, DeliveryState.DELIVERED, response.status, None)
        elif response.status == 410 and await database.run(claims.endpoint_gone, endpoint=attempt.endpoint):
            await self._settle(attempt, DeliveryState.DEAD, response.status, "gone")
        else:
            await self._handle_failure(attempt, response.status, "status", response.headers.get("retry-after"))

    async def _handle_failure(self, attempt: Attempt, status: int | None, error: str, retry_after: str | None) -> None:
        self._failing.add(attempt.endpoint.pk)
        pause = pause_after(attempt.number, retry_after)
        if pause is None:
            await self._settle(attempt, DeliveryState.DEAD, status, error)
            return
        WEBHOOK_ATTEMPTS.labels("retry").inc()
        await database.run(claims.delivery_postpone, attempt=attempt, seconds=pause, status=status, error=error)

    async def _settle(self, attempt: Attempt, state: DeliveryState, status: int | None, error: str | None) -> None:
        WEBHOOK_ATTEMPTS.labels(state.value).inc()
        if state == DeliveryState.DEAD:
            logger.warning("webhook_dead", delivery=attempt.delivery_id, attempts=attempt.number, error=error)
        await database.run(claims.delivery_settle, attempt=attempt, state=state, status=status, error=error)


async def _post(attempt: Attempt, body: str) -> GuardedResponse | str:
    """Makes the attempt. Returns the receiver's response, or the error code of a delivery without one."""
    try:
        return await _request(attempt, body)
    except CallFailed as failure:
        return _error_code(failure)
    except GatewayError:
        logger.error("webhook_secret_unreadable", endpoint=attempt.endpoint.public_id)
        return "secret_unreadable"
    except Exception:  # contains: a delivery that breaks every attempt ends as dead, as any other that fails
        logger.exception("webhook_attempt_broke", delivery=attempt.delivery_id)
        return "internal_error"


async def _request(attempt: Attempt, body: str) -> GuardedResponse:
    secrets = [unseal(sealed) for sealed in secrets_of(attempt.endpoint)]
    return await CLIENT.request(
        "POST",
        attempt.endpoint.url,
        headers=headers_of(message_id=attempt.delivery_id, body=body, using=secrets),
        body=body.encode(),
        timeout=ATTEMPT_SECONDS,
        max_bytes=MAX_RESPONSE_BYTES,
        head_only=True,
        allow_private=attempt.endpoint.tenant.allow_private,
        owner=attempt.endpoint.tenant.pk,
    )


def _error_code(failure: CallFailed) -> str:
    if isinstance(failure, AddressRefused):
        return "address_refused"
    return "timeout" if isinstance(failure, TimedOut) else "unreachable"
