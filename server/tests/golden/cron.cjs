// Writes cron.txt: the next moment of cron times, as pomelo-scheduler finds it.
//
//   npm ci --prefix interop
//   node server/tests/golden/cron.cjs > server/tests/golden/cron.txt
'use strict';

process.env.TZ = 'Asia/Shanghai';

const { createTrigger } = require('../../../interop/node_modules/pomelo-scheduler/lib/cronTrigger.js');

const times = [
  '* * * * * *', '0 * * * * *', '0 30 10 * * *', '0/5 * * * * *', '3/7 1/10 * * * *', '0 0/20 0/6 * * *',
  '10-12 5,7,30-33 8-9 * * *', '0 0 0 1 * *', '0 0 0 31 * *', '0 0 0 29 1 *', '0 0 12 * 0 *', '59 59 23 31 11 *',
  '0 0 9 * * 1-5', '0 0 9 1-7 * 1', '30 15 4 * 1,5,11 0,6', '0 0 0 * * 0', '1,2,58 0/13 * 0/10 0/2 *',
  '0 0 0 13 * 5', '7 * 3 * * 2', '0 0/1 * * * *', '0 1,59 0,23 28,30 * *',
];

// Any moments, but the same ones each time.
let seed = 12345;
function random(below) {
  seed = (seed * 1103515245 + 12345) & 0x7fffffff;
  return seed % below;
}
const starts = [];
for (let i = 0; i < 12; i++) {
  starts.push(new Date(2024 + random(5), random(12), 1 + random(28), random(24), random(60), random(60)).getTime());
}
starts.push(new Date(2024, 1, 28, 23, 59, 59).getTime());
starts.push(new Date(2023, 11, 31, 23, 59, 59).getTime());
starts.push(new Date(2028, 1, 29, 0, 0, 0).getTime());

function text(moment) {
  const date = new Date(moment);
  const two = (number) => String(number).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day}T${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

for (const time of times) {
  for (const start of starts) {
    console.log(`${time} | ${text(start)} | ${text(createTrigger(time).nextExcuteTime(start))}`);
  }
}
