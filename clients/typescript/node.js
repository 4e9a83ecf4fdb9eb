/** The client for node: the same, with a WebSocket that sends the key in a header. */

import { Gateway as AnyGateway } from "./src/client.js";
import { NodeWebSocket } from "./src/node_websocket.js";

export * from "./index.js";

/** A gateway and a key. */
export class Gateway extends AnyGateway {
  constructor(baseUrl, apiKey, options = {}) {
    super(baseUrl, apiKey, { WebSocket: NodeWebSocket, ...options });
  }
}
