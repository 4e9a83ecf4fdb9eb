/** `Gateway`: a gateway and a key. */

import { EventStream } from "./event_stream.js";
import { camelFields, liveStream } from "./live_events.js";
import { Sessions } from "./sessions.js";
import { Spaces } from "./spaces.js";
import { sseFollow } from "./streams.js";
import { Tasks } from "./tasks.js";
import { Transport, pathOf } from "./transport.js";

/**
 * A gateway and a key. Without a key the browser's cookies for the gateway's own pages are sent. It holds nothing open
 * but the streams that it returns.
 */
export class Gateway {
  #transport;

  constructor(baseUrl, apiKey, options = {}) {
    this.#transport = new Transport(baseUrl, apiKey, options);
    this.sessions = new Sessions(this.#transport);
    this.tasks = new Tasks(this.#transport);
    this.spaces = new Spaces(this.#transport);
  }

  /**
   * Follows all sessions of a group, after `since` or with new events; `data.sessionId` of an event is its session. It
   * has no end of its own.
   * @param {string} groupId
   * @param {import("../index.d.ts").FollowOptions} [options]
   */
  groupEvents(groupId, { since = null, timeoutMs, signal } = {}) {
    const after = since === null ? null : String(since);
    const path = "/v1/groups" + pathOf(groupId, "events");
    const follow = { after, endsWith: () => false };
    return new EventStream((stop) => sseFollow(this.#transport, path, { ...follow, signal: stop }), {
      timeoutMs,
      signal,
    });
  }

  /**
   * Follows the tenant's tasks, agents and spaces, after `since` or with new events; `taskId` and `spaceId` are
   * filters. It has no end of its own.
   */
  liveEvents({ taskId, spaceId, since, timeoutMs, signal } = {}) {
    return liveStream(this.#transport, { taskId, spaceId, since, timeoutMs, signal });
  }

  /** Returns the agents that tasks may go to. */
  async agents({ signal } = {}) {
    return (await this.#transport.get("/v1/agents", {}, signal)).map(camelFields);
  }

  /**
   * Returns the tenant's usage: `start` and `end` are days as ISO text, `groupBy` is a list of `day`, `key` and
   * `model`.
   */
  async usage({ start, end, groupBy, endUser, signal } = {}) {
    const query = { from: start, to: end, groupBy: groupBy?.toString(), endUser };
    return (await this.#transport.get("/v1/usage", query, signal)).usage;
  }
}
