'use strict';

let uids = 0;

class Handler {
  constructor(app) {
    this.app = app;
  }

  async entry(msg, session) {
    await session.abind(String(++uids));
    return { code: 200 };
  }

  async echo(msg) {
    return { code: 200, msg: msg.msg };
  }

  async join(msg, session) {
    const channel = this.app.get('channelService').getChannel(msg.room, true);
    const uid = session.uid;
    const sid = this.app.getServerId();
    channel.add(uid, sid);
    session.on('closed', () => channel.leave(uid, sid));
    session.set('room', msg.room);
    await session.apush('room');
    return { code: 200 };
  }

  async broadcast(msg, session) {
    const channel = this.app.get('channelService').getChannel(session.get('room'), false);
    await channel.apushMessage('onMessage', { msg: msg.msg });
    return { code: 200 };
  }
}

exports.default = (app) => new Handler(app);
