/** Live events of a tenant's tasks, agents and spaces: `{type, data, id}`, with the fields of `data` in camelCase. */

import { EventStream } from "./event_stream.js";
import { parseObject } from "./events.js";
import { sseFollow } from "./streams.js";

const HEARTBEAT = "heartbeat";
const ENDED = new Set(["completed", "failed", "cancelled"]);

/** Yields live events. Frames without a position show the state at a connection that did not go on from a position. */
export function liveFollow(transport, { taskId, spaceId, since = null, endsWith = () => false }, signal) {
  const after = since === null ? null : String(since);
  return sseFollow(transport, "/v1/events", { query: { taskId, spaceId }, after, endsWith, signal, decode });
}

/** Returns the live events as a stream. */
export function liveStream(transport, { timeoutMs, signal, ...filters }) {
  return new EventStream((stop) => liveFollow(transport, filters, stop), { timeoutMs, signal });
}

/** Yields the live events of a task up to its end, also if that is among the events that are no longer kept. */
export async function* taskFollow(transport, taskId, taskGet, signal) {
  const endsWith = (event) => taskEnd(event, taskId);
  for await (const event of liveFollow(transport, { taskId, endsWith }, signal)) {
    yield event;
    if (event.type === "events_dropped" && isEnded(await taskGet(signal))) return;
  }
}

/** Returns true for a task that has ended. */
export function isEnded(task) {
  return ENDED.has(task.status);
}

/** Returns the object with the names of its own fields, not of those inside of them, in camelCase. */
export function camelFields(object) {
  const camel = (name) => name.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase());
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [camel(name), value]));
}

function taskEnd({ type, data }, taskId) {
  if (type === "task_status") return data.task.id === taskId && isEnded(data.task);
  return (type === "task.completed" || type === "task.failed") && data.taskId === taskId;
}

function decode(frame, position, resumed) {
  const { type, ...fields } = parseObject(frame.data);
  if (type === HEARTBEAT || (frame.id === null && resumed)) return null;
  return { type, data: camelFields(fields), id: position };
}
