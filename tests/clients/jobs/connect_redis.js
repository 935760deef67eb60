// connect-redis: sessions of express-session over a kill, and what its store can do with all of them.
'use strict';
const http = require('http');
const session = require('express-session');
const { RedisStore } = require('connect-redis');
const { crash, check, nodeRedis, run } = require('./support');

run(async () => {
  const client = await nodeRedis();
  const store = new RedisStore({ client, prefix: 's:', ttl: 1000 });
  const middleware = session({ store, secret: 'x', resave: false, saveUninitialized: false });
  const server = http.createServer((request, response) => middleware(request, response, () => {
    if (request.url === '/out') return request.session.destroy(() => response.end('bye'));
    request.session.visits = (request.session.visits || 0) + 1;
    request.session.save((error) => response.end(String(error || request.session.visits)));
  }));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const base = `http://127.0.0.1:${server.address().port}`;
  async function visit(user, path = '/') {
    const answer = await fetch(base + path, { headers: user.cookie ? { cookie: user.cookie } : {} });
    user.cookie = (answer.headers.get('set-cookie') || user.cookie).split(';')[0];
    return answer.text();
  }

  const users = Array.from({ length: 20 }, () => ({}));
  for (const user of users) check((await visit(user)) === '1' && user.cookie, 'first visit');
  for (const user of users) check((await visit(user)) === '2', 'second visit');
  await crash();
  await client.ping().catch(() => {});
  for (const user of users) check((await visit(user)) === '3', 'visit after a kill');

  check((await store.length()) === 20 && (await store.ids()).length === 20 && (await store.all()).length === 20, 'all');
  await visit(users[0], '/out');
  check((await store.length()) === 19, 'destroyed');
  check((await client.ttl((await client.keys('s:*'))[0])) > 500, 'ttl');
  await store.clear();
  check((await store.length()) === 0, 'clear');
});
