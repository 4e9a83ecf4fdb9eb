/** A task's status as a coloured word. */

import { el } from "./dom.js";
import { t } from "./text.js";

const WORDS = {
  pending: t("pending"),
  running: t("running"),
  completed: t("completed"),
  failed: t("failed"),
  cancelled: t("cancelled"),
};
const COLOURS = { pending: "queued", cancelled: "aborted" };

export function taskStatus(status) {
  return el("span", { class: `state state-${COLOURS[status] ?? status}` }, WORDS[status] ?? status);
}
