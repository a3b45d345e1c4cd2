'use strict';
// A minimal application on pomelo or pinus with the routes of the load tool, for `cargo xtask compare`:
//
//     node run.cjs pomelo|pinus [--port P] [--heartbeat SECONDS]
//
// It is the one of benches/bin/bench-server.rs: JSON, no dictionary, no protobuf, no filters. A pomelo application is a
// master and a frontend at least; only the frontend, whose process id is printed, has anything to do. The packages are
// those of interop/, where it is said which Node runs which.

const { fork } = require('node:child_process');
const fs = require('node:fs');
const { createRequire } = require('node:module');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { parseArgs } = require('node:util');

const interop = createRequire(path.join(__dirname, '../../../interop/package.json'));
const { freePorts } = interop('./lib/ports.cjs');

/** A start takes a second; one that does not come to an end must not stop a comparison. */
const START_MS = 60_000;

const PEERS = {
  pomelo: {
    // pomelo 2.2.7 passes `{binary: true}` where `socket.write` takes an encoding, which current Node refuses.
    node: () => interop.resolve(`node-${process.platform}-${process.arch}/bin/node`),
    // log4js 0.6, the version pomelo-logger 0.1.7 brings along
    log4js: { appenders: [{ type: 'console' }], levels: { '[all]': 'OFF' }, replaceConsole: false },
  },
  pinus: {
    node: () => process.execPath,
    log4js: { appenders: { console: { type: 'console' } }, categories: { default: { appenders: ['console'], level: 'off' } } },
  },
};

async function main() {
  const { values, positionals: [name] } = parseArgs({
    allowPositionals: true,
    options: { port: { type: 'string', default: '3010' }, heartbeat: { type: 'string', default: '30' } },
  });
  const peer = PEERS[name];
  if (!peer) throw new Error('usage: node run.cjs pomelo|pinus [--port P] [--heartbeat SECONDS]');

  const [master, connector, free] = await freePorts(3);
  const client = Number(values.port) || free;
  const base = writeBase(name, peer, { master, connector, client });
  const children = [];
  const end = (code) => {
    for (const child of children) child.kill('SIGKILL');
    fs.rmSync(base, { recursive: true, force: true });
    process.exit(code);
  };
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => end(0));
  // However the starter ended, its end of the pipe is closed.
  process.stdin.on('end', () => end(0)).resume();

  const patience = setTimeout(() => end(1), START_MS);

  const start = (args) => new Promise((resolve) => {
    const child = fork(path.join(__dirname, name, 'main.cjs'), args, {
      cwd: base,
      execPath: peer.node(),
      execArgv: [],
      env: {
        ...process.env,
        NODE_ENV: 'production',
        NODE_PATH: path.join(__dirname, '../../../interop/node_modules'),
        PEER_BASE: base,
        PEER_HEARTBEAT: values.heartbeat,
      },
      stdio: ['ignore', 2, 2, 'ipc'],
    });
    children.push(child);
    child.on('exit', () => end(1));
    child.on('message', () => resolve(child));
  });
  // stand-alone: the master starts nobody.
  const common = ['env=production', 'mode=stand-alone'];
  await start(common);
  const began = process.hrtime.bigint();
  const frontend = await start([
    ...common, 'id=connector-server-1', 'serverType=connector', 'host=127.0.0.1', `port=${connector}`,
    'frontend=true', 'clientHost=127.0.0.1', `clientPort=${client}`,
  ]);
  await accepts(client);
  const took = Number(process.hrtime.bigint() - began) / 1e6;
  clearTimeout(patience);
  process.stdout.write(`listening on 127.0.0.1:${client} pid ${frontend.pid} after ${took.toFixed(1)} ms\n`);
}

/** The directory of the application, as pomelo wants it. */
function writeBase(name, peer, ports) {
  const base = fs.mkdtempSync(path.join(os.tmpdir(), `compare-${name}-`));
  const host = '127.0.0.1';
  const connector = { id: 'connector-server-1', host, port: ports.connector, clientHost: host, clientPort: ports.client, frontend: true };
  const files = {
    'master.json': { production: { id: 'master-server-1', host, port: ports.master } },
    'servers.json': { production: { connector: [connector] } },
    'log4js.json': peer.log4js,
  };
  fs.mkdirSync(path.join(base, 'config'));
  fs.mkdirSync(path.join(base, 'logs'));
  for (const [file, value] of Object.entries(files)) fs.writeFileSync(path.join(base, 'config', file), JSON.stringify(value));
  const handlers = path.join(base, 'app/servers/connector/handler');
  fs.mkdirSync(handlers, { recursive: true });
  fs.copyFileSync(path.join(__dirname, name, 'entryHandler.js'), path.join(handlers, 'entryHandler.js'));
  return base;
}

function accepts(port) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve();
    });
    socket.on('error', reject);
  });
}

main().catch((error) => {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
});
