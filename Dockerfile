# The gateway as an image: alone it is the embedded one (SQLite in /data), with GATEWAY_DATABASE_URL and GATEWAY_REDIS_URL
# a part of a distributed one. It runs as a user without rights and writes nowhere but into /data.

FROM python:3.12-slim AS build
WORKDIR /app
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
# With the packages that GATEWAY_OTEL needs; they are loaded when it is on.
COPY requirements-otel.lock ./
# There is no compiler here: what has no wheel for this Python fails at once and by its name.
RUN /opt/venv/bin/python -m pip install --only-binary :all: --require-hashes -r requirements-otel.lock
# .dockerignore lets nothing but the gateway in.
COPY . .
# Compiled here, since a read-only file system keeps no bytecode.
RUN /opt/venv/bin/python -m compileall -q /app /opt/venv/lib

FROM python:3.12-slim
# /secrets is for a volume of files that GATEWAY_*_FILE name; volumes take their owner from here.
RUN groupadd --gid 10001 gateway \
    && useradd --uid 10001 --gid gateway --home-dir /data --no-create-home --shell /usr/sbin/nologin gateway \
    && install -d -m 0700 -o gateway -g gateway /data \
    && install -d -m 0755 -o gateway -g gateway /secrets
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app
# TMPDIR: a large request body waits in a file, and a read-only file system has no other place.
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
# Drains: give it GATEWAY_DRAIN_SECONDS and 15 s (docker run --stop-timeout 30).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["python", "deploy/healthcheck.py", "/healthz"]
ENTRYPOINT ["python", "manage.py"]
CMD ["serve"]
