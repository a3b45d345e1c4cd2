// The classic script: `window.pomelo`, as with the original. Calls made before the module is there wait for it.

import { Pomelo } from './client.js';
import { load } from './load.js';

// The module lies beside the script, unless the page says otherwise: <script src="…/pomelo.js" data-wasm="…">.
const script = document.currentScript;
const url = new URL(script?.dataset.wasm ?? 'pomelo.wasm', script?.dataset.wasm ? document.baseURI : script?.src ?? document.baseURI);

window.pomelo = new Pomelo(() => load(url));

// Pages with a build of the original start it with `require('boot')`, a function that came with the build.
window.require ??= () => window.pomelo;
