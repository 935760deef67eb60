"""Sets over the Redis door: large ones, that change while they are read, and what outlives a kill."""
import random
import threading
import time
import unittest

from harness import Case


class Sets(Case):
    def setUp(self):
        self.r = self.server.redis()
        self.r.flushall()

    def tearDown(self):
        self.r.close()

    def fill(self, key, members):
        members = list(members)
        for i in range(0, len(members), 5000):
            self.r.sadd(key, *members[i:i + 5000])

    def test_algebra_of_large_sets_is_that_of_pythons(self):
        r = random.Random(3)
        for n in (30, 4000, 60000):
            models = {}
            for key, share in (("a", 1), ("b", 0.7), ("c", 0.1)):
                models[key] = {b"member%d" % r.randrange(2 * n) for _ in range(int(n * share))}
                self.r.delete(key)
                self.fill(key, models[key])
            models["ints"] = {b"%d" % i for i in range(300)}
            self.r.delete("ints")
            self.fill("ints", models["ints"])
            models["none"] = set()
            for _ in range(12):
                keys = [r.choice(list(models)) for _ in range(r.choice([1, 2, 3, 4]))]
                sets = [models[k] for k in keys]
                for name, wanted in (("inter", set.intersection(*sets)), ("union", set.union(*sets)),
                                     ("diff", sets[0].difference(*sets[1:]))):
                    self.assertEqual(getattr(self.r, "s" + name)(keys), wanted, (name, keys))
                    stored = self.r.execute_command("s%sstore" % name, "to", *keys)
                    self.assertEqual((stored, self.r.smembers("to")), (len(wanted), wanted), (name, keys))
                    self.assertEqual(self.r.exists("to"), int(bool(wanted)))
                common = len(set.intersection(*sets))
                self.assertEqual(self.r.sintercard(len(keys), keys), common)
                self.assertEqual(self.r.sintercard(len(keys), keys, 7), min(7, common))
            self.r.set("to", "a string")
            self.r.sunionstore("to", "a", "b")
            self.assertEqual(self.r.smembers("to"), models["a"] | models["b"])
            with self.r.pipeline(transaction=True) as tx:  # there it is done at once
                tx.sunionstore("a", "a", "b")
                tx.sinterstore("c", "a", "c")
                tx.scard("a")
                self.assertEqual(tx.execute()[2], len(models["a"] | models["b"]))

    def test_large_algebra_sees_one_moment(self):
        """Members move from one set to the other all the time, in transactions: their union is always whole."""
        n = 30000
        everything = {b"member%d" % i for i in range(n)}
        self.fill("a", everything)
        self.r.sadd("b", "other")
        stop = threading.Event()

        def move():
            r, rng = self.server.redis(), random.Random(5)
            while not stop.is_set():
                with r.pipeline(transaction=True) as tx:
                    for i in rng.sample(range(n), 100):
                        tx.smove("a", "b", "member%d" % i)
                        tx.smove("b", "a", "member%d" % rng.randrange(n))
                    tx.execute()
                r.rename("a", "c")
                r.rename("c", "a")
            r.close()

        moving = threading.Thread(target=move)
        moving.start()
        try:
            for _ in range(20):
                while not self.r.exists("a"):
                    pass
                union = self.r.sunion("a", "b")
                if len(union) < n // 2:
                    continue  # it had its other name
                self.assertEqual(union, everything | {b"other"})
                self.r.sinterstore("to", "a", "b")
                self.assertEqual(self.r.scard("to"), 0)
        finally:
            stop.set()
            moving.join()
        self.assertEqual(self.r.sunion("a", "b"), everything | {b"other"})

    def test_what_is_stored_into_an_input_keeps_what_others_put_there_meanwhile(self):
        """Adds to the destination all the time: whichever comes first, the member is there afterwards."""
        stop, added = threading.Event(), []

        def add():
            r = self.server.redis()
            while not stop.is_set():
                member = b"new%d" % len(added)
                r.execute_command(*adding, member)
                added.append(member)
                time.sleep(0.005)
            r.close()

        for n in (12000, 60000):
            self.r.flushall()
            self.fill("s", range(n))
            self.fill("t", range(n // 2, n + n // 2))
            self.r.zunionstore("z", ["s"])
            for adding, of in ((("SADD", "s"), "SMISMEMBER"), (("ZADD", "z", 5), "ZMSCORE")):
                key, kind = adding[1], adding[0][0]
                union, inter, diff = (kind + word for word in ("UNIONSTORE", "INTERSTORE", "DIFFSTORE"))
                count = (2,) if kind == "Z" else ()
                for words in ((union, key, *count, key, "t"), (inter, key, *count, key, key), (diff, key, *count, key, "none")):
                    stop.clear()
                    added.clear()
                    adder = threading.Thread(target=add)
                    adder.start()
                    try:
                        made = self.r.execute_command(*words)
                    finally:
                        stop.set()
                        adder.join()
                    self.assertGreaterEqual(made, n, words)
                    there = self.r.execute_command(of, key, *added) if added else []
                    self.assertEqual([m for m, x in zip(added, there) if x in (None, 0)], [], words)

    def test_spop_takes_each_member_once(self):
        for n in (50, 5000, 60000):
            everything = {b"member%d" % i for i in range(n)}
            self.fill("s", everything)
            taken = []
            for count in (1, n // 3, n // 10):
                taken += self.r.spop("s", count)
                self.assertEqual(self.r.scard("s"), n - len(taken))
            taken.append(self.r.spop("s"))
            chosen = self.r.srandmember("s", n // 4)
            self.assertEqual(len(set(chosen)), n // 4)
            self.assertLessEqual(set(chosen), everything - set(taken))
            self.assertEqual(len(self.r.srandmember("s", -n)), n)
            rest = self.r.spop("s", 10 * n)
            self.assertEqual(len(taken) + len(rest), n)
            self.assertEqual(set(taken) | set(rest), everything)
            self.assertFalse(self.r.exists("s"))

    def test_large_sets_are_drawn_from_again_and_again(self):
        n = 50000
        everything = {b"member%d" % i for i in range(n)}
        self.fill("s", everything)
        drawn = self.r.srandmember("s", -200000)
        self.assertEqual(len(drawn), 200000)
        self.assertLessEqual(set(drawn), everything)
        self.assertGreater(len(set(drawn)), 0.95 * n)  # of all 0.98 are expected
        with self.r.pipeline(transaction=True) as tx:  # it is gone before it is answered
            tx.srandmember("s", -20000)
            tx.delete("s")
            drawn = tx.execute()[0]
        self.assertEqual(len(drawn), 20000)
        self.assertLessEqual(set(drawn), everything)

    def test_several_who_pop_much_share_the_members(self):
        n = 50000
        everything = {b"member%d" % i for i in range(n)}
        self.fill("s", everything)
        parts = [None] * 3

        def pop(i):
            with self.server.redis() as r:
                parts[i] = r.spop("s", 20000)
        threads = [threading.Thread(target=pop, args=(i,)) for i in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(sum(map(len, parts)), n)
        self.assertEqual(set().union(*parts), everything)
        self.assertFalse(self.r.exists("s"))

    def test_members_survive_kill(self):
        self.r.config_set("appendfsync", "always")
        everything = {b"member%d" % i for i in range(40000)}
        self.fill("large", everything)
        self.fill("words", {b"a", b"b", b"c" * 100})
        self.fill("integers", range(-100, 40000, 1000))
        popped = set(self.r.spop("large", 15000)) | {self.r.spop("large")}
        self.r.srem("words", "b")
        self.r.sunionstore("stored", "large", "integers")
        self.r.sunionstore("integers", "integers", "words")
        self.r.smove("words", "moved", "a")
        self.r.rename("large", "renamed")
        self.r.copy("renamed", "copied")
        expected = {k: self.r.smembers(k) for k in ("renamed", "copied", "stored", "integers", "words", "moved")}
        self.assertEqual(expected["renamed"], everything - popped)
        self.assertEqual(expected["stored"], expected["renamed"] | {b"%d" % i for i in range(-100, 40000, 1000)})
        self.server.restart()
        r = self.server.redis()
        for key, members in expected.items():
            self.assertEqual(r.smembers(key), members, key)
            self.assertEqual(set(r.sscan_iter(key, count=100)), members, key)
        self.assertEqual(r.type("renamed"), b"set")
        self.assertEqual(sorted(k for k in r.scan_iter(_type="set")), sorted(k.encode() for k in expected))
        r.close()
        self.r = self.server.redis()

    def test_others_have_their_turn_while_large_sets_are_worked_on(self):
        n = 200_000
        self.fill("a", (b"one:%d" % i for i in range(n)))
        self.fill("b", (b"%s:%d" % (b"one" if i % 2 else b"two", i) for i in range(n)))
        done = threading.Event()

        def work():
            with self.server.redis() as r:
                for _ in range(3):
                    r.sunionstore("to", "a", "b")
                    r.sinterstore("to", "a", "b")
                    r.sdiffstore("to", "a", "b")
            done.set()
        worker = threading.Thread(target=work)
        worker.start()
        others = 0
        while not done.is_set():
            self.r.get("k")
            others += 1
        worker.join()
        self.assertEqual(self.r.scard("to"), n // 2)
        self.assertGreater(others, 9 * 4)  # in one go there would be one beside each of the nine

    def test_encodings_and_their_parameters(self):
        self.r.sadd("ints", 1, 2, 3)
        self.r.sadd("words", "a", 1)
        self.r.sadd("large", "x" * 65)
        self.assertEqual([self.r.object("encoding", k) for k in ("ints", "words", "large")],
                         [b"intset", b"listpack", b"hashtable"])
        self.assertEqual(self.r.config_get("set-max-*"), {
            "set-max-intset-entries": "512", "set-max-listpack-entries": "128", "set-max-listpack-value": "64"})
        self.assertEqual(self.r.sadd("ints", "x" * 65536), 1)
        self.assertEqual(self.r.object("encoding", "ints"), b"hashtable")


if __name__ == "__main__":
    unittest.main()
