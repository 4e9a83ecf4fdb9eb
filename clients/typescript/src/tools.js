/**
 * Tools of the client: a description with a JSON Schema is registered, the gateway asks, and the function runs here.
 * The gateway has checked the arguments against the schema before it asks.
 */

import { GatewayError } from "./errors.js";
import { given } from "./transport.js";

/**
 * Makes a tool of a description and a function. `requiresApproval`, `timeoutMs` and `hint` are the gateway's options.
 * `run` gets the arguments and `{signal, event}`; its result is any JSON, and what it throws is told to the model.
 */
export function tool(description, run) {
  if (typeof description?.name !== "string" || typeof run !== "function") {
    throw new GatewayError("A tool is made of a description with a 'name', and a function.");
  }
  return Object.freeze({ description: "", parameters: { type: "object", properties: {} }, ...description, run });
}

/** Returns the body of the registration of a tool. */
export function registration({ name, description, parameters, requiresApproval, timeoutMs, hint }) {
  return given({ name, description, parameters, requiresApproval: requiresApproval ?? false, timeoutMs, hint });
}

/** Returns true for a tool that this client runs, as opposed to a name or a registration. */
export function isOwn(entry) {
  return typeof entry?.run === "function";
}

/** Returns the tools by name. */
export function toolsByName(tools = []) {
  const found = new Map();
  for (const each of tools) {
    if (!isOwn(each)) throw new GatewayError("A tool of the client is made with tool(description, run).");
    found.set(each.name, each);
  }
  return found;
}
