"""The Redis door, with redis-py and raw sockets; semantics are compared with redis-server itself."""
import itertools
import os
import random
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import redis

from harness import PASSWORD, PATIENCE, Case, Server, command, entry_bytes, raw, wait_until


class Peer:
    """A redis-server of Debian's, as the oracle."""

    def __init__(self, *args):
        self.directory = tempfile.mkdtemp(prefix="cairn-peer-")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
             "--dir", self.directory, *args], stdout=subprocess.DEVNULL)
        self.client = redis.Redis(port=self.port)
        assert wait_until(self.alive)

    def alive(self):
        try:
            return self.client.ping()
        except redis.ConnectionError:
            return False

    def stop(self):
        self.client.close()
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class BesidePeer:
    """Of a Case: a redis-server runs beside Cairn."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.peer = Peer()

    @classmethod
    def tearDownClass(cls):
        cls.peer.stop()
        super().tearDownClass()


class Both(unittest.TestCase):
    """Cairn without a password, and a redis-server."""

    @classmethod
    def setUpClass(cls):
        cls.server, cls.peer = Server(credentials=False), Peer()

    @classmethod
    def tearDownClass(cls):
        cls.peer.stop()
        cls.server.remove()


class Differential(BesidePeer, Case):
    """Random command streams give the answers that redis-server gives, word for word."""

    def word(self, r):
        return r.choice([
            b"", b"a", b"10", b"-5", b"007", b"3.5", b"1e3", b"hello world", b"\x00\xff\x80",
            b"9223372036854775807", b"-9223372036854775808", b"x" * r.randrange(200),
            bytes(r.randrange(256) for _ in range(r.randrange(20)))])

    def number(self, r):
        return str(r.choice([0, 1, -1, 2, 5, 7, 8, 100, -100, 65, 1 << 31, (1 << 63) - 1, -(1 << 63),
                             r.randrange(-50, 50), r.randrange(0, 300)])).encode()

    def command(self, r):
        k = lambda: b"k%d" % r.randrange(12)
        n, w = (lambda: self.number(r)), (lambda: self.word(r))
        pick = r.choice
        return pick([
            lambda: [b"SET", k(), w()],
            lambda: [b"SET", k(), w()] + pick([[], [b"NX"], [b"XX"], [b"GET"], [b"NX", b"GET"], [b"KEEPTTL"],
                                               [b"EX", b"1000"], [b"PX", b"100000"], [b"EX", b"0"], [b"EX", b"x"],
                                               [b"EXAT", b"99999999999"], [b"NX", b"XX"], [b"FOO"]]),
            lambda: [b"GET", k()],
            lambda: [b"GETSET", k(), w()],
            lambda: [b"GETDEL", k()],
            lambda: [b"GETEX", k()] + pick([[], [b"PERSIST"], [b"EX", b"500"], [b"EX"], [b"PX", b"-1"]]),
            lambda: [b"APPEND", k(), w()],
            lambda: [b"STRLEN", k()],
            lambda: [b"INCR", k()], lambda: [b"DECR", k()],
            lambda: [b"INCRBY", k(), n()], lambda: [b"DECRBY", k(), n()],
            lambda: [b"INCRBYFLOAT", k(), pick([b"0.1", b"-2.5", b"3", b"1e2", b"nan", b"x"])],
            lambda: [b"GETRANGE", k(), n(), n()], lambda: [b"SUBSTR", k(), n(), n()],
            lambda: [b"SETRANGE", k(), str(r.randrange(-2, 300)).encode(), w()],
            lambda: [b"MSET", k(), w(), k(), w()], lambda: [b"MSET", k(), w(), k()],
            lambda: [b"MSETNX", k(), w(), k(), w()],
            lambda: [b"MGET", k(), k(), k()],
            lambda: [b"SETNX", k(), w()], lambda: [b"SETEX", k(), n(), w()],
            lambda: [b"PSETEX", k(), b"100000", w()],
            lambda: [b"DEL", k(), k()], lambda: [b"UNLINK", k()],
            lambda: [b"EXISTS", k(), k()], lambda: [b"TYPE", k()], lambda: [b"TOUCH", k()],
            lambda: [b"RENAME", k(), k()], lambda: [b"RENAMENX", k(), k()],
            lambda: [b"COPY", k(), k()] + pick([[], [b"REPLACE"], [b"DB", b"1"], [b"DB", b"99"]]),
            lambda: [b"MOVE", k(), pick([b"1", b"0", b"99", b"x"])],
            lambda: [b"EXPIRE", k(), pick([b"100", b"1000", b"-1", b"x"])] + pick([[], [b"NX"], [b"XX"], [b"GT"], [b"LT"], [b"NX", b"GT"]]),
            lambda: [b"PERSIST", k()],
            lambda: [b"TTL", k()],
            lambda: [b"SETBIT", k(), pick([b"0", b"7", b"100", b"-1", b"4294967296"]), pick([b"0", b"1", b"2"])],
            lambda: [b"GETBIT", k(), n()],
            lambda: [b"BITCOUNT", k()] + pick([[], [n(), n()], [n(), n(), b"BIT"], [n()]]),
            lambda: [b"BITPOS", k(), pick([b"0", b"1", b"2"])] + pick([[], [n()], [n(), n()], [n(), n(), b"BIT"]]),
            lambda: [b"BITOP", pick([b"AND", b"OR", b"XOR", b"NOT", b"FOO"]), k(), k()] + pick([[], [k()]]),
            lambda: [b"BITFIELD", k(), pick([b"SET", b"INCRBY"]), pick([b"u8", b"i5", b"i64", b"u63", b"u64"]),
                     pick([b"0", b"#1", b"3", b"-1"]), n()],
            lambda: [b"BITFIELD", k(), b"OVERFLOW", pick([b"SAT", b"FAIL", b"WRAP", b"X"]), b"INCRBY", pick([b"u4", b"i8"]), b"5", n(), b"GET", b"u8", b"0"],
            lambda: [b"BITFIELD_RO", k(), b"GET", b"i7", b"2"],
            lambda: [b"LCS", k(), k()] + pick([[], [b"LEN"], [b"IDX"], [b"IDX", b"WITHMATCHLEN", b"MINMATCHLEN", b"2"]]),
            lambda: self.hash_command(r), lambda: self.hash_command(r), lambda: self.hash_command(r),
            lambda: self.hash_command(r), lambda: self.hash_command(r), lambda: self.hash_command(r),
            lambda: [b"DBSIZE"], lambda: [b"NOSUCH", w()], lambda: [b"GET"],
            lambda: [b"PING", w()], lambda: [b"ECHO", w()],
        ])()

    def hash_command(self, r):
        h = lambda: b"h%d" % r.randrange(5)
        f = lambda: r.choice([b"f%d" % r.randrange(8), b"", b"\x00f"])
        n, w = (lambda: self.number(r)), (lambda: self.word(r)[:60])  # no hash table: its order is Redis's own
        pick = r.choice
        return pick([
            lambda: [b"HSET", h(), f(), w()], lambda: [b"HSET", h(), f(), w(), f(), w()],
            lambda: [b"HSET", h(), f(), w(), f()], lambda: [b"HMSET", h(), f(), w(), f(), w()],
            lambda: [b"HSETNX", h(), f(), w()],
            lambda: [b"HGET", h(), f()], lambda: [b"HMGET", h(), f(), f()],
            lambda: [b"HDEL", h(), f(), f()], lambda: [b"HDEL", h()] + [b"f%d" % i for i in range(8)],
            lambda: [b"HLEN", h()], lambda: [b"HSTRLEN", h(), f()], lambda: [b"HEXISTS", h(), f()],
            lambda: [b"HKEYS", h()], lambda: [b"HVALS", h()], lambda: [b"HGETALL", h()],
            lambda: [b"HINCRBY", h(), f(), n()],
            lambda: [b"HINCRBYFLOAT", h(), f(), pick([b"0.5", b"-3", b"1e3", b"x", b"nan"])],
            lambda: [b"HRANDFIELD", h(), pick([b"0", b"100"])] + pick([[], [b"WITHVALUES"], [b"X"]]),
            lambda: [b"HRANDFIELD", h(), pick([b"-9223372036854775808", b"9223372036854775808"])] + pick([[], [b"WITHVALUES"], [b"X"]]),
            lambda: [b"HRANDFIELD", h(), pick([b"-4611686018427387904", b"4611686018427387904", b"-9223372036854775807",
                                               b"9223372036854775807"]), b"WITHVALUES"],
            lambda: [b"HSCAN", h(), b"0"] + pick([[], [b"MATCH", b"f*"], [b"COUNT", b"5"], [b"COUNT", b"0"], [b"X"]]),
            lambda: [b"TYPE", h()], lambda: [b"DEL", h()],
            lambda: [b"EXPIRE", h(), pick([b"1000", b"2000", b"-1"])], lambda: [b"TTL", h()],
            lambda: [b"PERSIST", h()], lambda: [b"RENAME", h(), h()], lambda: [b"COPY", h(), h(), b"REPLACE"],
            lambda: [b"COPY", b"k2", h(), b"REPLACE"],
            # Every string command meets a hash now and then, with arguments right and wrong.
            lambda: [b"COPY", h(), b"k%d" % r.randrange(12), b"REPLACE"],
            lambda: [b"SET", h(), w()], lambda: [b"GET", h()], lambda: [b"APPEND", h(), w()],
            lambda: [b"STRLEN", h()], lambda: [b"INCR", h()], lambda: [b"MGET", h(), h()],
            lambda: [b"GETSET", h(), w()], lambda: [b"SET", h(), w(), b"GET"],
            lambda: [b"HGET", b"k%d" % r.randrange(12), f()],
        ])()

    @staticmethod
    def timeless(words):
        """The two servers are asked one after the other, on a busy machine with seconds in between:
        nothing may come due on the way, no second may pass, and no millisecond may decide between
        GT and LT."""
        if words[0] == b"SETEX" and words[2].isdigit() and 0 < int(words[2]) < 1000:
            return [words[0], words[1], b"100000", *words[3:]]
        if words[0] == b"TTL":
            return [b"EXISTS", *words[1:]]
        if words[0] == b"EXPIRE":
            return words[:3] + [w for w in words[3:] if w in (b"NX", b"XX")]
        return words

    @staticmethod
    def run_on(connection, command):
        connection.send_command(*command)
        try:
            return connection.read_response()
        except redis.ResponseError as e:
            return "error " + str(e)

    def test_random_streams_answer_as_redis_does(self):
        for seed in range(6):
            r = random.Random(seed)
            ours, theirs = (c.connection_pool.make_connection()
                            for c in (self.server.redis(), redis.Redis(port=self.peer.port)))
            for c in (ours, theirs):
                c.connect()
                c.send_command("FLUSHALL")
                c.read_response()
            transaction = False
            for i in range(2500):
                command = self.timeless(self.command(r))
                if r.random() < 0.02:
                    command = [b"EXEC"] if transaction else [b"MULTI"]
                    transaction = not transaction
                a, b = self.run_on(ours, command), self.run_on(theirs, command)
                if isinstance(a, list) and isinstance(b, list):
                    a, b = ["error " + str(x) if isinstance(x, Exception) else x for x in a], [
                        "error " + str(x) if isinstance(x, Exception) else x for x in b]
                self.assertEqual(a, b, "seed %d step %d: %r" % (seed, i, command))
            for c in (ours, theirs):
                c.disconnect()

    def test_bitop_of_any_sources_is_what_redis_makes_of_them(self):
        """Absent, in memory, in extents; named again and again; the target among them."""
        r = random.Random(77)
        ours, theirs = self.server.redis(db=3), redis.Redis(port=self.peer.port, db=3)
        sizes = [0, 1, 7, 8, 9, 100, 65_535, 65_536, 65_537, 70_000, 140_000]
        for n in range(150):
            if n % 10 == 0:
                for c in (ours, theirs):
                    c.flushdb()
                for i in range(6):
                    value = r.randbytes(r.choice(sizes[1:] if i % 2 else sizes[1:7]))
                    for c in (ours, theirs):
                        c.set("k%d" % i, value)
            op = r.choice(["AND", "OR", "XOR", "XOR", "NOT"])
            keys = ["k%d" % r.randrange(7) for _ in range(1 if op == "NOT" else r.randrange(1, 9))]
            to = r.choice(["to", "k%d" % r.randrange(6)])
            answers = [(c.bitop(op, to, *keys), c.get(to)) for c in (ours, theirs)]
            self.assertTrue(answers[0] == answers[1], (n, op, to, keys, [a[0] for a in answers]))
        for c in (ours, theirs):
            c.close()

    def test_random_pipelines_answer_byte_for_byte_as_redis_does(self):
        """Commands that arrive together: groups under shared locks, values that grow into extents
        in between, transactions, another database."""
        big = os.urandom(70000)
        self.peer.client.config_set("requirepass", PASSWORD)
        self.addCleanup(self.peer.client.config_set, "requirepass", "")
        for seed in range(20):
            r = random.Random(1000 + seed)
            out = command(b"AUTH", PASSWORD.encode()) if seed % 2 else b"AUTH %s\r\n" % PASSWORD.encode()
            out += command(b"FLUSHALL")
            for _ in range(400):
                words = self.command(r)
                x = r.random()
                if x < 0.02:
                    words = [b"SELECT", r.choice([b"0", b"1"])]
                elif x < 0.04:
                    words = [r.choice([b"MULTI", b"EXEC", b"DISCARD"])]
                elif x < 0.06:
                    words = [b"SETRANGE", b"b%d" % r.randrange(3), b"%d" % r.randrange(66000, 67000), b"end"]
                elif x < 0.08:
                    words = [r.choice([b"SET", b"APPEND"]), b"b%d" % r.randrange(3), big]
                elif x < 0.14:
                    words = [r.choice([b"STRLEN", b"GET", b"DEL"]), b"b%d" % r.randrange(3)]
                words = self.timeless(words)
                out += words[0] + b"\r\n" if len(words) == 1 and x < 0.03 else command(*words)
            out += command(b"QUIT")  # redis-server drops its answers when only the sending side closes
            b = raw(self.peer.port, out, shut=False)
            a = raw(self.server.resp, out, shut=False)
            if a != b:
                at = next(i for i in range(min(len(a), len(b)) + 1) if a[i:i + 1] != b[i:i + 1])
                self.fail("seed %d: %r, not %r" % (seed, a[max(0, at - 60):at + 60], b[max(0, at - 60):at + 60]))


class Redis(Case):
    def setUp(self):
        self.r = self.server.redis()
        self.r.flushall()

    def tearDown(self):
        self.r.close()

    def test_values_of_any_size_come_back(self):
        for size in (0, 1, 1000, 65535, 65536, 65537, 1 << 20, (5 << 20) + 3):
            data = os.urandom(size)
            self.r.set("v", data)
            self.assertEqual(self.r.get("v"), data)
            self.assertEqual(self.r.strlen("v"), size)
            self.assertEqual(self.r.getrange("v", 100, 70000), data[100:70001])

    def test_values_in_extents_can_be_changed_in_parts(self):
        data = bytearray(os.urandom(300000))
        self.r.set("v", bytes(data))
        self.assertEqual(self.r.append("v", b"tail" * 20000), 380000)
        data += b"tail" * 20000
        self.r.setrange("v", 100000, b"middle")
        data[100000:100006] = b"middle"
        self.r.setrange("v", 500000, b"far")
        data += bytes(500000 - len(data)) + b"far"
        self.assertEqual(self.r.get("v"), bytes(data))
        self.r.setbit("v", 8 * 250000 + 3, 1)
        data[250000] |= 0x10
        self.assertEqual(self.r.get("v"), bytes(data))
        self.assertEqual(self.r.bitcount("v"), sum(bin(b).count("1") for b in data))
        self.assertEqual(self.r.getbit("v", 8 * 250000 + 3), 1)
        self.r.copy("v", "w")
        self.r.rename("v", "u")
        self.assertEqual(self.r.get("w"), self.r.get("u"))
        self.r.bitop("XOR", "x", "u", "w")
        self.assertEqual(self.r.bitcount("x"), 0)
        self.r.execute_command("BITFIELD", "u", "SET", "u16", "#150000", 4660)
        self.assertEqual(self.r.getrange("u", 300000, 300001), b"\x12\x34")

    def test_what_bitfield_reads_makes_no_value_longer(self):
        """On a value in extents a GET beyond its end did."""
        for size in (1000, 70000):
            for last in (100, size, size + 5, 130000):
                self.r.set("v", b"\1" * size)
                self.assertEqual(self.r.execute_command(
                    "BITFIELD", "v", "SET", "u8", "0", "7", "GET", "u8", "#200000", "GET", "u8", "#%d" % (size - 1),
                    "INCRBY", "u8", "#%d" % last, "2"), [1, 0, 1, 3 if last < size else 2])
                self.assertEqual(self.r.strlen("v"), max(size, last + 1))

    def test_an_edit_in_extents_keeps_the_expiry_that_others_set(self):
        """It took back an EXPIRE or a PERSIST of the time that it took."""
        self.r.set("v", b"x" * 200000)
        stop = threading.Event()

        def append():
            other = self.server.redis()
            while not stop.is_set():
                other.append("v", "y")
            other.close()
        appender = threading.Thread(target=append)
        appender.start()
        try:
            for _ in range(150):
                self.r.expire("v", 100)
                length = self.r.strlen("v")
                while self.r.strlen("v") < length + 2:
                    pass
                self.assertGreater(self.r.ttl("v"), 0)
                self.r.persist("v")
                length = self.r.strlen("v")
                while self.r.strlen("v") < length + 2:
                    pass
                self.assertEqual(self.r.ttl("v"), -1)
        finally:
            stop.set()
            appender.join()

    def test_a_command_that_cannot_be_read_aborts_its_transaction(self):
        """EXEC ran without it."""
        with self.r.pipeline(transaction=False) as p:
            p.execute_command("MULTI")
            p.set("a", 1)
            p.execute_command("EXPIRE", "a", b"1" * (17 << 20))
            p.execute_command("EXEC")
            p.execute_command("MULTI")
            p.execute_command("DISCARD")
            answers = p.execute(raise_on_error=False)
        self.assertIsInstance(answers[2], redis.ResponseError)
        self.assertRegex(str(answers[3]), "^Transaction discarded")
        self.assertEqual(answers[4:], [b"OK", b"OK"])
        self.assertIsNone(self.r.get("a"))

    def test_a_hundred_thousand_keys_are_watched_at_once(self):
        """Each was compared with all before it: an hour, in which nobody else was answered."""
        keys = ["w%d" % (i // 2) for i in range(400000)]  # each twice
        other = self.server.redis()
        with self.r.pipeline() as p:
            p.watch(*keys)
            other.set("w150000", "x")
            p.multi()
            p.set("a", 1)
            self.assertRaises(redis.WatchError, p.execute)
        other.close()

    def test_a_random_key_is_one_that_is_there(self):
        """Among many that expired, or were deleted, it found none."""
        with self.r.pipeline(transaction=False) as p:
            for i in range(20000):
                p.set("gone%d" % i, "x")
            p.set("here", "x")
            for i in range(20000):
                p.delete("gone%d" % i)
            p.execute()
        self.assertEqual({self.r.randomkey() for _ in range(20)}, {b"here"})

    def test_a_grown_small_value_moves_to_extents(self):
        self.r.set("v", b"a" * 60000)
        self.r.append("v", b"b" * 60000)
        self.assertEqual(self.r.get("v"), b"a" * 60000 + b"b" * 60000)

    def test_the_time_of_expiry_is_told_to_the_nearest_second(self):
        self.r.set("k", "v")
        for ms in (2 ** 63 - 1, 2 ** 63 - 308, 2 ** 62 + 499, 2 ** 62 + 500, 4102444800499, 4102444800500):
            self.assertEqual(self.r.pexpireat("k", ms), True)
            self.assertEqual(self.r.pexpiretime("k"), ms)
            self.assertEqual(self.r.expiretime("k"), ms // 1000 + (ms % 1000 >= 500))
        self.assertEqual(self.r.append("k", ""), 1)

    def test_expiry_is_exact_among_many_volatile_keys(self):
        with self.r.pipeline(transaction=False) as p:
            for i in range(100000):
                p.set("bulk%d" % i, "x", ex=1000)
                if i % 5000 == 4999:
                    p.execute()
        before = self.r.dbsize()
        self.r.set("short", "x", px=300)
        time.sleep(0.31)
        self.assertIsNone(self.r.get("short"))
        self.assertTrue(wait_until(lambda: self.r.dbsize() == before))

    def test_watch_aborts_when_the_key_changed(self):
        other = self.server.redis()
        self.r.set("w", 1)
        with self.r.pipeline() as p:
            p.watch("w")
            other.set("w", 2)
            p.multi()
            p.set("w", 3)
            with self.assertRaises(redis.WatchError):
                p.execute()
        self.assertEqual(self.r.get("w"), b"2")

    def test_flush_inside_a_transaction_keeps_its_place(self):
        c = self.r.connection_pool.make_connection()
        for command in (["SET", "a", "1"], ["MULTI"], ["SET", "b", "1"], ["FLUSHDB"], ["SET", "c", "1"]):
            c.send_command(*command)
            c.read_response()
        c.send_command("EXEC")
        self.assertEqual(c.read_response(), [b"OK", b"OK", b"OK"])
        self.assertEqual(self.r.keys("*"), [b"c"])
        c.disconnect()
        self.server.restart()
        self.r = self.server.redis()

    def test_scan_sees_every_key_through_growth(self):
        for i in range(1000):
            self.r.set("s%d" % i, i)
        cursor, seen, grown = 0, set(), 0
        while True:
            cursor, keys = self.r.scan(cursor, count=20)
            seen.update(keys)
            for _ in range(40):
                grown += 1
                self.r.set("g%d" % grown, 1)
            if cursor == 0:
                break
        self.assertTrue({b"s%d" % i for i in range(1000)} <= seen)

    def test_select_by_name_enters_a_bucket(self):
        self.server.s3().create_bucket(Bucket="named")
        c = self.r.connection_pool.make_connection()
        c.send_command("SELECT", "named")
        self.assertEqual(c.read_response(), b"OK")
        c.send_command("SELECT", "nothere")
        with self.assertRaises(redis.ResponseError):
            c.read_response()
        c.disconnect()

    def test_resp3_handshake_and_types(self):
        out = raw(self.server.resp, b"*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$%d\r\n%s\r\n"
                  % (len(PASSWORD), PASSWORD.encode()) + b"GET nokey\r\nCONFIG GET maxmemory\r\nQUIT\r\n")
        self.assertTrue(out.startswith(b"%7\r\n"), out)
        self.assertIn(b"_\r\n%1\r\n$9\r\nmaxmemory\r\n", out)

    def test_commands_need_auth_when_credentials_are_configured(self):
        self.assertEqual(raw(self.server.resp, b"GET a\r\n"), b"-NOAUTH Authentication required.\r\n")
        self.assertIn(b"WRONGPASS", raw(self.server.resp, b"AUTH wrong\r\n"))

    def test_client_reply_skip_and_off(self):
        auth = b"AUTH %s\r\n" % PASSWORD.encode()
        out = raw(self.server.resp, auth + b"CLIENT REPLY SKIP\r\nPING\r\nECHO a\r\n"
                  b"CLIENT REPLY OFF\r\nPING\r\nCLIENT REPLY ON\r\nECHO b\r\n")
        self.assertEqual(out, b"+OK\r\n$1\r\na\r\n+OK\r\n$1\r\nb\r\n")

    def test_client_kill_ends_the_other_connection(self):
        other = self.server.redis()
        victim = other.client_id()
        self.assertEqual(self.r.client_kill_filter(_id=victim), 1)
        self.assertTrue(wait_until(lambda: victim not in {int(c["id"]) for c in self.r.client_list()}))

    def test_info_and_command_have_what_clients_look_for(self):
        info = self.r.info()
        for field in ("redis_version", "redis_mode", "role", "loading", "connected_slaves",
                      "maxmemory_policy", "used_memory", "used_memory_rss", "used_memory_peak"):
            self.assertIn(field, info)
        self.r.set("a", 1)
        self.assertEqual(self.r.info("keyspace")["db0"], {"keys": 1, "expires": 0, "avg_ttl": 0})
        for i in range(100):
            self.r.set("b%d" % i, 1, px=10000000 + 20000 * i)
        ttl = self.r.info("keyspace")["db0"]["avg_ttl"]
        self.assertTrue(9000000 < ttl <= 10990000, ttl)
        self.r.info("stats")
        self.assertTrue(wait_until(lambda: self.r.get("a") and self.r.info("stats")["instantaneous_ops_per_sec"] > 0))
        self.assertNotIn("errorstat_ALL", self.r.info("everything"))
        with self.assertRaisesRegex(redis.ResponseError, "not tracked"):
            self.r.object("idletime", "a")
        self.assertIn("get", self.r.command())
        self.assertEqual(self.r.command_getkeys("MSET", "a", "b", "c", "d"), ["a", "c"])

    def test_waitaof_and_save_mean_a_synced_log(self):
        self.r.set("a", 1)
        self.assertEqual(self.r.execute_command("WAITAOF", 1, 0, 0), [1, 0])
        self.assertTrue(self.r.save())

    def test_idle_clients_are_sent_away(self):
        self.r.config_set("timeout", 1)
        try:
            with socket.create_connection(("127.0.0.1", self.server.resp), timeout=PATIENCE) as s:
                self.assertEqual(s.recv(10), b"")
        finally:
            self.r.connection_pool.disconnect()  # it was idle as long
            self.r.config_set("timeout", 0)

    def test_keys_have_a_limit(self):
        self.assertTrue(self.r.set(b"k" * 65535, "v"))
        for size in (65536, 65537, 200000):
            for command in (("SET", b"k" * size, "v"), ("MSET", "a", "b", b"k" * size, "v")):
                with self.assertRaises(redis.ResponseError):
                    self.r.execute_command(*command)
            self.assertIsNone(self.r.get(b"k" * size))
        self.assertEqual(self.r.dbsize(), 1)

    def test_durability_always_survives_kill(self):
        self.r.config_set("appendfsync", "always")
        for i in range(200):
            self.r.set("d%d" % i, i)
        self.server.restart()
        self.r = self.server.redis()
        self.assertEqual([self.r.get("d%d" % i) for i in range(200)], [b"%d" % i for i in range(200)])

    def test_the_expiry_of_a_value_on_disk_changes_without_reading_it(self):
        self.r.config_set("appendfsync", "always")
        keys = ["cold%d" % i for i in range(60)]
        values = {k: os.urandom(3000) for k in keys}
        for k in keys:
            self.r.set(k, values[k], px=10 ** 9 if k.endswith("5") else None)
        self.r.config_set("maxmemory", "60kb")
        self.assertTrue(wait_until(lambda: self.r.info("memory")["keys_with_value_on_disk"] > 30))
        reads = self.r.info("stats")["value_reads"]
        at = int(time.time() * 1000) + 10 ** 8
        for i, k in enumerate(keys):
            if k.endswith("5"):
                self.assertEqual(self.r.persist(k), 1)
            elif i % 3 == 0:
                self.assertEqual(self.r.pexpireat(k, at + i), 1)
            elif i % 3 == 1:
                with self.r.pipeline(transaction=True) as p:
                    p.expire(k, 10 ** 6).pexpireat(k, at + i).ttl(k)
                    self.assertEqual(p.execute()[:2], [1, 1])
            else:
                self.assertEqual(self.r.pexpire(k, 10 ** 7), 1)
                self.assertEqual(self.r.execute_command("PEXPIREAT", k, at + i, "GT"), 1)
        self.assertEqual(self.r.info("stats")["value_reads"], reads)
        for restarts in range(2):
            for i, k in enumerate(keys):
                self.assertEqual(self.r.pexpiretime(k), -1 if k.endswith("5") else at + i)
                self.assertEqual(self.r.get(k), values[k])
            self.server.restart()
            self.r = self.server.redis()

    def test_past_the_memory_limit_values_stay_on_disk_and_keys_are_refused(self):
        self.r.config_set("maxmemory", "2mb")
        try:
            for i in range(200):
                self.r.set("m%d" % i, b"%d" % i * 20000)
            self.assertLessEqual(self.used(), 2 << 20)
            self.assertGreater(self.r.info("memory")["keys_with_value_on_disk"], 100)
            reads = self.r.info("stats")["value_reads"]
            for i in range(200):
                self.assertEqual((self.r.strlen("m%d" % i), self.r.exists("m%d" % i),
                                  self.r.ttl("m%d" % i), self.r.type("m%d" % i)),
                                 (len(b"%d" % i) * 20000, 1, -1, b"string"))
            self.assertEqual(self.r.info("stats")["value_reads"], reads)
            for i in range(200):
                self.assertEqual(self.r.get("m%d" % i), b"%d" % i * 20000)
            self.assertEqual(self.r.mget(["m%d" % i for i in range(40)]),
                             [b"%d" % i * 20000 for i in range(40)])
            with self.r.pipeline(transaction=True) as tx:
                tx.get("m7").append("m8", "!").rename("m9", "n9").expire("m10", 1000)
                self.assertEqual(tx.execute(), [b"7" * 20000, 20001, True, True])
            self.assertEqual(self.r.get("m8"), b"8" * 20000 + b"!")
            with self.assertRaises(redis.ResponseError) as e:
                for i in range(2000):  # 2 MB of names alone
                    self.r.mset({"k%d-%d" % (i, k): "" for k in range(50)})
            self.assertIn("command not allowed when used memory > 'maxmemory'", str(e.exception))
            self.assertEqual(self.r.get("m0"), b"0" * 20000)
            self.r.flushall()
            self.assertTrue(wait_until(self._try))
        finally:
            self.r.config_set("maxmemory", "0")

    def test_a_transaction_whose_values_do_not_fit_together_is_over(self):
        """EXEC answered the error, and what came after it was queued and never done."""
        server = Server(args=["--memory=32mb"])
        try:
            r = server.redis()
            with r.pipeline(transaction=False) as p:
                for i in range(1500):
                    p.set("k%d" % i, b"x" * 60000)
                    if i % 100 == 99:
                        p.execute()
            self.assertTrue(wait_until(lambda: r.info("memory")["keys_with_value_on_disk"] > 700))
            with r.pipeline(transaction=False) as p:
                p.execute_command("MULTI")
                p.set("n", 1)
                for i in range(700):
                    p.getrange("k%d" % i, 0, 1)
                p.execute_command("EXEC")
                p.set("after", 1)
                p.execute_command("MULTI")
                p.execute_command("DISCARD")
                answers = p.execute(raise_on_error=False)
            self.assertIsInstance(answers[-4], redis.exceptions.ExecAbortError)
            self.assertEqual(answers[-3:], [True, b"OK", b"OK"])
            self.assertEqual(r.mget("after", "n"), [b"1", None])
        finally:
            server.remove()

    def test_an_eviction_policy_makes_a_cache(self):
        for policy, expiry, gone in (("allkeys-lru", None, True), ("allkeys-lfu", None, True),
                                     ("allkeys-random", None, True), ("volatile-ttl", 5000, True),
                                     ("volatile-lru", 5000, True), ("volatile-lfu", 5000, True),
                                     ("volatile-random", 5000, True), ("volatile-lru", None, False)):
            self.r.flushall()
            evicted = self.r.info("stats")["evicted_keys"]
            self.r.config_set("maxmemory-policy", policy)
            self.r.config_set("maxmemory", "2mb")
            try:
                for i in range(400):
                    self.r.set("c%d" % i, b"x" * 20000, ex=expiry)
                self.assertLessEqual(self.used(), 2 << 20, policy)
                self.assertEqual(self.r.info("stats")["evicted_keys"] > evicted, gone, policy)
                self.assertEqual(self.r.dbsize() < 400, gone, policy)
            finally:
                self.r.config_set("maxmemory", "0")
                self.r.config_set("maxmemory-policy", "noeviction")

    def used(self):
        return entry_bytes(self.r)

    def is_empty(self):
        """What was flushed is freed in steps: the last of them is over."""
        used = self.used()
        time.sleep(0.3)
        return used < 1000 and self.used() == used

    def test_a_memory_limit_acts_at_once(self):
        """As Redis's own tests have it (unit/maxmemory.tcl): the figure is true when it is asked, a
        limit of 100 KB holds some keys, and with each answer no more is held than may be."""
        value = b"x" * 100
        for policy in ("allkeys-random", "allkeys-lru", "allkeys-lfu", "volatile-lru", "volatile-random",
                       "volatile-ttl"):
            self.r.flushall()
            self.assertTrue(wait_until(self.is_empty))
            limit = self.used() + 100 * 1024
            self.r.config_set("maxmemory", limit)
            self.r.config_set("maxmemory-policy", policy)
            try:
                keys, before = 0, 0
                while self.used() + 4096 <= limit:
                    before = self.used()
                    self.r.setex("k%d" % keys, 10000, value)
                    keys += 1
                    if before < limit * 3 / 4:  # nothing leaves yet
                        self.assertGreaterEqual(self.used(), before + 100)
                self.assertGreater(keys, 300, policy)
                for i in range(keys):
                    self.r.setex("more%d" % i, 10000, value)
                    self.assertLessEqual(self.used(), limit, policy)
                self.assertGreater(self.r.dbsize(), keys / 2, policy)
                self.r.config_set("maxmemory", limit // 2)
                self.assertLessEqual(self.used(), limit // 2, policy)
            finally:
                self.r.config_set("maxmemory", "0")
                self.r.config_set("maxmemory-policy", "noeviction")

    def _try(self):
        try:
            return self.r.set("probe", 1)
        except redis.ResponseError:
            return False


class Hashes(Case):
    def setUp(self):
        self.r = self.server.redis()
        self.r.flushall()

    def tearDown(self):
        self.r.close()

    def fill(self, key, fields, value):
        pipe = self.r.pipeline(transaction=False)
        for i in range(fields):
            pipe.hset(key, i, value)
        pipe.execute()

    def test_a_hash_of_any_size_is_copied(self):
        """80 MB are more than a record of the log takes. The copy has the times of the source, and is
        its own; it survives a crash."""
        value = os.urandom(50000)
        self.fill("from", 1600, value)
        self.r.expire("from", 100000)
        self.assertEqual(self.r.execute_command("HEXPIRE", "from", 50000, "FIELDS", 1, 3), [1])
        self.assertEqual(self.r.copy("from", "to"), 1)
        self.assertEqual(self.r.copy("from", "to"), 0)
        self.assertEqual(self.r.hset("to", "own", 1), 1)
        self.assertEqual(self.r.copy("to", "from", replace=True), 1)
        self.assertEqual(self.r.hdel("to", "own"), 1)
        with self.assertRaisesRegex(redis.ResponseError, "larger than a log segment"):
            self.r.pipeline(transaction=True).copy("from", "other").execute()
        self.assertEqual(self.r.copy("from", "other", destination_db=1), 1)
        self.r.execute_command("WAITAOF", 1, 0, 0)
        self.r.close()
        self.server.kill()
        self.server.start()
        self.r = self.server.redis()
        other = self.server.redis(db=1)
        for r, key, fields in ((self.r, "from", 1601), (self.r, "to", 1600), (other, "other", 1601)):
            self.assertEqual(r.hlen(key), fields)
            self.assertEqual(set(r.hmget(key, *range(1600))), {value})
            self.assertTrue(50000 < r.ttl(key) <= 100000)
            [left, ever] = r.execute_command("HTTL", key, "FIELDS", 2, 3, 4)
            self.assertTrue(0 < left <= 50000)
            self.assertEqual(ever, -1)
        self.assertEqual(self.r.exists("other"), 0)
        other.delete("other")
        other.close()

    def test_a_copy_is_what_its_source_is_at_that_moment(self):
        """A transaction of a writer is in it whole or not; all that was acknowledged before it is in
        it; until then there is none, and afterwards nothing of the source's reaches it."""
        self.fill("from", 60000, b"v" * 40)
        stop, errors, done = threading.Event(), [], [0]

        def write():
            r = self.server.redis()
            while not stop.is_set():
                n = done[0] + 1
                tx = r.pipeline(transaction=True)
                for field in ("first", n % 60000, "last"):
                    tx.hset("from", field, n)
                tx.execute()
                done[0] = n
            r.close()

        def watch():
            r = self.server.redis()
            while not stop.is_set():
                size = r.hlen("to")
                if size not in (0, 60002):
                    errors.append(size)
            r.close()

        threads = [threading.Thread(target=t) for t in (write, watch)]
        for t in threads:
            t.start()
        try:
            self.assertTrue(wait_until(lambda: done[0] > 10))
            for _ in range(8):
                self.r.delete("to")
                before = done[0]
                self.assertEqual(self.r.copy("from", "to"), 1)
                after = done[0] + 1
                first, last = (int(n) for n in self.r.hmget("to", "first", "last"))
                self.assertEqual(first, last)
                self.assertTrue(before <= first <= after)
                copied = self.r.hgetall("to")
                self.assertEqual(int(copied[b"%d" % (first % 60000)]), first)
                self.assertEqual(copied, self.r.hgetall("to"))
        finally:
            stop.set()
            for t in threads:
                t.join()
        self.assertEqual(errors, [])

    def test_a_copy_ends_with_its_client_and_with_its_source(self):
        """Nothing is left of it, in memory either; who waits for it is answered. What has another
        value by then is copied as that."""
        self.fill("from", 200000, b"v" * 40)
        used = entry_bytes(self.r)
        for way in ("client", "kill", "delete", "flush", "replace", "rename"):
            if self.r.type("from") != b"hash":
                self.r.delete("from")
                self.fill("from", 200000, b"v" * 40)
            r = self.server.redis()
            client = r.connection_pool.get_connection("CLIENT")
            client.send_command("CLIENT", "ID")
            number = client.read_response()
            client.send_command("COPY", "from", "to")
            self.assertTrue(wait_until(
                lambda: entry_bytes(self.r) > used + (1 << 20)
                or self.r.exists("to")))
            if way == "client":
                client.disconnect()
            elif way == "kill":
                self.r.client_kill_filter(_id=number)
            elif way == "delete":
                self.r.delete("from")
            elif way == "flush":
                self.r.flushdb()
            elif way == "replace":
                self.r.set("from", "small")
            else:
                self.r.rename("from", "renamed")
            if way in ("delete", "flush", "replace", "rename"):
                self.assertIn(client.read_response(), (0, 1))
                if way == "replace" and self.r.type("to") == b"string":
                    self.assertEqual(self.r.get("to"), b"small")
            r.close()
            client.disconnect()
            self.r.delete("renamed")
            self.assertTrue(wait_until(
                lambda: (self.r.delete("to"), entry_bytes(self.r))[1]
                < used + (1 << 20)))

    def test_a_hash_of_any_size_is_renamed_and_moved(self):
        """Its changes before and after are its own, also after a crash; so are those of what takes
        its old name. Its expiry stays, and so do those of its fields."""
        value = os.urandom(50000)
        pipe = self.r.pipeline(transaction=False)
        for i in range(1600):
            pipe.hset("a", i, value)
        pipe.execute()
        self.assertTrue(self.r.expire("a", 100000))
        self.assertEqual(self.r.execute_command("HEXPIRE", "a", 50000, "FIELDS", 1, 3), [1])
        self.assertTrue(self.r.rename("a", "b"))
        self.assertTrue(self.r.renamenx("b", "c"))
        self.assertTrue(self.r.move("c", 1))
        self.r.hset("a", "new", "1")
        other = self.server.redis(db=1)
        other.hset("c", "last", "2")
        other.hdel("c", 7)
        other.execute_command("WAITAOF", 1, 0, 0)
        other.close()
        self.r.close()
        self.server.kill()
        self.server.start()
        self.r = self.server.redis()
        self.assertEqual(self.r.hgetall("a"), {b"new": b"1"})
        self.assertEqual(self.r.exists("b", "c"), 0)
        other = self.server.redis(db=1)
        self.assertEqual(other.hlen("c"), 1600)
        self.assertEqual(other.hget("c", 1599), value)
        self.assertEqual(other.hget("c", "last"), b"2")
        self.assertIsNone(other.hget("c", 7))
        self.assertTrue(50000 < other.ttl("c") <= 100000)
        self.assertEqual(self.r.ttl("a"), -1)
        [left, ever] = other.execute_command("HTTL", "c", "FIELDS", 2, 3, 4)
        self.assertTrue(0 < left <= 50000)
        self.assertEqual(ever, -1)
        other.delete("c")
        other.close()

    def test_a_large_hash_is_read_to_its_end_though_it_is_renamed_meanwhile(self):
        n = 60000
        pipe = self.r.pipeline(transaction=False)
        for i in range(n):
            pipe.hset("walked", i, b"v" * 30)
        pipe.execute()
        stop = threading.Event()
        names = ["walked", "renamed"]

        def change():
            r = self.server.redis()
            for i in itertools.count():
                if stop.is_set() and i % 2 == 0:
                    break
                r.rename(names[i % 2], names[1 - i % 2])
                for k in range(20):
                    r.hset(names[1 - i % 2], (i * 20 + k) % n, b"w" * 30)
            r.close()

        changing = threading.Thread(target=change)
        changing.start()
        try:
            for _ in range(10):
                for name in names:
                    self.assertIn(len(self.r.hgetall(name)), (0, n))
        finally:
            stop.set()
            changing.join()

    def test_a_large_hash_is_answered_as_it_was_while_others_change_it(self):
        n = 60000
        expected = {b"field%d" % i: (b"value%d" % i) * 15 for i in range(n)}
        pipe = self.r.pipeline(transaction=False)
        for field, value in expected.items():
            pipe.hset("large", field, value)
        pipe.execute()
        self.assertEqual(set(self.r.hkeys("large")), set(expected))
        self.assertEqual(sorted(self.r.hvals("large")), sorted(expected.values()))
        chosen = self.r.hrandfield("large", n // 2, withvalues=True)
        chosen = dict(zip(chosen[::2], chosen[1::2]))
        self.assertEqual(len(chosen), n // 2)
        self.assertEqual(chosen, {f: expected[f] for f in chosen})
        self.assertEqual(set(self.r.hrandfield("large", 2 * n)), set(expected))
        with self.r.pipeline(transaction=True) as tx:
            tx.hgetall("large")
            tx.hdel("large", *[b"field%d" % i for i in range(0, n, 5)])
            tx.hlen("large")
            tx.hset("large", mapping={b"field%d" % i: "new" for i in range(1, n, 5)})
            tx.hmget("large", "field0", "field1", "field2")
            all, _, left, _, some = tx.execute()
        self.assertEqual(all, expected)
        self.assertEqual((left, some), (n - n // 5, [None, b"new", b"value2" * 15]))
        expected = self.r.hgetall("large")
        self.assertEqual(len(expected), left)
        # The answer is far larger than what sockets hold: it is under way while all this happens.
        for last in ("del", "flushall", "rename"):
            with socket.create_connection(("127.0.0.1", self.server.resp)) as s:
                s.sendall(command(b"AUTH", PASSWORD.encode()) + command(b"HGETALL", b"large"))
                file = s.makefile("rb")
                self.assertEqual(file.readline(), b"+OK\r\n")
                self.assertEqual(file.readline(), b"*%d\r\n" % (2 * len(expected)))
                pipe = self.r.pipeline(transaction=False)
                for i in range(0, n, 3):
                    pipe.hset("large", "field%d" % i, "newer")
                    pipe.hset("large", "more%d" % i, "more")
                    pipe.hdel("large", "field%d" % (i + 1))
                pipe.execute()
                after = self.r.hgetall("large")
                if last == "rename":
                    self.r.rename("large", "other")
                else:
                    self.r.execute_command(last, *["large"] * (last == "del"))
                self.assertEqual(self.r.exists("large"), 0)

                def word():
                    return file.read(int(file.readline()[1:]) + 2)[:-2]
                seen = {}
                for _ in range(len(expected)):
                    field = word()
                    self.assertNotIn(field, seen)
                    seen[field] = word()
                self.assertEqual(seen, expected)
            pipe = self.r.pipeline(transaction=False)
            for field, value in after.items():
                pipe.hset("large", field, value)
            pipe.execute()
            expected = after

    def test_a_large_hash_survives_kill_field_by_field(self):
        self.r.config_set("appendfsync", "always")
        expected = {}
        pipe = self.r.pipeline(transaction=False)
        for i in range(30000):
            expected[b"field%d" % i] = b"value%d" % i
            pipe.hset("large", "field%d" % i, "value%d" % i)
        for i in range(0, 30000, 3):
            del expected[b"field%d" % i]
            pipe.hdel("large", "field%d" % i)
        pipe.hset("small", mapping={"a": 1, "b": 2})
        pipe.hincrby("small", "a", 41)
        pipe.expire("small", 5000)
        pipe.execute()
        with self.r.pipeline(transaction=True) as tx:
            tx.hset("small", "c", "3")
            tx.hdel("small", "b")
            tx.hset("made", "x", "1")
            tx.hset("made", "y", "2")
            tx.execute()
        self.server.restart()
        r = self.server.redis()
        self.assertEqual(r.hgetall("large"), expected)
        self.assertEqual(r.hgetall("small"), {b"a": b"42", b"c": b"3"})
        self.assertEqual(r.hgetall("made"), {b"x": b"1", b"y": b"2"})
        self.assertGreater(r.ttl("small"), 4000)
        self.assertEqual(r.object("encoding", "large"), b"hashtable")
        self.assertEqual(dict(r.hscan_iter("large", count=500)), expected)
        self.assertEqual(len(set(r.hrandfield("large", 100))), 100)
        r.close()

    def test_watch_sees_changes_of_fields_and_a_transaction_is_one(self):
        self.r.hset("h", "a", "1")
        with self.r.pipeline() as tx:
            tx.watch("h")
            self.r.hset("h", "a", "2")
            tx.multi()
            tx.hset("h", "b", "3")
            with self.assertRaises(redis.WatchError):
                tx.execute()
        self.assertEqual(self.r.hgetall("h"), {b"a": b"2"})

    def test_values_of_a_megabyte_fit_in_a_field(self):
        value = os.urandom(1 << 20)
        self.r.hset("h", mapping={"big": value, "small": b"x"})
        self.assertEqual(self.r.hget("h", "big"), value)
        self.assertEqual(self.r.hstrlen("h", "big"), 1 << 20)
        with self.r.pipeline() as tx:
            tx.hset("h", "other", value)
            tx.hlen("h")
            self.assertEqual(tx.execute(), [1, 3])

    def test_other_doors_say_that_a_hash_has_no_bytes(self):
        self.r.hset("h", "a", "1")
        s3 = self.server.s3()
        with self.assertRaises(Exception) as caught:
            s3.get_object(Bucket="db0", Key="h")
        self.assertEqual(caught.exception.response["Error"]["Code"], "InvalidRequest")
        self.r.set("s", "text")
        keys = [o["Key"] for o in s3.list_objects_v2(Bucket="db0")["Contents"]]
        self.assertEqual(keys, ["s"])


class BadInput(Case):
    def test_malformed_requests_get_redis_errors(self):
        auth = b"AUTH %s\r\n" % PASSWORD.encode()
        for data, want in [
                (b"*1\r\n$abc\r\n", b"-ERR Protocol error: invalid bulk length"),
                (b"*99999999999\r\n", b"-ERR Protocol error: invalid multibulk length"),
                (b"*1\r\n:5\r\n", b"-ERR Protocol error: expected '$', got ':'"),
                (b"*1\r\n$-5\r\n", b"-ERR Protocol error: invalid bulk length"),
                (b"*2\r\n$3\r\nGET\r\n$99999999999999999999\r\n", b"-ERR Protocol error: invalid bulk length"),
                (b"\"unbalanced\r\n", b"-ERR Protocol error: unbalanced quotes in request"),
                (b"x" * 70000, b"-ERR Protocol error: too big inline request"),
                (b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$900000000\r\n", b"-ERR Protocol error: invalid bulk length"),
        ]:
            self.assertIn(want, raw(self.server.resp, auth + data), data[:40])
        self.assertTrue(self.server.redis().ping())

    def test_unauthenticated_clients_have_small_limits(self):
        self.assertIn(b"unauthenticated bulk length", raw(self.server.resp, b"*1\r\n$100000\r\n"))
        self.assertIn(b"unauthenticated multibulk length", raw(self.server.resp, b"*100\r\n"))

    def test_a_browser_is_turned_away(self):
        out = raw(self.server.resp, b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertNotIn(b"PONG", out)
        self.assertEqual(out.count(b"\r\n"), 1)

    def test_random_bytes_never_stop_the_server(self):
        r = random.Random(1)
        for _ in range(200):
            raw(self.server.resp, bytes(r.randrange(256) for _ in range(r.randrange(400))), timeout=3)
        self.assertTrue(self.server.redis().ping())


class Open(unittest.TestCase):
    def test_loopback_without_configured_users_needs_no_auth(self):
        server = Server(credentials=False)
        try:
            r = redis.Redis(port=server.resp)
            self.assertTrue(r.set("a", 1))
            path = os.path.join(server.directory, "data", "root-credentials")
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        finally:
            self.assertEqual(server.stop(), 0)
            server.remove()


if __name__ == "__main__":
    unittest.main()
