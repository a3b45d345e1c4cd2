'use strict';
// A browser page in Node: loads the unmodified files of an original client build into a global object of its own, with
// `window`, `WebSocket`, `localStorage` and `console` of our making. Every page has its own copy of the library, so several
// users fit in one process.

const vm = require('node:vm');
const { Key } = require('node-bignumber');
const { WebSocket } = require('ws');
const { builds } = require('./client-build.cjs');
const { quietConsole } = require('./lines.cjs');

class Page {
  /**
   * @param {'npm' | 'bundled'} build
   * @param {Storage} localStorage outlives the page, as in a browser
   * @param {{throws(error): void, sent(bytes: Buffer): void, received(bytes: Buffer): void}} watch what a script on the
   *   page cannot see
   */
  constructor(build, localStorage, watch) {
    this.context = vm.createContext({
      localStorage, WebSocket: socketClass(watch), console: quietConsole, setTimeout, clearTimeout,
    });
    this.#run('var window = this;');
    // The signing object that pages with `encrypt` had from a script of their own.
    this.context.rsa = new Key();
    this.#run(builds[build]());
    this.#run("require('boot');");
  }

  #run(source) {
    vm.runInContext(source, this.context, { filename: 'page' });
  }

  get pomelo() {
    return this.context.pomelo;
  }
}

/** What the library uses of a browser's WebSocket. An exception in a handler is reported and the socket lives on. */
function socketClass(watch) {
  return class BrowserWebSocket {
    constructor(url) {
      this.ws = new WebSocket(url);
      const guard = (name, event) => {
        try {
          this[name]?.(event);
        } catch (error) {
          watch.throws(error);
        }
      };
      this.ws.binaryType = 'arraybuffer';
      this.ws.onopen = () => guard('onopen', { type: 'open' });
      this.ws.onmessage = ({ data }) => {
        if (data instanceof ArrayBuffer) watch.received(Buffer.from(data));
        guard('onmessage', { type: 'message', data });
      };
      this.ws.onerror = ({ message }) => guard('onerror', { type: 'error', message });
      this.ws.onclose = ({ code, reason, wasClean }) => guard('onclose', { type: 'close', code, reason, wasClean });
    }

    get readyState() {
      return this.ws.readyState;
    }

    send(data) {
      const bytes = Buffer.from(data);
      this.ws.send(bytes);
      watch.sent(bytes);
    }

    close() {
      this.ws.close();
    }
  };
}

/** `localStorage` that lives as long as the process. */
class Storage {
  #items = new Map();

  getItem(key) {
    return this.#items.get(key) ?? null;
  }

  setItem(key, value) {
    this.#items.set(key, String(value));
  }
}

module.exports = { Page, Storage };
