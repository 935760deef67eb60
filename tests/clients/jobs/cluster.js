// ioredis and node-redis as clients of a cluster, which is one node: commands by their slots, pipelines,
// transactions, scripts, subscriptions, and going on after a kill.
'use strict';
const { Cluster } = require('ioredis');
const { createCluster } = require('redis');
const { host, port, password, crash, check, waitFor, run } = require('./support');

const refused = (promise) => promise.then(() => '', (error) => error.message);

async function withIoredis() {
  const c = new Cluster([{ host, port }], {
    redisOptions: { password }, clusterRetryStrategy: () => 50, slotsRefreshTimeout: 10000, retryDelayOnFailover: 50 });
  c.on('error', () => {});
  for (let i = 0; i < 200; i++) await c.set('k' + i, i);
  const pipeline = c.pipeline();
  for (let i = 0; i < 200; i++) pipeline.incr('k' + i);
  check((await pipeline.exec()).every(([error, n], i) => error === null && n === i + 1), 'pipeline');
  const answers = await c.multi().set('{t}a', 1).incr('{t}a').exec();
  check(answers[1][1] === 2, 'multi', answers);
  check((await c.eval('return redis.call("INCRBY", KEYS[1], ARGV[1])', 1, 'k1', 5)) === 7, 'script');
  check(/CROSSSLOT/.test(await refused(c.mset('a', 1, 'b', 2))), 'keys of two slots');
  check(c.nodes('master').length === 1 && (await c.nodes('master')[0].dbsize()) === 201, 'nodes');

  const listener = new Cluster([{ host, port }], { redisOptions: { password } });
  let heard = '';
  listener.on('message', (channel, text) => (heard = channel + ':' + text));
  await listener.subscribe('news');
  await c.publish('news', 'hello');
  await waitFor(() => heard === 'news:hello', 'the message');
  listener.disconnect();

  await crash();
  check((await c.get('k1')) === '7', 'after a kill');
  c.disconnect();
}

async function withNodeRedis(RESP) {
  const c = createCluster({
    RESP, rootNodes: [{ socket: { host, port } }], defaults: { password, socket: { reconnectStrategy: () => 50 } } });
  c.on('error', () => {});
  await c.connect();
  check(c.masters.length === 1 && c.slots.length === 16384, 'slots');
  await Promise.all([...Array(200).keys()].map((i) => c.set('n' + i, String(i))));
  check((await c.get('n7')) === '7' && (await c.mGet(['{t}x', '{t}y'])).length === 2, 'get');
  const answers = await c.multi().set('{t}x', '1').incr('{t}x').hSet('{t}h', 'f', 'v').exec();
  check(answers[1] === 2 && answers[2] >= 0, 'multi', answers);
  // It takes MSET and MGET apart by their slots.
  check(/CROSSSLOT/.test(await refused(c.sInter(['a', 'b']))), 'keys of two slots');
  const heard = [];
  await c.subscribe('news', (text) => heard.push(text));
  await c.sSubscribe('shard', (text) => heard.push(text));
  await c.publish('news', 'hello');
  await c.sPublish('shard', 'there');
  await waitFor(() => heard.length === 2, 'messages');
  await c.unsubscribe('news');
  await c.sUnsubscribe('shard');
  c.destroy();
}

run(async () => {
  await withIoredis();
  await withNodeRedis(2);
  await withNodeRedis(3);
});
