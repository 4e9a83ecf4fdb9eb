/** The objects that the gateway returns. It adds fields; times are ISO text. */

export type Json = string | number | boolean | null | Json[] | { [name: string]: Json };

/** Opaque: send it back as it came. */
export type Position = number | string;

export type SessionState = "idle" | "working" | "waiting_approval" | "waiting_input" | "waiting_tool" | "closed";

export interface SessionInfo {
  sessionId: string;
  state: SessionState;
  model: string;
  agent: string | null;
  title: string | null;
  turns: number;
  toolCalls: number;
  totalTokens: number;
  costUsd: number;
  /** False when the price of a model is unknown. */
  costKnown: boolean;
  uptimeMs: number;
  createdAt: string;
  updatedAt: string;
  lastEventIndex: Position;
  userData: Record<string, any>;
  groupId: string | null;
}

export interface TokenUsage {
  promptTokens: number;
  completionTokens: number;
  totalTokens: number;
  cachedTokens: number;
  reasoningTokens: number;
}

export interface LastMessage {
  role: string;
  content: string;
}

export interface RunError {
  code: string;
  reason: string;
}

export interface ProviderWaiting {
  until: string;
  reason: string;
}

export interface RunInfo {
  requestId: string;
  status: "queued" | "running" | "waiting" | "completed" | "aborted" | "failed";
  attempt: number;
  turns: number;
  tokenUsage: TokenUsage;
  costUsd: number;
  costKnown: boolean;
  providerWaiting: ProviderWaiting | null;
  endReason: string | null;
  error: RunError | null;
  lastMessage: LastMessage | null;
  endUser: string | null;
  metadata: Record<string, any>;
  createdAt: string;
  startedAt: string | null;
  endedAt: string | null;
}

export interface MessageCall {
  callId: string;
  name: string;
  arguments: any;
}

export interface Message {
  id: string;
  role: "user" | "assistant" | "system" | "tool_result";
  content: string;
  createdAt: string;
  requestId: string | null;
  toolCalls?: MessageCall[];
  callId?: string;
}

export interface PromptReceipt {
  requestId: string;
  sessionId: string;
  queued: boolean;
}

export interface Stats {
  sessionId: string;
  turns: number;
  totalTokens: number;
  costUsd: number;
  costKnown: boolean;
  promptCount: number;
  tokenUsage: TokenUsage;
  toolCalls: number;
  lastEventIndex: Position;
  eventBufferCount: number;
  byModel: Record<string, any>;
}

export interface PendingApproval {
  approvalId: string;
  callId: string;
  toolName: string;
  args: any;
  argsHash: string;
  hint: string | null;
  requestedAt: string;
  expiresAt: string;
}

export interface PendingQuestion {
  ref: string;
  question: string;
  options: { id: string; label: string }[];
  expiresAt: string;
}

export interface PendingTool {
  callId: string;
  toolName: string;
  args: any;
  expiresAt: string;
}

export interface Status {
  state: SessionState;
  pendingApprovals: PendingApproval[];
  pendingQuestions: PendingQuestion[];
  pendingTools: PendingTool[];
  queue: number;
  lastEventIndex: Position;
  run: RunInfo | null;
}

export interface ToolInfo {
  name: string;
  description: string;
  parameters: Record<string, any>;
  callbackUrl: string | null;
  timeoutMs: number;
  requiresApproval: boolean;
  hint: string | null;
  idempotent: boolean;
  createdAt: string;
}

export interface StreamToken {
  token: string;
  expiresAt: string;
}

export interface UsageRow {
  prompts: number;
  turns: number;
  promptTokens: number;
  completionTokens: number;
  cachedTokens: number;
  reasoningTokens: number;
  costUsd: number;
  costKnown: boolean;
  estimatedTurns: number;
  day?: string;
  key?: string;
  model?: string;
}

/** The end of a run with its answer. */
export interface RunResult {
  requestId: string;
  text: string;
  tokenUsage: TokenUsage;
  costUsd: number;
  costKnown: boolean;
  durationMs: number;
}

export type TaskStatus = "pending" | "assigned" | "running" | "completed" | "failed" | "cancelled";

/** A task as lists show it. Times are milliseconds since 1970. */
export interface TaskSummary {
  id: string;
  status: TaskStatus;
  assignedAgents: string[];
  createdAt: number;
  updatedAt: number;
}

export interface Task extends TaskSummary {
  result: any;
  error: { code: string; message: string } | null;
  sessionIds: string[];
  partial?: true;
  sharedSpaceId?: string;
  pipelineId?: string;
  step?: number;
}

export interface Space {
  sharedSpaceId: string;
  messageCount: number;
  artifactCount: number;
  metadata: Record<string, any>;
  createdAt: number;
  updatedAt: number;
}

export interface SpaceMessage {
  id: string;
  role: string;
  content: string;
  createdAt: number;
  offset: number;
  [field: string]: any;
}

export interface Artifact {
  name: string;
  size: number;
  mediaType: string;
  updatedAt: number;
}

export interface SearchResult {
  kind: "message" | "artifact";
  id?: string;
  name?: string;
  excerpt: string;
  score: number;
}

export interface Agent {
  id: string;
  name: string;
  type: string;
  capabilities: string[];
  status: "online" | "offline" | "busy";
  endpoint: string | null;
  lastSeen: number | null;
}
