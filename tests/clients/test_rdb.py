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
from test_resp import Peer

SEED = int(os.environ.get("CAIRN_RDB_SEED", "1"))
LIBRARY = b"#!lua name=lib%d\nredis.register_function('f%d', function(keys, args) return 'of %d' end)"


def export(server, *options, mode="--rdb", check=True):
    """What redis-cli writes; its own words if it fails."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "dump.rdb")
        done = subprocess.run(["redis-cli", "-p", str(server.resp), "-a", PASSWORD, "--no-auth-warning", *options, mode, path],
                              capture_output=True, timeout=PATIENCE)
        if done.returncode != 0 and not check:
            return done.stderr.decode()
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


if __name__ == "__main__":
    unittest.main()
