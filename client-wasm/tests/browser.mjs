#!/usr/bin/env node
// The npm package in Chromium: `node tests/browser.mjs`, after `cargo xtask wasm` and `npm ci --prefix interop`.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { deflateSync, gzipSync } from 'node:zlib';
import { frame, launch, network, open, original, scripted, secured, serve } from './harness.mjs';

let browser;
let web;
const cleanups = [];

before(async () => {
  web = await serve();
  browser = await launch();
  cleanups.push(() => web.close(), () => browser.close());
});

after(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

async function used(server) {
  const running = await server;
  cleanups.push(() => running.close());
  return running;
}

/** What pages did for years, on either client; answers what they were told. */
async function drive(page, port, uid) {
  return page.evaluate(async ([port, uid]) => {
    const log = (name) => (value) => told.push([name, value]);
    const connected = (params) => new Promise((resolve) => {
      pomelo.init({ host: '127.0.0.1', port, handshakeCallback: log('handshake'), ...params }, (socket) => {
        told.push(['init', socket instanceof WebSocket]);
        resolve();
      });
    });
    const ask = (route, msg) => new Promise((resolve) => {
      const done = (answer) => { told.push([route, answer]); resolve(); };
      if (msg) pomelo.request(route, msg, done); else pomelo.request(route, done);
    });
    await connected({ user: { echo: 'hi' } });
    await ask('connector.entryHandler.echo', { n: 1.5, text: 'Grüße, 你好', list: [1, null, { a: true }] });
    await ask('connector.entryHandler.pb', { n: 5, m: -3 });
    await ask('connector.entryHandler.pb', { n: '5', m: 0 });
    await ask('connector.entryHandler.nothing');
    await ask('chat.chatHandler.fail', {});
    await ask('chat.chatHandler.failWith', {});
    await ask('no.such.route', {});
    pomelo.notify('chat.chatHandler.echo', { quiet: true });
    await ask('connector.entryHandler.bind', { uid });
    await ask('connector.entryHandler.push', { route: 'onChat', msg: { from: '张三', text: 'hello' } });
    await ask('connector.entryHandler.push', { route: 'onPb', msg: { n: 7, s: '文', list: [1, 2] } });
    // Answers overtake each other, unless the machine is busy, and each finds its callback.
    const later = (t) => new Promise((resolve) => { pomelo.request('chat.chatHandler.later', { t }, resolve); });
    told.push(['later', await Promise.all([40, 1].map(later))]);
    pomelo.disconnect();
    await heard('disconnect');
    told.push(['again']);
    await connected({});
    await ask('connector.entryHandler.pb', { n: 1 });
    pomelo.request('chat.chatHandler.kick', { reason: 'bye' });
    await heard('onKick');
    while (told.filter(([name]) => name === 'disconnect').length < 2) await new Promise((resolve) => { setTimeout(resolve, 5); });
    return told;
  }, [port, uid]);
}

for (const [name, ...options] of [['pomelo', '--dict', '--protobuf'], ['pomelo'], ['pinus', '--dict', '--protobuf'], ['pinus']]) {
  test(`the original client and ours are told the same by ${name} ${options.join(' ')}`, async () => {
    const server = await used(original(name, '--heartbeat', '1', ...options));
    const [theirs, ours] = await Promise.all(['original', 'classic'].map(async (client) => {
      const page = await open(browser, `${web.url}/${client}`);
      const told = await drive(page, server.port, client);
      assert.deepEqual(page.errors, [], client);
      return told;
    }));
    assert.ok(ours.length > 20, 'the script ran');
    assert.deepEqual(ours, theirs);
  });
}

test('a module with promises, against pomelo', async () => {
  const server = await used(original('pomelo', '--heartbeat', '1', '--dict', '--protobuf'));
  const page = await open(browser, `${web.url}/module`);
  const logged = [];
  page.on('console', (line) => logged.push(line.text().split(' ').slice(0, 3).join(' ')));
  const result = await page.evaluate(async (port) => {
    const user = await pomelo.init({ host: '127.0.0.1', port, user: { echo: 'module' }, log: true });
    const answers = await Promise.all([
      pomelo.request('connector.entryHandler.echo', { text: '汉字 😀 𝒳' }),
      pomelo.request('connector.entryHandler.pb', { n: 1 }),
    ]);
    const other = new Pomelo();
    await other.init({ host: '127.0.0.1', port });
    answers.push(await other.request('chat.chatHandler.fail'));
    const waiting = pomelo.request('chat.chatHandler.silent');
    pomelo.disconnect();
    const lost = await waiting.catch((error) => [error.name, error.type]);
    const refused = await pomelo.init({ host: '127.0.0.1', port, user: { refuse: true } }).catch((error) => error.message);
    return { user, answers, lost, refused, stored: JSON.parse(localStorage.getItem('protos')).version.length > 0 };
  }, server.port);
  assert.deepEqual(result.user, { echo: 'module' });
  assert.equal(result.answers[0].body.text, '汉字 😀 𝒳');
  assert.deepEqual(result.answers.slice(1), [{ n: 2 }, { code: 500 }]);
  assert.deepEqual(result.lost, ['PomeloError', 'closed']);
  assert.equal(result.refused, 'handshake fail');
  assert.equal(logged[0], `connect to ws://127.0.0.1:${server.port}`);
  assert.ok(result.stored);
  assert.deepEqual(page.errors, []);
});

test('messages are signed for servers with useCrypto', async () => {
  const server = await used(original('pomelo', '--crypto'));
  const page = await open(browser, `${web.url}/module`);
  const texts = await page.evaluate(async (port) => {
    await pomelo.init({ host: '127.0.0.1', port, encrypt: true });
    const answers = await Promise.all(['plain', '签名', 'é'].map((text) => pomelo.request('connector.entryHandler.echo', { text })));
    return answers.map(({ body }) => body.text);
  }, server.port);
  assert.deepEqual(texts, ['plain', '签名', 'é']);
});

test('calls made before the module is there wait for it', async () => {
  const server = await used(original('pomelo', '--heartbeat', '1'));
  let release;
  const held = new Promise((resolve) => { release = resolve; });
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.route('**/pomelo.wasm', async (route) => { await held; await route.continue(); });
  await page.addInitScript((port) => {
    window.early = (pomelo) => {
      window.answer = new Promise((resolve) => {
        pomelo.init({ host: '127.0.0.1', port });
        pomelo.request('connector.entryHandler.echo', { early: 1 }, resolve);
      });
    };
  }, server.port);
  await page.goto(`${web.url}/early`);
  release();
  const answer = await page.evaluate(() => window.answer);
  assert.equal(answer.body.early, 1);
});

/** Name, what the server sends after the handshake, and what the page is told before the connection is closed. */
const BAD = [
  ['unknown package kind', [9, 0, 0, 0], { type: 'connection', message: 'unknown package kind' }],
  ['length beyond the message', [4, 0xff, 0xff, 0xff, 6], { type: 'connection', message: 'transport message ends inside a package' }],
  ['half a head', [4, 0], { type: 'connection', message: 'transport message ends inside a package' }],
  ['data without a message', frame(4), { type: 'connection', message: 'data package without a message' }],
  ['unknown message kind', frame(4, [0x0e, 1]), { type: 'message', message: 'unknown message kind' }],
  ['message cut in its route', frame(4, [0x06, 9, 0x61]), { type: 'message', message: 'message ends inside its head' }],
  ['unknown route code', frame(4, [0x07, 0, 77]), { type: 'message', message: 'unknown route code' }],
  ['endless id', frame(4, [0x04, ...Array(11).fill(0xff)]), { type: 'message', message: 'message id is longer than 64 bits' }],
  ['answer that nobody waits for', frame(4, [0x04, 99, 0x7b, 0x7d]), { type: 'message', message: 'response to no pending request' }],
  ['request from the server', frame(4, [0x00, 1, 1, 0x61, 0x7b, 0x7d]), { type: 'message', message: 'message of a kind that only servers take' }],
  ['push that is no JSON', frame(4, [0x06, 1, 0x61, 0x7b]), { type: 'body', message: 'body is not JSON' }],
  ['push that breaks its schema', frame(4, [0x06, 3, 0x6f, 0x6e, 0x50, 0xff, 0xff]), { type: 'body', message: 'body does not fit its protobuf schema' }],
  ['compressed push', frame(4, [0x16, 1, 0x61, 0x78, 0x9c, 1, 2]), { type: 'body', message: 'body does not inflate' }],
];
const SCHEMA = {
  code: 200,
  sys: { protos: { server: { onP: { a: { option: 'required', type: 'uInt32', tag: 1 }, __messages: {}, __tags: { 1: 'a' } } }, client: {}, version: 'v' } },
};

test('bad input is an event, and the client lives on', async () => {
  const page = await open(browser, `${web.url}/classic`);
  const good = await used(scripted((send) => send(frame(4, Buffer.from('\x06\x06onChat{"ok":1}')))));
  for (const [name, bytes, expected] of BAD) {
    const server = await used(scripted((send) => send(Buffer.from(bytes)), SCHEMA));
    const told = await page.evaluate(async (port) => {
      told.length = 0;
      pomelo.init({ host: '127.0.0.1', port });
      return heard('error');
    }, server.port);
    assert.deepEqual(told.find(([event]) => event === 'error'), ['error', expected], name);
    // The very next connection works.
    const after = await page.evaluate(async (port) => {
      told.length = 0;
      pomelo.init({ host: '127.0.0.1', port });
      return heard('onChat');
    }, good.port);
    assert.ok(after.some(([event, msg]) => event === 'onChat' && msg.ok === 1), name);
  }
  assert.deepEqual(page.errors, []);
});

test('bad handshakes are told', async () => {
  const page = await open(browser, `${web.url}/classic`);
  for (const [answer, expected] of [
    [frame(1, 'no json'), { type: 'connection', message: 'handshake is not a JSON object' }],
    [frame(1, '{}'), { type: 'connection', message: 'handshake has no code' }],
    [{ code: 200, sys: { protos: { server: 1 } } }, { type: 'connection', message: 'handshake has unusable protobuf schemas' }],
    [frame(1, [0x78, 0x9c, 1, 2]), { type: 'connection', message: 'handshake does not inflate' }],
    [{ code: 500 }, 'handshake fail'],
    [{ code: 501 }, 'client version not fullfill'],
  ]) {
    const server = await used(scripted(undefined, answer));
    const told = await page.evaluate(async (port) => {
      told.length = 0;
      pomelo.init({ host: '127.0.0.1', port, reconnect: true });
      return heard('error');
    }, server.port);
    assert.deepEqual(told.find(([event]) => event === 'error'), ['error', expected]);
  }
  const told = await page.evaluate(async () => {
    told.length = 0;
    pomelo.init({ host: 'no:host:at:all' });
    return heard('io-error');
  });
  assert.equal(told.find(([event]) => event === 'io-error')[1].type, 'address');
  assert.deepEqual(page.errors, []);
});

test('a server that leaves in the middle', async () => {
  const page = await open(browser, `${web.url}/classic`);
  const whole = frame(4, Buffer.from('\x06\x06onChat{"ok":1}'));
  for (const [name, server, expected] of [
    ['of the handshake', scripted(undefined, (_, __, socket) => { socket.terminate(); }), []],
    ['of a request', scripted((send, socket, tell) => { tell((data) => { if (data[0] === 4) socket.terminate(); }); }), [['init']]],
    ['of a package', scripted((send, socket) => {
      send(Buffer.concat([whole, whole.subarray(0, 9)]));
      socket.close();
    }), [['init'], ['onChat', { ok: 1 }], ['error', { type: 'connection', message: 'transport message ends inside a package' }]]],
  ]) {
    const { port } = await used(server);
    const [told, rejected] = await page.evaluate(async (port) => {
      window.told.length = 0;
      const lost = pomelo.init({ host: '127.0.0.1', port }, () => window.told.push(['init'])).then(() => pomelo.request('a.b.c', {}));
      const rejected = await lost.catch((error) => error.type);
      return [await heard('disconnect'), rejected];
    }, port);
    assert.deepEqual(told, [...expected, ['close', 'close'], ['disconnect', 'close']], name);
    assert.equal(rejected, 'closed', name);
  }
  assert.deepEqual(page.errors, []);
});

test('schemas are kept by their version, dictionaries for the next connection', async () => {
  const asked = [];
  const sys = { ...SCHEMA.sys, dict: { onP: 7 }, dictVersion: 'd' };
  const server = await used(scripted((send) => send(frame(4, Buffer.from([0x07, 0, 7, 0x08, 0x05]))), (_, { sys: { protoVersion, dictVersion } }) => {
    asked.push([protoVersion, dictVersion]);
    // As a server of pomelo answers: without what the client has.
    const answer = { ...sys, useProto: true, useDict: true };
    if (protoVersion === 'v') delete answer.protos;
    if (dictVersion === 'd') delete answer.dict;
    return { code: 200, sys: answer };
  }));
  const page = await open(browser, `${web.url}/classic`);
  const visit = () => page.evaluate((port) => new Promise((resolve) => {
    pomelo.once('onP', resolve);
    pomelo.init({ host: '127.0.0.1', port });
  }), server.port);
  for (const reload of [false, false, true]) {
    if (reload) await page.reload();
    assert.deepEqual(await visit(), { a: 5 });
  }
  assert.deepEqual(asked, [[undefined, undefined], ['v', 'd'], ['v', undefined]]);
  assert.deepEqual(page.errors, []);
});

test('what pitaya compresses is read, in order', async () => {
  const push = (flag, route, body) => frame(4, Buffer.concat([Buffer.from([flag, route.length]), Buffer.from(route), body]));
  const json = (n) => Buffer.from(JSON.stringify({ n, text: '你好'.repeat(n * 1000) }));
  const server = await used(scripted((send, socket, tell) => {
    tell((data) => {
      if (data[0] !== 4) return;
      // All at once, and then the end: nothing overtakes what is still packed.
      send(frame(4, Buffer.concat([Buffer.from([0x14, data[5]]), deflateSync('{"answer":42}')])));
      send(push(0x16, 'onChat', deflateSync(json(1))));
      send(push(0x16, 'onChat', gzipSync(json(2))));
      send(push(0x06, 'onChat', json(3)));
      send(push(0x16, 'onP', deflateSync(Buffer.from([0x08, 0x07]))));
      send(push(0x16, 'onChat', deflateSync(Buffer.alloc(17 << 20, 0x20))));
      send(push(0x06, 'onChat', json(4)));
      socket.close();
    });
  }, frame(1, deflateSync(JSON.stringify(SCHEMA)))));
  const page = await open(browser, `${web.url}/classic`);
  const told = await page.evaluate(async (port) => {
    pomelo.on('onP', (msg) => told.push(['onP', msg]));
    await pomelo.init({ host: '127.0.0.1', port });
    pomelo.request('a.b.c', {}, (answer) => told.push(['answer', answer]));
    return (await heard('disconnect')).map(([name, value]) => [name, value.n ?? value.message ?? value]);
  }, server.port);
  assert.deepEqual(told, [
    ['answer', { answer: 42 }], ['onChat', 1], ['onChat', 2], ['onChat', 3], ['onP', { a: 7 }],
    ['error', 'body does not inflate'], ['onChat', 4], ['close', 'close'], ['disconnect', 'close'],
  ]);
  assert.deepEqual(page.errors, []);
});

test('kicks of every family, and silence', async () => {
  const page = await open(browser, `${web.url}/classic`);
  for (const [body, reason] of [['{"reason":"bye"}', 'bye'], ['', undefined], ['"text"', 'text'], ['plain', 'plain']]) {
    const server = await used(scripted((send) => send(frame(5, body))));
    const told = await page.evaluate(async (port) => {
      told.length = 0;
      pomelo.init({ host: '127.0.0.1', port, reconnect: true });
      return heard('disconnect');
    }, server.port);
    assert.deepEqual(told, [['onKick', { reason }], ['close', 'close'], ['disconnect', 'close']]);
    assert.equal(server.connections(), 1);
  }
  const silent = await used(scripted(undefined, { code: 200, sys: { heartbeat: 0.05 } }));
  const told = await page.evaluate(async (port) => {
    told.length = 0;
    pomelo.init({ host: '127.0.0.1', port });
    return heard('disconnect');
  }, silent.port);
  assert.deepEqual(told, [['heartbeat timeout'], ['close', 'close'], ['disconnect', 'close']]);
  assert.deepEqual(page.errors, []);
});

/** For a page whose reconnections come at once; deadlines of the core are no round numbers. */
const hurried = (fresh) => fresh.addInitScript(() => {
  const set = window.setTimeout;
  window.delays = [];
  window.setTimeout = (fn, delay, ...args) => {
    const retry = delay >= 5000 && delay % 5000 === 0;
    if (retry) delays.push(delay);
    return set(fn, retry ? 0 : delay, ...args);
  };
});

test('a lost connection comes back after 5, 10 and 20 seconds, until it is left', async () => {
  const server = await used(scripted((send, socket, tell) => { tell((data) => { if (data[0] === 4) socket.terminate(); }); }));
  const dead = await scripted();
  dead.close();
  const page = await open(browser, `${web.url}/classic`, hurried);
  const refused = await page.evaluate(async (port) => {
    pomelo.init({ host: '127.0.0.1', port, reconnect: true, maxReconnectAttempts: 3 });
    while (told.length < 12) await new Promise((resolve) => { setTimeout(resolve, 5); });
    return [told.map(([name]) => name), delays];
  }, dead.port);
  assert.deepEqual(refused[0], Array(4).fill(['io-error', 'close', 'disconnect']).flat());
  assert.deepEqual(refused[1], [5000, 10_000, 20_000]);

  const back = await page.evaluate(async (port) => {
    told.length = 0;
    delays.length = 0;
    let times = 0;
    await new Promise((resolve) => {
      pomelo.init({ host: '127.0.0.1', port, reconnect: true }, () => {
        times += 1;
        told.push(['init']);
        if (times === 3) resolve(); else pomelo.notify('a.b.c', {});
      });
    });
    pomelo.disconnect();
    while (told.at(-1)[0] !== 'disconnect') await new Promise((resolve) => { setTimeout(resolve, 5); });
    return [told.map(([name]) => name), delays];
  }, server.port);
  const lost = ['init', 'close', 'disconnect', 'reconnect'];
  assert.deepEqual(back[0], [...lost, ...lost, 'init', 'close', 'disconnect']);
  assert.deepEqual(back[1], [5000, 5000]);
  assert.equal(server.connections(), 3);
  assert.deepEqual(page.errors, []);
});

for (const [cut, told] of [
  // Nobody closes anything: only silence tells.
  ['freeze', ['heartbeat timeout', 'close', 'disconnect', 'reconnect']],
  ['reset', ['close', 'disconnect', 'reconnect']],
]) {
  test(`a network that is cut: ${cut}`, async () => {
    const server = await used(original('pomelo', '--heartbeat', '1'));
    const lossy = await used(network(server.port));
    const page = await open(browser, `${web.url}/classic`, hurried);
    await page.evaluate((port) => new Promise((resolve) => {
      window.back = new Promise((again) => {
        let times = 0;
        pomelo.init({ host: '127.0.0.1', port, reconnect: true }, () => {
          times += 1;
          if (times === 1) resolve(); else again();
        });
      });
    }), lossy.port);
    const lost = page.evaluate(() => pomelo.request('chat.chatHandler.silent').catch((error) => [error.type, error.message]));
    await page.evaluate(() => pomelo.request('connector.entryHandler.echo', {}));
    lossy[cut]();
    await page.evaluate(() => window.back);
    const words = cut === 'freeze' ? 'heartbeat timeout' : 'closed by the server';
    assert.deepEqual(await lost, ['closed', words]);
    assert.deepEqual(await page.evaluate(() => window.told.map(([name]) => name)), told);
    const answer = await page.evaluate(() => pomelo.request('connector.entryHandler.echo', { again: true }));
    assert.equal(answer.body.again, true);
    assert.deepEqual(page.errors, []);
  });
}

test('wss: asked for, named by the host, or as the page was loaded', async () => {
  const server = await used(original('pomelo', '--heartbeat', '1', '--dict', '--protobuf'));
  const { port } = await used(secured(server.port));
  const { port: pages } = await used(secured(web.port));
  for (const [base, params] of [
    [web.url, { host: '127.0.0.1', ssl: true }],
    [web.url, { host: 'wss://127.0.0.1' }],
    [`https://127.0.0.1:${pages}`, { host: '127.0.0.1' }],
  ]) {
    const page = await open(browser, `${base}/classic`);
    const [url, answer] = await page.evaluate(async (params) => {
      const socket = await new Promise((resolve) => { pomelo.init(params, resolve); });
      return [socket.url, await pomelo.request('connector.entryHandler.echo', { text: '你好 😀' })];
    }, { ...params, port });
    assert.equal(url, `wss://127.0.0.1:${port}/`);
    assert.equal(answer.body.text, '你好 😀');
    assert.deepEqual(page.errors, []);
  }
});

test('callbacks may call the client, and may throw', async () => {
  const server = await used(scripted((send, _, tell) => {
    tell((data) => { if (data[0] === 4) for (let push = 0; push < 3; push += 1) send(frame(4, Buffer.from('\x06\x06onChat{"ok":1}'))); });
  }));
  const page = await open(browser, `${web.url}/classic`);
  const result = await page.evaluate(async (port) => {
    const steps = [];
    pomelo.on('onChat', () => { throw new Error('mine'); });
    const done = new Promise((resolve) => {
      pomelo.on('onChat', () => {
        steps.push('push');
        if (steps.length === 3) {
          // From inside an event: leave, come back, and leave again.
          pomelo.disconnect();
          pomelo.init({ host: '127.0.0.1', port }, () => {
            steps.push('again');
            pomelo.disconnect();
            resolve();
          });
        } else if (steps.length === 1) {
          pomelo.notify('a.b.c', {});
        }
      });
    });
    pomelo.init({ host: '127.0.0.1', port }, () => pomelo.notify('a.b.c', {}));
    await done;
    const cyclic = {};
    cyclic.self = cyclic;
    await pomelo.init({ host: '127.0.0.1', port });
    const misfit = await pomelo.request('a.b.c', cyclic).catch((error) => [error.type, error.message]);
    const long = await pomelo.request('x'.repeat(256), {}).catch((error) => [error.type, error.message]);
    return { steps, misfit, long };
  }, server.port);
  assert.deepEqual(result.steps, ['push', 'push', 'push', 'again']);
  assert.deepEqual(result.misfit, ['request', 'message has no JSON form']);
  assert.deepEqual(result.long, ['request', 'route is over 255 bytes']);
  assert.deepEqual(new Set(page.errors), new Set(['Error: mine']));
});

test('a page may write and read its messages itself', async () => {
  const server = await used(original('pomelo', '--dict', '--protobuf'));
  const page = await open(browser, `${web.url}/classic`);
  const result = await page.evaluate(async (port) => {
    const seen = [];
    await pomelo.init({
      host: '127.0.0.1',
      port,
      encode: (id, route, msg) => { seen.push(['encode', id, route]); return pomelo.encode(id, route, { ...msg, hooked: true }); },
      decode: (bytes) => { const msg = pomelo.decode(bytes); seen.push(['decode', msg.id, msg.route]); return msg; },
    });
    const answer = await pomelo.request('connector.entryHandler.echo', { a: 1 });
    pomelo.notify('connector.entryHandler.echo', {});
    return { seen, hooked: answer.body.hooked };
  }, server.port);
  assert.equal(result.hooked, true);
  assert.deepEqual(result.seen, [
    ['encode', 1, 'connector.entryHandler.echo'], ['decode', 1, 'connector.entryHandler.echo'], ['encode', 0, 'connector.entryHandler.echo'],
  ]);
});

test('ten thousand messages leave nothing behind', async () => {
  const text = 'x'.repeat(200);
  const server = await used(scripted((send, _, tell) => {
    tell((data) => {
      if (data[0] !== 4) return;
      // An answer with the request's id, which comes behind the flag.
      const end = 5 + data.subarray(5).findIndex((byte) => byte < 128) + 1;
      send(frame(4, Buffer.concat([Buffer.from([4]), data.subarray(5, end), Buffer.from(`{"text":"${text}"}`)])));
      send(frame(4, Buffer.from(`\x06\x06onMany{"text":"${text}"}`)));
    });
  }));
  const page = await open(browser, `${web.url}/module`, (fresh) => fresh.addInitScript(() => {
    // The module's memory, which only ever grows.
    const { instantiateStreaming } = WebAssembly;
    WebAssembly.instantiateStreaming = async (...args) => {
      const made = await instantiateStreaming(...args);
      window.memory = made.instance.exports.memory;
      return made;
    };
  }));
  const [before, after, pushes] = await page.evaluate(async (port) => {
    let count = 0;
    pomelo.on('onMany', () => { count += 1; });
    await pomelo.init({ host: '127.0.0.1', port });
    const round = async (times) => {
      for (let n = 0; n < times; n += 100) {
        await Promise.all(Array.from({ length: 100 }, (_, index) => pomelo.request('a.b.c', { n: n + index })));
      }
      return memory.buffer.byteLength;
    };
    return [await round(1000), await round(10_000), count];
  }, server.port);
  assert.ok(pushes >= 10_900, `${pushes} pushes`);
  assert.equal(after, before);
});
