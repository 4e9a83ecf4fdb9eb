"""The body of a request in the chat dialect, out of the library's messages, settings and parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.tools import ToolDefinition

from agents_app.provider_model.content import chat_content
from agents_app.provider_model.effort import EFFORT, anthropic_fields, is_reasoning, refused_sampling
from agents_app.provider_model.profiles import Profile
from agents_app.provider_model.thinking import (
    field_of,
    fill_missing,
    has_thinking,
    is_own,
    sealed_fields,
    text_of,
)
from inference_app.catalogue.config import ProviderEntry, Wire
from inference_app.catalogue.limits import TARGET_LIMITS, Limits
from inference_app.conversion.requests.token_limit import token_limit
from inference_app.conversion.stored_conversation import Detail, FittedConversation, fit_conversation

Json = dict[str, Any]

_SAMPLING = (
    "temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "logit_bias",
)  # fmt: skip
_OUTPUT_NAME = "answer"


@dataclass(frozen=True, slots=True)
class ChatBody:
    """The maker of bodies for one model of a provider on its wire."""

    model: Model
    profile: Profile
    provider: str
    entry: ProviderEntry
    wire: Wire

    def build(
        self,
        messages: Sequence[ModelMessage],
        settings: Mapping[str, Any],
        params: ModelRequestParameters,
        instructions: Sequence[str],
        detail: Detail = Detail.WHOLE,
    ) -> tuple[Json, Detail | None]:
        """Returns the body, and the detail with which it would be simpler. Raises UserError or BadRequest for what
        cannot be expressed. CPU-bound, above all with attachments."""
        fitted = self._fitted(messages, settings, params, instructions, detail)
        body: Json = {"model": self.model.model_name, "stream": True, "messages": fitted.messages}
        if tools := [self._tool(tool) for tool in params.declared_tool_defs.values()]:
            body |= {"tools": tools, "tool_choice": "auto"}
            if (parallel := settings.get("parallel_tool_calls")) is not None:
                body["parallel_tool_calls"] = parallel
        if (form := self._response_format(params)) is not None:
            body["response_format"] = form
        body |= self._fields(settings, params)
        return {name: value for name, value in body.items() if name not in self.entry.refuses}, fitted.simpler

    @property
    def limits(self) -> Limits:
        """The limits of the target."""
        return TARGET_LIMITS.limits(self.provider, self.entry, self.wire, self.model.model_name)

    def _fields(self, settings: Mapping[str, Any], params: ModelRequestParameters) -> Json:
        refused = refused_sampling(self.profile, settings)
        fields = {name: settings[name] for name in _SAMPLING if name in settings and name not in refused}
        if (stops := settings.get("stop_sequences")) is not None:
            fields["stop"] = stops
        if (limit := settings.get("max_tokens")) is not None:
            fields |= token_limit(self.model.model_name, limit)
        if self.wire == "anthropic":
            if "top_k" in settings:
                fields["top_k"] = settings["top_k"]
            return fields | anthropic_fields(self.profile, params)
        if effort := settings.get(EFFORT):
            fields["reasoning_effort"] = effort
        return fields

    def _response_format(self, params: ModelRequestParameters) -> Json | None:
        if params.output_mode == "prompted":
            takes = self.wire != "anthropic" and self.profile.get("supports_json_object_output", False)
            return {"type": "json_object"} if takes else None
        wanted = params.output_object
        if params.output_mode != "native" or wanted is None:
            return None
        schema: Json = {"name": wanted.name or _OUTPUT_NAME, "schema": wanted.json_schema}
        if wanted.description:
            schema["description"] = wanted.description
        if self.wire != "anthropic" and self.profile.get("openai_supports_strict_tool_definition", True):
            schema["strict"] = wanted.strict
        return {"type": "json_schema", "json_schema": schema}

    def _tool(self, tool: ToolDefinition) -> Json:
        function: Json = {
            "name": tool.name,
            "description": tool.description or "",
            "parameters": tool.parameters_json_schema,
        }
        if tool.strict and self.profile.get("openai_supports_strict_tool_definition", True):
            function["strict"] = True
        return {"type": "function", "function": function}

    def _fitted(
        self,
        messages: Sequence[ModelMessage],
        settings: Mapping[str, Any],
        params: ModelRequestParameters,
        instructions: Sequence[str],
        detail: Detail,
    ) -> FittedConversation:
        built = self._messages(messages, settings, params)
        fitted = fit_conversation(built, self.limits, has_tools=bool(params.declared_tool_defs), detail=detail)
        told = [text for text in instructions if text.strip()]
        return replace(fitted, messages=self._with_instructions(fitted.messages, told))

    def _messages(
        self, messages: Sequence[ModelMessage], settings: Mapping[str, Any], params: ModelRequestParameters
    ) -> list[Json]:
        built: list[Json] = []
        had_thought: int | None = None
        for message in messages:
            if isinstance(message, ModelRequest):
                built += self._request(message)
                continue
            if had_thought is None and has_thinking(message):
                had_thought = len(built)
            if (said := self._response(message)) is not None:
                built.append(said)
        if self.wire == "openai-chat":
            reasons = is_reasoning(self.profile, settings, params)
            fill_missing(built, self.profile, reasons=reasons, had_thought=had_thought)
        return built

    def _with_instructions(self, built: list[Json], instructions: Sequence[str]) -> list[Json]:
        role = self._system_role
        leading = 0
        while leading < len(built) and built[leading]["role"] == role != "user":
            leading += 1
        first = [*built[:leading], *({"role": role, "content": text} for text in instructions)]
        if (
            len(first) > 1
            and role != "user"
            and not self.profile.get("openai_chat_supports_multiple_system_messages", True)
        ):
            first = [{"role": role, "content": "\n\n".join(message["content"] for message in first)}]
        return [*first, *built[leading:]]

    @property
    def _system_role(self) -> str:
        return self.profile.get("openai_system_prompt_role") or "system"

    def _request(self, message: ModelRequest) -> Iterator[Json]:
        files: list[UserContent] = []
        for part in message.parts:
            if isinstance(part, SystemPromptPart):
                yield {"role": self._system_role, "content": part.content}
            elif isinstance(part, UserPromptPart):
                yield {"role": "user", "content": self._content(part.content)}
            elif isinstance(part, ToolReturnPart):
                text, more = part.model_response_str_and_user_content()
                files += more
                yield {"role": "tool", "tool_call_id": part.tool_call_id, "content": text}
            else:
                raise UserError(f"{type(part).__name__} cannot be sent.")
        if files:
            yield {"role": "user", "content": self._content(files)}

    def _content(self, content: str | Sequence[UserContent]) -> str | list[Json]:
        return chat_content(self.model, self.profile, self.wire, content)

    def _response(self, message: ModelResponse) -> Json | None:
        texts: list[str] = []
        calls: list[Json] = []
        fields: dict[str, list[str]] = {}
        sealed: list[ThinkingPart] = []
        for part in message.parts:
            if isinstance(part, TextPart):
                texts.append(part.content)
            elif isinstance(part, ToolCallPart):
                calls.append(self._call(message, part))
            elif isinstance(part, ThinkingPart):
                if is_own(part, self.provider, self.wire):
                    sealed.append(part)
                if self.wire == "openai-chat":
                    if part.content and (name := field_of(part, self.profile, self.provider)) is not None:
                        fields.setdefault(name, []).append(part.content)
                    elif (thought := text_of(part, self.profile)) is not None:
                        texts.append(thought)
        if not texts and not calls:
            return None
        said: Json = {"role": "assistant", **{name: "\n\n".join(thoughts) for name, thoughts in fields.items()}}
        said["content"] = "\n\n".join(texts) if texts else None
        if calls:
            said["tool_calls"] = calls
        return said | sealed_fields(sealed)

    def _call(self, message: ModelResponse, part: ToolCallPart[Any]) -> Json:
        function = {"name": part.tool_name, "arguments": part.args_as_json_str()}
        call: Json = {"id": part.tool_call_id, "type": "function", "function": function}
        extra = (part.provider_details or {}).get("extra_content")
        if extra and (part.provider_name or message.provider_name) == self.provider:
            call["extra_content"] = extra
        return call
