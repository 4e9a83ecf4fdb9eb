/** Prints every event of a session, until it is closed. */

const [url, key, session, via, entry] = process.argv.slice(2);
const { Gateway } = await import(`../../../clients/typescript/${entry}`);

const gateway = new Gateway(url, key, { timeouts: { firstPauseMs: 20, longestPauseMs: 500 } });
const followed = await gateway.sessions.get(session);
for await (const event of followed.events({ via })) console.log(JSON.stringify(event));
