/** Events: the tenant's stream, the newest first. A pause keeps what comes meanwhile, up to the length of the log. */

import { find } from "../dom.js";
import { logLine } from "../event_log.js";
import { followMesh } from "../mesh.js";
import { t } from "../text.js";

const MOST_LINES = 1_000;
const log = find("#log");
const pause = find("#pause");
const state = find("#state");
const filter = find("#filters").elements.type;
let kept = [];
let paused = false;

function show(event) {
  const line = logLine(event);
  line.dataset.type = event.type;
  line.hidden = !event.type.includes(filter.value.trim());
  log.prepend(line);
  while (log.childElementCount > MOST_LINES) log.lastElementChild.remove();
  find("#empty").hidden = true;
}

pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? t("Go on") : t("Pause");
  for (const event of kept) show(event);
  kept = [];
  state.textContent = paused ? t("Paused.") : "";
});
find("#clear").addEventListener("click", () => {
  log.replaceChildren();
  find("#empty").hidden = false;
});
find("#filters").addEventListener("submit", (event) => event.preventDefault());
filter.addEventListener("input", () => {
  for (const line of log.children) line.hidden = !line.dataset.type.includes(filter.value.trim());
});

await followMesh((event) => {
  if (event.type === "connected") state.textContent = t("Connected.");
  if (event.type === "welcome" || event.type === "connected") return;
  if (!paused) return show(event);
  kept = [...kept.slice(1 - MOST_LINES), event];
  state.textContent = t("Paused; {count} more.", { count: kept.length });
});
