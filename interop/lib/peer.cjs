'use strict';
// Runs a real pomelo or pinus application: master, one `chat` backend and one `connector` frontend, each a process of
// its own as in production, on free loopback ports and in a fresh temporary directory.

const { fork } = require('node:child_process');
const crypto = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { parseArgs } = require('node:util');
const { writeConfig } = require('./app-config.cjs');
const lines = require('./lines.cjs');
const { freePorts } = require('./ports.cjs');
const wire = require('./wire.cjs');

/** How often a start is tried again with new ports: another program may take a port between our look and our use. */
const ATTEMPTS = 3;
/** A start takes about two seconds; a loaded machine is given this many before the attempt counts as failed. */
const START_MS = 60_000;
/** Pause between two looks whether the application answers yet. */
const PROBE_MS = 50;

const USAGE = `options:
  --heartbeat SECONDS  heartbeat interval; 0 turns heartbeats off (default 3)
  --dict               route dictionary on
  --protobuf           protobuf on
  --crypto             signed requests (useCrypto)
  --node PATH          the Node that runs the server`;

/**
 * @param {{name: string, dir: string, log4js: object, node: string | null}} peer `dir` holds `main.cjs` and `app/`; `node` is
 *   the Node to run it with when the user names none, null if there is no such Node here.
 */
async function runPeer(peer) {
  let options;
  try {
    options = parseArgs({
      options: {
        heartbeat: { type: 'string', default: '3' },
        dict: { type: 'boolean', default: false },
        protobuf: { type: 'boolean', default: false },
        crypto: { type: 'boolean', default: false },
        node: { type: 'string' },
      },
    }).values;
    if (!(Number(options.heartbeat) >= 0)) throw new Error('--heartbeat takes a number of seconds');
    options.node ??= peer.node;
    if (!options.node) throw new Error(`no Node here runs ${peer.name}: name one with --node`);
  } catch (error) {
    process.stderr.write(`${error.message}\n${USAGE}\n`);
    process.exit(2);
  }

  let cluster = null;
  let stopping = null;
  const stop = (code) => {
    stopping ??= (async () => {
      await cluster?.stop();
      lines.exit(code);
    })();
    return stopping;
  };
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => stop(0));
  process.stdin.on('end', () => stop(0));
  process.stdin.on('error', () => stop(0));
  process.stdin.resume();

  for (let attempt = 1; !stopping; attempt++) {
    cluster = new Cluster(peer, options);
    try {
      const port = await cluster.start();
      if (stopping) return;
      cluster.onDeath = () => stop(1);
      lines.write({ ready: true, port, wsPort: port, peer: peer.name, node: cluster.version });
      return;
    } catch (error) {
      if (stopping) return;
      process.stderr.write(`${peer.name}: start ${attempt} of ${ATTEMPTS} failed: ${error.message}\n`);
      await cluster.stop();
      if (attempt === ATTEMPTS) await stop(1);
    }
  }
}

class Cluster {
  constructor(peer, options) {
    this.peer = peer;
    this.options = options;
    this.children = new Set();
    this.onDeath = () => {};
    this.stopped = false;
    this.version = null;
    this.base = fs.mkdtempSync(path.join(os.tmpdir(), `${peer.name}-peer-`));
  }

  /** Gives the client port once a request has gone through connector and chat server and back. */
  async start() {
    const [master, connector, chat, client] = await freePorts(4);
    writeConfig(this.base, { master, connector, chat, client }, this.peer.log4js);
    fs.cpSync(path.join(this.peer.dir, 'app'), path.join(this.base, 'app'), { recursive: true });

    let abort;
    const aborted = new Promise((_, reject) => (abort = reject));
    this.onDeath = (name) => abort(new Error(`${name} ended`));
    const timer = setTimeout(() => abort(new Error(`not ready after ${START_MS} ms`)), START_MS);
    try {
      await Promise.race([this.#startAll({ connector, chat, client }), aborted]);
    } finally {
      clearTimeout(timer);
      this.onDeath = () => {};
    }
    return client;
  }

  async #startAll(ports) {
    const common = ['env=development', 'mode=stand-alone'];
    // stand-alone: the master starts nobody, so every process is a child of ours and none can outlive us.
    await this.#fork('master', common);
    const host = 'host=127.0.0.1';
    await this.#fork('chat', [...common, 'id=chat-server-1', 'serverType=chat', host, `port=${ports.chat}`]);
    await this.#fork('connector', [
      ...common, 'id=connector-server-1', 'serverType=connector', host, `port=${ports.connector}`,
      'frontend=true', 'clientHost=127.0.0.1', `clientPort=${ports.client}`,
    ]);
    while (!this.stopped && !(await answers(ports.client, this.options.crypto))) await pause(PROBE_MS);
  }

  #fork(name, args) {
    return new Promise((resolve, reject) => {
      const child = fork(path.join(this.peer.dir, 'main.cjs'), args, {
        cwd: this.base,
        execPath: this.options.node,
        execArgv: [],
        env: { ...process.env, NODE_ENV: 'development', PEER_BASE: this.base, PEER_OPTIONS: JSON.stringify(this.options) },
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      });
      child.stdout.pipe(process.stderr, { end: false });
      child.stderr.pipe(process.stderr, { end: false });
      child.on('message', (message) => {
        if (!message.started) return;
        this.version = message.node;
        resolve();
      });
      child.on('error', reject);
      this.children.add(child);
      child.on('exit', () => {
        this.children.delete(child);
        if (!this.stopped) this.onDeath(name);
      });
    });
  }

  /**
   * Ends every process at once. pomelo's own graceful stop sends clients nothing either (no kick, no close frame), and
   * takes up to three seconds.
   */
  async stop() {
    this.stopped = true;
    const gone = [...this.children].map((child) => new Promise((resolve) => child.once('exit', resolve)));
    for (const child of this.children) child.kill('SIGKILL');
    await Promise.all(gone);
    fs.rmSync(this.base, { recursive: true, force: true });
  }
}

/** Whether a request to the backend comes back with success. */
async function answers(port, signed) {
  const { sys, body } = signed ? signedRequest() : { sys: {}, body: {} };
  let tcp;
  try {
    tcp = await wire.Tcp.connect(port);
    if ((await tcp.open({ sys: { type: 'probe', version: '1.0.0', ...sys } })).code !== 200) return false;
    tcp.send(wire.DATA, wire.message(1, 'chat.chatHandler.echo', body));
    const answer = await tcp.nextButHeartbeat();
    return answer !== null && JSON.parse(answer.body.subarray(2)).code === 200;
  } catch {
    return false;
  } finally {
    tcp?.close();
  }
}

/** What a server with `useCrypto` wants to see: a key in the handshake and a signature over the JSON of the empty body. */
function signedRequest() {
  const { publicKey, privateKey } = crypto.generateKeyPairSync('rsa', { modulusLength: 1024, publicExponent: 0x10001 });
  const modulus = Buffer.from(publicKey.export({ format: 'jwk' }).n, 'base64url').toString('hex');
  return {
    sys: { rsa: { rsa_n: modulus, rsa_e: 0x10001 } },
    body: { __crypto__: crypto.sign('sha256', Buffer.from('{}'), privateKey).toString('hex') },
  };
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

module.exports = { runPeer };
