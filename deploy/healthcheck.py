"""Whether the process in this container is well: exit code 0 when `/healthz`, or the path in the argument, answers 200.

`/healthz` says that the process answers; `/readyz` that its database and channel layer do too. A worker answers at
GATEWAY_WORKER_PORT. The standard library alone: this runs every few seconds.
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
    connection = connection_to(port)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        print(answer.read(2000).decode(errors="replace"))
    except OSError as error:
        print(f"{path} on port {port}: {error}")
        return 1
    finally:
        connection.close()
    return 0 if answer.status == 200 else 1


def connection_to(port: int) -> http.client.HTTPConnection:
    if not os.environ.get("GATEWAY_TLS_CERT_FILE"):
        return http.client.HTTPConnection(LOCAL, port, timeout=SECONDS)
    # Its certificate is for another name than this one; the connection does not leave the container.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(LOCAL, port, timeout=SECONDS, context=context)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "/healthz"))
