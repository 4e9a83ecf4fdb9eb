"""POST /v1/embed-tokens, and the chat's own endpoints below /v1/embed/.

The chat is shown the conversation and what waits for its end user: no system prompt, no arguments and results of
tools, no statistics.
"""

from __future__ import annotations

from typing import Any

from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from agents_app import registry as agents
from core_app import clock
from edge_app.rest.viewsets import GatewayViewSet
from faces.native.embed.caller import caller_of, session_check
from faces.native.embed.serializers import EmbedDecisionSerializer, EmbedPromptSerializer, EmbedTokenSerializer
from faces.native.serializers import RespondSerializer
from sessions_app import wire
from sessions_app.models import AgentSession
from sessions_app.selectors import messages_page, session_get
from sessions_app.services.decisions import approval_decide, question_answer
from sessions_app.services.prompt import Prompt, prompt_accept
from sessions_app.services.run_control import run_abort
from sessions_app.services.session import SessionRequest, session_create
from tenants_app.principal import SESSIONS
from tenants_app.services.embed_token import EmbedCaller, embed_session_new, embed_token_issue

SHOWN = ("user", "assistant")
MAX_MESSAGES = 200


class EmbedTokenViewSet(GatewayViewSet):
    """Tokens that a tenant's server asks for."""

    scope = SESSIONS

    def create(self, request: Request) -> Response:
        data = self.parse_body(EmbedTokenSerializer).validated_data
        if data.get("agent") is not None:
            agents.agent_get(data["agent"], tenant=self.principal)
        issued = embed_token_issue(
            principal=self.principal,
            end_user=data["endUser"],
            agent=data.get("agent"),
            model=data.get("model"),
            origins=data["origins"],
            seconds=data["ttlSeconds"],
            approvals=data["approvals"],
        )
        body = {"token": issued.token, "expiresAt": clock.iso_ms(issued.expires_at)}
        return Response(body, status=201, headers={"Cache-Control": "no-store"})


class EmbedSessionViewSet(GatewayViewSet):
    """The sessions of one end user with one agent or model. Its paths ask for a token and not for a scope of keys."""

    lookup_url_kwarg = "session_id"

    @property
    def caller(self) -> EmbedCaller:
        """The holder of the token."""
        return caller_of(self.request)

    def create(self, request: Request) -> Response:
        binding = self.caller.binding
        made = SessionRequest(
            agent=binding.agent, model=binding.model, public_id=embed_session_new(binding), metadata={"embedded": True}
        )
        session = session_create(principal=self.principal, request=made)
        return Response(_session_to_wire(session), status=201)

    def retrieve(self, request: Request, session_id: str) -> Response:
        return Response(_session_to_wire(self._session(session_id)))

    @action(detail=True, name="Embed Messages")
    def messages(self, request: Request, session_id: str) -> Response:
        """Returns what was said, the oldest first: the newest MAX_MESSAGES messages."""
        session = self._session(session_id)
        after = max(0, session.message_count - MAX_MESSAGES)
        found, _ = messages_page(session, after=after, limit=MAX_MESSAGES)
        shown = [wire.message_to_wire(message) for message in found if message.role in SHOWN]
        messages = [{name: one[name] for name in ("id", "role", "content", "createdAt")} for one in shown]
        return Response({"messages": messages})

    @action(detail=True, methods=["post"], name="Embed Prompt")
    def prompt(self, request: Request, session_id: str) -> Response:
        """Accepts a prompt of the end user."""
        self._session(session_id)
        text = self.parse_body(EmbedPromptSerializer).validated_data["text"]
        receipt = prompt_accept(principal=self.principal, public_id=session_id, prompt=Prompt(text=text))
        return Response(receipt.to_wire(), status=202)

    @action(detail=True, methods=["post"], name="Embed Abort")
    def abort(self, request: Request, session_id: str) -> Response:
        """Aborts what runs."""
        self._session(session_id)
        run = run_abort(principal=self.principal, public_id=session_id, run_id=None, reason="aborted in the chat")
        return Response({"requestId": run.pk, "sessionId": session_id, "status": "aborted"}, status=202)

    @action(detail=True, methods=["post"], name="Embed Respond")
    def respond(self, request: Request, session_id: str) -> Response:
        """Answers a question of the agent."""
        self._session(session_id)
        data = self.parse_body(RespondSerializer).validated_data
        receipt = question_answer(
            principal=self.principal, public_id=session_id, ref=data["ref"], response=data["response"]
        )
        return Response(receipt)

    @action(detail=True, methods=["post"], name="Embed Decide")
    def decide(self, request: Request, session_id: str) -> Response:
        """Approves or rejects a tool call as it was asked for, where the token allows it."""
        self._session(session_id)
        data = self.parse_body(EmbedDecisionSerializer).validated_data
        decision = approval_decide(
            principal=self.principal,
            public_id=session_id,
            approval_id=data["approvalId"],
            approve=data["approve"],
            args_hash=data["argsHash"],
        )
        return Response(decision)

    def _session(self, session_id: str) -> AgentSession:
        session_check(self.caller, session_id)
        return session_get(self.principal, session_id)


def _session_to_wire(session: AgentSession) -> dict[str, Any]:
    shown = wire.session_to_wire(session)
    return {name: shown[name] for name in ("sessionId", "state", "createdAt", "lastEventIndex")}
