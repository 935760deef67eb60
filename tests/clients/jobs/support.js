// What the jobs in JavaScript share. A job is a program: the environment says where the server is, and
// it asks for kills by lines on its output, which test_jobs.py answers on its input.
'use strict';
const readline = require('readline');

const host = '127.0.0.1', port = Number(process.env.REDIS_PORT), password = process.env.REDIS_PASSWORD;

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
async function ask(what) {
  console.log('ask ' + what);
  const { value } = await lines.next();
  check(value === what + ' done', 'answer', value);
}

// Kills the server and starts it again; returns when it is there.
async function crash() {
  await ask('kill');
  await ask('start');
}

function check(isSo, ...what) {
  if (!isSo) throw new Error(what.map((w) => (typeof w === 'string' ? w : JSON.stringify(w))).join(' '));
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// No job depends on how long something takes: this ends one that would hang.
async function waitFor(condition, what) {
  for (const end = Date.now() + 300000; Date.now() < end; await sleep(20)) {
    if (await condition()) return;
  }
  throw new Error('waited in vain: ' + what);
}

// One of ioredis that comes back after a kill. What was under way then is sent again: it may happen twice.
function ioredis(options = {}) {
  const { Redis } = require('ioredis');
  const client = new Redis({ host, port, password, retryStrategy: () => 50, maxRetriesPerRequest: null, ...options });
  client.on('error', () => {});
  return client;
}

// One of node-redis that comes back after a kill. What was under way then is refused.
async function nodeRedis(options = {}) {
  const { createClient } = require('redis');
  const client = createClient({ password, socket: { host, port, reconnectStrategy: () => 50 }, ...options });
  client.on('error', () => {});
  return client.connect();
}

// A job that throws has failed; one that came through says so.
function run(job) {
  job().then(() => {
    console.log('done');
    process.exit(0);
  }, (error) => {
    console.log(error);
    process.exit(1);
  });
}

module.exports = { host, port, password, crash, check, sleep, waitFor, ioredis, nodeRedis, run };
