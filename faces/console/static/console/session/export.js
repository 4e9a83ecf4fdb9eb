/** Exports of a session, made here from the native API: everything as JSON, or the conversation as Markdown. */

import { gateway, pathOf, transport } from "../api.js";
import { el } from "../dom.js";

const PAGE = 1_000;

/** Downloads the session, its runs, messages and events as one JSON file. */
export async function exportJson(sessionId) {
  const session = await gateway.sessions.get(sessionId);
  const [runs, messages, events] = [[], [], []];
  for await (const run of session.runs()) runs.push(run);
  for await (const message of session.messages()) messages.push(message);
  for await (const event of allEvents(sessionId)) events.push(event);
  download(`${sessionId}.json`, JSON.stringify({ session: session.info, runs, messages, events }, null, 2), "application/json");
}

/** Downloads the conversation. */
export async function exportMarkdown(sessionId) {
  const session = await gateway.sessions.get(sessionId);
  const { title, model, agent, createdAt } = session.info;
  const parts = [`# ${oneLine(title || sessionId)}`, `- id: \`${sessionId}\`\n- model: \`${model}\`\n- agent: ${agent ?? "–"}\n- created: ${createdAt}`];
  for await (const message of session.messages()) parts.push(messageText(message));
  download(`${sessionId}.md`, `${parts.join("\n\n")}\n`, "text/markdown");
}

function messageText({ role, content, toolCalls, callId, createdAt }) {
  const names = { user: "Person", assistant: "Agent", tool_result: "Tool result" };
  const parts = [`## ${names[role] ?? role} · ${createdAt}`];
  if (role === "tool_result") parts.push(`\`${callId}\``, fenced(content));
  else if (content) parts.push(content);
  for (const call of toolCalls ?? []) parts.push(`Calls \`${call.name}\` (\`${call.callId ?? call.id}\`):`, fenced(JSON.stringify(call.arguments ?? call.args, null, 2)));
  return parts.join("\n\n");
}

/** A fence that is longer than any in the text. */
function fenced(text) {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([ticks]) => ticks.length));
  const fence = "`".repeat(longest + 1);
  return `${fence}\n${text}\n${fence}`;
}

function oneLine(text) {
  return text.replace(/\s+/g, " ");
}

async function* allEvents(sessionId) {
  let since = 0;
  do {
    const { events, nextCursor } = await transport.get(`/v1/sessions${pathOf(sessionId, "events")}`, { format: "json", since, limit: PAGE });
    yield* events;
    since = nextCursor;
  } while (since !== null);
}

function download(name, text, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = el("a", { href: address, download: name.replace(/[^\w.-]/g, "_") });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
