#!/usr/bin/env node
'use strict';
// The original browser client, unmodified, on a line protocol: commands as JSON lines on stdin, what the page sees as JSON
// lines on stdout. README.md has the list.

const { builds } = require('./lib/client-build.cjs');
const lines = require('./lib/lines.cjs');
const { Page, Storage } = require('./lib/page.cjs');

/** What the library emits on its own account; every other event is a push. */
const LIFECYCLE = new Set(['onKick', 'close', 'disconnect', 'error', 'io-error', 'heartbeat timeout', 'reconnect']);

const HANDSHAKE = 1;

/** The script that drives us is wrong; the page is not to blame. */
class BadCommand extends Error {}

/** One user in front of one page. `name` is the `client` member of its commands and events. */
class User {
  constructor(name) {
    this.name = name;
    this.build = 'npm';
    this.storage = new Storage();
    this.page = null;
  }

  emit(event) {
    lines.write(this.name === undefined ? event : { ...event, client: this.name });
  }

  /** A page is loaded when it is first needed; `reload` throws it away and keeps the storage. */
  open() {
    if (this.page) return;
    this.requests = 0;
    this.handshake = null;
    this.user = undefined;
    // A page that was thrown away may still get its socket's last events; nobody looks at it any more.
    const page = new Page(this.build, this.storage, {
      throws: (error) => this.page === page && this.#throws(error),
      sent: (bytes) => this.page === page && this.trace && this.emit({ ev: 'sent', hex: bytes.toString('hex') }),
      received: (bytes) => {
        if (this.page !== page) return;
        if (bytes[0] === HANDSHAKE) this.handshake = parsed(bytes.subarray(4));
        if (this.trace) this.emit({ ev: 'received', hex: bytes.toString('hex') });
      },
    });
    this.page = page;
    const { pomelo } = page;
    const emit = pomelo.emit;
    // The library's own emit still runs afterwards, for the listeners it keeps.
    pomelo.emit = (name, ...args) => {
      if (this.page === page) this.#event(name, args[0]);
      return emit.call(pomelo, name, ...args);
    };
  }

  #event(name, arg) {
    if (!LIFECYCLE.has(name)) this.emit({ ev: 'push', route: name ?? null, msg: arg });
    else if (name === 'close' || name === 'disconnect') this.emit({ ev: name, code: arg?.code, reason: arg?.reason });
    else if (name === 'io-error') this.emit({ ev: name, detail: arg?.message });
    else this.emit({ ev: name, msg: arg });
  }

  #throws(error) {
    this.emit({ ev: 'throws', error: error.name, detail: error.message });
  }

  run({ cmd, client, ...rest }) {
    try {
      if (cmd === 'reload') {
        this.#leave();
        return;
      }
      this.#command(cmd, rest);
    } catch (error) {
      if (error instanceof BadCommand) throw error;
      this.#throws(error);
    }
  }

  #leave() {
    const left = this.page;
    this.page = null;
    left?.pomelo.disconnect();
  }

  #command(cmd, rest) {
    if (cmd === 'init') {
      const { build, trace, ...params } = rest;
      if (build && build !== this.build) {
        if (!Object.hasOwn(builds, build)) throw new BadCommand(`build is one of ${Object.keys(builds).join(', ')}`);
        this.#leave();
        this.build = build;
      }
      if (trace !== undefined) this.trace = trace;
      this.open();
      this.page.pomelo.init({ ...params, handshakeCallback: (user) => (this.user = user) }, () => this.#ready());
      return;
    }
    this.open();
    const { pomelo } = this.page;
    switch (cmd) {
      case 'request': {
        const n = ++this.requests;
        pomelo.request(rest.route, rest.msg, (msg) => this.emit({ ev: 'answer', n, msg }));
        break;
      }
      case 'notify':
        pomelo.notify(rest.route, rest.msg);
        break;
      case 'disconnect':
        pomelo.disconnect();
        break;
      default:
        throw new BadCommand(`unknown cmd ${JSON.stringify(cmd)}`);
    }
  }

  /** After the handshake: what the server sent, and whether the page really holds a dictionary and schemas now. */
  #ready() {
    const sys = this.handshake?.sys ?? {};
    const { protobuf } = this.page.context;
    this.emit({
      ev: 'init',
      dict: Object.keys(sys.dict ?? {}).length > 0,
      protos: Object.keys({ ...protobuf.encoder.protos, ...protobuf.decoder.protos }).length > 0,
      user: this.user,
      handshake: this.handshake,
    });
  }
}

function parsed(bytes) {
  try {
    return JSON.parse(bytes);
  } catch {
    return null;
  }
}

const users = new Map();

lines.read((command) => {
  if (command.cmd === 'exit') {
    lines.exit(0);
    return;
  }
  if (!users.has(command.client)) users.set(command.client, new User(command.client));
  try {
    users.get(command.client).run(command);
  } catch (error) {
    lines.bad(error.message);
  }
}, () => lines.exit(0));

// A timer of the library: a browser reports the exception and goes on.
process.on('uncaughtException', (error) => lines.write({ ev: 'throws', error: error.name, detail: error.message }));
