'use strict';
// One process of the application: master, chat or connector, as the arguments say.

require('reflect-metadata');
const { pinus } = require('pinus');

const options = JSON.parse(process.env.PEER_OPTIONS);
const app = pinus.createApp({ base: process.env.PEER_BASE });
app.set('name', 'interop');

app.configure('development', 'connector', () => {
  app.set('connectorConfig', {
    connector: pinus.connectors.hybridconnector,
    heartbeat: Number(options.heartbeat),
    useDict: options.dict,
    useProtobuf: options.protobuf,
    useCrypto: options.crypto,
    checkClient: (type, version) => version !== '0.0.0',
    handshake: (msg, cb) => {
      const user = msg.user || {};
      if (user.refuse) cb(new Error('refused'));
      else cb(null, user.echo ? { echo: user.echo } : undefined);
    },
  });
});

// A promise cannot fail and answer at once; an error of ours carries the answer along.
app.set('errorHandler', (err, msg, resp, session, cb) => cb(err, err.resp || resp));

app.start((err) => {
  if (err) throw err;
  process.send({ started: true, node: process.version });
});

process.on('uncaughtException', (err) => console.error(`Caught exception: ${err.stack}`));
process.on('unhandledRejection', (err) => console.error(`Unhandled rejection: ${err.stack}`));
// The starter is gone, however it ended.
process.on('disconnect', () => process.exit(0));
