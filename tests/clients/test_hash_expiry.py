"""Fields of hashes with a time to live, against the real server: through a stop and a kill, many at once, small
and large. No test knows how fast the machine is: what must be there is there for an hour, what must be gone is
waited for."""
import unittest

from harness import Case, wait_until


class HashExpiry(Case):
    def setUp(self):
        self.r = self.server.redis()
        self.r.config_set("appendfsync", "always")
        self.r.flushall()

    def tearDown(self):
        self.r.close()

    def again(self, kill):
        if kill:
            self.server.restart()
        else:
            self.server.stop()
            self.server.start()
        self.r = self.server.redis()
        self.r.config_set("appendfsync", "always")  # which a start forgets

    def do(self, line):
        return self.r.execute_command(*line.split())

    def wait_for(self, seen):
        self.assertTrue(wait_until(seen))

    def now_ms(self):
        seconds, micros = self.r.time()
        return seconds * 1000 + micros // 1000

    def test_times_survive_a_stop_and_a_kill(self):
        at = self.now_ms() + 3_600_000
        for i, kill in enumerate((True, False, True)):
            self.do("HSETEX h%d PXAT %d FIELDS 2 a 1 b 2" % (i, at))
            self.do("HSET h%d stays 3 set 4 back 5" % i)
            self.do("HPEXPIREAT h%d %d FIELDS 3 stays set back" % (i, at))
            self.do("HPERSIST h%d FIELDS 1 stays" % i)
            self.do("HSET h%d set 6" % i)
            self.do("HSETEX h%d KEEPTTL FIELDS 1 back 7" % i)
            self.do("HINCRBY h%d b 10" % i)
            self.do("HGETDEL h%d FIELDS 1 a" % i)
            self.do("EXPIRE h%d 100000" % i)
            self.again(kill)
            for k in range(i + 1):
                self.assertEqual(self.r.hgetall("h%d" % k), {b"b": b"12", b"stays": b"3", b"set": b"6", b"back": b"7"})
                self.assertEqual(self.do("HPEXPIRETIME h%d FIELDS 5 a b stays set back" % k), [-2, at, -1, -1, at])
                self.assertGreater(self.r.ttl("h%d" % k), 0)

    def test_the_last_field_is_told_as_a_field(self):
        """It was told as a key that expired: 7.4 tells that fields did, and then that the key is gone."""
        self.do("CONFIG SET notify-keyspace-events EA")
        listener = self.server.redis().pubsub()
        listener.psubscribe("__keyevent@0__:*")
        listener.get_message(timeout=10)
        for line in ("HSETEX a PX 50 FIELDS 2 x 1 y 2", "HSETEX b PX 50 FIELDS 1 x 1", "HSET b y 2", "HSETEX c EX 1000 FIELDS 1 x 1", "PEXPIRE c 50"):
            self.do(line)
        self.wait_for(lambda: self.do("EXISTS a c") == 0 and self.do("HLEN b") == 1)
        got = {}
        while sum(map(len, got.values())) < 12:
            message = listener.get_message(timeout=10)
            self.assertIsNotNone(message, got)
            got.setdefault(message["data"].decode(), []).append(message["channel"].rpartition(b":")[2].decode())
        listener.close()
        self.r.config_set("notify-keyspace-events", "")
        self.assertEqual(got, {"a": ["hset", "hexpire", "hexpired", "del"], "b": ["hset", "hexpire", "hset", "hexpired"],
                               "c": ["hset", "hexpire", "expire", "expired"]})

    def test_what_takes_the_place_of_a_hash_whose_fields_are_due_tells_of_them(self):
        self.do("CONFIG SET notify-keyspace-events EA")
        listener = self.server.redis().pubsub()
        listener.psubscribe("__keyevent@0__:*")
        listener.get_message(timeout=10)
        for i in range(300):  # some are met before their turn to be removed has come
            self.do("HSETEX h PX 1 FIELDS 1 x 1")
            at = self.now_ms() + 2
            while self.now_ms() < at:
                pass
            self.do("HSET h y 1")
            self.do("DEL h")
        got = []
        while got.count("del") < 600:
            message = listener.get_message(timeout=10)
            self.assertIsNotNone(message)
            got.append(message["channel"].rpartition(b":")[2].decode())
        listener.close()
        self.assertEqual(got, ["hset", "hexpire", "hexpired", "del", "hset", "del"] * 300)

    def test_what_came_due_while_nobody_ran_is_gone(self):
        for kill in (True, False):
            self.r.flushall()
            at = self.now_ms() + 300
            self.do("HSETEX gone PXAT %d FIELDS 2 a 1 b 2" % at)
            self.do("HSETEX half PXAT %d FIELDS 1 a 1" % at)
            self.do("HSET half b 2")
            self.again(kill)
            self.wait_for(lambda: self.now_ms() > at)
            self.assertEqual(self.r.exists("gone"), 0)
            self.assertEqual(self.r.hgetall("half"), {b"b": b"2"})
            self.wait_for(lambda: self.r.dbsize() == 1)
            self.again(kill)
            self.assertEqual(self.r.hgetall("half"), {b"b": b"2"})
            self.assertEqual(self.r.keys(), [b"half"])

    def test_a_large_hash_loses_what_is_due_and_nothing_else_also_when_killed_meanwhile(self):
        n, far = 30000, self.now_ms() + 3_600_000
        expected = {}
        pipe = self.r.pipeline(transaction=False)
        for i in range(0, n, 50):
            pipe.execute_command("HSET", "large", *[w for k in range(i, i + 50, 2) for w in (b"f%d" % k, b"v%d" % k)])
            pipe.execute_command("HSETEX", "large", "PXAT", far, "FIELDS", 25,
                                 *[w for k in range(i + 1, i + 50, 2) for w in (b"f%d" % k, b"v%d" % k)])
        pipe.execute()
        soon = self.now_ms() + 500
        gone = set()
        for i in range(0, n, 300):
            fields = [b"f%d" % k for k in range(i, i + 300, 3)]
            gone.update(fields)
            pipe.execute_command("HPEXPIREAT", "large", soon, "FIELDS", len(fields), *fields)
        pipe.execute()
        expected = {b"f%d" % k: b"v%d" % k for k in range(n) if b"f%d" % k not in gone}
        self.wait_for(lambda: self.now_ms() >= soon)
        self.assertEqual(self.r.hgetall("large"), expected)
        self.again(True)
        self.assertEqual(self.r.hgetall("large"), expected)
        self.assertEqual(self.r.hlen("large"), len(expected))
        self.assertEqual(dict(self.r.hscan_iter("large", count=500)), expected)
        some = [b"f%d" % k for k in range(0, n, 7)]
        self.assertEqual(self.r.execute_command("HPEXPIRETIME", "large", "FIELDS", len(some), *some),
                         [-2 if f in gone else far if int(f[1:]) % 2 else -1 for f in some])
        self.assertEqual(self.r.execute_command("HPERSIST", "large", "FIELDS", 2, "f1", "f2"), [1, -1])
        self.assertEqual(self.r.copy("large", "copy"), 1)
        self.assertEqual(self.r.hgetall("copy"), expected)
        self.assertEqual(self.do("HPEXPIRETIME copy FIELDS 3 f1 f2 f5"), [-1, -1, far])

    def test_the_key_goes_with_its_last_field_and_watch_sees_it(self):
        self.do("HSETEX h PX 200 FIELDS 1 a 1")
        with self.r.pipeline() as tx:
            tx.watch("h")
            self.wait_for(lambda: not self.r.exists("h") and self.r.dbsize() == 0)
            tx.multi()
            tx.set("other", 1)
            with self.assertRaises(Exception):
                tx.execute()


if __name__ == "__main__":
    unittest.main(verbosity=2)
