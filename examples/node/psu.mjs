// Show a power supply, set its voltage and wait for the outcome, switch it off when the voltage is too high.
//
//     npm install --no-save mqtt
//     node psu.mjs                                       show it, and guard it
//     node psu.mjs 5                                     set 5 V first
//     BUSBAR_URL=mqtt://user:password@host node psu.mjs
import { randomUUID } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { connectAsync } from "mqtt";
import { Reader } from "./reader.mjs";

const DEVICE = "bench/psu";
const PSU = `busbar/${DEVICE}`;
const TOO_HIGH = 6; // V
const PATIENCE = 15; // s; longer than a command may wait in the bridge (10 s, our expiry)

// Commands go with QoS 0 and are not queued: what is asked for while the broker is away fails at once, and nothing is
// sent a second time. Whether it was done is what the outcome says.
const url = process.env.BUSBAR_URL ?? "mqtt://127.0.0.1";
const client = await connectAsync(url, { protocolVersion: 5, queueQoSZero: false });
const replies = `busbar/reply/${client.options.username ?? "node"}/${randomUUID()}`;
const outcomes = new EventEmitter();

/** Run a command, for example `set/output`, and return its result; throw when it fails or nobody answers. */
async function command(target, payload) {
  const id = randomUUID();
  const properties = { responseTopic: replies, correlationData: Buffer.from(id), messageExpiryInterval: 10 };
  const [[{ ok, result, error }]] = await Promise.all([
    once(outcomes, `outcome of ${id}`, { signal: AbortSignal.timeout(PATIENCE * 1000) }),
    client.publishAsync(`${PSU}/${target}`, JSON.stringify(payload), { qos: 0, properties }),
  ]);
  if (!ok) throw new Error(`${error.code}: ${error.message}`);
  return result;
}

/** Run a command and tell how it went. */
async function tryTo(target, payload) {
  try {
    console.log(`${target}: done, it is`, await command(target, payload));
  } catch (error) {
    const unknown = error.name === "AbortError"; // it may have been done
    console.error(`${target}: failed:`, unknown ? `no outcome after ${PATIENCE} s` : error.message);
  }
}

let acting = false;

/** Switch off what is too high; try again with the next value if that fails. */
async function guard(volts) {
  if (acting || !(volts > TOO_HIGH)) return;
  acting = true;
  await tryTo("set/output", false);
  acting = false;
}

// Knows what may be believed: whether bridge and device are online, nothing is missing, nothing too old.
const reader = new Reader();
const seconds = () => performance.now() / 1000;
const unix = () => Date.now() / 1000;
let shown = "";

/** Show what is known, and act on it if it is to be believed. */
function look() {
  const { why, good } = reader.picture(DEVICE, seconds(), unix());
  const text = why ?? "good";
  if (text !== shown) console.log("psu:", text);
  shown = text;
  guard(good.voltage);
  return good;
}

const SNAPSHOT = `${PSU}/state`; // once a second; and what happened before we came or while the broker was away
const topics = [
  "busbar/bench/bridge/status",
  "busbar/bench/bridge/state",
  `${PSU}/status`,
  `${PSU}/info`,
  SNAPSHOT,
  `${PSU}/event/change`, // every transition at once and in order, where the snapshot skips some
];

client.on("error", (error) => console.error(error.message));
client.on("connect", () => reader.listen(seconds()));
client.on("message", (topic, payload, { retain, properties }) => {
  if (topic === replies) {
    outcomes.emit(`outcome of ${properties?.correlationData}`, JSON.parse(payload));
    return;
  }
  reader.take(topic, payload, retain, seconds(), unix());
  const good = look();
  if (topic === SNAPSHOT) console.log(good);
});
setInterval(look, 1000); // what is not heard of for too long is not to be believed
reader.listen(seconds());
await client.subscribeAsync([replies, ...topics], { qos: 1 }); // by itself again after a reconnect

if (process.argv.length > 2) await tryTo("set/setpoint/voltage", Number(process.argv[2]));
