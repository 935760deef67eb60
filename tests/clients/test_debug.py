"""DEBUG: digests, values of each kind of the protocol and what it tells of values, beside redis-server."""
import random
import re
import socket
import threading
import unittest

import redis

from harness import Server, command, wait_until
from test_resp import Peer

KINDS = "string integer double bignum null array set map attrib push verbatim true false nosuch".split()


class Debug(unittest.TestCase):
    server_args = ["--enable-debug-command=yes"]

    @classmethod
    def setUpClass(cls):
        cls.server, cls.peer = Server(credentials=False, args=cls.server_args), Peer("--enable-debug-command", "yes")

    @classmethod
    def tearDownClass(cls):
        cls.peer.stop()
        cls.server.remove()

    def setUp(self):
        self.both = [redis.Redis(port=port) for port in (self.server.resp, self.peer.port)]
        for r in self.both:
            r.response_callbacks.clear()
            self.addCleanup(r.close)
        self.ask("FLUSHALL")

    def ask(self, *words):
        """Of both; ours."""
        ours, theirs = [r.execute_command(*words) for r in self.both]
        self.theirs = theirs
        return ours

    def alike(self, *words):
        ours = self.ask(*words)
        self.assertEqual(ours, self.theirs, words)
        return ours

    def refused(self, text, *words):
        with self.assertRaisesRegex(redis.ResponseError, text):
            self.both[0].execute_command(*words)


class Digest(Debug):
    def fill(self, rng, n, size):
        """Every type, with `n` members each."""
        word = lambda: bytes(rng.randrange(256) for _ in range(rng.randrange(1, size)))
        many = lambda make: [x for _ in range(n) for x in make()]
        i = rng.randrange(1 << 30)
        self.ask("SET", "string%d" % i, word())
        self.ask("SET", "number%d" % i, rng.randrange(-1000, 1000))
        self.ask("RPUSH", "list%d" % i, *many(lambda: [word()]))
        self.ask("SADD", "set%d" % i, *many(lambda: [word()]))
        self.ask("SADD", "integers%d" % i, *many(lambda: [rng.randrange(1 << 40)]))
        self.ask("ZADD", "zset%d" % i, *many(lambda: [rng.choice([rng.random(), rng.randrange(-5, 5), "inf", "-inf", 1e300]), word()]))
        self.ask("HSET", "hash%d" % i, *many(lambda: [word(), word()]))
        for j in range(1, min(n, 300) + 1):
            self.ask("XADD", "stream%d" % i, "%d-%d" % (j, rng.randrange(9)), *many(lambda: [word(), word()])[:2 * rng.randrange(1, 4)])
        self.ask("PEXPIRE", rng.choice(["set%d", "hash%d", "string%d"]) % i, "10000000")
        return i

    def test_it_is_redis_s(self):
        rng = random.Random(1)
        self.assertEqual(self.alike("DEBUG", "DIGEST"), b"0" * 40)
        for db in (0, 9, 3):
            self.ask("SELECT", db)
            for _ in range(4):
                i = self.fill(rng, rng.choice([1, 10, 300]), 60)
                keys = [b"%s%d" % (k, i) for k in (b"string", b"number", b"list", b"set", b"integers", b"zset", b"hash", b"stream")]
                got = self.alike("DEBUG", "DIGEST-VALUE", *keys, "nosuch")
                self.assertEqual((len(set(got)), got[-1]), (len(keys) + 1, b"0" * 40))
            self.alike("DEBUG", "DIGEST")
        self.ask("DEL", *self.both[0].execute_command("KEYS", "string*"))
        before = self.alike("DEBUG", "DIGEST")
        self.ask("SET", "one-more", "v")
        self.assertNotEqual(self.alike("DEBUG", "DIGEST"), before)
        self.ask("DEL", "one-more")
        self.assertEqual(self.alike("DEBUG", "DIGEST"), before)

    def test_of_large_values(self):
        """These are looked at part by part, or lie in extents."""
        n = 60_000
        self.ask("SET", "text", b"x" * 3_000_000)
        for i in range(0, n, 10_000):
            names = [b"member-%d" % j for j in range(i, i + 10_000)]
            self.ask("RPUSH", "list", *names)
            self.ask("SADD", "set", *names)
            self.ask("HSET", "hash", *[x for name in names for x in (name, name[::-1])])
            self.ask("ZADD", "zset", *[x for j, name in enumerate(names) for x in (j % 7, name)])
        for r in self.both:
            with r.pipeline(transaction=False) as p:
                for j in range(1, 30_000):
                    p.execute_command("XADD", "stream", "%d-1" % j, "field", "value-%d" % j)
                p.execute()
        self.alike("DEBUG", "DIGEST-VALUE", "text", "list", "set", "hash", "zset", "stream")
        self.alike("DEBUG", "DIGEST")

    def test_others_go_on_and_it_comes_to_an_end(self):
        ours = self.both[0]
        ours.execute_command("RPUSH", "list", *range(50_000))
        ours.execute_command("DEBUG", "POPULATE", "20000")
        ended = threading.Event()

        def change():
            r, i = redis.Redis(port=self.server.resp), 0
            while not ended.is_set():
                i += 1
                with r.pipeline() as p:
                    p.rpush("list", i).lpop("list").set("key:%d" % (i % 20000), i)
                    p.execute()
            r.close()

        t = threading.Thread(target=change)
        t.start()
        try:
            for _ in range(5):
                self.assertRegex(ours.execute_command("DEBUG", "DIGEST"), rb"^[0-9a-f]{40}$")
        finally:
            ended.set()
            t.join()
        again = [ours.execute_command("DEBUG", "DIGEST") for _ in range(2)]
        self.assertEqual(again[0], again[1])

    def test_refusals(self):
        ours = self.both[0]
        self.refused("unknown subcommand or wrong number", "DEBUG", "DIGEST-VALUE")
        ours.execute_command("MULTI")
        ours.execute_command("DEBUG", "DIGEST")
        self.assertIn("isn't allowed inside MULTI", str(ours.execute_command("EXEC")[0]))


class DigestInLittleMemory(Debug):
    server_args = ["--enable-debug-command=yes", "--memory=64mb"]

    def test_values_on_disk_alone_count_too(self):
        for i in range(100):
            self.ask("MSET", *[x for j in range(100) for x in ("k%d" % (100 * i + j), b"%d" % j * 4000)])
        self.ask("RPUSH", "l", *range(100))
        info = lambda: int(re.search(rb"keys_with_value_on_disk:(\d+)", self.both[0].execute_command("INFO", "memory")).group(1))
        self.assertTrue(wait_until(lambda: info() > 0))
        self.alike("DEBUG", "DIGEST")
        self.alike("DEBUG", "DIGEST-VALUE", *["k%d" % i for i in range(0, 10_000, 500)])


class Protocol(Debug):
    def raw(self, port, *commands):
        """The bytes that answer these, each a list of words."""
        with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
            s.sendall(b"".join(command(*(w if isinstance(w, bytes) else w.encode() for w in words)) for words in commands))
            s.shutdown(socket.SHUT_WR)
            out = b""
            while part := s.recv(1 << 16):
                out += part
            return out

    def same(self, *commands, ordered=True):
        ours, theirs = (self.raw(port, *commands) for port in (self.server.resp, self.peer.port))
        # HELLO tells each server's name.
        seen = [re.sub(rb"^(\*14|%7)\r\n.*?modules\r\n\*0\r\n", b"", x, flags=re.S) for x in (ours, theirs)]
        self.assertEqual(*(seen if ordered else [sorted(x.split(b"\r\n")) for x in seen]), commands)
        return ours

    def test_each_kind_of_value(self):
        for version in ("2", "3"):
            for kind in KINDS:
                self.same(("HELLO", version), ("DEBUG", "PROTOCOL", kind), ("PING",))
        self.assertIn(b"|1\r\n$14\r\nkey-popularity\r\n", self.same(("HELLO", "3"), ("DEBUG", "PROTOCOL", "attrib")))

    def test_scripts_get_and_answer_them(self):
        self.refused("not allowed from script", "EVAL", "return redis.call('debug', 'protocol', 'string')", "0")
        self.ask("DEBUG", "SET-DISABLE-DENY-SCRIPTS", "1")
        try:
            for version in ("2", "3"):
                for inside in ("2", "3"):
                    for kind in KINDS:
                        if kind in ("attrib", "push"):  # 7.0's scripts stop at a push
                            continue
                        script = "redis.setresp(%s); return redis.call('debug', 'protocol', '%s')" % (inside, kind)
                        if kind == "nosuch":
                            script = "return redis.pcall('debug', 'protocol', 'nosuch')"
                        # A table of Lua has no order.
                        self.same(("HELLO", version), ("EVAL", script, "0"), ("PING",), ordered=kind not in ("set", "map"))
            self.refused("isn't allowed inside MULTI or a script", "EVAL", "return redis.call('debug', 'sleep', '0')", "0")
            self.refused("not allowed from script", "EVAL", "return redis.call('multi')", "0")
        finally:
            self.ask("DEBUG", "SET-DISABLE-DENY-SCRIPTS", "0")
        self.refused("not allowed from script", "EVAL", "return redis.call('debug', 'protocol', 'string')", "0")


class Others(Debug):
    def test_populate_makes_the_keys_that_are_missing(self):
        self.ask("SET", "key:3", "mine")
        self.ask("SET", "p:1", "mine")
        for words in (("20",), ("10", "p"), ("5", "sized", "30"), ("5", "short", "3")):
            self.assertEqual(self.alike("DEBUG", "POPULATE", *words), b"OK")
        self.alike("DBSIZE")
        self.assertEqual(self.alike("MGET", "key:3", "key:19", "p:1", "p:2", "sized:4", "short:0"),
                         [b"mine", b"value:19", b"mine", b"value:2", b"value:4" + b"\0" * 23, b"val"])
        self.alike("DEBUG", "DIGEST")
        self.both[0].execute_command("DEBUG", "POPULATE", "100000", "many")
        self.assertEqual(self.both[0].execute_command("GET", "many:99999"), b"value:99999")
        for words, why in ((("x",), "not an integer"), (("-1",), "out of range"), (("1", "p", "1000000000"), "at most")):
            self.refused(why, "DEBUG", "POPULATE", *words)

    def test_object_says_how_a_value_is_kept(self):
        ours = self.both[0]
        ours.execute_command("SET", "string", "x" * 100)
        ours.execute_command("RPUSH", "list", *range(10))
        ours.execute_command("SET", "blob", "x" * 1_000_000)
        for key, encoding in (("string", "raw"), ("list", "listpack"), ("blob", "raw")):
            got = ours.execute_command("DEBUG", "OBJECT", key).decode()
            self.assertRegex(got, r"^Value at:0x[0-9a-f]+ refcount:1 encoding:%s serializedlength:\d+$" % encoding)
        self.assertIn(b"serializedlength:1000000", ours.execute_command("DEBUG", "OBJECT", "blob"))
        self.refused("no such key", "DEBUG", "OBJECT", "nosuch")

    def test_expired_keys_stay_while_nobody_looks(self):
        """Redis's own tests switch the active expiry off: SET-ACTIVE-EXPIRE 0 was an error."""
        self.alike("DEBUG", "SET-ACTIVE-EXPIRE", "0")
        for i in range(20):
            self.ask("SET", "k%d" % i, "v", "PX", "1")
        self.ask("SET", "later", "v", "PX", "1")
        self.assertTrue(wait_until(lambda: self.ask("EXISTS", *("k%d" % i for i in range(20))) == 0 and self.theirs == 0))
        self.assertEqual(self.both[0].execute_command("GET", "later"), None)
        self.assertGreater(self.both[0].execute_command("DBSIZE"), 0)
        self.alike("DEBUG", "SET-ACTIVE-EXPIRE", "1")
        self.assertTrue(wait_until(lambda: self.both[0].execute_command("DBSIZE") == 0))

    def test_a_sleep_is_slow(self):
        """It was in no SLOWLOG, where tools that look at that make an entry with it."""
        ours = self.both[0]
        ours.execute_command("CONFIG", "SET", "slowlog-log-slower-than", "10000", "latency-monitor-threshold", "10")
        ours.execute_command("SLOWLOG", "RESET")
        ours.execute_command("DEBUG", "SLEEP", "0.05")
        entry = next(e for e in ours.execute_command("SLOWLOG", "GET", "-1") if e[3] == [b"DEBUG", b"SLEEP", b"0.05"])
        self.assertGreaterEqual(entry[2], 50_000)
        self.assertIn(b"command", [e[0] for e in ours.execute_command("LATENCY", "LATEST")])

    def test_help_and_what_there_is_not(self):
        text = b"\n".join(self.both[0].execute_command("DEBUG", "HELP"))
        for name in (b"DIGEST", b"OBJECT", b"POPULATE", b"PROTOCOL", b"SLEEP", b"HELP"):
            self.assertIn(name, text)
        for words in (("JMAP",), ("DIGEST", "k"), ("SLEEP",)):
            self.refused("unknown subcommand or wrong number of arguments", "DEBUG", *words)
        for words, why in ((("RELOAD",), "SAVE makes all durable, and a restart loads it"), (("loadaof",), "nothing is loaded"), (("LISTPACK", "k"), "structures"),
                           (("HTSTATS", "0"), "structures"), (("SDSLEN", "k"), "structures"), (("QUICKLIST-PACKED-THRESHOLD", "1"), "structures"),
                           (("REPLICATE", "AOF", "x"), "no replicas")):
            self.refused("DEBUG %s is not possible: .*%s" % (words[0].upper(), why), "DEBUG", *words)


if __name__ == "__main__":
    unittest.main()
