/** Tasks for agents. Fields are those of the AgentMesh protocol in camelCase. */

import { GatewayError } from "./errors.js";
import { EventStream } from "./event_stream.js";
import { camelFields, taskFollow } from "./live_events.js";
import { given, nextCursor, pathOf } from "./transport.js";

const PAGE = 200;

/** The tasks of the key's tenant. */
export class Tasks {
  #transport;

  constructor(transport) {
    this.#transport = transport;
  }

  /**
   * Submits a task and returns `{taskId, status, message}`. `target` is an agent's id; without it the gateway routes
   * the task. `stream` gives its text as it is written, as `task.progress` events. A task of an `id` that exists is
   * that task.
   */
  async submit(text, { id, target, sharedSpaceId, history, artifacts, files, correlationId, ...rest } = {}) {
    const { stream, timeoutMs, capabilities, key, signal } = rest;
    const context = given({ shared_space_id: sharedSpaceId, history, artifacts });
    const payload = { task: text, context, ...given({ files }), options: options({ stream, timeoutMs, capabilities }) };
    const body = { type: "request", ...given({ id, target, correlation_id: correlationId }), payload };
    return camelFields(await this.#transport.create("/v1/tasks", body, { key, signal }));
  }

  /** Submits a pipeline and returns `{taskIds, pipelineId}`: each step gets the result of the one before. */
  async pipeline(steps, input, { stream, timeoutMs, capabilities, key, signal } = {}) {
    const body = { steps, input, options: options({ stream, timeoutMs, capabilities }) };
    return camelFields(await this.#transport.create("/v1/pipeline", body, { key, signal }));
  }

  async get(taskId, { signal } = {}) {
    return camelFields(await this.#transport.get("/v1/tasks" + pathOf(taskId), {}, signal));
  }

  /** Yields tasks, newest first. Filters: `status`, `agent`. */
  async *list({ status, agent, signal } = {}) {
    let cursor = null;
    do {
      const query = { status, agent, limit: PAGE, cursor };
      const response = await this.#transport.send("GET", "/v1/tasks", { query, signal });
      yield* (await response.json()).map(camelFields);
      cursor = nextCursor(response.headers.get("link"));
    } while (cursor !== null);
  }

  /** Ends a task, and stops what runs for it. */
  async cancel(taskId, { signal } = {}) {
    const path = "/v1/tasks" + pathOf(taskId, "cancel");
    return camelFields(await this.#transport.json("POST", path, { repeat: false, signal }));
  }

  /** Follows a task to its end. `task_status`, the task as it is, is among the first events. */
  events(taskId, { timeoutMs, signal } = {}) {
    const get = (stop) => this.get(taskId, { signal: stop });
    return new EventStream((stop) => taskFollow(this.#transport, taskId, get, stop), { timeoutMs, signal });
  }

  /** Waits for the end of a task and returns it. An agent's failure is a task that `failed`, with its `error`. */
  async wait(taskId, { timeoutMs, signal } = {}) {
    for await (const event of this.events(taskId, { timeoutMs, signal })) void event;
    return this.get(taskId, { signal });
  }
}

function options({ stream, timeoutMs, capabilities }) {
  if (timeoutMs !== undefined && !(timeoutMs > 0)) throw new GatewayError("'timeoutMs' has to be more than 0.");
  return given({ stream, timeout: timeoutMs === undefined ? undefined : timeoutMs / 1000, capabilities });
}
