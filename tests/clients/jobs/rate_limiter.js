// rate-limiter-flexible with ioredis and node-redis: exact counts under concurrency and over a kill.
'use strict';
const { RateLimiterRedis } = require('rate-limiter-flexible');
const { crash, check, sleep, waitFor, ioredis, nodeRedis, run } = require('./support');

run(async () => {
  for (const kind of ['ioredis', 'node-redis']) {
    const storeClient = kind === 'ioredis' ? ioredis() : await nodeRedis();
    const limiter = (keyPrefix, options) => new RateLimiterRedis(
      { storeClient, useRedisPackage: kind !== 'ioredis', keyPrefix: kind + keyPrefix, ...options });

    const slow = limiter('slow', { points: 50, duration: 100000 });
    let taken = 0, refused = 0;
    const take = () => slow.consume('user').then(() => taken++, (e) => {
      if (e instanceof Error) throw e;
      refused++;
    });
    await Promise.all(Array.from({ length: 30 }, take));
    await crash();
    await slow.get('user').catch(() => {}); // node-redis refuses what it has under way at the kill
    await Promise.all(Array.from({ length: 40 }, take));
    check(taken === 50 && refused === 20, kind, 'exact', taken, refused);
    const state = await slow.get('user');
    check(state.remainingPoints === 0 && state.msBeforeNext > 1000, kind, 'get', state);

    const fast = limiter('fast', { points: 5, duration: 1 });
    await waitFor(() => fast.consume('user').then(() => false, () => true), 'to be refused');
    await waitFor(() => fast.consume('user').then(() => true, () => false), 'the next second');
    const long = limiter('long', { points: 5, duration: 100000 });
    await long.consume('x');
    await long.reward('x', 1);
    await long.penalty('x', 2);
    check((await long.get('x')).consumedPoints === 2, kind, 'reward and penalty');
    await long.set('y', 3, 1000);
    await long.delete('y');
    check((await long.get('y')) === null, kind, 'delete');
    await long.block('z', 1000);
    check(await long.consume('z').then(() => false, (e) => !(e instanceof Error)), kind, 'block');
  }
});
