/**
 * The same conversation as a program: for a shell with curl, and for the Python and JavaScript clients. Every program
 * reads the key from GATEWAY_KEY, so that no key is ever on a clipboard.
 *
 * `settings` is the body of a session without its tools, `tools` names of tools of the gateway, `own` registrations of
 * tools whose answers are typed.
 */

/** Returns a program in `language`: `curl`, `python` or `javascript`. */
export function program(language, address, { settings, tools, own }, prompt) {
  const write = { curl: curlProgram, python: pythonProgram, javascript: javascriptProgram }[language];
  return write(address, settings, tools, own, prompt);
}

function curlProgram(address, settings, tools, own, prompt) {
  const listed = [...tools, ...own];
  const body = { ...settings, ...(listed.length ? { tools: listed } : {}) };
  const headers = `-H "X-API-Key: $GATEWAY_KEY" -H 'Content-Type: application/json'`;
  const lines = [
    "#!/bin/sh",
    "set -eu",
    `: "\${GATEWAY_KEY:?is to be an API key with the scope sessions}"`,
    `GATEWAY=${shellText(address)}`,
    `SESSION=$(curl -sfS "$GATEWAY/v1/sessions" ${headers} \\`,
    `  -d ${shellText(JSON.stringify(body))} | sed -n 's/.*"sessionId": *"\\([^"]*\\)".*/\\1/p')`,
    `curl -sfS "$GATEWAY/v1/sessions/$SESSION/prompt" ${headers} \\`,
    `  -d ${shellText(JSON.stringify({ text: prompt }))}`,
    "echo",
  ];
  if (own.length) {
    lines.push(
      "# When tool_call_requested comes, post its result beside the stream:",
      `#   curl -sfS "$GATEWAY/v1/sessions/$SESSION/tool-results" ${headers} -d '{"callId": "…", "result": "…"}'`,
    );
  }
  lines.push(`curl -sfSN "$GATEWAY/v1/sessions/$SESSION/events" -H "X-API-Key: $GATEWAY_KEY"`, "");
  return lines.join("\n");
}

function pythonProgram(address, settings, tools, own, prompt) {
  const { model, ...fields } = settings;
  const listed = [...tools, ...own];
  const options = Object.entries(fields).map(([name, value]) => `${snake(name)}=${pythonText(value)}`);
  if (listed.length) options.push(`tools=${pythonText(listed)}`);
  const values = [pythonText(model ?? null), ...options].map((value) => `        ${value},\n`).join("");
  const answers = own.length
    ? `        elif event.type == "tool_call_requested":
            print(f"\\n{event.tool_name}({event.args})")
            session.submit_result(event.call_id, input("The tool's answer: "))
`
    : "";
  return `import os

from gateway_client import Gateway

with Gateway(${pythonText(address)}, os.environ["GATEWAY_KEY"]) as gateway:
    session = gateway.sessions.create(
${values}    )
    for event in session.prompt(${pythonText(prompt)}):
        if event.type == "message_delta":
            print(event.delta, end="", flush=True)
        elif event.type == "agent_abort":
            raise SystemExit(f"The run ended: {event.reason}.")
${answers}print()
`;
}

function javascriptProgram(address, settings, tools, own, prompt) {
  const { model, ...fields } = settings;
  const registered = own.map((each) => `  tool(${JSON.stringify(each)}, askForAnswer),\n`).join("");
  const named = tools.map((name) => `  ${JSON.stringify(name)},\n`).join("");
  const options = JSON.stringify(fields, null, 2);
  const reading = own.length
    ? `import { createInterface } from "node:readline/promises";

`
    : "";
  const asking = own.length
    ? `
async function askForAnswer(args, { event }) {
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  try {
    return await terminal.question(\`\\n\${event.data.toolName}(\${JSON.stringify(args)})\\nThe tool's answer: \`);
  } finally {
    terminal.close();
  }
}
`
    : "";
  const imports = own.length ? "Gateway, tool" : "Gateway";
  const list = tools.length || own.length ? `[\n${named}${registered}]` : "[]";
  return `${reading}import { ${imports} } from "agent-gateway-client";
${asking}
const gateway = new Gateway(${JSON.stringify(address)}, process.env.GATEWAY_KEY);
const tools = ${list};
const session = await gateway.sessions.create(${JSON.stringify(model ?? null)}, { ...${options}, tools });
for await (const event of session.prompt(${JSON.stringify(prompt)})) {
  if (event.type === "message_delta") process.stdout.write(event.data.delta);
  if (event.type === "agent_abort") throw new Error(\`The run ended: \${event.data.reason}.\`);
}
console.log();
`;
}

function shellText(text) {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** Returns JSON as Python writes it. JSON's strings are Python's, but for half characters, which neither sends. */
function pythonText(value) {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(pythonText).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  const entries = Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${pythonText(each)}`);
  return `{${entries.join(", ")}}`;
}

function snake(name) {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
