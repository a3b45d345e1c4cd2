'use strict';

module.exports = function(app) {
  return new Handler(app);
};

var Handler = function(app) {
  this.app = app;
};

var handler = Handler.prototype;

handler.echo = function(msg, session, next) {
  next(null, { code: 200, body: msg });
};

handler.fail = function(msg, session, next) {
  next(new Error('fail'));
};

handler.failWith = function(msg, session, next) {
  next(new Error('fail'), { code: 7, why: 'x' });
};

handler.nothing = function(msg, session, next) {
  next(null);
};

handler.silent = function() {};

handler.pb = function(msg, session, next) {
  if (msg.n === 9) {
    next(new Error('fail'));
    return;
  }
  next(null, { n: msg.n + 1 });
};

handler.bind = function(msg, session, next) {
  session.bind(msg.uid, function(err) {
    next(null, { err: err ? err.message : null });
  });
};

handler.push = function(msg, session, next) {
  var self = [{ uid: session.uid, sid: session.frontendId }];
  this.app.get('channelService').pushMessageByUids(msg.route, msg.msg, self, function(err, fails) {
    next(null, { err: err ? err.message : null, fails: fails });
  });
};

handler.kick = function(msg, session) {
  this.app.get('sessionService').kickBySessionId(session.id, msg.reason);
};

handler.later = function(msg, session, next) {
  setTimeout(function() {
    next(null, { t: msg.t });
  }, msg.t);
};
