'use strict';
// One JSON value per line, in on stdin and out on stdout. Everything else a library prints goes to stderr.

const readline = require('node:readline');

function write(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** Ends the process after everything written has left it. */
function exit(code) {
  process.stdout.write('', () => process.exit(code));
}

/** The other side of the pipe broke the line protocol: says so and ends with code 1. */
function bad(detail) {
  write({ ev: 'bad', detail });
  exit(1);
}

/** Calls `take` for every line in order, then `end`. A line that is no JSON object ends the process with code 1. */
function read(take, end) {
  const input = readline.createInterface({ input: process.stdin, crlfDelay: Infinity });
  input.on('line', (line) => {
    if (!line.trim()) return;
    let value;
    try {
      value = JSON.parse(line);
    } catch {
      value = null;
    }
    if (value === null || typeof value !== 'object' || Array.isArray(value)) {
      bad('a line must be one JSON object');
      return;
    }
    take(value);
  });
  input.on('close', end);
}

/** `console` as the libraries see it: they print to stdout, which belongs to the events. */
const quietConsole = new console.Console(process.stderr, process.stderr);

module.exports = { write, exit, bad, read, quietConsole };
