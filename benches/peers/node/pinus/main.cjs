'use strict';
// One process of the application: master or connector, as the arguments say.

require('reflect-metadata');
const { pinus } = require('pinus');

const app = pinus.createApp({ base: process.env.PEER_BASE });
app.set('name', 'compare');

app.configure('production', 'connector', () => {
  app.set('connectorConfig', {
    connector: pinus.connectors.hybridconnector,
    // Without, each handshake over TCP waits 40 ms for a delayed acknowledgement.
    setNoDelay: true,
    heartbeat: Number(process.env.PEER_HEARTBEAT),
  });
});

app.start((err) => {
  if (err) throw err;
  process.send('started');
});

process.on('uncaughtException', (err) => console.error(`Caught exception: ${err.stack}`));
process.on('unhandledRejection', (err) => console.error(`Unhandled rejection: ${err.stack}`));
// The starter is gone, however it ended.
process.on('disconnect', () => process.exit(0));
