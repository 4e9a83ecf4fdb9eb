/** The client for browsers, and for whatever has `fetch` and `WebSocket`. In node, `node.js` is loaded in its place. */

export { Gateway } from "./src/client.js";
export * from "./src/errors.js";
export { EventStream } from "./src/event_stream.js";
export { TERMINAL_TYPES, isTerminal } from "./src/events.js";
export { Session, Sessions } from "./src/sessions.js";
export { Spaces } from "./src/spaces.js";
export { Tasks } from "./src/tasks.js";
export { tool } from "./src/tools.js";
export { DEFAULT_TIMEOUTS } from "./src/backoff.js";
export { webhookVerify } from "./src/webhooks.js";
