"""A device that signs in to the Agentbus socket, as the protocol's document says."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.faces.agentbus.bus_client import BusClient


class FakeDevice:
    """A device with a key pair of its own."""

    def __init__(self, device_id: str = "device-1") -> None:
        self.device_id = device_id
        self.key = Ed25519PrivateKey.generate()

    @property
    def public_key(self) -> str:
        return base64.b64encode(self.key.public_key().public_bytes_raw()).decode()

    @property
    def openssh_key(self) -> str:
        line = self.key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        return f"{line.decode()} laptop"

    def sign(self, nonce: str, timestamp: Any) -> str:
        """Returns the signature of a sign-in; `timestamp` as it is written."""
        return base64.b64encode(self.key.sign(f"{self.device_id}:{nonce}:{timestamp}".encode())).decode()

    async def sign_in(self, client: BusClient, **changed: Any) -> dict[str, Any]:
        """Signs in, with some parameters changed."""
        client.nonce = client.nonce or (await client.event("connect.challenge"))["nonce"]
        stamp = changed.pop("timestamp", time.time())
        params = {
            "device_id": self.device_id,
            "nonce": client.nonce,
            "timestamp": stamp,
            "signature": self.sign(client.nonce, stamp if isinstance(stamp, str) else json.dumps(stamp)),
        }
        return await client.sign_in(**params | changed)
