/** Agents: the page as it was rendered, renewed when an agent's status changes and every quarter of a minute. */

import { allows, gateway } from "../api.js";
import { renewEvery, renewNow } from "../renew.js";

renewEvery(15_000);
if (allows("tasks:read")) {
  for await (const event of gateway.liveEvents()) {
    if (event.type.startsWith("agent.")) await renewNow();
  }
}
