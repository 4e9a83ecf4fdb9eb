/** Elements from plain values. Text is always text: nothing here, and nothing that uses it, sets markup. */

/**
 * Makes an element. `fields` are attributes; `on…` fields are listeners, `class` and `dataset` as in markup, and false,
 * null or undefined leave a field out. Children are nodes, texts, or lists of them.
 */
export function el(tag, fields = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(fields)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === "function" && name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...nodes(children));
  return element;
}

/** Returns the children as nodes and texts, without empty ones. */
export function nodes(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Returns the element of this selector below `root`; throws for a page that does not have it. */
export function find(selector, root = document) {
  const found = root.querySelector(selector);
  if (found === null) throw new Error(`The page has no ${selector}.`);
  return found;
}

/** Returns the page's data, which its view has put there. */
export function pageData() {
  return JSON.parse(find("#page-data").textContent);
}

/** Tells people who use a screen reader what has changed. */
export function announce(text) {
  find("#announcements").textContent = text;
}
