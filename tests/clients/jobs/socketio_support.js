// Two servers of socket.io that share an adapter, and clients of them.
'use strict';
const http = require('http');
const { Server } = require('socket.io');
const { io } = require('socket.io-client');
const { check, waitFor } = require('./support');

class Party {
  constructor() {
    this.servers = [];
    this.clients = [];
  }

  async addServer(options) {
    const server = http.createServer();
    const sockets = new Server(server, options);
    sockets.on('connection', (socket) => {
      socket.on('join', async (room, joined) => {
        await socket.join(room);
        joined();
      });
      socket.on('all', (message) => sockets.emit('message', message));
      socket.on('room', (room, message) => sockets.to(room).emit('message', room + message));
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    sockets.port = server.address().port;
    this.servers.push(sockets);
  }

  // A client of each server in turn, in a room.
  async addClient(room) {
    const { port } = this.servers[this.clients.length % this.servers.length];
    const client = io(`http://127.0.0.1:${port}`, { transports: ['websocket'], reconnectionDelay: 50, forceNew: true });
    Object.assign(client, { room, got: [] });
    client.on('message', (message) => client.got.push(message));
    await new Promise((resolve) => client.once('connect', resolve));
    await new Promise((resolve) => client.emit('join', room, resolve));
    this.clients.push(client);
  }

  // Waits until every client got that, each in whatever order, and nothing else.
  async everybodyGot(expected) {
    await waitFor(() => this.clients.every((c) => c.got.length >= expected(c).length), 'messages');
    for (const client of this.clients) {
      const got = client.got.splice(0).sort();
      check(got.join() === expected(client).sort().join(), 'a client got', got);
    }
  }

  close() {
    this.clients.forEach((c) => c.close());
    this.servers.forEach((s) => s.close());
  }
}

module.exports = { Party };
