/** The frame of every page: the menu on a phone, the list of shortcuts, and the number of things that wait. */

import { find } from "./dom.js";
import { startInboxCount } from "./inbox_count.js";
import { startShortcuts } from "./shortcuts.js";

document.body.classList.add("scripted");

const button = document.querySelector(".menu-button");
if (button !== null) {
  const menu = find("#menu");
  const open = (shown) => {
    menu.classList.toggle("open", shown);
    button.setAttribute("aria-expanded", String(shown));
  };
  button.addEventListener("click", () => open(!menu.classList.contains("open")));
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    open(false);
    button.focus();
  });
  startInboxCount();
}
startShortcuts();
