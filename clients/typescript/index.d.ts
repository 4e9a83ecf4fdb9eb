/** Types of the JavaScript client of Agent Gateway. Every wait takes a `signal`, such as `AbortSignal.timeout(ms)`. */

import type { ApprovalRequired, AskUser, LiveEvent, SessionEvent, ToolCallRequested } from "./types/events.js";
import type * as results from "./types/results.js";

export * from "./types/errors.js";
export type * from "./types/events.js";
export type * from "./types/results.js";

/** Limits in milliseconds; every wait of the client ends with one of them. */
export interface Timeouts {
  /** Until a WebSocket is open. */
  connectMs: number;
  /** Until a request is answered. */
  requestMs: number;
  /** The time in which a request is repeated. */
  retryMs: number;
  /** The time that a stream may be silent. */
  idleMs: number;
  /** The time in which a stream is reconnected without getting anything. */
  resumeMs: number;
  firstPauseMs: number;
  longestPauseMs: number;
}

export const DEFAULT_TIMEOUTS: Readonly<Timeouts>;
export const TERMINAL_TYPES: Set<string>;

/** Returns true for the event that ends its run. */
export function isTerminal(event: { readonly type: string }): boolean;

export interface GatewayOptions {
  timeouts?: Partial<Timeouts>;
  /** Headers of every request, such as a page's CSRF token; a function is called for each request. */
  headers?: Record<string, string> | (() => Record<string, string> | Promise<Record<string, string>>);
  /** Of `fetch`; `same-origin` without it. */
  credentials?: "include" | "omit" | "same-origin";
  fetch?: typeof globalThis.fetch;
  /** A class with the interface of the browsers' WebSocket. */
  WebSocket?: new (address: string) => any;
}

export interface WaitOptions {
  signal?: AbortSignal;
}

export interface CreateOptions extends WaitOptions {
  /** An `Idempotency-Key` of your own, which outlives this program. */
  key?: string;
}

/** A gateway and a key. Without a key the browser's cookies for the gateway's own pages are sent. */
export class Gateway {
  constructor(baseUrl: string | URL, apiKey?: string | null, options?: GatewayOptions);
  readonly sessions: Sessions;
  readonly tasks: Tasks;
  readonly spaces: Spaces;
  /** Follows all sessions of a group, after `since` or with new events, until it is closed. */
  groupEvents(groupId: string, options?: FollowOptions): EventStream<SessionEvent>;
  /** Follows the tenant's tasks, agents and spaces, after `since` or with new events, until it is closed. */
  liveEvents(options?: FollowOptions & { taskId?: string; spaceId?: string }): EventStream<LiveEvent>;
  /** Returns the agents that tasks may go to. */
  agents(options?: WaitOptions): Promise<results.Agent[]>;
  /** Returns the tenant's usage: `start` and `end` are days as ISO text. */
  usage(options?: UsageOptions): Promise<results.UsageRow[]>;
}

export interface UsageOptions extends WaitOptions {
  start?: string;
  end?: string;
  groupBy?: ("day" | "key" | "model")[];
  endUser?: string;
}

export interface StreamOptions extends WaitOptions {
  /** Limits the wait for each event: WaitTimeout, after which the iteration can go on. */
  timeoutMs?: number;
}

export interface FollowOptions extends StreamOptions {
  since?: results.Position | null;
}

/** The events of a run, of a session, or of more, opened by the first `next`. */
export class EventStream<Event = SessionEvent> implements AsyncIterableIterator<Event> {
  private constructor();
  /** The id of the last event; what `resume` and `events` take to go on after it. */
  readonly position: string | null;
  readonly last: Event | null;
  [Symbol.asyncIterator](): this;
  next(): Promise<IteratorResult<Event, undefined>>;
  return(value?: any): Promise<IteratorResult<Event, any>>;
  /** Ends the connection, and the signal of callbacks that still run. The run itself goes on. */
  close(): void;
  /** Reads to the end of the run and returns its answer. Throws RunAborted when it ended without one. */
  result(): Promise<results.RunResult>;
}

/** A decision with more than yes or no. */
export type Decision =
  | { approve: true; args?: Record<string, any>; comment?: string; remember?: boolean }
  | { approve: false; reason?: string };

export interface CallbackContext {
  /** Aborted when the stream is closed. */
  signal: AbortSignal;
}

type Answer<Value> = Value | Promise<Value>;

export interface Callbacks {
  onApproval?: (event: ApprovalRequired, context: CallbackContext) => Answer<boolean | Decision>;
  onQuestion?: (event: AskUser, context: CallbackContext) => Answer<string>;
  tools?: Tool[];
}

export interface ToolDescription {
  name: string;
  description?: string;
  /** A JSON Schema of an object, against which the gateway checks arguments. */
  parameters?: Record<string, any>;
  requiresApproval?: boolean;
  timeoutMs?: number;
  hint?: string;
}

export interface Tool extends Readonly<ToolDescription> {
  readonly run: ToolFunction;
}

export type ToolFunction = (args: any, context: CallbackContext & { event: ToolCallRequested }) => any;

/** Makes a tool of a description and a function. What it throws is told to the model. */
export function tool(description: ToolDescription, run: ToolFunction): Tool;

/** A tool at an address. */
export interface CallbackTool extends ToolDescription {
  callbackUrl: string;
  secret?: string;
  idempotent?: boolean;
}

export interface PromptFields {
  attachments?: Attachment[];
  metadata?: Record<string, any>;
  whenBusy?: "enqueue" | "reject" | "interrupt" | "steer";
  endUser?: string;
}

export interface Attachment {
  type: "image" | "audio" | "file";
  mediaType: string;
  name?: string;
  data?: string;
  url?: string;
}

export type Via = "sse" | "websocket";
export type EventsOptions = Callbacks & FollowOptions & { via?: Via };
export type PromptOptions = PromptFields & Callbacks & StreamOptions & CreateOptions & { via?: Via };

/** One session. */
export class Session {
  private constructor();
  readonly id: string;
  /** What the gateway said last about it. */
  readonly info: results.SessionInfo;
  refresh(options?: WaitOptions): Promise<results.SessionInfo>;
  change(fields: SessionChange, options?: WaitOptions): Promise<results.SessionInfo>;
  delete(options?: WaitOptions & { purge?: boolean }): Promise<void>;
  fork(messageId: string, options?: CreateOptions & { sessionId?: string; title?: string }): Promise<Session>;
  send(text: string, options?: PromptFields & CreateOptions): Promise<results.PromptReceipt>;
  prompt(text: string, options?: PromptOptions): EventStream;
  resume(requestId: string, options?: Callbacks & FollowOptions): EventStream;
  events(options?: EventsOptions): EventStream;
  approve(approvalId: string, options?: ApproveOptions): Promise<void>;
  reject(approvalId: string, options?: WaitOptions & { reason?: string }): Promise<void>;
  respond(ref: string, response: string, options?: WaitOptions): Promise<void>;
  toolResult(callId: string, outcome: { result: any } | { error: string }, options?: WaitOptions): Promise<void>;
  abort(options?: WaitOptions & { reason?: string }): Promise<void>;
  abortRun(requestId: string, options?: WaitOptions & { reason?: string }): Promise<void>;
  steer(text: string, options?: WaitOptions): Promise<void>;
  switchModel(model: string, options?: WaitOptions): Promise<void>;
  status(options?: WaitOptions): Promise<results.Status>;
  stats(options?: WaitOptions): Promise<results.Stats>;
  run(requestId: string, options?: WaitOptions): Promise<results.RunInfo>;
  runs(options?: WaitOptions): AsyncGenerator<results.RunInfo>;
  messages(options?: WaitOptions): AsyncGenerator<results.Message>;
  tools(options?: WaitOptions): Promise<results.ToolInfo[]>;
  addTool(added: Tool | CallbackTool, options?: WaitOptions): Promise<results.ToolInfo>;
  removeTool(name: string, options?: WaitOptions): Promise<void>;
  streamToken(options?: WaitOptions): Promise<results.StreamToken>;
}

export interface ApproveOptions extends WaitOptions {
  args?: Record<string, any>;
  comment?: string;
  /** The hash of the arguments that the decision was made about. */
  argsHash?: string;
  /** Later calls of this tool in this session need no approval. */
  remember?: boolean;
}

export interface SessionChange {
  systemPrompt?: string;
  userData?: Record<string, any>;
  groupId?: string | null;
  title?: string | null;
  tools?: string[];
  outagePolicy?: "wait" | "fail";
}

export interface SessionFields {
  agent?: string;
  sessionId?: string;
  systemPrompt?: string;
  maxTurns?: number;
  maxTokens?: number;
  providerOpts?: Record<string, any>;
  userData?: Record<string, any>;
  metadata?: Record<string, any>;
  groupId?: string;
  title?: string;
  responseFormat?: Record<string, any>;
  historyPolicy?: "error" | "truncate" | "summarize";
  outagePolicy?: "wait" | "fail";
  approvals?: Record<string, "always" | "never">;
  messages?: Record<string, any>[];
}

export type SessionOptions = SessionFields & CreateOptions & { tools?: (Tool | CallbackTool | string)[] };

/** The sessions of the key's tenant. */
export class Sessions {
  private constructor();
  create(model?: string | null, options?: SessionOptions): Promise<Session>;
  get(sessionId: string, options?: WaitOptions & { tools?: Tool[] }): Promise<Session>;
  list(options?: WaitOptions & SessionFilters): AsyncGenerator<results.SessionInfo>;
  delete(sessionId: string, options?: WaitOptions & { purge?: boolean }): Promise<void>;
}

export interface SessionFilters {
  state?: results.SessionState;
  agent?: string;
  groupId?: string;
  since?: string;
}

export interface TaskOptions extends CreateOptions {
  /** Text as it is written, as `task.progress` events. */
  stream?: boolean;
  /** The time from the start until the task fails. */
  timeoutMs?: number;
  capabilities?: string[];
}

export interface TaskFields {
  id?: string;
  /** An agent's id; without it the gateway routes the task. */
  target?: string;
  sharedSpaceId?: string;
  history?: { role: "user" | "assistant"; content: string }[];
  artifacts?: any[];
  files?: string[];
  correlationId?: string;
}

/** The tasks of the key's tenant. */
export class Tasks {
  private constructor();
  submit(
    text: string,
    options?: TaskFields & TaskOptions,
  ): Promise<{ taskId: string; status: results.TaskStatus; message: string }>;
  pipeline(
    steps: { agentId: string; prompt?: string }[],
    input: string,
    options?: TaskOptions,
  ): Promise<{ taskIds: string[]; pipelineId: string }>;
  get(taskId: string, options?: WaitOptions): Promise<results.Task>;
  list(options?: WaitOptions & { status?: results.TaskStatus; agent?: string }): AsyncGenerator<results.TaskSummary>;
  cancel(taskId: string, options?: WaitOptions): Promise<{ taskId: string; status: results.TaskStatus }>;
  events(taskId: string, options?: StreamOptions): EventStream<LiveEvent>;
  wait(taskId: string, options?: StreamOptions): Promise<results.Task>;
}

export type AgentMessage = Record<string, any>;

/** The spaces of the key's tenant. */
export class Spaces {
  private constructor();
  create(options?: CreateOptions & { metadata?: Record<string, any> }): Promise<string>;
  list(options?: WaitOptions): AsyncGenerator<results.Space>;
  get(spaceId: string, options?: WaitOptions): Promise<results.Space>;
  messages(spaceId: string, options?: WaitOptions): AsyncGenerator<results.SpaceMessage>;
  addMessage(
    spaceId: string,
    message: string | AgentMessage,
    options?: CreateOptions & { role?: string; metadata?: Record<string, any> },
  ): Promise<results.SpaceMessage>;
  artifacts(spaceId: string, options?: WaitOptions): Promise<results.Artifact[]>;
  getArtifact(spaceId: string, name: string, options?: WaitOptions): Promise<{ bytes: Uint8Array; mediaType: string }>;
  putArtifact(
    spaceId: string,
    name: string,
    content: string | Uint8Array,
    options?: WaitOptions & { mediaType?: string },
  ): Promise<results.Artifact>;
  deleteArtifact(spaceId: string, name: string, options?: WaitOptions): Promise<void>;
  search(
    spaceId: string,
    text: string,
    options?: WaitOptions & { mode?: "semantic"; limit?: number },
  ): Promise<results.SearchResult[]>;
}

export type HeaderFields =
  { entries(): IterableIterator<[string, string]> } | Record<string, string | string[] | undefined>;

/**
 * Checks a message against the webhook's secret (`whsec_…`). `body` is the raw body. Throws InvalidSignature, also for
 * a message that is more than five minutes old.
 */
export function webhookVerify(
  body: string | Uint8Array,
  headers: HeaderFields,
  secret: string,
): Promise<{ messageId: string; body: Record<string, any>; event: SessionEvent }>;
