#!/usr/bin/env node
// Puts the page and a client together: `node old-page/build.mjs [npm | bundled | wasm] [DIR]`, by default the bundled build of
// the original into old-page/dist; `wasm` is ours, as `cargo xtask wasm` makes it. Serve that directory.

import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const { builds } = createRequire(import.meta.url)('../lib/client-build.cjs');
const here = path.dirname(fileURLToPath(import.meta.url));
const [build = 'bundled', target = path.join(here, 'dist')] = process.argv.slice(2);
if (build !== 'wasm' && !Object.hasOwn(builds, build)) {
  console.error(`usage: build.mjs [${Object.keys(builds).join(' | ')} | wasm] [DIR]`);
  process.exit(2);
}
mkdirSync(path.join(target, 'js'), { recursive: true });
cpSync(path.join(here, 'index.html'), path.join(target, 'index.html'));
cpSync(path.join(here, 'chat.js'), path.join(target, 'js', 'chat.js'));
if (build === 'wasm') {
  const made = path.join(here, '../../target/npm/pomelo-client-wasm');
  cpSync(path.join(made, 'pomelo.js'), path.join(target, 'js', 'build.js'));
  cpSync(path.join(made, 'pomelo.wasm'), path.join(target, 'js', 'pomelo.wasm'));
} else {
  writeFileSync(path.join(target, 'js', 'build.js'), builds[build]());
}
console.log(target);
