"""Health check of a container: exit code 0 when `/healthz`, or the path in the argument, responds with 200.

`/healthz` means that the process runs, `/readyz` that its database and channel layer answer too. A worker listens at
GATEWAY_WORKER_PORT. The standard library alone, because this runs every few seconds.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys

SECONDS = 4.0
LOCAL = "127.0.0.1"


def main(path: str) -> int:
    port = int(os.environ.get("GATEWAY_WORKER_PORT") or os.environ.get("GATEWAY_PORT") or 4000)
    connection = connect(port)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        print(response.read(2000).decode(errors="replace"))
    except OSError as error:
        print(f"{path} on port {port}: {error}")
        return 1
    finally:
        connection.close()
    return 0 if response.status == 200 else 1


def connect(port: int) -> http.client.HTTPConnection:
    if not os.environ.get("GATEWAY_TLS_CERT_FILE"):
        return http.client.HTTPConnection(LOCAL, port, timeout=SECONDS)
    # The certificate is for another name than LOCAL, and the connection does not leave the container.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(LOCAL, port, timeout=SECONDS, context=context)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "/healthz"))
