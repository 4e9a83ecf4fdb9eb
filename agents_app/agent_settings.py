"""The fields that an engine reads from its agent's entry in the configuration, checked when a leg starts."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from agents_app import registry
from agents_app.engine import Failed, Leg
from agents_app.exchange import AgentError
from core_app.errors import Unprocessable

Fields = TypeVar("Fields", bound=BaseModel)


def agent_settings(leg: Leg, kind: type[Fields]) -> Fields:
    """Returns the entry's fields as `kind`. Raises AgentError when the agent is gone or its entry is invalid."""
    agent_id = leg.session.agent or leg.session.model.partition(":")[2]
    try:
        entry = registry.agent_get(agent_id)
        return kind.model_validate(entry.model_dump())
    except Unprocessable as error:
        raise AgentError(Failed("unprocessable", error.message)) from None
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = ".".join(str(step) for step in fault["loc"] if not str(step).startswith("function-"))
        reason = f"The agent {agent_id!r} is not configured: {path or 'entry'} of agents.{agent_id} is invalid."
        raise AgentError(Failed("unprocessable", reason), logged=fault["msg"]) from None
