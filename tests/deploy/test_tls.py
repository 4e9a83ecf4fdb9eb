"""deploy/tls/: HTTPS and wss by copying three files."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from pathlib import Path

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.conf import settings

from tests.deploy.conftest import ANSWER_SECONDS, nginx_running
from tests.deploy.stub_gateway import Stub
from tests.stack.composition import Places
from tests.stack.process import free_port

EXAMPLE = settings.BASE_DIR / "deploy" / "tls" / "tls.conf.example"


def certificate_write(directory: Path) -> None:
    """A certificate for 127.0.0.1 that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway.test")])
    now = datetime.datetime.now(datetime.UTC)
    tomorrow = now + datetime.timedelta(days=1)
    serial = x509.random_serial_number()
    builder = x509.CertificateBuilder(name, name, key.public_key(), serial, now, tomorrow)
    certificate = builder.sign(key, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "server.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "server.key").write_bytes(pem)


def tls_write(places: Places, port: int) -> None:
    """What docs/operating.md says to do, at this machine's places."""
    directory = places.directory / "tls"
    directory.mkdir()
    certificate_write(directory)
    text = EXAMPLE.read_text(encoding="utf-8").replace("/etc/nginx/tls", str(directory))
    (directory / "tls.conf").write_text(text.replace("listen 8443", f"listen 127.0.0.1:{port}"), encoding="utf-8")


async def test_https_and_wss_are_served_and_said_on(nginx: None, tmp_path: Path) -> None:
    places, port, web = Places(tmp_path, free_port()), free_port(), free_port()
    tls_write(places, port)
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    connector = aiohttp.TCPConnector(ssl=trusting)
    with nginx_running(places, [web]):
        async with Stub(web).serve(), aiohttp.ClientSession(f"https://127.0.0.1:{port}", connector=connector) as it:
            async with asyncio.timeout(ANSWER_SECONDS), it.get("/") as answer:
                assert (await answer.json())["headers"]["x-forwarded-proto"] == "https"
            async with asyncio.timeout(ANSWER_SECONDS), it.ws_connect("/ws") as socket:
                await socket.send_str("hello")
                assert "hello" in await socket.receive_str()
