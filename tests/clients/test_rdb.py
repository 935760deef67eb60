"""redis-cli --rdb and --functions-rdb: all that the databases hold as a file, which redis-server loads and redis-check-rdb
passes."""
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

from harness import PASSWORD, PATIENCE, Case, Server, resident, wait_until
from test_dump import KINDS, Values, crc64_of, told
from test_encryption import MODES
from test_resp import Peer

SEED = int(os.environ.get("CAIRN_RDB_SEED", "1"))
LIBRARY = b"#!lua name=lib%d\nredis.register_function('f%d', function(keys, args) return 'of %d' end)"


def export(server, mode="--rdb"):
    """What redis-cli writes."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "dump.rdb")
        done = subprocess.run(["redis-cli", "-p", str(server.resp), "-a", PASSWORD, "--no-auth-warning", mode, path],
                              capture_output=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        with open(path, "rb") as f:
            return f.read()


class Loaded:
    """A redis-server that starts with this file."""

    def __init__(self, data):
        self.directory = tempfile.mkdtemp(prefix="cairn-rdb-")
        path = os.path.join(self.directory, "dump.rdb")
        with open(path, "wb") as f:
            f.write(data)
        checked = subprocess.run(["redis-check-rdb", path], capture_output=True, timeout=PATIENCE)
        assert checked.returncode == 0, checked.stdout[-2000:]
        self.peer = Peer("--dir", self.directory, "--dbfilename", "dump.rdb")
        assert wait_until(lambda: not self.peer.client.info("persistence")["loading"])

    def at(self, number):
        return redis.Redis(port=self.peer.port, db=number)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.peer.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def fill(c, seed, count, prefix=b""):
    """Keys of all types, a few with an expiry."""
    values = Values(seed)
    for n in range(count):
        key = b"%s%s%d" % (prefix, values.r.choice([b"k", b"key:\xff\x00", b""]), n)
        for words in values.make(values.r.choice(KINDS), values.r.choice([1, 3, 100, 129, 600]), key):
            try:
                c.execute_command(*words)
            except redis.ResponseError as e:
                assert "ID" in str(e), e  # of XDEL
        if values.r.random() < 0.2:
            c.pexpireat(key, 4_000_000_000_000 + n)


class RdbCase(Case):
    def setUp(self):
        self.r = self.server.redis()
        self.addCleanup(self.r.close)
        self.r.flushall()
        self.r.function_flush()

    def at(self, number):
        c = self.server.redis(db=number)
        self.addCleanup(c.close)
        return c

    def same(self, ours, theirs):
        keys = sorted(ours.keys())
        self.assertEqual(sorted(theirs.keys()), keys)
        for key in keys:
            self.assertEqual(told(theirs, key), told(ours, key), key)
            self.assertEqual(theirs.pexpiretime(key), ours.pexpiretime(key), key)


class Rdb(RdbCase):
    def test_redis_has_all_of_it(self):
        for seed in range(SEED, SEED + 3):
            self.r.flushall()
            for number in (0, 1, 15):
                fill(self.at(number), seed * 16 + number, 120)
            with Loaded(export(self.server)) as loaded:
                for number in range(16):
                    self.same(self.at(number), loaded.at(number))

    def test_every_size(self):
        for n in (0, 1, 63, 64, 16383, 16384, 65535, 65536, 65537, 1 << 20, (3 << 20) + 1, 20 << 20):
            self.r.set("size%d" % n, random.Random(n).randbytes(n))
        self.r.pexpireat("size65537", 4_000_000_000_000)
        many = 30_000
        for start in range(0, many, 1000):
            block = range(start, start + 1000)
            self.r.rpush("list", *["element of a list %d" % i for i in block])
            self.r.sadd("set", *["member of a set %d" % i for i in block])
            self.r.hset("hash", mapping={"field of a hash %d" % i: "value %d" % i for i in block})
            self.r.zadd("zset", {"member of a sorted set %d" % i: i / 7 for i in block})
            pipe = self.r.pipeline()
            for i in block:
                pipe.xadd("stream", {"field": "value of a stream %d" % i}, id="%d-1" % (i + 1))
            pipe.execute()
        self.r.xgroup_create("stream", "group", "0")
        self.r.xreadgroup("group", "consumer", {"stream": ">"}, count=20_000)
        self.r.rpush("long", b"x" * (5 << 20))
        data = export(self.server)
        with Loaded(data) as loaded:
            there = loaded.at(0)
            # told() looks at the first pending ones alone.
            self.same(self.r, there)
            self.assertEqual(there.xpending("stream", "group")["pending"], 20_000)

    def test_what_is_encrypted_is_in_it_as_it_reads(self):
        """One such value took the file of all databases; what only its customer has the key of is left out."""
        s3, sizes, values = self.server.s3(), (0, 1, 5000, 65536, 200_000, (3 << 20) + 1), {}
        self.r.set("open", "1")
        for mode, how in MODES.items():
            for size in sizes:
                key = "%s/%d" % (mode, size)
                values[key] = random.Random(key).randbytes(size)
                s3.put_object(Bucket="db0", Key=key, Body=values[key], **how)
        upload = dict(Bucket="db0", Key="parts")
        upload["UploadId"] = s3.create_multipart_upload(**upload, ServerSideEncryption="AES256")["UploadId"]
        parts = [random.Random(n).randbytes(size) for n, size in enumerate((5 << 20, 70_001))]
        etags = [{"PartNumber": n, "ETag": s3.upload_part(PartNumber=n, Body=part, **upload)["ETag"]} for n, part in enumerate(parts, 1)]
        s3.complete_multipart_upload(MultipartUpload={"Parts": etags}, **upload)
        values["parts"] = b"".join(parts)
        s3.put_object(Bucket="db3", Key="elsewhere", Body=b"three", ServerSideEncryption="aws:kms")
        for key in ("s3/5000", "kms/200000"):
            self.r.pexpireat(key, 4_000_000_000_000)
        with Loaded(export(self.server)) as loaded:
            there = loaded.at(0)
            self.assertEqual(set(there.keys()), {k.encode() for k in values if not k.startswith("customer/")} | {b"open"})
            for key, value in values.items():
                if not key.startswith("customer/"):
                    self.assertEqual(there.get(key) == value, True, key)
                    self.assertEqual(there.pexpiretime(key), 4_000_000_000_000 if key in ("s3/5000", "kms/200000") else -1)
            self.assertEqual(loaded.at(3).get("elsewhere"), b"three")
        with open(self.server.log.name) as log:
            self.assertIn("lacks %d keys" % len(sizes), log.read())

    def test_the_file_is_framed_as_its_format_says(self):
        self.r.set("k", "v")
        self.at(3).set("other", 7, pxat=4_000_000_000_000)
        self.r.function_load(LIBRARY % (1, 1, 1))
        data = export(self.server)
        self.assertTrue(data.startswith(b"REDIS0010\xfa\x09redis-ver"), data[:40])
        self.assertIn(b"\xf5\x40", data)
        self.assertIn(b"\xfe\x00\xfb\x01\x00\x00\x01k\x01v", data)
        self.assertIn(b"\xfe\x03\xfb\x01\x01\xfc" + (4_000_000_000_000).to_bytes(8, "little") + b"\x00\x05other\xc0\x07\xff", data)
        self.assertEqual(data[-8:], crc64_of(data[:-8]))

    def test_what_has_expired_is_not_in_it(self):
        self.r.set("gone", 1, px=1)
        self.r.hset("h", mapping={"a": 1, "b": 2})
        self.r.execute_command("HPEXPIRE", "h", 1, "FIELDS", 2, "a", "b")
        self.r.set("stays", 1)
        self.assertTrue(wait_until(lambda: not self.r.exists("gone", "h")))
        with Loaded(export(self.server)) as loaded:
            self.assertEqual(loaded.at(0).keys(), [b"stays"])

    def test_a_time_of_a_field_is_kept_or_refused_but_never_lost(self):
        self.r.hset("h", mapping={"a": 1, "b": 2})
        self.r.execute_command("HPEXPIREAT", "h", 4_000_000_000_000, "FIELDS", 1, "a")
        data = export(self.server)
        dumped = self.r.dump("h")
        self.assertIn(dumped[0], (24, 25))  # which Redis 7.4 has
        self.assertIn(dumped[:1] + b"\x01h" + dumped[1:-10], data)
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "dump.rdb")
            with open(path, "wb") as f:
                f.write(data)
            checked = subprocess.run(["redis-check-rdb", path], capture_output=True, timeout=PATIENCE)
        self.assertNotEqual(checked.returncode, 0)
        self.assertIn(b"%d" % dumped[0], checked.stdout)

    def test_functions(self):
        for i in range(3):
            self.r.function_load(LIBRARY % (i, i, i) + b"\n-- " + b"long " * 5000)
        self.r.set("k", "v")
        for mode, keys in (("--rdb", [b"k"]), ("--functions-rdb", [])):
            with Loaded(export(self.server, mode=mode)) as loaded:
                self.assertEqual(loaded.at(0).keys(), keys)
                self.assertEqual([loaded.at(0).fcall("f%d" % i, 0) for i in range(3)], [b"of %d" % i for i in range(3)])
        self.server.restart()  # nobody has asked for them since
        with Loaded(export(self.server, mode="--functions-rdb")) as loaded:
            self.assertEqual(loaded.at(0).fcall("f2", 0), b"of 2")

    def test_buckets_have_no_place_in_it(self):
        self.server.s3().create_bucket(Bucket="photos")
        self.at("photos").set("of-a-bucket", 1)
        self.r.set("k", 1)
        data = export(self.server)
        self.assertNotIn(b"of-a-bucket", data)
        with Loaded(data) as loaded:
            self.assertEqual(loaded.at(0).keys(), [b"k"])

    def test_an_empty_store_is_a_file(self):
        with Loaded(export(self.server)) as loaded:
            self.assertEqual(loaded.at(0).dbsize(), 0)
        with Loaded(export(self.server, mode="--functions-rdb")) as loaded:
            self.assertEqual(loaded.at(0).dbsize(), 0)


class Copy:
    """A client that asks for the file, and reads it when the test wants."""

    def __init__(self, server, *before, wish=b"REPLCONF capa eof rdb-only 1\r\n"):
        self.socket = socket.create_connection(("127.0.0.1", server.resp), timeout=PATIENCE)
        self.data = b""
        hello = b"".join(line + b"\r\n" for line in (b"AUTH " + PASSWORD.encode(), b"CLIENT SETNAME copy") + before)
        self.socket.sendall(hello + wish + b"SYNC\r\nPING\r\n")
        while b"\r\n$EOF:" not in self.data or b"REDIS0010" not in self.data:
            part = self.socket.recv(1 << 10)
            assert part, self.data
            self.data += part

    def rest(self):
        """The file; all that comes after its mark is the end."""
        while part := self.socket.recv(1 << 20):
            self.data += part
        self.socket.close()
        mark, _, file = self.data[self.data.index(b"$EOF:") + 5:].partition(b"\r\n")
        assert len(mark) == 40 and file.endswith(mark), (mark, file[-60:])
        return file[:-40]

    def close(self):
        self.socket.close()


def copies(r):
    return [c for c in r.client_list() if c["name"] == "copy"]


class Beside(RdbCase):
    """What others do meanwhile. The values are more than sockets hold, so that it lasts until it is read."""

    def big(self, c, count=600, size=60_000, prefix=b"stays"):
        words = {b"%s%d" % (prefix, n): random.Random(n).randbytes(size) for n in range(count)}
        for name, value in words.items():
            c.set(name, value)
        return words

    def test_what_stays_is_there_once_while_all_else_changes(self):
        words = self.big(self.r)
        fill(self.r, SEED, 100, b"kept:")
        for start in range(0, 20_000, 1000):
            self.r.hset("busy", mapping={"f%d" % i: i for i in range(start, start + 1000)})
            self.r.rpush("busylist", *["element %d" % i for i in range(start, start + 1000)])
        kept = {key: told(self.r, key) for key in self.r.keys("kept:*")}
        stop = threading.Event()

        def write(seed):
            r, c = random.Random(seed), self.server.redis()
            while not stop.is_set():
                a, b = b"t%d" % r.randrange(500), b"t%d" % r.randrange(500)
                pipe = c.pipeline(transaction=r.random() < 0.5)
                pipe.set(a, r.randbytes(r.choice([10, 1000, 70_000])))
                pipe.delete(b)
                pipe.execute_command(*r.choice([["SADD", b, "x"], ["HSET", b, "x", "1"], ["RPUSH", b, "x"], ["ZADD", b, "1", "x"]]))
                pipe.hset("busy", "f%d" % r.randrange(30_000), r.random())
                pipe.rpush("busylist", "more")
                pipe.lpop("busylist")
                pipe.rename(a, b)
                pipe.pexpire(b, r.randrange(1, 100))
                pipe.execute(raise_on_error=False)
            c.close()

        threads = [threading.Thread(target=write, args=(i,)) for i in range(3)]
        for t in threads:
            t.start()
        try:
            files = [export(self.server) for _ in range(3)]
            copy = Copy(self.server)
            time.sleep(1)
            files.append(copy.rest())
        finally:
            stop.set()
            for t in threads:
                t.join()
        for data in files:
            with Loaded(data) as loaded:
                there = loaded.at(0)
                for name, value in words.items():
                    self.assertEqual(there.get(name), value)
                for key, value in kept.items():
                    self.assertEqual(told(there, key), value)
                self.assertGreaterEqual(there.hlen("busy"), 20_000)
                self.assertGreaterEqual(there.llen("busylist"), 19_990)
                self.assertEqual([k for k in there.keys() if not k.startswith((b"stays", b"kept:", b"busy", b"t"))], [])

    def test_databases_that_are_swapped_stay_where_they_were(self):
        words = self.big(self.r)
        self.at(1).set("other", 1)
        copy = Copy(self.server)
        self.r.swapdb(0, 1)
        self.r.swapdb(1, 7)
        with Loaded(copy.rest()) as loaded:
            self.assertEqual(sorted(loaded.at(0).keys()), sorted(words))
            self.assertEqual(loaded.at(1).keys(), [b"other"])

    def test_what_is_removed_and_made_again_is_there_once(self):
        self.big(self.r)
        for again in (self.r.flushdb, lambda: self.r.delete(*self.r.keys())):
            copy = Copy(self.server)
            again()
            self.big(self.r)
            with Loaded(copy.rest()) as loaded:
                self.assertLessEqual(loaded.at(0).dbsize(), 600)

    def test_a_client_that_leaves_leaves_nothing(self):
        self.big(self.r, 40, 1 << 20)
        Copy(self.server).close()
        self.assertTrue(wait_until(lambda: not copies(self.r)))
        with Loaded(export(self.server)) as loaded:
            self.assertEqual(loaded.at(0).dbsize(), 40)

    def test_a_client_that_does_not_read_costs_little_and_keeps_nobody_waiting(self):
        words = self.big(self.r, 150, 1 << 20)
        before = resident(self.server)
        waiting = [Copy(self.server) for _ in range(20)]
        for name, value in words.items():
            self.assertEqual(self.r.get(name), value)
        self.r.set("new", b"x" * (1 << 20))
        if before:
            self.assertLess(resident(self.server) - before, 100 << 20)
        self.assertEqual({(c["cmd"], c["name"]) for c in copies(self.r)}, {("sync", "copy")})
        for c in copies(self.r)[:19]:
            self.r.client_kill_filter(_id=c["id"])
        self.assertTrue(wait_until(lambda: len(copies(self.r)) == 1))
        last = copies(self.r)[0]["addr"]
        for copy in waiting:
            if "%s:%d" % copy.socket.getsockname() == last:
                with Loaded(copy.rest()) as loaded:
                    self.assertGreaterEqual(loaded.at(0).dbsize(), 150)
            copy.close()

    def test_a_client_that_only_reads_is_not_sent_away_for_its_silence(self):
        words = self.big(self.r)
        self.r.config_set("timeout", 1)
        try:
            copy = Copy(self.server)
            time.sleep(3)
            with Loaded(copy.rest()) as loaded:
                self.assertEqual(loaded.at(0).dbsize(), len(words))
        finally:
            self.r.config_set("timeout", 0)

    def test_nothing_is_pushed_into_it(self):
        words = self.big(self.r)
        copy = Copy(self.server, b"HELLO 3", b"CLIENT TRACKING ON BCAST", b"SUBSCRIBE news")
        for i in range(100):
            self.r.set("new%d" % i, 1)
            self.r.publish("news", "of the day")
        data = copy.rest()
        self.assertNotIn(b"invalidate", data)
        self.assertNotIn(b"of the day", data)
        with Loaded(data) as loaded:
            self.assertLessEqual(set(words), set(loaded.at(0).keys()))

    def test_it_is_one_moment_while_writers_are_kept_back(self):
        self.r.mset({"a": 0, "b": 0})
        stop = threading.Event()

        def write():
            c, n = self.server.redis(), 0
            while not stop.is_set():
                n += 1
                c.mset({"a": n, "b": n})
                c.rename("a", "t")
                c.rename("t", "a")
            c.close()

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(5):
                self.r.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
                data = export(self.server)
                self.r.client_unpause()
                with Loaded(data) as loaded:
                    there = loaded.at(0).mget("a", "b", "t")
                self.assertEqual(sum(v is not None for v in there), 2, there)
        finally:
            stop.set()
            writer.join()

    def test_a_script_that_takes_long_is_waited_for(self):
        self.big(self.r, 100)
        self.r.set("of a script", 1)
        script = threading.Thread(target=self.run_until_killed)
        script.start()
        self.assertTrue(wait_until(lambda: self.r.execute_command("FUNCTION", "STATS")[1] is not None))
        made = []
        maker = threading.Thread(target=lambda: made.append(export(self.server)))
        maker.start()
        time.sleep(0.5)
        self.r.script_kill()
        script.join()
        maker.join()
        with Loaded(made[0]) as loaded:
            self.assertEqual(loaded.at(0).dbsize(), 101)

    def run_until_killed(self):
        c = self.server.redis()
        try:
            c.eval("while true do redis.call('GET', KEYS[1]) end", 1, "of a script")
        except redis.ResponseError as e:
            assert "killed" in str(e), e
        finally:
            c.close()


class Cold(RdbCase):
    server_args = dict(args=["--memory=64mb"])

    def test_values_that_are_on_disk_alone_are_there(self):
        c = self.r
        for n in range(3000):
            c.set("k%d" % n, random.Random(n).randbytes(40_000))
        for n in range(200):
            c.hset("h%d" % n, mapping={"f%d" % i: random.Random(i).randbytes(100) for i in range(50)})
        c.set("large", random.Random(1).randbytes(100 << 20))
        self.assertTrue(wait_until(lambda: int(c.info("memory")["keys_with_value_on_disk"]) > 1000))
        with Loaded(export(self.server)) as loaded:
            self.same(c, loaded.at(0))


class Asked(RdbCase):
    """Who may, and what is said."""

    def ask(self, *lines, auth=True, port=None):
        with socket.create_connection(("127.0.0.1", port or self.server.resp), timeout=PATIENCE) as s:
            f = s.makefile("rb")
            answers = []
            for line in ((b"AUTH " + PASSWORD.encode(),) if auth and not port else ()) + lines:
                s.sendall(line + b"\r\n")
                answers.append(f.readline().strip())
        return answers[-len(lines):]

    def test_nobody_before_he_said_who_he_is(self):
        for line in (b"SYNC", b"REPLCONF rdb-only 1"):
            self.assertEqual(self.ask(line, auth=False), [b"-NOAUTH Authentication required."])

    def test_what_redis_says_of_the_same_words(self):
        peer = Peer()
        try:
            for lines in ((b"REPLCONF",), (b"REPLCONF rdb-only",), (b"REPLCONF rdb-only 2",), (b"REPLCONF rdb-only -1",),
                          (b"REPLCONF rdb-only x",), (b"REPLCONF rdb-only 1",), (b"REPLCONF Rdb-Only 0",), (b"REPLCONF foo bar",),
                          (b"REPLCONF rdb-filter-only foo",), (b"REPLCONF rdb-filter-only functions",), (b"REPLCONF capa x",),
                          (b'REPLCONF capa eof rdb-filter-only ""',), (b"SYNC x",), (b"MULTI", b"REPLCONF rdb-only 1", b"SYNC", b"EXEC"),
                          (b"EVAL \"return redis.pcall('SYNC').err\" 0",), (b"COMMAND INFO sync replconf",)):
                self.assertEqual(self.ask(*lines), self.ask(*lines, port=peer.port), lines)
        finally:
            peer.stop()

    def test_a_file_for_no_replica(self):
        for lines in ((b"SYNC",), (b"PSYNC ? -1",), (b"REPLCONF capa eof rdb-only 1 listening-port 1",), (b"REPLCONF ack 1",),
                      (b"REPLCONF capa eof rdb-only 1", b"REPLCONF rdb-only 0", b"SYNC"), (b"REPLCONF capa eof rdb-only 1", b"PSYNC ? -1")):
            self.assertIn(b"does not replicate", self.ask(*lines)[-1], lines)
        self.assertIn(b"say REPLCONF capa eof", self.ask(b"REPLCONF rdb-only 1", b"SYNC")[-1])
        wish = b"REPLCONF capa eof rdb-only 1"
        self.assertIn(b"$EOF:", self.ask(wish, b"SYNC")[-1])
        with socket.create_connection(("127.0.0.1", self.server.resp)) as s:
            f = s.makefile("rb")
            for line in (b"AUTH " + PASSWORD.encode(), wish, b"RESET", b"AUTH " + PASSWORD.encode(), b"SYNC"):
                s.sendall(line + b"\r\n")
                answer = f.readline()
        self.assertIn(b"does not replicate", answer)

    def test_neither_keys_nor_functions(self):
        self.r.set("k", 1)
        self.r.function_load(LIBRARY % (1, 1, 1))
        copy = Copy(self.server, wish=b'REPLCONF capa eof rdb-only 1 rdb-filter-only ""\r\n')
        with Loaded(copy.rest()) as loaded:
            self.assertEqual((loaded.at(0).dbsize(), loaded.at(0).function_list()), (0, []))

    def test_redis_cli_says_why_there_is_none(self):
        done = subprocess.run(["redis-cli", "-p", str(self.server.resp), "--rdb", "/dev/null"], capture_output=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"SYNC with master failed: -NOAUTH", done.stderr)


if __name__ == "__main__":
    unittest.main()
