// Runs one WASI program in Node with the files of this machine: the runner for tests that are compiled to WebAssembly.

import { readFileSync } from 'node:fs';
import process from 'node:process';
import { WASI } from 'node:wasi';

const [program, ...args] = process.argv.slice(2);
const wasi = new WASI({ version: 'preview1', args: [program, ...args], env: process.env, preopens: { '/': '/' } });
const module = new WebAssembly.Module(readFileSync(program));
const imports = wasi.getImportObject();
// What an older wasi-libc lacks is about threads, and there are none.
for (const { module: space, name } of WebAssembly.Module.imports(module)) {
  if (!imports[space]?.[name]) (imports[space] ??= {})[name] = () => { throw new Error(`${space}.${name} is not there`); };
}
const code = wasi.start(new WebAssembly.Instance(module, imports));
process.exit(code);
