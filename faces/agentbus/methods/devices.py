"""Devices: `devices.register`, `devices.list` and `devices.revoke`, for administrators of a tenant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_app.rpc import Method
from faces.agentbus.caller import Caller
from faces.agentbus.parameters import NoParameters, Parameters, parser
from faces.agentbus.shapes import device_to_wire
from tenants_app.models import Tenant
from tenants_app.principal import ADMIN
from tenants_app.services.device import device_list, device_register, device_revoke


class RegisterParameters(Parameters):
    """The parameters of `devices.register`."""

    device_id: str
    public_key: str


class DeviceParameters(Parameters):
    """The parameters of a method on one device."""

    device_id: str


def _register(caller: Caller, wanted: RegisterParameters) -> Mapping[str, Any]:
    principal = caller.principal
    device = device_register(
        tenant=Tenant.objects.get(pk=principal.tenant_id),
        device_id=wanted.device_id,
        public_key=wanted.public_key,
        actor=principal.actor,
    )
    return {"device": device_to_wire(device)}


def _list(caller: Caller, wanted: NoParameters) -> Mapping[str, Any]:
    return {"devices": [device_to_wire(device) for device in device_list(caller.principal.tenant_id)]}


def _revoke(caller: Caller, wanted: DeviceParameters) -> Mapping[str, Any]:
    principal = caller.principal
    device = device_revoke(tenant_id=principal.tenant_id, device_id=wanted.device_id, actor=principal.actor)
    return {"device_id": device.device_id, "status": "revoked"}


METHODS: Mapping[str, Method[Caller]] = {
    "devices.register": Method.on_database(
        parser(RegisterParameters), _register, scope=ADMIN, counted=True, shape=RegisterParameters
    ),
    "devices.list": Method.on_database(parser(NoParameters), _list, scope=ADMIN, counted=True, shape=NoParameters),
    "devices.revoke": Method.on_database(
        parser(DeviceParameters), _revoke, scope=ADMIN, counted=True, shape=DeviceParameters
    ),
}
