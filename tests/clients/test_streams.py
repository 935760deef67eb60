"""Streams against the real server: through a stop and a kill, many entries at once, and what a group has read of a
stream that is trimmed and deleted from, as Redis documents it since 7.2 (7.0 counts wrongly there)."""
import random
import threading
import unittest

import redis

from harness import Case, run_histories
from test_pubsub import Client
from test_resp import Both


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

    def listener(self):
        p = self.server.redis().pubsub()
        p.psubscribe("__keyevent@0__:*")
        p.get_message(timeout=10)
        return p

    def told(self, listener):
        """The names of the events until now."""
        self.r.publish("__keyevent@0__:end", "")
        names = []
        while True:
            message = listener.get_message(timeout=10)
            names.append(message["channel"].rpartition(b":")[2])
            if names[-1] == b"end":
                return names[:-1]

    def at_once(self, *lines):
        """The answers to these, each of a client of its own; errors as values."""
        clients = [self.server.redis() for _ in lines]
        connections = [c.connection_pool.get_connection("") for c in clients]
        for c in connections:
            c.connect()
        for c, line in zip(connections, lines):
            c.send_command(*line.split())
        out = []
        for c in connections:
            try:
                out.append(c.read_response())
            except Exception as e:
                out.append(e)
        for c in connections:
            c.disconnect()
        return out

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

    def test_the_last_id_is_never_below_one_that_was_deleted(self):
        """Groups that were there would have counted entries twice; Redis refuses it since 7.2."""
        for i in (1, 2, 3):
            self.do("XADD s 1-%d a b" % i)
        self.do("XDEL s 1-2 1-3")
        with self.assertRaisesRegex(redis.ResponseError, "smaller than current max_deleted_entry_id"):
            self.do("XSETID s 1-2")
        self.do("XSETID s 1-3")
        self.do("XSETID s 1-7 ENTRIESADDED 3 MAXDELETEDID 1-5")

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
        self.r.config_set("notify-keyspace-events", "Et")
        listener = self.listener()
        self.do("XADD s MAXLEN 7 %d-1 a b" % (n + 1))
        self.assertEqual(self.told(listener), [b"xadd", b"xtrim"])
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

    def test_a_stream_that_goes_while_its_command_is_in_turns(self):
        """What is told is what was done, and what was done is answered."""
        n = 30_000
        self.fill("s", n)
        self.r.config_set("notify-keyspace-events", "Et")
        listener, destroyed, deleted, late = self.listener(), 0, 0, 0
        for _ in range(12):
            self.do("XGROUP CREATE s g 0")
            self.do("XREADGROUP GROUP g a COUNT %d STREAMS s >" % n)
            answer, _ = self.at_once("XGROUP DESTROY s g", "RENAME s other")
            destroyed += answer == 1
            late += isinstance(answer, Exception)
            self.do("RENAME other s")
            self.do("XGROUP DESTROY s g")
            destroyed += answer != 1
            self.do("XGROUP CREATE s g 0")
            self.do("XREADGROUP GROUP g a COUNT %d STREAMS s >" % n)
            answer, _ = self.at_once("XINFO STREAM s FULL COUNT 0", "RENAME s other")
            late += isinstance(answer, Exception)
            if isinstance(answer, Exception):
                self.assertEqual(str(answer), "no such key")
            self.do("RENAME other s")
            answer, _ = self.at_once("XGROUP DELCONSUMER s g a", "RENAME s other")
            late += isinstance(answer, Exception)
            left = self.r.xpending("other", "g")["pending"]
            self.assertEqual((0 if isinstance(answer, Exception) else answer) + left, n)
            deleted += left == 0 and answer == n
            self.do("RENAME other s")
            self.do("XGROUP DESTROY s g")
            destroyed += 1
        told = self.told(listener)
        self.assertEqual(told.count(b"xgroup-destroy"), destroyed)
        # A consumer of whom nothing is left when the key goes may be there still, or not.
        self.assertLessEqual(told.count(b"xgroup-delconsumer"), deleted)
        print("gone in the midst: %d of 36" % late)

    def test_several_streams_are_read_in_turns(self):
        n = 40_000
        for key in ("s", "t"):
            self.fill(key, n)
            self.do("XGROUP CREATE %s g 0" % key)
        self.do("XGROUP CREATE u g $ MKSTREAM")
        partly, other, reader = False, self.server.redis(), self.server.redis().connection_pool.get_connection("")
        for _ in range(20):
            reader.send_command(*"XREADGROUP GROUP g c STREAMS s u t > > >".split())
            last = 0
            while last < n:  # the answer is read only then: reading it would slow who looks
                first, last = (other.xpending(key, "g")["pending"] for key in ("s", "t"))
                partly |= first > 0 and last < n
            answer = reader.read_response()
            self.assertEqual([(key, len(entries)) for key, entries in answer], [(b"s", n), (b"t", n)])
            self.assertEqual([i for i, _ in answer[1][1]], [b"%d-1" % i for i in range(1, n + 1)])
            self.assertEqual([c["name"] for c in other.xinfo_consumers("u", "g")], [b"c"])
            if partly:
                break
            for key in ("s", "t"):
                self.do("XGROUP DESTROY %s g" % key)
                self.do("XGROUP CREATE %s g 0" % key)
        self.assertTrue(partly)  # others had their turns between
        history = self.do("XREADGROUP GROUP g c COUNT 30000 STREAMS s u t 0 0 5")
        self.assertEqual([(key, len(entries)) for key, entries in history], [(b"s", 30_000), (b"u", 0), (b"t", 30_000)])
        self.assertIsNone(self.do("XREADGROUP GROUP g c STREAMS s u t > > >") or None)
        with self.assertRaisesRegex(Exception, "NOGROUP"):
            self.do("XREADGROUP GROUP g c STREAMS s none 0 0")
        reader.disconnect()
        other.close()

    def test_many_streams_with_nothing_new_are_waited_for(self):
        n = 5000
        p = self.r.pipeline(transaction=False)
        for i in range(n):
            p.xadd("s%d" % i, {"a": 1})
            p.xgroup_create("s%d" % i, "g", "$")
        p.execute()
        words = ["s%d" % i for i in range(n)] + [">"] * n
        self.assertIsNone(self.r.execute_command("XREADGROUP", "GROUP", "g", "c", "BLOCK", "10", "STREAMS", *words) or None)
        self.assertEqual([c["name"] for c in self.r.xinfo_consumers("s4999", "g")], [b"c"])

    def test_who_comes_too_late_is_a_consumer_too(self):
        self.fill("s", 5000)
        for _ in range(20):
            self.do("XGROUP CREATE s g 0")
            names = [b"c%d" % i for i in range(8)]
            answers = self.at_once(*("XREADGROUP GROUP g c%d STREAMS s >" % i for i in range(8)))
            self.assertEqual(sum(len(a[0][1]) for a in answers if a), 5000)
            self.assertEqual([c["name"] for c in self.r.xinfo_consumers("s", "g")], names)
            self.do("XGROUP DESTROY s g")

    def test_a_transaction_does_not_copy_what_is_too_large(self):
        for at in range(0, 1300, 100):
            p = self.r.pipeline(transaction=False)
            for i in range(at, at + 100):
                p.xadd("s", {"text": b"x" * 60_000}, id="%d-1" % (i + 1))
            p.execute()
        before = self.r.xinfo_stream("s")
        ids = ["%d-1" % (i + 1) for i in range(1300)]
        for words in (("XTRIM", "s", "MAXLEN", "0"), ("XADD", "s", "MAXLEN", "1", "*", "a", "b"), ["XDEL", "s"] + ids):
            p = self.r.pipeline(transaction=True)
            p.execute_command(*words)
            with self.assertRaisesRegex(Exception, "too many entries"):
                p.execute()
            self.assertEqual(self.r.xinfo_stream("s"), before)
        p = self.r.pipeline(transaction=True)
        p.execute_command("XTRIM", "s", "MAXLEN", "1000")
        self.assertEqual(p.execute(), [300])
        self.assertEqual(self.do("XTRIM s MAXLEN 0"), 1000)

    def test_names_of_options_may_be_those_of_groups_and_consumers(self):
        self.fill("s", 3)
        for group, consumer in (("STREAMS", "c"), ("g", "streams"), ("STREAMS", "STREAMS"), ("COUNT", "BLOCK"), ("group", "count")):
            self.do("XGROUP CREATE s %s 0" % group)
            for before in ("", "COUNT 1 ", "NOACK ", "COUNT 1 NOACK "):
                line = "XREADGROUP %sGROUP %s %s STREAMS s 0" % (before, group, consumer)
                self.assertEqual(self.do(line), [[b"s", []]], line)
                self.assertEqual(self.r.command_getkeys(*line.split()), ["s"], line)
            self.assertEqual(len(self.do("XREADGROUP GROUP %s %s COUNT 2 STREAMS s >" % (group, consumer))[0][1]), 2)
            self.do("XGROUP DESTROY s %s" % group)

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


class Seen(Both):
    """What groups and consumers do to a stream is no change of it for who watches or caches it, as in redis-server."""

    @staticmethod
    def words(r):
        some = lambda: r.choice([b"1-1", b"2-1", b"3-1", b"9-9"])
        return r.choice([
            lambda: [b"XADD", b"s", b"*", b"f", b"v"], lambda: [b"XDEL", b"s", some()], lambda: [b"XTRIM", b"s", b"MAXLEN", b"%d" % r.randrange(9)],
            lambda: [b"XSETID", b"s", b"9999999999999-1"], lambda: [b"XGROUP", b"CREATE", r.choice([b"s", b"t"]), b"h", b"$", b"MKSTREAM"],
            lambda: [b"XGROUP", b"SETID", b"s", b"g", r.choice([b"0", b"$"])], lambda: [b"XGROUP", b"DESTROY", b"s", b"h"],
            lambda: [b"XGROUP", b"CREATECONSUMER", b"s", b"g", b"d"], lambda: [b"XGROUP", b"DELCONSUMER", b"s", b"g", r.choice([b"c", b"d"])],
            lambda: [b"XREADGROUP", b"GROUP", b"g", r.choice([b"c", b"d"]), b"COUNT", b"1"] + r.choice([[], [b"NOACK"]]) + [b"STREAMS", b"s", b">"],
            lambda: [b"XREADGROUP", b"GROUP", b"g", r.choice([b"c", b"d"]), b"STREAMS", b"s", b"0"], lambda: [b"XACK", b"s", b"g", some()],
            lambda: [b"XCLAIM", b"s", b"g", r.choice([b"c", b"d"]), b"0", some()], lambda: [b"XAUTOCLAIM", b"s", b"g", b"d", b"0", b"0"]])()

    def history(self, seed):
        r, sides = random.Random(seed), [(Client(port), Client(port)) for port in (self.server.resp, self.peer.port)]
        for a, b in sides:
            b.ask(b"FLUSHALL")
            a.ask(b"HELLO", b"3")
            a.ask(b"CLIENT", b"TRACKING", b"ON", b"BCAST")
            for i in (1, 2, 3):
                b.ask(b"XADD", b"s", b"%d-1" % i, b"f", b"v")
            b.ask(b"XGROUP", b"CREATE", b"s", b"g", b"0")
        said = []
        for step in range(60):
            said.append([self.words(r) for _ in range(r.choice([1, 1, 2]))])
            told = []
            for a, b in sides:
                for words in ([b"WATCH", b"s"], [b"ECHO", b"from here"]):
                    a.socket.sendall(b"".join([b"*%d\r\n" % len(words)] + [b"$%d\r\n%s\r\n" % (len(w), w) for w in words]))
                while a.value() != b"from here":
                    pass
                if len(said[-1]) > 1:
                    b.ask(b"MULTI")
                for words in said[-1]:
                    b.ask(*words)
                if len(said[-1]) > 1:
                    b.ask(b"EXEC")
                a.socket.sendall(b"*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nEXEC\r\n*2\r\n$4\r\nECHO\r\n$3\r\nend\r\n")
                b.ask(b"SET", b"fence", b"")
                answers, keys = [], set()
                while b"end" not in answers or b"fence" not in keys:
                    value = a.value()
                    if isinstance(value, list) and value[:1] == [b"invalidate"]:
                        keys.update(value[1])
                    else:
                        answers.append(value)
                told.append((answers, keys))
            self.assertEqual(told[0], told[1], "seed %d step %d: %r" % (seed, step, said[-3:]))
        for c in sum(sides, ()):
            c.close()

    def test_as_many_are_claimed_as_count_says(self):
        """However many: what is pending, and is claimed, is the same as in redis-server."""
        n, r = 20_000, random.Random(3)
        sides = [Client(port) for port in (self.server.resp, self.peer.port)]
        gone = r.sample(range(1, n + 1), n // 10)
        for c in sides:
            c.ask(b"FLUSHALL")
            for i in range(1, n + 1, 1000):
                c.ask(b"EVAL", b"for i = %d, %d do redis.call('XADD', KEYS[1], i .. '-1', 'f', i) end" % (i, i + 999), b"1", b"s")
            c.ask(b"XGROUP", b"CREATE", b"s", b"g", b"0")
            c.ask(b"XREADGROUP", b"GROUP", b"g", b"a", b"STREAMS", b"s", b">")
            for i in gone:
                c.ask(b"XDEL", b"s", b"%d-1" % i)
        for round in range(12):
            count = r.choice([b"100", b"4096", b"4097", b"10000", b"20000", b"1000000", b"576460752303423488", b"0"])
            words = [b"XAUTOCLAIM", b"s", b"g", r.choice([b"b", b"c"]), r.choice([b"0", b"0", b"3600000"]),
                     r.choice([b"0", b"7000", b"(19000-1"]), b"COUNT", count] + r.choice([[], [b"JUSTID"]])
            ours, theirs = (c.ask(*words) for c in sides)
            self.assertEqual(ours, theirs, words)
            ours, theirs = ([c.ask(b"XPENDING", b"s", b"g"), c.ask(b"XLEN", b"s")] for c in sides)
            self.assertEqual(ours, theirs, words)
        for c in sides:
            c.close()

    def test_histories_are_seen_as_in_redis(self):
        run_histories(self.history, 1, 5)


if __name__ == "__main__":
    unittest.main()
