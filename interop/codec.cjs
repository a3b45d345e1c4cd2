#!/usr/bin/env node
'use strict';
// The original codecs, pomelo-protocol 0.1.6 and pomelo-protobuf 0.4.0, on a line protocol: one JSON command per line on
// stdin, one JSON answer per line on stdout, in order. README.md has the list.
//
// The codecs run in a worker, because some inputs make them loop or allocate for ever; such a command is answered with
// {"hangs":true} and the next one gets a new worker.

const { Worker, isMainThread, parentPort } = require('node:worker_threads');
const lines = require('./lib/lines.cjs');

/** The longest legitimate command takes milliseconds; this is far above it on any machine. */
const HANG_MS = 5_000;
/** Enough for a message of the largest size; an endless list is stopped early. */
const HEAP_MB = 256;

if (isMainThread) serve();
else parentPort.on('message', (command) => parentPort.postMessage(answer(command)));

async function serve() {
  let worker = null;
  const queue = [];
  let busy = false;
  let ended = false;

  const next = async () => {
    if (busy) return;
    busy = true;
    while (queue.length) {
      const command = queue.shift();
      worker ??= spawn();
      const result = await ask(worker, command);
      if (result === null) {
        await worker.terminate();
        worker = null;
      }
      lines.write({ ...(command.n === undefined ? {} : { n: command.n }), ...(result ?? { hangs: true }) });
    }
    busy = false;
    if (ended) lines.exit(0);
  };
  lines.read((command) => {
    if (!Object.hasOwn(commands, command.cmd)) {
      lines.bad(`unknown cmd ${JSON.stringify(command.cmd)}`);
      return;
    }
    queue.push(command);
    next();
  }, () => {
    ended = true;
    next();
  });
}

function spawn() {
  const worker = new Worker(__filename, { resourceLimits: { maxOldGenerationSizeMb: HEAP_MB }, stdout: true });
  worker.stdout.pipe(process.stderr, { end: false });
  return worker;
}

/** The worker's answer; null if it hangs or runs out of memory. */
function ask(worker, command) {
  return new Promise((resolve) => {
    const done = (result) => {
      clearTimeout(timer);
      worker.off('message', done);
      if (result !== null) worker.off('error', fail);
      resolve(result);
    };
    const timer = setTimeout(done, HANG_MS, null);
    const fail = () => done(null);
    worker.on('message', done);
    worker.on('error', fail);
    worker.postMessage(command);
  });
}

// ---- the worker ----

/** The two halves of pomelo-protobuf: what Node servers use, and what browsers use. */
const protobufs = {
  server: () => require('pomelo-protobuf'),
  client: () => require('pomelo-protobuf/lib/client/protobuf'),
};
/** The half of `pomelo-protocol` that runs on Node; its browser half differs in the string type only. */
const protocol = () => require('pomelo-protocol');

const commands = {
  'pb.parse': ({ protos }) => protobufs.server().parse(protos),
  'pb.encode': ({ protos, route, msg, build = 'server' }) => hex(load(build, protos).encode(route, plain(msg))),
  'pb.decode': ({ protos, route, hex: text, build = 'server' }) => load(build, protos).decode(route, bytes(text)),
  'message.encode': ({ type, id, route, hex: body }) => {
    const { Message } = protocol();
    return hex(Message.encode(id, type, typeof route === 'number' ? 1 : 0, route, bytes(body)));
  },
  'message.decode': ({ hex: text }) => {
    const { body, ...message } = protocol().Message.decode(bytes(text));
    return { ...message, body: hex(body) };
  },
  'package.encode': ({ type, hex: body }) => hex(protocol().Package.encode(type, body === undefined ? undefined : bytes(body))),
  'package.decode': ({ hex: text }) => {
    const found = protocol().Package.decode(bytes(text));
    return (Array.isArray(found) ? found : [found]).map(({ type, body }) => ({ type, body: hex(body) }));
  },
  strencode: ({ text }) => hex(protocol().strencode(text)),
  strdecode: ({ hex: text }) => protocol().strdecode(bytes(text)),
};

function answer({ cmd, ...args }) {
  try {
    return { ok: tagged(commands[cmd](args)) };
  } catch (error) {
    return { throws: error.name, detail: error.message };
  }
}

/** `protos` is in the notation of the configuration files; both directions get the same schemas. */
function load(build, protos) {
  const protobuf = protobufs[build]();
  const parsed = protobufs.server().parse(protos);
  protobuf.init({ encoderProtos: parsed, decoderProtos: parsed });
  return protobuf;
}

function bytes(text) {
  return Buffer.from(text, 'hex');
}

function hex(found) {
  return found ? Buffer.from(found).toString('hex') : null;
}

/** Reads the golden vectors' notation of what JSON cannot hold: {"$num":"NaN"}, {"$undefined":true}. */
function plain(value) {
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(plain);
  if ('$num' in value) return Number(value.$num);
  if ('$undefined' in value) return undefined;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, plain(member)]));
}

/** Writes the same notation. */
function tagged(value) {
  if (value === undefined) return { $undefined: true };
  if (typeof value === 'number' && (!Number.isFinite(value) || Object.is(value, -0))) {
    return { $num: Object.is(value, -0) ? '-0' : String(value) };
  }
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(tagged);
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, tagged(member)]));
}
