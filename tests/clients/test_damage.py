"""One thing damaged in any file of a server that was killed or stopped: a bit flipped, the file cut,
emptied or lost. It is served right or refused by name, and --repair goes on without destroying
anything; see also tests/sim/damage.h, which does the same a thousand times in memory."""
import os
import random
import shutil
import subprocess
import tempfile
import unittest

import redis

from harness import Server, wait_until

BLOB = os.urandom(200000)


def make(directory, clean):
    """A store of two lives, with a checkpoint between them; returns what it holds."""
    os.makedirs(directory, exist_ok=True)
    expected = {b"k%d" % i: b"value %d" % i for i in range(300)}
    server = Server(directory=directory)
    r = server.redis()
    r.config_set("appendfsync", "always")
    r.mset(expected)
    for i in range(3):
        expected[b"blob%d" % i] = b"%d" % i + BLOB
        r.set("blob%d" % i, expected[b"blob%d" % i])
    server.s3().create_bucket(Bucket="bucket")
    r.delete("k0")
    del expected[b"k0"]
    r.close()
    assert server.stop() == 0
    server.start()
    r = server.redis()
    r.config_set("appendfsync", "always")
    for i in range(40):
        expected[b"k%d" % (i + 5)] = b"second %d" % i
        r.set("k%d" % (i + 5), "second %d" % i)
    r.close()
    assert server.stop() == 0
    server.start()
    r = server.redis()
    r.config_set("appendfsync", "always")
    expected[b"blob3"] = b"3" + BLOB
    r.set("blob3", expected[b"blob3"])
    r.delete("k1")
    del expected[b"k1"]
    # So that more follows than the tail that cannot be told from a torn one.
    for i in range(5):
        r.set("last", "%d" % i)
        expected[b"last"] = b"%d" % i
    r.close()
    if clean:
        assert server.stop() == 0
    else:
        server.kill()
    return expected


def damage(path, kind, rng):
    size = os.path.getsize(path)
    if kind == "lose":
        os.unlink(path)
    elif kind == "empty":
        os.truncate(path, 0)
    elif kind == "cut":
        os.truncate(path, size // 2 // 4096 * 4096)
    else:
        with open(path, "r+b") as f:
            if kind == "head":
                at = rng.randrange(48)
            else:  # in the first half of what is used
                data = f.read()
                used = len(data.rstrip(b"\0"))
                at = rng.randrange(min(4096, used // 2), max(used // 2, 1) + 1)
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ (1 << rng.randrange(8))]))


class Damage(unittest.TestCase):
    def one(self, source, expected, name, kind, rng):
        where = "%s, %s" % (name, kind)
        with tempfile.TemporaryDirectory() as top:
            directory = os.path.join(top, "store")
            os.mkdir(directory)
            subprocess.check_call(["cp", "-r", "--sparse=always", os.path.join(source, "data"), directory])
            data = os.path.join(directory, "data")
            damage(os.path.join(data, name), kind, rng)
            before = set(os.listdir(data))
            server = None
            try:
                try:
                    server = Server(directory=directory)
                except RuntimeError as refused:
                    self.assertIn(name, str(refused), where)
                    self.assertIn("--repair", str(refused), where)
                    self.assertEqual(set(os.listdir(data)), before, where)
                else:
                    self.compare(server, expected, where)
                    return
                server = Server(directory=directory, args=["--repair"])
                now = os.listdir(data)
                # What the cleaner or the compactor emptied meanwhile was copied whole.
                moved = lambda: server.redis().info("persistence")["log_segments_freed"] > 0 or any(
                    f.startswith("extents-") and f not in before for f in now)
                for f in before:
                    if f.startswith(("segment-", "extents-")) and not any(n.endswith(f) for n in now):
                        # It goes a moment before it is counted.
                        self.assertTrue(wait_until(moved, 10), "%s: %s is gone" % (where, f))
                log = open(server.log.name).read()
                self.assertRegex(log, "(?i)lost|set aside|made anew", where)
                r = server.redis()
                for key, value in expected.items():
                    try:
                        got = r.get(key)
                    except (redis.ResponseError, redis.ConnectionError):
                        continue
                    self.assertTrue(got in (None, value) or got.startswith((b"value", b"0", b"1", b"2", b"3")), (where, key))
                r.set("new", "1")
                self.assertEqual(server.stop(), 0)
                server.args = []
                server.start()
                self.assertEqual(server.redis().get("new"), b"1", where)
            finally:
                if server is not None:
                    server.remove()

    def compare(self, server, expected, where):
        r = server.redis()
        refused = 0
        for key, value in expected.items():
            try:
                self.assertEqual(r.get(key), value, (where, key))
            except redis.ResponseError as e:
                self.assertIn("extents-", str(e), (where, key))
                self.assertTrue(key.startswith(b"blob"))
                refused += 1
            except redis.ConnectionError:  # the length was on its way already
                self.assertTrue(key.startswith(b"blob"))
                refused += 1
        self.assertEqual(r.dbsize(), len(expected), where)
        self.assertEqual([b["Name"] for b in server.s3().list_buckets()["Buckets"]], ["bucket"], where)
        if refused:
            self.assertIn("extents-", open(server.log.name).read() if "lose" in where else "extents-", where)
        r.close()

    def matrix(self, clean, kinds):
        source = tempfile.mkdtemp(prefix="cairn-damage-")
        rng = random.Random(1)
        try:
            expected = make(source, clean)
            names = [f for f in sorted(os.listdir(os.path.join(source, "data")))
                     if f.startswith(("superblock-", "segment-", "extents-", "checkpoint-"))]
            self.assertGreater(len(names), 5)
            for name in names:
                for kind in kinds:
                    with self.subTest(name=name, kind=kind):
                        self.one(source, expected, name, kind, rng)
        finally:
            shutil.rmtree(source, ignore_errors=True)
            try:
                os.unlink(source + ".log")
            except OSError:
                pass

    def test_after_a_kill(self):
        self.matrix(False, ("head", "flip", "cut", "empty", "lose"))

    def test_after_a_stop(self):
        self.matrix(True, ("head", "flip", "lose"))

    def test_without_any_superblock(self):
        with tempfile.TemporaryDirectory() as top:
            directory = os.path.join(top, "store")
            os.mkdir(directory)
            expected = make(directory, True)
            for copy in "01":
                os.unlink(os.path.join(directory, "data", "superblock-" + copy))
            with self.assertRaisesRegex(RuntimeError, "superblock-0 is missing.*--repair"):
                Server(directory=directory)
            server = Server(directory=directory, args=["--repair"])
            try:
                self.compare(server, expected, "no superblock")
            finally:
                server.remove()

    def test_superblocks_of_an_earlier_moment(self):
        """What a copy leaves that goes by size: the superblocks are those of the last clean stop. The
        life that they do not know is not passed over."""
        with tempfile.TemporaryDirectory() as top:
            directory = os.path.join(top, "store")
            os.mkdir(directory)
            data = os.path.join(directory, "data")
            expected = make(directory, True)
            copies = ["superblock-0", "superblock-1"]
            for name in copies:
                shutil.copyfile(os.path.join(data, name), os.path.join(top, name))
            server = Server(directory=directory)
            r = server.redis()
            r.config_set("appendfsync", "always")
            for i in range(50, 100):
                expected[b"k%d" % i] = b"value, the newest %d" % i
                r.set("k%d" % i, expected[b"k%d" % i])
            expected[b"blob9"] = b"9" + BLOB
            r.set("blob9", expected[b"blob9"])
            r.delete("k2")
            del expected[b"k2"]
            r.close()
            server.kill()
            for name in copies:
                shutil.copyfile(os.path.join(top, name), os.path.join(data, name))
            before = sorted(os.listdir(data))
            with self.assertRaisesRegex(RuntimeError, "superblock-1 are older than segment-.*--repair"):
                Server(directory=directory)
            self.assertEqual(sorted(os.listdir(data)), before)
            server = Server(directory=directory, args=["--repair"])
            try:
                self.assertIn("all that is there was taken in", open(server.log.name).read())
                self.compare(server, expected, "repaired")
                self.assertEqual(server.stop(), 0)
                server.args = []
                server.start()
                self.compare(server, expected, "after the repair")
            finally:
                server.remove()

    def test_a_bucket_outlives_the_memory_of_one_that_was_dropped(self):
        """Ids are never used again: a drop concerns the bucket that it named, also when only the log
        is left to tell."""
        with tempfile.TemporaryDirectory() as top:
            directory = os.path.join(top, "store")
            os.mkdir(directory)
            server = Server(directory=directory)
            try:
                s3 = server.s3()
                s3.create_bucket(Bucket="aaa")
                s3.delete_bucket(Bucket="aaa")
                self.assertEqual(server.stop(), 0)
                server.start()
                s3 = server.s3()
                s3.create_bucket(Bucket="bbb")
                for i in range(5):
                    s3.put_object(Bucket="bbb", Key="k%d" % i, Body=b"%d" % i + BLOB)
                self.assertEqual(server.stop(), 0)
                self.assertGreater(self.lose_checkpoints(server), 0)
                server.start()
                s3 = server.s3()
                self.assertEqual([b["Name"] for b in s3.list_buckets()["Buckets"]], ["bbb"])
                for i in range(5):
                    self.assertEqual(s3.get_object(Bucket="bbb", Key="k%d" % i)["Body"].read(), b"%d" % i + BLOB)
            finally:
                server.remove()

    def lose_checkpoints(self, server):
        data = os.path.join(server.directory, "data")
        lost = [f for f in os.listdir(data) if f.startswith("checkpoint-")]
        for f in lost:
            os.unlink(os.path.join(data, f))
        return len(lost)

    def test_without_any_file_of_segments(self):
        """A store that knows that it had data never starts without it."""
        with tempfile.TemporaryDirectory() as top:
            directory = os.path.join(top, "store")
            make(directory, True)
            data = os.path.join(directory, "data")
            for f in os.listdir(data):
                if f.startswith(("segment-", "checkpoint-")):
                    os.unlink(os.path.join(data, f))
            before = sorted(os.listdir(data))
            with self.assertRaisesRegex(RuntimeError, "segment-.*missing.*--repair"):
                Server(directory=directory)
            self.assertEqual(sorted(os.listdir(data)), before)


if __name__ == "__main__":
    unittest.main()
