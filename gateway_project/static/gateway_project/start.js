// The start page: lists the models of a typed key, and streams an answer as any client of OpenAI would.
"use strict";

const field = (id) => document.getElementById(id);
const form = field("ask"), key = field("key"), model = field("model"), answer = field("answer"), hint = field("hint");
const button = form.querySelector("button");

function headers() {
  return {"Authorization": `Bearer ${key.value.trim()}`, "Content-Type": "application/json"};
}

async function failure(response) {
  const body = await response.json().catch(() => ({}));
  return (body.error && body.error.message) || body.message || `The gateway answered ${response.status}.`;
}

async function listModels() {
  if (!key.value.trim()) return;
  const response = await fetch("/v1/models", {headers: headers()}).catch(() => null);
  if (response === null || !response.ok) {
    hint.textContent = response === null ? "The gateway cannot be reached." : await failure(response);
    return;
  }
  const chosen = model.value;
  const names = (await response.json()).data.map((entry) => entry.id);
  model.replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
  const real = names.filter((name) => !name.startsWith("demo:")).length;
  hint.textContent = real
    ? `${names.length} models answer.`
    : "Only the demo answers: no provider has a key yet.";
}

async function ask(event) {
  event.preventDefault();
  button.disabled = true;
  answer.hidden = false;
  answer.className = "";
  answer.textContent = "";
  try {
    const body = {model: model.value, stream: true, messages: [{role: "user", content: field("prompt").value}]};
    const response = await fetch("/v1/chat/completions", {method: "POST", headers: headers(), body: JSON.stringify(body)});
    if (!response.ok) throw new Error(await failure(response));
    await show(response.body.getReader());
  } catch (error) {
    answer.className = "failed";
    answer.textContent += error.message;
  } finally {
    button.disabled = false;
  }
}

async function show(reader) {
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    const lines = (rest + decoder.decode(value, {stream: true})).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
      const data = JSON.parse(line.slice(6));
      if (data.error) throw new Error(data.error.message);
      const delta = data.choices && data.choices[0] && data.choices[0].delta;
      if (delta) answer.textContent += delta.reasoning_content || delta.content || "";
    }
  }
}

key.addEventListener("change", listModels);
form.addEventListener("submit", ask);
