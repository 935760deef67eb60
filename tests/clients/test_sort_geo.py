"""SORT and places over the Redis door: large ones, which are worked off in turns, against Python's own."""
import math
import random
import threading
import unittest

import redis

from harness import Case

RADIUS = 6372797.560856


def distance(a, b):
    (x1, y1), (x2, y2) = (tuple(map(math.radians, p)) for p in (a, b))
    u, v = math.sin((y2 - y1) / 2), math.sin((x2 - x1) / 2)
    return 2 * RADIUS * math.asin(min(1, math.sqrt(u * u + math.cos(y1) * math.cos(y2) * v * v)))


class SortAndPlaces(Case):
    def setUp(self):
        self.r = self.server.redis()
        self.r.flushall()

    def tearDown(self):
        self.r.close()

    def push(self, command, key, words):
        for i in range(0, len(words), 6000):
            self.r.execute_command(command, key, *words[i:i + 6000])

    def test_large_sorts_are_those_of_python(self):
        r = random.Random(5)
        numbers = [b"%d" % r.randrange(-10**6, 10**6) for _ in range(60000)]
        self.push("RPUSH", "list", numbers)
        by_number = sorted(numbers, key=lambda n: (int(n), n))
        self.assertEqual(self.r.sort("list"), by_number)
        self.assertEqual(self.r.sort("list", desc=True, start=59000, num=500), by_number[::-1][59000:59500])
        self.assertEqual(self.r.sort("list", alpha=True), sorted(numbers))
        self.assertEqual(self.r.sort("list", by="nosort", desc=True), numbers[::-1])
        self.assertEqual(self.r.sort("list", store="to"), 60000)
        self.assertEqual(self.r.lrange("to", 0, -1), by_number)
        self.push("SADD", "set", numbers)
        self.assertEqual(self.r.sort("set"), sorted(set(numbers), key=lambda n: (int(n), n)))
        self.assertEqual(self.r.sort("set", by="nosort", store="to"), len(set(numbers)))
        self.assertEqual(self.r.lrange("to", 0, -1), sorted(set(numbers)))
        self.push("ZADD", "zset", [w for i, n in enumerate(dict.fromkeys(numbers)) for w in (i, n)])
        self.assertEqual(self.r.sort("zset", by="nosort", desc=True, start=10, num=20000),
                         list(dict.fromkeys(numbers))[::-1][10:20010])
        self.assertEqual(self.r.sort("zset", store="to"), len(set(numbers)))

    def test_large_sorts_by_other_keys(self):
        r = random.Random(6)
        n = 5000
        weights = [r.random() for _ in range(n)]
        for i in range(0, n, 1000):
            self.r.mset({"w_%d" % k: repr(weights[k]) for k in range(i, i + 1000)})
        pipe = self.r.pipeline(transaction=False)
        for i in range(0, n, 2):
            pipe.hset("h_%d" % i, "name", "name%d" % i)
        pipe.execute()
        self.push("RPUSH", "list", list(range(n)))
        order = sorted(range(n), key=lambda i: weights[i])
        wanted = [[b"%d" % i, None if i % 2 else b"name%d" % i] for i in order]
        got = self.r.sort("list", by="w_*", get=["#", "h_*->name"])
        self.assertEqual(got, sum(wanted, []))
        self.assertEqual(self.r.sort("list", by="w_*", get=["h_*->name"], store="to", desc=True), n)
        self.assertEqual(self.r.lrange("to", 0, -1), [w[1] or b"" for w in reversed(wanted)])
        self.r.set("w_17", b"x" * 100000)  # lies in extents
        self.assertEqual(self.r.sort("list", by="w_*", alpha=True)[-1], b"17")
        self.assertEqual(self.r.sort("list", by="nosort", get=["w_*"], start=17, num=1), [b"x" * 100000])
        with self.assertRaisesRegex(redis.ResponseError, "can't be converted into double"):
            self.r.sort("list", by="w_*")

    def test_a_small_sort_sees_one_moment(self):
        """Two weights change places in transactions: whoever sorts by them always sees one of the two orders."""
        self.r.rpush("list", "a", "b")
        self.r.mset({"w_a": 1, "w_b": 2})
        done = threading.Event()

        def swap():
            other = self.server.redis()
            while not done.is_set():
                for a, b in ((2, 1), (1, 2)):
                    other.execute_command("MSET", "w_a", a, "w_b", b)
            other.close()
        thread = threading.Thread(target=swap)
        thread.start()
        seen = {tuple(self.r.sort("list", by="w_*", get=["#", "w_*"])) for _ in range(1000)}
        done.set()
        thread.join()
        self.assertEqual(seen, {(b"a", b"1", b"b", b"2"), (b"b", b"1", b"a", b"2")})

    def test_large_searches_are_those_of_python(self):
        r = random.Random(7)
        points = {b"m%d" % i: (r.uniform(-180, 180), math.degrees(math.asin(r.uniform(-0.99, 0.99)))) for i in range(40000)}
        self.push("GEOADD", "geo", [w for m, (x, y) in points.items() for w in (x, y, m)])
        for center, meters in (((10, 50), 3e6), ((-179.5, 10), 2e6), ((30, 84), 1.5e6), ((0.5, 0.5), 1.2e7)):
            near = {m: distance(center, p) for m, p in points.items()}
            wanted = sorted((m for m, d in near.items() if d <= meters), key=near.get)
            got = self.r.geosearch("geo", longitude=center[0], latitude=center[1], radius=meters, unit="m", sort="ASC")
            # A score holds a place within half a meter.
            self.assertEqual({m for m in got if near[m] < meters - 1}, {m for m in wanted if near[m] < meters - 1})
            self.assertLessEqual(max(near[m] for m in got), meters + 1)
            for a, b in zip(got, got[1:]):
                self.assertLessEqual(near[a], near[b] + 2)
            stored = self.r.geosearchstore("to", "geo", longitude=center[0], latitude=center[1], radius=meters, unit="m", storedist=True)
            self.assertEqual(stored, len(got))
            self.assertEqual(set(self.r.zrange("to", 0, -1)), set(got))
            self.assertAlmostEqual(self.r.zscore("to", got[0]), near[got[0]], delta=1)

    def test_a_destination_stands_behind_the_last_store_that_is_no_options_word(self):
        self.r.rpush("l", 2, 1)
        self.r.geoadd("g", (1, 2, "a"))
        self.r.response_callbacks.clear()
        radius = ("GEORADIUS", "g", 1, 2, 1, "km")
        for words, to in ((("SORT", "l", "BY", "store", "STORE", "dst"), "dst"), (("SORT", "l", "GET", "store", "STORE", "dst"), "dst"),
                          (("SORT", "l", "STORE", "a", "STORE", "b"), "b"), (("SORT", "l", "STORE", "store"), "store"),
                          (("SORT", "l", "STORE", "store", "STORE", "b"), "b"), ((*radius, "STORE", "a", "STORE", "b"), "b"),
                          ((*radius, "STORE", "storedist", "STOREDIST", "b"), "b"), ((*radius, "STOREDIST", "a", "STORE", "store"), "store")):
            self.assertGreater(self.r.execute_command(*words), 0, words)
            self.assertEqual(sorted(self.r.keys()), sorted([b"l", b"g", to.encode()]), words)
            self.r.delete(to)
        self.r.rpush("by", 2, 1)
        self.assertEqual(self.r.execute_command("SORT", "by", "STORE", "by"), 2)
        self.assertEqual(self.r.lrange("by", 0, -1), [b"1", b"2"])


if __name__ == "__main__":
    unittest.main()
