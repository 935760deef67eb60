"""The real binary, killed at random times under load through all doors, again and again on one store,
with memory full, the cleaner busy and checkpoints being written. Every acknowledged durable write is
there afterwards, and nothing is torn. KILL_ROUNDS sets how often (20)."""
import hashlib
import itertools
import os
import random
import subprocess
import threading
import time
import unittest

import boto3  # noqa: F401  here and not in the threads, whose imports would wait for each other
import grpc  # noqa: F401
import redis  # noqa: F401

from harness import PASSWORD, Grpc, Server, wait_until

ROUNDS = int(os.environ.get("KILL_ROUNDS", "20"))


class Writer(threading.Thread):
    """Owns some keys. Knows for each what was acknowledged last, and what may have come after it."""

    def __init__(self, test, number):
        super().__init__()
        self.test, self.number = test, number
        self.rng = random.Random(number)
        self.sure, self.maybe = {}, {}  # key -> value, None if it is gone
        self.acknowledged = 0

    def begin(self, key, value):
        self.maybe[key] = value

    def end(self, key):
        self.sure[key] = self.maybe.pop(key)
        self.acknowledged += 1

    def run(self):
        try:
            self.connect(self.test.server)
            while not self.test.stop.is_set():
                self.step("w%d:%d" % (self.number, self.rng.randrange(60)))
        except Exception as e:
            if not self.test.stop.is_set():
                self.test.errors.append(e)

    def value(self):
        size = self.rng.choice([20, 200, 3000, 70000, 200000])
        head = b"%d:%d:" % (self.number, self.acknowledged)
        return head + hashlib.sha256(head).digest() * (size // 32)


class Strings(Writer):
    def connect(self, server):
        self.r = server.redis()

    def step(self, key):
        if self.rng.random() < 0.1:
            self.begin(key, None)
            self.r.delete(key)
        else:
            value = self.value()
            self.begin(key, value)
            self.r.set(key, value)
        self.end(key)


class Hashes(Writer):
    def connect(self, server):
        self.r = server.redis()

    def step(self, key):
        fields = 2000 if key.endswith(":7") else 30
        now = dict(self.sure.get(key) or {})
        changed = {b"f%d" % self.rng.randrange(fields): b"%d" % self.rng.getrandbits(200)
                   for _ in range(1 + self.rng.randrange(fields // 10))}
        if self.rng.random() < 0.2 and len(now) > 2:
            gone = self.rng.sample(sorted(now), len(now) // 2)
            for f in gone:
                del now[f]
            self.begin(key, now)
            self.r.hdel(key, *gone)
        else:
            now.update(changed)
            self.begin(key, now)
            self.r.hset(key, mapping=changed)
        self.end(key)


class Objects(Writer):
    def connect(self, server):
        self.s3 = server.s3()

    def step(self, key):
        if self.rng.random() < 0.1:
            self.begin(key, None)
            self.s3.delete_object(Bucket="db0", Key=key)
        else:
            value = self.value()
            self.begin(key, value)
            self.s3.put_object(Bucket="db0", Key=key, Body=value)
        self.end(key)


class Calls(Writer):
    """Transactions over gRPC: two keys that always change together."""

    def connect(self, server):
        self.rpc = server.grpc_stubs()

    def step(self, key):
        value = self.value()[:3000]
        pb = self.rpc.kv_pb
        for k in (key + "a", key + "b"):
            self.begin(k, value)
        self.rpc.kv.Txn(pb.TxnRequest(then=[
            pb.TxnOp(put=pb.TxnOp.PutOp(key=self.rpc.key("db0", k), value=value))
            for k in (key + "a", key + "b")]), metadata=self.rpc.metadata)
        for k in (key + "a", key + "b"):
            self.end(k)


class Kill(unittest.TestCase):
    KEYS, SIZE = 12000, 8000

    def fill(self):
        """Overwrites what is more than memory, for the cleaner to have work; a process of its own."""
        return subprocess.Popen(
            ["redis-benchmark", "-p", str(self.server.resp), "-a", PASSWORD, "-t", "set", "-r", str(self.KEYS),
             "-d", str(self.SIZE), "-P", "8", "-c", "4", "-n", "100000000", "-q"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def check(self, writers):
        r = self.server.redis()
        for w in writers:
            for key in set(w.sure) | set(w.maybe):
                possible = [w.sure.get(key)] + ([w.maybe[key]] if key in w.maybe else [])
                if isinstance(w, Hashes):
                    now = r.hgetall(key) or None
                else:
                    now = r.get(key)
                self.assertIn(now, possible, "round %d: %s" % (self.round, key))
                w.sure[key] = now
                w.maybe.pop(key, None)
            if isinstance(w, Calls):
                for key in {k[:-1] for k in w.sure}:
                    self.assertEqual(w.sure[key + "a"], w.sure[key + "b"], "half of a transaction")
        keys = random.Random(self.round).sample(range(self.KEYS), 300)
        found = [v for v in r.mget(["key:%012d" % k for k in keys]) if v is not None]
        self.assertEqual({len(v) for v in found} - {self.SIZE}, set())
        self.assertLessEqual(len(set(found)), 1)
        r.close()

    def test_nothing_acknowledged_is_lost_and_nothing_is_torn(self):
        self.server = Server(args=["--memory=128mb", "--durability=always"])
        self.errors = []
        Grpc.protos()
        known = {}
        rng = random.Random()
        freed = spilled = acknowledged = from_checkpoint = 0
        try:
            for self.round in range(ROUNDS):
                self.stop = threading.Event()
                writers = [kind(self, n) for n, kind in
                           enumerate([Strings, Strings, Hashes, Hashes, Objects, Calls])]
                for w in writers:
                    if w.number in known:
                        w.sure = known[w.number].sure
                        w.acknowledged = known[w.number].acknowledged + 1
                        w.rng = known[w.number].rng
                    known[w.number] = w
                filler = self.fill()
                for w in writers:
                    w.start()
                r = self.server.redis()
                begun = {w.number: w.acknowledged for w in writers}
                enough = rng.randrange(20, 200)
                seen = lambda section, field: r.info(section)[field] > 0
                self.assertTrue(wait_until(lambda: self.errors or all(
                    w.acknowledged > begun[w.number] + enough for w in writers)))
                if self.round == 0:
                    self.assertTrue(wait_until(lambda: self.errors or (
                        seen("stats", "spilled_values") and seen("persistence", "log_segments_freed") and
                        seen("persistence", "checkpoints_written"))))
                spilled += r.info("stats")["spilled_values"]
                freed += r.info("persistence")["log_segments_freed"]
                r.close()
                self.stop.set()
                self.server.kill()
                filler.kill()
                filler.wait()
                for w in writers:
                    w.join()
                self.assertEqual(self.errors, [])
                self.server.start()
                r = self.server.redis()
                from_checkpoint += r.info("persistence")["recovered_from_checkpoint"] > 0
                r.close()
                self.check(writers)
            acknowledged = sum(w.acknowledged for w in known.values())
            print("%d rounds, %d acknowledged writes, %d values left memory, %d segments freed, %d starts from a "
                  "checkpoint" % (ROUNDS, acknowledged, spilled, freed, from_checkpoint))
            self.assertEqual(self.server.stop(), 0)
            self.server.start()
            self.check(list(known.values()))
        finally:
            self.server.remove()


class Changer(threading.Thread):
    """Changes one key through a door that answers only when the change is durable. `history` has every
    state that the key may be in, `sure` is the newest of them that was acknowledged."""

    def __init__(self, test, number, history):
        super().__init__()
        self.test, self.key, self.history = test, "k%d" % number, history
        self.by_http = number % 2 == 0
        self.rng = random.Random(number)
        self.sure = len(history) - 1
        self.s3 = test.server.s3()  # boto3 makes one at a time

    def run(self):
        try:
            change = self.through_http(self.s3) if self.by_http else self.through_grpc()
            while not self.test.stop.is_set():
                gone = self.history[-1] is not None and self.rng.random() < 0.4
                self.history.append(None if gone else b"%s %d %d" % (
                    self.key.encode(), self.test.round, len(self.history)))
                change(self.history[-1])
                self.sure = len(self.history) - 1
        except Exception as e:
            if not self.test.stop.is_set():
                self.test.errors.append(e)

    def through_http(self, s3):
        def change(value):
            if value is None:
                s3.delete_object(Bucket="db0", Key=self.key)
            else:
                s3.put_object(Bucket="db0", Key=self.key, Body=value)
        return change

    def through_grpc(self):
        rpc = self.test.server.grpc_stubs()
        key = rpc.key("db0", self.key)

        def change(value):
            if value is None:
                rpc.kv.Delete(rpc.kv_pb.DeleteRequest(key=key), metadata=rpc.metadata)
            else:
                rpc.kv.Put(rpc.kv_pb.PutRequest(key=key, value=value), metadata=rpc.metadata)
        return change


class Reader(threading.Thread):
    """Notes for each key the earliest state that what it was answered may have been."""

    def __init__(self, test, door):
        super().__init__()
        self.test, self.door = test, door
        self.rng = random.Random(door)
        self.seen = {}
        self.reads = 0
        self.s3 = test.server.s3()

    def run(self):
        try:
            read = getattr(self, "by_" + self.door)()
            while not self.test.stop.is_set():
                c = self.rng.choice(self.test.changers)
                before = c.sure
                value = read(c.key)
                state = next(i for i in range(before, len(c.history)) if c.history[i] == value)
                self.seen[c.key] = max(self.seen.get(c.key, 0), state)
                self.reads += 1
        except Exception as e:
            if not self.test.stop.is_set():
                self.test.errors.append(e)

    def by_resp(self):
        return self.test.server.redis().get

    def by_http(self):
        def read(key):
            try:
                return self.s3.get_object(Bucket="db0", Key=key)["Body"].read()
            except self.s3.exceptions.NoSuchKey:
                return None
        return read

    def by_grpc(self):
        rpc = self.test.server.grpc_stubs()

        def read(key):
            answer = rpc.kv.BatchGet(rpc.kv_pb.BatchGetRequest(keys=[rpc.key("db0", key)]), metadata=rpc.metadata)
            found = answer.entries[0]
            return found.value.value if found.HasField("value") else None
        return read


class Wishes(unittest.TestCase):
    """Where the log is synced once a second, the writers of single values wished them durable: nobody, at
    no door, is answered by one (or by its absence) that a kill takes back."""

    def test_no_answer_rests_on_what_a_kill_takes_back(self):
        self.server = Server(args=["--durability=everysec"])
        self.errors = []
        Grpc.protos()
        histories = [[None] for _ in range(6)]
        rng = random.Random()
        reads = 0
        try:
            for self.round in range(max(4, ROUNDS // 4)):
                self.stop = threading.Event()
                self.changers = [Changer(self, n, h) for n, h in enumerate(histories)]
                readers = [Reader(self, door) for door in ("resp", "resp", "http", "grpc")]
                for t in self.changers + readers:
                    t.start()
                enough = rng.randrange(20, 120)
                self.assertTrue(wait_until(lambda: self.errors or all(r.reads > enough for r in readers)))
                self.stop.set()
                self.server.kill()
                for t in self.changers + readers:
                    t.join()
                self.assertEqual(self.errors, [])
                self.server.start()
                r = self.server.redis()
                for c in self.changers:
                    least = max([c.sure] + [reader.seen.get(c.key, 0) for reader in readers])
                    now = r.get(c.key)
                    self.assertIn(now, c.history[least:], "%s is older than what was answered" % c.key)
                    c.history[:] = [now]
                r.close()
                reads += sum(reader.reads for reader in readers)
            print("%d answers rest on what is there" % reads)
            self.assertEqual(self.server.stop(), 0)
        finally:
            self.server.remove()


class Queue:
    """A queue with a producer and a consumer, who note what they were told: what was pushed and popped,
    in order. Some kinds of pop note in another key what they took, in one step."""

    TAKE = "local v = redis.call('LPOP', KEYS[1]) if v then redis.call('RPUSH', KEYS[2], v) end return v"
    KINDS = {
        "BLPOP": lambda r, q: (r.blpop(q, 1) or (0, None))[1],
        "BZPOPMIN": lambda r, q: (r.bzpopmin(q, 1) or (0, None))[1],
        "BLMOVE": lambda r, q: r.blmove(q, q + ":taken", 1, "LEFT", "RIGHT"),
        "EVAL": lambda r, q: r.eval(Queue.TAKE, 2, q, q + ":taken"),
    }

    def __init__(self, test, number):
        self.test, self.kind = test, list(self.KINDS)[number % len(self.KINDS)]
        self.key, self.rng = "queue%d" % number, random.Random(number)
        self.numbers = itertools.count(10000000)  # of one length, so that they are in order as members too
        self.pushed, self.pushing = [], []  # what was acknowledged, and what may have come after it
        self.popped, self.is_popping = [], False

    def threads(self):
        return [threading.Thread(target=self.work, args=(step,)) for step in (self.push, self.pop)]

    def work(self, step):
        try:
            r = self.test.server.redis()
            while not self.test.stop.is_set():
                step(r)
        except Exception as e:
            if not self.test.stop.is_set():
                self.test.errors.append(e)

    def push(self, r):
        if len(self.pushed) - len(self.popped) > 20:  # few enough that the consumer waits for some
            time.sleep(0.001)
            return
        items = [b"%d" % next(self.numbers) for _ in range(self.rng.choice([1, 1, 3, 20]))]
        self.pushing = items
        if self.kind == "BZPOPMIN":
            r.zadd(self.key, {i: int(i) for i in items})
        else:
            r.rpush(self.key, *items)
        self.pushed += items
        self.pushing = []

    def pop(self, r):
        self.is_popping = True
        item = self.KINDS[self.kind](r, self.key)
        self.is_popping = False
        if item is not None:
            self.popped.append(item)

    def check(self, r):
        now = r.zrange(self.key, 0, -1) if self.kind == "BZPOPMIN" else r.lrange(self.key, 0, -1)
        popped = len(self.popped)
        tried = self.pushed + self.pushing
        self.test.assertEqual(self.popped, tried[:popped], self.kind)
        # The push under way is there whole or not at all, and so is the pop.
        possible = [(all_[n:], all_[:n]) for all_ in (self.pushed, tried) for n in (popped, popped + self.is_popping)
                    if n <= len(all_)]
        if self.kind in ("BLMOVE", "EVAL"):
            self.test.assertIn((now, r.lrange(self.key + ":taken", 0, -1)), possible, self.kind)
        else:
            self.test.assertIn(now, [p[0] for p in possible], self.kind)
        r.delete(self.key + ":taken")
        self.pushed, self.pushing, self.popped, self.is_popping = now, [], [], False


class Queues(unittest.TestCase):
    """What one pushes and another pops, also one who waited for it: what was pushed is there or was
    popped, what was popped does not come back; only the pop that a kill interrupts may be in doubt."""

    def test_what_was_pushed_is_there_or_was_popped(self):
        self.server = Server(args=["--durability=always"])
        self.addCleanup(self.server.remove)
        self.errors, rng = [], random.Random()
        queues = [Queue(self, n) for n in range(2 * len(Queue.KINDS))]
        pushed = popped = in_doubt = 0
        for _ in range(max(4, ROUNDS // 2)):
            self.stop = threading.Event()
            threads = [t for q in queues for t in q.threads()]
            for t in threads:
                t.start()
            enough = rng.randrange(5, 100)
            begun = {q.key: len(q.pushed) for q in queues}
            self.assertTrue(wait_until(lambda: self.errors or all(
                min(len(q.popped), len(q.pushed) - begun[q.key]) > enough for q in queues)))
            self.stop.set()
            self.server.kill()
            for t in threads:
                t.join()
            self.assertEqual(self.errors, [])
            pushed += sum(len(q.pushed) for q in queues)
            popped += sum(len(q.popped) for q in queues)
            in_doubt += sum(q.is_popping for q in queues)
            self.server.start()
            r = self.server.redis()
            for q in queues:
                q.check(r)
            r.close()
        print("%d items pushed, %d popped, %d pops in doubt" % (pushed, popped, in_doubt))
        self.assertEqual(self.server.stop(), 0)


if __name__ == "__main__":
    unittest.main()
