// node-redis over RESP2 and RESP3: its replies as JavaScript's types, transactions that watch, a pool,
// functions, sharded channels, and transactions that are acknowledged over kills.
'use strict';
const { createClientPool, defineScript, WatchError, RESP_TYPES } = require('redis');
const { host, port, password, crash, check, sleep, waitFor, nodeRedis, run } = require('./support');

const add = defineScript({
  NUMBER_OF_KEYS: 1,
  SCRIPT: 'return redis.call("INCRBY", KEYS[1], ARGV[1])',
  parseCommand(parser, key, n) {
    parser.pushKey(key);
    parser.push(String(n));
  },
  transformReply: (reply) => reply,
});

async function types(c) {
  check((await c.add('n', 5)) === 5, 'script');
  await c.hSet('h', { a: 1, b: 2 });
  check(JSON.stringify(await c.hGetAll('h')) === '{"a":"1","b":"2"}', 'hGetAll');
  await c.zAdd('z', [{ value: 'a', score: 1.5 }, { value: 'b', score: Infinity }, { value: 'c', score: -Infinity }]);
  const scores = (await c.zRangeWithScores('z', 0, -1)).map((m) => m.score);
  check(scores[0] === -Infinity && scores[1] === 1.5 && scores[2] === Infinity, 'scores');
  check((await c.zPopMax('z')).value === 'b' && (await c.zScore('z', 'a')) === 1.5, 'zPopMax');
  await c.sAdd('s', ['a', 'b', 'c']);
  check((await c.sMembers('s')).length === 3 && (await c.sUnionStore('s2', ['s'])) === 3, 'sets');
  check((await c.lmPop(['none'], 'LEFT')) === null, 'lmPop of nothing');
  await c.rPush('l', ['1', '2', '3']);
  check((await c.lmPop(['none', 'l'], 'LEFT', { COUNT: 2 }))[1].length === 2, 'lmPop');
  check((await c.zmPop(['z'], 'MIN')).members.length === 1, 'zmPop');
  await c.geoAdd('g', [{ longitude: 13.36, latitude: 38.11, member: 'P' }, { longitude: 15.08, latitude: 37.5, member: 'C' }]);
  const near = await c.geoSearchWith('g', { longitude: 15, latitude: 37 }, { radius: 200, unit: 'km' }, ['WITHDIST', 'WITHCOORD']);
  check(near.length === 2, 'geoSearch', near);

  await c.xGroupCreate('st', 'g', '0', { MKSTREAM: true });
  await c.xAdd('st', '*', { a: '1' });
  const read = await c.xReadGroup('g', 'c', { key: 'st', id: '>' }, { COUNT: 1, BLOCK: 100 });
  check(read[0].messages[0].message.a === '1', 'xReadGroup', read);
  check((await c.xInfoGroups('st'))[0].pending === 1 && (await c.xInfoConsumers('st', 'g'))[0].name === 'c', 'xInfo');
  check((await c.xAutoClaim('st', 'g', 'd', 0, '0-0')).messages.length === 1, 'xAutoClaim');
  check((await c.xPendingRange('st', 'g', '-', '+', 10))[0].consumer === 'd', 'xPending');

  const keys = [], fields = [];
  for await (const some of c.scanIterator({ COUNT: 5 })) keys.push(...some);
  for await (const some of c.hScanIterator('h')) fields.push(...some);
  check(keys.length === (await c.dbSize()) && fields.length === 2 && fields[0].field, 'scan', keys, fields);

  await c.functionLoad(`#!lua name=lib
    redis.register_function{function_name='f', callback=function(k, a) return redis.call('SET', k[1], a[1]) end}`);
  check((await c.fCall('f', { keys: ['fk'], arguments: ['x'] })) === 'OK', 'fCall');
  const dump = await c.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer }).functionDump();
  check((await c.functionRestore(dump, { mode: 'REPLACE' })) === 'OK', 'functionRestore');
  check((await c.functionList())[0].library_name === 'lib', 'functionList');

  check((await c.command()).length > 200 && (await c.commandGetKeys(['MSET', 'a', '1', 'b', '2'])).length === 2, 'command');
  check((await c.clientList()).some((client) => client.name === 'job'), 'clientList');
  check((await c.configGet('appendfsync')).appendfsync === 'always', 'configGet');
  await c.mSet({ a1: 'ohmytext', a2: 'mynewtext' });
  check((await c.lcsIdx('a1', 'a2')).len === 6, 'lcs');
  check((await c.bitField('bf', [{ operation: 'INCRBY', encoding: 'u8', offset: 0, increment: 300 }]))[0] === 44, 'bitField');
}

async function transactions(c, options) {
  const answers = await c.multi().set('k', '1').incr('k').hGetAll('h').exec();
  check(answers[1] === 2 && answers[2].a === '1', 'multi', answers);
  const pool = await createClientPool(options, { minimum: 2, maximum: 5 }).connect();
  async function increment(client) {
    await client.watch('counter');
    const value = Number(await client.get('counter'));
    await client.multi().set('counter', String(value + 1)).exec();
  }
  async function once() {
    for (;;) {
      try {
        return await pool.execute(increment);
      } catch (error) {
        if (!(error instanceof WatchError)) throw error;
      }
    }
  }
  await Promise.all(Array.from({ length: 20 }, once));
  check((await c.get('counter')) === '20', 'a counter that is watched');
  pool.destroy();
}

// Writers of a key and of a list that tells of it, in one transaction: both are there or none.
async function kills(c) {
  const acknowledged = [];
  let enough = false;
  async function write(number) {
    for (let i = 0; !enough; i++) {
      const key = `w${number}:${i}`;
      try {
        await c.multi().set(key, i).rPush('log' + number, key).exec();
        acknowledged.push({ key, number });
      } catch {
        await sleep(10); // refused: nobody was promised anything
      }
    }
  }
  const writing = [0, 1, 2, 3, 4, 5, 6, 7].map(write);
  for (const count of [200, 400, 600]) {
    await waitFor(() => acknowledged.length >= count, 'transactions');
    await crash();
  }
  enough = true;
  await Promise.all(writing);
  for (let number = 0; number < 8; number++) {
    const told = new Set(await c.lRange('log' + number, 0, -1));
    const lost = acknowledged.filter((a) => a.number === number && !told.has(a.key));
    check(lost.length === 0, 'acknowledged and not there', lost);
    check((await c.exists([...told])) === told.size, 'half of a transaction');
    check(told.size === (await c.keys(`w${number}:*`)).length, 'the other half of a transaction');
  }
}

run(async () => {
  for (const RESP of [2, 3]) {
    const options = { RESP, name: 'job', password, socket: { host, port, reconnectStrategy: () => 50 }, scripts: { add } };
    const c = await nodeRedis(options), subscriber = await nodeRedis(options), blocked = await nodeRedis(options);
    await c.flushAll();
    await c.functionFlush();
    await types(c);
    await transactions(c, options);

    const got = [];
    await subscriber.subscribe('x', (message) => got.push(message));
    await subscriber.pSubscribe('y*', (message, channel) => got.push(channel + message));
    await subscriber.sSubscribe('shard', (message) => got.push('s' + message));
    await c.publish('x', '1');
    await c.publish('yy', '2');
    await c.sPublish('shard', '3');
    await waitFor(() => got.length === 3, 'messages');
    check(got.join() === '1,yy2,s3', 'messages', got);

    await kills(c);

    await waitFor(() => c.publish('x', '9').then((listeners) => listeners === 1), 'the subscriber');
    await waitFor(() => c.sPublish('shard', '8').then((listeners) => listeners === 1), 'the subscriber of a shard');
    await waitFor(() => got.includes('9') && got.includes('s8'), 'its messages');
    check((await c.fCall('f', { keys: ['fk'], arguments: ['y'] })) === 'OK', 'a function after kills');
    check((await c.add('n', 5)) === 10, 'a script after kills');

    check((await blocked.blPop('none', 0.1)) === null, 'blPop of nothing');
    const popped = blocked.bzPopMin('bz', 100);
    await c.zAdd('bz', { score: 2, value: 'm' });
    check((await popped).score === 2, 'bzPopMin');
    await Promise.all([c.close(), subscriber.close(), blocked.close()]);
  }
});
