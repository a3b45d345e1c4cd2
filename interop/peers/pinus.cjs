#!/usr/bin/env node
'use strict';
// A pinus 1.7.4 server with the test application: `node peers/pinus.cjs --dict --protobuf`.

const path = require('node:path');
const { runPeer } = require('../lib/peer.cjs');

runPeer({
  name: 'pinus',
  dir: path.join(__dirname, 'pinus'),
  node: process.execPath,
  log4js: { appenders: { console: { type: 'console' } }, categories: { default: { appenders: ['console'], level: 'warn' } } },
});
