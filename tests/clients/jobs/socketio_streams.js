// @socket.io/redis-streams-adapter: what is emitted goes through a stream, so nothing of it is lost over a
// kill, and a client that was away gets what it missed.
'use strict';
const { createAdapter } = require('@socket.io/redis-streams-adapter');
const { Party } = require('./socketio_support');
const { crash, check, waitFor, ioredis, nodeRedis, run } = require('./support');

const count = (from, to) => Array.from({ length: to - from }, (_, i) => from + i);

run(async () => {
  for (const [name, connect] of Object.entries({ 'node-redis': nodeRedis, ioredis })) {
    const party = new Party();
    for (let i = 0; i < 2; i++) {
      await party.addServer({
        adapter: createAdapter(await connect(), { streamName: 'stream of ' + name, heartbeatInterval: 500 }),
        connectionStateRecovery: { maxDisconnectionDuration: 1000000 },
      });
    }
    for (let i = 0; i < 4; i++) await party.addClient('room');
    const [one, two] = party.servers;
    const everybodyIsThere = async () => (await one.fetchSockets().catch(() => [])).length === 4;
    await waitFor(everybodyIsThere, 'the servers to know of each other');

    for (const n of count(100, 150)) party.servers[n % 2].emit('message', n);
    await party.everybodyGot(() => count(100, 150));
    await crash();
    await waitFor(everybodyIsThere, 'the servers to be connected again');
    for (const n of count(200, 250)) party.servers[n % 2].emit('message', n);
    await party.everybodyGot(() => count(200, 250));

    const [client] = party.clients;
    client.io.engine.close();
    two.emit('message', 'missed');
    await waitFor(() => client.connected && client.got.includes('missed'), 'what a client missed');
    check(client.recovered, 'its session was recovered');
    party.close();
  }
});
