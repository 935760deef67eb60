// @socket.io/redis-adapter, plain and sharded, with ioredis and node-redis: what one server emits reaches
// the clients of both, before a kill and after it.
'use strict';
const { createAdapter, createShardedAdapter } = require('@socket.io/redis-adapter');
const { Party } = require('./socketio_support');
const { crash, check, waitFor, ioredis, nodeRedis, run } = require('./support');

// Until what each server says to everybody and to each room is heard by all, and nothing of that is under way.
async function meet(party) {
  for (const server of party.servers) {
    await waitFor(async () => (await server.fetchSockets().catch(() => [])).length === 6, 'servers that know of each other');
    for (const room of [null, 'A', 'B']) {
      const audience = party.clients.filter((c) => !room || c.room === room);
      const say = (word) => (room ? server.to(room) : server).emit('message', word);
      await waitFor(() => {
        say('hello');
        return audience.every((c) => c.got.includes('hello'));
      }, 'servers that hear each other');
      say('bye'); // the last of them, as messages come in order
      await waitFor(() => audience.every((c) => c.got.includes('bye')), 'the last word');
      audience.forEach((c) => c.got.splice(0));
    }
  }
}

async function talk(party) {
  const [one, two] = party.servers;
  party.clients[0].emit('all', 'x');
  await party.everybodyGot(() => ['x']);
  party.clients[1].emit('room', 'B', 'y');
  await party.everybodyGot((client) => (client.room === 'B' ? ['By'] : []));
  check((await two.in('A').fetchSockets()).length === 3, 'who is in a room');
  const answers = await one.serverSideEmitWithAck('increment', 1);
  check(answers.length === 1 && answers[0] === 2, 'an answer from the other server', answers);
}

run(async () => {
  const adapters = {
    'plain, ioredis': [ioredis, (p, s) => createAdapter(p, s, { key: 'i' })],
    'plain, node-redis': [nodeRedis, (p, s) => createAdapter(p, s, { key: 'n' })],
    'sharded, static': [nodeRedis, (p, s) => createShardedAdapter(p, s, { channelPrefix: 's', subscriptionMode: 'static' })],
    'sharded, dynamic': [nodeRedis, (p, s) => createShardedAdapter(p, s, { channelPrefix: 'd', subscriptionMode: 'dynamic' })],
  };
  for (const [name, [connect, adapter]] of Object.entries(adapters)) {
    const party = new Party();
    const publishers = [await connect(), await connect()];
    for (let i = 0; i < 2; i++) {
      await party.addServer({ adapter: adapter(publishers[i], await connect()) });
      party.servers[i].on('increment', (n, answer) => answer(n + 1));
    }
    for (let i = 0; i < 6; i++) await party.addClient(i < 3 ? 'A' : 'B');
    await meet(party);
    await talk(party);
    // A message may be heard before who sent it has its answer, and adapters leave the loss of an answer to nobody: a
    // program in which one is lost ends. Answers come in order.
    await Promise.all(publishers.map((client) => client.ping()));
    await crash();
    await meet(party);
    await talk(party);
    for (let n = 0; n < 500; n++) party.servers[0].emit('message', n);
    await waitFor(() => party.clients.every((c) => c.got.length === 500), 'a flood for ' + name);
    check(party.clients.every((c) => c.got.every((n, i) => n === i)), 'a flood in order', name);
    party.close();
  }
});
