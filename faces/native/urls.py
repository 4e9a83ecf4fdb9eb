"""The native REST face; its streams are in gateway_project.http.routing."""

from __future__ import annotations

from django.urls import path

from faces.native.views.decisions import ApproveView, RejectView, RespondView, ToolResultView
from faces.native.views.prompts import AbortView, PromptView, SteerView, SwitchModelView
from faces.native.views.sessions import (
    RunDetail,
    RunList,
    SessionDetail,
    SessionFork,
    SessionList,
    SessionMessages,
    SessionStats,
    SessionStatus,
)
from faces.native.views.stream_token import StreamTokenView
from faces.native.views.tools import CallbackResultView, ToolDetail, ToolList
from faces.native.views.usage import UsageView
from faces.native.views.webhooks import (
    DeliveryRedeliver,
    WebhookDeliveries,
    WebhookDetail,
    WebhookList,
    WebhookRedeliver,
    WebhookRotate,
    WebhookTest,
)

_ONE = "v1/sessions/<str:session_id>"
_HOOK = "v1/webhooks/<str:webhook_id>"

urlpatterns = [
    path("v1/usage", UsageView.as_view()),
    path("v1/sessions", SessionList.as_view()),
    path(_ONE, SessionDetail.as_view()),
    path(f"{_ONE}/prompt", PromptView.as_view()),
    path(f"{_ONE}/abort", AbortView.as_view()),
    path(f"{_ONE}/steer", SteerView.as_view()),
    path(f"{_ONE}/switch_model", SwitchModelView.as_view()),
    path(f"{_ONE}/approve", ApproveView.as_view()),
    path(f"{_ONE}/reject", RejectView.as_view()),
    path(f"{_ONE}/respond", RespondView.as_view()),
    path(f"{_ONE}/tool-results", ToolResultView.as_view()),
    path(f"{_ONE}/tools", ToolList.as_view()),
    path(f"{_ONE}/tools/<str:name>", ToolDetail.as_view()),
    path(f"{_ONE}/stream-token", StreamTokenView.as_view()),
    path("v1/callbacks/<str:token>", CallbackResultView.as_view()),
    path(f"{_ONE}/messages", SessionMessages.as_view()),
    path(f"{_ONE}/fork", SessionFork.as_view()),
    path(f"{_ONE}/stats", SessionStats.as_view()),
    path(f"{_ONE}/status", SessionStatus.as_view()),
    path(f"{_ONE}/runs", RunList.as_view()),
    path(f"{_ONE}/runs/<str:request_id>", RunDetail.as_view()),
    path(f"{_ONE}/runs/<str:request_id>/abort", AbortView.as_view()),
    path("v1/webhooks", WebhookList.as_view()),
    path(_HOOK, WebhookDetail.as_view()),
    path(f"{_HOOK}/rotate", WebhookRotate.as_view()),
    path(f"{_HOOK}/test", WebhookTest.as_view()),
    path(f"{_HOOK}/redeliver", WebhookRedeliver.as_view()),
    path(f"{_HOOK}/deliveries", WebhookDeliveries.as_view()),
    path(f"{_HOOK}/deliveries/<str:delivery_id>/redeliver", DeliveryRedeliver.as_view()),
]
