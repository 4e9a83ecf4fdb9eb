/** Spaces: a page of the list at a time, renewed when the tenant's stream says that a space has changed. */

import { gateway } from "../api.js";
import { el, find } from "../dom.js";
import { ago, count } from "../format.js";
import { LiveList } from "../live_list.js";
import { followMesh } from "../mesh.js";
import { take } from "../paged.js";
import { t } from "../text.js";
import { failed } from "../toast.js";
import { visible } from "../visible.js";

const FIRST = 50;
const MOST_METADATA = 200;
const more = find("#more");
const empty = find("#empty");
let wanted = FIRST;

const list = new LiveList(find("#rows"), { key: (space) => space.sharedSpaceId, render: row });

function row(space) {
  const metadata = JSON.stringify(space.metadata);
  const shown = metadata === "{}" ? "–" : visible(metadata.slice(0, MOST_METADATA));
  return el(
    "tr",
    {},
    el(
      "td",
      { "data-label": t("Space") },
      el("a", { href: `spaces/${encodeURIComponent(space.sharedSpaceId)}` }, space.sharedSpaceId),
    ),
    el("td", { class: "number", "data-label": t("Messages") }, count(space.messageCount)),
    el("td", { class: "number", "data-label": t("Files") }, count(space.artifactCount)),
    el("td", { "data-label": t("Metadata") }, shown),
    el("td", { "data-label": t("Changed") }, ago(new Date(space.updatedAt).toISOString())),
  );
}

async function refresh() {
  try {
    const { items, rest } = await take(gateway.spaces.list(), wanted);
    list.set(items);
    more.hidden = !rest;
    empty.hidden = items.length > 0;
    empty.textContent = t("This tenant has no space.");
  } catch (error) {
    failed(error);
  }
}

more.addEventListener("click", () => {
  wanted += FIRST;
  refresh();
});
await refresh();
followMesh((event) => (event.data.spaceId ? refresh() : null));
