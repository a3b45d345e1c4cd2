'use strict';
// The test application that the golden exchanges were recorded against (`app` in protocol/tests/golden/exchanges.json),
// as the configuration files a pomelo or pinus server reads.

const fs = require('node:fs');
const path = require('node:path');

/** Schemas and user dictionary, in the notation of the original's configuration files. */
const dictionary = ['onChat', 'onPb'];
const serverProtos = {
  onPb: { 'required uInt32 a': 1, 'optional string s': 2 },
  'connector.entryHandler.pb': { 'required uInt32 n': 1 },
};
const clientProtos = {
  'connector.entryHandler.pb': { 'required uInt32 n': 1, 'optional sInt32 m': 2 },
};

/** Writes `config/` below `base`. `ports` are five free ones; `log4js` is the framework's logging configuration. */
function writeConfig(base, ports, log4js) {
  const host = '127.0.0.1';
  const files = {
    'master.json': { development: { id: 'master-server-1', host, port: ports.master } },
    'servers.json': {
      development: {
        connector: [{ id: 'connector-server-1', host, port: ports.connector, clientHost: host, clientPort: ports.client, frontend: true }],
        chat: [{ id: 'chat-server-1', host, port: ports.chat }],
      },
    },
    'dictionary.json': dictionary,
    'serverProtos.json': serverProtos,
    'clientProtos.json': clientProtos,
    'log4js.json': log4js,
  };
  fs.mkdirSync(path.join(base, 'config'), { recursive: true });
  fs.mkdirSync(path.join(base, 'logs'), { recursive: true });
  for (const [name, value] of Object.entries(files)) {
    fs.writeFileSync(path.join(base, 'config', name), JSON.stringify(value, null, 2));
  }
}

module.exports = { writeConfig };
