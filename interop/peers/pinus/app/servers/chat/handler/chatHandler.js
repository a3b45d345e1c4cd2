'use strict';

class Handler {
  constructor(app) {
    this.app = app;
  }

  async echo(msg) {
    return { code: 200, body: msg };
  }

  async fail() {
    throw new Error('fail');
  }

  async failWith() {
    throw Object.assign(new Error('fail'), { resp: { code: 7, why: 'x' } });
  }

  async nothing() {
    return null;
  }

  silent() {
    return new Promise(() => {});
  }

  async pb(msg) {
    if (msg.n === 9) throw new Error('fail');
    return { n: msg.n + 1 };
  }

  bind(msg, session) {
    return new Promise((resolve) => {
      session.bind(msg.uid, (err) => resolve({ err: err ? err.message : null }));
    });
  }

  push(msg, session) {
    const self = [{ uid: session.uid, sid: session.frontendId }];
    return new Promise((resolve) => {
      this.app.get('channelService').pushMessageByUids(msg.route, msg.msg, self, (err, fails) => {
        resolve({ err: err ? err.message : null, fails });
      });
    });
  }

  kick(msg, session) {
    this.app.get('backendSessionService').kickBySid(session.frontendId, session.id, msg.reason, () => {});
    return new Promise(() => {});
  }

  later(msg) {
    return new Promise((resolve) => setTimeout(() => resolve({ t: msg.t }), msg.t));
  }
}

exports.default = (app) => new Handler(app);
