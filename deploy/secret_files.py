"""Generates the secret files that docker-compose.yml names, once: an existing file is never changed.

    secret_files.py DIRECTORY [EMPTY …]

Passwords, the secret key and a first API key are generated. The files named EMPTY are created empty, which means that
there is no such secret: keys of providers, former secret keys. The group may read the files, for the database's user.
The standard library alone.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

DATABASE = "postgresql://gateway:{password}@postgres:5432/gateway"
REDIS = "redis://:{password}@redis:6379/0"
# Redis keeps nothing that must survive, so it writes no snapshots and no log.
REDIS_CONF = 'requirepass {password}\nsave ""\nappendonly no\n'


def main(directory: Path, empty: list[str]) -> None:
    def create(name: str, content: Callable[[], str]) -> str:
        return keep(directory / name, content)

    password = create("database_password", secrets.token_hex).strip()
    create("database_url", lambda: DATABASE.format(password=password))
    password = create("redis_password", secrets.token_hex).strip()
    create("redis_url", lambda: REDIS.format(password=password))
    create("redis.conf", lambda: REDIS_CONF.format(password=password))
    create("secret_key", lambda: secrets.token_urlsafe(48))
    create("api_keys", lambda: f"agw_{secrets.token_urlsafe(32)}")
    for name in empty:
        create(name, str)
    print(f"{directory}: the secrets are there.")


def keep(path: Path, content: Callable[[], str]) -> str:
    """Returns the text of the file, which is created with `content()` when it is missing, and never partially."""
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o440), "w", encoding="ascii") as file:
            # Regardless of the umask: containers read them as members of the group.
            os.fchmod(file.fileno(), 0o440)
            text = content()
            file.write(text if text.endswith("\n") or not text else f"{text}\n")
        draft.rename(path)
    return path.read_text(encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
