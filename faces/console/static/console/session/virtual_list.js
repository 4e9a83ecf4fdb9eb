/**
 * A list of many thousand rows of which only those in view are on the page. All rows have the same height; where they are
 * comes from their number.
 */

import { el } from "../dom.js";

const AROUND = 10;

/** `rowHeight` is in pixels and that of the style sheet; `render(index)` makes the row of an index, `missing(from, to)` is told which rows came into view. */
export class VirtualList {
  #viewport;
  #space;
  #rowHeight;
  #render;
  #missing;
  #count = 0;
  #rows = new Map();

  constructor(viewport, { rowHeight, render, missing = () => {} }) {
    this.#viewport = viewport;
    this.#rowHeight = rowHeight;
    this.#render = render;
    this.#missing = missing;
    this.#space = el("div", { class: "space" });
    viewport.replaceChildren(this.#space);
    viewport.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(viewport);
  }

  get count() {
    return this.#count;
  }

  /** Sets the number of rows; keeps the end in view when it was. */
  resize(count, { follow = true } = {}) {
    const { scrollTop, clientHeight, scrollHeight } = this.#viewport;
    const atEnd = scrollTop + clientHeight >= scrollHeight - 2 * this.#rowHeight;
    this.#count = count;
    this.#space.style.height = `${count * this.#rowHeight}px`;
    if (follow && atEnd) this.#viewport.scrollTop = this.#viewport.scrollHeight;
    this.draw();
  }

  /** Draws rows again whose content came or changed. */
  refresh() {
    for (const row of this.#rows.values()) row.remove();
    this.#rows.clear();
    this.draw();
  }

  draw() {
    const { scrollTop, clientHeight } = this.#viewport;
    const from = Math.max(0, Math.floor(scrollTop / this.#rowHeight) - AROUND);
    const to = Math.min(this.#count, Math.ceil((scrollTop + clientHeight) / this.#rowHeight) + AROUND);
    for (const [index, row] of this.#rows) {
      if (index >= from && index < to) continue;
      row.remove();
      this.#rows.delete(index);
    }
    for (let index = from; index < to; index += 1) {
      if (this.#rows.has(index)) continue;
      const row = this.#render(index);
      row.style.top = `${index * this.#rowHeight}px`;
      this.#rows.set(index, row);
      this.#space.append(row);
    }
    if (to > from) this.#missing(from, to);
  }
}
