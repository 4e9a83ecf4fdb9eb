"""Makes the files with secrets that docker-compose.yml names, once: a file that is there is never touched.

    secret_files.py DIRECTORY [EMPTY …]

Passwords, the secret key and a first API key are made up; files that are named begin empty, which means that there is
no such secret: providers' keys, former secret keys.
Their group may read them, for the database's own user. The standard library alone.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

DATABASE = "postgresql://gateway:{password}@postgres:5432/gateway"
REDIS = "redis://:{password}@redis:6379/0"
# Redis holds nothing that must survive: no snapshots, no log.
REDIS_CONF = 'requirepass {password}\nsave ""\nappendonly no\n'


def main(directory: Path, empty: list[str]) -> None:
    def made(name: str, content: Callable[[], str]) -> str:
        return keep(directory / name, content)

    password = made("database_password", secrets.token_hex).strip()
    made("database_url", lambda: DATABASE.format(password=password))
    password = made("redis_password", secrets.token_hex).strip()
    made("redis_url", lambda: REDIS.format(password=password))
    made("redis.conf", lambda: REDIS_CONF.format(password=password))
    made("secret_key", lambda: secrets.token_urlsafe(48))
    made("api_keys", lambda: f"agw_{secrets.token_urlsafe(32)}")
    for name in empty:
        made(name, str)
    print(f"{directory}: the secrets are there.")


def keep(path: Path, content: Callable[[], str]) -> str:
    """What the file says; made of `content` when it is not there. A start that is cut off leaves no half of one."""
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o440), "w", encoding="ascii") as file:
            # Whatever the umask: containers read them as members of the group.
            os.fchmod(file.fileno(), 0o440)
            text = content()
            file.write(text if text.endswith("\n") or not text else f"{text}\n")
        draft.rename(path)
    return path.read_text(encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
