"""What the Redis door says of itself and its clients is true."""
import os
import random
import re
import socket
import unittest

import redis

from harness import Case, command, run_histories, wait_until
from test_pubsub import Client
from test_resp import BesidePeer, Both
from test_wire import parsed


class ClientList(Case):
    def setUp(self):
        self.r = self.server.redis()
        self.addCleanup(self.r.close)

    def client(self):
        """A raw client, and what CLIENT LIST says of it."""
        s, number = self.raw_client()
        return s, lambda field: next(int(c[field]) for c in self.r.client_list() if c["id"] == number)

    def test_it_tells_what_was_sent_and_no_command_used_up(self):
        s, says = self.client()
        self.assertTrue(wait_until(lambda: says("qbuf") == 0))
        half = b"*2\r\n$3\r\nGET\r\n$50000\r\n" + b"x" * 30000
        s.sendall(half)
        self.assertTrue(wait_until(lambda: says("qbuf") == len(half)))
        self.assertGreater(says("qbuf-free"), 0)
        self.assertGreaterEqual(says("tot-mem"), says("qbuf") + says("qbuf-free"))
        s.sendall(b"x" * 20000 + b"\r\n")
        self.assertEqual(s.recv(100), b"$-1\r\n")
        self.assertTrue(wait_until(lambda: says("qbuf") == 0))

    def test_it_tells_what_the_client_itself_sent(self):
        me = self.r.client_info()
        self.assertEqual(int(me["qbuf"]), len(command(b"CLIENT", b"INFO")))

    def test_it_tells_the_descriptor_of_the_socket(self):
        """It was the number of the client."""
        clients = [self.raw_client() for _ in range(5)]
        told = {c["id"]: c["fd"] for c in self.r.client_list()}
        fds = [told[number] for _, number in clients]
        self.assertEqual(len(set(fds)), 5)
        with open("/proc/%d/net/tcp" % self.server.process.pid) as f:
            sockets = {row.split()[9]: int(row.split()[2].split(":")[1], 16) for row in list(f)[1:]}
        for (s, _), fd in zip(clients, fds):
            link = os.readlink("/proc/%d/fd/%s" % (self.server.process.pid, fd))
            self.assertEqual(sockets[link[len("socket:["):-1]], s.getsockname()[1])

    def test_it_tells_what_waits_in_a_transaction(self):
        s, says = self.client()
        s.sendall(command(b"MULTI") + command(b"SET", b"k", b"v" * 10000))
        self.assertTrue(wait_until(lambda: says("multi-mem") > 10000))
        s.sendall(command(b"DISCARD"))
        self.assertTrue(wait_until(lambda: says("multi-mem") == 0))

    def test_it_tells_what_is_not_read(self):
        self.r.set("large", b"v" * 60000)
        s, says = self.client()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.assertEqual(says("omem"), 0)
        s.sendall(command(b"GET", b"large") * 500)
        self.assertTrue(wait_until(lambda: says("obl") >= 60000))
        self.assertGreaterEqual(says("omem"), says("obl"))
        self.assertEqual(says("rbs"), says("omem"))
        self.assertGreaterEqual(says("tot-mem"), says("omem"))


class Others(Both):
    """What CLIENT LIST says of another client is what redis-server says of it, once that has its answer."""
    FIELDS = "name flags db sub psub ssub multi cmd user redir resp".split()

    def words(self, r):
        return r.choice([
            lambda: [b"SELECT", b"%d" % r.randrange(4)], lambda: [b"GET", b"k"], lambda: [b"SET", b"unread", b"v"], lambda: [b"MULTI"], lambda: [b"EXEC"],
            lambda: [b"DISCARD"], lambda: [b"WATCH", b"w"], lambda: [b"UNWATCH"], lambda: [b"SUBSCRIBE", b"a"], lambda: [b"PSUBSCRIBE", b"b*"],
            lambda: [b"SSUBSCRIBE", b"c"], lambda: [b"HELLO", r.choice([b"2", b"3"])], lambda: [b"RESET"], lambda: [b"CLIENT", b"SETNAME", b"n%d" % r.randrange(9)],
            lambda: [b"CLIENT", b"TRACKING", r.choice([b"ON", b"OFF"])],
            lambda: [b"PING"], lambda: [b"HSET", b"hash", b"f", b"v"], lambda: [b"OBJECT", b"ENCODING", b"k"],
            lambda: [b"EVAL", b"return redis.call('GET','k')", b"0"], lambda: [b"CONFIG", b"GET", b"hz"], lambda: [b"READONLY"]])()

    def history(self, seed):
        r, sides = random.Random(seed), [(Client(port), Client(port)) for port in (self.server.resp, self.peer.port)]
        ids = [parsed(a.ask(b"CLIENT", b"ID"))[1:] for a, _ in sides]
        said = []
        for step in range(60):
            said.append(self.words(r))
            touch = r.random() < 0.1
            told = []
            for (a, b), number in zip(sides, ids):
                a.ask(*said[-1])
                if touch:
                    b.ask(b"SET", b"w", b"x")
                line = dict(f.split("=", 1) for f in parsed(b.ask(b"CLIENT", b"LIST", b"ID", number)).decode().split())
                told.append({f: line[f] for f in self.FIELDS})
            self.assertEqual(told[0], told[1], "seed %d step %d: %r" % (seed, step, said[-10:]))
        for c in sum(sides, ()):
            c.close()

    def test_histories_are_listed_as_redis_lists_them(self):
        run_histories(self.history, 1, 5)


class Settings(Case):
    def test_the_log_is_on_and_cannot_be_switched_off(self):
        r = self.server.redis()
        self.addCleanup(r.close)
        self.assertEqual(r.config_get("appendonly"), {"appendonly": "yes"})
        self.assertTrue(r.config_set("appendonly", "yes"))
        with self.assertRaisesRegex(redis.ResponseError, "'appendonly'.*cannot be switched off"):
            r.config_set("appendonly", "no")


class Beside(BesidePeer, Case):
    """What redis-server 7.0 says, word for word or field for field."""

    def test_info_has_the_fields_of_redis(self):
        fields = []
        for r in (self.server.redis(), redis.Redis(port=self.peer.port)):
            self.addCleanup(r.close)
            r.response_callbacks.clear()
            text = r.execute_command("INFO", "everything").decode()
            fields.append({line.partition(":")[0]: line.partition(":")[2] for line in text.splitlines() if ":" in line})
        ours, theirs = fields
        self.assertEqual({f for f in theirs if not f.startswith(("cmdstat_", "errorstat_", "latency_", "db"))} - set(ours), set())
        for name, value in theirs.items():  # of the same kind
            kind = lambda text: re.sub(r"\d+", "0", text)
            if kind(value) in ("0", "0.0", "-0"):
                self.assertIn(kind(ours.get(name, value)), ("0", "0.0", "-0"), name)

    def test_what_info_counts_is_so(self):
        r = self.server.redis()
        self.addCleanup(r.close)
        lua = r.info()["used_memory_lua"]
        r.eval("local t = {}; for i = 1, 1000 do t[i] = {} end; return #t", 0)
        info = r.info()
        self.assertGreater(info["used_memory_lua"], max(lua, 10_000) - 1)
        self.assertEqual(info["number_of_cached_scripts"], 1)
        self.assertGreater(info["used_memory_scripts_eval"], 50)
        self.assertGreater(info["total_reads_processed"], 2)
        self.assertGreater(info["total_writes_processed"], 2)
        freed = info["lazyfreed_objects"]
        r.mset({"k%d" % i: "v" for i in range(1000)})
        r.flushdb()
        self.assertTrue(wait_until(lambda: r.info()["lazyfreed_objects"] >= freed + 1000 and r.info()["lazyfree_pending_objects"] == 0))

    def test_functions_are_counted_before_anybody_calls_one(self):
        """Also after a restart: they were read when they were first used."""
        sources = ["#!lua name=%s\nredis.register_function('%s1', function() end) redis.register_function('%s2', function() end)" % (n, n, n) for n in "ab"]
        def counted(r):
            info = r.info("memory")
            self.assertEqual((info["number_of_libraries"], info["number_of_functions"]), (2, 4))
            self.assertGreaterEqual(info["used_memory_functions"], sum(map(len, sources)))
            self.assertGreaterEqual(info["used_memory_scripts"], info["used_memory_functions"])
        ours, theirs = self.server.redis(), redis.Redis(port=self.peer.port)
        for r in (ours, theirs):
            self.assertEqual([r.info("memory")[f] for f in ("number_of_libraries", "number_of_functions")], [0, 0])
            for source in sources:
                r.function_load(source)
            counted(r)
        theirs.function_flush()
        theirs.close()
        ours.config_set("appendfsync", "always")
        ours.set("settled", 1)
        ours.close()
        self.server.restart()
        ours = self.server.redis()
        counted(ours)
        ours.function_flush()
        ours.close()

    def test_an_error_of_a_script_is_counted_as_redis_counts_it(self):
        """What a command said that the script called was counted once more when the script ended with it."""
        pair = self.server.redis(), redis.Redis(port=self.peer.port)
        for r in pair:
            self.addCleanup(r.close)
            r.delete("h")
            r.hset("h", "f", "v")
        for script in ("return redis.call('incr', 'h')", "return redis.pcall('incr', 'h')", "redis.pcall('incr', 'h') return 1", "error(redis.pcall('incr', 'h'))",
                       "return {1, redis.pcall('incr', 'h')}", "return redis.call('nosuch')", "return redis.pcall('nosuch')", "redis.pcall('nosuch') return 1",
                       "redis.pcall('get') return 1", "return redis.call('get')", "return redis.call('subscribe', 'c')", "return redis.pcall()", "error('x')",
                       "return redis.error_reply('MY error')", "return {err='MY error'}", "redis.pcall('incr', 'h') return redis.call('incr', 'h')"):
            counted = []
            for r in pair:
                r.config_resetstat()
                try:
                    r.eval(script, 0)
                except redis.ResponseError:
                    pass
                failed = {name: (n["failed_calls"], n["rejected_calls"]) for name, n in r.info("commandstats").items() if n["failed_calls"] + n["rejected_calls"]}
                counted.append((r.info("errorstats"), r.info("stats")["total_error_replies"], failed))
            self.assertEqual(counted[0], counted[1], script)

    def test_a_timeout_is_read_as_redis_reads_it(self):
        ours, theirs = self.server.redis(), redis.Redis(port=self.peer.port)
        for r in (ours, theirs):
            self.addCleanup(r.close)
            r.response_callbacks.clear()
        for timeout in ("-1", "-0.0001", "inf", "-inf", "+inf", "nan", "1e400", "1e5000", "1e18", "9223372036854776", "9.3e15", "9223372036854775.808",
                        "1e16", "9223372036854775807", " 1", "1 ", "", "abc", "1e-5000", "0.001", "1e-400", "1e-3", "0x1p-10"):
            if timeout in ("-0.0001", "1e-400"):
                continue  # it waits for ever
            got = []
            for r in (ours, theirs):
                try:
                    got.append(r.execute_command("BLPOP", "nothing", timeout))
                except redis.ResponseError as e:
                    got.append(str(e))
            # redis-server 7.0 takes what has no 64-bit integer for negative; later ones say what it is.
            too_large = timeout in ("inf", "+inf", "1e400", "1e18", "9223372036854776", "9.3e15", "9223372036854775.808", "1e16", "9223372036854775807")
            self.assertEqual(got[0], "timeout is out of range" if too_large and got[1] == "timeout is negative" else got[1], timeout)
        # redis-server 7.0 adds it to the time of day, which is then one in the past; later ones refuse it.
        for timeout in ("9223372036854775", "0x7FFFFFFFFFFFFF"):
            with self.assertRaisesRegex(redis.ResponseError, "timeout is out of range"):
                ours.execute_command("BLPOP", "nothing", timeout)


if __name__ == "__main__":
    unittest.main()
