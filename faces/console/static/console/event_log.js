/** Events as lines of a log. */

import { el } from "./dom.js";
import { visible } from "./visible.js";

const MOST = 2_000;
const clock = new Intl.DateTimeFormat(document.documentElement.lang, { timeStyle: "medium" });

/** Returns an event of `{type, data, id}` as a line that can be opened. */
export function logLine(event) {
  const { timestamp, ...fields } = event.data;
  const at = timestamp ? new Date(timestamp) : new Date();
  const json = JSON.stringify(fields);
  const about = fields.taskId ?? fields.spaceId ?? fields.agentId ?? "";
  return el(
    "li",
    {},
    el(
      "details",
      {},
      el(
        "summary",
        {},
        el("time", { datetime: at.toISOString() }, clock.format(at)),
        " ",
        el("strong", {}, visible(event.type)),
        " ",
        el("span", { class: "quiet" }, visible(String(about))),
      ),
      el("pre", {}, visible(json.length > MOST ? `${json.slice(0, MOST)} …` : json)),
    ),
  );
}
