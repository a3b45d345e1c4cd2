#!/usr/bin/env node
// What the bytes of the module are spent on: `node client-wasm/parts.mjs`, after `cargo xtask wasm`. Functions are counted where
// they are written, but a small one is often a part of the one that calls it.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

/** As the compiler made it, with names, and with descriptions for wasm-bindgen that no page gets. */
const MODULE = path.join(path.dirname(fileURLToPath(import.meta.url)), '../target/wasm/wasm32-unknown-unknown/wasm/pomelo_client_wasm.wasm');

/** By the first of these that a function's name has; the last takes the rest. */
const PARTS = [
  ['what only wasm-bindgen reads', /__wbindgen_describe|8describe/],
  ['protobuf dialect', /15pomelo_protocol8protobuf|ProtosTable/],
  ['memory', /4talc|7___rustc\d/],
  ['connection, handshake, messages, packages', /15pomelo_protocol/],
  ['calls and events of the script, its values', /^connection_|18pomelo_client_wasm/],
  ['bytes, texts, vectors, sorting', /^/],
];

const bytes = readFileSync(process.argv[2] ?? MODULE);
let at = 8;
const number = () => {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at];
    at += 1;
    value += (byte & 127) * 2 ** shift;
    if (byte < 128) return value;
  }
};
const text = () => {
  const length = number();
  at += length;
  return bytes.toString('utf8', at - length, at);
};
const times = (make) => Array.from({ length: number() }, make);
/** Size limits of a memory or table: a flag, the least, and with the flag's lowest bit the most. */
const limits = () => {
  const flag = number();
  number();
  if (flag & 1) number();
};

let imported = 0;
let bodies = [];
const names = new Map();
const SECTIONS = {
  2() {
    times(() => {
      text();
      text();
      const kind = number();
      if (kind === 0) {
        imported += 1;
        number();
      } else if (kind === 3) {
        at += 2;
      } else {
        if (kind === 1) at += 1;
        limits();
      }
    });
  },
  10() {
    bodies = times(() => {
      const length = number();
      at += length;
      return bytes.subarray(at - length, at);
    });
  },
  0(end) {
    if (text() !== 'name') return;
    while (at < end) {
      const kind = number();
      const next = number() + at;
      if (kind === 1) for (const [index, name] of times(() => [number(), text()])) names.set(index, name);
      at = next;
    }
  },
};
while (at < bytes.length) {
  const kind = number();
  const end = number() + at;
  SECTIONS[kind]?.(end);
  at = end;
}

const found = PARTS.map(() => []);
bodies.forEach((body, index) => {
  // Without the crate that a generic function was made for.
  const name = (names.get(index + imported) ?? '').replace(/Cs[0-9A-Za-z]+_\d+[a-z_]+$/, '');
  found[PARTS.findIndex(([, pattern]) => pattern.test(name))].push(body);
});
console.log(`${'bytes of code'.padEnd(46)}${['raw', 'gzip'].map((word) => word.padStart(9)).join('')}`);
PARTS.slice(1).forEach(([part], index) => {
  const code = Buffer.concat(found[index + 1]);
  console.log(`${part.padEnd(46)}${[code.length, gzipSync(code, { level: 9 }).length].map((n) => String(n).padStart(9)).join('')}`);
});
