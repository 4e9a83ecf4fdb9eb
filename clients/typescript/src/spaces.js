/** Spaces that agents and clients share: messages and files. Fields are those of the protocol in camelCase. */

import { camelFields } from "./live_events.js";
import { nextCursor, pathOf } from "./transport.js";

const PAGE = 200;

/** The spaces of the key's tenant. */
export class Spaces {
  #transport;

  constructor(transport) {
    this.#transport = transport;
  }

  /** Creates a space and returns its id. */
  async create({ metadata = {}, key, signal } = {}) {
    return (await this.#transport.create("/v1/spaces", { metadata }, { key, signal })).space_id;
  }

  /** Yields spaces, newest first. */
  async *list({ signal } = {}) {
    let cursor = null;
    do {
      const response = await this.#transport.send("GET", "/v1/spaces", { query: { limit: PAGE, cursor }, signal });
      yield* (await response.json()).map(camelFields);
      cursor = nextCursor(response.headers.get("link"));
    } while (cursor !== null);
  }

  async get(spaceId, { signal } = {}) {
    return camelFields(await this.#transport.get(path(spaceId), {}, signal));
  }

  /** Yields messages, the newest first. */
  async *messages(spaceId, { signal } = {}) {
    let cursor = null;
    do {
      const page = await this.#transport.get(path(spaceId, "messages"), { limit: PAGE, cursor }, signal);
      yield* page.messages.map(camelFields).reverse();
      cursor = page.next_cursor;
    } while (cursor !== null);
  }

  /** Adds a message: text, or an AgentMessage. Returns the stored message. */
  async addMessage(spaceId, message, { role, metadata, key, signal } = {}) {
    const body = typeof message === "string" ? { content: message, role, metadata } : message;
    return camelFields(await this.#transport.create(path(spaceId, "messages"), body, { key, signal }));
  }

  /** Returns the space's files, without their bytes. */
  async artifacts(spaceId, { signal } = {}) {
    return (await this.#transport.get(path(spaceId, "artifacts"), {}, signal)).artifacts.map(camelFields);
  }

  /** Returns a file: `{bytes, mediaType}`. */
  async getArtifact(spaceId, name, { signal } = {}) {
    const response = await this.#transport.send("GET", path(spaceId, "artifacts", name), { signal });
    return {
      bytes: new Uint8Array(await response.arrayBuffer()),
      mediaType: response.headers.get("content-type") ?? "",
    };
  }

  /** Stores a file of bytes or text, in place of one of that name. */
  async putArtifact(spaceId, name, content, { mediaType = "application/octet-stream", signal } = {}) {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    const options = { bytes, mediaType, signal };
    return camelFields(await this.#transport.json("PUT", path(spaceId, "artifacts", name), options));
  }

  async deleteArtifact(spaceId, name, { signal } = {}) {
    await this.#transport.send("DELETE", path(spaceId, "artifacts", name), { signal });
  }

  /** Returns messages and files that match, the best first; `mode` `semantic` searches by meaning. */
  async search(spaceId, text, { mode, limit, signal } = {}) {
    const query = { q: text, mode, limit };
    return (await this.#transport.get(path(spaceId, "search"), query, signal)).results;
  }
}

function path(spaceId, ...rest) {
  return "/v1/spaces" + pathOf(spaceId, ...rest);
}
