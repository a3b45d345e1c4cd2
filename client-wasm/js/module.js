// The ES module: `import pomelo from 'pomelo-client-wasm'`, or a `Pomelo` for each of several connections.

import { Pomelo as Client, PomeloError } from './client.js';
import { load } from './load.js';

let core;
const loaded = () => (core ??= load(new URL('./pomelo.wasm', import.meta.url)));

export class Pomelo extends Client {
  constructor() {
    super(loaded);
  }
}

export { PomeloError };
export const pomelo = new Pomelo();
export default pomelo;
