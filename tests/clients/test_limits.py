"""Within its means: more data than memory, a full disk, and what a starting server answers."""
import concurrent.futures
import math
import os
import random
import socket
import threading
import time
import unittest
import urllib.error
import urllib.request

import boto3  # noqa: F401  (imported by the main thread: see harness)
import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.exceptions
import grpc
import redis

from harness import PASSWORD, PATIENCE, USER, Server, command, entry_bytes, has_small_disks, resident, wait_until


class TenTimesMemory(unittest.TestCase):
    LIMIT = 256 << 20
    KEYS = 10 * LIMIT // 1024

    @classmethod
    def setUpClass(cls):
        cls.server = Server(args=["--memory=%d" % cls.LIMIT])
        cls.version = bytearray(cls.KEYS)
        cls.peak = 0
        cls.watching = True
        cls.watcher = threading.Thread(target=cls.watch)
        cls.watcher.start()

    @classmethod
    def tearDownClass(cls):
        cls.watching = False
        cls.watcher.join()
        cls.server.remove()

    @classmethod
    def watch(cls):
        path = "/proc/%d/statm" % cls.server.process.pid
        while cls.watching:
            try:
                with open(path) as f:
                    cls.peak = max(cls.peak, int(f.read().split()[1]) * 4096)
            except (OSError, IndexError):
                pass
            time.sleep(0.02)

    @staticmethod
    def key(i):
        return b"key:%012d" % i

    @classmethod
    def value(cls, i):
        return b"%07d%d" % (i, cls.version[i] % 10) * 128

    def exchange(self, commands, replies):
        """Sends all; `replies` are the exact bytes that have to come back. Which SETs were refused for
        want of memory, as may happen for a moment."""
        refused = []
        with socket.create_connection(("127.0.0.1", self.server.resp)) as s:
            s.sendall(command(b"AUTH", PASSWORD.encode()))
            self.assertEqual(s.recv(5), b"+OK\r\n")
            sender = threading.Thread(target=lambda: s.sendall(b"".join(commands)))
            sender.start()
            got = s.makefile("rb")
            for at, want in enumerate(replies):
                answer = got.readline() if want == b"+OK\r\n" else got.read(len(want))
                if answer.startswith(b"-OOM ") and want == b"+OK\r\n":
                    refused.append(at)
                elif answer != want:
                    self.fail("got %r, want %r" % (answer[:80], want[:80]))
            sender.join()
        return refused

    def write(self, keys):
        commands = [command(b"SET", self.key(i), self.value(i)) for i in keys]
        for _ in range(60):
            commands = [commands[at] for at in self.exchange(commands, [b"+OK\r\n"] * len(commands))]
            if not commands:
                return
            time.sleep(0.5)
        self.fail("%d SETs are refused for want of memory" % len(commands))

    def picks(self, zipfian, n):
        if not zipfian:
            return [random.randrange(self.KEYS) for _ in range(n)]
        # Zipf with exponent 1: the logarithm of the rank is uniform. Ranks are spread over the keys.
        return [int(math.exp(random.random() * math.log(self.KEYS))) * 7919 % self.KEYS for _ in range(n)]

    def run_mix(self, zipfian, n=20000):
        for _ in range(6):
            picks = self.picks(zipfian, n)
            self.exchange([command(b"GET", self.key(i)) for i in picks],
                          [b"$1024\r\n%s\r\n" % self.value(i) for i in picks])
            changed = set(picks[:n // 10])
            for i in changed:
                self.version[i] = (self.version[i] + 1) % 10
            self.write(changed)

    def test_it_is_correct_and_keeps_to_its_memory(self):
        r = self.server.redis()
        step = 50000
        for first in range(0, self.KEYS, step):
            keys = range(first, min(first + step, self.KEYS))
            self.write(keys)
        self.assertEqual(r.dbsize(), self.KEYS)
        self.assertGreater(r.info("memory")["keys_with_value_on_disk"], self.KEYS * 3 // 4)
        for zipfian in (False, True):
            before = r.info("stats")
            self.run_mix(zipfian)
            after = r.info("stats")
            misses = after["value_reads"] - before["value_reads"]
            gets = after["keyspace_hits"] - before["keyspace_hits"]
            self.assertLess(misses, gets * 1.05, "one read per GET at most")
            if zipfian:
                self.assertLess(misses, gets * 0.75, "what is used again stays")
        reads = r.info("stats")["value_reads"]
        for i in random.sample(range(self.KEYS), 300):
            k = self.key(i)
            self.assertEqual((r.strlen(k), r.exists(k), r.ttl(k), r.type(k)), (1024, 1, -1, b"string"))
        self.assertEqual(r.info("stats")["value_reads"], reads)
        print("peak of resident memory: %.1f MiB of %d" % (self.peak / 2**20, self.LIMIT >> 20))
        self.assertLess(self.peak, self.LIMIT * 1.05)
        self.restart_from_the_log(r.dbsize())

    def restart_from_the_log(self, keys):
        """After a crash, without its checkpoints: the longest start. The doors answer meanwhile."""
        self.server.kill()
        data = os.path.join(self.server.directory, "data")
        for name in os.listdir(data):
            if name.startswith("checkpoint"):
                os.unlink(os.path.join(data, name))
        health = "http://127.0.0.1:%d/-/health/ready" % self.server.http
        self.server.launch([self.server.resp, self.server.http, self.server.grpc])
        percents = []
        while True:
            try:
                with urllib.request.urlopen(health, timeout=PATIENCE) as answer:
                    self.assertEqual(answer.read(), b"ready\n")
                    break
            except urllib.error.HTTPError as e:
                self.assertEqual(e.code, 503)
                text = e.read().decode()
                self.assertRegex(text, r"^loading \d+%\n$")
                percents.append(int(text.split()[1][:-1]))
                e.close()
            except (urllib.error.URLError, ConnectionError):
                self.assertIsNone(self.server.process.poll())
                time.sleep(0.01)
                continue
            try:  # answered by the store, or not yet
                self.server.redis().get("x")
            except redis.exceptions.BusyLoadingError:
                pass
            try:
                self.server.s3().list_buckets()
            except botocore.exceptions.ClientError as e:
                self.assertEqual(e.response["ResponseMetadata"]["HTTPStatusCode"], 503)
            time.sleep(0.05)
        self.assertEqual(percents, sorted(percents))
        self.assertEqual(self.server.redis().dbsize(), keys)
        self.run_mix(zipfian=True, n=2000)
        self.assertLess(self.peak, self.LIMIT * 1.05)


class Cache(unittest.TestCase):
    """With allkeys-lru, memory holds entries, and not what an allocator lost. redis-server keeps
    186,183 keys of a kilobyte with 200 MB, and 900,000 with 1 GB."""
    BATCH = 5000

    def serve(self, limit):
        self.limit, self.peak = limit, 0
        self.server = Server(args=["--memory=%d" % limit, "--maxmemory-policy=allkeys-lru"])
        self.addCleanup(self.server.remove)
        self.socket = socket.create_connection(("127.0.0.1", self.server.resp))
        self.addCleanup(self.socket.close)
        self.socket.sendall(command(b"AUTH", PASSWORD.encode()))
        self.read(1)

    def read(self, n):
        left = n * len(b"+OK\r\n")
        while left:
            got = self.socket.recv(left)
            self.assertTrue(got)
            self.assertEqual(got.strip(b"+OK\r\n"), b"")
            left -= len(got)
            with open("/proc/%d/statm" % self.server.process.pid) as f:
                self.peak = max(self.peak, int(f.read().split()[1]) * 4096)

    def write(self, sets, make):
        """make(): a key and a value. The least that was held in the last quarter, of the limit."""
        r, held = self.server.redis(), []
        for first in range(0, sets, self.BATCH):
            batch = b"".join(command(b"SET", *make()) for _ in range(self.BATCH))
            sender = threading.Thread(target=self.socket.sendall, args=(batch,))
            sender.start()
            self.read(self.BATCH)
            sender.join()
            if first >= sets * 3 // 4:
                held.append(entry_bytes(r))
        print("limit %d: %d keys, entries at least %.1f %%, resident at most %.1f %%" %
              (self.limit, r.dbsize(), min(held) * 100 / self.limit, self.peak * 100 / self.limit))
        self.assertLess(self.peak, self.limit * 1.05)
        return min(held) / self.limit

    def fill(self, sets, part):
        value = b"v" * 1000
        held = self.write(sets, lambda: (b"key:%012d" % random.randrange(10**12), value))
        self.assertGreater(held, part)
        # What the keys and values themselves are, whatever an entry costs beside.
        self.assertGreater(self.server.redis().dbsize() * (16 + 1000), self.limit * part)

    def test_of_200_mb_most_is_entries(self):
        self.serve(200 << 20)
        self.fill(400_000, 0.6)

    def test_of_1_gb_nearly_all_is_entries(self):
        self.serve(1 << 30)
        self.fill(1_200_000, 0.85)

    def test_other_sizes_fill_what_the_first_left(self):
        """Pages of one size were emptied all at once and late: 106 % of the limit were resident."""
        self.serve(300 << 20)
        self.fill(400_000, 0.6)
        bytes_of = os.urandom(8192)

        def other():
            size = random.randrange(100, 4096)
            return b"other:%012d" % random.randrange(200_000), bytes_of[size:2 * size]
        self.assertGreater(self.write(250_000, other), 0.55)


class SlowReaders(unittest.TestCase):
    def test_what_nobody_reads_keeps_to_a_small_memory(self):
        """200 answers of 64 MB that nobody reads took 341 MB of a server with 160."""
        server = Server(args=["--memory=160mb"])
        self.addCleanup(server.remove)
        r = server.redis()
        r.set("large", bytes(64 << 20))
        stalled = [socket.create_connection(("127.0.0.1", server.resp)) for _ in range(200)]
        for s in stalled:
            self.addCleanup(s.close)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.sendall(command(b"AUTH", PASSWORD.encode()) + command(b"GET", b"large"))
        for s in stalled:
            self.assertEqual(s.recv(5, socket.MSG_WAITALL), b"+OK\r\n")
            self.assertEqual(s.recv(1), b"$")
        peak = resident(server, "VmHWM")
        print("peak with 200 answers that nobody reads: %.1f MiB" % (peak / 2**20))
        self.assertLess(peak, 160 << 20)
        self.assertEqual(r.getrange("large", 64_000_000, 64_000_002), bytes(3))
        r.set("other", bytes(1 << 20))
        self.assertEqual(r.strlen("other"), 1 << 20)


class Work(unittest.TestCase):
    """What a command makes beside its answer keeps to a part of the memory, and so does what was announced and does not
    come: these took gigabytes of a server with 256 MB."""
    MOST = 64 << 20

    def setUp(self):
        self.server = Server(args=["--memory=160mb"])
        self.addCleanup(self.server.remove)
        self.r = self.server.redis()

    def clients(self, n):
        for _ in range(n):
            s = socket.create_connection(("127.0.0.1", self.server.resp))
            self.addCleanup(s.close)
            s.sendall(command(b"AUTH", PASSWORD.encode()))
            self.assertEqual(s.recv(5, socket.MSG_WAITALL), b"+OK\r\n")
            yield s

    def grows(self, begin, end=lambda: None):
        """By so much while `begin` and `end` run."""
        before = resident(self.server)
        begin()
        end()
        grown = resident(self.server, "VmHWM") - before
        print("grown by %.1f MiB" % (grown / 2**20))
        self.assertLess(grown, self.MOST)

    def test_bitop_copies_no_sources(self):
        keys = [b"k%d" % i for i in range(1200)]
        for k in keys:
            self.r.set(k, bytes([len(k)]) * 65_536)
        self.r.set("large", bytes(70_000))
        self.grows(lambda: self.r.bitop("OR", "to", "large", *keys))
        self.assertEqual(self.r.get("to"), bytes([2 | 3 | 4 | 5]) * 65_536 + bytes(70_000 - 65_536))

    def test_lcs(self):
        for name in ("a", "b"):
            self.r.set(name, os.urandom(11_500))
        waiting = list(self.clients(8))
        self.grows(lambda: [s.sendall(command(b"LCS", b"a", b"b", b"LEN")) for s in waiting],
                   lambda: self.assertEqual(len({s.recv(7, socket.MSG_WAITALL) for s in waiting}), 1))

    # It ended the connection of who waited for room to work in, which is no command that blocks.
    def test_client_unblock_leaves_who_waits_for_room(self):
        for name in ("a", "b"):
            self.r.set(name, os.urandom(11_500))
        waiting = list(self.clients(6))
        for s in waiting:
            s.sendall(command(b"LCS", b"a", b"b", b"LEN"))
        for client in self.r.client_list():
            if client["cmd"] == "lcs":
                self.r.execute_command("CLIENT", "UNBLOCK", client["id"], "ERROR")
        self.assertEqual({s.recv(1, socket.MSG_WAITALL) for s in waiting}, {b":"})

    def test_bitfield(self):
        for i in range(12):
            self.r.setrange("k%d" % i, 5 << 20, "x")
        fields = [b"SET", b"u8", b"0", b"1", b"SET", b"u8", b"%d" % ((4 << 20) * 8 - 64), b"1"]
        waiting = list(self.clients(12))
        self.grows(lambda: [s.sendall(command(b"BITFIELD", b"k%d" % i, *fields)) for i, s in enumerate(waiting)],
                   lambda: [self.assertEqual(s.recv(12, socket.MSG_WAITALL), b"*2\r\n:0\r\n:0\r\n") for s in waiting])

    def test_fields_by_chance_count_as_their_clients(self):
        self.r.hset("h", mapping={"%05d" % i: "v" for i in range(20_000)})
        waiting = list(self.clients(150))
        for s in waiting:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.sendall(command(b"HRANDFIELD", b"h", b"-9000000000000000000"))
        wait_until(lambda: int(self.r.info("stats")["evicted_clients"]) > 0)
        self.grows(lambda: self.r.ping())
        self.assertLess(resident(self.server, "VmHWM"), 160 << 20)

    def test_http_bodies_that_do_not_come(self):
        request = botocore.awsrequest.AWSRequest("PUT", "http://127.0.0.1:%d/db0/k" % self.server.http, headers={
            "Content-Length": "65536", "x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
        botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(USER, PASSWORD), "s3", "us-east-1").add_auth(request)
        request = request.prepare()
        head = b"PUT /db0/k HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % self.server.http + b"".join(
            b"%s: %s\r\n" % (k.encode(), v if isinstance(v, bytes) else v.encode()) for k, v in request.headers.items()) + b"\r\nx"

        def announce():
            for _ in range(1500):
                s = socket.create_connection(("127.0.0.1", self.server.http))
                self.addCleanup(s.close)
                s.sendall(head)
        self.grows(announce, lambda: time.sleep(2))


class Scripts(unittest.TestCase):
    LIMIT = 256 << 20

    def test_what_a_long_script_freed_is_given_back(self):
        """Its thread sleeps afterwards, and others cannot give back what was its."""
        server = Server(credentials=False, args=["--memory=%d" % self.LIMIT])
        self.addCleanup(server.remove)
        r = redis.Redis(port=server.resp)
        with self.assertRaisesRegex(redis.ResponseError, "OOM"):
            r.eval("local s = string.rep('x', 5000000) for i = 1, 200 do redis.call('RPUSH', 'l', s) end", 0)

        def takes():
            try:
                return r.set("k", "v")
            except redis.ResponseError:
                return False
        self.assertTrue(wait_until(takes))
        self.assertTrue(wait_until(lambda: resident(server) < self.LIMIT * 1.1))
        r.delete("l")
        self.assertTrue(wait_until(lambda: r.memory_purge() and resident(server) < self.LIMIT / 2))
        r.close()


class Doors(unittest.TestCase):
    """A limit acts with the write that reaches it, at whichever door: gRPC's writers went 5 MB beyond 24."""
    LIMIT, VALUE, WRITERS, CALLS, DEPTH = 24 << 20, os.urandom(60_000), 6, 250, 4

    def most_used(self, write):
        """While writers offer some times the limit, each with a few calls at once."""
        server = Server(args=["--memory=%d" % self.LIMIT])
        self.addCleanup(server.remove)
        r = server.redis()
        before = entry_bytes(r)
        with concurrent.futures.ThreadPoolExecutor(self.WRITERS) as pool:
            writers = [pool.submit(write, server, "k%d" % i) for i in range(self.WRITERS)]
            most = 0
            while not all(w.done() for w in writers):
                most = max(most, entry_bytes(r))
            for w in writers:
                w.result()
        self.assertGreater(most, before + self.LIMIT // 2)
        self.assertEqual(r.dbsize(), self.WRITERS * self.CALLS)
        for i in range(0, self.CALLS, 50):
            self.assertEqual(r.get("k0-%d" % i), self.VALUE)
        return most

    def test_grpc(self):
        def write(server, name):
            rpc, begun = server.grpc_stubs(), []
            for i in range(self.CALLS):
                request = rpc.kv_pb.PutRequest(key=rpc.key("db0", "%s-%d" % (name, i)), value=self.VALUE,
                                               durability=rpc.common.DURABILITY_EVERYSEC)
                begun.append(rpc.kv.Put.future(request, metadata=rpc.metadata))
                if len(begun) == self.DEPTH:
                    begun.pop(0).result(PATIENCE)
            for call in begun:
                call.result(PATIENCE)
        self.assertLess(self.most_used(write), self.LIMIT + self.WRITERS * self.DEPTH * len(self.VALUE))

    def test_s3(self):
        def write(server, name):
            s3 = server.s3()
            for i in range(self.CALLS):
                s3.put_object(Bucket="db0", Key="%s-%d" % (name, i), Body=self.VALUE)
        self.assertLess(self.most_used(write), self.LIMIT + self.WRITERS * len(self.VALUE))


class Start(unittest.TestCase):
    """A start keeps within memory too, whatever the tail of the log holds."""
    LIMIT = 256 << 20

    def peak_of_start(self, write):
        server = Server(args=["--memory=%d" % self.LIMIT])
        self.addCleanup(server.remove)
        with socket.create_connection(("127.0.0.1", server.resp)) as s:
            s.sendall(command(b"AUTH", PASSWORD.encode()))
            got = s.makefile("rb")
            self.assertEqual(got.readline(), b"+OK\r\n")
            for commands in write:
                s.sendall(b"".join(commands))
                for _ in commands:
                    self.assertIn(got.readline()[:1], b":+")
            s.sendall(command(b"WAITAOF", b"1", b"0", b"0"))
            self.assertEqual(got.readline(), b"*2\r\n")
        server.kill()
        for name in os.listdir(os.path.join(server.directory, "data")):
            if name.startswith("checkpoint"):
                os.unlink(os.path.join(server.directory, "data", name))
        server.start()
        return server.redis(), resident(server, "VmHWM")

    def test_operations_do_not_wait_in_memory(self):
        """629,000 on one field took 147 MB."""
        n, batch = 629_000, 1000
        r, peak = self.peak_of_start([command(b"HSET", b"h", b"f%d" % (i % 3), b"%d" % i) for i in range(k, k + batch)]
                                     for k in range(0, n, batch))
        self.assertEqual(r.hgetall("h"), {b"f%d" % (i % 3): b"%d" % i for i in range(n - 3, n)})
        print("peak of a start with %d operations in the tail: %.1f MiB" % (n, peak / 2**20))
        self.assertLess(peak, 120 << 20)

    def test_nor_behind_transactions_of_several_segments(self):
        def write():
            for k in range(30):  # 3 MB each: one of them lies in two
                yield [command(b"MSET", *(word for i in range(50) for word in (b"k%d" % i, b"%d" % k * 30_000)))]
            for k in range(0, 629_000, 1000):
                yield [command(b"HSET", b"h", b"f", b"%d" % i) for i in range(k, k + 1000)]
        r, peak = self.peak_of_start(write())
        self.assertEqual(r.hgetall("h"), {b"f": b"628999"})
        self.assertEqual(r.mget("k0", "k49"), [b"29" * 30_000] * 2)
        print("peak of a start with a large transaction before them: %.1f MiB" % (peak / 2**20))
        self.assertLess(peak, 120 << 20)

    def test_hashes_are_left_where_they_are(self):
        n = 250_000  # 1 KB each, of which the running server held a part too
        r, peak = self.peak_of_start([command(b"HSET", b"h%d" % i, *(w for k in range(5) for w in (b"f%d" % k, b"v" * 200)))
                                      for i in range(k, k + 200)] for k in range(0, n, 200))
        self.assertEqual(r.dbsize(), n)
        self.assertEqual(r.hget("h%d" % (n - 1), "f4"), b"v" * 200)
        self.assertEqual(r.hlen("h0"), 5)
        print("peak of a start with %d hashes: %.1f MiB" % (n, peak / 2**20))
        self.assertLess(peak, self.LIMIT)

    def test_nor_does_what_was_flushed(self):
        rounds, n = 12, 20_000
        def write():
            for k in range(rounds):
                for i in range(0, n, 500):
                    yield [command(b"SET", b"%d-%d-" % (k, j) + b"x" * 1000, b"v") for j in range(i, i + 500)]
                yield [command(b"FLUSHALL")]
        r, peak = self.peak_of_start(write())
        self.assertEqual(r.dbsize(), 0)
        print("peak of a start with %d keys that were flushed: %.1f MiB" % (rounds * n, peak / 2**20))
        self.assertLess(peak, 200 << 20)

    def test_what_lies_behind_the_last_record_is_not_held(self):
        """The rest of a segment, which is looked over for what it witnesses, took 60 MB."""
        _, peak = self.peak_of_start([[command(b"HSET", b"h", b"f", b"v")]])
        print("peak of a start with nothing: %.1f MiB" % (peak / 2**20))
        self.assertLess(peak, 64 << 20)

    def test_tombstones_do_not_either(self):
        n, batch = 400_000, 1000
        r, peak = self.peak_of_start([command(b"DEL" if d else b"HSET", b"key:%040d" % i, *([] if d else [b"f", b"v"]))
                                      for i in range(k, k + batch) for d in (0, 1)] for k in range(0, n, batch))
        self.assertEqual(r.dbsize(), 0)
        print("peak of a start with %d tombstones in the tail: %.1f MiB" % (n, peak / 2**20))
        self.assertLess(peak, 130 << 20)

    def test_large_hashes_that_are_gone_do_not_either(self):
        rounds, fields, value = 30, 200, b"v" * 50_000
        r, peak = self.peak_of_start(
            [command(b"HSET", b"h", b"%d" % i, value) for i in range(fields)] + [command(b"DEL", b"h")]
            for _ in range(rounds))
        self.assertEqual(r.dbsize(), 0)
        print("peak of a start with %d large hashes that are gone: %.1f MiB" % (rounds, peak / 2**20))
        self.assertLess(peak, self.LIMIT)


@unittest.skipUnless(has_small_disks(), "the kernel gives no mounts of their own to users")
class FullDisk(unittest.TestCase):
    def test_reads_and_deletes_go_on_and_writes_come_back(self):
        server = Server(disk_mb=700)
        self.addCleanup(server.remove)
        r, s3, stubs = server.redis(), server.s3(), server.grpc_stubs()
        s3.create_bucket(Bucket="bucket")
        value = os.urandom(32 << 10)
        written = 0
        with self.assertRaises(redis.ResponseError) as refused:
            while written < 100000:
                r.set("k%d" % written, value)
                written += 1
        self.assertTrue(str(refused.exception).startswith("MISCONF"), str(refused.exception))
        self.assertGreater(written, 1000)
        for size in (10, 1 << 20):
            with self.assertRaises(botocore.exceptions.ClientError) as e:
                s3.put_object(Bucket="bucket", Key="o", Body=b"x" * size)
            self.assertEqual(e.exception.response["ResponseMetadata"]["HTTPStatusCode"], 507)
        with self.assertRaises(grpc.RpcError) as e:
            stubs.kv.Put(stubs.kv_pb.PutRequest(key=stubs.key("db0", b"g"), value=b"v"),
                         metadata=stubs.metadata)
        self.assertEqual(e.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertEqual(r.get("k0"), value)
        self.assertEqual(s3.get_object(Bucket="db0", Key="k1")["Body"].read(), value)
        for i in range(0, written * 3 // 4):
            self.assertEqual(r.delete("k%d" % i), 1)

        def writes():
            try:
                return r.set("again", value)
            except redis.ResponseError:
                return False
        self.assertTrue(wait_until(writes))
        s3.put_object(Bucket="bucket", Key="o", Body=b"x" * (1 << 20))
        stubs.kv.Put(stubs.kv_pb.PutRequest(key=stubs.key("db0", b"g"), value=b"v"), metadata=stubs.metadata)
        self.assertEqual(r.get("g"), b"v")
        self.assertEqual(r.get("k%d" % (written - 1)), value)


if __name__ == "__main__":
    unittest.main()
