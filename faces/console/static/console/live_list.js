/** A list whose items change while it is looked at: only what changed is drawn again, and the focus stays. */

/**
 * Keeps the children of `container` like the items: `key` names an item, `render` makes its element. `set` takes the
 * whole list in its order.
 */
export class LiveList {
  #container;
  #key;
  #render;
  #shown = new Map();

  constructor(container, { key, render }) {
    this.#container = container;
    this.#key = key;
    this.#render = render;
  }

  /** Shows these items. Elements that a server has rendered are replaced at the first call. */
  set(items) {
    const before = this.#shown;
    const first = before.size === 0;
    if (first) this.#container.replaceChildren();
    this.#shown = new Map();
    let last = null;
    for (const item of items) {
      const key = String(this.#key(item));
      const source = JSON.stringify(item);
      const old = before.get(key);
      const element = old?.source === source ? old.element : this.#draw(item, old, first);
      this.#shown.set(key, { source, element });
      // Asked after it is drawn, which may have replaced the element at this place.
      const place = last === null ? this.#container.firstElementChild : last.nextElementSibling;
      if (element !== place) this.#container.insertBefore(element, place);
      last = element;
    }
    for (const [key, { element }] of before) if (!this.#shown.has(key)) element.remove();
  }

  get size() {
    return this.#shown.size;
  }

  #draw(item, old, first) {
    const element = this.#render(item);
    if (old) {
      const focused = old.element.contains(document.activeElement) ? document.activeElement : null;
      old.element.replaceWith(element);
      if (focused?.dataset.focus) element.querySelector(`[data-focus="${CSS.escape(focused.dataset.focus)}"]`)?.focus();
    } else if (!first) {
      element.classList.add("fresh");
      setTimeout(() => element.classList.remove("fresh"), 2_000);
    }
    return element;
  }
}
