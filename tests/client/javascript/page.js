/** The chat of a page: a run by SSE and one by WebSocket at the same time, with a tool of the page and an approval. */

import { Gateway, tool } from "/client/index.js";

const [url, key] = decodeURIComponent(location.hash.slice(1)).split(" ");
const gateway = new Gateway(url, key, { timeouts: { firstPauseMs: 20, longestPauseMs: 500 } });
const title = tool({ name: "title", description: "Returns the title of the page." }, () => document.title);
const prompt = "use title, approve and say long 60";
const vias = ["sse", "websocket"];

window.seen = { sse: [], websocket: [] };
window.sessions = {};

/** Approvals are given when `approve` is called. */
const approved = new Promise((resolve) => (window.approve = () => resolve(true)));

async function chat(via, onApproval) {
  const session = await gateway.sessions.create("demo:tour", { tools: [title] });
  sessions[via] = session.id;
  for await (const event of session.prompt(prompt, { via, onApproval })) seen[via].push(event);
}

/** Resolves when both runs wait for an approval. */
window.asked = new Promise((resolve) => {
  const waiting = new Set(); // a run that was begun again asks again
  const onApproval = (via) => {
    if (waiting.add(via).size === vias.length) resolve();
    return approved;
  };
  window.done = Promise.all(vias.map((via) => chat(via, () => onApproval(via))));
});
