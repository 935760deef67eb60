"""Fields, members, elements and messages that are longer than an entry of the index says in its own fields (65,535 and 16
MiB), than a part in which collections are rewritten, and than a segment of the log (64 MiB): generated histories beside
redis-server, with kills under `always`. Each failure prints its seed; CAIRN_WIRE_SEED and CAIRN_WIRE_SECONDS as in
test_wire.py."""
import hashlib
import os
import random
import unittest

import redis

from harness import PASSWORD, Case, Server, run_histories
from test_resp import BesidePeer

SECONDS = float(os.environ.get("CAIRN_WIRE_SECONDS", "20"))
SEED = int(os.environ.get("CAIRN_WIRE_SEED", "1"))
MIB = 1 << 20
SIZES = [0, 1, 20, 254, 255, 256, 65534, 65535, 65536, 65537, 70000, 300000, MIB, 5 * MIB, 16 * MIB - 2, 16 * MIB - 1, 16 * MIB, 16 * MIB + 1]
LONGER_THAN_A_SEGMENT = 80 * MIB


def text(size, of):
    return (b"%d-" % of * (size // 2 + 1))[:size]


def brief(answer):
    """What is shown of it, and compared."""
    if isinstance(answer, bytes) and len(answer) > 64:
        return b"%d bytes, %s" % (len(answer), hashlib.md5(answer).hexdigest().encode())
    if isinstance(answer, (list, tuple)):
        return [brief(a) for a in answer]
    if isinstance(answer, (set, frozenset)):
        return sorted(brief(a) for a in answer)
    if isinstance(answer, dict):
        return sorted((brief(k), brief(v)) for k, v in answer.items())
    return answer


class LongElements(BesidePeer, Case):
    server_args = dict(args=["--durability=always"])

    def setUp(self):
        self.connect()
        for r in (self.r, self.peer.client):
            r.flushall()

    def connect(self):
        # No parsing of redis-py's: what came over the wire.
        self.r = redis.Redis(port=self.server.resp, password=PASSWORD, socket_timeout=60)
        for r in (self.r, self.peer.client):
            r.response_callbacks.clear()
        self.addCleanup(self.r.close)

    def both(self, *words):
        answers = []
        for r in (self.peer.client, self.r):
            try:
                answers.append(brief(r.execute_command(*words)))
            except redis.ResponseError as e:
                answers.append(str(e))
        shown = [brief(w if isinstance(w, bytes) else str(w).encode()) for w in words]
        unordered = words[0] in ("SMEMBERS", "SUNION", "HGETALL", "HKEYS", "HVALS")
        if unordered and isinstance(answers[0], list):
            step = 2 if words[0] == "HGETALL" else 1
            answers = [sorted(tuple(a[i:i + step]) for i in range(0, len(a), step)) for a in answers]
        self.assertEqual(answers[1], answers[0], shown)
        return answers[0]

    def all(self):
        """Of every key all of its elements."""
        for key in sorted(self.peer.client.execute_command("KEYS", "*")):
            kind = self.both("TYPE", key)
            for words in {b"hash": [("HLEN",), ("HGETALL",)], b"list": [("LLEN",), ("LRANGE", 0, -1)], b"set": [("SCARD",), ("SMEMBERS",)],
                          b"zset": [("ZRANGE", 0, -1, "WITHSCORES")], b"stream": [("XLEN",), ("XRANGE", "-", "+")]}[kind]:
                self.both(words[0], key, *words[1:])
        self.both("DBSIZE")

    def restart(self, with_kill):
        self.r.close()
        if with_kill:
            self.server.restart()
        else:
            self.server.stop()
            self.server.start()
        self.connect()

    def history(self, seed):
        r = random.Random(seed)
        # No more than two of the largest in a history: all of it is in memory three times over.
        words = [text(r.choice(SIZES[:13]), n) for n in range(6)] + [text(r.choice(SIZES), n) for n in (7, 8)]
        word = lambda: r.choice(words)
        commands = [
            lambda: ("HSET", "h", word(), word()), lambda: ("HSET", "h", word(), word(), word(), word()), lambda: ("HSETNX", "h", word(), word()),
            lambda: ("HGET", "h", word()), lambda: ("HMGET", "h", word(), word()), lambda: ("HDEL", "h", word()), lambda: ("HEXISTS", "h", word()),
            lambda: ("HSTRLEN", "h", word()), lambda: ("HINCRBY", "h", word(), 3),
            lambda: ("SADD", "s", word(), word()), lambda: ("SREM", "s", word()), lambda: ("SISMEMBER", "s", word()), lambda: ("SMISMEMBER", "s", word(), word()),
            lambda: ("SMOVE", "s", "s2", word()), lambda: ("SUNION", "s", "s2"), lambda: ("SINTERCARD", 2, "s", "s2"), lambda: ("SDIFFSTORE", "s3", "s", "s2"),
            lambda: ("ZADD", "z", r.randrange(5), word()), lambda: ("ZINCRBY", "z", 2, word()), lambda: ("ZSCORE", "z", word()), lambda: ("ZRANK", "z", word()),
            lambda: ("ZREM", "z", word()), lambda: ("ZPOPMIN", "z"), lambda: ("ZRANGEBYLEX", "z", b"[" + word(), "+"), lambda: ("ZRANGESTORE", "z2", "z", 0, 2),
            lambda: ("RPUSH", "l", word(), word()), lambda: ("LPUSH", "l", word()), lambda: ("LSET", "l", 0, word()), lambda: ("LINSERT", "l", "BEFORE", word(), word()),
            lambda: ("LREM", "l", 1, word()), lambda: ("LPOS", "l", word()), lambda: ("LPOP", "l"), lambda: ("LMOVE", "l", "l2", "RIGHT", "LEFT"), lambda: ("LTRIM", "l", 0, 5),
            lambda: ("XADD", "x", "%d-1" % next(ids), word(), word()), lambda: ("XTRIM", "x", "MAXLEN", 3), lambda: ("XRANGE", "x", "-", "+", "COUNT", 2),
            lambda: ("COPY", r.choice("hszlx"), "c", "REPLACE"), lambda: ("RENAME", r.choice("hszlx"), r.choice("hszlx") + "2"), lambda: ("DEL", r.choice("hszlx") + "2"),
            lambda: ("EVAL", "return redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])", 1, "h", word(), r.choice(words[:6])),
        ]
        ids = iter(range(1, 100000))
        try:
            for _ in range(r.randrange(20, 60)):
                kind = r.random()
                if kind < 0.02:
                    self.restart(r.random() < 0.7)
                elif kind < 0.06:
                    key = r.choice("hszlx")
                    payload = self.r.execute_command("DUMP", key)
                    if payload is not None:  # what one dumps, the other restores
                        self.assertEqual(self.peer.client.execute_command("RESTORE", "d" + key, 0, payload, "REPLACE"), b"OK")
                        self.assertEqual(self.r.execute_command("RESTORE", "d" + key, 0, payload, "REPLACE"), b"OK")
                else:
                    self.both(*r.choice(commands)())
            self.all()
            self.restart(r.random() < 0.7)
            self.all()
        except Exception as e:
            e.args = ("seed %d: %s" % (seed, e),)
            raise
        for server in (self.r, self.peer.client):
            server.flushall()

    def test_histories(self):
        run_histories(self.history, SEED, SECONDS)

    def test_longer_than_a_segment(self):
        long = text(LONGER_THAN_A_SEGMENT, 7)
        for words in (("HSET", "h", "f", long), ("RPUSH", "l", "a", long), ("SADD", "s", long), ("ZADD", "z", 1, long), ("XADD", "x", "1-1", "f", long)):
            self.both(*words)
            self.both("HSET", "h", "g", words[0])
        self.both("HSET", "h", long, "v")
        for key in "hlszx":
            self.both("RENAME", key, key + "2")
        self.restart(True)
        self.all()
        self.both("LPOP", "l2", 2)
        self.both("HDEL", "h2", "f")
        with self.r.pipeline() as p:
            p.execute_command("HSET", "t", "f", long)
            p.execute_command("HSET", "t", "g", "after")
            p.execute()
        self.peer.client.hset("t", mapping={"f": long, "g": "after"})
        self.restart(True)
        self.all()
        self.restart(False)
        self.all()

    def test_what_takes_too_much_memory_is_refused(self):
        server = Server(args=["--memory=100mb"])
        self.addCleanup(server.remove)
        r = server.redis()
        words = [w for n in range(3) for w in ("f%d" % n, text(50 * MIB, n))]
        with self.assertRaisesRegex(redis.ResponseError, "the arguments of 'hset' are too long|clients hold too much"):
            r.execute_command("HSET", "h", *words)
        self.assertEqual(r.exists("h"), 0)
        self.assertEqual(r.hset("h", "f", words[1][:5 * MIB]), 1)
        self.assertEqual(r.hstrlen("h", "f"), 5 * MIB)

    @unittest.skipUnless(os.environ.get("LONG"), "takes 4 GB; tools/test --long")
    def test_as_long_as_a_word_may_be(self):
        long = text(512 * MIB, 3)
        self.both("HSET", "h", "f", long)
        self.both("RPUSH", "l", long)
        self.restart(True)
        self.both("HGET", "h", "f")
        self.both("LINDEX", "l", 0)


if __name__ == "__main__":
    unittest.main()
