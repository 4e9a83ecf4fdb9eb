// Anthropic's own JavaScript client against the gateway: node anthropic_client.cjs BASE_URL KEY. Prints what it saw.
const Anthropic = require("@anthropic-ai/sdk").default;
const { betaTool } = require("@anthropic-ai/sdk/helpers/beta/json-schema");
const [baseURL, apiKey] = process.argv.slice(2);
const client = new Anthropic({ baseURL, apiKey, maxRetries: 0 });
const tools = [{ name: "echo", input_schema: { type: "object", properties: {} } }];
const image = { type: "image", source: { type: "base64", media_type: "image/png", data: "iVBORw0KGgo=" } };

const ask = (model, messages, more = {}) => ({ model, max_tokens: 100, messages, ...more });
const user = (content) => ({ role: "user", content });

async function main() {
  const seen = {};
  seen.message = (await client.messages.create(ask("plain:hello", [user("Hi")]))).content[0].text;

  const stream = client.messages.stream(ask("plain:reasoning", [user("Hi")]));
  const final = await stream.finalMessage();
  seen.blocks = final.content.map((block) => block.type);
  seen.usage = [final.usage.input_tokens, final.usage.output_tokens];

  const first = await client.messages.stream(ask("plain:parallel:2", [user("go")], { tools })).finalMessage();
  const uses = first.content.filter((block) => block.type === "tool_use");
  seen.calls = uses.map((use) => use.input.x);
  const results = uses.map((use, n) => ({ type: "tool_result", tool_use_id: use.id, content: `r${n}` }));
  const messages = [user("go"), { role: "assistant", content: first.content }, user(results)];
  seen.answered = (await client.messages.create(ask("plain:parallel:2", messages, { tools }))).content[0].text;

  const see = [{ type: "text", text: "What?" }, image];
  seen.image = (await client.messages.create(ask("plain:vision", [user(see)]))).content[0].text;

  const headers = { "x-gateway-background": "true" };
  const queued = await client.messages.create(ask("plain:hello", [user("Hi")]), { headers });
  seen.queued = [queued.id.slice(0, 3), queued.status];
  let message = queued;
  while (!message.content) message = await client.get(`/v1/background/${queued.id}`);
  seen.background = message.content[0].text;
  const background = await client.get(`/v1/background/${queued.id}`, { query: { stream: true }, stream: true });
  seen.backgroundStream = "";
  for await (const event of background) seen.backgroundStream += event.delta?.text ?? "";

  try {
    await client.messages.stream(ask("plain:drop:2", [user("Hi")])).finalMessage();
  } catch (error) {
    seen.broken = String(error.message).includes("SECRET") ? "leaked" : "raised";
  }
  try {
    await client.messages.create(ask("plain:status:500", [user("Hi")]));
  } catch (error) {
    seen.error = error.status;
  }
  // The runner continues a thread: its second request has the results alone.
  const sent = [];
  const watched = new Anthropic({
    baseURL, apiKey, maxRetries: 0,
    fetch: (url, init) => (sent.push(JSON.parse(init.body)), fetch(url, init)),
  });
  const echo = betaTool({
    name: "echo", description: "Echoes.", inputSchema: { type: "object", properties: {} }, run: () => "r",
  });
  for (const stream of [false, true]) {
    const more = { tools: [echo], stream };
    const runner = watched.beta.messages.toolRunner(ask("plain:parallel:2", [user("go")], more));
    const last = await runner.runUntilDone();
    (seen.runner ??= []).push(last.content[0].text);
  }
  seen.threads = sent.map((body) => [body.thread.type, body.messages.length]);
  console.log(JSON.stringify(seen));
}

main();
