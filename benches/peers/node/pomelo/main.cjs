'use strict';
// One process of the application: master or connector, as the arguments say. Old Node syntax on purpose.

var pomelo = require('pomelo');

var app = pomelo.createApp({ base: process.env.PEER_BASE });
app.set('name', 'compare');

app.configure('production', 'connector', function() {
  app.set('connectorConfig', {
    connector: pomelo.connectors.hybridconnector,
    // Without, each handshake over TCP waits 40 ms for a delayed acknowledgement.
    setNoDelay: true,
    heartbeat: Number(process.env.PEER_HEARTBEAT)
  });
});

app.start(function(err) {
  if (err) {
    throw err;
  }
  process.send('started');
});

process.on('uncaughtException', function(err) {
  console.error('Caught exception: ' + err.stack);
});
// The starter is gone, however it ended.
process.on('disconnect', function() {
  process.exit(0);
});
