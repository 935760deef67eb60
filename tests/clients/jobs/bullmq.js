// BullMQ: workers with delayed, prioritized and failing jobs, a flow, a rate limit, schedulers and a worker
// that dies, over kills: every job that was accepted is completed with its result.
'use strict';
const { spawn } = require('child_process');
const { Queue, Worker, QueueEvents, FlowProducer } = require('bullmq');
const { host, port, password, crash, check, sleep, waitFor, run } = require('./support');

const connection = { host, port, password, maxRetriesPerRequest: null, retryStrategy: () => 50 };
const quiet = (thing) => thing.on('error', () => {}); // that the server is away for a moment

// A job whose lock is lost with an answer is stalled, and done again by whoever finds it.
const worker = (name, process, options) => quiet(new Worker(name, process,
  { connection, lockDuration: 2000, stalledInterval: 500, maxStalledCount: 100, ...options }));

async function mixedJobs() {
  const queue = quiet(new Queue('mixed', { connection }));
  const process = async (job) => {
    await sleep(2);
    if (job.name === 'flaky' && job.attemptsMade < 2) throw new Error('flaky');
    return job.data.x * 2;
  };
  const workers = [1, 2, 3].map(() => worker('mixed', process, { concurrency: 5 }));
  const accepted = new Map();
  let enough = false;
  async function produce() {
    for (let x = 0; !enough && accepted.size < 800; x++) {
      const flaky = x % 11 === 0 && { attempts: 5, backoff: { type: 'exponential', delay: 50 } };
      const options = { ...(x % 5 === 0 && { delay: 300 }), ...(x % 7 === 0 && { priority: 1 + (x % 3) }), ...flaky };
      try {
        accepted.set((await queue.add(flaky ? 'flaky' : 'plain', { x }, options)).id, x);
      } catch {
        await sleep(10); // refused: nobody was promised anything
      }
    }
  }
  const producing = produce();
  for (const count of [100, 200, 300]) {
    await waitFor(() => accepted.size >= count, 'jobs to be accepted');
    await crash();
  }
  enough = true;
  await producing;
  await waitFor(async () => {
    const { waiting, active, delayed, prioritized } = await queue.getJobCounts();
    return waiting + active + delayed + prioritized === 0;
  }, 'the jobs');
  for (const [id, x] of accepted) {
    const job = await queue.getJob(id);
    check(job && (await job.isCompleted()) && job.returnvalue === x * 2, 'job', id, x, job && job.toJSON());
  }
  check((await queue.getWorkers()).length === 3, 'the workers are there');
  await Promise.all(workers.map((w) => w.close()));
}

async function flow() {
  const queue = quiet(new Queue('flow', { connection })), producer = quiet(new FlowProducer({ connection }));
  const sum = worker('flow', async (job) =>
    Object.values(await job.getChildrenValues()).reduce((a, b) => a + b, job.data.v));
  const leaf = (v) => ({ name: 'leaf', queueName: 'flow', data: { v } });
  const children = [0, 1, 2, 3, 4].map((i) => (
    { name: 'middle', queueName: 'flow', data: { v: 10 }, children: [leaf(100 * i), leaf(1)] }));
  const tree = await producer.add({ name: 'root', queueName: 'flow', data: { v: 1 }, children });
  await crash();
  await waitFor(() => tree.job.isCompleted(), 'the flow');
  check((await queue.getJob(tree.job.id)).returnvalue === 1 + 5 * (10 + 1) + 100 * 10, 'its sum');
  await sum.close();
}

async function limitAndSchedule() {
  const queue = quiet(new Queue('limited', { connection }));
  await queue.addBulk(Array.from({ length: 20 }, (_, i) => ({ name: 'r', data: { i } })));
  let done = 0;
  const limited = worker('limited', async () => done++, { limiter: { max: 5, duration: 200 }, concurrency: 20 });
  await waitFor(() => done === 20, 'rate-limited jobs');

  const scheduled = quiet(new Queue('scheduled', { connection }));
  await scheduled.upsertJobScheduler('tick', { every: 200 }, { name: 'tick' });
  await scheduled.upsertJobScheduler('cron', { pattern: '* * * * * *' }, { name: 'cron' });
  const times = { tick: 0, cron: 0 };
  const clock = worker('scheduled', async (job) => times[job.name]++);
  await waitFor(() => times.tick >= 3 && times.cron >= 1, 'schedulers');
  await crash();
  const { tick, cron } = times;
  await waitFor(() => times.tick >= tick + 3 && times.cron > cron, 'schedulers after a kill');
  check((await scheduled.getJobSchedulers()).length === 2, 'they are listed');
  await Promise.all([limited.close(), clock.close()]);
}

async function stalled() {
  const queue = quiet(new Queue('stalled', { connection }));
  const job = await queue.add('job', {});
  const dying = spawn(process.execPath, ['-e', `
    const { Worker } = require('bullmq');
    new Worker('stalled', async () => {
      console.log('got it');
      await new Promise(() => setInterval(() => {}, 1000));
    }, { connection: ${JSON.stringify(connection)}, lockDuration: 1000 })`]);
  await new Promise((resolve) => dying.stdout.once('data', resolve));
  dying.kill('SIGKILL');
  let seen = 0;
  const other = worker('stalled', async () => 'done by another', { lockDuration: 1000 }).on('stalled', () => seen++);
  await waitFor(() => job.isCompleted(), 'the job of a worker that died');
  check(seen === 1 && (await queue.getJob(job.id)).returnvalue === 'done by another', 'stalled', seen);
  await other.close();
}

async function restOfQueues() {
  const queue = quiet(new Queue('rest', { connection })), events = quiet(new QueueEvents('rest', { connection }));
  await events.waitUntilReady();
  const deduplication = { id: 'one', ttl: 1000000 };
  const [a, b] = [await queue.add('x', {}, { deduplication }), await queue.add('x', {}, { deduplication })];
  check(a.id === b.id, 'deduplication');
  await queue.pause();
  check(await queue.isPaused(), 'paused');
  await queue.resume();
  await queue.drain(true);
  const job = await queue.add('p', {});
  await job.updateProgress(50);
  await job.log('line');
  check((await queue.getJobLogs(job.id)).logs[0] === 'line', 'logs');
  const one = worker('rest', async () => 7);
  check((await job.waitUntilFinished(events)) === 7, 'events');
  await one.close();
  check((await queue.clean(0, 1000, 'completed')).length === 1, 'clean');
  await queue.obliterate({ force: true });
}

run(async () => {
  await mixedJobs();
  await flow();
  await limitAndSchedule();
  await stalled();
  await restOfQueues();
});
