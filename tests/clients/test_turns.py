"""Lists, sets and sorted sets that are too large for one turn, while others change them."""
import threading
import unittest

import redis

from harness import Case


class Turns(Case):
    def setUp(self):
        self.r = self.server.redis()
        self.r.flushall()

    def tearDown(self):
        self.r.close()

    def fill_list(self, key, elements):
        for i in range(0, len(elements), 2000):
            self.r.rpush(key, *elements[i:i + 2000])

    def fill_zset(self, key, scores):
        items = list(scores.items())
        for i in range(0, len(items), 2000):
            self.r.zadd(key, dict(items[i:i + 2000]))

    def beside(self, work):
        """Runs it in a thread of its own; returns what ends it."""
        failures = []

        def run():
            with self.server.redis() as r:
                try:
                    work(r)
                except Exception as e:
                    failures.append(e)
        thread = threading.Thread(target=run)
        thread.start()

        def end():
            thread.join()
            self.assertEqual(failures, [])
        end.running = thread.is_alive
        return end

    def test_what_is_added_while_a_set_is_stored_over_itself_stays(self):
        """What came between the look at the sets and the commit was lost."""
        n = 40000
        members = [b"member%d" % i for i in range(n)]
        for i in range(0, n, 5000):
            self.r.sadd("a", *members[i:i + 5000])
        self.r.sadd("b", *members[:100])
        self.fill_zset("za", {m: i for i, m in enumerate(members)})
        self.r.zadd("zb", {"m": 1})

        def work(r):
            for _ in range(5):
                r.sunionstore("a", "a", "b")
                r.zunionstore("za", ["za", "zb"])
                r.zrangestore("za", "za", 0, -1)
        end = self.beside(work)
        added = 0
        while end.running():
            self.r.sadd("a", "added%d" % added)
            self.r.zadd("za", {"added%d" % added: added})
            added += 1
        end()
        self.assertEqual(self.r.scard("a"), n + added)
        self.assertEqual(self.r.zcard("za"), n + added + 1)

    def test_much_that_is_stored_is_stored_in_order(self):
        scores = {b"member%06d" % i: float(i % 1000) for i in range(30000)}
        self.fill_zset("z", scores)
        order = sorted(scores, key=lambda m: (scores[m], m))
        self.r.set("to", "a string")
        for first, last, options in ((0, -1, {}), (100, 20000, {}), (100, 20000, {"desc": True})):
            wanted = (order[::-1] if options else order)[first:None if last == -1 else last + 1]
            self.assertEqual(self.r.zrangestore("to", "z", first, last, **options), len(wanted))
            self.assertEqual(self.r.zrange("to", 0, -1), wanted[::-1] if options else wanted)
        self.assertEqual(self.r.zrangestore("to", "z", 1, 998, byscore=True), 30 * 998)
        self.assertEqual(self.r.zunionstore("to", ["z", "z"]), 30000)
        self.assertEqual(self.r.zrange("to", 0, -1), order)
        self.assertEqual(self.r.zscore("to", order[-1]), 2 * scores[order[-1]])
        self.assertEqual(self.r.zrangestore("to", "z", 1, 0), 0)
        self.assertFalse(self.r.exists("to"))
        self.r.config_set("appendfsync", "always")
        self.r.zunionstore("to", ["z"])
        self.server.restart()
        self.r = self.server.redis()
        self.assertEqual(self.r.zrange("to", 0, -1), order)

    def test_much_is_removed_and_popped_of_sorted_sets(self):
        scores = {b"member%06d" % i: float(i % 1000) for i in range(60000)}
        order = sorted(scores, key=lambda m: (scores[m], m))

        def begin():
            self.r.delete("z")
            self.fill_zset("z", scores)
        begin()
        self.assertEqual(self.r.zremrangebyrank("z", 5, 40000), 39996)
        self.assertEqual(self.r.zrange("z", 0, -1), order[:5] + order[40001:])
        begin()
        self.assertEqual(self.r.zremrangebyscore("z", "(10", "700"), 690 * 60)
        self.assertEqual(self.r.zrange("z", 0, -1), order[:11 * 60] + order[701 * 60:])
        begin()
        popped = self.r.zpopmin("z", 30000)
        self.assertEqual(popped, [(m, scores[m]) for m in order[:30000]])
        popped = self.r.zpopmax("z", 20000)
        self.assertEqual(popped, [(m, scores[m]) for m in order[:39999:-1]])
        key, popped = self.r.execute_command("ZMPOP", 2, "none", "z", "MAX", "COUNT", 10**9)
        self.assertEqual([m for m, _ in popped], order[39999:29999:-1])
        self.assertFalse(self.r.exists("z"))
        begin()
        key, popped = self.r.execute_command("ZMPOP", 2, "none", "z", "MIN", "COUNT", 50000)
        self.assertEqual((key, [m for m, _ in popped]), (b"z", order[:50000]))
        with self.r.pipeline(transaction=True) as tx:  # there it is one moment
            tx.zremrangebyrank("z", 0, 9989)
            tx.zcard("z")
            self.assertEqual(tx.execute(), [9990, 10])

    def test_several_who_pop_much_share_it(self):
        n = 60000
        elements = [b"%d:" % i + b"." * 60 for i in range(n)]
        self.fill_list("l", elements)
        self.fill_zset("z", {e: i for i, e in enumerate(elements)})
        parts = {}

        def pop(i):
            def work(r):
                parts["z", i] = [m for m, _ in (r.zpopmax if i else r.zpopmin)("z", 40000)]
                parts["l", i] = (r.rpop if i else r.lpop)("l", 40000)
            return work
        ends = [self.beside(pop(i)) for i in range(2)]
        for end in ends:
            end()
        for key in "lz":
            self.assertEqual(sorted(parts[key, 0] + parts[key, 1]), sorted(elements), key)
            self.assertFalse(self.r.exists(key))

    def test_much_is_taken_off_lists(self):
        elements = [b"%d:" % i + b"." * 60 for i in range(100000)]
        for start, stop in ((0, 9), (-10, -1), (90000, -5), (50000, 50010), (-99990, 5000), (40000, 60000), (10, 5)):
            self.r.delete("l")
            self.fill_list("l", elements)
            self.r.ltrim("l", start, stop)
            wanted = elements[start:] if stop == -1 else elements[start:stop + 1]
            self.assertEqual(self.r.lrange("l", 0, -1), wanted, (start, stop))
        self.fill_list("l", elements)
        self.assertEqual(self.r.lpop("l", 50000), elements[:50000])
        self.assertEqual(self.r.rpop("l", 40000), elements[:59999:-1])
        key, popped = self.r.execute_command("LMPOP", 2, "none", "l", "LEFT", "COUNT", 10**9)
        self.assertEqual((key, popped), (b"l", elements[50000:60000]))
        self.assertFalse(self.r.exists("l"))
        self.fill_list("l", elements)
        self.assertEqual(self.r.rpop("l", 10**9), elements[::-1])
        self.assertFalse(self.r.exists("l"))

    def test_what_is_pushed_while_a_list_is_trimmed_is_where_it_belongs(self):
        """As if all that others did had been done before."""
        elements = [b"%d:" % i + b"." * 60 for i in range(60000)]
        for left in (True, False):
            self.r.delete("l")
            self.fill_list("l", elements)
            end = self.beside(lambda r: r.ltrim("l", *((20, 29) if left else (-30, -21))))
            pushed = []
            while end.running():
                pushed.append(b"new%d" % len(pushed))
                (self.r.lpush if left else self.r.rpush)("l", pushed[-1])
            end()
            rest = self.r.lrange("l", 0, -1)
            if not left:
                elements, rest = elements[::-1], rest[::-1]
            whole = pushed[::-1] + elements
            after = len(rest) - 10  # pushed since the last turn
            self.assertEqual(rest[:after], whole[:after])
            self.assertEqual(rest[after:], whole[after + 20:after + 30])

    def test_stores_end_though_somebody_writes_the_destination(self):
        """They began again as long as he did."""
        n = 60000
        self.fill_list("list", [b"%d" % (i * 7919 % n) for i in range(n)])
        places = [w for i in range(n) for w in (i / n * 20, i / n * 10, b"m%d" % i)]
        for i in range(0, len(places), 6000):
            self.r.execute_command("GEOADD", "geo", *places[i:i + 6000])
        self.fill_zset("zset", {b"m%d" % i: i for i in range(n)})
        stop = threading.Event()

        def write(r):
            while not stop.is_set():
                r.set("to", "x")
        end = self.beside(write)
        try:
            with self.server.redis(socket_timeout=60) as r:
                self.assertEqual(r.sort("list", store="to"), n)
                self.assertEqual(r.sort("list", by="none_*", store="to"), n)
                self.assertEqual(r.geosearchstore("to", "geo", longitude=10, latitude=5, radius=3000, unit="km"), n)
                self.assertEqual(r.georadius("geo", 10, 5, 3000, "km", store="to"), n)
                self.assertEqual(r.zunionstore("to", ["zset"]), n)
                self.assertEqual(r.zrangestore("to", "zset", 0, -1), n)
        finally:
            stop.set()
            end()
        self.r.sort("list", store="to")
        self.assertEqual(self.r.lrange("to", 0, -1), [b"%d" % i for i in range(n)])

    def test_few_but_large_members_are_stored(self):
        """They are more than the log takes as one record."""
        n = 1200
        members = [b"%d:" % i + b"x" * 60000 for i in range(n)]
        for i in range(0, n, 50):
            part = members[i:i + 50]
            self.r.execute_command("GEOADD", "geo", *[w for m in part for w in (10, 5, m)])
            self.r.sadd("set", *part)
        self.assertEqual(self.r.zunionstore("to", ["geo", "set"]), n)
        self.assertEqual(self.r.zrangestore("to", "geo", 0, -1), n)
        self.assertEqual(self.r.zcard("to"), n)
        self.assertEqual(self.r.geosearchstore("to", "geo", longitude=10, latitude=5, radius=1, unit="km"), n)
        self.assertEqual(self.r.zscore("to", members[5]), self.r.zscore("geo", members[5]))
        self.assertEqual(self.r.sunionstore("to", "set"), n)
        self.assertEqual(self.r.sunionstore("to", "set", "none"), n)
        self.assertEqual(set(self.r.smembers("to")), set(members))

    def test_others_have_their_turn_while_places_are_stored(self):
        n = 200000
        places = [w for i in range(n) for w in (i / n * 20, i / n * 10, b"m%d" % i)]
        for i in range(0, len(places), 6000):
            self.r.execute_command("GEOADD", "geo", *places[i:i + 6000])

        def work(r):
            for _ in range(2):
                r.geosearchstore("to", "geo", longitude=10, latitude=5, radius=3000, unit="km")
        end = self.beside(work)
        others = 0
        while end.running():
            self.r.get("to2")
            others += 1
        end()
        self.assertEqual(self.r.zcard("to"), n)
        self.assertGreater(others, 2 * 4)  # in one go there would be one beside each of the two

    def test_words_that_are_too_long_for_a_member_are_none(self):
        long = b"x" * 70000
        self.r.zadd("z", {"a": 1})
        self.r.geoadd("g", (1, 2, "a"))
        self.r.hset("h", "f", "v")
        self.r.rpush("l", 2, 1)
        for words, wanted in (
                (("ZSCORE", "z", long), None), (("ZMSCORE", "z", "a", long), [b"1", None]),
                (("ZRANK", "z", long), None), (("ZREVRANK", "z", long), None), (("ZREM", "z", long), 0),
                (("GEOPOS", "g", long), [None]), (("GEODIST", "g", "a", long), None), (("GEOHASH", "g", long), [None]),
                (("ZLEXCOUNT", "z", "[" + "x" * 70000, "+"), 0),
                (("ZRANGEBYLEX", "z", "-", b"[" + long), [b"a"]), (("ZREVRANGEBYLEX", "z", "+", b"[" + long), []),
                (("ZRANGE", "z", b"[" + long, "+", "BYLEX"), []), (("ZREMRANGEBYLEX", "z", b"(" + long, "+"), 0),
                (("HGET", "h", long), None), (("HMGET", "h", "f", long), [b"v", None]), (("HEXISTS", "h", long), 0),
                (("HSTRLEN", "h", long), 0), (("HDEL", "h", long), 0),
                (("SORT", "l", "BY", long + b"*"), [b"1", b"2"]), (("SORT", "l", "GET", long + b"*"), [None, None]),
                (("SORT_RO", "l", "GET", "h->" + "x" * 70000), [None, None])):
            with self.server.redis() as r:
                r.response_callbacks.clear()
                self.assertEqual(r.execute_command(*words), wanted, words[:2])
        for words in (("GEORADIUSBYMEMBER", "g", long, 1, "km"), ("GEOSEARCH", "g", "FROMMEMBER", long, "BYRADIUS", 1, "km")):
            with self.assertRaisesRegex(redis.ResponseError, "could not decode requested zset member"):
                self.r.execute_command(*words)

    def test_what_a_pop_of_all_members_is_called(self):
        self.r.config_set("notify-keyspace-events", "KA")
        self.addCleanup(lambda: self.server.redis().config_set("notify-keyspace-events", ""))
        listener = self.r.pubsub(ignore_subscribe_messages=True)
        listener.psubscribe("__keyspace@0__:z")
        while listener.get_message(timeout=1) is not None:
            pass
        told = []
        for words in (("ZMPOP", 1, "z", "MIN", "COUNT", 5), ("ZMPOP", 1, "z", "MAX", "COUNT", 5), ("ZPOPMAX", "z", 5)):
            self.r.zadd("z", {"a": 1, "b": 2})
            self.r.execute_command(*words)
        while len(told) < 9:
            message = listener.get_message(timeout=5)
            self.assertIsNotNone(message, told)
            told.append(message["data"].decode())
        listener.close()
        self.assertEqual(told, ["zadd", "zpopmin", "del", "zadd", "zpopmax", "del", "zadd", "zpopmax", "del"])


if __name__ == "__main__":
    unittest.main()
