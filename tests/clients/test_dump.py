"""DUMP and RESTORE: between redis-server and this server in both directions, every type in every encoding."""
import os
import random
import socket
import subprocess
import threading
import time
import unittest

import redis

from harness import PASSWORD, Case
from test_resp import BesidePeer, Peer

SEED = int(os.environ.get("CAIRN_DUMP_SEED", "1"))


def crc64(data):
    """Of Jones, bit by bit."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x95ac9329ac4bc9b5 if crc & 1 else 0)
    return crc


def crc64_of(data):
    return crc64(data).to_bytes(8, "little")


def payload(body, version=10):
    data = body + version.to_bytes(2, "little")
    return data + crc64_of(data)


class Values:
    """Makes one value under a key of a server, from a seed."""

    def __init__(self, seed):
        self.r = random.Random(seed)

    def word(self):
        r = self.r
        return r.choice([lambda: b"%d" % (r.getrandbits(64) - (1 << 63) >> r.randrange(64)), lambda: b"x" * r.randrange(100),
                         lambda: b"word%d" % r.randrange(1000), lambda: b"", lambda: bytes(r.randrange(256) for _ in range(r.randrange(40))),
                         lambda: r.choice([b"-0", b"007", b"1.5", b"9223372036854775808"]),
                         lambda: b"abc" * r.choice([10, 1000, 5000]) if r.random() < 0.1 else b"y"])()

    def make(self, kind, n, key):
        r = self.r
        if kind == "string":
            return [[b"SET", key, self.word()]]
        if kind == "list":
            return [[r.choice([b"RPUSH", b"LPUSH"]), key] + [self.word() for _ in range(n)]]
        if kind == "set":
            return [[b"SADD", key] + [b"%d" % (r.getrandbits(64) - (1 << 63) >> r.randrange(8, 64)) for _ in range(n)]
                    if r.random() < 0.4 else [b"SADD", key] + [self.word() for _ in range(n)]]
        if kind == "hash":
            return [[b"HSET", key] + [self.word() for _ in range(2 * n)]]
        if kind == "zset":
            score = lambda: r.choice([b"%d" % r.randrange(-9, 9), b"inf", b"-inf", b"1.5", b"3.3", b"1e300", b"123456789012", b"1e-9", b"70000"])
            return [[b"ZADD", key] + [w for _ in range(n) for w in (score(), self.word())]]
        out, ms = [], 0
        for _ in range(n):
            ms += r.randrange(1, 50)
            names = r.choice([[b"a", b"b"], [b"a", b"b"], [b"a"], [b"c", b"d", b"7"]])
            out.append([b"XADD", key, b"%d-%d" % (ms, r.randrange(5))] + [w for name in names for w in (name, self.word())])
        for g in range(r.randrange(3)):
            out.append([b"XGROUP", b"CREATE", key, b"g%d" % g, r.choice([b"0", b"$", b"7"])])
            for c in range(r.randrange(3)):
                out.append([b"XREADGROUP", b"GROUP", b"g%d" % g, b"c%d" % c, b"COUNT", b"%d" % r.randrange(1, 20), b"STREAMS", key, b">"])
        if r.random() < 0.5:
            out.append([b"XDEL", key] + [b"%d-%d" % (r.randrange(50), i) for i in range(5)])
        return out


KINDS = ["string", "list", "set", "hash", "zset", "stream"]


def told(c, key):
    """All that a value is, as both servers tell it."""
    kind = c.execute_command("TYPE", key)
    if kind == b"string":
        return c.execute_command("GET", key)
    if kind == b"list":
        return c.execute_command("LRANGE", key, 0, -1)
    if kind == b"set":
        return sorted(c.execute_command("SMEMBERS", key))
    if kind == b"hash":
        return sorted(c.hgetall(key).items())
    if kind == b"zset":
        return c.zrange(key, 0, -1, withscores=True)
    if kind == b"stream":
        info = c.xinfo_stream(key)
        groups = []
        for g in c.xinfo_groups(key):
            pending = c.xpending_range(key, g["name"], "-", "+", 10000)
            consumers = sorted(x["name"] for x in c.xinfo_consumers(key, g["name"]) if x["pending"])
            groups.append((g["name"], g["last-delivered-id"], g["pending"], consumers,
                           [(p["message_id"], p["consumer"], p["times_delivered"]) for p in pending]))
        return (c.xrange(key), info["last-generated-id"], info["length"], info["entries-added"], info["max-deleted-entry-id"], groups)
    return kind


class Dump(BesidePeer, Case):
    def setUp(self):
        self.ours = self.server.redis()
        self.theirs = redis.Redis(port=self.peer.port)
        for c in (self.ours, self.theirs):
            c.flushall()
            self.addCleanup(c.close)

    def test_each_value_goes_both_ways(self):
        for seed in range(SEED, SEED + 25):
            values = Values(seed)
            for kind in KINDS:
                commands = values.make(kind, values.r.choice([1, 3, 100, 129, 600]), "k")
                for source, target, name in ((self.ours, self.theirs, "to redis"), (self.theirs, self.ours, "from redis")):
                    source.delete("k")
                    for words in commands:
                        try:
                            source.execute_command(*words)
                        except redis.ResponseError as e:
                            self.assertIn("ID", str(e))  # of XDEL
                    data = source.dump("k")
                    target.delete("k")
                    self.assertEqual(target.restore("k", 0, data), b"OK", (seed, kind, name))
                    self.assertEqual(told(target, "k"), told(source, "k"), (seed, kind, name))
                    source.restore("again", 0, data, replace=True)  # and where it came from
                    self.assertEqual(told(source, "again"), told(source, "k"), (seed, kind, name))

    def test_all_encodings_of_redis_are_read(self):
        names = ["hash-max-listpack-entries", "set-max-intset-entries", "zset-max-listpack-entries", "list-max-listpack-size",
                 "stream-node-max-entries"]
        before = {n: self.theirs.config_get(n)[n] for n in names}
        try:
            for limit in (0, 2, 1000):
                for n in names:
                    self.theirs.config_set(n, max(limit, 1) if n.startswith(("list", "stream")) else limit)
                for compression in ("yes", "no"):
                    self.theirs.config_set("rdbcompression", compression)
                    values = Values(limit + 77)
                    for kind in KINDS:
                        for n in (1, 5, 200):
                            self.theirs.delete("k")
                            for words in values.make(kind, n, "k"):
                                try:
                                    self.theirs.execute_command(*words)
                                except redis.ResponseError as e:
                                    self.assertIn("ID", str(e))
                            self.ours.restore("k", 0, self.theirs.dump("k"), replace=True)
                            self.assertEqual(told(self.ours, "k"), told(self.theirs, "k"), (limit, compression, kind, n))
        finally:
            self.theirs.config_set("rdbcompression", "yes")
            for n, v in before.items():
                self.theirs.config_set(n, v)

    def test_bytes_are_those_of_redis_where_the_encoding_is_the_same(self):
        self.theirs.config_set("rdbcompression", "no")
        for words in ([b"SET", b"k", b"12345"], [b"SET", b"k", b"-1"], [b"SET", b"k", b"70000000000"], [b"SET", b"k", b""], [b"SET", b"k", b"word" * 100],
                      [b"RPUSH", b"k", b"a", b"1", b"-5000", b"x" * 70, b"", b"123456789012345"],
                      [b"RPUSH", b"k"] + [b"y" * n for n in (63, 64, 126, 127, 128, 4095, 1000)],
                      [b"RPUSH", b"k"] + [b"%d" % (s * ((1 << n) + d)) for n in range(63) for s in (1, -1) for d in (-1, 0, 1)],
                      [b"SADD", b"k", b"3", b"1", b"2"], [b"SADD", b"k", b"70000", b"-1"], [b"SADD", b"k", b"5000000000", b"1"],
                      [b"HSET", b"k", b"f", b"1", b"g", b"word"], [b"ZADD", b"k", b"1", b"a", b"2.5", b"b", b"inf", b"c", b"-3e10", b"d", b"0.1", b"e"],
                      [b"XADD", b"k", b"5-1", b"a", b"1", b"b", b"two"]):
            for c in (self.ours, self.theirs):
                c.delete("k")
                c.execute_command(*words)
            self.assertEqual(self.ours.dump("k"), self.theirs.dump("k"), [w[:20] for w in words])
        self.theirs.config_set("rdbcompression", "yes")

    def test_large_values_go_both_ways_while_others_have_their_turn(self):
        r = random.Random(5)
        p = self.ours.pipeline(transaction=False)
        for at in range(0, 60000, 1000):
            p.rpush("list", *(b"e%d" % i for i in range(at, at + 1000)))
            p.sadd("set", *(b"member%d" % i for i in range(at, at + 1000)))
            p.hset("hash", mapping={b"field%d" % i: b"value%d" % i for i in range(at, at + 1000)})
            p.zadd("zset", {b"member%d" % i: r.random() for i in range(at, at + 1000)})
            for i in range(at, at + 1000, 4):
                p.xadd("stream", {"f": i}, id="%d-1" % (i + 1))
        p.set("string", bytes(r.randrange(256) for _ in range(1000)) * 9000)
        p.xgroup_create("stream", "g", "0")
        p.xreadgroup("g", "c", {"stream": ">"}, count=15000)
        p.execute()
        worst, stop = [0.0], threading.Event()

        def other():
            c = self.server.redis()
            while not stop.is_set():
                begun = time.monotonic()
                c.set("other", "x")
                worst[0] = max(worst[0], time.monotonic() - begun)
            c.close()

        thread = threading.Thread(target=other)
        thread.start()
        try:
            for key in ("list", "set", "hash", "zset", "stream", "string"):
                data = self.ours.dump(key)
                self.assertGreater(len(data), 100_000)
                self.assertEqual(self.theirs.restore(key, 0, data), b"OK", key)
                self.assertEqual(told(self.theirs, key), told(self.ours, key), key)
                data = self.theirs.dump(key)  # compressed, and in other pieces
                self.assertEqual(self.ours.restore(key + "2", 100_000_000, data), b"OK", key)
                self.assertEqual(told(self.ours, key + "2"), told(self.ours, key), key)
                self.assertGreater(self.ours.ttl(key + "2"), 99_000)
                with self.assertRaisesRegex(redis.ResponseError, "BUSYKEY"):
                    self.ours.restore(key + "2", 0, data)
                broken = bytearray(data)
                broken[len(data) // 2] ^= 1
                with self.assertRaisesRegex(redis.ResponseError, "checksum"):
                    self.ours.restore(key + "3", 0, bytes(broken))
                self.assertFalse(self.ours.exists(key + "3"))
        finally:
            stop.set()
            thread.join()
        print("the longest that another client waited: %.1f ms" % (worst[0] * 1000))
        self.server.restart()
        ours = self.server.redis()
        for key in ("list", "set", "hash", "zset", "stream", "string"):
            self.assertEqual(told(ours, key + "2"), told(ours, key), key)
        ours.close()

    def test_large_hostile_payloads_leave_nothing(self):
        """A member that comes twice, far apart; a body that ends early; a bomb."""
        size = self.ours.dbsize()
        members = b"".join(b"\x0a" + b"m%09d" % i for i in range(20000))
        length = b"\x80" + (20001).to_bytes(4, "big")
        word = b"\x80" + (1 << 30).to_bytes(4, "big")
        for body in (b"\x02" + length + members + b"\x0a" + b"m%09d" % 5, b"\x02" + length + members, b"\x02" + length + members + b"\x01x\x01y",
                     b"\x02" + length + members + word, b"\x01\x02" + word + members,
                     b"\x00\xc3" + b"\x80" + (100_000).to_bytes(4, "big") + b"\x80" + (1 << 30).to_bytes(4, "big") + b"\xff" * 100_000):
            with self.assertRaises(redis.ResponseError, msg=body[:40]):
                self.ours.restore("hostile", 0, payload(body))
        self.assertEqual(self.ours.dbsize(), size)

    def test_options_and_errors_are_those_of_redis(self):
        for c in (self.ours, self.theirs):
            c.set("there", "x")
        good = self.theirs.dump("there")
        for words in (["RESTORE", "k", "0", good], ["RESTORE", "k", "0", good], ["RESTORE", "k", "x", good], ["RESTORE", "k", "0", good, "REPLACE"],
                      ["RESTORE", "n", "-1", good], ["RESTORE", "n", "x", good], ["RESTORE", "n", "0", "x"], ["RESTORE", "n", "0", good[:-1] + b"x"],
                      ["RESTORE", "n", "0", payload(b"\x02\x00")], ["RESTORE", "n", "0", payload(b"\x00\x01a", 13)],
                      ["RESTORE", "n", "0", payload(b"\x07\x01")], ["RESTORE", "n", "0", good, "FOO"],
                      ["RESTORE", "n", "0", good, "IDLETIME"], ["RESTORE", "n", "0", good, "IDLETIME", "x"], ["RESTORE", "n", "0", good, "IDLETIME", "-1"],
                      ["RESTORE", "n", "0", good, "FREQ", "256"], ["RESTORE", "n", "0", good, "FREQ", "-1"],
                      ["RESTORE", "n", "0", good, "FREQ", "5", "IDLETIME", "5"], ["RESTORE", "n", "1", good, "ABSTTL"], ["EXISTS", "n"],
                      ["RESTORE", "k", "1", good, "ABSTTL", "REPLACE"], ["EXISTS", "k"], ["RESTORE", "n", "0", good, "IDLETIME", "1000"],
                      ["RESTORE", "t", "99999999999999", good, "ABSTTL"], ["PEXPIRETIME", "t"], ["RESTORE", "f", "0", good, "FREQ", "5"],
                      ["DUMP", "absent"], ["DUMP"], ["RESTORE", "n", "0"]):
            answers = []
            for c in (self.ours, self.theirs):
                try:
                    answers.append(c.execute_command(*words))
                except redis.ResponseError as e:
                    answers.append(str(e))
            self.assertEqual(answers[0], answers[1], [w[:30] for w in words])

    def test_redis_cli_pipes(self):
        self.ours.hset("h", mapping={"a": "1", "b": "two"})
        script = "redis-cli -p %d --no-auth-warning -a %s --raw DUMP h | head -c -1 | redis-cli -p %d -x RESTORE h 0" % (
            self.server.resp, PASSWORD, self.peer.port)
        self.assertEqual(subprocess.check_output(["sh", "-c", script]).strip(), b"OK")
        self.assertEqual(told(self.theirs, "h"), told(self.ours, "h"))

    def test_fields_with_a_time_need_version_12(self):
        self.ours.execute_command("HSET", "h", "a", "1", "b", "2")
        self.ours.execute_command("HPEXPIREAT", "h", "9999999999999", "FIELDS", "1", "a")
        data = self.ours.dump("h")
        self.assertEqual(int.from_bytes(data[-10:-8], "little"), 12)
        with self.assertRaises(redis.ResponseError):
            self.theirs.restore("h", 0, data)
        self.ours.restore("h2", 0, data)
        for key in ("h", "h2"):
            self.assertEqual(self.ours.execute_command("HPEXPIRETIME", key, "FIELDS", "2", "a", "b"), [9999999999999, -1])
        self.ours.execute_command("HPERSIST", "h", "FIELDS", "1", "a")
        self.theirs.restore("h", 0, self.ours.dump("h"))
        self.assertEqual(told(self.theirs, "h"), told(self.ours, "h"))


class Migrate(Case):
    def setUp(self):
        self.peer = Peer()
        self.addCleanup(self.peer.stop)
        self.ours, self.theirs = self.server.redis(), redis.Redis(port=self.peer.port)
        self.ours.response_callbacks.clear()
        self.ours.flushall()
        for c in (self.ours, self.theirs):
            self.addCleanup(c.close)

    def migrate(self, *words, port=None):
        return self.ours.execute_command("MIGRATE", "127.0.0.1", port or self.peer.port, *words)

    def test_keys_go_to_redis_and_back(self):
        values = Values(4)
        for i, kind in enumerate(KINDS * 20):
            for words in values.make(kind, 20, "k%d" % i):
                try:
                    self.ours.execute_command(*words)
                except redis.ResponseError:
                    pass
        self.ours.execute_command("RPUSH", "large", *range(100_000))
        self.ours.execute_command("SET", "later", "x", "PX", 10_000_000)
        keys = self.ours.execute_command("KEYS", "*")
        before = {k: told(self.server.redis(), k) for k in keys}
        self.assertEqual(self.migrate("", 0, 5000, "COPY", "KEYS", *keys), b"OK")
        self.assertEqual(self.ours.execute_command("DBSIZE"), len(keys))
        self.assertEqual({k: told(self.theirs, k) for k in keys}, before)
        with self.assertRaisesRegex(redis.ResponseError, "Target instance replied with error: BUSYKEY"):
            self.migrate("", 0, 5000, "KEYS", *keys)
        self.assertEqual(self.ours.execute_command("DBSIZE"), len(keys))
        self.assertEqual(self.migrate("", 0, 5000, "REPLACE", "KEYS", *keys), b"OK")
        self.assertEqual(self.ours.execute_command("DBSIZE"), 0)
        self.assertEqual({k: told(self.theirs, k) for k in keys}, before)
        self.assertGreater(self.theirs.pttl("later"), 9_000_000)
        back = self.theirs.execute_command("MIGRATE", "127.0.0.1", self.server.resp, "", 0, 60000, "AUTH", PASSWORD, "KEYS", *keys)
        self.assertEqual(back, b"OK")
        self.assertEqual(self.theirs.dbsize(), 0)
        self.assertEqual({k: told(self.server.redis(), k) for k in keys}, before)

    def test_a_key_that_is_refused_stops_no_other(self):
        keys = ["k%d" % i for i in range(500)]
        self.ours.mset({k: "v" for k in keys})
        self.theirs.set("k7", "other")
        with self.assertRaisesRegex(redis.ResponseError, "Target instance replied with error: BUSYKEY"):
            self.migrate("", 0, 5000, "KEYS", *keys)
        self.assertEqual((self.ours.keys(), self.theirs.dbsize(), self.theirs.get("k7")), ([b"k7"], 500, b"other"))

    def test_a_peer_that_says_a_line_byte_by_byte_has_the_time_of_a_line(self):
        self.ours.set("k", "v")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen(4)

            def drip():
                peer, _ = s.accept()
                try:
                    for _ in range(600):
                        peer.sendall(b"-")
                        time.sleep(0.1)
                except OSError:
                    pass
                peer.close()

            thread = threading.Thread(target=drip)
            thread.start()
            other, me = self.server.redis(), self.ours.client_id()
            unblocked = []
            ask = threading.Timer(0.3, lambda: unblocked.append(other.client_unblock(me)))
            ask.start()
            with self.assertRaisesRegex(redis.ResponseError, "IOERR error or timeout reading"):
                self.migrate("k", 0, 1000, port=s.getsockname()[1])
            ask.join()
            other.close()
            self.assertEqual(unblocked, [False])  # it is no wait of the kind that is ended so
            thread.join(30)
            self.assertFalse(thread.is_alive())
        self.assertEqual(self.ours.get("k"), b"v")

    def test_errors_are_told(self):
        self.assertEqual(self.migrate("absent", 0, 1000), b"NOKEY")
        self.assertEqual(self.migrate("", 0, 1000, "KEYS"), b"NOKEY")
        self.ours.execute_command("SET", "k", "v")
        for words, text in ((("k", "x", 1000), "not an integer"), (("k", 0, "x"), "not an integer"), (("k", 0, 1000, "FOO"), "syntax error"),
                            (("k", 0, 1000, "KEYS", "k"), "must be set to the empty string"), (("k", 0, 1000, "AUTH"), "syntax error"),
                            (("k", 99, 1000), "Target instance replied with error: ERR DB index"),
                            (("k", 0, 1000, "AUTH", "wrong"), "Target instance replied with error")):
            with self.assertRaisesRegex(redis.ResponseError, text, msg=words):
                self.migrate(*words)
        with socket.socket() as s:  # takes connections, and says nothing
            s.bind(("127.0.0.1", 0))
            s.listen(4)
            begun = time.monotonic()
            with self.assertRaisesRegex(redis.ResponseError, "IOERR error or timeout reading"):
                self.migrate("k", 0, 300, port=s.getsockname()[1])
            self.assertGreater(time.monotonic() - begun, 0.25)
            port = s.getsockname()[1]
        with self.assertRaisesRegex(redis.ResponseError, "IOERR error or timeout writing"):  # where nobody listens
            self.migrate("k", 0, 300, port=port)
        self.assertEqual(self.ours.execute_command("GET", "k"), b"v")

    def test_nothing_is_lost_when_the_other_is_killed(self):
        for round in range(3):
            for at in range(0, 20000, 1000):
                self.ours.execute_command("MSET", *(w for i in range(at, at + 1000) for w in (b"%d-%d" % (round, i), b"v" * 500)))
            keys = [b"%d-%d" % (round, i) for i in range(20000)]
            theirs, process = redis.Redis(port=self.peer.port), self.peer.process

            def kill():
                while theirs.dbsize() < 1500 * (round + 1):
                    time.sleep(0.001)
                process.kill()
                theirs.close()

            killer = threading.Thread(target=kill)
            killer.start()
            try:
                self.migrate("", 0, 1000, "KEYS", *keys)
            except redis.ResponseError as e:
                self.assertIn("IOERR", str(e))
            killer.join()
            here = self.ours.execute_command("EXISTS", *keys)
            self.assertGreater(here, 0)
            self.peer.process.wait()
            self.peer.stop()
            # Without its memory nobody can ask the other; what is here must be whole.
            left = [k for k in keys if self.ours.execute_command("EXISTS", k)]
            self.assertTrue(all(v == b"v" * 500 for v in self.ours.execute_command("MGET", *left)) if left else True)
            self.peer = Peer()
            self.addCleanup(self.peer.stop)

    def test_nothing_is_lost_when_this_one_is_killed_or_others_write(self):
        keys = [b"k%d" % i for i in range(10000)]
        self.ours.execute_command("CONFIG", "SET", "appendfsync", "always")
        self.ours.execute_command("MSET", *(w for k in keys for w in (k, b"0")))
        stop, written = threading.Event(), {}

        def write():
            c, r = self.server.redis(), random.Random(1)
            try:
                for n in range(1, 1 << 30):
                    if stop.is_set():
                        break
                    k = r.choice(keys)
                    if c.set(k, n, xx=True):
                        written[k] = n
            except redis.ConnectionError:
                pass

        thread = threading.Thread(target=write)
        thread.start()
        killer = threading.Timer(0.3, self.server.kill)
        killer.start()
        try:
            self.migrate("", 0, 5000, "KEYS", *keys)
        except (redis.ResponseError, redis.ConnectionError):
            pass
        killer.join()
        stop.set()
        thread.join()
        self.server.start()
        ours = self.server.redis()
        for k in keys:
            values = [int(v) for v in (ours.get(k), self.theirs.get(k)) if v is not None]
            self.assertTrue(values, k)
            self.assertGreaterEqual(max(values), written.get(k, 0), k)
        ours.close()


if __name__ == "__main__":
    unittest.main()
