"""keyspace_hits and keyspace_misses count what redis-server counts: of every command that both have, in generated streams,
what each command adds is compared. Where it may be another number, and why, is in DIFFERENCES."""
import os
import re
import unittest

from differ import Client
from differences import form, in_any_order, is_error
from harness import SANITIZED, command
from streams import KEYS, Rows, Scenes
from test_differential import NEVER
from test_resp import Both

COMMANDS = int(os.environ.get("CAIRN_READS_COMMANDS", "4000" if SANITIZED else "20000"))
SEED = int(os.environ.get("CAIRN_READS_SEED", "1"))
STEPS = 400  # of a stream
LOOSE = set("ttl pttl hrandfield srandmember zrandmember spop object dump memory randomkey debug".split())  # the form is alike
BY_CHANCE = {b"SPOP"}  # what is left is another set
UNCOUNTED = NEVER | {"memory|doctor", "memory|malloc-stats", "config|resetstat", "flushall", "swapdb", "select", "auth", "hello", "reset", "asking", "readonly", "readwrite"}

DIFFERENCES = {}


def counts(c):
    """What was counted since the last look."""
    text = c.ask(b"INFO", b"stats")
    return [int(re.search(rb"keyspace_%s:(\d+)" % what, text).group(1)) for what in (b"hits", b"misses")]


class Reads(Both):
    def tell(self, c, words):
        """The answer, and what it added to the counts."""
        before = counts(c)
        answer = c.ask(*words)
        return answer, [b - a for a, b in zip(before, counts(c))]

    def look(self, ends, words):
        """Whether the two are alike from now on."""
        (ours, a), (theirs, b) = (self.tell(c, words) for c in ends)
        if is_error(ours) and is_error(theirs):
            return True  # how far each looked before it refused is its own matter
        alike = form(ours) == form(theirs) if words[0].lower().decode() in LOOSE else in_any_order(ours) == in_any_order(theirs)
        if not alike:
            return False  # for a reason of differences.py they hold different data
        why = DIFFERENCES.get(words[0].lower().decode())
        if why is None:
            self.assertEqual(a, b, "%r: Cairn %r and redis-server %r; they answer %r and %r" % (
                [w[:60] for w in words], a, b, repr(ours)[:200], repr(theirs)[:200]))
        self.said.add(words[0].lower().decode())
        return words[0].upper() not in BY_CHANCE

    def test_each_command_counts_what_it_reads(self):
        ends = [Client(port) for port in (self.server.resp, self.peer.port)]
        told = [Rows(c.ask(b"COMMAND")) for c in ends]
        names = sorted(n for n in told[0].rows if n in told[1].rows and n not in UNCOUNTED)
        with_keys = {n for n in names if told[0].rows[n][2] > 0 and not n.startswith("restore") and n != "pfdebug"}
        self.said, done, seed = set(), 0, SEED
        while done < COMMANDS or (self.left(with_keys) and done < 10 * COMMANDS):
            # What was only refused so far is said more often.
            scenes = Scenes(seed, told[0], names if done < COMMANDS else self.left(with_keys), names)
            for c in ends:
                c.ask(b"FLUSHALL")
                c.ask(b"SELECT", b"0")
            for words in [scenes.setting() for _ in range(30)] + [scenes.some() for _ in range(STEPS)]:
                done += 1
                if not self.look(ends, words):
                    break
            seed += 1
        print("as redis-server: seeds %d to %d, %d commands" % (SEED, seed - 1, done))
        self.assertEqual(self.left(with_keys), [])
        for c in ends:
            c.close()

    def left(self, names):
        """Of these rows those that were not answered yet."""
        return sorted(n for n in names if n.split("|")[0] not in self.said)

    def test_inside_transactions_and_scripts(self):
        ends = [Client(port) for port in (self.server.resp, self.peer.port)]
        for c in ends:
            c.ask(b"FLUSHALL")
            c.ask(b"SET", b"a", b"1")
            c.ask(b"HSET", b"h", b"f", b"1")
        lines = [b"GET a", b"GET n", b"MGET a n a", b"HGETALL h", b"STRLEN n", b"INCR a", b"TTL a", b"GETRANGE big 0 1"]
        for c in ends:
            c.ask(b"SET", b"big", b"x" * 300_000)  # in extents: what is begun again is counted once
        for line in lines:
            words = line.split()
            self.look_alike(ends, [(b"MULTI",), words, (b"EXEC",)])
            script = b"return redis.call(unpack(ARGV))"
            keys = [w for w in words[1:] if w in (b"a", b"n", b"h", b"big")]
            self.look_alike(ends, [(b"EVAL", script, b"%d" % len(keys), *keys, *words)])
        for c in ends:
            c.close()

    def test_what_waits_is_counted_once(self):
        ends = [Client(port) for port in (self.server.resp, self.peer.port)]
        others = [Client(port) for port in (self.server.resp, self.peer.port)]
        for add, wait in (((b"XADD", b"s", b"*", b"f", b"v"), (b"XREAD", b"BLOCK", b"0", b"STREAMS", b"s", b"$")),
                          ((b"RPUSH", b"l", b"v"), (b"BLPOP", b"l", b"0")), ((b"ZADD", b"z", b"1", b"v"), (b"BZPOPMIN", b"z", b"0"))):
            told = []
            for c, other in zip(ends, others):
                other.ask(b"FLUSHALL")
                before = counts(other)
                c.send(command(*wait))
                while other.waiting_count() == 0:
                    pass
                other.ask(*add)
                c.answers(1)
                told.append([b - a for a, b in zip(before, counts(other))])
            self.assertEqual(*told, wait)
        for c in ends + others:
            c.close()

    def look_alike(self, ends, lines):
        told = []
        for c in ends:
            before = counts(c)
            answers = [c.ask(*words) for words in lines]
            told.append(([b - a for a, b in zip(before, counts(c))], answers))
        self.assertEqual(*told, lines)

    def test_large_values_are_counted_once(self):
        """Values in extents and large collections are worked on in turns, which look for the key again."""
        ends = [Client(port) for port in (self.server.resp, self.peer.port)]
        for c in ends:
            c.ask(b"FLUSHALL")
            c.ask(b"SET", b"big", b"x" * 300_000)
            c.ask(b"SADD", b"set", *(b"m%d" % i for i in range(60_000)))
            c.ask(b"RPUSH", b"list", *(b"%d" % i for i in range(20_000)))
        for line in (b"GET big", b"STRLEN big", b"GETRANGE big 5 10", b"BITCOUNT big", b"GETBIT big 7", b"LCS big n", b"DUMP big", b"BITPOS big 1",
                     b"COPY big b2", b"SETRANGE big 3 x", b"APPEND big x", b"BITOP NOT b3 big", b"SINTER set set n", b"SUNIONSTORE s2 set n",
                     b"SDIFF set n n", b"SORT list", b"SORT list BY nosort GET w_* LIMIT 0 50", b"SORT list STORE l2", b"LPOS list x",
                     b"COPY set s3", b"OBJECT ENCODING big", b"DEBUG OBJECT big", b"SMEMBERS set", b"SINTERCARD 2 set n"):
            told = []
            for c in ends:
                told.append(self.tell(c, line.split()))
            self.assertEqual(told[0][1], told[1][1], line)
        for c in ends:
            c.close()


class Frequency(Both):
    """OBJECT FREQ is on Redis's scale, as far as 16 steps say it."""

    def setUp(self):
        self.ends = [Client(port) for port in (self.server.resp, self.peer.port)]
        for c in self.ends:
            c.ask(b"FLUSHALL")
            self.addCleanup(c.close)
            self.addCleanup(c.ask, b"CONFIG", b"SET", b"maxmemory-policy", b"noeviction")
            c.ask(b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-lfu")

    def frequency(self, c, key):
        return int(c.ask(b"OBJECT", b"FREQ", key)[1:])

    def test_what_was_restored_is_told(self):
        """Of 200 it was 15."""
        ours, theirs = self.ends
        theirs.ask(b"SET", b"k", b"v")
        value, told = theirs.ask(b"DUMP", b"k"), []
        for f in range(256):
            ours.ask(b"RESTORE", b"k", b"0", value, b"REPLACE", b"FREQ", b"%d" % f)
            told.append(self.frequency(ours, b"k"))
            self.assertLessEqual(abs(told[f] - f), max(3, 0.2 * f), f)
        self.assertEqual(told, sorted(told))
        self.assertEqual([told[f] for f in (0, 5, 100, 200, 255)], [0, 5, 100, 200, 255])

    def test_uses_count_as_in_redis(self):
        keys = [b"key%d" % i for i in range(60)]
        for uses in (1, 10, 100, 1000):
            means = []
            for c in self.ends:
                for key in keys:
                    c.ask(b"SET", key, b"v")
                    for _ in range(uses // 10 or 1):
                        n = min(uses, 10)
                        c.send(command(b"GET", key) * n)
                        c.answers(n)
                means.append(sum(self.frequency(c, key) for key in keys) / len(keys))
                c.ask(b"FLUSHALL")
            self.assertLess(means[0], 1.35 * means[1] + 1, (uses, means))
            self.assertGreater(means[0], means[1] / 1.35 - 1, (uses, means))


if __name__ == "__main__":
    unittest.main()
