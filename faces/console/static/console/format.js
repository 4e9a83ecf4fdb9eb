/** Times, durations, sizes and costs as people read them, in the page's language. */

import { el } from "./dom.js";
import { t } from "./text.js";

const language = document.documentElement.lang;
const clock = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
const counted = new Intl.NumberFormat(language);
const UNITS = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

/** Returns a `<time>` that says how long ago, or in how long, a moment is; the exact one is its tooltip. */
export function ago(iso) {
  if (!iso) return el("span", {}, "–");
  return el("time", { datetime: iso, title: clock.format(new Date(iso)), "data-relative": true }, relativeText(iso));
}

/** Returns the distance of a moment from now, in words. */
export function relativeText(iso) {
  const seconds = (Date.parse(iso) - Date.now()) / 1000;
  for (const [unit, size] of UNITS) {
    if (Math.abs(seconds) >= size) return relative.format(Math.round(seconds / size), unit);
  }
  return relative.format(Math.round(seconds), "second");
}

/** Keeps every `ago` of the page current. */
export function keepTimesCurrent() {
  const update = () => {
    for (const time of document.querySelectorAll("time[data-relative]")) time.textContent = relativeText(time.dateTime);
  };
  update();
  setInterval(update, 10_000);
}

export function moment(iso) {
  return iso ? clock.format(new Date(iso)) : "–";
}

export function count(number) {
  return counted.format(number);
}

/** Returns dollars with as many digits as a small amount needs; `known` false marks what has no price. */
export function dollars(amount, known = true) {
  const digits = amount === 0 ? 2 : amount < 0.01 ? 6 : amount < 1 ? 4 : 2;
  return `$${amount.toFixed(digits)}${known ? "" : " + ?"}`;
}

/** Returns milliseconds as a duration. */
export function duration(ms) {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1_000)} s`;
  return `${Math.floor(ms / 3_600_000)} h ${Math.round((ms % 3_600_000) / 60_000)} min`;
}

const STATES = {
  idle: t("idle"),
  working: t("working"),
  waiting_approval: t("waits for an approval"),
  waiting_input: t("waits for an answer"),
  waiting_tool: t("waits for a tool"),
  closed: t("closed"),
  queued: t("queued"),
  running: t("running"),
  waiting: t("waiting"),
  completed: t("completed"),
  aborted: t("aborted"),
  failed: t("failed"),
  ok: t("ok"),
  error: t("error"),
  rejected: t("rejected"),
  timeout: t("timed out"),
  unknown: t("unknown"),
  approved: t("approved"),
  expired: t("expired"),
};

/** Returns a state in words. */
export function stateWords(state) {
  return STATES[state] ?? state;
}

/** Returns a state as a coloured word. */
export function stateBadge(state) {
  return el("span", { class: `state state-${state}` }, stateWords(state));
}
