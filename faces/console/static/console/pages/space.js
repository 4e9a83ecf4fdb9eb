/** A space: its messages and files, renewed as they come, a search, and a message of one's own. */

import { allows, gateway } from "../api.js";
import { el, find, pageData } from "../dom.js";
import { ago, count, moment } from "../format.js";
import { LiveList } from "../live_list.js";
import { markdown } from "../markdown.js";
import { followMesh } from "../mesh.js";
import { take } from "../paged.js";
import { t } from "../text.js";
import { attempt, failed } from "../toast.js";
import { visible } from "../visible.js";

const { spaceId } = pageData();
const FIRST = 50;
const more = find("#more");
const write = find("#write");
const search = find("#search");
let wanted = FIRST;

const messages = new LiveList(find("#messages"), { key: (message) => message.id, render: messageNode });
const files = new LiveList(find("#files"), { key: (file) => file.name, render: fileNode });

function messageNode(message) {
  return el(
    "li",
    { class: "message" },
    el("p", { class: "quiet small" }, visible(message.role), " · ", ago(new Date(message.createdAt).toISOString())),
    markdown(message.content ?? ""),
  );
}

/** A file is downloaded from the API's own address, which never serves it as a page of this site. */
function fileNode(file) {
  const address = `/v1/spaces/${encodeURIComponent(spaceId)}/artifacts/${encodeURIComponent(file.name)}`;
  return el(
    "li",
    {},
    el("a", { href: address, download: file.name }, visible(file.name)),
    el("span", { class: "quiet small" }, ` ${count(file.size)} B · ${file.mediaType}`),
  );
}

async function refresh() {
  try {
    const space = await gateway.spaces.get(spaceId);
    const fields = [
      [t("Messages"), count(space.messageCount)],
      [t("Files"), count(space.artifactCount)],
      [t("Created"), moment(new Date(space.createdAt).toISOString())],
      [t("Changed"), moment(new Date(space.updatedAt).toISOString())],
      [t("Metadata"), el("code", {}, visible(JSON.stringify(space.metadata)))],
    ];
    find("#fields").replaceChildren(...fields.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
    files.set(await gateway.spaces.artifacts(spaceId));
    const { items, rest } = await take(gateway.spaces.messages(spaceId), wanted);
    messages.set(items);
    more.hidden = !rest;
  } catch (error) {
    failed(error);
  }
}

more.addEventListener("click", () => {
  wanted += FIRST;
  refresh();
});
search.addEventListener("submit", async (event) => {
  event.preventDefault();
  await attempt(async () => {
    const found = await gateway.spaces.search(spaceId, search.elements.text.value, { limit: 20 });
    const line = (result) => el("li", {}, el("strong", {}, visible(result.name ?? result.id)), " ", visible(result.excerpt));
    find("#found").replaceChildren(...(found.length ? found.map(line) : [el("li", {}, t("Nothing was found."))]));
    find("#found-part").hidden = false;
  }, search.querySelector("button"));
});
write.hidden = !allows("tasks");
write.addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = write.elements.text;
  if (await attempt(() => gateway.spaces.addMessage(spaceId, field.value), write.querySelector("button"))) {
    field.value = "";
    await refresh();
  }
});
await refresh();
followMesh((event) => (event.type === "context.updated" ? refresh() : null), { spaceId });
