/**
 * Opens the gateway's chat in a page of another site:
 *
 *   <script src="https://gateway.example.com/console/embed.js" data-token="emt_….age_…" async></script>
 *
 * Optional: `data-title`, `data-lang` (en, zh), `data-open` (the chat is open from the start), and `data-renew`, an
 * address of the own site that responds to a POST with {"token"} when the token ends. The chat itself is a frame of the
 * gateway, so neither site can read the other; what they tell one another is the token and the size.
 */
(() => {
  "use strict";
  const script = document.currentScript;
  const gateway = new URL(script.src).origin;
  const { title = "Chat", lang = "", renew = "" } = script.dataset;
  let token = script.dataset.token ?? "";

  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`
    :host { all: initial; }
    button { position: fixed; right: 1rem; bottom: 1rem; z-index: 2147483000; min-width: 3.5rem; min-height: 3.5rem;
      padding: 0 1.25rem; border: 0; border-radius: 1.75rem; font: 600 1rem/1 system-ui, sans-serif; cursor: pointer;
      color: #fff; background: #0b5cad; box-shadow: 0 2px 8px #0005; }
    button:focus-visible { outline: 3px solid #0b5cad; outline-offset: 3px; }
    iframe { position: fixed; right: 1rem; bottom: 5.5rem; z-index: 2147483000; width: min(24rem, calc(100vw - 2rem));
      height: min(36rem, calc(100vh - 7rem)); border: 1px solid #8a8f98; border-radius: .75rem; background: Canvas; }
    iframe[hidden] { display: none; }
  `);
  const host = document.createElement("div");
  const root = host.attachShadow({ mode: "open" });
  root.adoptedStyleSheets = [sheet];
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = title;
  button.setAttribute("aria-expanded", "false");
  root.append(button);
  (document.body ?? document.documentElement).append(host);

  let frame = null;

  function frameMake() {
    frame = document.createElement("iframe");
    frame.title = title;
    frame.hidden = true;
    frame.referrerPolicy = "origin";
    frame.src = `${gateway}/console/embed/frame/${encodeURIComponent(token.split(".")[0])}`;
    root.append(frame);
  }

  function toggle(open) {
    if (frame === null) frameMake();
    frame.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
    if (open) frame.focus();
    else button.focus();
  }

  function tell(message) {
    // Only a page of the gateway gets the token, whatever the frame was led to.
    frame.contentWindow.postMessage(message, gateway);
  }

  async function tokenRenew() {
    if (renew === "") return null;
    const response = await fetch(renew, { method: "POST", credentials: "same-origin", cache: "no-store" });
    return response.ok ? (await response.json()).token : null;
  }

  // The frame has no storage of its own where browsers block that of other sites. The id of a conversation is no
  // secret: without a token of its end user nobody reads it.
  const place = `gateway-embed ${gateway}`;
  const remembered = () => { try { return sessionStorage.getItem(place); } catch { return null; } };
  const remember = (session) => {
    try {
      if (typeof session === "string") sessionStorage.setItem(place, session);
      else sessionStorage.removeItem(place);
    } catch { /* storage is blocked: a reload begins anew */ }
  };

  addEventListener("message", async ({ source, origin, data }) => {
    if (frame === null || source !== frame.contentWindow || origin !== gateway) return;
    if (data?.gateway === "ready") tell({ gateway: "start", token, title, lang, session: remembered() });
    if (data?.gateway === "remember") remember(data.session);
    if (data?.gateway === "close") toggle(false);
    if (data?.gateway === "expired") {
      const fresh = await tokenRenew().catch(() => null);
      if (typeof fresh === "string") token = fresh;
      tell({ gateway: "renewed", token: typeof fresh === "string" ? fresh : null });
    }
  });
  button.addEventListener("click", () => toggle(frame === null || frame.hidden));
  if ("open" in script.dataset) toggle(true);
})();
