"""The gateway as the client that the suite `@modelcontextprotocol/conformance` tests, by hand:

    GATEWAY_DATA_DIR=<an empty folder> python manage.py prepare
    npx @modelcontextprotocol/conformance@0.2.0-alpha.12 client --requirements 2026-07-28 \\
        --command "env GATEWAY_DATA_DIR=<the folder> python -m tests.tools.mcp_conformance_client"

The suite's server is registered as a tenant does, authorized as a person does whose browser follows one redirect, and
its tools are called. Elicitation is not tested, because the gateway offers none (`elicitation-…`, `sep-2322-…`); nor
are extensions for machines (client credentials, DPoP, workload identity).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import django

NAME = "conformance"
LISTED = [f"mcp:{NAME}"]
CLIENT_DOCUMENT = "https://conformance-test.local/client-metadata.json"
"""The client that the suite's authorization servers know without a registration."""

EXAMPLES: Mapping[str, Any] = {"number": 5, "integer": 5, "string": "hello", "boolean": True}


async def authorize(principal: Any) -> None:
    """Walks through an authorization."""
    import httpx

    from tools_app.mcp.connecting import authorization_complete, server_connect

    begun = await server_connect(principal, NAME)
    async with httpx.AsyncClient(follow_redirects=False) as browser:
        answer = await browser.get(begun["authorizationUrl"])
    query = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
    await authorization_complete(state=query["state"], code=query["code"], iss=query.get("iss"))


async def use_tools(principal: Any, context: Mapping[str, Any]) -> bool:
    """Calls every tool; returns whether there was one and all went well."""
    from tools_app.executors import mcp
    from tools_app.types import CallContext

    await mcp.open_servers(LISTED, principal.tenant_id)
    tools = mcp.tools_of(LISTED, principal.tenant_id)
    print(mcp.unavailable(LISTED, principal.tenant_id), [tool.name for tool in tools])
    statuses = []
    for tool in tools:
        wanted = [call["arguments"] for call in context.get("toolCalls", ()) if tool.name.endswith(f"__{call['name']}")]
        schemas = [dict(other.parameters) for other in tools if other is not tool]
        for args in wanted or [example(tool.parameters, schemas)]:
            outcome = await tool.run(args, CallContext(NAME, None, principal.tenant_id))
            print(tool.name, outcome.status, outcome.content[:200])
            statuses.append(outcome.status)
    return bool(statuses) and set(statuses) == {"ok"}


def example(parameters: Mapping[str, Any], schemas: list[Any]) -> dict[str, Any]:
    """Makes arguments; one called `schema` echoes another tool's."""
    return {
        name: schemas[0] if name == "schema" and schemas else EXAMPLES.get(described.get("type"), "hello")
        for name, described in parameters.get("properties", {}).items()
    }


async def serve_scenario(url: str, scenario: str, context: Mapping[str, Any]) -> None:
    """Registers the server and uses it. Authorizes again when the server wants more than it asked for first."""
    from core_app.database import run
    from tools_app.mcp import oauth
    from tools_app.mcp.services import server_create

    oauth.client_document_url = lambda: CLIENT_DOCUMENT
    principal = await run(operator)
    fields: dict[str, Any] = {"auth": "oauth"} if scenario.startswith("auth/") else {}
    if "client_id" in context:
        fields |= {"client_id": context["client_id"], "client_secret": context.get("client_secret", "")}
    await run(lambda: server_create(principal=principal, name=NAME, url=url, **fields))
    if not fields:
        await use_tools(principal, context)
        return
    await authorize(principal)
    if not await use_tools(principal, context):
        await authorize(principal)
        await use_tools(principal, context)


def operator() -> Any:
    """The caller, with every scope; servers of earlier scenarios are removed."""
    from tenants_app.models import Tenant
    from tenants_app.principal import SCOPES, Principal
    from tools_app.models import McpServer

    tenant = Tenant.objects.get(slug="default")
    McpServer.objects.filter(tenant=tenant).delete()
    return Principal(tenant.pk, tenant.slug, None, NAME, frozenset(SCOPES))


if __name__ == "__main__":
    os.environ |= {"DJANGO_SETTINGS_MODULE": "gateway_project.settings", "GATEWAY_CALLBACK_ALLOW_PRIVATE": "true"}
    os.environ["GATEWAY_PUBLIC_URL"] = "https://conformance-test.local"
    django.setup()
    given = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    asyncio.run(serve_scenario(sys.argv[-1], os.environ.get("MCP_CONFORMANCE_SCENARIO", ""), given))
    sys.stdout.flush()
    os._exit(0)
