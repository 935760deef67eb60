"""Streams against the real server: through a stop and a kill, many entries at once, and what a group has read of a
stream that is trimmed and deleted from, as Redis documents it since 7.2 (7.0 counts wrongly there)."""
import unittest

from harness import Case


class Streams(Case):
    def setUp(self):
        self.r = self.server.redis()
        self.r.config_set("appendfsync", "always")
        self.r.flushall()

    def tearDown(self):
        self.r.close()

    def do(self, line):
        return self.r.execute_command(*line.split())

    def again(self, kill):
        self.r.close()
        if kill:
            self.server.restart()
        else:
            self.server.stop()
            self.server.start()
        self.r = self.server.redis()
        self.r.config_set("appendfsync", "always")  # which a start forgets

    def fill(self, key, n, begin=1):
        for at in range(begin, begin + n, 1000):
            p = self.r.pipeline(transaction=False)
            for i in range(at, min(at + 1000, begin + n)):
                p.xadd(key, {"number": i, "text": "value %d" % i}, id="%d-1" % i)
            p.execute()

    def seen(self, key):
        groups = [{k: v for k, v in g.items()} for g in self.r.xinfo_groups(key)]
        pending = {g["name"]: [(p["message_id"], p["consumer"], p["times_delivered"])
                               for p in self.r.xpending_range(key, g["name"], "-", "+", 100000)] for g in groups}
        info = self.r.xinfo_stream(key)
        return self.r.xrange(key), groups, pending, [info[k] for k in ("length", "last-generated-id", "entries-added", "max-deleted-entry-id")]

    def test_everything_survives_a_stop_and_a_kill(self):
        self.fill("s", 3000)
        self.do("XGROUP CREATE s g 0")
        self.do("XGROUP CREATE empty g $ MKSTREAM")
        for kill in (True, False, True):
            self.do("XREADGROUP GROUP g a COUNT 700 STREAMS s >")
            self.do("XREADGROUP GROUP g b COUNT 10 STREAMS s >")
            self.do("XCLAIM s g c 0 5-1 6-1 RETRYCOUNT 7")
            self.do("XACK s g 7-1 8-1")
            self.do("XDEL s 1500-1 9-1")
            self.do("XTRIM s MAXLEN 2990")
            before = self.seen("s")
            self.again(kill)
            self.assertEqual(self.seen("s"), before)
            self.assertEqual(self.do("XLEN empty"), 0)
            self.assertEqual(self.do("TYPE empty"), "stream" if isinstance(self.do("TYPE empty"), str) else b"stream")
            self.assertEqual([g["name"] for g in self.r.xinfo_groups("empty")], [b"g"])
        self.assertEqual(self.do("XTRIM s MAXLEN 0"), 2990)
        self.again(True)
        self.assertEqual(self.do("XLEN s"), 0)
        self.assertEqual(self.r.xinfo_stream("s")["entries-added"], 3000)
        self.assertEqual(self.do("EXISTS s empty"), 2)

    def test_many_entries_are_answered_in_parts_and_as_they_were(self):
        n = 50_000
        self.fill("s", n)
        self.do("XGROUP CREATE s g 0")
        self.assertEqual([int(i.split(b"-")[0]) for i, _ in self.r.xrange("s")], list(range(1, n + 1)))
        self.assertEqual([int(i.split(b"-")[0]) for i, _ in self.r.xrevrange("s", count=n - 1)], list(range(n, 1, -1)))
        self.assertEqual(len(self.r.xread({"s": "10-0"})[0][1]), n - 9)
        p = self.r.pipeline(transaction=False)
        p.xrange("s")
        p.xtrim("s", maxlen=0, approximate=False)
        p.xadd("s", {"a": 1})
        all_of_it, gone, _ = p.execute()
        self.assertEqual((len(all_of_it), gone), (n, n))
        self.do("DEL s")
        self.fill("s", n)
        self.do("XGROUP CREATE s g 0")
        self.assertEqual(len(self.do("XREADGROUP GROUP g c STREAMS s >")[0][1]), n)
        self.assertEqual(len(self.do("XREADGROUP GROUP g c STREAMS s 0")[0][1]), n)
        listed = self.r.xpending_range("s", "g", "-", "+", n)
        self.assertEqual((len(listed), {p["times_delivered"] for p in listed}), (n, {2}))
        self.assertEqual(self.do("COPY s copy"), 1)
        self.assertEqual(self.do("RENAME s other"), b"OK" if isinstance(self.do("PING"), bytes) else True)
        for key in ("copy", "other"):
            self.assertEqual(self.r.xpending(key, "g")["pending"], n)
            self.assertEqual(self.r.xlen(key), n)

    def test_counts_may_be_any_and_stop_no_server(self):
        self.do("XADD s 1-1 a b")
        self.do("XSETID s 1-1 ENTRIESADDED 9223372036854775807")
        self.do("XADD s 2-1 a b")
        self.do("XGROUP CREATE s g 0 ENTRIESREAD 9223372036854775806")
        self.do("XREADGROUP GROUP g c STREAMS s >")
        self.do("XGROUP CREATE s all 0 ENTRIESREAD 9223372036854775807")
        self.do("XREADGROUP GROUP all c COUNT 1 STREAMS s >")
        before = self.seen("s")
        self.assertEqual(before[3][2], -(1 << 63))  # as Redis counts
        self.again(True)
        self.assertEqual(self.seen("s"), before)

    def test_what_is_large_is_done_in_turns_and_whole(self):
        n = 104_000
        self.fill("s", n)
        for g in ("g", "h", "i"):
            self.do("XGROUP CREATE s %s 0" % g)
        for g, c, count in (("g", "a", 30_000), ("g", "b", 10), ("h", "a", 20_000), ("i", "a", 10)):
            self.do("XREADGROUP GROUP %s %s COUNT %d STREAMS s >" % (g, c, count))

        def pending(words):
            listed = self.r.execute_command("XPENDING", "s", "g", *words.split(), parse_detail=True)
            return [(p["message_id"], p["consumer"]) for p in listed]

        for words, want in (("- + 100000", 30_010), ("- + 100000 a", 30_000), ("29999 + 1000000", 12), ("- + 29000 a", 29_000),
                            ("(1-1 (30002-1 50000", 30_000), ("- + 100000 b", 10), ("- + 0", 0), ("- + 9000 none", 0)):
            got = pending(words)
            self.assertEqual(len(got), want, words)
            self.assertEqual([p[0] for p in got], sorted((p[0] for p in got), key=lambda i: int(i.split(b"-")[0])))
        self.assertEqual(pending("IDLE 100000000 - + 10"), [])
        self.do("XCLAIM s g b 0 29000-1 IDLE 200000000")
        self.assertEqual(pending("IDLE 100000000 - + 10"), [(b"29000-1", b"b")])
        self.assertEqual(self.do("XGROUP DELCONSUMER s g a"), 29_999)
        self.assertEqual(self.r.xpending("s", "g")["pending"], 11)
        self.assertEqual(self.do("XGROUP DESTROY s h"), 1)
        self.assertEqual(self.do("XGROUP DESTROY s h"), 0)
        before = self.seen("s")
        self.assertEqual([g["name"] for g in before[1]], [b"g", b"i"])
        self.again(True)
        self.assertEqual(self.seen("s"), before)
        self.do("XADD s MAXLEN 7 %d-1 a b" % (n + 1))
        self.assertEqual([i for i, _ in self.r.xrange("s")], [b"%d-1" % i for i in range(n - 5, n + 2)])
        self.assertEqual(self.r.xinfo_stream("s")["entries-added"], n + 1)

    def test_what_failed_in_a_transaction_changes_nothing(self):
        self.fill("s", 300)
        self.do("XGROUP CREATE s g 0")
        before = self.seen("s")
        p = self.r.pipeline(transaction=True)
        p.xreadgroup("g", "c", {"s": ">"}, count=100)
        p.xtrim("s", maxlen=10, approximate=False)
        p.xgroup_destroy("s", "g")
        p.execute_command("XADD", "s", "1-1", "a", "b")
        with self.assertRaisesRegex(Exception, "equal or smaller"):
            p.execute()
        self.assertEqual(self.r.xlen("s"), 10)  # as in Redis: what does not fail is done
        self.assertNotEqual(self.seen("s"), before)

    def group(self):
        g = self.r.xinfo_groups("s")[0]
        return g["entries-read"], g["lag"]

    def test_lag_is_as_documented(self):
        self.fill("s", 5)
        self.do("XGROUP CREATE s g 0")
        self.assertEqual(self.group(), (None, 5))
        self.do("XREADGROUP GROUP g c COUNT 1 STREAMS s >")
        self.assertEqual(self.group(), (1, 4))
        self.do("XDEL s 2-1")  # it was not delivered: what is left cannot be told from the counts
        self.assertEqual(self.group(), (1, None))
        self.do("XREADGROUP GROUP g c COUNT 1 STREAMS s >")
        self.do("XREADGROUP GROUP g c STREAMS s >")
        self.assertEqual(self.group(), (5, 0))
        self.do("XTRIM s MINID 3-1")
        self.fill("s", 1, 6)
        self.assertEqual(self.group(), (5, 1))
        self.do("XGROUP SETID s g 0")
        self.assertEqual(self.group(), (None, 4))  # all that is left is behind it
        self.do("XTRIM s MAXLEN 0")
        self.assertEqual(self.group(), (None, 0))

    def test_who_tries_is_a_consumer(self):
        self.do("XGROUP CREATE s g $ MKSTREAM")
        self.do("XREADGROUP GROUP g a STREAMS s >")
        self.do("XCLAIM s g b 0 1-1")
        self.do("XAUTOCLAIM s g c 0 0")
        consumers = self.r.xinfo_consumers("s", "g")
        self.assertEqual([(c["name"], c["pending"], c["inactive"]) for c in consumers],
                         [(b"a", 0, -1), (b"b", 0, -1), (b"c", 0, -1)])
        self.fill("s", 1)
        self.do("XREADGROUP GROUP g a STREAMS s >")
        self.assertGreaterEqual(self.r.xinfo_consumers("s", "g")[0]["inactive"], 0)


if __name__ == "__main__":
    unittest.main()
