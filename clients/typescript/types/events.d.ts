/** The events of a session: one member of a union for each type. `event.type` tells them apart. */

import type { Json, TokenUsage } from "./results.js";

/** What the data of every event has. `sessionId` is there in the events of a group. */
export interface EventData {
  requestId?: string | null;
  at?: string;
  sessionId?: string;
}

export interface EventOf<Type extends string, Data = unknown> {
  readonly type: Type;
  readonly data: EventData & Data;
  /** The position as text, opaque. */
  readonly id: string;
}

type ToolCall = { callId: string; toolName: string };
type ToolCallArgs = ToolCall & { args: any };

export type ApprovalRequired = EventOf<
  "approval_required",
  ToolCallArgs & { approvalId: string; argsHash: string; hint: string | null; requestedAt: string; expiresAt: string }
>;

/** A question to the user. An empty list of `options` asks for free text. */
export type AskUser = EventOf<
  "ask_user",
  { ref: string; question: string; options: { id: string; label: string }[]; expiresAt: string }
>;

export type ToolCallRequested = EventOf<"tool_call_requested", ToolCallArgs & { expiresAt: string }>;

/** The end of a run with its answer. */
export type AgentEnd = EventOf<
  "agent_end",
  {
    lastMessage: { role: string; content: string };
    tokenUsage: TokenUsage;
    costUsd: number;
    costKnown: boolean;
    durationMs: number;
  }
>;

/** The end of a run without an answer. */
export type AgentAbort = EventOf<"agent_abort", { reason: string; message: string }>;

/**
 * Events that the caller misses, because they are no longer kept. With the `reason` `reset` they are lost: whatever the
 * caller has after the position `to` is void.
 */
export type EventsDropped = EventOf<"events_dropped", { from: number | string; to: number | string; reason?: string }>;

export type ToolExecutionEnd = EventOf<
  "tool_execution_end",
  ToolCall & {
    status: "ok" | "error" | "rejected" | "timeout" | "unknown";
    result: string;
    durationMs: number;
    truncated?: boolean;
  }
>;

export type KnownEvent =
  | EventOf<"prompt_received", { text: string; queued: boolean }>
  | EventOf<"agent_start", { model: string }>
  | EventOf<"message_start", { messageId: string }>
  | EventOf<"message_delta", { messageId: string; delta: string }>
  | EventOf<"message_end", { messageId: string; content: string }>
  | EventOf<"thinking_start">
  | EventOf<"thinking_delta", { delta: string }>
  | EventOf<"tool_calls", { count: number }>
  | EventOf<"tool_execution_start", ToolCallArgs>
  | ToolExecutionEnd
  | ApprovalRequired
  | EventOf<"approval_resolved", { approvalId: string; status: string; by: string | null; comment: string | null }>
  | AskUser
  | EventOf<"question_resolved", { ref: string; status: string; response: string | null }>
  | EventOf<"error", { code: string; reason: string; retryable: boolean }>
  | AgentEnd
  | AgentAbort
  | ToolCallRequested
  | EventOf<"tool_call_unknown", ToolCall>
  | EventOf<"model_switched", { model: string; previous: string }>
  | EventOf<"model_fallback", { from: string; to: string; reason: string }>
  | EventOf<"tool_attached", { toolName: string }>
  | EventOf<"tool_detached", { toolName: string }>
  | EventOf<"tool_tested", ToolCallArgs & { by: string }>
  | EventOf<"tool_unavailable", { server: string; toolName: string | null; reason: string }>
  | EventOf<"steering", { text: string }>
  | EventOf<"steering_undelivered", { text: string }>
  | EventOf<"run_retried", { attempt: number; reason: string }>
  | EventOf<"provider_waiting", { until: string; reason: string }>
  | EventOf<"provider_resumed">
  | EventOf<"context_truncated", { messages: number; tokens: number; results: number }>
  | EventOf<"context_summarized", { messages: number; tokens: number }>
  | EventOf<"agent_event", { name: string; data: Json }>
  | EventOf<"session_updated", { changed: Record<string, any> }>
  | EventOf<"session_closed">
  | EventsDropped;

/**
 * An event of a session. The gateway adds types, and those that this version does not know are passed on: a `switch`
 * over `event.type` needs a default.
 */
export type SessionEvent = KnownEvent;

/** A live event of tasks, agents and spaces; fields of `data` are in camelCase. */
export interface LiveEvent {
  readonly type: string;
  readonly data: Record<string, any>;
  /** null where the event shows the state at the connection, and is no part of the log. */
  readonly id: string | null;
}
