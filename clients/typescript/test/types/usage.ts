/** Programs as users write them: the declarations have to accept what works, and refuse what does not. */

import {
  BadRequest,
  Gateway,
  isTerminal,
  tool,
  webhookVerify,
  type Decision,
  type LiveEvent,
  type SessionEvent,
  type TokenUsage,
} from "../../index.js";

const gateway = new Gateway("http://127.0.0.1:4000", "key", { timeouts: { retryMs: 1 }, headers: async () => ({}) });
const add = tool({ name: "add", requiresApproval: true }, ({ a, b }, { signal, event }) => {
  const call: string = event.data.callId;
  return signal.aborted ? call : a + b;
});
const session = await gateway.sessions.create("demo:tour", { tools: [add, "current_time"], groupId: "g" });
const decision: Decision = { approve: false, reason: "no" };

const stream = session.prompt("x", {
  tools: [add],
  via: "websocket",
  signal: AbortSignal.timeout(1),
  timeoutMs: 1,
  whenBusy: "steer",
  onApproval: async (event, context) => (context.signal.aborted ? decision : event.data.toolName === "add"),
  onQuestion: (event) => event.data.options[0]?.id ?? "free text",
});
for await (const event of stream) {
  if (event.type === "message_delta") event.data.delta.trim();
  if (event.type === "agent_end") event.data.tokenUsage satisfies TokenUsage;
  if (event.type === "events_dropped" && event.data.reason === "reset") event.data.to satisfies number | string;
  if (isTerminal(event)) event.id satisfies string;
}
const { text, costUsd } = await stream.result();
[text satisfies string, costUsd satisfies number];
for await (const { content } of session.messages()) content satisfies string;
for await (const event of gateway.liveEvents({ taskId: "t" })) event satisfies LiveEvent;
const task = await gateway.tasks.wait((await gateway.tasks.submit("x", { target: "a", stream: true })).taskId);
task.error?.code satisfies string | undefined;
const event: SessionEvent = (await webhookVerify("", new Headers(), "whsec_")).event;
event.id satisfies string;
try {
  await gateway.usage({ groupBy: ["day"] });
} catch (error) {
  if (error instanceof BadRequest) error.field satisfies string | null;
}

// @ts-expect-error: no such transport
session.prompt("x", { via: "carrier pigeon" });
// @ts-expect-error: a misspelt option
session.prompt("x", { onAproval: () => true });
// @ts-expect-error: a tool is made with `tool`
session.addTool(() => 1);
// @ts-expect-error: sessions are created by a gateway
new (session.constructor as typeof import("../../index.js").Session)();
// @ts-expect-error: text is not a decision
session.prompt("x", { onApproval: () => "yes" });
