/**
 * The events of a session: `{type, data, id}`. `data` is what the gateway sent, `id` the position as text, opaque. A
 * type that this version does not know is passed on, because the gateway adds types.
 */

import { GatewayError } from "./errors.js";

/** The types that end a run; a run has exactly one such event. */
export const TERMINAL_TYPES = new Set(["agent_end", "agent_abort"]);

export const SESSION_CLOSED = "session_closed";
export const EVENTS_DROPPED = "events_dropped";

/** Returns true for the event that ends its run. */
export function isTerminal(event) {
  return TERMINAL_TYPES.has(event.type);
}

/** Makes an event from data as JSON or as an object. */
export function eventDecode(type, data, position) {
  return { type, data: typeof data === "string" ? parseObject(data) : data, id: position };
}

/** Parses a JSON object. Throws GatewayError for anything else, as from a captive proxy. */
export function parseObject(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new GatewayError("The response is not the gateway's: it is no JSON.", { cause: error });
  }
  if (typeof value !== "object" || value === null) {
    throw new GatewayError("The response is not the gateway's: it is no JSON object.");
  }
  return value;
}
