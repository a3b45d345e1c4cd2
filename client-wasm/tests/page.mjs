#!/usr/bin/env node
// The page of examples/chat in Chromium: `node tests/page.mjs`, after `cargo xtask wasm`. CHAT names the program, otherwise cargo
// builds it. Screenshots go to target/screenshots.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { after, before, test } from 'node:test';
import { launch, root } from './harness.mjs';

/** Those of a chat that somebody may have running are elsewhere; and they are the same after a restart. */
const PORTS = ['--port-offset', String(10_000 + process.pid % 20_000)];
const shots = path.join(root, 'target/screenshots');
let browser;
let chat;

/** The chat with some arguments: its output line by line. */
class Chat {
  constructor(...args) {
    const [program, first] = process.env.CHAT ? [process.env.CHAT, []]
      : [process.env.CARGO ?? 'cargo', ['run', '--quiet', '--locked', '--package', 'chat', '--']];
    this.process = spawn(program, [...first, ...args], { cwd: root, stdio: ['pipe', 'pipe', 'inherit'] });
    this.ended = new Promise((resolve) => this.process.once('exit', resolve));
    this.lines = readline.createInterface({ input: this.process.stdout })[Symbol.asyncIterator]();
  }

  async line(pattern) {
    for (;;) {
      const { value, done } = await this.lines.next();
      assert.ok(!done, `the chat ended before ${pattern}`);
      const found = pattern.exec(value);
      if (found) return found;
    }
  }
}

before(async () => {
  mkdirSync(shots, { recursive: true });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  chat?.process.kill();
});

async function open(address, options) {
  const page = await (await browser.newContext(options)).newPage();
  page.errors = [];
  page.on('pageerror', (error) => page.errors.push(String(error)));
  await page.goto(address);
  return page;
}

async function enter(page, name, room) {
  await page.fill('#name', name);
  await page.fill('#room', room);
  await page.click('#login form button');
}

async function say(page, text, target = '*') {
  await page.selectOption('#target', target);
  await page.fill('#text', text);
  await page.click('#chat form button:not([type])');
}

const history = async (page, count) => {
  await page.waitForFunction((n) => document.getElementById('history').children.length >= n, count);
  return page.$$eval('#history > li', (lines) => lines.map((line) => line.textContent));
};
const members = (page) => page.$$eval('#members > li', (items) => items.map((item) => item.textContent));

/** Two pages and a terminal in a room of a server that was just started. */
async function talk(...options) {
  chat = new Chat('serve', ...PORTS, ...options);
  const [, gate] = await chat.line(/^gate-server-1 .*:(\d+)$/);
  const [, address] = await chat.line(/In a browser, twice: (http:\S+)$/);
  const desk = await open(address, { locale: 'en-GB' });
  const phone = await open(address, { locale: 'zh-CN', viewport: { width: 360, height: 640 } });
  await enter(desk, 'ann', 'lobby');
  await desk.waitForSelector('#chat', { state: 'visible' });
  await enter(phone, '李雷', 'lobby');
  await phone.waitForSelector('#chat', { state: 'visible' });
  assert.deepEqual(await members(phone), ['ann', '李雷']);
  assert.deepEqual(await history(desk, 1), ['李雷 came in']);

  await say(desk, 'hello <b>all</b> 😀');
  await say(phone, '你好 👋🏽');
  assert.deepEqual(await history(desk, 3), ['李雷 came in', 'ann hello <b>all</b> 😀', '李雷 你好 👋🏽']);

  const terminal = new Chat('talk', 'carl', 'lobby', '--gate', `ws://127.0.0.1:${gate}`);
  await terminal.line(/^\* carl entered/);
  await history(desk, 4);
  await say(desk, 'psst', 'carl');
  await terminal.line(/^ann -> carl: psst$/);
  terminal.process.stdin.write('from a terminal 🚀\n');
  assert.equal((await history(phone, 4)).at(-1), 'carl from a terminal 🚀');
  assert.equal((await history(desk, 6)).at(-1), 'carl from a terminal 🚀');
  await desk.waitForFunction(() => /^connected · \d+ ms$/.test(document.getElementById('state').textContent));
  return { address, desk, phone, terminal };
}

test('two pages and a terminal talk', async () => {
  const { address, desk, phone, terminal } = await talk();

  // No wider than the phone.
  assert.ok(await phone.evaluate(() => document.documentElement.scrollWidth <= 360));
  await desk.screenshot({ path: path.join(shots, 'chat-desk.png') });
  await phone.screenshot({ path: path.join(shots, 'chat-phone.png') });

  terminal.process.stdin.end();
  assert.equal(await terminal.ended, 0);
  await phone.waitForFunction(() => document.getElementById('members').children.length === 2);

  const twin = await open(address, { locale: 'en' });
  await enter(twin, 'ann', 'lobby');
  await twin.waitForFunction(() => document.getElementById('refused').textContent === 'This name is taken in this room.');
  await phone.click('#language');
  assert.equal(await phone.textContent('#leave'), 'Leave');
  await phone.click('#leave');
  await phone.waitForSelector('#login', { state: 'visible' });
  await desk.waitForFunction(() => document.getElementById('members').children.length === 1);
  // The server is gone, and comes back on the same ports: the page enters again by itself.
  chat.process.kill('SIGKILL');
  await desk.waitForFunction(() => /lost, next try in 5 s/.test(document.getElementById('state').textContent));
  await desk.screenshot({ path: path.join(shots, 'chat-lost.png') });
  chat = new Chat('serve', ...PORTS);
  await chat.line(/In a browser/);
  assert.equal((await history(desk, 9)).at(-1), 'connected again');
  await say(desk, 'still here');
  assert.equal((await history(desk, 10)).at(-1), 'ann still here');

  // One that stops in good order sends everybody away.
  chat.process.kill('SIGINT');
  await desk.waitForFunction(() => /^kicked: /.test(document.getElementById('state').textContent));
  assert.equal(await chat.ended, 0);
  for (const page of [desk, phone, twin]) assert.deepEqual(page.errors, []);
});

test('they talk without dictionary and protobuf, too', async () => {
  const { desk, phone, terminal } = await talk('--plain');
  terminal.process.stdin.end();
  assert.equal(await terminal.ended, 0);
  chat.process.kill('SIGINT');
  assert.equal(await chat.ended, 0);
  for (const page of [desk, phone]) assert.deepEqual(page.errors, []);
});
