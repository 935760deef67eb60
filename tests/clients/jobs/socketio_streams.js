// @socket.io/redis-streams-adapter: what is emitted goes through a stream, so nothing of it is lost over a
// kill, and a client that was away gets what it missed.
'use strict';
const { createAdapter } = require('@socket.io/redis-streams-adapter');
const { Party } = require('./socketio_support');
const { crash, check, waitFor, ioredis, nodeRedis, run } = require('./support');

const count = (from, to) => Array.from({ length: to - from }, (_, i) => from + i);

run(async () => {
  const durable = ioredis();
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

    // A client goes away, misses something, and comes back to another life of the server.
    const [client, ...others] = party.clients;
    client.io.reconnection(false);
    client.io.engine.close();
    two.emit('message', 'missed');
    await waitFor(() => others.every((c) => c.got.includes('missed')), 'those who are there');
    await durable.set('barrier', name); // when this is acknowledged, so is all that came before it
    await crash();
    client.io.reconnection(true);
    client.connect();
    await waitFor(() => client.connected && client.got.includes('missed'), 'what a client missed');
    check(client.recovered, 'its session was recovered');
    party.clients.forEach((c) => c.got.splice(0)); // it may have got again what it had

    await waitFor(everybodyIsThere, 'the servers to be connected again');
    for (const n of count(200, 250)) party.servers[n % 2].emit('message', n);
    await party.everybodyGot(() => count(200, 250));
    party.close();
  }
});
