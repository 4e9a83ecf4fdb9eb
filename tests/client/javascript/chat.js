/**
 * A chat of several runs, each with a tool of this program and an approval, until the standard input ends; then the
 * whole session. Prints every event that it gets.
 */

const [url, key, via, entry] = process.argv.slice(2);
const { Gateway, tool } = await import(`../../../clients/typescript/${entry}`);

let stopped = false;
process.stdin.on("end", () => (stopped = true)).resume();

const print = (value) => console.log(JSON.stringify(value));
const gateway = new Gateway(url, key, { timeouts: { firstPauseMs: 20, longestPauseMs: 500 } });
const again = tool({ name: "again", description: "A tool that the client runs." }, () => "done");
const session = await gateway.sessions.create("demo:tour", { tools: [again], providerOpts: { delayMs: 20 } });
print({ session: session.id });
for (let run = 0; !stopped; run++) {
  const prompt = "use again, approve and say long 60";
  for await (const event of session.prompt(prompt, { via, onApproval: () => true })) print({ run, event });
}
await session.delete();
for await (const event of session.events({ via })) print({ event });
