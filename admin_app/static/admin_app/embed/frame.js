/**
 * The chat in the frame: one session of the token's end user, whose text arrives as it is written.
 *
 * The page around the frame keeps the session's id for the tab, so a reload goes on with it. Everything is shown as text; nothing that a model
 * or a tool wrote becomes markup. After a lost connection the stream is resumed from the last position.
 */
const WORDS = {
  en: {
    log: "Conversation", input: "Your message", send: "Send", stop: "Stop", close: "Close", fresh: "New chat",
    you: "You", agent: "Assistant", working: "The assistant is writing…", away: "Connecting again…",
    ended: "This chat has ended. Reload the page.", failed: "This did not work: ", aborted: "Stopped.",
    approve: "Allow", reject: "Do not allow", wants: "The assistant wants to use: ",
  },
  zh: {
    log: "对话", input: "你的消息", send: "发送", stop: "停止", close: "关闭", fresh: "新对话",
    you: "你", agent: "助手", working: "助手正在输入…", away: "正在重新连接…",
    ended: "对话已结束，请刷新页面。", failed: "操作失败：", aborted: "已停止。",
    approve: "允许", reject: "不允许", wants: "助手想要使用：",
  },
};
const RETRY_MS = [500, 1000, 2000, 5000, 10000];

const parentOrigins = JSON.parse(document.body.dataset.origins);
const log = document.querySelector("#log");
const form = document.querySelector("#say");
const input = document.querySelector("#text");
const send = document.querySelector("#send");
const stop = document.querySelector("#stop");
const status = document.querySelector("#status");

let words = WORDS.en;
let host = null;
let token = null;
let session = null;
let position = null;
let renewal = null;
let streaming = null;
const shown = new Map();

function tell(message) {
  // Delivered only where the page around the frame is of an origin that the token names.
  for (const origin of host === null ? parentOrigins : [host]) parent.postMessage(message, origin);
}

addEventListener("message", ({ source, origin, data }) => {
  if (source !== parent || !parentOrigins.includes(origin)) return;
  if (data?.gateway === "start" && token === null && typeof data.token === "string") {
    host = origin;
    token = data.token;
    label(String(data.lang || navigator.language), String(data.title || ""));
    start(data.session);
  }
  if (data?.gateway === "renewed") renewal?.(typeof data.token === "string" ? data.token : null);
});

function label(language, title) {
  const chinese = language.toLowerCase().startsWith("zh");
  words = chinese ? WORDS.zh : WORDS.en;
  document.documentElement.lang = chinese ? "zh" : "en";
  document.querySelector("h1").textContent = title;
  document.title = title;
  log.setAttribute("aria-label", words.log);
  document.querySelector("#say label").textContent = words.input;
  send.textContent = words.send;
  stop.textContent = words.stop;
  document.querySelector("#close").textContent = words.close;
  document.querySelector("#fresh").textContent = words.fresh;
}

/** A new token from the page's own server, once for all who wait for it; null when there is none. */
function renew() {
  streamEnd();
  renew.pending ??= new Promise((resolve) => {
    const timer = setTimeout(() => resolve(null), 15_000);
    renewal = (fresh) => { clearTimeout(timer); resolve(fresh); };
    tell({ gateway: "expired" });
  }).then((fresh) => {
    renew.pending = null;
    if (fresh !== null) token = fresh;
    return fresh !== null;
  });
  return renew.pending;
}

async function call(method, path, body, again = true) {
  const response = await fetch(`/v1/embed/sessions${path}`, {
    method,
    headers: { "X-Embed-Token": token, ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
    body: body === undefined ? undefined : JSON.stringify(body),
    credentials: "omit",
    cache: "no-store",
  });
  if (response.status === 401 && again && (await renew())) {
    follow();
    return call(method, path, body, false);
  }
  const value = response.status === 204 ? null : await response.json();
  if (!response.ok) throw Object.assign(new Error(value?.message ?? response.statusText), { status: response.status });
  return value;
}

/** The page around the frame keeps the session's id for the tab. */
const remember = (id) => tell({ gateway: "remember", session: id });

async function start(before) {
  try {
    if (typeof before === "string") await resume(before);
  } catch (error) {
    if (error.status !== 404) return fail(error);
    remember(null); // of another person or agent
  }
  form.hidden = false;
  input.focus();
}

async function resume(id) {
  const found = await call("GET", `/${id}`);
  if (found.state === "closed") return remember(null);
  const { messages } = await call("GET", `/${id}/messages`);
  session = id;
  position = found.lastEventIndex;
  for (const { id: message, role, content } of messages) say(role, message, textOf(content));
  if (found.state !== "idle") position = 0; // what runs is read from its beginning; messages that are here are left out
  follow();
}

const textOf = (content) => (typeof content === "string" ? content : JSON.stringify(content));

function say(role, id, text) {
  let item = shown.get(id);
  if (item === undefined) {
    item = document.createElement("li");
    item.className = role;
    const name = document.createElement("span");
    name.className = "who";
    name.textContent = role === "user" ? words.you : words.agent;
    const words_ = document.createElement("p");
    item.append(name, words_);
    log.append(item);
    shown.set(id, item);
  }
  item.querySelector("p").textContent = text;
  item.scrollIntoView({ block: "end" });
  return item;
}

function busy(working) {
  stop.hidden = !working;
  log.setAttribute("aria-busy", String(working));
  status.textContent = working ? words.working : "";
}

function fail(error) {
  status.textContent = error.status === 401 ? words.ended : words.failed + error.message;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = input.value.trim();
  if (text === "") return;
  send.disabled = true;
  try {
    if (session === null) {
      session = (await call("POST", "", {})).sessionId;
      position = 0;
      remember(session);
      follow();
    }
    await call("POST", `/${session}/prompt`, { text });
    input.value = "";
  } catch (error) {
    fail(error);
  } finally {
    send.disabled = false;
    input.focus();
  }
});
input.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  }
});
addEventListener("keydown", (event) => { if (event.key === "Escape") tell({ gateway: "close" }); });
document.querySelector("#close").addEventListener("click", () => tell({ gateway: "close" }));
document.querySelector("#fresh").addEventListener("click", () => {
  streamEnd();
  remember(null);
  session = position = null;
  shown.clear();
  log.replaceChildren();
  busy(false);
  input.focus();
});
stop.addEventListener("click", () => call("POST", `/${session}/abort`, {}).catch(fail));

function streamEnd() {
  streaming?.abort();
  streaming = null;
}

/** Follows the session until it closes, and connects again from the last position. */
async function follow() {
  streamEnd();
  const own = (streaming = new AbortController());
  for (let attempt = 0; !own.signal.aborted; ) {
    try {
      const response = await fetch(`/v1/embed/sessions/${session}/events?since=${encodeURIComponent(position ?? 0)}`, {
        headers: { "X-Embed-Token": token, Accept: "text/event-stream" },
        credentials: "omit",
        cache: "no-store",
        signal: own.signal,
      });
      if (response.status === 204) return;
      if (response.status === 401) {
        if (await renew()) return follow();
        return fail({ status: 401 });
      }
      if (!response.ok) throw new Error(String(response.status));
      for await (const { id, event, data } of frames(response.body)) {
        attempt = 0;
        if (id !== "") position = id;
        if (event !== "") take(event, JSON.parse(data));
      }
    } catch (error) {
      if (own.signal.aborted) return;
    }
    if (own.signal.aborted) return;
    status.textContent = words.away;
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS[Math.min(attempt++, RETRY_MS.length - 1)]));
    status.textContent = "";
  }
}

/** The frames of an event stream. */
async function* frames(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  while (true) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const frame = { id: "", event: "", data: "" };
      for (const line of block.split("\n")) {
        const [, name, text] = /^(id|event|data): ?(.*)$/.exec(line) ?? [];
        if (name !== undefined) frame[name] = text;
      }
      yield frame;
    }
  }
}

const texts = new Map();
const takers = {
  prompt_received: ({ text, requestId }) => { say("user", `prompt ${requestId}`, text); busy(true); },
  agent_start: () => busy(true),
  message_start: ({ messageId }) => texts.set(messageId, ""),
  message_delta: ({ messageId, delta }) => {
    texts.set(messageId, (texts.get(messageId) ?? "") + delta);
    say("assistant", messageId, texts.get(messageId));
  },
  message_end: ({ messageId, content }) => { texts.delete(messageId); say("assistant", messageId, textOf(content)); },
  run_retried: () => {
    for (const id of texts.keys()) { shown.get(id)?.remove(); shown.delete(id); }
    texts.clear();
  },
  ask_user: ({ ref, question, options }) => ask(ref, question, options),
  question_resolved: ({ ref }) => settle(ref),
  approval_required: ({ approvalId, toolName, args, argsHash }) => decide(approvalId, toolName, args, argsHash),
  approval_resolved: ({ approvalId }) => settle(approvalId),
  agent_end: () => busy(false),
  agent_abort: ({ reason, message }) => {
    busy(false);
    status.textContent = reason === "aborted" ? words.aborted : words.failed + (message ?? reason);
  },
  session_closed: () => { form.hidden = true; status.textContent = words.ended; remember(null); },
};

function take(event, data) {
  takers[event]?.(data);
}

function ask(ref, question, options) {
  const item = say("assistant", ref, question);
  const answer = (response) => call("POST", `/${session}/respond`, { ref, response }).catch(fail);
  if (item.querySelector("div, form") !== null) return;
  if (options.length > 0) {
    choices(item, options.map(({ id, label: text }) => [text, () => answer(id)]));
    return;
  }
  const reply = document.createElement("form");
  const field = document.createElement("input");
  field.setAttribute("aria-label", question);
  field.required = true;
  const button = document.createElement("button");
  button.textContent = words.send;
  reply.append(field, button);
  reply.addEventListener("submit", (event) => { event.preventDefault(); answer(field.value); });
  item.append(reply);
  item.scrollIntoView({ block: "end" });
}

function decide(approvalId, toolName, args, argsHash) {
  const item = say("assistant", approvalId, words.wants + toolName + "\n" + JSON.stringify(args, null, 2));
  const answer = (approve) => call("POST", `/${session}/decide`, { approvalId, approve, argsHash }).catch(fail);
  if (item.querySelector("div") !== null) return;
  choices(item, [[words.approve, () => answer(true)], [words.reject, () => answer(false)]]);
}

function choices(item, buttons) {
  const row = document.createElement("div");
  for (const [text, act] of buttons) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.addEventListener("click", act);
    row.append(button);
  }
  item.append(row);
  item.scrollIntoView({ block: "end" });
}

function settle(id) {
  for (const control of shown.get(id)?.querySelectorAll("button, input") ?? []) control.disabled = true;
}

tell({ gateway: "ready" });
