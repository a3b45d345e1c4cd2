// A browser, pages with a client, and servers for them.

import { spawn } from 'node:child_process';
import crypto from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import net from 'node:net';
import path from 'node:path';
import readline from 'node:readline';
import tls from 'node:tls';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
export const root = path.join(here, '../..');
const require = createRequire(path.join(root, 'interop/package.json'));
const { chromium } = require('playwright-core');
const { WebSocketServer } = require('ws');
const { builds } = require('./lib/client-build.cjs');

const PACKAGE = path.join(root, 'target/npm/pomelo-client-wasm');
const TYPES = { '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm' };

const PAGES = {
  '/classic': '<script src="/pomelo.js"></script>',
  '/module': '<script type="module">import pomelo, { Pomelo } from "/pomelo.mjs"; Object.assign(window, { pomelo, Pomelo });</script>',
  '/original': '<script src="/original.js"></script><script>require("boot")</script>',
  // A script that comes before the module can be there.
  '/early': '<script src="/pomelo.js?slow"></script><script>early(pomelo)</script>',
};

export const launch = () => chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  // Chromium's sandbox refuses root.
  chromiumSandbox: process.getuid?.() !== 0,
  args: ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

/** Serves the package and the pages; answers the address. */
export async function serve() {
  const web = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://page');
    const send = (type, body) => response.setHeader('Content-Type', type).end(body);
    if (PAGES[pathname]) return send('text/html', `<!doctype html><meta charset="utf-8">${PAGES[pathname]}`);
    if (pathname === '/original.js') return send(TYPES['.js'], builds.npm());
    try {
      return send(TYPES[path.extname(pathname)], readFileSync(path.join(PACKAGE, path.basename(pathname))));
    } catch {
      return response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => web.listen(0, '127.0.0.1', resolve));
  const { port } = web.address();
  return { url: `http://127.0.0.1:${port}`, port, close: () => { web.closeAllConnections?.(); web.close(); } };
}

/** A real server of the original framework, `pomelo` or `pinus`. */
export async function original(name, ...args) {
  const child = spawn(process.execPath, [path.join(root, `interop/peers/${name}.cjs`), ...args], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const line = await new Promise((resolve, reject) => {
    readline.createInterface({ input: child.stdout }).once('line', resolve);
    child.once('exit', () => reject(new Error('the server did not start')));
  });
  return { port: JSON.parse(line).port, close: () => child.stdin.end() };
}

/**
 * Connections to `port` through a network that can be cut: `freeze` drops what comes on those there are, without a word to
 * either end, and `reset` ends them as a router does that has forgotten them. New ones pass.
 */
export async function network(port) {
  const pairs = new Set();
  const server = net.createServer((near) => {
    const far = net.connect(port, '127.0.0.1');
    const pair = { near, far, frozen: false };
    pairs.add(pair);
    for (const [from, to] of [[near, far], [far, near]]) {
      from.on('data', (data) => { if (!pair.frozen) to.write(data); });
      from.on('error', () => {});
      from.on('close', () => { if (!pair.frozen) to.destroy(); });
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: server.address().port,
    freeze: () => { for (const pair of pairs) pair.frozen = true; },
    reset: () => { for (const { near } of pairs) near.resetAndDestroy(); },
    close: () => { for (const { near, far } of pairs) { near.destroy(); far.destroy(); } server.close(); },
  };
}

/** TLS in front of `port`, with a certificate that nobody has signed. */
export async function secured(port) {
  const server = tls.createServer(certificate(), (near) => {
    const far = net.connect(port, '127.0.0.1');
    near.pipe(far).pipe(near);
    near.on('error', () => far.destroy());
    far.on('error', () => near.destroy());
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { port: server.address().port, close: () => server.close() };
}

/** A fresh key and its own certificate for 127.0.0.1 (RFC 5280), which Node has no function for. */
function certificate() {
  const der = (tag, ...parts) => {
    const body = Buffer.concat(parts.map((part) => Buffer.from(part)));
    const length = body.length < 128 ? [body.length] : body.length < 256 ? [0x81, body.length] : [0x82, body.length >> 8, body.length & 255];
    return Buffer.concat([Buffer.from([tag, ...length]), body]);
  };
  const sequence = (...parts) => der(0x30, ...parts);
  const object = (...bytes) => der(0x06, bytes);
  const { publicKey, privateKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const ecdsaWithSha256 = sequence(object(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02));
  const name = sequence(der(0x31, sequence(object(0x55, 0x04, 0x03), der(0x0c, 'pomelo-rs test'))));
  const time = (days) => der(0x17, new Date(Date.now() + days * 86_400_000).toISOString().slice(2).replace(/[-:T]|\.\d+/g, ''));
  const address = sequence(object(0x55, 0x1d, 0x11), der(0x04, sequence(der(0x87, [127, 0, 0, 1]))));
  const body = sequence(
    der(0xa0, der(0x02, [2])), der(0x02, [1]), ecdsaWithSha256, name, sequence(time(-1), time(1)), name,
    publicKey.export({ type: 'spki', format: 'der' }), der(0xa3, sequence(address)),
  );
  const whole = sequence(body, ecdsaWithSha256, der(0x03, [0], crypto.sign('sha256', body, privateKey)));
  const pem = `-----BEGIN CERTIFICATE-----\n${whole.toString('base64').match(/.{1,64}/g).join('\n')}\n-----END CERTIFICATE-----\n`;
  return { cert: pem, key: privateKey.export({ type: 'pkcs8', format: 'pem' }) };
}

export const frame = (type, body = Buffer.alloc(0)) => {
  const bytes = Buffer.from(body);
  return Buffer.concat([Buffer.from([type, bytes.length >> 16, bytes.length >> 8 & 255, bytes.length & 255]), bytes]);
};

export const HANDSHAKE = { code: 200, sys: { heartbeat: 0 } };

/**
 * A server that says what a test wants: `script(send, socket, tell)` runs for each client that acknowledged the handshake, which
 * is answered with `handshake`, a document, bytes, or a function of the connection's number, the request and the socket.
 */
export async function scripted(script = () => {}, handshake = HANDSHAKE) {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  let count = 0;
  server.on('connection', (socket) => {
    count += 1;
    const number = count;
    const send = (bytes) => socket.send(bytes);
    const listeners = [];
    socket.on('message', (data) => {
      if (data[0] === 1) {
        const answer = typeof handshake === 'function' ? handshake(number, JSON.parse(data.subarray(4)), socket) : handshake;
        if (answer) send(Buffer.isBuffer(answer) ? answer : frame(1, JSON.stringify(answer)));
      } else if (data[0] === 2) {
        script(send, socket, (listener) => listeners.push(listener), number);
      }
      for (const listener of listeners) listener(data);
    });
  });
  await new Promise((resolve) => server.once('listening', resolve));
  return {
    port: server.address().port,
    connections: () => count,
    close: () => { for (const client of server.clients) client.terminate(); server.close(); },
  };
}

/** Opens a page; what it throws is kept in `page.errors`. */
export async function open(browser, url, prepare) {
  // Nobody has signed the certificate of `secured`.
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  page.errors = [];
  page.on('pageerror', (error) => page.errors.push(String(error)));
  await prepare?.(page);
  await page.goto(url);
  await page.waitForFunction(() => window.pomelo);
  await page.evaluate(() => {
    window.told = [];
    const plain = (value) => (value instanceof Event || value instanceof CloseEvent ? value.type
      : value instanceof Error ? { type: value.type, message: value.message } : value);
    for (const name of ['close', 'disconnect', 'io-error', 'error', 'onKick', 'reconnect', 'heartbeat timeout', 'onChat', 'onPb']) {
      pomelo.on(name, (value) => told.push(value === undefined ? [name] : [name, plain(value)]));
    }
    /** Resolves once an event of that name is told. */
    window.heard = async (name) => {
      while (!told.some(([event]) => event === name)) await new Promise((resolve) => { setTimeout(resolve, 5); });
      return told;
    };
  });
  return page;
}
