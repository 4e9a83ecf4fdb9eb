/** The native API for this page: the gateway's JavaScript client, with the person's cookie and the token for changes. */

import { Gateway } from "../agent-gateway-client/client.js";
import { Transport, pathOf, queryText } from "../agent-gateway-client/transport.js";
import { find } from "./dom.js";

/** Who is here: `user`, `tenant`, `scopes`, `csrf`. */
export const visit = JSON.parse(find("#console-data").textContent);

const options = {
  headers: () => ({ "X-CSRFToken": visit.csrf, "X-Gateway-Tenant": visit.tenant }),
  // A person waits: after this time an error is better than another attempt.
  timeouts: { requestMs: 30_000, retryMs: 10_000, resumeMs: 24 * 3_600_000, longestPauseMs: 5_000 },
};

export const gateway = new Gateway(location.origin, null, options);

/** Requests that the client has no method for. */
export const transport = new Transport(location.origin, null, options);

export { pathOf, queryText };

/** Leads to the sign-in, and back to this page. */
export function signInAgain() {
  location.assign(`/console/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
}

/** True when the person has the scope. */
export function allows(scope) {
  return visit.scopes.includes(scope);
}
