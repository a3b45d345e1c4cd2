#!/usr/bin/env node
'use strict';
// Checks this folder against itself: `node check.cjs`. Both original servers are driven over TCP by hand-made bytes and over
// WebSocket by both original clients; pomelo must also repeat every golden exchange, and the codec every golden protobuf body.

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const readline = require('node:readline');
const { after, before, describe, test } = require('node:test');
const { WebSocket } = require('ws');
const wire = require('./lib/wire.cjs');

const GOLDEN = path.join(__dirname, '../protocol/tests/golden');

/** A program of this folder: its lines one after the other, and commands to it. */
class Program {
  constructor(script, ...args) {
    this.process = spawn(process.execPath, [path.join(__dirname, script), ...args], { stdio: ['pipe', 'pipe', 'ignore'] });
    this.ended = new Promise((resolve) => this.process.once('exit', resolve));
    this.lines = readline.createInterface({ input: this.process.stdout })[Symbol.asyncIterator]();
  }

  send(command) {
    this.process.stdin.write(`${JSON.stringify(command)}\n`);
  }

  async next() {
    const { value, done } = await this.lines.next();
    assert.ok(!done, 'the program ended');
    return JSON.parse(value);
  }

  async expect(...events) {
    for (const event of events) assert.deepEqual(await this.next(), event);
  }

  /** Ends the input; gives the exit code. */
  stop() {
    this.process.stdin.end();
    return this.ended;
  }
}

for (const peer of ['pomelo', 'pinus']) {
  describe(peer, () => {
    let server;
    let port;
    before(async () => {
      server = new Program(`peers/${peer}.cjs`, '--dict', '--protobuf', '--heartbeat', '1');
      const ready = await server.next();
      assert.equal(ready.ready, true);
      port = ready.port;
    });
    after(async () => assert.equal(await server.stop(), 0));

    /** pomelo tells handlers the route inside their message. */
    const seen = (route, msg) => (peer === 'pomelo' ? { ...msg, __route__: route } : msg);

    test('tcp', async () => {
      const tcp = await wire.Tcp.connect(port);
      const response = await tcp.open({ sys: { type: 'test', version: '1.0.0' }, user: { echo: 'hi' } });
      assert.deepEqual(response.user, { echo: 'hi' });
      assert.equal(response.sys.heartbeat, 1);
      const { dict, protos } = response.sys;
      assert.equal(dict.onChat, 21);
      assert.equal(protos.server.onPb.a.tag, 1);

      assert.equal((await tcp.next()).type, wire.HEARTBEAT);
      tcp.send(wire.HEARTBEAT);
      assert.equal((await tcp.next()).type, wire.HEARTBEAT);

      const ask = async (id, route, body) => {
        tcp.send(wire.DATA, wire.message(id, route, body));
        const { type, body: answer } = await tcp.nextButHeartbeat();
        assert.equal(type, wire.DATA);
        return answer;
      };
      const route = 'connector.entryHandler.echo';
      const echoed = await ask(1, route, { a: '文' });
      assert.deepEqual([...echoed.subarray(0, 2)], [4, 1]);
      assert.deepEqual(JSON.parse(echoed.subarray(2)), { code: 200, body: seen(route, { a: '文' }) });
      tcp.send(wire.DATA, wire.message(0, route, {})); // a notify: the next answer is not for it
      assert.equal((await ask(2, dict['connector.entryHandler.pb'], Buffer.of(0x08, 5))).toString('hex'), '04020806');
      assert.equal((await ask(3, 'chat.chatHandler.failWith', {})).subarray(2).toString(), '{"code":7,"why":"x"}');
      await ask(4, 'connector.entryHandler.bind', { uid: 'tcp' });
      assert.equal((await ask(5, 'connector.entryHandler.push', { route: 'onPb', msg: { a: 300, s: 'é' } })).toString('hex'),
        '07001608ac021202c3a9');
      assert.equal((await tcp.nextButHeartbeat()).body.subarray(2).toString(), '{"err":null,"fails":[]}');
      tcp.send(wire.DATA, wire.message(6, 'connector.entryHandler.kick', { reason: 'bye' }));
      const kick = await tcp.nextButHeartbeat();
      assert.equal(kick.type, wire.KICK);
      assert.equal(kick.body.toString(), '{"reason":"bye"}');
      assert.equal(await tcp.next(), null);
    });

    test('tcp: silence ends the connection', async () => {
      const tcp = await wire.Tcp.connect(port);
      await tcp.open();
      assert.equal(await tcp.nextButHeartbeat(), null);
    });

    for (const build of ['npm', 'bundled']) {
      test(`the ${build} client`, async () => {
        const client = new Program('js-client.cjs');
        client.send({ cmd: 'init', host: '127.0.0.1', port, user: { echo: 'hi' }, build });
        const { handshake, ...init } = await client.next();
        assert.deepEqual(init, { ev: 'init', dict: true, protos: true, user: { echo: 'hi' } });
        assert.equal(handshake.code, 200);
        const ask = (route, msg) => client.send({ cmd: 'request', route, msg });
        ask('connector.entryHandler.echo', { a: '文' });
        await client.expect({ ev: 'answer', n: 1, msg: { code: 200, body: seen('connector.entryHandler.echo', { a: '文' }) } });
        ask('connector.entryHandler.pb', { n: 5, m: -3 });
        await client.expect({ ev: 'answer', n: 2, msg: { n: 6 } });
        ask('connector.entryHandler.bind', { uid: build });
        await client.expect({ ev: 'answer', n: 3, msg: { err: null } });
        client.send({ cmd: 'notify', route: 'connector.entryHandler.push', msg: { route: 'onChat', msg: { m: 1 } } });
        await client.expect({ ev: 'push', route: 'onChat', msg: { m: 1 } });
        client.send({ cmd: 'notify', route: 'chat.chatHandler.push', msg: { route: 'onPb', msg: { a: 300, s: 'é' } } });
        await client.expect({ ev: 'push', route: 'onPb', msg: { a: 300, s: 'é' } });
        // Longer than the two seconds after which the server would give up: the client's heartbeats keep it.
        ask('connector.entryHandler.later', { t: 2600 });
        await client.expect({ ev: 'answer', n: 4, msg: { t: 2600 } });
        ask('chat.chatHandler.kick', { reason: 'bye' });
        // The older client drops the reason.
        await client.expect(build === 'npm' ? { ev: 'onKick', msg: { reason: 'bye' } } : { ev: 'onKick' });
        assert.equal((await client.next()).ev, 'close');
        assert.equal(await client.stop(), 0);
      });
    }

    test('two users in one process', async () => {
      const clients = new Program('js-client.cjs');
      for (const client of ['a', 'b']) {
        clients.send({ client, cmd: 'init', host: '127.0.0.1', port });
        assert.equal((await clients.next()).client, client);
      }
      clients.send({ client: 'a', cmd: 'request', route: 'connector.entryHandler.nothing' });
      await clients.expect({ ev: 'answer', n: 1, msg: {}, client: 'a' });
      clients.send({ client: 'b', cmd: 'request', route: 'connector.entryHandler.fail' });
      await clients.expect({ ev: 'answer', n: 1, msg: { code: 500 }, client: 'b' });
      clients.send({ cmd: 'exit' });
      assert.equal(await clients.ended, 0);
    });
  });
}

describe('the golden exchanges', () => {
  let server;
  let port;
  before(async () => {
    server = new Program('peers/pomelo.cjs', '--dict', '--protobuf');
    port = (await server.next()).port;
  });
  after(async () => assert.equal(await server.stop(), 0));

  const { vectors } = JSON.parse(fs.readFileSync(path.join(GOLDEN, 'exchanges.json')));
  describe('pomelo', { concurrency: vectors.length }, () => {
    for (const vector of vectors) test(vector.name, () => replay(vector, port));
  });
});

/** Plays the client's part of an exchange and compares everything that came back. */
async function replay({ transport, steps }, port) {
  const got = [];
  let closed = null;
  let changed = () => {};
  const until = async (condition) => {
    while (!condition()) await new Promise((resolve) => (changed = resolve));
  };
  const take = (bytes) => {
    got.push(bytes.toString('hex'));
    changed();
  };
  const close = (how) => {
    closed = how;
    changed();
  };
  const overTcp = transport === 'tcp';
  const socket = overTcp ? net.connect(port, '127.0.0.1') : new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: false });
  socket.on('error', () => {});
  socket.on(overTcp ? 'data' : 'message', take);
  socket.on('close', (code) => close(overTcp ? true : code));
  await new Promise((resolve) => socket.once(overTcp ? 'connect' : 'open', resolve));
  const send = (data) => (overTcp ? socket.write(data) : socket.send(data));
  const settled = (list) => (overTcp ? list.join('') : list.join(' '));

  const wanted = [];
  for (const step of steps) {
    if ('c2s' in step) send(Buffer.from(step.c2s, 'hex'));
    if ('c2sText' in step) send(step.c2sText);
    if ('wait' in step) await new Promise((resolve) => setTimeout(resolve, step.wait));
    if ('s2c' in step) {
      wanted.push(...[step.s2c].flat());
      await until(() => closed !== null || settled(got).length >= settled(wanted).length);
    }
    if ('close' in step) {
      await until(() => closed !== null);
      assert.equal(closed, step.close);
    }
  }
  assert.equal(settled(got), settled(wanted));
  if (overTcp) socket.destroy();
  else socket.terminate();
}

test('the codec repeats the golden protobuf bodies', async () => {
  const { schemas, vectors } = JSON.parse(fs.readFileSync(path.join(GOLDEN, 'protobuf.json')));
  const codec = new Program('codec.cjs');
  for (const vector of vectors) {
    const { kind, schema, route } = vector;
    if (kind === 'protobuf.encode') codec.send({ cmd: 'pb.encode', protos: schemas[schema], route, msg: vector.message });
    else if (kind === 'protobuf.decode' && 'hex' in vector) codec.send({ cmd: 'pb.decode', protos: schemas[schema], route, hex: vector.hex });
    else continue;
    const found = await codec.next();
    if (vector.result?.throws) assert.ok(found.throws, vector.name);
    else if (vector.result?.hangs) assert.equal(found.hangs, true, vector.name);
    else assert.deepEqual(found.ok, kind === 'protobuf.encode' ? vector.hex ?? vector.result.ok : vector.result.ok, vector.name);
  }
  assert.equal(await codec.stop(), 0);
});
