"""Client-side caching: what is told of which key to whom, as redis-server tells it, over generated histories of a few
clients in all modes and both protocols; changes by other doors; and that nobody keeps what is old, however many threads
there are. CAIRN_TRACKING_SECONDS says how long the histories go on, CAIRN_TRACKING_SEED where they begin."""
import os
import random
import re
import threading
import time
import unittest

from harness import PASSWORD, Case, command, run_histories, wait_until
from test_pubsub import Client as Listener
from test_resp import Both
from test_wire import parsed

SECONDS = float(os.environ.get("CAIRN_TRACKING_SECONDS", "20"))
SEED = int(os.environ.get("CAIRN_TRACKING_SEED", "1"))
CHANNEL = b"__redis__:invalidate"
ALL = b"<all>"


class Client(Listener):
    """With the messages that came to it."""

    def __init__(self, port, *args):
        super().__init__(port, *args)
        self.port = port
        self.heard = []
        self.listens = False
        self.id = int(parsed(self.ask(b"CLIENT", b"ID"))[1:])

    def whole(self, at):
        end = super().whole(at)
        # What another client redirects to this one redis-server 7.0 puts in among the answers of its EXEC, uncounted.
        while at > 0 and self.buffer[at:end].startswith(b">2\r\n$10\r\ninvalidate"):
            self.note(parsed(b"*" + self.buffer[at + 1:end]))
            self.buffer = self.buffer[:at] + self.buffer[end:]
            end = super().whole(at)
        return end

    def note(self, v):
        """Whether it is a message."""
        if not isinstance(v, list) or not v:
            return False
        if v[0] == b"tracking-redir-broken":
            self.heard.append(b"<broken>")
        elif v[0] == b"invalidate" or v[:2] == [b"message", CHANNEL]:
            keys = v[-1]
            self.heard += keys if isinstance(keys, list) else [ALL]
        else:
            return False
        return True

    def answer(self):
        v = self.value()
        while self.note(v):
            v = self.value()
        return v

    def say(self, *words):
        self.socket.sendall(command(*words))
        return self.answer()

    def fence(self):
        self.say(b"PUNSUBSCRIBE", b"fence")
        heard, self.heard = self.heard, []
        return heard


class Histories(Both):
    """The same commands to both servers; what each client got for an answer, and was told until then, is compared. Of
    several FLUSHALL of one transaction Cairn tells once."""
    CLIENTS = 4

    @staticmethod
    def reads(r):
        s, h, l, e, z, x = (b"%c%d" % (kind, r.randrange(3)) for kind in b"shlezx")
        return r.choice([
            [b"GET", s], [b"GET", s], [b"MGET", s, b"s1", b"none"], [b"EXISTS", s, h], [b"TTL", s], [b"TYPE", s], [b"STRLEN", s],
            [b"GETRANGE", s, b"0", b"1"], [b"HGETALL", h], [b"HGET", h, b"f1"], [b"HLEN", h], [b"LRANGE", l, b"0", b"-1"], [b"LLEN", l],
            [b"SCARD", e], [b"SISMEMBER", e, b"1"], [b"SINTERCARD", b"2", e, b"e1"], [b"ZRANGE", z, b"0", b"-1"], [b"ZSCORE", z, b"m1"],
            [b"ZUNION", b"2", z, b"z1"], [b"XLEN", x], [b"XRANGE", x, b"-", b"+", b"COUNT", b"1"], [b"GET", h], [b"BITCOUNT", s],
            [b"SORT_RO", l], [b"OBJECT", b"ENCODING", s], [b"EXPIRETIME", s], [b"XREAD", b"COUNT", b"1", b"STREAMS", x, b"0"],
            [b"EVAL", b"return redis.call('GET', KEYS[1])", b"2", s, b"s1"], [b"EVAL", b"return 1", b"1", s],
            [b"EVAL_RO", b"return redis.call('HLEN', KEYS[1])", b"1", h]])

    @staticmethod
    def writes(r):
        """Each changes something, or does not even find it."""
        s, h, l, e, z, x = (b"%c%d" % (kind, r.randrange(3)) for kind in b"shlezx")
        new = b"%d" % r.randrange(1 << 40)
        return r.choice([
            [b"SET", s, new], [b"SET", s, new], [b"SET", s, new, b"EX", b"1000"], [b"SETNX", s, new], [b"GETSET", s, new], [b"APPEND", s, b"1"],
            [b"INCR", b"n" + s], [b"GETDEL", s], [b"MSET", s, new, b"s1", new], [b"MSETNX", s, new, b"s1", new], [b"SETRANGE", s, b"1", new],
            [b"DEL", s, h, l], [b"UNLINK", e, z, x], [b"DEL", b"none"], [b"RENAME", s, b"t"], [b"RENAME", b"t", s], [b"COPY", s, b"s1", b"REPLACE"],
            [b"MOVE", s, b"1"], [b"EXPIRE", s, b"%d" % r.randrange(1000, 1 << 30)], [b"HSET", h, b"f1", new], [b"HINCRBY", h, b"n", b"1"],
            [b"HDEL", h, b"f1"], [b"LPUSH", l, new], [b"RPOP", l], [b"LMOVE", l, b"l1", b"LEFT", b"RIGHT"], [b"LTRIM", l, b"0", b"-1"], [b"SADD", e, new], [b"SREM", e, b"1"],
            [b"SADD", e, b"1"], [b"SUNIONSTORE", b"e0", e, b"e2"], [b"ZADD", z, new, b"m1"], [b"ZINCRBY", z, b"1", b"m2"], [b"ZPOPMIN", z],
            [b"XADD", x, b"*", b"f", b"v"], [b"PERSIST", s], [b"GETEX", s, b"PERSIST"], [b"SORT", l, b"STORE", b"l0"],
            [b"BITOP", b"NOT", b"s2", s], [b"EVAL", b"return redis.call('SET', KEYS[1], ARGV[1])", b"1", s, new],
            [b"EVAL", b"redis.call('GET', KEYS[1]); return redis.call('SET', KEYS[2], ARGV[1])", b"2", s, b"s1", new]])

    def modes(self, r, n, scripts):
        options = r.choice([[], [], [], [b"NOLOOP"], [b"OPTIN"], [b"OPTOUT"], [b"BCAST"], [b"BCAST", b"NOLOOP"], [b"BCAST", b"PREFIX", b"s", b"PREFIX", b"h1"],
                            [b"BCAST", b"PREFIX", b"s1"], [b"BCAST", b"PREFIX", b"", b"PREFIX", b"s"], [b"OPTIN", b"OPTOUT"], [b"BCAST", b"OPTIN"],
                            [b"PREFIX", b"a"], [b"FOO"], [b"REDIRECT", b"999999"], [b"REDIRECT", b"x"], [b"OPTIN", b"NOLOOP"]])
        if scripts and options == [b"BCAST", b"NOLOOP"]:
            options = [b"BCAST"]  # redis-server 7.0 tells of what the client's own scripts change
        if r.random() < 0.3:
            options = options + [b"REDIRECT", r.randrange(n)]  # of that client
        return [b"CLIENT", b"TRACKING", r.choice([b"ON", b"ON", b"ON", b"ON", b"OFF", b"off", b"x"])] + options

    def steps(self, r, n, scripts):
        x = r.random()
        if x < 0.4:
            return [self.reads(r)]
        if x < 0.7:
            return [self.writes(r)]
        if x < 0.78:
            return [self.modes(r, n, scripts)]
        if x < 0.82:
            return [[b"CLIENT", b"CACHING", r.choice([b"YES", b"NO", b"yes", b"x"])], self.reads(r)]
        if x < 0.88:  # what is read before it is written, behind, or both
            some = lambda: r.choice([[b"SET", b"s%d" % r.randrange(3), b"%d" % r.randrange(1 << 40)], [b"INCR", b"n%d" % r.randrange(2)],
                                     [b"GET", b"s%d" % r.randrange(3)], [b"GET", b"n%d" % r.randrange(2)], [b"HGETALL", b"h1"]])
            return [[b"MULTI"]] + [some() for _ in range(r.randrange(1, 6))] + [r.choice([[b"EXEC"], [b"EXEC"], [b"EXEC"], [b"DISCARD"]])]
        return [r.choice([[b"CLIENT", b"TRACKINGINFO"], [b"CLIENT", b"GETREDIR"], [b"HELLO", b"2"], [b"HELLO", b"3"], [b"RESET"], [b"SELECT", b"1"],
                          [b"SELECT", b"0"], [b"FLUSHDB"], [b"FLUSHALL"], [b"SUBSCRIBE", CHANNEL], [b"SUBSCRIBE", b"other"], [b"PING"], [b"again"]])]

    def gone(self, client, watch):
        client.close()
        self.assertTrue(wait_until(lambda: b"id=%d " % client.id not in watch.ask(b"CLIENT", b"LIST")))

    def comparable(self, words, answer, side):
        if words[0] == b"HELLO":
            return answer[4:6] if isinstance(answer, list) else answer
        if words[0] in (b"HGETALL", b"ZUNION", b"SORT_RO") and isinstance(answer, list):
            return sorted(answer)
        if words[:2] == [b"OBJECT", b"ENCODING"]:
            return None  # of texts, it tells in Redis how they came to be
        if words[:2] in ([b"CLIENT", b"TRACKINGINFO"], [b"CLIENT", b"GETREDIR"]):
            ids = {b":%d" % c.id: b"client %d" % i for i, c in enumerate(side)}
            ids.update({b":0": b"nobody", b":-1": b"none"})
            named = lambda v: [named(x) for x in v] if isinstance(v, list) else ids.get(v, b"gone") if v[:1] == b":" else v
            return named(answer)
        return b"an ID" if words[0] == b"XADD" and answer[:1] != b"-" else answer if words[0] not in (b"XRANGE", b"XREAD") else None

    def counts(self, watch):
        info = watch.ask(b"INFO", b"clients") + watch.ask(b"INFO", b"stats")
        return [(f, int(re.search(f + rb":(\d+)", info)[1])) for f in (b"tracking_clients", b"tracking_total_keys", b"tracking_total_items", b"tracking_total_prefixes")]

    def history(self, seed, steps=120):
        r = random.Random(seed)
        n, scripts, ports = self.CLIENTS, seed % 2 == 0, (self.server.resp, self.peer.port)
        watches = [Client(p) for p in ports]
        for w in watches:
            w.ask(b"FLUSHALL")
            # Without any that tracks, Cairn forgets what there was; and these are both at the beginning of their tables.
            w.ask(b"CLIENT", b"TRACKING", b"ON", b"OPTIN")
        sides = [[Client(p) for _ in range(n)] for p in ports]
        for side in sides:
            for c in side[:-1]:
                if seed % 3 > 0:
                    c.say(b"HELLO", b"3")
        said = []
        try:
            for _ in range(steps):
                who = r.randrange(n)
                todo = [w for w in self.steps(r, n, scripts) if scripts or w[0] != b"EVAL"]
                if sides[0][who].listens:
                    todo = [r.choice([[b"PING"], [b"RESET"], [b"UNSUBSCRIBE"]])] if r.random() < 0.1 else []
                for words in todo:
                    said.append((who, words))
                    where = "seed %d: %r" % (seed, said[-20:])
                    if words == [b"again"]:
                        for side, watch, port in zip(sides, watches, ports):
                            self.gone(side[who], watch)
                            side[who] = Client(port)
                        continue
                    got = []
                    for side in sides:
                        c = side[who]
                        theirs = [b"%d" % side[w].id if isinstance(w, int) else w for w in words]
                        if side is sides[0] and not c.listens:
                            c.socket.sendall(command(*theirs))
                            first = c.value()
                            self.assertFalse(c.note(first), "a message before its answer, " + where)
                        else:
                            first = c.say(*theirs)
                        if words in ([b"UNSUBSCRIBE"],):
                            c.listens = first[2] != b":0"
                        c.listens = (c.listens or words[0] == b"SUBSCRIBE" and isinstance(first, list)) and words != [b"RESET"]
                        got.append(self.comparable(words, first, side))
                    self.assertEqual(got[0], got[1], where)
                    for i in range(n):
                        heard = [side[i].fence() for side in sides]
                        if words == [b"EXEC"]:
                            heard = [[k for k in h if k != ALL] + [ALL] * (ALL in h) for h in heard]
                        self.assertEqual(sorted(heard[0]), sorted(heard[1]), "client %d, %s" % (i, where))
                self.assertEqual(*(self.counts(w) for w in watches), said[-10:])
        finally:
            for side, watch in zip(sides, watches):
                for c in side:
                    self.gone(c, watch)
                watch.close()

    def test_histories_of_a_few_clients_are_those_of_redis(self):
        run_histories(self.history, SEED, SECONDS)

    def both(self, *steps):
        """Answers, and what was told until then, of one client each that speaks RESP3."""
        out = []
        for port in (self.server.resp, self.peer.port):
            c = Client(port)
            c.say(b"HELLO", b"3")
            answers = [c.say(*(w.encode() for w in s.split(" "))) for s in steps]
            out.append((answers, c.fence()))
            c.close()
        return out

    def test_errors_are_those_of_redis(self):
        on = "CLIENT TRACKING ON"
        for steps in (["CLIENT TRACKING"], ["CLIENT TRACKING maybe"], ["CLIENT TRACKING maybe BCAST OPTIN"], [on + " REDIRECT"], [on + " PREFIX"],
                      [on + " REDIRECT 12345 REDIRECT 12345"], [on + " REDIRECT 0"], [on + " REDIRECT -1"], ["CLIENT TRACKING OFF REDIRECT 0"],
                      [on + " PREFIX a PREFIX ab"], [on + " BCAST PREFIX ab PREFIX a"], [on + " BCAST PREFIX a PREFIX ab"],
                      [on + " BCAST PREFIX a", on + " BCAST PREFIX ab", on + " BCAST PREFIX a", on + " BCAST", on + " BCAST PREFIX x", "CLIENT TRACKINGINFO"],
                      [on + " BCAST", on, "CLIENT TRACKING OFF", on, on + " BCAST"], [on + " OPTIN", on + " OPTOUT", on, on + " OPTOUT"],
                      ["CLIENT CACHING YES", on, "CLIENT CACHING YES", "CLIENT CACHING NO", "CLIENT CACHING x", "CLIENT CACHING"],
                      [on + " OPTIN", "CLIENT CACHING NO", "CLIENT CACHING yes", "CLIENT TRACKINGINFO", "CLIENT ID", "CLIENT NOSUCH", "CLIENT TRACKINGINFO"],
                      [on + " OPTOUT", "CLIENT CACHING YES", "CLIENT CACHING no", "CLIENT TRACKINGINFO", "PING", "CLIENT TRACKINGINFO"],
                      [on + " OPTIN", "CLIENT CACHING YES", "MULTI", "GET a", "CLIENT TRACKINGINFO", "EXEC", "SET a 1", "CLIENT TRACKINGINFO"],
                      ["CLIENT TRACKINGINFO", "CLIENT GETREDIR", "CLIENT GETREDIR x", "CLIENT TRACKINGINFO x"],
                      ["CONFIG SET tracking-table-max-keys -1", "CONFIG SET tracking-table-max-keys x", "CONFIG SET tracking-table-max-keys 1kb",
                       "CONFIG SET tracking-table-max-keys 9223372036854775807", "CONFIG GET tracking-table-max-keys",
                       "CONFIG SET tracking-table-max-keys 1000000"]):
            (x, heard), (y, theirs) = self.both(*steps)
            mask = lambda answers: [b"an ID" if s == "CLIENT ID" else a for s, a in zip(steps, answers)]
            self.assertEqual((mask(x), heard), (mask(y), theirs), steps)

    def test_bytes_are_those_of_redis(self):
        texts = []
        for port in (self.server.resp, self.peer.port):
            text = b""
            to, c, w = Client(port), Client(port), Client(port)
            w.ask(b"FLUSHALL")
            to.ask(b"SUBSCRIBE", CHANNEL)
            c.ask(b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", b"%d" % to.id)
            c.ask(b"GET", b"a")
            w.ask(b"SET", b"a", b"1")
            text += to.next()
            w.ask(b"FLUSHALL")
            text += to.next()
            c.ask(b"CLIENT", b"TRACKING", b"OFF")
            c.ask(b"HELLO", b"3")
            c.ask(b"CLIENT", b"TRACKING", b"ON", b"BCAST", b"PREFIX", b"b", b"PREFIX", b"a")
            text += c.ask(b"CLIENT", b"TRACKINGINFO")
            w.ask(b"MSET", b"b2", b"1", b"a", b"1", b"b1", b"1", b"b2", b"3")
            text += c.next() + c.next()
            w.ask(b"FLUSHALL")
            text += c.next()
            listed = w.ask(b"CLIENT", b"LIST")
            text += re.search(b"id=%d .*" % c.id, listed)[0].split(b"flags=")[1].split(b" ")[0]
            text += re.search(rb"id=%d .*" % c.id, listed)[0].split(b"redir=")[1].split(b" ")[0]
            texts.append(text)
            for one in (to, c, w):
                one.close()
        self.assertEqual(texts[0], texts[1])

    def test_keys_whose_time_has_come_are_told(self):
        for port in (self.server.resp, self.peer.port):
            c, b, w = Client(port), Client(port), Client(port)
            for one, mode in ((c, []), (b, [b"BCAST", b"NOLOOP"])):
                one.say(b"HELLO", b"3")
                one.say(b"CLIENT", b"TRACKING", b"ON", *mode)
            w.ask(b"SET", b"short", b"1", b"PX", b"50")
            c.say(b"GET", b"short")
            b.say(b"SET", b"own", b"1", b"PX", b"50")
            seen = {c: [], b: []}

            def told():
                for one in seen:
                    seen[one] += one.fence()
                return b"short" in seen[c] and seen[b].count(b"short") == 2 and b"own" in seen[b]
            self.assertTrue(wait_until(told), (port, seen.values()))
            self.assertEqual(seen[b].count(b"own"), 1)
            for one in (c, b, w):
                one.close()

    def test_whom_a_client_redirects_to_may_go(self):
        flags = []
        for port in (self.server.resp, self.peer.port):
            to, c, w = Client(port), Client(port), Client(port)
            c.say(b"HELLO", b"3")
            c.say(b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", b"%d" % to.id)
            c.say(b"GET", b"a")
            self.gone(to, w)
            w.ask(b"SET", b"a", b"1")
            self.assertEqual(c.fence(), [b"<broken>"])
            info = c.say(b"CLIENT", b"TRACKINGINFO")
            self.assertEqual(info[3], b":%d" % to.id)
            flags.append((info[1], re.search(rb"id=%d .*flags=(\w+)" % c.id, w.ask(b"CLIENT", b"LIST"))[1]))
            c.close()
            w.close()
        self.assertEqual(flags[0], flags[1])


class OfItsOwn(Case):
    """What redis-server has not, or not so."""
    server_args = dict(threads=4)

    def client(self, *mode):
        c = Client(self.server.resp, PASSWORD)
        c.say(b"HELLO", b"3")
        self.assertEqual(c.say(b"CLIENT", b"TRACKING", b"ON", *mode), b"+OK")
        return c

    def test_changes_by_other_doors_are_told(self):
        s3, rpc, r = self.server.s3(), self.server.grpc_stubs(), self.server.redis()
        s3.create_bucket(Bucket="photos")
        c, b = self.client(), self.client(b"BCAST", b"PREFIX", b"k")
        for ns in (b"0", b"photos"):
            c.say(b"SELECT", ns)
            name = "db0" if ns == b"0" else "photos"
            for change in (lambda: s3.put_object(Bucket=name, Key="k", Body=b"http"),
                           lambda: s3.put_object(Bucket=name, Key="k", Body=b"x" * 200_000),
                           lambda: rpc.kv.Put(rpc.kv_pb.PutRequest(key=rpc.key(name, "k"), value=b"grpc"), metadata=rpc.metadata),
                           lambda: rpc.upload(name, "k", b"y" * 200_000),
                           lambda: s3.delete_object(Bucket=name, Key="k")):
                c.say(b"GET", b"k")
                change()
                self.assertEqual((c.fence(), b.fence()), ([b"k"], [b"k"]))
        r.close()
        for one in (c, b):
            one.close()

    def test_evicted_keys_are_told(self):
        r, c = self.server.redis(), self.client()
        try:
            r.config_set("maxmemory-policy", "allkeys-random")
            for i in range(100):
                r.set("e%d" % i, "v" * 100)
                c.say(b"GET", b"e%d" % i)
            r.config_set("maxmemory", "2mb")
            heard = []
            for i in range(40_000):
                c.socket.sendall(command(b"SET", b"more%d" % i, b"x" * 100))
                c.answer()
                heard += c.heard
                c.heard = []
                if len(heard) > 10:
                    break
            self.assertTrue(heard and all(k[:1] == b"e" for k in heard), heard)
            self.assertTrue(all(r.get(k) is None for k in heard))
        finally:
            r.config_set("maxmemory", "0")
            r.config_set("maxmemory-policy", "noeviction")
            r.flushall()
            r.close()
            c.close()

    def test_who_does_not_read_is_sent_away(self):
        r, c = self.server.redis(), self.client(b"BCAST")
        before = r.info("stats")["client_output_buffer_limit_disconnections"]
        limit = r.config_get("client-output-buffer-limit")["client-output-buffer-limit"]
        try:
            r.config_set("client-output-buffer-limit", "pubsub 1mb 0 0")
            p = r.pipeline(transaction=False)
            for i in range(2000):
                p.set("k" * 30_000 + str(i), "1")
            p.execute()
            self.assertTrue(wait_until(lambda: r.info("stats")["client_output_buffer_limit_disconnections"] > before))
            self.assertTrue(wait_until(lambda: r.info("clients")["tracking_clients"] == 0))
            self.assertEqual(r.info("stats")["tracking_total_prefixes"], 0)
        finally:
            r.config_set("client-output-buffer-limit", limit)
            r.flushall()
            r.close()
            c.close()

    def test_a_command_that_waited_leaves_nothing_old(self):
        """XREAD: what it is served with came after its key was remembered, or told to who broadcasts."""
        for mode in ([], [b"BCAST"], [b"BCAST", b"PREFIX", b"", b"NOLOOP"]):
            r, c = self.server.redis(), self.client(*mode)
            c.socket.sendall(command(b"XREAD", b"BLOCK", b"0", b"STREAMS", b"x", b"$"))
            self.assertTrue(wait_until(lambda: r.info("clients")["blocked_clients"] == 1))
            r.xadd("x", {"f": "1"})
            c.answer()
            c.heard = []
            self.assertIn(b"x", c.fence())
            c.close()
            r.flushall()
            r.close()

    def test_the_table_is_bounded(self):
        r, c = self.server.redis(), self.client()
        try:
            r.config_set("tracking-table-max-keys", 50)
            for i in range(500):
                c.say(b"GET", b"t%d" % i)
            told = c.fence()
            self.assertGreaterEqual(len(set(told)), 449)
            self.assertLessEqual(r.info("stats")["tracking_total_keys"], 51)
        finally:
            r.config_set("tracking-table-max-keys", 1_000_000)
            r.close()
            c.close()

    def test_caching_clients_hold_nothing_old_in_the_end(self):
        """Many readers and writers on four threads: what a client has kept when all is quiet is what is there."""
        keys, seconds = [b"q%d" % i for i in range(12)], 4
        stop, quiet = threading.Event(), threading.Event()
        failures, reads = [], [0]

        class Cache(threading.Thread):
            def __init__(self, case, mode):
                super().__init__()
                self.c, self.mode, self.kept = case.client(*mode), mode, {}

            def hear(self):
                for k in self.c.heard:
                    self.kept.clear() if k == ALL else self.kept.pop(k, None)
                self.c.heard = []

            def next(self):
                while True:
                    v = self.c.value()
                    if not self.c.note(v):
                        return v
                    self.hear()

            def read(self, some):
                text = b"".join((command(b"CLIENT", b"CACHING", b"YES") if self.mode else b"") + command(b"GET", k) for k in some)
                self.c.socket.sendall(text + command(b"PING"))
                for k in some:
                    if self.mode:
                        self.next()
                    self.kept[k] = self.next()
                self.next()
                reads[0] += len(some)

            def run(self):
                r = random.Random(id(self))
                try:
                    while not quiet.is_set():
                        some = [r.choice(keys) for _ in range(r.choice([1, 5, 20]))]
                        self.read([k for k in some if k not in self.kept or r.random() < 0.1])
                    self.read([k for k in keys if k not in self.kept])
                except Exception as e:
                    failures.append(e)

        def write(n):
            c, r = Client(self.server.resp, PASSWORD), random.Random(n)
            try:
                i = 0
                while not stop.is_set():
                    i += 1
                    k, to, v = r.choice(keys), r.choice(keys), b"%d-%d" % (n, i)
                    c.say(*r.choice([[b"SET", k, v]] * 10 + [[b"DEL", k], [b"RENAME", k, to], [b"MSET", k, v, to, v], [b"SET", k, v, b"PX", b"20"],
                                                            [b"EVAL", b"redis.call('SET', KEYS[1], ARGV[1])", b"1", k, v], [b"FLUSHDB"]][:r.choice([10, 16])]))
                    if i % 20 == 0:
                        time.sleep(0.001)
            except Exception as e:
                failures.append(e)
            finally:
                c.close()

        caches = [Cache(self, []) for _ in range(4)] + [Cache(self, [b"OPTIN"]) for _ in range(2)]
        writers = [threading.Thread(target=write, args=(n,)) for n in range(3)]
        for t in caches + writers:
            t.start()
        time.sleep(seconds)
        for threads, end in ((writers, stop), (caches, quiet)):
            end.set()
            for t in threads:
                t.join()
        self.assertEqual(failures, [])
        time.sleep(0.5)  # what has a time is gone
        look = Client(self.server.resp, PASSWORD)
        now = {k: parsed(look.ask(b"GET", k)) for k in keys}
        kept = 0
        for cache in caches:
            cache.c.heard = []
            cache.c.socket.sendall(command(b"PING"))
            while True:
                v = cache.c.value()
                if not cache.c.note(v):
                    break
            cache.hear()
            for k, v in cache.kept.items():
                self.assertEqual(v, b"_" if now[k] is None and v == b"_" else now[k], k)
            kept += len(cache.kept)
            cache.c.close()
        look.close()
        self.assertGreater(kept, 0)
        print("%d reads; %d values were kept in the end" % (reads[0], kept))


if __name__ == "__main__":
    unittest.main()
