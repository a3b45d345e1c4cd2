'use strict';

var uids = 0;

module.exports = function(app) {
  return new Handler(app);
};

var Handler = function(app) {
  this.app = app;
};

var handler = Handler.prototype;

handler.entry = function(msg, session, next) {
  session.bind(String(++uids), function(err) {
    next(err, { code: 200 });
  });
};

handler.echo = function(msg, session, next) {
  next(null, { code: 200, msg: msg.msg });
};

handler.join = function(msg, session, next) {
  var channel = this.app.get('channelService').getChannel(msg.room, true);
  var uid = session.uid;
  var sid = this.app.getServerId();
  channel.add(uid, sid);
  session.on('closed', function() {
    channel.leave(uid, sid);
  });
  session.set('room', msg.room);
  session.push('room', function(err) {
    next(err, { code: 200 });
  });
};

handler.broadcast = function(msg, session, next) {
  var channel = this.app.get('channelService').getChannel(session.get('room'), false);
  channel.pushMessage('onMessage', { msg: msg.msg }, function(err) {
    next(err, { code: 200 });
  });
};
