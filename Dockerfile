# The gateway's image: by itself the embedded gateway (SQLite in /data), with GATEWAY_DATABASE_URL and GATEWAY_REDIS_URL a
# process of a distributed one. It runs as an unprivileged user and writes to /data only.

FROM python:3.12-slim AS build
WORKDIR /app
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
# With the packages of GATEWAY_OTEL, which are imported only when it is on.
COPY requirements-otel.lock ./
# There is no compiler here, so a package without a wheel for this Python fails at once, by name.
RUN /opt/venv/bin/python -m pip install --only-binary :all: --require-hashes -r requirements-otel.lock
# .dockerignore admits the gateway only.
COPY . .
RUN printf '#!/bin/sh\nexec /opt/venv/bin/python /app/manage.py "$@"\n' > /opt/venv/bin/gateway \
    && chmod 755 /opt/venv/bin/gateway
# Compiled here, because a read-only file system cannot store bytecode later.
RUN /opt/venv/bin/python -m compileall -q /app /opt/venv/lib

FROM python:3.12-slim
# /secrets is the mount point of files that GATEWAY_*_FILE name; volumes take their owner from here.
RUN groupadd --gid 10001 gateway \
    && useradd --uid 10001 --gid gateway --home-dir /data --no-create-home --shell /usr/sbin/nologin gateway \
    && install -d -m 0700 -o gateway -g gateway /data \
    && install -d -m 0755 -o gateway -g gateway /secrets
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app
# TMPDIR: a large request body is buffered in a file, and a read-only file system has no other directory for it.
ENV PATH=/opt/venv/bin:$PATH \
    TMPDIR=/data \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GATEWAY_HOST=0.0.0.0 \
    GATEWAY_PORT=4000 \
    GATEWAY_DATA_DIR=/data
USER 10001:10001
VOLUME /data
EXPOSE 4000
# Starts the drain, which needs GATEWAY_DRAIN_SECONDS and 15 s (docker run --stop-timeout 30).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["python", "deploy/healthcheck.py", "/healthz"]
ENTRYPOINT ["python", "manage.py"]
CMD ["serve"]
