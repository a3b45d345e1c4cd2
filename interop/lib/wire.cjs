'use strict';
// The few bytes of the wire that the scripts in this folder need themselves: written out by hand, so that a peer is
// probed and checked without any pomelo library between.

const net = require('node:net');

const HANDSHAKE = 1;
const ACK = 2;
const HEARTBEAT = 3;
const DATA = 4;
const KICK = 5;

function pack(type, body = '') {
  const bytes = Buffer.from(body);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(bytes.length);
  head[0] = type;
  return Buffer.concat([head, bytes]);
}

/** A request (or, with id 0, a notify). `route` is text or a dictionary code, `body` bytes or a JSON value; ids below 128. */
function message(id, route, body) {
  const coded = typeof route === 'number';
  const head = [((id ? 0 : 1) << 1) | (coded ? 1 : 0)];
  if (id) head.push(id);
  const name = coded ? Buffer.from([route >> 8, route & 255]) : Buffer.concat([Buffer.of(Buffer.byteLength(route)), Buffer.from(route)]);
  return Buffer.concat([Buffer.from(head), name, Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body))]);
}

/** The packages of a stream that are complete, and what is left over. */
function unpack(bytes) {
  const packages = [];
  while (bytes.length >= 4 && bytes.length >= 4 + bytes.readUIntBE(1, 3)) {
    const end = 4 + bytes.readUIntBE(1, 3);
    packages.push({ type: bytes[0], body: bytes.subarray(4, end) });
    bytes = bytes.subarray(end);
  }
  return { packages, rest: bytes };
}

/** A TCP connection whose packages are awaited one after the other; `next` gives null once the peer has closed. */
class Tcp {
  static connect(port, host = '127.0.0.1') {
    return new Promise((resolve, reject) => {
      const socket = net.connect(port, host, () => resolve(new Tcp(socket)));
      socket.once('error', reject);
    });
  }

  constructor(socket) {
    this.socket = socket;
    this.queue = [];
    this.waiting = [];
    this.closed = false;
    let rest = Buffer.alloc(0);
    socket.on('data', (chunk) => {
      const found = unpack(Buffer.concat([rest, chunk]));
      rest = found.rest;
      for (const one of found.packages) this.#arrive(one);
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.closed = true;
      while (this.waiting.length) this.waiting.shift()(null);
    });
  }

  #arrive(one) {
    if (this.waiting.length) this.waiting.shift()(one);
    else this.queue.push(one);
  }

  send(type, body) {
    this.socket.write(pack(type, body));
  }

  next() {
    if (this.queue.length) return Promise.resolve(this.queue.shift());
    if (this.closed) return Promise.resolve(null);
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  /** The next package that is no heartbeat. */
  async nextButHeartbeat() {
    for (;;) {
      const one = await this.next();
      if (!one || one.type !== HEARTBEAT) return one;
    }
  }

  /** Handshake and ack; gives the handshake response. */
  async open(request = { sys: { type: 'test', version: '1.0.0' }, user: {} }) {
    this.send(HANDSHAKE, JSON.stringify(request));
    const answer = await this.next();
    if (!answer) throw new Error('closed during the handshake');
    const response = JSON.parse(answer.body);
    if (response.code === 200) this.send(ACK);
    return response;
  }

  close() {
    this.socket.destroy();
  }
}

module.exports = { HANDSHAKE, ACK, HEARTBEAT, DATA, KICK, pack, message, unpack, Tcp };
