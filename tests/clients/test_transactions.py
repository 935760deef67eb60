"""Whole or not at all, at one moment, at every door: what a command, MULTI, a gRPC Txn or the end of an
upload changes, and what WATCH and conditions see of others' changes."""
import os
import random
import threading
import time
import unittest

import boto3  # noqa: F401  (imported by the main thread: see harness)
import grpc
import redis

from harness import PASSWORD, SANITIZED, Case, command, raw, run_histories, wait_until
from test_resp import Both
from test_wire import Answers, parsed


class Whole(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.rpc = cls.server.grpc_stubs()

    def setUp(self):
        self.r = self.server.redis()
        self.r.flushall()

    def put(self, key, value, **more):
        return self.rpc.kv_pb.TxnOp(put=self.rpc.kv_pb.TxnOp.PutOp(
            key=self.rpc.key("db0", key), value=value, **more))

    def get(self, key):
        return self.rpc.kv_pb.TxnOp(get=self.rpc.kv_pb.TxnOp.GetOp(key=self.rpc.key("db0", key)))

    def copy(self, source, to):
        op = self.rpc.kv_pb.TxnOp.CopyOp(to=self.rpc.key("db0", to))
        getattr(op, "from").CopyFrom(self.rpc.key("db0", source))
        return self.rpc.kv_pb.TxnOp(copy=op)

    def txn(self, *ops):
        return self.rpc.kv.Txn(self.rpc.kv_pb.TxnRequest(then=ops), metadata=self.rpc.metadata)

    # ---- large ones are taken or refused, never in part ----

    def check_whole(self, run, keys):
        try:
            run()
            expected = keys
        except redis.ResponseError:
            expected = 0
        self.assertEqual(self.r.dbsize(), expected)

    def test_mset(self):
        value = b"v" * 60_000
        pairs = {"k%d" % i: value for i in range(1200)}
        self.check_whole(lambda: self.r.mset(pairs), len(pairs))
        self.r.flushall()
        self.check_whole(lambda: self.r.msetnx(pairs), len(pairs))

    def test_exec(self):
        p = self.r.pipeline(transaction=True)
        for i in range(1200):
            p.set("k%d" % i, b"v" * 60_000)
        self.check_whole(p.execute, 1200)

    def test_an_exec_with_words_behind_it_ends_the_transaction(self):
        answers = raw(self.server.resp, command(b"AUTH", PASSWORD.encode()) + command(b"MULTI") + command(b"SET", b"not", b"x")
                      + command(b"EXEC", b"junk") + command(b"GET", b"not") + command(b"QUIT")).split(b"\r\n")
        self.assertEqual(answers[1:3], [b"+OK", b"+QUEUED"])
        self.assertTrue(answers[3].startswith(b"-EXECABORT Transaction discarded because of: wrong number"), answers)
        self.assertEqual(answers[4], b"$-1")

    # A command's own error leaves the others alone, as in Redis.
    def test_errors_of_commands_are_their_own(self):
        p = self.r.pipeline(transaction=True)
        p.set("a", "1")
        p.hset("a", "f", "v")
        p.set("b", "2")
        self.assertIsInstance(p.execute(raise_on_error=False)[1], redis.ResponseError)
        self.assertEqual(self.r.mget("a", "b"), [b"1", b"2"])

    # What a transaction did it sees, whatever way it looks.
    def test_sees_its_own_changes(self):
        self.r.mset({"old": "1", "kept": "2"})
        self.r.hset("h", mapping={"a": "1"})
        p = self.r.pipeline(transaction=True)
        p.set("new", "x").delete("old").keys("*").dbsize().scan(0).get("new").exists("old")
        p.hset("h", "b", "2").hgetall("h").rename("h", "g").hdel("g", "a").hgetall("g").exists("h")
        p.flushdb().dbsize().set("last", "y").keys("*")
        got = p.execute()
        self.assertEqual(sorted(got[2]), [b"h", b"kept", b"new"])
        self.assertEqual(got[3], 3)
        self.assertEqual(sorted(got[4][1]), [b"h", b"kept", b"new"])
        self.assertEqual(got[5:7], [b"x", 0])
        self.assertEqual(got[8], {b"a": b"1", b"b": b"2"})
        self.assertEqual(got[11:13], [{b"b": b"2"}, 0])
        self.assertEqual(got[14], 0)
        self.assertEqual(got[16], [b"last"])
        self.assertEqual(self.r.keys(), [b"last"])

    # ---- gRPC ----

    def test_txn_that_fails_did_nothing(self):
        big = b"b" * 100_000
        self.r.set("big", big)
        for ops in ([self.put("x1", b"1"), self.put("x2", big), self.get("x2"), self.put("x3", b"3")],
                    [self.put("y1", b"1"), self.copy("big", "y2"), self.get("y2"), self.put("y3", b"3")],
                    [self.put("m0", b"m" * 65_536)] + [self.copy("m0", "m%d" % i) for i in range(1, 500)] + [self.get("big")],
                    [self.put("z", b"1"), self.put("z", b"2", ttl_ms=5, expires_at_ms=5)]):
            with self.assertRaises(grpc.RpcError):
                self.txn(*ops)
            self.assertEqual(self.r.keys(), [b"big"])
        done = self.txn(*[self.put("m0", b"m" * 65_536)] + [self.copy("m0", "m%d" % i) for i in range(1, 490)])
        self.assertEqual(len(done.results), 490)
        self.assertEqual(self.r.dbsize(), 491)

    def test_txn_counts_both_keys_of_a_copy(self):
        with self.assertRaises(grpc.RpcError) as e:
            self.txn(*[self.copy("a", "b%d" % i) for i in range(501)])
        self.assertEqual(e.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)

    def test_txn_whose_answer_does_not_fit_did_nothing(self):
        for i in range(80):
            self.r.set("v%d" % i, b"v" * 60_000)
        with self.assertRaises(grpc.RpcError) as e:
            self.txn(self.put("new", b"1"), *[self.get("v%d" % i) for i in range(80)])
        self.assertEqual(e.exception.code(), grpc.StatusCode.OUT_OF_RANGE)
        self.assertEqual(self.r.exists("new"), 0)

    def test_txn_reads_the_version_that_others_see(self):
        done = self.txn(self.put("a", b"1"), self.get("a"), self.put("b", b"2"), self.put("a", b"3"), self.get("a"))
        first, last = done.results[1].value.version, done.results[4].value.version
        self.assertLess(first, last)
        self.assertEqual(last, done.version)
        got = self.rpc.kv.Get(self.rpc.kv_pb.GetRequest(key=self.rpc.key("db0", "a")), metadata=self.rpc.metadata)
        self.assertEqual(got.value.version, last)
        self.rpc.kv.Put(self.rpc.kv_pb.PutRequest(
            key=self.rpc.key("db0", "a"), value=b"4", condition=self.rpc.common.Condition(version=last)),
            metadata=self.rpc.metadata)

    # ---- one moment ----

    def test_bitop_sees_its_sources_at_one_moment(self):
        values = [os.urandom(100_000) for _ in range(4)]
        stop = threading.Event()

        def write():
            w = self.server.redis()
            i = 0
            while not stop.is_set():
                i += 1
                w.mset({"a": values[i % 4], "b": values[i % 4]})
        self.r.mset({"a": values[0], "b": values[0]})
        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(3 if SANITIZED else 60):  # each begins anew until nobody wrote meanwhile
                self.assertEqual(self.r.bitop("XOR", "sum", "a", "b"), 100_000)
                self.assertEqual(self.r.bitcount("sum"), 0)
        finally:
            stop.set()
            writer.join()

    def test_keys_that_expire_within_a_command(self):
        fields = [w for i in range(3000) for w in (b"f%d" % i, b"v")]
        for _ in range(30):
            raw(self.server.resp, command(b"AUTH", PASSWORD.encode()) + command(b"HSET", b"h", b"a", b"b")
                + command(b"PEXPIRE", b"h", b"1") + command(b"HSET", b"h", *fields)
                + command(b"QUIT"))
            p = self.r.pipeline(transaction=False)
            for i in range(50):
                p.set("x%d" % i, "1", px=1).rename("x%d" % i, "y%d" % i)
            p.execute(raise_on_error=False)
            p = self.r.pipeline(transaction=True)
            p.set("e", "1", px=2)
            p.execute()
            p = self.r.pipeline(transaction=True)
            for _ in range(20):
                p.exists("e")
            self.assertEqual(len(set(p.execute())), 1)
        self.assertTrue(self.r.ping())


class Watched(Case):
    """What another did between WATCH and EXEC makes EXEC do nothing, and nothing else does."""

    def setUp(self):
        self.r, self.other = self.server.redis(), self.server.redis()
        self.r.flushall()

    def execs(self, key, before, change):
        for words in before:
            self.r.execute_command(*words)
        p = self.r.pipeline(transaction=True)
        p.watch(key)
        change(self.other)
        p.multi()
        p.set("done", "1")
        try:
            p.execute()
            return True
        except redis.WatchError:
            return False

    def test_table(self):
        there, hash_there = [("SET", "k", "1")], [("HSET", "k", "f", "1")]
        with_expiry = [("SET", "k", "1", "PX", "100000")]
        for before, change, stays in [
                ([], lambda o: None, True),
                ([], lambda o: o.set("k", "1"), False),
                ([], lambda o: (o.set("k", "1"), o.delete("k")), False),
                ([], lambda o: (o.set("k", "1"), o.flushdb()), False),
                ([], lambda o: (o.set("x", "1"), o.rename("x", "k"), o.delete("k")), False),
                ([], lambda o: o.delete("k"), True),
                ([], lambda o: o.flushall(), True),
                ([], lambda o: [(o.set("x%d" % i, "1"), o.delete("x%d" % i)) for i in range(200)], True),
                ([], lambda o: (o.set("k", "1", px=1), time.sleep(0.2)), False),
                (there, lambda o: o.get("k"), True),
                (there, lambda o: o.set("k", "1"), False),
                (there, lambda o: (o.delete("k"), o.set("k", "1")), False),
                (there, lambda o: o.expire("k", 1000), False),
                (there, lambda o: o.persist("k"), True),
                (there, lambda o: o.flushdb(), False),
                (there, lambda o: o.mset({"a": "1", "k": "2"}), False),
                (with_expiry, lambda o: o.persist("k"), False),
                (with_expiry, lambda o: o.pexpire("k", 1), False),
                (hash_there, lambda o: o.hset("k", "g", "2"), False),
                (hash_there, lambda o: o.hdel("k", "nothing"), True),
                (hash_there, lambda o: o.expire("k", 1000), False)]:
            self.r.flushall()
            self.assertEqual(self.execs("k", before, change), stays, (before, change.__code__.co_firstlineno))

    def test_bits_that_stay_as_they_are_change_nothing(self):
        """As in Redis: neither are watchers told, nor is anything written."""
        for value in (b"abcd" * 4, b"abcd" * 50000):  # the second lies in extents
            there = [("SET", "k", value)]
            same = [("SETBIT", "k", "0", "0"), ("SETBIT", "k", "1", "1"), ("BITFIELD", "k", "SET", "u8", "0", "97"),
                    ("BITFIELD", "k", "INCRBY", "u8", "8", "0", "GET", "u8", "16"),
                    ("BITFIELD", "k", "OVERFLOW", "FAIL", "INCRBY", "u8", "0", "200"),
                    ("BITFIELD", "k", "INCRBY", "u8", "0", "1", "INCRBY", "u8", "0", "-1")]
            others = [("SETBIT", "k", "0", "1"), ("BITFIELD", "k", "SET", "u8", "0", "98"),
                      ("SETBIT", "k", str(8 * len(value)), "0"),
                      ("BITFIELD", "k", "SET", "u16", str(8 * len(value) - 8), str(ord("d") << 8))]
            for words in same + others:
                stays = self.execs("k", there, lambda o: o.execute_command(*words))
                self.assertEqual(stays, words in same, words)
            for words in same:
                self.r.execute_command(*words)
                self.assertEqual(len(self.r.get("k")), len(value) + 1)

    def test_a_key_that_expires(self):
        ttl_ms, there = 100, False
        while not there:  # a busy machine may take longer than that to come to WATCH
            ttl_ms *= 2
            self.r.set("k", "1", px=ttl_ms)
            p = self.r.pipeline(transaction=True)
            p.watch("k")
            there = p.exists("k")
        self.assertTrue(wait_until(lambda: not self.other.exists("k"), timeout=60))
        p.multi()
        p.set("done", "1")
        with self.assertRaises(redis.WatchError):
            p.execute()

    def test_unwatch_and_discard_forget(self):
        p = self.r.pipeline(transaction=True)
        p.watch("k")
        self.other.set("k", "1")
        p.unwatch()
        p.multi()
        p.set("done", "1")
        self.assertEqual(p.execute(), [True])

    # Conditions and entity tags are about the value.
    def test_expiry_keeps_the_version(self):
        s3 = self.server.s3()
        for key, value in (("small", b"v"), ("large", b"v" * 100_000)):
            self.r.set(key, value)
            etag = s3.head_object(Bucket="db0", Key=key)["ETag"]
            for words in (("EXPIRE", key, 1000), ("PERSIST", key), ("GETEX", key, "EX", 1000)):
                self.r.execute_command(*words)
                self.assertEqual(s3.head_object(Bucket="db0", Key=key)["ETag"], etag, words)
            self.r.execute_command("WAITAOF", 1, 0, 0)
            self.server.restart()
            self.setUp_after_restart()
            s3 = self.server.s3()
            self.assertEqual(s3.head_object(Bucket="db0", Key=key)["ETag"], etag)
            self.assertGreater(self.r.ttl(key), 0)
            self.r.set(key, value)
            self.assertNotEqual(s3.head_object(Bucket="db0", Key=key)["ETag"], etag)

    def setUp_after_restart(self):
        self.r, self.other = self.server.redis(), self.server.redis()


class Refused(Case):
    """Memory that is all taken by what cannot leave it: keys."""

    def test_exec_without_memory_does_nothing(self):
        r = self.server.redis()
        r.set("a", "1")
        r.config_set("maxmemory", "2mb")
        with self.assertRaises(redis.ResponseError) as e:
            for i in range(20_000):
                r.mset({"k%d-%d" % (i, k): "" for k in range(50)})
        self.assertIn("command not allowed when used memory > 'maxmemory'", str(e.exception))
        answers = raw(self.server.resp, command(b"AUTH", PASSWORD.encode()) + command(b"MULTI")
                      + command(b"DEL", b"a") + command(b"SET", b"x", b"y") + command(b"EXEC")
                      + command(b"QUIT")).split(b"\r\n")
        self.assertEqual(answers[1:3], [b"+OK", b"+QUEUED"])
        self.assertTrue(answers[3].startswith(b"-OOM "), answers)
        self.assertTrue(answers[4].startswith(b"-EXECABORT "), answers)
        self.assertEqual(r.get("a"), b"1")


class LongValues(Both):
    """Inside MULTI and scripts, too, what changes or looks at bits and bytes works on values in extents and on disk alone:
    generated histories, answered as redis-server answers them."""
    BIG = bytes(range(256)) * 1200

    payloads = None

    @staticmethod
    def made_payloads(peer):
        n = [b"%d" % i for i in range(9000)]
        for words in ([b"SET", b"p1", b"x" * 90_000], [b"HSET", b"p2"] + sum(([i, i * 5] for i in n), []), [b"RPUSH", b"p3"] + n * 3,
                      [b"SADD", b"p4"] + [b"m" + i for i in n], [b"ZADD", b"p5"] + sum(([i, b"z" * 20 + i] for i in n), [])):
            peer.ask(*words)
        return [parsed(peer.ask(b"DUMP", b"p%d" % i)) for i in range(1, 6)]

    def words(self, r):
        keys = [b"a", b"b", b"c"]
        k, to, big = r.choice(keys), r.choice(keys), self.BIG
        bit = lambda: r.choice([b"0", b"77", b"524287", b"524288", b"600000", b"4000000"])
        text = lambda: big[:r.choice([0, 1, 5, 65536, 65537, 200_000])]
        payload = lambda: r.choice(self.payloads)
        return r.choice([
            lambda: [b"APPEND", k, text()], lambda: [b"SETRANGE", k, r.choice([b"0", b"5", b"65535", b"300000"]), text()],
            lambda: [b"SETBIT", k, bit(), r.choice([b"0", b"1"])], lambda: [b"GETBIT", k, bit()], lambda: [b"BITCOUNT", k],
            lambda: [b"BITCOUNT", k, b"5", b"-9"], lambda: [b"BITPOS", k, r.choice([b"0", b"1"]), r.choice([b"0", b"70000"])],
            lambda: [b"BITFIELD", k, b"SET", b"u8", bit(), b"7", b"INCRBY", b"i16", b"40", b"3", b"GET", b"u4", bit()],
            lambda: [b"BITFIELD_RO", k, b"GET", b"u8", bit()], lambda: [b"BITOP", r.choice([b"AND", b"OR", b"XOR"]), to, k, r.choice(keys)],
            lambda: [b"BITOP", b"NOT", to, k], lambda: [b"GETRANGE", k, b"10", b"90"], lambda: [b"STRLEN", k], lambda: [b"SET", k, text()],
            lambda: [b"GET", k], lambda: [b"GETSET", k, text()], lambda: [b"DEL", k], lambda: [b"LCS", k, b"w1", b"LEN"],
            lambda: [b"COPY", k, to, b"REPLACE"], lambda: [b"RENAME", k, to], lambda: [b"EXPIRE", k, b"1000"], lambda: [b"PERSIST", k],
            lambda: [b"SORT", b"list", b"BY", b"nosort", b"GET", r.choice([k, b"w*"]), b"GET", b"#"], lambda: [b"SORT", b"list", b"BY", b"w*"],
            lambda: [b"SORT", b"list", b"BY", b"w*", b"GET", b"w*", b"STORE", b"sorted"], lambda: [b"LRANGE", b"sorted", b"0", b"-1"],
            lambda: [b"SWAPDB", b"0", b"1"], lambda: [b"RESTORE", k, b"0", payload(), b"REPLACE"]])()

    @staticmethod
    def run_in(c, way, steps):
        if way == "script":
            words, calls = [], []
            for step in steps:
                calls.append("o[#o+1]=redis.pcall(%s)" % ",".join("ARGV[%d]" % (len(words) + i + 1) for i in range(len(step))))
                words += step
            text = "local o={} %s for i=1,#o do if type(o[i])=='table' and o[i].err then o[i]=o[i].err end end return o" % " ".join(calls)
            return [c.ask(b"EVAL", text.encode(), b"0", *words)]
        if way == "multi":
            steps = [[b"MULTI"]] + steps + [[b"EXEC"]]
        answers = [c.ask(*step) for step in steps]
        return answers[-1:] if way == "multi" else answers

    def history(self, seed):
        r, sides = random.Random(seed), [Answers(port) for port in (self.server.resp, self.peer.port)]
        self.payloads = self.payloads or self.made_payloads(sides[1])
        small = False
        for c in sides:
            c.ask(b"FLUSHALL")
            c.ask(b"RPUSH", b"list", *[b"%d" % i for i in range(20)])
            c.ask(b"MSET", *sum([[b"w%d" % i, b" %d" % (i * 7 % 20) + b"0" * zeros] for i, zeros in zip(range(20), [0, 5, 66000] * 7)], []))
        for step in range(40):
            if r.random() < 0.2:  # what is there leaves memory
                small = not small
                sides[0].ask(b"CONFIG", b"SET", b"maxmemory", b"1mb" if small else b"0")
            way, steps = r.choice(["multi", "script", "plain"]), [self.words(r) for _ in range(r.choice([1, 2, 4, 8]))]
            ours, theirs = [self.run_in(c, way, steps) for c in sides]
            ours, theirs = b"".join(ours), b"".join(theirs)
            if small and (b"OOM command not allowed" in ours or b"EXECABORT" in ours):
                break  # what it needs in memory at once may be more than there is
            at = next((i for i, (x, y) in enumerate(zip(ours, theirs)) if x != y), min(len(ours), len(theirs)))
            self.assertTrue(ours == theirs, "seed %d step %d %s: %r: %r, not %r" % (
                seed, step, way, [[w[:30] for w in s] for s in steps], ours[max(at - 100, 0):at + 200], theirs[max(at - 100, 0):at + 200]))
        else:
            self.compare(seed, sides)
        sides[0].ask(b"CONFIG", b"SET", b"maxmemory", b"0")
        for c in sides:
            c.close()

    @staticmethod
    def held(c, k):
        read = {b"string": [b"GET"], b"hash": [b"HGETALL"], b"set": [b"SMEMBERS"], b"list": [b"LRANGE", b"0", b"-1"],
                b"zset": [b"ZRANGE", b"0", b"-1", b"WITHSCORES"]}[c.ask(b"TYPE", k)[1:-2]]
        value = parsed(c.ask(read[0], k, *read[1:]))
        return sorted(value) if read[0] in (b"HGETALL", b"SMEMBERS") else value

    def compare(self, seed, sides):
        for k in (b"a", b"b", b"c", b"sorted"):
            self.assertEqual(sides[0].ask(b"TYPE", k), sides[1].ask(b"TYPE", k))
            payload = parsed(self.run_in(sides[0], "multi", [[b"DUMP", k]])[0])[0]
            if payload is not None:
                self.assertEqual(sides[1].ask(b"RESTORE", b"back", b"0", payload, b"REPLACE"), b"+OK\r\n", k)
                self.assertTrue(self.held(sides[1], k) == self.held(sides[1], b"back"), "seed %d: %r" % (seed, k))

    def test_histories_are_those_of_redis(self):
        run_histories(self.history, int(os.environ.get("CAIRN_WIRE_SEED", "1")), float(os.environ.get("CAIRN_WIRE_SECONDS", "10")))


if __name__ == "__main__":
    unittest.main()
