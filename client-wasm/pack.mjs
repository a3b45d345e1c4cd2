// The npm package out of the core, its glue and the scripts: `node pack.mjs CORE_DIR OUT_DIR VERSION`. Prints its sizes.

import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const here = path.dirname(fileURLToPath(import.meta.url));
const [core, out, version] = process.argv.slice(2);
if (!version) {
  console.error('usage: pack.mjs CORE_DIR OUT_DIR VERSION');
  process.exit(2);
}
mkdirSync(out, { recursive: true });
for (const [entry, outfile, format] of [['classic.js', 'pomelo.js', 'iife'], ['module.js', 'pomelo.mjs', 'esm']]) {
  await build({
    entryPoints: [path.join(here, 'js', entry)],
    outfile: path.join(out, outfile),
    format,
    alias: { 'pomelo-core': path.join(core, 'pomelo_bg.js'), 'pomelo-value': path.join(here, 'js/value.js') },
    bundle: true,
    minify: true,
    // Private members and static blocks: any browser since 2021.
    target: 'es2022',
    logLevel: 'warning',
  });
}
const optimizer = optimize(path.join(core, 'pomelo_bg.wasm'), path.join(out, 'pomelo.wasm'));
for (const name of ['README.md', 'index.d.ts']) copyFileSync(path.join(here, 'npm', name), path.join(out, name));
const manifest = JSON.parse(readFileSync(path.join(here, 'npm/package.json'), 'utf8'));
writeFileSync(path.join(out, 'package.json'), `${JSON.stringify({ ...manifest, version }, null, 2)}\n`);

const sizes = ['pomelo.wasm', 'pomelo.js', 'pomelo.mjs'].map((name) => {
  const bytes = readFileSync(path.join(out, name));
  return { name, raw: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length, brotli: brotliCompressSync(bytes).length };
});
const [wasm, classic, module] = sizes;
const sum = (name, script) => ({
  name, raw: wasm.raw + script.raw, gzip: wasm.gzip + script.gzip, brotli: wasm.brotli + script.brotli,
});
console.log(`module: ${optimizer}`);
console.log(`${'bytes'.padEnd(22)}${['raw', 'gzip', 'brotli'].map((word) => word.padStart(9)).join('')}`);
for (const size of [...sizes, sum('page with the script', classic), sum('page with the module', module)]) {
  console.log(`${size.name.padEnd(22)}${[size.raw, size.gzip, size.brotli].map((n) => String(n).padStart(9)).join('')}`);
}

/** Two per cent less, where Binaryen is installed; says what was done. */
function optimize(from, to) {
  const { stdout, error } = spawnSync('wasm-opt', ['--version'], { encoding: 'utf8' });
  const version = Number(/version (\d+)/.exec(stdout)?.[1]);
  // Debian 12's 108 breaks modules with references in tables.
  const usable = !error && version >= 120;
  if (usable && spawnSync('wasm-opt', ['-Oz', '--strip-target-features', from, '-o', to], { stdio: 'inherit' }).status === 0) {
    return `as wasm-opt ${version} makes it smaller`;
  }
  copyFileSync(from, to);
  return usable ? 'wasm-opt failed, so as the compiler made it' : 'as the compiler made it, without a wasm-opt of version 120 or later';
}
