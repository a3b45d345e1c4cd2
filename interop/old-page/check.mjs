#!/usr/bin/env node
// The old page in Chromium against our chat: `node old-page/check.mjs`, once with each original client. The chat runs on
// free ports, the page is told the gate's by its own setting. CHROMIUM names the browser, by default /usr/bin/chromium; CHAT
// names the program of examples/chat, by default cargo builds and runs it.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.join(here, '../..');

/** Longer than anything takes on a busy machine; what is late then is told by name. */
const PATIENCE_MS = 30_000;

/** The originals, and ours where it has been made. */
const CLIENTS = ['bundled', 'npm', ...(existsSync(path.join(root, 'target/npm/pomelo-client-wasm/pomelo.wasm')) ? ['wasm'] : [])];

/** The chat with some arguments: its output line by line. */
class Chat {
  constructor(...args) {
    const [program, ...first] = process.env.CHAT ? [process.env.CHAT]
      : [process.env.CARGO ?? 'cargo', 'run', '--quiet', '--locked', '--package', 'chat', '--'];
    this.process = spawn(program, [...first, ...args], { cwd: root, stdio: ['pipe', 'pipe', 'inherit'] });
    this.ended = new Promise((resolve) => this.process.once('exit', resolve));
    this.lines = readline.createInterface({ input: this.process.stdout })[Symbol.asyncIterator]();
  }

  /** The first line from here on that matches. */
  async line(pattern) {
    for (;;) {
      const { value, done } = await this.lines.next();
      assert.ok(!done, `the chat ended before ${pattern}`);
      const found = pattern.exec(value);
      if (found) return found;
    }
  }

  say(text) {
    this.process.stdin.write(`${text}\n`);
  }
}

let server;
let gate;
let browser;
const cleanups = [];

before(async () => {
  server = new Chat('serve', '--free-ports');
  cleanups.push(() => server.process.kill());
  [, gate] = await server.line(/^gate-server-1 .*:(\d+)$/);
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    // Chromium's sandbox refuses root.
    chromiumSandbox: process.getuid?.() !== 0,
    args: [
      '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
      '--disable-sync',
    ],
  });
  cleanups.push(() => browser.close());
});

after(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

/** Builds the page and serves it; gives its address. */
async function serve(build) {
  const dir = mkdtempSync(path.join(tmpdir(), 'old-page-'));
  cleanups.push(() => rmSync(dir, { recursive: true }));
  execFileSync(process.execPath, [path.join(here, 'build.mjs'), build, dir]);
  const types = { '.html': 'text/html', '.js': 'text/javascript', '.wasm': 'application/wasm' };
  const web = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://page');
    const file = path.join(dir, pathname === '/' ? 'index.html' : pathname);
    try {
      response.setHeader('Content-Type', types[path.extname(file)] ?? 'application/octet-stream');
      response.end(readFileSync(file));
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => web.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => web.closeAllConnections?.(), () => web.close());
  return `http://127.0.0.1:${web.address().port}/?port=${gate}`;
}

/** One user's tab, with storage of its own. */
class Tab {
  static async open(url, name) {
    const context = await browser.newContext();
    context.setDefaultTimeout(PATIENCE_MS);
    const tab = new Tab();
    tab.page = await context.newPage();
    tab.name = name;
    tab.errors = [];
    tab.page.on('pageerror', (error) => tab.errors.push(error));
    await tab.page.goto(url);
    return tab;
  }

  async login(room) {
    await this.page.fill('#username', this.name);
    await this.page.fill('#channel', room);
    await this.page.click('#join');
  }

  async enter(room) {
    await this.login(room);
    await this.page.waitForSelector('#chatView', { state: 'visible' });
  }

  async say(text, to = '*') {
    await this.page.selectOption('#users', to);
    await this.page.fill('#entry', text);
    await this.page.click('#send');
    // The page clears the line when the answer is there.
    await this.page.waitForFunction(() => document.getElementById('entry').value === '');
  }

  /** Waits for so many lines and gives them. */
  async history(count) {
    await this.page.waitForFunction((n) => document.getElementById('history').children.length >= n, count);
    return this.page.$$eval('#history > div', (lines) => lines.map((line) => line.textContent));
  }

  async users() {
    return (await this.page.$$eval('#users > option', (options) => options.map((option) => option.value))).sort();
  }

  /** Waits until the login form says this. */
  async refused(text) {
    await this.page.waitForFunction((wanted) => document.getElementById('loginError').textContent === wanted, text);
    assert.ok(await this.page.isVisible('#loginView'));
  }
}

for (const build of CLIENTS) {
  test(`the page with the ${build} client`, async () => {
    const url = await serve(build);
    const room = `room-${build}`;
    const [ann, bob, twin] = await Promise.all(['ann', 'bob', 'ann'].map((name) => Tab.open(url, name)));

    await ann.enter(room);
    assert.deepEqual(await ann.users(), ['*', 'ann']);
    await bob.enter(room);
    assert.deepEqual(await bob.users(), ['*', 'ann', 'bob']);
    await twin.login(room);
    await twin.refused('This name is taken in this channel.');

    await ann.say('hello <b>bob</b>, 你好');
    await bob.history(1);
    await bob.say('psst', 'ann');
    await ann.history(3);

    const native = new Chat('talk', 'carl', room, '--gate', `tcp://127.0.0.1:${gate}`);
    cleanups.push(() => native.process.kill());
    await native.line(/^\* carl entered/);
    await ann.history(4);
    await ann.say('welcome', 'carl');
    assert.ok(await native.line(/^ann -> carl: welcome$/));
    native.say('谢谢');
    await ann.history(6);
    native.process.stdin.end();
    assert.equal(await native.ended, 0);

    assert.deepEqual(await ann.history(7), [
      'bob came in', 'ann: hello <b>bob</b>, 你好', 'bob to ann: psst', 'carl came in', 'ann to carl: welcome', 'carl: 谢谢',
      'carl went away',
    ]);
    assert.deepEqual(await bob.history(5), [
      'ann: hello <b>bob</b>, 你好', 'bob to ann: psst', 'carl came in', 'carl: 谢谢', 'carl went away',
    ]);

    // A tab that is closed says nothing any more.
    await bob.page.close();
    assert.equal((await ann.history(8)).at(-1), 'bob went away');
    assert.deepEqual(await ann.users(), ['*', 'ann']);
    for (const tab of [ann, bob, twin]) assert.deepEqual(tab.errors, [], tab.name);
  });
}

test('the server stops while pages are open', async () => {
  const tabs = await Promise.all(CLIENTS.map(async (build) => Tab.open(await serve(build), build)));
  for (const tab of tabs) await tab.enter('last');
  server.process.kill('SIGINT');
  for (const tab of tabs) await tab.refused('The connection was closed.');
  await server.line(/^stopped$/);
  assert.equal(await server.ended, 0);
});
