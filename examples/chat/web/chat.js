// The chat as a page, over the browser client of this workspace. `window.pomelo` is the only thing it needs.

'use strict';

const TEXTS = {
  en: {
    name: 'Name', room: 'Room', enter: 'Enter', members: 'In the room', send: 'Send', leave: 'Leave', to: 'To', text: 'Message',
    everybody: 'everybody', language: '中文',
    away: 'not connected', coming: 'connecting …', here: 'connected', answered: (ms) => `connected · ${ms} ms`,
    lost: (seconds) => `connection lost, next try in ${seconds} s`, kicked: (why) => (why ? `kicked: ${why}` : 'kicked'),
    taken: 'This name is taken in this room.', unreachable: 'The server cannot be reached.', refused: 'The server refused.',
    came: (who) => `${who} came in`, left: (who) => `${who} went away`, back: 'connected again', undelivered: 'not delivered',
    line: (from, to) => `${from} to ${to}`,
  },
  zh: {
    name: '名字', room: '房间', enter: '进入', members: '房间成员', send: '发送', leave: '离开', to: '对象', text: '消息',
    everybody: '所有人', language: 'English',
    away: '未连接', coming: '正在连接……', here: '已连接', answered: (ms) => `已连接 · ${ms} 毫秒`,
    lost: (seconds) => `连接已断开，${seconds} 秒后重试`, kicked: (why) => (why ? `被踢出：${why}` : '被踢出'),
    taken: '该房间里已有人使用这个名字。', unreachable: '无法连接服务器。', refused: '服务器拒绝了请求。',
    came: (who) => `${who} 进来了`, left: (who) => `${who} 离开了`, back: '已重新连接', undelivered: '未送达',
    line: (from, to) => `${from} 对 ${to} 说`,
  },
};
const EVERYBODY = '*';
const FIRST_RETRY_SECONDS = 5;
/** While the server has not yet noticed that our old connection is gone, our own name is taken. */
const TAKEN_RETRY_MS = 2000;
const TAKEN_RETRIES = 6;

const { pomelo } = window;
const at = (id) => document.getElementById(id);

let language = navigator.language.startsWith('zh') ? 'zh' : 'en';
let me = null;
let online = false;
let members = [];
let lostTimes = 0;
let state = ['away'];

const text = (key, ...args) => {
  const found = TEXTS[language][key];
  return typeof found === 'function' ? found(...args) : found;
};

function show(...next) {
  state = next;
  const [key, ...args] = state;
  at('state').textContent = text(key, ...args);
  at('state').dataset.state = { answered: 'here', lost: 'coming' }[key] ?? key;
}

function translate() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll('[data-text]')) element.textContent = text(element.dataset.text);
  for (const element of document.querySelectorAll('[data-label]')) {
    element.setAttribute('aria-label', text(element.dataset.label));
    if (element instanceof HTMLInputElement) element.placeholder = text(element.dataset.label);
  }
  at('language').textContent = text('language');
  show(...state);
  list();
}

function list() {
  const chosen = at('target').value || EVERYBODY;
  at('count').textContent = members.length;
  at('members').replaceChildren(...members.map((name) => Object.assign(document.createElement('li'), { textContent: name })));
  const others = members.filter((name) => name !== me?.username);
  at('target').replaceChildren(new Option(text('everybody'), EVERYBODY), ...others.map((name) => new Option(name, name)));
  at('target').value = others.includes(chosen) ? chosen : EVERYBODY;
}

function add(className, ...parts) {
  const line = document.createElement('li');
  line.className = className;
  line.append(...parts);
  at('history').append(line);
  line.scrollIntoView({ block: 'end' });
}

function said(from, target, message) {
  const bold = document.createElement('b');
  bold.textContent = target === EVERYBODY ? from : text('line', from, target);
  add(target === EVERYBODY ? 'message' : 'message private', bold, ' ', message);
}

/** A request whose answer also tells how far the server is. */
async function ask(route, msg) {
  const begun = performance.now();
  const answer = await pomelo.request(route, msg);
  if (online) show('answered', Math.round(performance.now() - begun));
  return answer;
}

async function gate() {
  const config = await (await fetch('config.json')).json();
  const closed = new Promise((resolve) => { pomelo.once('disconnect', resolve); });
  await pomelo.init({ host: location.hostname, port: config.gate });
  const answer = await pomelo.request('gate.gateHandler.queryEntry', { uid: me.username });
  pomelo.disconnect();
  // A closed WebSocket is told of later; by then it could be taken for that of the chat.
  await closed;
  if (answer.code !== 200) throw new Error(text('refused'));
  // A server on this machine names itself by an address that only this machine knows.
  const host = /^(127\.|localhost$)/.test(answer.host) ? location.hostname : answer.host;
  return { host, port: answer.port };
}

/** Enters the room; after a reconnection too. */
async function enter(retries) {
  const answer = await pomelo.request('connector.entryHandler.enter', me);
  if (answer.error && retries > 0) {
    await new Promise((resolve) => { setTimeout(resolve, TAKEN_RETRY_MS); });
    return enter(retries - 1);
  }
  return answer;
}

async function login(username, rid) {
  me = { username, rid };
  at('refused').textContent = '';
  show('coming');
  try {
    const connector = await gate();
    // The callback comes after each handshake, the promise after the first.
    let first = true;
    await new Promise((resolve, reject) => {
      pomelo.init({ ...connector, reconnect: true }, () => {
        const again = !first;
        first = false;
        enter(again ? TAKEN_RETRIES : 0).then((answer) => entered(answer, again)).then(resolve, (error) => {
          reject(error);
          if (again && me) logout(error.message);
        });
      }).catch(reject);
    });
  } catch (error) {
    logout(error.type ? text('unreachable') : error.message);
  }
}

function entered(answer, again) {
  if (!me) return;
  if (answer.error) throw new Error(text('taken'));
  online = true;
  lostTimes = 0;
  members = answer.users;
  at('login').hidden = true;
  at('chat').hidden = false;
  show('here');
  if (again) add('notice', text('back'));
  else at('history').replaceChildren();
  list();
  at('text').focus();
}

function logout(why = '') {
  me = null;
  online = false;
  pomelo.disconnect();
  at('chat').hidden = true;
  at('login').hidden = false;
  at('refused').textContent = why;
  if (state[0] !== 'kicked') show('away');
}

pomelo.on('onChat', ({ from, target, msg }) => said(from, target, msg));
pomelo.on('onAdd', ({ user }) => {
  if (!members.includes(user)) members.push(user);
  list();
  add('notice', text('came', user));
});
pomelo.on('onLeave', ({ user }) => {
  members = members.filter((name) => name !== user);
  list();
  add('notice', text('left', user));
});
pomelo.on('onKick', ({ reason }) => {
  show('kicked', reason);
  logout(text('kicked', reason));
});
pomelo.on('disconnect', () => {
  // Leaving the gate closes a connection, too; only that of the chat is missed.
  if (!me || (!online && lostTimes === 0)) return;
  online = false;
  show('lost', FIRST_RETRY_SECONDS * 2 ** lostTimes);
  lostTimes += 1;
});
pomelo.on('reconnect', () => show('coming'));

at('login').querySelector('form').addEventListener('submit', (event) => {
  event.preventDefault();
  login(at('name').value, at('room').value);
});
at('chat').querySelector('form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const [target, content] = [at('target').value, at('text').value];
  at('text').value = '';
  try {
    const answer = await ask('chat.chatHandler.send', { ...me, from: me.username, target, content });
    if (answer.code === 500) throw new Error(text('undelivered'));
    // The server sends to one person only what is for one person.
    if (target !== EVERYBODY) said(me.username, target, content);
  } catch {
    add('notice', `${text('undelivered')}: ${content}`);
  }
});
at('leave').addEventListener('click', () => logout());
at('language').addEventListener('click', () => {
  language = language === 'en' ? 'zh' : 'en';
  translate();
});
translate();
