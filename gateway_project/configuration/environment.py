"""The typed reader of GATEWAY_* settings: the environment, then `.env` in the working directory (GATEWAY_ENV_FILE names
another file), then, for SECRETS, the file that `<setting>_FILE` names.

`.env` is loaded into the environment of the process, so it feeds everything that the environment feeds: settings, keys
of providers, `<variable>_FILE`. A value that cannot be read raises an error that names the setting. The secret key is
generated at the first start and kept in the data directory, which only commands that start a gateway create.
"""

from __future__ import annotations

import io
import os
import secrets
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from dotenv import dotenv_values
from dotenv.parser import parse_stream
from environs import Env

from core_app.environment import UnreadableSecret, read_variable
from gateway_project.configuration import data_creation

SECRETS = (
    "GATEWAY_API_KEYS",
    "GATEWAY_SECRET_KEY",
    "GATEWAY_SECRET_KEY_FALLBACKS",
    "GATEWAY_DATABASE_URL",
    "GATEWAY_REDIS_URL",
    "GATEWAY_PASSWORD",
    "GATEWAY_INTERNAL_API_KEY",
    "GATEWAY_OIDC_CLIENT_SECRET",
)
"""Settings that may be in a file each. In the file of a list the entries are separated by lines or commas."""


def load_secret_files() -> None:
    """Reads the files of SECRETS into the environment, as `.env` is read; raises ImproperlyConfigured."""
    for name in SECRETS:
        try:
            value = read_variable(name)
        except UnreadableSecret as error:
            raise ImproperlyConfigured(str(error)) from None
        if value is not None:
            os.environ[name] = ",".join(line.strip() for line in value.splitlines())


def env_file() -> str:
    """Returns the file of settings: `.env`, which may be missing, or the one that GATEWAY_ENV_FILE names."""
    given = os.environ.get("GATEWAY_ENV_FILE", "")
    if given and not os.access(given, os.R_OK):
        raise ImproperlyConfigured(f"GATEWAY_ENV_FILE names '{given}', which cannot be read.")
    return given or ".env"


def load_env_file(path: str) -> None:
    """Adds the variables of the file to the environment, which takes precedence: `NAME` from the file is left out where
    the environment has `NAME_FILE`, too. Raises ImproperlyConfigured for a line that is no variable."""
    try:
        # Editors of Windows begin a file with a byte order mark.
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ImproperlyConfigured(f"The settings in '{path}' cannot be read ({reason}).") from None
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            raise ImproperlyConfigured(f"'{path}', line {binding.original.line}: a line is NAME=value.")
    before = set(os.environ)
    for name, value in dotenv_values(stream=io.StringIO(text)).items():
        if value is not None and name not in before and f"{name}_FILE" not in before:
            os.environ[name] = value


def take_other_spellings() -> None:
    """Reads `GATEWAY__NAME` as `GATEWAY_NAME`, unless that is set: deployments of other gateways spell it so."""
    for name in [name for name in os.environ if name.startswith("GATEWAY__")]:
        os.environ.setdefault(f"GATEWAY_{name.removeprefix('GATEWAY__')}", os.environ[name])


env = Env(prefix="GATEWAY_")
load_env_file(env_file())
take_other_spellings()
load_secret_files()


def data_directory() -> Path:
    """Returns GATEWAY_DATA_DIR, which is created when it is missing (readable by its owner only), unless the command
    only looks (`data_creation.forbid`)."""
    directory = Path(env.str("DATA_DIR", "./data")).resolve()
    if not data_creation.is_allowed():
        return directory
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(
            f"GATEWAY_DATA_DIR is '{directory}', which cannot be created ({error.strerror})."
        ) from None
    return directory


def secret_key(directory: Path) -> str:
    """Returns GATEWAY_SECRET_KEY, else the key in the data directory, which the first process generates."""
    if given := env.str("SECRET_KEY", ""):
        return given
    if not data_creation.is_allowed() and not (directory / "secret_key").exists():
        # Of no use to any data, because there is none.
        return secrets.token_urlsafe(48)
    try:
        return _stored_key(directory / "secret_key")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ImproperlyConfigured(
            f"The secret key in GATEWAY_DATA_DIR, '{directory}', can be neither read nor generated ({reason})."
        ) from None


def _stored_key(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(48))
    return path.read_text(encoding="ascii")
