/** The raw events of a session with their positions: pages are read where they are looked at. */

import { pathOf, transport } from "../api.js";
import { el } from "../dom.js";
import { t } from "../text.js";
import { failed } from "../toast.js";
import { visible } from "../visible.js";
import { offsetOf } from "./run_state.js";
import { VirtualList } from "./virtual_list.js";

const ROW_HEIGHT = 28;
const PAGE = 200;
const SHOWN_CHARACTERS = 300;
/** Events that are kept here; those that were looked at first go first. */
const MOST_KEPT = 5_000;

export class EventsPanel {
  #path;
  #list;
  #detail;
  #events = new Map();
  #asked = new Set();

  /** `viewport` shows the rows, `detail` the event that was chosen. */
  constructor(sessionId, viewport, detail) {
    this.#path = `/v1/sessions${pathOf(sessionId, "events")}`;
    this.#detail = detail;
    const render = (index) => this.#row(index);
    const missing = (from, to) => this.#load(from, to);
    this.#list = new VirtualList(viewport, { rowHeight: ROW_HEIGHT, render, missing });
  }

  /** The newest event has this position. */
  reach(position) {
    const head = offsetOf(position);
    if (head > this.#list.count) this.#list.resize(head);
  }

  add(event) {
    this.#keep(offsetOf(event.id), event);
    this.reach(event.id);
  }

  #keep(offset, event) {
    this.#events.set(offset, event);
    if (this.#events.size > MOST_KEPT) this.#events.delete(this.#events.keys().next().value);
  }

  #load(from, to) {
    for (let page = Math.floor(from / PAGE); page * PAGE < to; page += 1) {
      const wanted = Array.from({ length: PAGE }, (_, number) => page * PAGE + number).filter((index) => index >= from && index < to);
      if (this.#asked.has(page) || wanted.every((index) => this.#events.has(index + 1))) continue;
      this.#asked.add(page);
      this.#read(page).catch(failed);
    }
  }

  async #read(page) {
    try {
      const end = (page + 1) * PAGE;
      for (let since = page * PAGE; since !== null && offsetOf(since) < end;) {
        const limit = end - offsetOf(since);
        const { events, nextCursor } = await transport.get(this.#path, { format: "json", since, limit });
        for (const { id, event, data } of events) this.#keep(offsetOf(id), { id, type: event, data });
        since = nextCursor;
      }
    } finally {
      this.#asked.delete(page);
    }
    this.#fill(page);
    this.#list.refresh();
  }

  /** What a page does not bring is no longer kept. */
  #fill(page) {
    for (let offset = page * PAGE + 1; offset <= Math.min((page + 1) * PAGE, this.#list.count); offset += 1) {
      if (!this.#events.has(offset)) this.#keep(offset, null);
    }
  }

  #row(index) {
    const offset = index + 1;
    const event = this.#events.get(offset);
    if (!event) {
      const text = event === null ? t("no longer kept") : "…";
      return el("div", { class: "event-row" }, el("code", {}, String(offset)), el("span", { class: "quiet" }, text));
    }
    const summary = JSON.stringify(event.data).slice(0, SHOWN_CHARACTERS);
    const show = () => this.#show(event);
    return el("button", { type: "button", class: "event-row", onclick: show }, el("code", {}, String(event.id)), el("strong", {}, event.type), el("span", { class: "quiet" }, visible(summary)));
  }

  #show(event) {
    const text = JSON.stringify(event.data, null, 2);
    this.#detail.replaceChildren(el("h3", {}, `${event.id} ${event.type}`), el("pre", { tabindex: "0" }, visible(text)));
  }
}
