// The API of pomelo's browser client over the protocol core. What is here is what only a page has: the WebSocket, the
// timer, localStorage and the callbacks. The order of calls is that of pomelo-jsclient-websocket 0.1.1.

import { Emitter, call } from './emitter.js';
import { signer } from './sign.js';

// What the core tells (src/event.rs).
const READY = 0;
const RESPONSE = 1;
const PUSH = 2;
const KICKED = 3;
const DROPPED = 4;
const CLOSED = 5;
const RAW = 6;
const BAD_BODY = 7;
const FRAME = 8;
const PACKED = 9;
// What it is given, and what it does (src/lib.rs).
const MESSAGE = 0;
const TIME = 1;
const END = 2;
const CLOSE = 3;
const SEND = 4;
const DECODE = 5;
const INFLATED = 6;
const DAMAGED = 7;
const REQUEST = 0;
const NOTIFY = 1;
const EXPECT = 2;
const FORGET = 3;
const ENCODE = 4;
const NOTHING = new Uint8Array();

const OLD_CLIENT = 501;
/** Calls that wait for the module, the socket and the handshake: as many as the core lets wait for responses. */
const MAX_WAITING = 1024;
const FIRST_DELAY = 5000;
const MAX_ATTEMPTS = 10;
/** How long a server may take to close its side: over a dead network Chromium would wait for a minute. */
const MAX_CLOSING = 2000;
const MAX_INFLATED = 0xffffff;
/** The name the original stores schemas under, so that what it stored is still good. */
const STORED = 'protos';

const now = () => performance.now();
const give = (core, what, bytes = NOTHING) => core.give(what, now(), bytes);

/** The core's answer, unless it is a text: that tells what is wrong. */
function done(answer) {
  if (typeof answer === 'string') throw answer;
  return answer;
}

export class PomeloError extends Error {
  constructor(type, message, details) {
    super(message);
    this.name = 'PomeloError';
    this.type = type;
    Object.assign(this, details);
  }
}

function stored() {
  try {
    return JSON.parse(localStorage.getItem(STORED)) ?? undefined;
  } catch {
    // No storage, or not ours.
    return undefined;
  }
}

function store(protos) {
  try {
    if (protos && localStorage.getItem(STORED) !== protos) localStorage.setItem(STORED, protos);
  } catch {
    // Full or forbidden: the next visit asks the server again.
  }
}

function address({ host, port, ssl }) {
  const secure = ssl ?? globalThis.location?.protocol === 'https:';
  const base = /^wss?:\/\//.test(host) ? host : `${secure ? 'wss' : 'ws'}://${host}`;
  return port ? `${base}:${port}` : base;
}

/** What pitaya compresses, zlib or gzip. No more than a package may hold otherwise. */
async function inflate(bytes) {
  const format = bytes[0] === 0x1f ? 'gzip' : 'deflate';
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream(format)).getReader();
  const chunks = [];
  let size = 0;
  for (;;) {
    const { done: over, value } = await reader.read();
    if (over) return new Uint8Array(await new Blob(chunks).arrayBuffer());
    size += value.length;
    if (size > MAX_INFLATED) {
      reader.cancel();
      throw new Error('too large');
    }
    chunks.push(value);
  }
}

/** One WebSocket, with the core from the time it is open until its end. */
class Session {
  constructor(client, url, params) {
    this.client = client;
    this.params = params;
    this.core = null;
    this.ready = false;
    this.open = true;
    this.gone = false;
    this.final = false;
    this.pumping = false;
    this.timer = undefined;
    this.inflating = undefined;
    this.callbacks = new Map();
    const socket = new WebSocket(url);
    this.socket = socket;
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => client.opened(this);
    socket.onmessage = ({ data }) => {
      const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : new Uint8Array(data);
      this.step((core) => give(core, MESSAGE, bytes));
    };
    socket.onerror = (event) => client.emit('io-error', event);
    socket.onclose = (event) => this.closed(event);
  }

  closed(event) {
    if (this.inflating) {
      // What came before the end is told before it.
      this.inflating.then(() => this.closed(event));
      return;
    }
    // Of the browser's event and that of a dead network the first counts.
    if (this.gone) return;
    this.gone = true;
    this.step((core) => give(core, END));
    this.end('closed by the server');
    clearTimeout(this.timer);
    this.client.closed(this, event);
  }

  /** Gives the core something and does what follows from it. */
  step(act) {
    if (!this.core) return;
    act(this.core);
    // A callback below may come back here: the loop that runs already takes what it causes.
    if (this.pumping) return;
    this.pumping = true;
    let event;
    while (Array.isArray(event = this.core?.poll())) {
      if (event[0] === PACKED) this.inflating = this.unpack(event[1]);
      else if (event[0] !== FRAME) this.client.told(this, event);
      else if (this.socket.readyState === 1) this.socket.send(event[1]);
    }
    this.pumping = false;
    if (!this.core) return;
    clearTimeout(this.timer);
    if (event !== undefined) {
      this.timer = setTimeout(() => this.step((core) => give(core, TIME)), Math.max(0, event - now()));
    }
  }

  /** The core tells nothing else until it has what was packed. */
  async unpack(bytes) {
    const plain = await inflate(bytes).catch(() => {});
    this.inflating = undefined;
    this.step((core) => give(core, plain ? INFLATED : DAMAGED, plain));
  }

  /** `resolve` gets the answer, `reject` why there will be none. */
  request(route, msg, resolve, reject) {
    const { encode } = this.params;
    let id;
    this.step((core) => {
      id = done(core.call(encode ? EXPECT : REQUEST, 0, route, msg));
      this.callbacks.set(id, { resolve, reject });
      if (encode) this.hooked(id, route, msg);
    });
  }

  notify(route, msg) {
    this.step((core) => (this.params.encode ? this.hooked(0, route, msg) : done(core.call(NOTIFY, 0, route, msg))));
  }

  hooked(id, route, msg) {
    try {
      done(give(this.core, SEND, new Uint8Array(this.params.encode.call(this.client, id, route, msg))));
    } catch (error) {
      this.core?.call(FORGET, id);
      this.callbacks.delete(id);
      throw error;
    }
  }

  answer(id, body) {
    const callback = this.callbacks.get(id);
    this.callbacks.delete(id);
    if (callback) call(callback.resolve, undefined, [body]);
  }

  /** Nothing is sent or answered any more; the socket is closed if it is not yet. */
  end(why) {
    if (!this.open) return;
    this.open = false;
    this.core = null;
    clearTimeout(this.timer);
    const left = [...this.callbacks.values()];
    this.callbacks.clear();
    if (this.socket.readyState < 2) this.socket.close();
    this.timer = setTimeout(() => this.closed(new CloseEvent('close', { code: 1006, reason: why })), MAX_CLOSING);
    for (const { reject } of left) reject(new PomeloError('closed', why));
  }
}

export class Pomelo extends Emitter {
  #load;
  /** One for all WebSockets: it knows the dictionary and the schemas from the earlier ones. */
  #core;
  #session = null;
  #waiting = [];
  #sign = null;
  #callback;
  #promise;
  #retry = { timer: undefined, delay: FIRST_DELAY, attempts: 0, active: false };

  /** `load` answers a promise of the core's connection class. */
  constructor(load) {
    super();
    // The original's functions needed no `this`, and pages pass them around.
    for (const name of ['init', 'request', 'notify', 'disconnect', 'encode', 'decode']) this[name] = this[name].bind(this);
    this.#load = load();
    // Who calls `init` hears of a failure.
    this.#load.catch(() => {});
  }

  init(params, cb) {
    this.#callback = cb;
    clearTimeout(this.#retry.timer);
    this.#retry = { timer: undefined, delay: FIRST_DELAY, attempts: 0, active: false };
    this.#waiting = [];
    this.#sign = params.encrypt ? signer() : null;
    this.#promise?.reject(new PomeloError('closed', 'init was called again'));
    const promise = new Promise((resolve, reject) => { this.#promise = { resolve, reject }; });
    // Who uses callbacks does not look at it.
    promise.catch(() => {});
    const old = this.#session;
    this.#session = null;
    if (old) old.end('init was called again');
    this.#connect(params);
    return promise;
  }

  #connect(params) {
    const url = address(params);
    if (params.log) console.log(`connect to ${url}`);
    try {
      this.#session = new Session(this, url, params);
    } catch (error) {
      // An address that is none.
      this.#failed('io-error', new PomeloError('address', error.message));
    }
  }

  /** For the session: its WebSocket is open. */
  opened(session) {
    if (this.#retry.active) this.emit('reconnect');
    this.#retry = { timer: undefined, delay: FIRST_DELAY, attempts: 0, active: false };
    const { params } = session;
    Promise.all([this.#load, this.#sign?.key]).then(([Connection, rsa]) => {
      if (!session.open) return;
      const sys = { type: 'js-websocket', version: '0.0.1', rsa: rsa ?? {} };
      const raw = typeof params.decode === 'function';
      session.core = this.#core ??= new Connection(stored());
      session.core.open(now(), sys, params.user, raw);
      session.step(() => {});
    }).catch((error) => {
      session.final = true;
      this.#failed('io-error', new PomeloError('load', error.message, { cause: error }));
      session.end(error.message);
    });
  }

  /** For the session: its WebSocket is closed. */
  closed(session, event) {
    const { params } = session;
    this.emit('close', event);
    this.emit('disconnect', event);
    if (params.log) console.log('socket close', event);
    if (session !== this.#session) return;
    this.#session = null;
    this.#promise.reject(new PomeloError('closed', 'connection is closed'));
    const retry = this.#retry;
    if (params.reconnect && !session.final && retry.attempts < (params.maxReconnectAttempts || MAX_ATTEMPTS)) {
      retry.active = true;
      retry.attempts += 1;
      retry.timer = setTimeout(() => this.#connect(params), retry.delay);
      retry.delay *= 2;
    } else {
      this.#drop(new PomeloError('closed', 'connection is closed'));
    }
  }

  /** For the session: the core says what happened. */
  told(session, [kind, ...event]) {
    if (!session.open) return;
    const { params } = session;
    switch (kind) {
      case READY: {
        const [user] = event;
        session.ready = true;
        store(session.core.protos());
        if (typeof params.handshakeCallback === 'function') call(params.handshakeCallback, undefined, [user]);
        if (!session.open) return;
        if (typeof this.#callback === 'function') call(this.#callback, undefined, [session.socket]);
        this.#promise.resolve(user);
        const waiting = this.#waiting;
        this.#waiting = [];
        for (const { run } of waiting) run();
        break;
      }
      case RESPONSE:
        session.answer(event[0], event[2]);
        break;
      case PUSH:
        this.emit(event[1], event[2]);
        break;
      case RAW: {
        const msg = call(params.decode, this, [event[0]]);
        if (!msg) break;
        if (msg.id) {
          session.core?.call(FORGET, msg.id);
          session.answer(msg.id, msg.body);
        } else {
          this.emit(msg.route, msg.body);
        }
        break;
      }
      case KICKED:
        this.emit('onKick', { reason: event[0] });
        break;
      case BAD_BODY: {
        const [id, route, message] = event;
        const error = new PomeloError('body', message, { route });
        const callback = session.callbacks.get(id);
        session.callbacks.delete(id);
        callback?.reject(error);
        this.emit('error', error);
        break;
      }
      case DROPPED:
        this.emit('error', new PomeloError('message', event[0], { detail: event[1] }));
        break;
      case CLOSED: {
        const [reason, detail] = event;
        if (reason === 'heartbeat timeout') {
          this.emit(reason);
        } else if (reason === 'handshake refused') {
          session.final = true;
          this.#failed('error', detail === OLD_CLIENT ? 'client version not fullfill' : 'handshake fail');
        } else if (reason === 'kicked') {
          session.final = true;
        } else if (!reason.startsWith('closed by')) {
          this.#failed('error', new PomeloError('connection', reason, { detail }));
        }
        session.end(reason);
        break;
      }
    }
  }

  disconnect() {
    const session = this.#session;
    clearTimeout(this.#retry.timer);
    this.#retry.active = false;
    this.#drop(new PomeloError('closed', 'closed by this side'));
    if (!session) return;
    session.final = true;
    session.step((core) => give(core, CLOSE));
    session.end('closed by this side');
  }

  request(...args) {
    let [route, msg, cb] = args;
    if (args.length === 2 && typeof msg === 'function') [msg, cb] = [{}, msg];
    msg ||= {};
    route ||= msg.route;
    if (!route) return undefined;
    const promise = new Promise((resolve, reject) => {
      this.#run(route, msg, reject, (session, body) => session.request(route, body, typeof cb === 'function' ? (answer) => {
        resolve(answer);
        cb(answer);
      } : resolve, reject));
    });
    // A page that does not look at the promise learns of trouble from the event.
    promise.catch(() => {});
    return promise;
  }

  notify(route, msg) {
    this.#run(route, msg || {}, () => {}, (session, body) => session.notify(route, body));
  }

  /** Sends now or once the handshake is done. */
  #run(route, msg, reject, send) {
    const run = () => {
      const session = this.#session;
      const fail = (error) => {
        const problem = error instanceof Error ? error : new PomeloError('request', String(error), { route });
        reject(problem);
        this.emit('error', problem);
      };
      const attempt = (body) => {
        try {
          send(session, body);
        } catch (error) {
          fail(error);
        }
      };
      if (this.#sign) {
        this.#sign.sign(msg, (body) => {
          if (session.open) attempt(body);
          else reject(new PomeloError('closed', 'connection is closed'));
        }, fail);
      } else {
        attempt(msg);
      }
    };
    if (this.#session?.ready && this.#session.open) {
      run();
    } else if (!this.#session && !this.#retry.active) {
      reject(new PomeloError('closed', 'not connected'));
    } else if (this.#waiting.length < MAX_WAITING) {
      this.#waiting.push({ run, reject });
    } else {
      const error = new PomeloError('request', 'too many calls before the handshake', { route });
      reject(error);
      this.emit('error', error);
    }
  }

  #drop(error) {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { reject } of waiting) reject(error);
    this.#promise?.reject(error);
  }

  #failed(event, error) {
    this.emit(event, error);
    this.#promise?.reject(typeof error === 'string' ? new PomeloError('handshake', error) : error);
  }

  /** The message of a request, or with the id 0 of a notify, as the client writes it by itself; for `params.encode`. */
  encode(id, route, msg) {
    return done(this.#session.core.call(ENCODE, id, route, msg));
  }

  /** What the client by itself reads in a message; for `params.decode`. */
  decode(bytes) {
    const event = give(this.#session.core, DECODE, new Uint8Array(bytes));
    if (!event) return undefined;
    const [kind, id, route, body] = event;
    if (kind === RESPONSE || kind === PUSH) return { id: id ?? 0, route, body };
    this.told(this.#session, event);
    return undefined;
  }
}
