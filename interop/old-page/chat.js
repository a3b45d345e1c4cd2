// A chat page as people wrote them in 2013: globals, callbacks, the original client under its old names.
// The gate is on port 3014 of the page's own host, unless the address says otherwise: ?port=4014&host=example.org

var GATE_PORT = 3014;
var EVERYBODY = '*';

var pomelo = window.pomelo;
var username;
var rid;
// Leaving the gate closes a connection, too; only the loss of this one ends the chat.
var online = false;
var chatPort;

function byId(id) {
  return document.getElementById(id);
}

function parameter(name, otherwise) {
  var found = new RegExp('[?&]' + name + '=([^&]*)').exec(window.location.search);
  return found ? decodeURIComponent(found[1]) : otherwise;
}

// Asks the gate for a connector: callback(host, port), or showLoginError.
function queryEntry(uid, callback) {
  pomelo.init({
    host: parameter('host', window.location.hostname),
    port: parameter('port', GATE_PORT),
    log: true
  }, function() {
    pomelo.request('gate.gateHandler.queryEntry', {
      uid: uid
    }, function(data) {
      pomelo.disconnect();
      if (data.code === 500) {
        showLoginError('The gate refused.');
        return;
      }
      callback(data.host, data.port);
    });
  });
}

function login() {
  username = byId('username').value;
  rid = byId('channel').value;
  if (!/^[^\s*]+$/.test(username) || !/^\S+$/.test(rid)) {
    showLoginError('Name and channel must not be empty.');
    return false;
  }
  queryEntry(username, function(host, port) {
    chatPort = port;
    pomelo.init({
      host: host,
      port: port,
      log: true
    }, function() {
      pomelo.request('connector.entryHandler.enter', {
        username: username,
        rid: rid
      }, function(data) {
        if (data.error) {
          pomelo.disconnect();
          showLoginError('This name is taken in this channel.');
          return;
        }
        online = true;
        showChat(data.users);
      });
    });
  });
  return false;
}

function sendEntry() {
  var target = byId('users').value;
  var content = byId('entry').value;
  if (!content) {
    return false;
  }
  pomelo.request('chat.chatHandler.send', {
    rid: rid,
    content: content,
    from: username,
    target: target
  }, function() {
    byId('entry').value = '';
    // The server sends a private message to its target only.
    if (target !== EVERYBODY && target !== username) {
      addMessage(username, target, content);
    }
  });
  return false;
}

function addMessage(from, target, text) {
  var line = document.createElement('div');
  var name = document.createElement('span');
  name.className = 'from';
  name.appendChild(document.createTextNode(from + (target === EVERYBODY ? '' : ' to ' + target) + ': '));
  line.className = target === EVERYBODY ? 'message' : 'message private';
  line.appendChild(name);
  line.appendChild(document.createTextNode(text));
  append(line);
}

function addNotice(text) {
  var line = document.createElement('div');
  line.className = 'notice';
  line.appendChild(document.createTextNode(text));
  append(line);
}

function append(line) {
  var history = byId('history');
  history.appendChild(line);
  history.scrollTop = history.scrollHeight;
}

function addUser(user) {
  var option = document.createElement('option');
  option.value = user;
  option.appendChild(document.createTextNode(user === EVERYBODY ? 'everybody' : user));
  byId('users').appendChild(option);
}

function removeUser(user) {
  var options = byId('users').options;
  for (var i = options.length - 1; i >= 0; i--) {
    if (options[i].value === user) {
      byId('users').removeChild(options[i]);
    }
  }
}

function showLogin() {
  byId('loginView').style.display = '';
  byId('chatView').style.display = 'none';
}

function showLoginError(text) {
  showLogin();
  byId('loginError').innerHTML = text;
}

function showChat(users) {
  byId('loginView').style.display = 'none';
  byId('chatView').style.display = '';
  byId('loginError').innerHTML = '';
  byId('name').innerHTML = '';
  byId('name').appendChild(document.createTextNode(username));
  byId('room').innerHTML = '';
  byId('room').appendChild(document.createTextNode(rid));
  byId('history').innerHTML = '';
  byId('users').innerHTML = '';
  addUser(EVERYBODY);
  for (var i = 0; i < users.length; i++) {
    addUser(users[i]);
  }
}

function lost(event) {
  // A browser tells of the gate's closed WebSocket later, perhaps when the room is entered already.
  var socket = event && event.target;
  if (socket && socket.url && socket.url.indexOf(':' + chatPort) < 0) {
    return;
  }
  if (online) {
    online = false;
    showLoginError('The connection was closed.');
  }
}

function boot() {
  pomelo.on('onChat', function(data) {
    addMessage(data.from, data.target, data.msg);
  });
  pomelo.on('onAdd', function(data) {
    addNotice(data.user + ' came in');
    addUser(data.user);
  });
  pomelo.on('onLeave', function(data) {
    addNotice(data.user + ' went away');
    removeUser(data.user);
  });
  // The older client says only "close", the newer one both.
  pomelo.on('close', lost);
  pomelo.on('disconnect', lost);
}
