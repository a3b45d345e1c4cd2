#!/usr/bin/env node
'use strict';
// A pomelo 2.2.7 server with the test application: `node peers/pomelo.cjs --dict --protobuf`.

const path = require('node:path');
const { runPeer } = require('../lib/peer.cjs');

/**
 * pomelo 2.2.7 passes `{binary: true}` where `socket.write` takes an encoding, which current Node refuses: its TCP
 * transport needs an old one. The registry has Node 10 as a package for some platforms; elsewhere the user names one.
 */
function oldNode() {
  try {
    return require.resolve(`node-${process.platform}-${process.arch}/bin/node`);
  } catch {
    return null;
  }
}

runPeer({
  name: 'pomelo',
  dir: path.join(__dirname, 'pomelo'),
  node: oldNode(),
  // log4js 0.6, the version pomelo-logger 0.1.7 brings along
  log4js: { appenders: [{ type: 'console' }], levels: { '[all]': 'WARN' }, replaceConsole: false },
});
