'use strict';
// Writes server/tests/golden/routers.json: which servers the routers of pomelo-rpc choose.
//
//     node interop/routers.cjs > server/tests/golden/routers.json

const { EventEmitter } = require('events');
const router = require('pomelo-rpc/lib/rpc-client/router');
const { version } = require('pomelo-rpc/package.json');

/** An rpc client with just what the routers look at. */
function client(servers, opts = {}) {
  const station = new EventEmitter();
  station.serversMap = { chat: servers.map((server) => server.id) };
  station.servers = Object.fromEntries(servers.map((server) => [server.id, server]));
  return { _station: station, opts };
}

function chosen(route, client, message) {
  let answer;
  route(client, 'chat', message, (error, id) => {
    answer = error ? { error: error.message } : id;
  });
  return answer;
}

const named = (weights) => weights.map((weight, index) => ({ id: `chat-server-${index + 1}`, weight }));
const message = (args) => ({ namespace: 'user', serverType: 'chat', service: 'chatRemote', method: 'add', args });

const roundRobin = [1, 2, 3, 5].map((count) => {
  const servers = named(Array(count).fill(undefined));
  const one = client(servers);
  return { servers: count, chosen: Array.from({ length: 12 }, () => chosen(router.rr, one, message([]))) };
});

const weighted = [[1], [1, 1], [3, 2, 1], [1, 2, 3], [5, 0, 1], [4, null, 2], [7, 7, 3, 1], [2.5, 1]].map((weights) => {
  const one = client(named(weights));
  return { weights, chosen: Array.from({ length: 24 }, () => chosen(router.wrr, one, message([]))) };
});

const keys = [
  'user1', 'user2', 'zhangsan*1', '\u5f20\u4e09', '\u{1f600}', ' ', 'a'.repeat(100),
  ...Array.from({ length: 60 }, (_, index) => `uid-${index * 7919}`),
];
const consistentHash = [1, 2, 3, 5, 8].map((count) => {
  const one = client(named(Array(count).fill(undefined)), { hashFieldIndex: 1 });
  return { servers: count, chosen: keys.map((key) => [key, chosen(router.ch, one, message([0, key]))]) };
});

const whole = [[], ['user1', 'room', true], [{ a: [1, 2.5, null], b: '\u5f20' }], ['"', '\\', '/']].map((args) => {
  const one = client(named(Array(5).fill(undefined)));
  return { args, chosen: chosen(router.ch, one, message(args)) };
});

console.log(JSON.stringify({ source: `pomelo-rpc ${version}`, roundRobin, weighted, consistentHash, whole }, null, 1));
