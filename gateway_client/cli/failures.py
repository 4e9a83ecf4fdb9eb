"""Failures as one sentence that says what to do."""

from __future__ import annotations

from gateway_client import errors
from gateway_client.cli.settings import KEY_VARIABLE, URL_VARIABLE, Settings

LISTS = {
    errors.SessionNotFound: "'agent-gateway sessions' lists those of your key.",
    errors.TaskNotFound: "'agent-gateway tasks' lists those of your key.",
    errors.AgentNotFound: "'agent-gateway agents' lists those of your key.",
    errors.SpaceNotFound: "'agent-gateway space create-space' makes one.",
}
"""How to find one that exists."""


def failure_explain(error: Exception, settings: Settings | None) -> str:
    """Returns the sentence for an error of the client."""
    where = settings.url if settings else "its address"
    if isinstance(error, errors.ConnectionFailed):
        return (
            f"No gateway answers at {where}: start it with 'agent-gateway start', or set {URL_VARIABLE} to its address."
        )
    if isinstance(error, errors.Unauthorized):
        if settings and not settings.api_key:
            return f"The gateway at {where} wants an API key: set {KEY_VARIABLE}, or run 'agent-gateway config edit'."
        source = settings.sources.get("api_key", KEY_VARIABLE) if settings else KEY_VARIABLE
        return f"The gateway at {where} does not know this API key: put a valid one into {source}."
    for kind, advice in LISTS.items():
        if isinstance(error, kind):
            return f"{error}: {advice}" if not str(error).endswith(".") else f"{str(error)[:-1]}: {advice}"
    if isinstance(error, errors.RateLimited) and error.retry_after:
        return f"{error} Try again in {error.retry_after:g} s."
    if isinstance(error, errors.NoAgentAvailable):
        return f"{error} Name one: 'agent-gateway to <agent> <words>'; 'agent-gateway agents' lists them."
    if isinstance(error, errors.APIError) and error.error_id:
        return f"{error} The gateway's log has the reason under {error.error_id}."
    if isinstance(error, errors.APIError) and error.field:
        return f"{error} (field '{error.field}')"
    return str(error) or type(error).__name__


def failure_code(error: Exception) -> str:
    """Returns the code that scripts compare."""
    if isinstance(error, (errors.APIError, errors.TaskFailed)):
        return error.code
    return "unreachable" if isinstance(error, errors.ConnectionFailed) else "error"
