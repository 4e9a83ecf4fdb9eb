/** The timelines of a session's runs on the page: a bar per leg, model response, tool call and wait. */

import { el } from "../dom.js";
import { dollars, duration, moment, stateWords } from "../format.js";
import { t } from "../text.js";
import { visible } from "../visible.js";

const WINDOW = 100;
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 1_000;

/** The part of the page that shows the timeline of one run. */
export class TimelineView {
  #timeline;
  #window = WINDOW;

  constructor(requestId, timeline) {
    this.requestId = requestId;
    this.#timeline = timeline;
    this.element = el("div", { class: "run-timeline" });
  }

  update() {
    const { spans, attempt } = this.#timeline;
    if (!spans.length) return;
    const now = Date.now();
    const start = spans[0].start;
    const end = Math.max(start + 1, ...spans.slice(-WINDOW * 4).map((span) => span.end ?? now));
    const from = Math.max(0, spans.length - this.#window);
    const head = el("h3", {}, el("span", {}, moment(new Date(start).toISOString())), el("span", { class: "quiet" }, duration(end - start)));
    if (attempt > 1) head.append(el("span", { class: "quiet" }, t("{count} attempts", { count: attempt })));
    const more = () => {
      this.#window += 4 * WINDOW;
      this.update();
    };
    const earlier = from ? el("button", { type: "button", class: "small", onclick: more }, t("Show earlier steps ({count})", { count: from })) : "";
    this.element.replaceChildren(head, earlier, ...spans.slice(from).map((span) => row(span, start, end, now)));
  }
}

function row(span, start, end, now) {
  const until = span.end ?? now;
  const scale = WIDTH / (end - start);
  const bar = document.createElementNS(SVG, "svg");
  const shape = document.createElementNS(SVG, "rect");
  const fields = { x: (span.start - start) * scale, y: 0, width: Math.max(4, (until - span.start) * scale), height: 12 };
  for (const [name, value] of Object.entries(fields)) shape.setAttribute(name, String(Math.round(value)));
  bar.setAttribute("viewBox", `0 0 ${WIDTH} 12`);
  bar.setAttribute("preserveAspectRatio", "none");
  bar.setAttribute("aria-hidden", "true");
  bar.append(shape);
  const failed = ["error", "timeout", "rejected", "expired", "aborted", "unknown"].includes(span.status);
  const took = `${duration(until - span.start)}${span.end === null ? "…" : ""}`;
  const details = [];
  if (span.first !== undefined) details.push(t("first token {time}", { time: duration(span.first - span.start) }));
  if (span.tokens) details.push(`${span.tokens} ${t("tokens")}`);
  if (span.cost !== undefined) details.push(span.cost === null ? "$ ?" : dollars(span.cost));
  if (span.attempt > 1) details.push(t("attempt {number}", { number: span.attempt }));
  if (failed) details.push(stateWords(span.status));
  const name = label(span);
  return el("div", { class: `span span-${failed ? "failed" : span.kind}` }, el("span", { class: "name", title: name }, visible(name)), bar, el("span", { class: "took" }, took), details.length ? el("span", { class: "more quiet small" }, details.join(" · ")) : "");
}

function label({ kind, name }) {
  if (kind === "leg") return t("Leg {number}", { number: name });
  if (kind === "model") return name ? t("Model {name}", { name }) : t("Model");
  if (kind === "tool") return t("Tool {name}", { name });
  return name === "queue" ? t("Waits in the queue") : t("Waits: {name}", { name });
}
