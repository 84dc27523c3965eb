/** Use the example's client as the lines on stdin say: `node_driver.mjs RESCIND_MJS TIMEOUT_MS`. */
import { createInterface } from 'node:readline';

const [client, timeoutMs] = process.argv.slice(2);
const { Rescind } = await import(client);
const rescind = new Rescind({ timeoutMs: Number(timeoutMs) });
const holds = new Map();

const CALLS = {
  check: ({ token, options }) => rescind.check(token, options),
  async many({ token, times }) {
    const answers = await Promise.all(Array.from({ length: times }, () => rescind.check(token)));
    const counts = {};
    for (const { reason = 'allowed' } of answers) counts[reason] = (counts[reason] ?? 0) + 1;
    return counts;
  },
  async hold({ number, token, options }) {
    const hold = await rescind.hold(token, options);
    if (!hold.allowed) return hold;
    holds.set(number, hold);
    hold.signal.addEventListener('abort', () => say(number, { reason: hold.signal.reason.reason }));
    return { allowed: true, record: hold.record };
  },
  release({ hold }) {
    holds.get(hold).release();
    return {};
  },
};

function say(number, answer) {
  console.log(JSON.stringify({ number, ...answer }));
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  Promise.resolve()
    .then(() => CALLS[request.call](request))
    .then(
      (answer) => say(request.number, answer),
      (error) => say(request.number, { error: `${error.name}: ${error.message}` }),
    );
}
process.exit();
