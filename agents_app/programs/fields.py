"""The fields of an agent that is a program, in the configuration and in registered rows."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field


class ProgramFields(BaseModel):
    """The fields of an agent that is a program. `pass_env` names variables of the gateway that it gets."""

    model_config = ConfigDict(protected_namespaces=())

    command: str = Field(default="", max_length=1000)
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = Field(default_factory=dict)
    pass_env: tuple[str, ...] = ()
    timeout: float = Field(default=0, ge=0)
    memory_bytes: int | None = Field(default=None, ge=0)
    model: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][\w.:/@\[\]-]{0,199}$")
