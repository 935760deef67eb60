"""Whole or not at all, at one moment, at every door: what a command, MULTI, a gRPC Txn or the end of an
upload changes, and what WATCH and conditions see of others' changes."""
import os
import threading
import unittest

import boto3  # noqa: F401  (imported by the main thread: see harness)
import grpc
import redis

from harness import PASSWORD, Case, command, raw


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
            for _ in range(60):
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


if __name__ == "__main__":
    unittest.main()
