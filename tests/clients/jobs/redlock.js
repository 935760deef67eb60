// redlock: locks that exclude each other, that are held over a kill, extended, released, and that expire.
'use strict';
const { default: Redlock } = require('redlock');
const { crash, check, sleep, waitFor, ioredis, run } = require('./support');

const LONG = 1000000; // no lock of this length expires while this runs

run(async () => {
  const r = ioredis();
  const locker = (settings) => new Redlock([r], settings).on('error', () => {});
  const patient = locker({ retryCount: -1, retryDelay: 20, retryJitter: 10 }), once = locker({ retryCount: 0 });
  const isRefused = (resource) => once.acquire([resource], LONG).then(() => false, () => true);

  let inside = 0, most = 0, times = 0;
  async function contend() {
    for (let i = 0; i < 5; i++) {
      const lock = await patient.acquire(['a', 'b'], LONG);
      most = Math.max(most, ++inside);
      await sleep(3);
      times++;
      inside--;
      await lock.release();
    }
  }
  await Promise.all(Array.from({ length: 10 }, contend));
  check(most === 1 && times === 50, 'one at a time', most, times);

  let lock = await patient.acquire(['c'], LONG);
  await crash();
  check(await isRefused('c'), 'a lock is held over a kill');
  lock = await lock.extend(2 * LONG);
  check((await r.pttl('c')) > LONG, 'it is extended');
  await lock.release();
  check(!(await r.exists('c')), 'and released');

  const before = await r.eval("return redis.call('INCR', 'fence')", 0);
  const result = await patient.using(['d'], 3000, { automaticExtensionThreshold: 2500 }, async (signal) => {
    await sleep(600); // it is extended once at least meanwhile
    return !signal.aborted && (await isRefused('d')) && before;
  });
  check(result === before && !(await r.exists('d')), 'using', result);

  const short = await once.acquire(['e'], 50);
  await waitFor(async () => !(await r.exists('e')), 'a lock to expire');
  const other = await once.acquire(['e'], LONG);
  await short.release().catch(() => {});
  check(await isRefused('e'), "who is late does not release somebody else's lock");
  await other.release();
});
