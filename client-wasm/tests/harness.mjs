// A browser, pages with a client, and servers for them.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import readline from 'node:readline';
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
  return { url: `http://127.0.0.1:${web.address().port}`, close: () => { web.closeAllConnections?.(); web.close(); } };
}

/** A real server of the original framework. */
export async function original(...args) {
  const child = spawn(process.execPath, [path.join(root, 'interop/peers/pomelo.cjs'), ...args], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const line = await new Promise((resolve, reject) => {
    readline.createInterface({ input: child.stdout }).once('line', resolve);
    child.once('exit', () => reject(new Error('the server did not start')));
  });
  return { port: JSON.parse(line).port, close: () => child.stdin.end() };
}

export const frame = (type, body = Buffer.alloc(0)) => {
  const bytes = Buffer.from(body);
  return Buffer.concat([Buffer.from([type, bytes.length >> 16, bytes.length >> 8 & 255, bytes.length & 255]), bytes]);
};

export const HANDSHAKE = { code: 200, sys: { heartbeat: 0 } };

/**
 * A server that says what a test wants: `script(send, socket, tell)` runs for each client that acknowledged the handshake, which
 * is answered with `handshake`, a document, bytes, or a function of the connection's number.
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
        const answer = typeof handshake === 'function' ? handshake(number) : handshake;
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
  const context = await browser.newContext();
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
