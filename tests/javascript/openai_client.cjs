// OpenAI's own JavaScript client against the gateway: node openai_client.cjs BASE_URL KEY. Prints what it saw as JSON.
const OpenAI = require("openai").default;
const [baseURL, apiKey, label] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${baseURL}/v1`, apiKey, maxRetries: 0 });
const echo = { type: "function", name: "echo", parameters: { type: "object", properties: {} }, strict: false };

async function main() {
  const seen = {};
  const chat = await client.chat.completions.create({ model: "plain:hello", messages: [{ role: "user", content: "Hi" }] });
  seen.chat = chat.choices[0].message.content;

  const chunks = await client.chat.completions.create({
    model: "claude:hello", messages: [{ role: "user", content: "Hi" }], stream: true,
  });
  seen.chatStream = "";
  for await (const chunk of chunks) seen.chatStream += chunk.choices[0]?.delta?.content ?? "";

  const whole = await client.responses.create({ model: "plain:hello", input: "Hi" });
  seen.response = whole.output_text;

  const stream = client.responses.stream({ model: "plain:reasoning", input: "Hi" });
  seen.numbers = [];
  for await (const event of stream) seen.numbers.push(event.sequence_number);
  seen.streamed = (await stream.finalResponse()).output_text;

  const input = [{ role: "user", content: "go" }];
  const first = await client.responses.create({ model: "plain:parallel:2", input, tools: [echo] });
  const calls = first.output.filter((item) => item.type === "function_call");
  seen.calls = calls.map((call) => JSON.parse(call.arguments).x);
  const outputs = calls.map((call, n) => ({ type: "function_call_output", call_id: call.call_id, output: `r${n}` }));
  const second = await client.responses.create({
    model: "plain:parallel:2", input: [...input, ...first.output, ...outputs], tools: [echo],
  });
  seen.answered = second.output_text;

  const continued = await client.responses.create({ model: "plain:hello", input: "On", previous_response_id: whole.id });
  seen.continued = (await client.responses.retrieve(continued.id)).previous_response_id === whole.id;
  seen.items = 0;
  for await (const item of client.responses.inputItems.list(continued.id)) seen.items += item.type === "message";
  await client.responses.delete(whole.id);

  const background = client.responses.stream({ model: "plain:reasoning", input: "Hi", background: true });
  let id = null, last = -1;
  for await (const event of background) {
    if (event.type === "response.created") id = event.response.id;
    last = event.sequence_number;
    if (last === 4) break;
  }
  const resumed = client.responses.stream({ response_id: id, starting_after: last });
  seen.resumed = [];
  for await (const event of resumed) seen.resumed.push(event.sequence_number);
  seen.background = (await resumed.finalResponse()).output_text;

  const slow = await client.responses.create({ model: "plain:slow:1000:50", input: "Hi", background: true });
  seen.cancelled = (await client.responses.cancel(slow.id)).status;

  const headers = { "x-gateway-background": "true" };
  const hello = { model: "plain:hello", messages: [{ role: "user", content: "Hi" }] };
  const queued = await client.chat.completions.create(hello, { headers });
  seen.queued = [queued.id.slice(0, 3), queued.status];
  let chatFinal = queued;
  while (!chatFinal.choices) chatFinal = await client.chat.completions.retrieve(queued.id);
  seen.backgroundChat = chatFinal.choices[0].message.content;
  const backgroundStream = await client.get(`/background/${queued.id}`, { query: { stream: true }, stream: true });
  seen.backgroundStream = "";
  for await (const chunk of backgroundStream) seen.backgroundStream += chunk.choices[0]?.delta?.content ?? "";

  const tools = [{ type: "mcp", server_label: label, require_approval: "never" }];
  const hosted = client.responses.stream({ model: "plain:hosted", input: "Go.", tools });
  const hostedFinal = await hosted.finalResponse();
  seen.hosted = [hostedFinal.output.map((item) => item.type), hostedFinal.output_text];
  const long = await client.responses.create({ model: "plain:hello", input: "words ".repeat(1000) });
  const compacted = await client.responses.create({
    model: "plain:hello", input: "And?", previous_response_id: long.id, truncation: "auto",
    context_management: [{ type: "compaction", compact_threshold: 1000 }],
  });
  seen.compacted = compacted.output.map((item) => item.type);

  const aborted = await client.responses.create({ model: "plain:slow:5:1000", input: "Hi", stream: true });
  for await (const event of aborted) if (event.type === "response.output_text.delta") break;
  seen.aborted = true;

  try {
    await client.responses.create({ model: "plain:status:500", input: "Hi" });
  } catch (error) {
    seen.error = [error.status, error.code];
  }
  console.log(JSON.stringify(seen));
}

main();
