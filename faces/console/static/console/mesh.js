/** The tenant's stream of tasks, agents and spaces. */

import { gateway } from "./api.js";
import { failed } from "./toast.js";

/**
 * Calls back with every event from now on, one after the other, until the page is left. `filters` are those of
 * `liveEvents`. A stream that is refused is shown as an error; broken connections are not, they resume.
 */
export async function followMesh(callback, filters = {}) {
  try {
    for await (const event of gateway.liveEvents(filters)) await callback(event);
  } catch (error) {
    failed(error);
  }
}
