// What a reader of Busbar may believe: docs/contract.md, "A reader in ten lines". No MQTT, no clock: `now` is s of a
// clock that is never set, `unix` the time of day (s). Works with any client, in a browser too.

const CONTRACT = 1;
const LIMIT = 150; // s without a sign of life; a snapshot comes every 60 s
const TOLERANCE = 5; // s that two clocks may differ
const STEADY = 1; // s; what waited in a queue comes faster than it happened

export class Reader {
  #root;
  #bridges = new Map();
  #devices = new Map();
  #since = 0;

  constructor(root = "busbar") {
    this.#root = root;
  }

  /** Hear everybody from now on: connected, and subscribed to status, info, state and event/change. */
  listen(now) {
    this.#since = now;
  }

  /** Take a message; `kept`: it has the retain flag. What cannot be read changes nothing. */
  take(topic, payload, kept, now, unix) {
    if (!topic.startsWith(`${this.#root}/`)) return;
    const [bridge, name, ...channel] = topic.slice(this.#root.length + 1).split("/");
    const device = this.#device(`${bridge}/${name}`);
    const take = this[`take ${channel.join("/")}`];
    if (!take) return;
    if (payload.length === 0) return this.#remove(device, channel[0]);
    let message;
    try {
      message = JSON.parse(payload);
    } catch {
      return;
    }
    if (typeof message?.boot === "string" || typeof message?.contract === "number") {
      const head = { boot: message.boot, seq: message.seq, time: message.time };
      if (channel[0] === "state" || channel[0] === "event") this.#hear(device, head, kept, now, now - unix);
      take.call(this, device, message);
    }
  }

  /** Return `why` nothing of a device is to be believed (null: it is) but what is in `good`: values by path. */
  picture(name, now, unix) {
    const device = this.#device(name);
    const why = this.#why(device, now, unix);
    const good = {};
    for (const [path, value] of Object.entries(device.values)) {
      const since = why === "gap" && device.boot === device.status?.boot && path in device.changed;
      if ((why === null || since) && !(path in device.bad)) good[path] = value;
    }
    return { why, good };
  }

  "take status"(device, message) {
    device.status = message;
  }

  "take info"(device, message) {
    device.contract = message.contract;
  }

  "take state"(device, { boot, seq, values, bad }) {
    if (boot !== device.boot) {
      if (device.boot && device.boot === device.status?.boot) return; // of a process that is gone
      startOver(device, boot);
    } else if (device.missing ? seq < device.needed : seq <= device.seq) return; // it says nothing new
    for (const [path, at] of Object.entries(device.changed)) if (at <= seq) delete device.changed[path];
    device.values = { ...values, ...only(device.values, device.changed) };
    device.bad = { ...without(bad, device.changed), ...only(device.bad, device.changed) };
    Object.assign(device, { seq: Math.max(seq, device.seq), missing: false, changed: {} });
  }

  "take event/change"(device, { boot, seq, changes }) {
    if (boot !== device.boot) startOver(device, boot);
    else if (seq <= device.seq) return; // it came already
    if (device.seq === null || seq > device.seq + 1) Object.assign(device, { missing: true, needed: seq - 1, changed: {} });
    device.seq = seq;
    for (const { path, value, bad, gone } of changes) {
      if (value !== undefined) device.values[path] = value;
      if (bad) device.bad[path] = bad;
      else if (bad === null || value !== undefined) delete device.bad[path];
      if (gone) for (const known of [device.values, device.bad]) delete known[path];
      if (device.missing) device.changed[path] = seq;
    }
  }

  #remove(device, channel) {
    if (channel !== "status") return; // the others go with it
    delete device.status;
    startOver(device);
  }

  /** Find signs of life: not kept, newer than all before of this device and boot, and in step with a clock. */
  #hear(device, head, kept, now, clocks) {
    const before = device.head;
    if (head.boot !== before?.boot) {
      Object.assign(device, { head, heard: -Infinity });
      if (device.name.endsWith("/bridge")) Object.assign(device.bridge, { heard: -Infinity, difference: undefined });
    } else if (head.seq <= before.seq && head.time <= before.time) {
      if (head.seq === before.seq) before.time = head.time; // the clock was set back, or it is an old message
    } else {
      if (!kept && this.#confirms(device.bridge, now - head.time, now, clocks)) device.heard = device.bridge.heard = now;
      device.head = head;
    }
  }

  /** Return whether a message agrees with the clock as we know it, or with another one STEADY s ago. */
  #confirms(bridge, difference, now, clocks) {
    const agrees = (other) => Math.abs(difference - other) <= TOLERANCE;
    if (!agrees(bridge.difference ?? clocks)) {
      if (!agrees(bridge.claimed)) {
        Object.assign(bridge, { claimed: difference, claimedAt: now });
        return false;
      }
      if (now - bridge.claimedAt < STEADY) return false;
    }
    bridge.difference = difference;
    return true;
  }

  #why(device, now, unix) {
    const bridge = this.#device(device.name.replace(/\/.*/, "/bridge"));
    const { status, boot, contract } = device;
    if (!bridge.status) return "unknown";
    if (bridge.status.state !== "online") return "offline";
    const old = this.#old(bridge, device.bridge.heard, now, unix);
    if (old) return old;
    if (!status) return "unknown";
    if (status.state !== "online") return status.reason?.code ?? "offline";
    if (status.boot !== boot) return boot ? "gap" : "unknown";
    const late = this.#old(device, device.heard, now, unix);
    if (late) return late;
    if (contract !== undefined && contract !== CONTRACT) return "contract";
    return device.missing ? "gap" : null;
  }

  /** Return why what was last heard of somebody is too old, null if it is not. */
  #old({ head, bridge }, heard, now, unix) {
    if (now - heard <= LIMIT) return null;
    const measured = bridge.difference !== undefined;
    const age = (measured ? now - bridge.difference : unix) - head?.time; // NaN: nothing has come
    if (age >= -TOLERANCE && age <= LIMIT + (measured ? 0 : TOLERANCE)) return null;
    return now - this.#since > LIMIT ? "offline" : "unconfirmed";
  }

  #device(name) {
    const bridge = name.replace(/\/.*/, "");
    if (!this.#bridges.has(bridge)) this.#bridges.set(bridge, { heard: -Infinity });
    if (!this.#devices.has(name)) {
      const device = { name, bridge: this.#bridges.get(bridge), heard: -Infinity };
      startOver(device);
      this.#devices.set(name, device);
    }
    return this.#devices.get(name);
  }
}

/** Begin with a process of the bridge of which nothing is known. */
function startOver(device, boot) {
  // `changed`: since messages are missing, path -> seq; `needed`: the seq of a snapshot that covers what is missing
  Object.assign(device, { boot, seq: null, values: device.boot && boot ? device.values : {}, bad: {}, missing: false, changed: {}, needed: 0 });
}

function only(values, paths) {
  return Object.fromEntries(Object.entries(values).filter(([path]) => path in paths));
}

function without(values, paths) {
  return Object.fromEntries(Object.entries(values).filter(([path]) => !(path in paths)));
}
