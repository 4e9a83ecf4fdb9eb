"""The reference for requests: a bare Django REST view under uvicorn that inserts one row, on SQLite or PostgreSQL.

`python -m tests.benchmarks.bare_drf PORT [DATABASE_URL]`; /healthz needs no database.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import dj_database_url
import uvicorn
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path

TABLE = "CREATE TABLE IF NOT EXISTS bare (id varchar(40), text text)"


def database(arguments: list[str]) -> dict[str, Any]:
    if len(arguments) > 2:
        parsed = dict(dj_database_url.parse(arguments[2]))
        return {**parsed, "CONN_MAX_AGE": 0, "OPTIONS": {"pool": {"min_size": 2, "max_size": 8}}}
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.path.join(os.environ["GATEWAY_DATA_DIR"], "bare.sqlite3"),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }


settings.configure(
    ROOT_URLCONF=__name__,
    SECRET_KEY="bare",
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["rest_framework"],
    DATABASES={"default": database(sys.argv)},
    REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "UNAUTHENTICATED_USER": None},
)
application = get_asgi_application()

# They read the settings.
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402


class Insert(APIView):
    def post(self, request: Request) -> Response:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("INSERT INTO bare (id, text) VALUES (%s, %s)", ["x" * 30, dict(request.data)["text"]])
        return Response({"requestId": "x" * 30}, status=202)


def healthz(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


urlpatterns = [path("healthz", healthz), path("insert", Insert.as_view())]


if __name__ == "__main__":
    with connection.cursor() as cursor:
        cursor.execute(TABLE)
    connection.close()
    uvicorn.run(
        application, port=int(sys.argv[1]), loop="uvloop", http="httptools", lifespan="off",
        access_log=False, log_level="error",
    )  # fmt: skip
