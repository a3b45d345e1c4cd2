'use strict';
// The original browser client as one classic script. A page loads it and calls `require('boot')`, as the pages of pomelo's
// project template do; after that it has `window.pomelo`.

const fs = require('node:fs');
const path = require('node:path');

const builds = {
  /** npm pomelo-jsclient-websocket 0.1.1 with the npm libraries around it, every file as published. */
  npm: () => [LOADER, ...NPM_PARTS.map(([name, file]) => define(name, fs.readFileSync(require.resolve(file), 'utf8'))), define('boot', BOOT)].join('\n'),
  /** The older ready-made build in pomelo's project template, the one that shipped pages carry, byte for byte. */
  bundled: () => fs.readFileSync(path.join(path.dirname(require.resolve('pomelo/package.json')), BUNDLED), 'utf8'),
};

const BUNDLED = 'template/web-server/public/js/lib/build/build.js';

const NPM_PARTS = [
  ['component-emitter', 'component-emitter'],
  ['pomelo-protocol', 'pomelo-protocol/lib/protocol.js'],
  ['pomelo-protobuf', 'pomelo-protobuf/lib/client/protobuf.js'],
  ['pomelo-jsclient-websocket', 'pomelo-jsclient-websocket/lib/pomelo-client.js'],
];

/** What the component tool put in front of its builds, as small as it can be. */
const LOADER = `var require = (function () {
  var definitions = {};
  var modules = {};
  function require(name) {
    if (!modules[name]) {
      modules[name] = { exports: {} };
      definitions[name].call(window, modules[name].exports, require, modules[name]);
    }
    return modules[name].exports;
  }
  require.register = function (name, definition) {
    definitions[name] = definition;
  };
  return require;
})();
`;

/**
 * The 0.1.1 client decodes protobuf bodies with `protobuf.decodeStr`, which the browser half of pomelo-protobuf 0.4.0
 * does not have: as published, the two fail on every protobuf body. Pages that worked had one that is `decode`.
 */
const BOOT = `window.EventEmitter = require('component-emitter');
require('pomelo-protocol'); // sets window.Protocol itself
window.protobuf = require('pomelo-protobuf');
window.protobuf.decodeStr = window.protobuf.decodeStr || window.protobuf.decode;
window.pomelo = require('pomelo-jsclient-websocket');`;

function define(name, source) {
  return `require.register("${name}", function (exports, require, module) {\n${source}\n});\n`;
}

module.exports = { builds };
