/** The list of sessions, kept current: the same query again, whenever something may have happened. */

import { onActivity } from "../activity.js";
import { transport } from "../api.js";
import { el, find, pageData } from "../dom.js";
import { ago, count, dollars, keepTimesCurrent, stateBadge } from "../format.js";
import { LiveList } from "../live_list.js";
import { t } from "../text.js";
import { visible } from "../visible.js";

const { sessions, query } = pageData();
const list = new LiveList(find("#sessions"), { key: (session) => session.sessionId, render: row });

show(sessions);
onActivity(async () => show((await transport.get("/v1/sessions", query)).sessions));
keepTimesCurrent();

function show(found) {
  // The time that a session has existed changes with every look at it.
  list.set(found.map(({ uptimeMs, ...session }) => session));
  find("#empty").hidden = found.length > 0;
}

function row(session) {
  const address = `/console/sessions/${encodeURIComponent(session.sessionId)}`;
  const name = session.title || session.sessionId;
  const label = el("div", {}, el("a", { href: address, dataset: { focus: session.sessionId } }, visible(name)));
  if (session.title) label.append(el("div", { class: "quiet small" }, session.sessionId));
  const cell = (title, content, kind = null) => el("td", { "data-label": title, class: kind }, content);
  return el(
    "tr",
    {},
    cell(t("Session"), label),
    cell(t("State"), stateBadge(session.state)),
    cell(t("Agent"), session.agent ? visible(session.agent) : "–"),
    cell(t("Model"), visible(session.model)),
    cell(t("Tokens"), count(session.totalTokens), "number"),
    cell(t("Cost"), dollars(session.costUsd, session.costKnown), "number"),
    cell(t("Last activity"), ago(session.updatedAt)),
  );
}
