// ioredis: pipelines, transactions, scripts by name, scanning, subscriptions, and a stream with a group
// whose writer and reader go on over kills.
'use strict';
const { crash, check, sleep, waitFor, ioredis, run } = require('./support');

async function basics(r) {
  r.defineCommand('capped', { numberOfKeys: 1, lua: `
    local value = redis.call('INCR', KEYS[1])
    if value > tonumber(ARGV[1]) then
      redis.call('SET', KEYS[1], ARGV[1])
      return {false, ARGV[1]}
    end
    return {value, 'ok'}` });
  check((await r.capped('cap', 1))[1] === 'ok' && (await r.capped('cap', 1))[0] === null, 'script');

  const pipeline = r.pipeline();
  for (let i = 0; i < 1000; i++) pipeline.hset('h' + (i % 10), 'f' + i, 'v' + i);
  check((await pipeline.exec()).every(([error, added]) => error === null && added === 1), 'pipeline');

  const answers = await r.multi().set('a', 1).incr('a').lpush('a', 'x').get('a').exec();
  check(answers[1][1] === 2 && /WRONGTYPE/.test(answers[2][0].message) && answers[3][1] === '2', 'multi', answers);
  const plain = ioredis();
  await plain.multi({ pipeline: false });
  await plain.set('q', '1');
  check((await plain.exec()).length === 1, 'multi without a pipeline');
  plain.disconnect();

  const keys = new Set();
  for await (const some of r.scanStream({ match: 'h*', count: 3, type: 'hash' })) some.forEach((k) => keys.add(k));
  const fields = new Set();
  for await (const some of r.hscanStream('h1')) some.forEach((f, i) => i % 2 === 0 && fields.add(f));
  check(keys.size === 10 && fields.size === 100, 'scan', keys.size, fields.size);

  const bytes = Buffer.from([0, 255, 13, 10, 0]);
  await r.set('bytes', bytes);
  check((await r.getBuffer('bytes')).equals(bytes), 'bytes');

  const named = ioredis({ db: 5, connectionName: 'named', lazyConnect: true });
  await named.connect();
  await named.set('x', '5');
  check((await named.client('GETNAME')) === 'named' && (await r.get('x')) === null, 'database and name');
  const unknown = await r.call('nosuch').catch((error) => error.message);
  check(/unknown command/.test(unknown), 'unknown command', unknown);
}

// Every entry that was acknowledged is in the stream, and the reader saw all or has them pending.
async function stream(r) {
  const written = [], seen = new Set();
  const reader = ioredis();
  let enough = false, finished = false;
  await r.xgroup('CREATE', 'st', 'g', '$', 'MKSTREAM');
  async function write() {
    for (let i = 0; !enough; i++) written.push(await r.xadd('st', '*', 'n', i));
  }
  async function read() {
    while (!finished) {
      const answer = await reader.xreadgroup('GROUP', 'g', 'c', 'COUNT', 10, 'BLOCK', 100, 'STREAMS', 'st', '>');
      for (const [id] of answer ? answer[0][1] : []) {
        seen.add(id);
        await r.xack('st', 'g', id);
      }
    }
  }
  const writing = write(), reading = read();
  for (const count of [100, 200, 300]) {
    await waitFor(() => written.length >= count, 'entries');
    await crash();
  }
  enough = true;
  await writing;
  const there = (await r.xrange('st', '-', '+')).map(([id]) => id);
  const lost = written.filter((id) => !there.includes(id));
  check(lost.length === 0, 'acknowledged entries that are not there', lost);
  // What the group gave to an answer that died with the server is pending.
  const pending = async () => new Set((await r.xpending('st', 'g', '-', '+', there.length)).map(([id]) => id));
  await waitFor(async () => {
    const unread = await pending();
    return there.every((id) => seen.has(id) || unread.has(id));
  }, 'every entry to be read');
  finished = true;
  await reading;
}

run(async () => {
  const r = ioredis({ enableAutoPipelining: true }), subscriber = ioredis(), blocked = ioredis();
  await basics(r);

  const got = [];
  subscriber.on('message', (channel, message) => got.push(message));
  subscriber.on('pmessage', (pattern, channel, message) => got.push(pattern + message));
  await subscriber.subscribe('channel');
  await subscriber.psubscribe('p*');
  await r.publish('channel', '1');
  await r.publish('px', '2');
  await waitFor(() => got.length === 2, 'messages');
  check(got.join() === '1,p*2', 'messages', got);

  await stream(r);

  // It subscribes again by itself, and so do scripts and a client that waits come again.
  await waitFor(() => r.publish('channel', 'again').then((listeners) => listeners === 1), 'the subscriber');
  await waitFor(() => got.includes('again'), 'its message');
  check((await r.capped('cap', 1))[0] === null, 'script after kills');
  const popped = blocked.blpop('list', 0);
  await waitFor(async () => /blocked_clients:1/.test(await r.info('clients')), 'a client that waits');
  await crash();
  await r.rpush('list', 'x');
  check((await popped)[1] === 'x', 'blpop over a kill');
  check((await r.get('a')) === '2', 'a value from before the kills');
});
