"""Keyspace events in the stream __events__ (CONFIG SET notify-keyspace-stream): what the channels are told, in their
order, through every door, and where a reader left it. CAIRN_EVENTS_SEED says where generated work begins."""
import os
import random
import tempfile
import threading
import time
import unittest

import redis

from harness import PASSWORD, PATIENCE, Case, Server, wait_until

SEED = int(os.environ.get("CAIRN_EVENTS_SEED", "1"))
STREAM = b"__events__"


def told(entries):
    """Of what XRANGE or XREAD answers: (key, event)."""
    return [(fields[b"key"], fields[b"event"]) for _, fields in entries]


def by_key(events):
    sequences = {}
    for key, event in events:
        sequences.setdefault(key, []).append(event)
    return sequences


class Listener:
    """What the channels of a database tell."""

    def __init__(self, server, db=0):
        self.r = server.redis()
        self.pubsub = self.r.pubsub()
        self.prefix = b"__keyspace@%d__:" % db
        self.pubsub.psubscribe(self.prefix + b"*")
        assert self.pubsub.get_message(timeout=PATIENCE)["type"] == "psubscribe"
        self.db = db

    def take(self, until):
        """All up to the event of this key."""
        events = []
        while not events or events[-1][0] != until:
            message = self.pubsub.get_message(timeout=PATIENCE)
            assert message is not None, events[-5:]
            events.append((message["channel"][len(self.prefix):], message["data"]))
        return events

    def close(self):
        self.pubsub.close()
        self.r.close()


def any_command(rng):
    """Of every type, on few keys, so that most find something."""
    key = lambda kind: "%s%d" % (kind, rng.randrange(3))
    n = lambda: rng.randrange(5)
    commands = (
        ("SET", key("s"), n()), ("SET", key("s"), n(), "PX", rng.choice((1, 3, 100000))), ("INCR", key("s")), ("APPEND", key("s"), "x"),
        ("SETRANGE", key("s"), 3, "y"), ("GETDEL", key("s")), ("GETEX", key("s"), "PX", 5), ("MSET", key("s"), 1, key("s"), 2),
        ("SETBIT", key("s"), n(), 1), ("BITOP", "NOT", key("s"), key("s")), ("GETSET", key("s"), 1), ("GET", key("none")),
        ("RPUSH", key("l"), n(), n()), ("LPUSH", key("l"), n()), ("LPOP", key("l")), ("RPOPLPUSH", key("l"), key("l")),
        ("LREM", key("l"), 0, n()), ("LSET", key("l"), 0, n()), ("LTRIM", key("l"), 1, 2), ("SORT", key("l"), "ALPHA", "STORE", key("l")),
        ("SADD", key("t"), n()), ("SREM", key("t"), n()), ("SPOP", key("t")), ("SMOVE", key("t"), key("t"), n()),
        ("SINTERSTORE", key("t"), key("t"), key("t")), ("HSET", key("h"), n(), n()), ("HDEL", key("h"), n()), ("HINCRBY", key("h"), n(), 1),
        ("HPEXPIRE", key("h"), 1, "FIELDS", 1, n()), ("ZADD", key("z"), n(), n()), ("ZREM", key("z"), n()), ("ZINCRBY", key("z"), 1, n()),
        ("ZPOPMIN", key("z")), ("ZRANGESTORE", key("z"), key("z"), 0, -1), ("GEOADD", key("z"), 1, 2, n()),
        ("XADD", key("x"), "MAXLEN", 3, "*", "f", n()), ("XTRIM", key("x"), "MAXLEN", 1), ("XGROUP", "CREATE", key("x"), n(), "$"),
        ("XDEL", key("x"), "1-1"), ("PFADD", key("p"), n()), ("PFMERGE", key("p"), key("p")),
        ("DEL", key("s"), key("l")), ("UNLINK", key("h"), key("z")), ("RENAME", key("l"), key("l")), ("COPY", key("s"), key("s"), "REPLACE"),
        ("PEXPIRE", key(rng.choice("slthzxp")), rng.choice((0, 1, 2, 100000))), ("PERSIST", key("s")),
        ("MOVE", key("s"), 1), ("EVAL", "redis.call('INCR', KEYS[1]); redis.call('RPUSH', KEYS[2], 1)", 2, key("s"), key("l")),
    )
    return rng.choice(commands)


class Events(Case):
    def setUp(self):
        self.r = self.server.redis()
        self.r.flushall()
        self.addCleanup(self.r.close)

    def keep(self, classes, db=None, **settings):
        self.r.config_set("notify-keyspace-stream", classes)
        self.addCleanup(lambda: self.r.config_set("notify-keyspace-stream", ""))
        for name, value in settings.items():
            name = "notify-keyspace-" + name.replace("_", "-")
            before = self.r.config_get(name)[name]
            self.r.config_set(name, value)
            self.addCleanup(lambda: self.r.config_set(name, before))

    def events(self, r=None):
        return told((r or self.r).xrange(STREAM))

    def test_without_it_there_is_no_stream(self):
        self.r.config_set("notify-keyspace-events", "KA")
        self.r.set("a", 1)
        self.r.config_set("notify-keyspace-events", "")
        self.assertEqual(self.r.exists(STREAM), 0)
        self.keep("l")
        self.r.set("a", 2)
        self.assertEqual(self.r.exists(STREAM), 0)

    def test_classes_are_asked_for_by_their_letters(self):
        for asked, shown in (("$lg", "g$l"), ("g$lszhxet", "g$lshzxet"), ("g$lszhxetd", "A"), ("Anm", "Anm"), ("", "")):
            self.keep(asked)
            self.assertEqual(self.r.config_get("notify-keyspace-stream")["notify-keyspace-stream"], shown)
        for wrong in ("K", "EA", "y", "A "):
            with self.assertRaisesRegex(redis.ResponseError, "Invalid event class character"):
                self.r.config_set("notify-keyspace-stream", wrong)
        for wrong in ("-1", "many"):
            with self.assertRaises(redis.ResponseError):
                self.r.config_set("notify-keyspace-stream-maxlen", wrong)

    def test_an_entry_has_the_event_and_the_key(self):
        self.keep("g$")
        self.r.set(b"a\0\xff", 1)
        self.r.delete(b"a\0\xff", "b")
        self.r.hset("h", "f", 1)
        (first, fields), (second, _) = self.r.xrange(STREAM)
        self.assertEqual(fields, {b"event": b"set", b"key": b"a\0\xff"})
        self.assertEqual(list(fields), [b"event", b"key"])
        self.assertEqual(self.events()[1], (b"a\0\xff", b"del"))
        self.assertLess(abs(int(first.split(b"-")[0]) / 1000 - time.time()), 10)
        self.assertEqual(self.r.xinfo_stream(STREAM)["entries-added"], 2)

    def test_it_has_what_the_channels_tell(self):
        """One client: in the very order of the messages, where nothing expires beside."""
        rng = random.Random(SEED)
        self.keep("Amn", events="KAmn", stream_maxlen=0)
        listener = Listener(self.server)
        self.addCleanup(listener.close)
        for round in range(20):
            with self.r.pipeline(transaction=round % 3 == 0) as p:
                for _ in range(rng.choice((1, 20, 200))):
                    p.execute_command(*any_command(rng))
                p.execute(raise_on_error=False)
            time.sleep(rng.choice((0, 0.01)))
        self.r.set("end", 1)
        messages, kept = listener.take(b"end"), self.events()
        if messages[-1] == (b"end", b"new"):
            messages += listener.take(b"end")
        self.assertGreater(len({event for _, event in kept}), 30)
        messages = [m for m in messages if m[0] != STREAM]
        self.assertEqual(by_key(messages), by_key(kept))

    def test_events_of_a_key_are_in_their_order_whoever_changes_it(self):
        """Many clients on both threads, on the same keys."""
        self.keep("A", events="KA", stream_maxlen=0)
        self.r.config_set("client-output-buffer-limit", "pubsub 0 0 0")
        listener = Listener(self.server)
        self.addCleanup(listener.close)

        def work(seed):
            rng = random.Random(seed)
            with self.server.redis() as r:
                for _ in range(40):
                    with r.pipeline(transaction=rng.random() < 0.2) as p:
                        for _ in range(rng.choice((1, 30, 100))):
                            key = "k%d" % rng.randrange(20)
                            p.execute_command(*rng.choice((("SET", key, 1), ("DEL", key), ("EXPIRE", key, 100), ("RPUSH", key, 1),
                                                           ("RENAME", key, "k0"), ("APPEND", key, "x"), ("PEXPIRE", key, 1))))
                        p.execute(raise_on_error=False)
        threads = [threading.Thread(target=work, args=(SEED * 100 + i,)) for i in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        time.sleep(0.2)
        self.r.set("end", 1)
        messages, kept = listener.take(b"end"), self.events()
        self.assertGreater(len(kept), 5000)
        self.assertEqual(by_key(messages), by_key(kept))

    def test_who_comes_back_goes_on_where_he_was(self):
        self.keep("$")
        count, seen, last = 3000, [], "0"
        rng = random.Random(SEED)

        def write():
            with self.server.redis() as r:
                for i in range(0, count, 10):
                    with r.pipeline(transaction=False) as p:
                        for n in range(i, i + 10):
                            p.set("n%d" % n, n)
                        p.execute()
        writer = threading.Thread(target=write)
        writer.start()
        while len(seen) < count:
            with self.server.redis() as reader:  # comes, reads some, and is gone
                for _ in range(rng.randrange(1, 4)):
                    for _, entries in reader.xread({STREAM: last}, count=rng.randrange(1, 200), block=10000):
                        seen += told(entries)
                        last = entries[-1][0]
                    if len(seen) >= count:
                        break
        writer.join()
        self.assertEqual(seen, [(b"n%d" % i, b"set") for i in range(count)])

    def test_a_group_shares_them(self):
        self.keep("l")
        self.r.xgroup_create(STREAM, "workers", "$", mkstream=True)
        for i in range(10):
            self.r.rpush("jobs%d" % i, 1)
        got = [told(self.r.xreadgroup("workers", name, {STREAM: ">"}, count=5)[0][1]) for name in ("a", "b")]
        self.assertEqual(sum(got, []), [(b"jobs%d" % i, b"rpush") for i in range(10)])
        self.assertEqual(self.r.xpending(STREAM, "workers")["pending"], 10)
        info = self.r.xinfo_groups(STREAM)[0]
        self.assertEqual((info["entries-read"], info["lag"]), (10, 0))

    def test_who_waits_for_them_is_woken(self):
        """By a change of his own door, by another's, and by what happens by itself."""
        self.keep("g$x")
        s3 = self.server.s3()
        s3.create_bucket(Bucket="waits")
        for space, change, want in ((0, lambda: self.r.set("w", 1, px=300), [(b"w", b"set"), (b"w", b"expire")]),
                                    (0, lambda: None, [(b"w", b"expired")]),
                                    ("waits", lambda: s3.put_object(Bucket="waits", Key="o", Body=b"x"), [(b"o", b"set")])):
            got = []

            def wait():
                with self.server.redis() as r:
                    r.execute_command("SELECT", space)
                    last = (r.xrevrange(STREAM, count=1) or [("0-0",)])[0][0]
                    while len(got) < len(want):
                        for _, entries in r.xread({STREAM: last}, block=20000):
                            got.extend(told(entries))
                            last = entries[-1][0]
            waiter = threading.Thread(target=wait)
            waiter.start()
            self.assertTrue(wait_until(lambda: self.r.info("clients")["blocked_clients"] == 1))
            change()
            waiter.join()
            self.assertEqual(got, want)
        with self.server.redis() as r:
            r.execute_command("SELECT", "waits")
            r.delete("o")  # which is an event
            r.delete(STREAM)
        s3.delete_bucket(Bucket="waits")

    def test_who_is_served_tells_of_it(self):
        self.keep("lg")
        popped = []

        def pop():
            with self.server.redis() as r:
                popped.append(r.blpop("q", 10))
        waiter = threading.Thread(target=pop)
        waiter.start()
        self.assertTrue(wait_until(lambda: self.r.info("clients")["blocked_clients"] == 1))
        self.r.rpush("q", "x")
        waiter.join()
        self.assertEqual(popped, [(b"q", b"x")])
        self.assertEqual(self.events(), [(b"q", b"rpush"), (b"q", b"lpop"), (b"q", b"del")])

    def test_a_transaction_tells_at_its_end_or_not_at_all(self):
        self.keep("A")
        with self.r.pipeline() as p:
            p.set("a", 1)
            p.rpush("b", 1)
            p.execute()
        with self.assertRaises(redis.ResponseError):
            self.r.execute_command("EVAL", "redis.call('SET', KEYS[1], 1); return redis.call('NOSUCH')", 1, "c")
        self.assertEqual(self.events(), [(b"a", b"set"), (b"b", b"rpush"), (b"c", b"set")])

    def test_a_large_transaction_is_told_whole(self):
        self.keep("$", stream_maxlen=0)
        self.r.mset({b"k%06d" % i + b"x" * 40: b"" for i in range(50000)})
        self.assertEqual(self.events(), [(b"k%06d" % i + b"x" * 40, b"set") for i in range(50000)])

    def test_each_database_and_bucket_has_its_own(self):
        self.keep("A")
        self.server.s3().create_bucket(Bucket="kept-events")
        with self.server.redis(db=3) as three:
            three.set("a", 1)
            three.move("a", 0)
            self.assertEqual(self.events(three), [(b"a", b"set"), (b"a", b"move_from")])
            three.delete(STREAM)
        self.assertEqual(self.events(), [(b"a", b"move_to")])
        self.r.execute_command("SELECT", "kept-events")
        self.r.set("o", 1)
        self.assertEqual(self.events(), [(b"o", b"set")])
        self.r.delete("o")
        self.r.delete(STREAM)
        self.server.s3().delete_bucket(Bucket="kept-events")
        self.r.execute_command("SELECT", 0)

    def test_every_door_tells(self):
        self.keep("A")
        s3, rpc = self.server.s3(), self.server.grpc_stubs()
        s3.create_bucket(Bucket="told-doors")
        key = lambda name: rpc.key("told-doors", name)
        want = []
        s3.put_object(Bucket="told-doors", Key="http", Body=b"x")
        s3.put_object(Bucket="told-doors", Key="large", Body=b"x" * (5 << 20))
        s3.delete_object(Bucket="told-doors", Key="http")
        want += [(b"http", b"set"), (b"large", b"set"), (b"http", b"del")]
        kv = rpc.kv_pb
        rpc.kv.Put(kv.PutRequest(key=key("grpc"), value=b"x"), metadata=rpc.metadata)
        rpc.kv.Txn(kv.TxnRequest(then=[kv.TxnOp(put=kv.TxnOp.PutOp(key=key("txn"), value=b"x")),
                                       kv.TxnOp(delete=kv.TxnOp.DeleteOp(key=key("grpc")))]), metadata=rpc.metadata)
        want += [(b"grpc", b"set"), (b"txn", b"set"), (b"grpc", b"del")]
        self.r.execute_command("SELECT", "told-doors")
        self.r.pexpire("txn", 1)
        want += [(b"txn", b"expire"), (b"txn", b"expired")]
        self.assertTrue(wait_until(lambda: len(self.events()) >= len(want)), self.events())
        self.assertEqual(self.events(), want)
        self.r.delete("large", STREAM)
        self.r.execute_command("SELECT", 0)
        self.r.hset("h", mapping={"f": 1, "stays": 1})
        self.r.execute_command("HPEXPIRE", "h", 1, "FIELDS", 1, "f")
        self.assertTrue(wait_until(lambda: (b"h", b"hexpired") in self.events()))

    def test_it_keeps_about_so_many(self):
        self.keep("$", stream_maxlen=500)
        with self.r.pipeline(transaction=False) as p:
            for i in range(5000):
                p.set("k%d" % i, 1)
            p.execute()
        kept = self.events()
        self.assertEqual(kept, [(b"k%d" % i, b"set") for i in range(5000 - len(kept), 5000)])
        self.assertTrue(500 <= len(kept) <= 620, len(kept))
        info = self.r.xinfo_stream(STREAM)
        self.assertEqual((info["entries-added"], info["length"]), (5000, len(kept)))
        self.r.config_set("notify-keyspace-stream-maxlen", 10)
        self.r.set("a", 1)
        self.assertLess(self.r.xlen(STREAM), 120)

    def test_what_becomes_of_itself_is_no_event(self):
        self.keep("Amn")
        self.r.xadd(STREAM, {"event": "mine", "key": "k"})
        self.r.xgroup_create(STREAM, "g", "$")
        self.r.expire(STREAM, 100)
        self.r.persist(STREAM)
        self.assertEqual(self.events(), [(b"k", b"mine")])
        self.r.delete(STREAM)
        self.assertEqual(self.r.exists(STREAM), 0)
        self.r.set("a", 1)
        self.r.flushdb()
        self.assertEqual(self.r.dbsize(), 0)
        # But that it went by itself is.
        self.r.rpush("l", 1)
        self.r.pexpire(STREAM, 1)
        self.assertTrue(wait_until(lambda: self.events() == [(STREAM, b"expired")]))

    def test_what_cannot_be_kept_is_counted(self):
        lost = lambda: self.r.info("stats")["keyspace_events_lost"]
        before = lost()
        self.r.set(STREAM, "mine")
        self.keep("$")
        for i in range(3):
            self.assertTrue(self.r.set("a", i))
        self.assertEqual((lost() - before, self.r.get(STREAM)), (3, b"mine"))
        self.r.delete(STREAM)
        self.r.set("b", 1)
        self.assertEqual([fields for _, fields in self.r.xrange(STREAM)],
                         [{b"event": b"lost", b"key": b"", b"count": b"3"}, {b"event": b"set", b"key": b"b"}])
        # Nothing comes behind the last ID.
        self.r.delete(STREAM)
        self.r.xadd(STREAM, {"f": 1}, id="18446744073709551615-18446744073709551615")
        self.r.set("c", 1)
        self.assertEqual((lost() - before, self.r.xlen(STREAM)), (4, 1))
        self.r.delete(STREAM)
        self.r.set("d", 1)
        self.assertEqual(self.r.xrange(STREAM)[0][1], {b"event": b"lost", b"key": b"", b"count": b"1"})
        for why in ("is no stream", "has no ID left"):
            said = "keyspace events of db0 are lost: __events__ " + why
            self.assertTrue(wait_until(lambda: said in open(self.server.log.name).read()), said)

    def test_all_that_is_lost_is_told_once(self):
        """Those of whom several lost at once were forgotten."""
        self.keep("$")
        self.r.set(STREAM, "mine")
        before = self.r.info("stats")["keyspace_events_lost"]

        def work(n):
            r = self.server.redis()
            for i in range(200):
                r.set("k%d" % n, i)
            r.close()
        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(self.r.info("stats")["keyspace_events_lost"] - before, 1600)
        self.r.delete(STREAM)
        self.r.set("again", 1)
        self.assertEqual([fields for _, fields in self.r.xrange(STREAM)],
                         [{b"event": b"lost", b"key": b"", b"count": b"1600"}, {b"event": b"set", b"key": b"again"}])

    def test_who_goes_on_misses_nothing_of_a_stream_that_began_anew(self):
        """Its IDs began anew within the millisecond of those that were given."""
        self.keep("$x")
        number = lambda entry: tuple(map(int, entry[0].split(b"-")))
        for end in (lambda: self.r.flushdb(), lambda: self.r.delete(STREAM), lambda: self.r.rename(STREAM, "old")):
            for _ in range(30):
                with self.r.pipeline(transaction=False) as p:
                    for i in range(50):
                        p.set("k%d" % i, i)
                    p.execute()
                last = self.r.xrevrange(STREAM, count=1)[0]
                end()
                self.r.set("k", 1)
                self.assertGreater(number(self.r.xrange(STREAM, count=1)[0]), number(last))
            self.r.delete("old")

    def test_what_begins_anew_says_that_it_expired(self):
        self.keep("$x")
        for _ in range(20):
            self.r.set("a", 1)
            self.r.pexpire(STREAM, 1)
            at = time.monotonic() + 0.002
            while time.monotonic() < at:
                pass
            self.r.set("b", 1)
            self.assertEqual(self.events()[0], (STREAM, b"expired"))
            self.r.delete(STREAM)

    def test_it_moves_as_any_key(self):
        self.keep("$")
        self.r.set("a", 1)
        self.r.copy(STREAM, "copied")
        self.r.move(STREAM, 5)
        self.assertEqual(self.r.exists(STREAM), 0)
        self.r.set("b", 1)
        self.assertEqual(self.events(), [(b"b", b"set")])
        self.assertEqual(told(self.r.xrange("copied")), [(b"a", b"set")])
        with self.server.redis(db=5) as five:
            self.assertEqual(self.events(five), [(b"a", b"set")])
            five.set("c", 1)
            self.assertEqual(self.events(five), [(b"a", b"set"), (b"c", b"set")])
            five.flushdb()


class Apart(unittest.TestCase):
    """Servers of their own."""

    def start(self, *args, **kwargs):
        server = Server(args=args, **kwargs)
        self.addCleanup(server.remove)
        return server

    def test_what_was_acknowledged_has_its_event_after_a_crash(self):
        server = self.start("--durability=always", "--notify-keyspace-stream=A", "--notify-keyspace-stream-maxlen=0")
        done, stop = [], threading.Event()

        def work(n):
            r = server.redis()
            try:
                for i in range(1000000):
                    keys = ["%d:%d:%d" % (n, i, at) for at in range(3)]
                    with r.pipeline(transaction=i % 2 == 0) as p:
                        p.set(keys[0], 1)
                        p.rpush(keys[1], 1)
                        p.execute_command("EVAL", "redis.call('HSET', KEYS[1], 'f', 1)", 1, keys[2])
                        p.execute()
                    done.append(keys)
            except (redis.ConnectionError, OSError):
                pass
        popped = []

        def pop():
            r = server.redis()
            try:
                while True:
                    popped.append(r.blpop("queue")[1])
            except (redis.ConnectionError, OSError):
                pass

        def push():
            r = server.redis()
            try:
                for i in range(1000000):
                    r.rpush("queue", i)
            except (redis.ConnectionError, OSError):
                pass
        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)] + [threading.Thread(target=f) for f in (pop, push)]
        for t in threads:
            t.start()
        time.sleep(1.5)
        server.kill()
        for t in threads:
            t.join()
        self.assertGreater(len(done), 20)
        server.start()
        r = server.redis()
        kept = by_key(told(r.xrange(STREAM)))
        for keys in done:
            self.assertEqual([kept.get(key.encode()) for key in keys], [[b"set"], [b"rpush"], [b"hset"]])
        self.assertGreaterEqual(kept[b"queue"].count(b"lpop"), len(popped))
        # Every event is one of a change that is there.
        with r.pipeline(transaction=False) as p:
            for key in kept:
                p.exists(key)
            there = dict(zip(kept, p.execute()))
        self.assertEqual({key for key in kept if not there[key]} - {b"queue"}, set())
        r.close()
        self.assertEqual(server.stop(), 0)

    def test_a_stop_loses_nothing(self):
        server = self.start("--notify-keyspace-stream=$")
        s3 = server.s3()
        s3.create_bucket(Bucket="stop")
        for i in range(20):
            s3.put_object(Bucket="stop", Key="k%d" % i, Body=b"x")
        self.assertEqual(server.stop(), 0)
        server.start()
        r = server.redis()
        r.execute_command("SELECT", "stop")
        self.assertEqual(told(r.xrange(STREAM)), [(b"k%d" % i, b"set") for i in range(20)])
        r.close()

    def test_the_file_says_it_too(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "c.toml")
            open(path, "w").write('notify-keyspace-stream = "lg"\n')
            server = self.start("--config=" + path)
            names = ("notify-keyspace-stream", "notify-keyspace-stream-maxlen")
            settings = lambda: {name: r.config_get(name)[name] for name in names}
            r = server.redis()
            self.assertEqual(settings(), dict(zip(names, ("gl", "100000"))))
            want = dict(zip(names, ("A", "77")))
            r.config_set(names[0], "A")
            r.config_set(names[1], 77)
            self.assertTrue(r.config_rewrite())
            r.close()
            self.assertEqual(server.stop(), 0)
            server.start()
            r = server.redis()
            self.assertEqual(settings(), want)
            r.close()

    def test_what_is_evicted_is_told(self):
        # The stream has no deadline, so it is not evicted itself, which would begin it anew.
        server = self.start("--memory=90mb", "--maxmemory-policy=volatile-lru", "--notify-keyspace-stream=e", "--notify-keyspace-stream-maxlen=0")
        r = server.redis()
        value = os.urandom(20000)
        for i in range(6000):
            r.set("k%d" % i, value, ex=100_000)
        evicted, there = 0, []
        while evicted != r.info("stats")["evicted_keys"]:  # it goes on for a while
            evicted = r.info("stats")["evicted_keys"]
            self.assertTrue(wait_until(lambda: r.xlen(STREAM) >= evicted))
            kept = told(r.xrange(STREAM))
            with r.pipeline(transaction=False) as p:
                for i in range(6000):
                    p.exists("k%d" % i)
                there = p.execute()
        self.assertGreater(evicted, 500)
        self.assertEqual({event for _, event in kept}, {b"evicted"})
        gone = {key for key, _ in kept}
        self.assertEqual([i for i in range(6000) if (b"k%d" % i in gone) == bool(there[i])], [])
        r.close()

    def test_in_little_memory_the_stream_is_whole(self):
        server = self.start("--memory=80mb", "--notify-keyspace-stream=g", "--notify-keyspace-stream-maxlen=0")
        r = server.redis()
        value, want = os.urandom(20000), []
        for round in range(2):
            for i in range(2500):
                r.set("k%d" % i, value)
            for i in range(3):
                r.delete("k%d" % (3 * round + i))
                want.append((b"k%d" % (3 * round + i), b"del"))
        self.assertEqual(told(r.xrange(STREAM)), want)
        r.close()

    def test_where_memory_is_full_none_is_lost(self):
        server = self.start("--memory=8mb", "--notify-keyspace-stream=g", "--notify-keyspace-stream-maxlen=0")
        r = server.redis()
        with self.assertRaisesRegex(redis.ResponseError, "OOM"):
            for i in range(10000000):
                with r.pipeline(transaction=False) as p:
                    for n in range(1000):
                        p.set("k%07d%03d" % (i, n), 1)
                    p.execute()
        for i in range(5000):
            r.expire("k0000000001", 1000 + i)
        kept = told(r.xrange(STREAM))
        self.assertEqual(set(kept), {(b"k0000000001", b"expire")})
        self.assertGreaterEqual(len(kept), 1000)
        self.assertEqual((r.xinfo_stream(STREAM)["entries-added"], r.info("stats")["keyspace_events_lost"]), (5000, 0))
        r.close()


if __name__ == "__main__":
    unittest.main()
