// Give the messages of each vector to the reader of examples/node; print what it got wrong as JSON.
import { readFileSync } from "node:fs";

const [module, file] = process.argv.slice(2);
const { Reader } = await import(module);
const { clock, vectors } = JSON.parse(readFileSync(file));
const wrong = [];
let pictures = 0;

/** JSON with sorted keys: what is the same is written alike. */
function canonical(value) {
  const sorted = (_, each) =>
    each && typeof each === "object" && !Array.isArray(each) ? Object.fromEntries(Object.entries(each).sort()) : each;
  return JSON.stringify(value, sorted);
}

for (const { name, steps } of vectors) {
  const reader = new Reader();
  reader.listen(0);
  for (const { at, topic, payload, retain, expect } of steps) {
    if (topic) reader.take(topic, typeof payload === "string" ? payload : JSON.stringify(payload), retain, at, clock + at);
    for (const [device, expected] of Object.entries(expect ?? {})) {
      const found = reader.picture(device, at, clock + at);
      pictures += 1;
      if (canonical(found) !== canonical(expected)) wrong.push({ name, at, expected, found });
    }
  }
}
console.log(JSON.stringify({ pictures, wrong }));
