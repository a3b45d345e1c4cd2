#!/usr/bin/env node
// Puts the page and the original client together: `node old-page/build.mjs [npm | bundled] [DIR]`, by default the bundled
// build into old-page/dist. Serve that directory.

import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const { builds } = createRequire(import.meta.url)('../lib/client-build.cjs');
const here = path.dirname(fileURLToPath(import.meta.url));
const [build = 'bundled', target = path.join(here, 'dist')] = process.argv.slice(2);
if (!Object.hasOwn(builds, build)) {
  console.error(`usage: build.mjs [${Object.keys(builds).join(' | ')}] [DIR]`);
  process.exit(2);
}
mkdirSync(path.join(target, 'js'), { recursive: true });
cpSync(path.join(here, 'index.html'), path.join(target, 'index.html'));
cpSync(path.join(here, 'chat.js'), path.join(target, 'js', 'chat.js'));
writeFileSync(path.join(target, 'js', 'build.js'), builds[build]());
console.log(target);
