'use strict';
// One process of the application: master, chat or connector, as the arguments say. Old Node syntax on purpose.

var pomelo = require('pomelo');

var options = JSON.parse(process.env.PEER_OPTIONS);
var app = pomelo.createApp({ base: process.env.PEER_BASE });
app.set('name', 'interop');

app.configure('development', 'connector', function() {
  app.set('connectorConfig', {
    connector: pomelo.connectors.hybridconnector,
    heartbeat: Number(options.heartbeat),
    useDict: options.dict,
    useProtobuf: options.protobuf,
    useCrypto: options.crypto,
    checkClient: function(type, version) {
      return version !== '0.0.0';
    },
    handshake: function(msg, cb) {
      var user = msg.user || {};
      if (user.refuse) {
        cb(new Error('refused'));
      } else {
        cb(null, user.echo ? { echo: user.echo } : undefined);
      }
    }
  });
});

app.start(function(err) {
  if (err) {
    throw err;
  }
  process.send({ started: true, node: process.version });
});

process.on('uncaughtException', function(err) {
  console.error('Caught exception: ' + err.stack);
});
// The starter is gone, however it ended.
process.on('disconnect', function() {
  process.exit(0);
});
