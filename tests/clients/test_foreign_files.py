"""Files in the data directory that the server did not make, or made for another place: random bytes,
another store's, a copy of one of its own under another number, directories, links. Whatever they are
called, all values are served, nothing is destroyed, and the log names what was set aside. What the
server itself leaves when it is killed is never taken for such a thing."""
import hashlib
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

import redis

from harness import Server

BLOB = os.urandom(300000)
DIGITS = {"segment": 16, "extents": 8, "checkpoint": 16}
KINDS = ("random", "short", "late", "empty", "other", "copy", "directory", "link")


def name_of(kind, number):
    return "%s-%0*x" % (kind, DIGITS[kind], number)


def numbers(data, kind):
    return sorted(int(f.split("-")[1], 16) for f in os.listdir(data) if f.startswith(kind + "-"))


def write(r, expected, key, value):
    r.set(key, value)
    expected[key] = value


def make(directory, clean):
    """A store of two lives with a checkpoint; the first value of its extents is gone, the second not."""
    expected = {}
    server = Server(directory=directory)
    for life in range(2):
        r = server.redis()
        r.config_set("appendfsync", "always")
        for i in range(200):
            write(r, expected, b"k%d" % i, b"value %d of %d" % (i, life))
        for i in range(3):
            write(r, expected, b"blob%d %d" % (life, i), b"%d %d" % (life, i) + BLOB)
        key = b"blob%d 0" % life
        r.delete(key)
        del expected[key]
        r.close()
        if life == 0:
            assert server.stop() == 0
            server.start()
    if clean:
        assert server.stop() == 0
    else:
        server.kill()
    return expected


def contents(top):
    """What every file below holds, whatever it is called, but for the server's own."""
    all = set()
    for directory, _, files in os.walk(top):
        for f in files:
            path = os.path.join(directory, f)
            if os.path.basename(top) == "data" and f.startswith((*DIGITS, "superblock", "spare")):
                continue
            if os.path.islink(path):
                all.add("link to " + os.readlink(path))
                continue
            with open(path, "rb") as file:
                all.add(hashlib.sha256(file.read()).hexdigest())
    return all


class Foreign(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.top = tempfile.mkdtemp(prefix="cairn-foreign-")
        cls.sources = {}
        for clean in (True, False):
            directory = os.path.join(cls.top, "source%d" % clean)
            os.mkdir(directory)
            cls.sources[clean] = (directory, make(directory, clean))
        cls.other = os.path.join(cls.top, "other")
        os.mkdir(cls.other)
        make(cls.other, True)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.top, ignore_errors=True)

    def put(self, data, kind, what, number, rng):
        """Returns what must be found again."""
        path = os.path.join(data, name_of(kind, number))
        if what == "empty":
            open(path, "wb").close()
        elif what == "late":  # as an image of a disk
            with open(path, "wb") as f:
                f.write(bytes(rng.choice([4096, 32768, 3 << 20])) + rng.randbytes(5000))
        elif what in ("random", "short"):
            content = rng.randbytes(rng.choice([8192, 70000]) if what == "random" else rng.randrange(1, 4096))
            with open(path, "wb") as f:
                f.write(content)
        elif what in ("other", "copy"):
            source = os.path.join(self.other, "data") if what == "other" else data
            there = [n for n in numbers(source, kind) if not os.path.islink(os.path.join(source, name_of(kind, n)))
                     and os.path.isfile(os.path.join(source, name_of(kind, n)))]
            subprocess.check_call(["cp", "--sparse=always", os.path.join(source, name_of(kind, rng.choice(there))), path])
        elif what == "directory":
            os.mkdir(path)
            with open(os.path.join(path, "note"), "wb") as f:
                f.write(rng.randbytes(100))
        else:
            os.symlink("/nowhere/%d" % number, path)
        return contents(path) if what == "directory" else \
            {"link to " + os.readlink(path)} if what == "link" else \
            {hashlib.sha256(open(path, "rb").read()).hexdigest()}

    def compare(self, server, expected, where):
        r = server.redis()
        self.assertEqual(r.dbsize(), len(expected), where)
        for key, value in expected.items():
            self.assertEqual(r.get(key), value, (where, key))
        r.close()

    def free_number(self, data, kind, rng):
        there = numbers(data, kind)
        last = max(there) if there else 0
        end = 1 << (4 * DIGITS[kind])
        choices = [last + 1, last + 2, last + 5, last + 100, end - 1, end - 2, rng.randrange(end // 2)]
        if kind == "extents":
            choices.append((1 << 32) + min(there))  # of which the lower half is one's that is there
        if kind == "checkpoint":
            choices.append(max(last - 1, 0))
        return rng.choice([n for n in choices if n not in there and (n < end or kind == "extents")])

    def copy_of(self, clean, seed):
        source, expected = self.sources[clean]
        directory = os.path.join(self.top, "store%d" % seed)
        os.mkdir(directory)
        subprocess.check_call(["cp", "-r", "--sparse=always", os.path.join(source, "data"), directory])
        return directory, dict(expected)

    def one(self, seed):
        rng = random.Random(seed)
        clean = bool(seed % 2)
        directory, expected = self.copy_of(clean, seed)
        data = os.path.join(directory, "data")
        placed = []
        for _ in range(rng.randint(1, 4)):
            kind, what = rng.choice(sorted(DIGITS)), rng.choice(KINDS)
            if what in ("late", "empty") and kind != "segment":
                continue  # such may be the store's own, of a blob or a checkpoint that came to no end
            number = self.free_number(data, kind, rng)
            if what == "empty":
                number = rng.choice([1 << 33, 1 << 37, (1 << 37) - 2, (1 << 38) - 2, max(numbers(data, kind)) + 5000])
            placed.append((name_of(kind, number), what, self.put(data, kind, what, number, rng)))
        # Names that the server would not give: none of its business.
        stray = os.path.join(data, rng.choice(["segment-0", "extents-1", "checkpoint-A", "notes.txt"]))
        with open(stray, "wb") as f:
            f.write(b"stray")
        where = "seed %d, %s: %s" % (seed, "stopped" if clean else "killed", [(n, w) for n, w, _ in placed])
        server = Server(directory=directory)
        try:
            for life in range(3):
                log = open(server.log.name).read()
                for name, _, content in placed:
                    self.assertEqual(log.count(name + " is none of this store's files, and was set aside"), 1, where)
                    self.assertLessEqual(content, contents(data), (where, name))
                self.assertEqual(open(stray, "rb").read(), b"stray", where)
                self.compare(server, expected, where)
                r = server.redis()
                r.config_set("appendfsync", "always")
                write(r, expected, b"new%d" % life, b"new")
                write(r, expected, b"new blob%d" % life, b"new" + BLOB)
                r.close()
                if life == 1:
                    self.assertEqual(server.stop(), 0, where)
                else:
                    server.kill()
                server.start()
        finally:
            server.remove()
            shutil.rmtree(directory, ignore_errors=True)

    def test_they_stay_and_all_values_are_there(self):
        for seed in range(30):
            with self.subTest(seed=seed):
                self.one(seed)

    def test_directories_in_the_place_of_files(self):
        for seed, name in enumerate(["superblock-0", "superblock-1", "extents", "checkpoint"]):
            with self.subTest(name=name):
                directory, expected = self.copy_of(True, 1000 + seed)
                data = os.path.join(directory, "data")
                if "superblock" not in name:
                    name = name_of(name, numbers(data, name)[-1])
                os.unlink(os.path.join(data, name))
                os.mkdir(os.path.join(data, name))
                with open(os.path.join(data, name, "note"), "w") as f:
                    f.write("of a directory")
                server = Server(directory=directory)
                try:
                    self.assertRegex(open(server.log.name).read(), name + ".* was set aside")
                    self.assertTrue(os.path.exists(os.path.join(data, "set-aside-1-" + name, "note")))
                    r = server.redis()
                    if name.startswith("extents"):
                        log = open(server.log.name).read()
                        lost = [k for k in expected if "0/" + k.decode() in log]
                        self.assertTrue(lost and all(k.startswith(b"blob") for k in lost), lost)
                        for key in lost:
                            with self.assertRaises((redis.ResponseError, redis.ConnectionError)):
                                server.redis().get(key)
                            r.delete(key)
                            del expected[key]
                    self.compare(server, expected, name)
                    self.assertEqual(server.stop(), 0)
                    server.start()
                    self.compare(server, expected, name)
                    self.assertEqual(open(server.log.name).read().count("was set aside"), 1)
                finally:
                    server.remove()

    def test_what_the_server_leaves_is_its_own(self):
        """Killed again and again, in the middle of large values, of checkpoints and of starts."""
        rng = random.Random(7)
        server = Server()
        data = os.path.join(server.directory, "data")
        expected, counts = {}, []

        def load(stop):
            r = server.redis()
            try:
                for i in range(1000000):
                    if stop.is_set():
                        return
                    r.set("load%d" % (i % 20), BLOB * rng.randint(1, 8))
                    r.set("small%d" % (i % 500), "x" * 1000)
            except redis.RedisError:
                pass

        try:
            for life in range(24):
                r = server.redis()
                r.config_set("appendfsync", "always")
                write(r, expected, b"life%d" % life, b"%d" % life)
                stop = threading.Event()
                threads = [threading.Thread(target=load, args=(stop,)) for _ in range(2)]
                for t in threads:
                    t.start()
                time.sleep(rng.random() * 0.6)
                if life % 4 == 3:  # one writes a checkpoint as it stops
                    server.process.terminate()
                    time.sleep(rng.random() * 0.05)
                server.kill()
                stop.set()
                for t in threads:
                    t.join()
                if life % 3 == 2:  # in the middle of its start
                    server.launch()
                    time.sleep(rng.random() * 0.1)
                    server.kill()
                server.start()
                counts.append(len(os.listdir(data)))
                r = server.redis()
                for key, value in expected.items():
                    self.assertEqual(r.get(key), value)
            self.assertEqual([f for f in os.listdir(data) if f.startswith("set-aside")], [])
            self.assertNotIn("set aside", open(server.log.name).read())
            # As many as what is there needs, and not more with every life.
            self.assertLess(len(os.listdir(data)), 24, counts)
        finally:
            server.remove()


if __name__ == "__main__":
    unittest.main()
