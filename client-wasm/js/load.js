// The glue that wasm-bindgen makes; pack.mjs says where it is.
import * as core from 'pomelo-core';
import * as value from 'pomelo-value';

/** Answers the core's connection class once the module at `url` runs. */
export async function load(url) {
  const imports = { './pomelo_bg.js': core, 'pomelo-value': value };
  const { instance } = await instantiate(await fetch(url), imports);
  core.__wbg_set_wasm(instance.exports);
  instance.exports.__wbindgen_start();
  return core.Connection;
}

async function instantiate(response, imports) {
  if (!response.ok) throw new Error(`${response.url}: ${response.status}`);
  // Old servers do not know the type `application/wasm`, without which there is no streaming.
  return response.headers.get('content-type') === 'application/wasm'
    ? WebAssembly.instantiateStreaming(response, imports)
    : WebAssembly.instantiate(await response.arrayBuffer(), imports);
}
