"""Laws of the Redis door, over generated command streams: framing, grouping and splitting change no answer, and what
redis-server tells of events and of its commands is told here. That all is answered as redis-server answers it is the matter
of test_differential.py. Each failure prints its seed;
CAIRN_WIRE_SECONDS says how long to go on (a minute in all by default), CAIRN_WIRE_SEED where to begin."""
import collections
import os
import random
import socket
import threading
import time
import unittest

from differences import Said, same, timeless
from harness import PASSWORD, Case, command, raw
from streams import KEYS, UNORDERED, UNSTABLE, Generator, Rows
from test_resp import BesidePeer

SECONDS = float(os.environ.get("CAIRN_WIRE_SECONDS", "40"))
SEED = int(os.environ.get("CAIRN_WIRE_SEED", "1"))


def inline(words):
    """The same command as one line."""
    out = []
    for w in words:
        if w and all(33 <= b < 127 and b not in b"\"'\\" for b in w):
            out.append(w)
        else:
            out.append(b'"' + b"".join(b"\\x%02x" % b for b in w) + b'"')
    return b" ".join(out) + b"\r\n"


class Answers:
    """Answers as they come, each whole, as bytes."""

    def __init__(self, port, password=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        if password:
            self.ask(b"AUTH", password.encode())

    def close(self):
        self.socket.close()

    def fill(self, n):
        while len(self.buffer) < n:
            part = self.socket.recv(1 << 16)
            if not part:
                raise EOFError("the connection was closed after %r" % self.buffer[:200])
            self.buffer += part

    def whole(self, at):
        """Where the value that begins here ends."""
        while True:
            end = self.buffer.find(b"\r\n", at)
            if end >= 0:
                break
            self.fill(len(self.buffer) + 1)
        kind, head = self.buffer[at:at + 1], self.buffer[at + 1:end]
        at = end + 2
        if kind in b"$=" and head != b"-1":
            at += int(head) + 2
            self.fill(at)
        elif kind in b"*~%" and head != b"-1":
            for _ in range(int(head) * (2 if kind == b"%" else 1)):
                at = self.whole(at)
        elif kind not in b"+-:$*_,#(":
            raise ValueError("no answer begins with %r" % self.buffer[at - 40:at + 40])
        return at

    def next(self):
        end = self.whole(0)
        answer, self.buffer = self.buffer[:end], self.buffer[end:]
        return answer

    def ask(self, *words):
        self.socket.sendall(command(*words))
        return self.next()


def parsed(answer):
    """Bytes to a value; errors stay bytes that begin with '-'."""
    def value(at):
        end = answer.index(b"\r\n", at)
        kind, head = answer[at:at + 1], answer[at + 1:end]
        at = end + 2
        if kind in b"*~%":
            if head == b"-1":
                return None, at
            out = []
            for _ in range(int(head) * (2 if kind == b"%" else 1)):
                v, at = value(at)
                out.append(v)
            return out, at
        if kind == b"$":
            if head == b"-1":
                return None, at
            return answer[at:at + int(head)], at + int(head) + 2
        return kind + head, at
    return value(0)[0]


def rows_of(connection):
    return Rows(parsed(connection.ask(b"COMMAND")))


class Wire(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        connection = Answers(cls.server.resp, PASSWORD)
        cls.rows = rows_of(connection)
        connection.close()
        cls.budget = SECONDS

    def connect(self):
        connection = Answers(self.server.resp, PASSWORD)
        self.addCleanup(connection.close)
        return connection

    def state(self, connection):
        out = []
        for db in (b"0", b"1"):
            connection.ask(b"SELECT", db)
            for key in KEYS:
                kind = connection.ask(b"TYPE", key)
                read = {b"+string\r\n": [b"GET", key], b"+list\r\n": [b"LRANGE", key, b"0", b"-1"],
                        b"+set\r\n": [b"SMEMBERS", key], b"+zset\r\n": [b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"],
                        b"+stream\r\n": [b"XRANGE", key, b"-", b"+"]}.get(kind, [b"HGETALL", key])
                value = connection.ask(*read) if kind != b"+none\r\n" else b""
                if kind == b"+stream\r\n":
                    value += connection.ask(b"XINFO", b"GROUPS", key)
                if kind == b"+hash\r\n":
                    flat = parsed(value)
                    value = sorted(zip(flat[::2], flat[1::2]))
                if kind == b"+set\r\n":
                    value = sorted(parsed(value))
                out.append((key, kind, value, connection.ask(b"EXPIRETIME", key) != b":-1\r\n"))
            out.append(connection.ask(b"DBSIZE"))
        return out

    def one_by_one(self, stream):
        c = self.connect()
        answers = [c.ask(*words) for words in stream]
        state = self.state(c)
        c.close()
        return answers, state

    def together(self, stream, seed):
        """The same bytes, or the same commands as lines, in pieces of any size."""
        r = random.Random(seed)
        c = self.connect()
        lines = r.choice([0, 0.5, 1])
        data, where = b"", r.choice([1 << 30, 100, 4096, 70000])
        for words in stream:
            line = inline(words)
            data += line if r.random() < lines and len(line) < 60000 else command(*words)

        def send():
            at = 0
            while at < len(data):
                n = r.randrange(1, min(where, len(data)) + 1)
                c.socket.sendall(data[at:at + n])
                at += n
        sender = threading.Thread(target=send)
        sender.start()
        answers = [c.next() for _ in stream]
        sender.join()
        state = self.state(c)
        c.close()
        return answers, state

    def test_framing_grouping_and_splitting_change_nothing(self):
        # In a table of members each has a place by a secret of its own: which of them are in a part is chance.
        names = [n for n in self.rows.rows if n not in UNSTABLE and n not in ("sscan", "zscan", "sort", "sort_ro")]
        end, seed = time.monotonic() + SECONDS * 3 / 4, SEED
        while time.monotonic() < end or seed == SEED:
            stream = Generator(seed, self.rows, names).stream(150)
            answers, state = self.one_by_one(stream)
            for way in range(2):
                others, after = self.together(stream, seed * 10 + way)
                for i, (a, b) in enumerate(zip(answers, others)):
                    if stream[i][0].lower().decode("latin1") in UNORDERED:
                        a, b = sorted(a), sorted(b)
                    if stream[i][0][:1].lower() == b"x" or stream[i][0].lower() == b"exec":
                        a, b = timeless(parsed(a)), timeless(parsed(b))
                    self.assertEqual(a, b, "seed %d way %d step %d: %r" % (seed, way, i, [w[:60] for w in stream[i]]))
                self.assertEqual(state, after, "seed %d way %d" % (seed, way))
            seed += 1
        print("framing: seeds %d to %d" % (SEED, seed - 1))


class Races(Case):
    def test_who_is_in_a_bucket_is_in_the_one_that_has_its_name_now(self):
        s3 = self.server.s3()
        s3.create_bucket(Bucket="again")
        c = Answers(self.server.resp, PASSWORD)
        self.assertEqual(c.ask(b"SELECT", b"again"), b"+OK\r\n")
        for i in range(3):
            c.ask(b"FLUSHDB")
            s3.delete_bucket(Bucket="again")
            self.assertEqual(c.ask(b"GET", b"k"), b"$-1\r\n")
            self.assertEqual(c.ask(b"SET", b"k", b"v")[:1], b"-")
            s3.create_bucket(Bucket="again")
            s3.put_object(Bucket="again", Key="k", Body=b"%d" % i)
            self.assertEqual(c.ask(b"GET", b"k"), b"$1\r\n%d\r\n" % i)
            self.assertEqual(c.ask(b"DBSIZE"), b":1\r\n")
            self.assertEqual(c.ask(b"SET", b"j", b"v"), b"+OK\r\n")
        c.ask(b"FLUSHDB")
        s3.delete_bucket(Bucket="again")
        c.close()

    def test_a_bucket_that_comes_and_goes_is_refused_or_served_but_never_stops_the_server(self):
        """Keys are resolved before the locks are taken, and the bucket may be another one by then."""
        s3, done = self.server.s3(), threading.Event()
        failures = []

        def copy(seed):
            r = random.Random(seed)
            c = Answers(self.server.resp, PASSWORD)
            c.ask(b"SET", b"a%d" % seed, b"x")
            try:
                while not done.is_set():
                    for words in ((b"COPY", b"a%d" % seed, b"b", b"DB", b"photos", b"REPLACE"),
                                  (b"SET", b"m", b"1"), (b"MOVE", b"m", b"photos"), (b"SELECT", b"photos"), (b"SET", b"k", b"v"),
                                  (b"GETSET", b"k", b"w"), (b"DEL", b"k", b"m", b"b"), (b"SELECT", b"0"), (b"MULTI",),
                                  (b"SET", b"in", b"db0"), (b"SELECT", b"photos"), (b"SET", b"k", b"v"),
                                  (b"DEL", b"k", b"b", b"m"), (b"SELECT", b"0"), (b"EXEC",)):
                        answer = c.ask(*words)
                        if words[0] == b"EXEC" and answer[:4] not in (b"*5\r\n", b"-EXE"):
                            failures.append(answer)
                    if r.random() < 0.1:
                        c.ask(b"PING")
                c.close()
            except Exception as e:  # the thread's end would go unseen
                failures.append(e)

        threads = [threading.Thread(target=copy, args=(seed,)) for seed in range(3)]
        for t in threads:
            t.start()
        for _ in range(60):
            for act in (s3.create_bucket, s3.delete_bucket):
                try:
                    act(Bucket="photos")
                except Exception as e:  # it is there still, or holds keys for the moment
                    if "Bucket" not in str(e):
                        failures.append(e)
        done.set()
        for t in threads:
            t.join()
        self.assertEqual(failures, [])
        self.assertTrue(self.server.redis().ping())


class AgainstRedis(BesidePeer, Wire):
    """What is told beside the answers."""

    test_framing_grouping_and_splitting_change_nothing = None

    # Between what time tells and what a reader finds, nobody can say which comes first.
    # Who tried is a consumer since 7.2.
    UNTIMELY = (b"expired", b"hexpired", b"xgroup-createconsumer")
    # What SORT derives from the elements is missed without a word.
    MISSES_MORE = (b"SORT", b"SORT_RO", b"EXEC")

    def events(self, listener, connection):
        """What the listener was told until now, but what depends on the moment or the version; and beside it what was
        missed, since nobody can say when, before the other events or after them."""
        connection.ask(b"PUBLISH", b"__key__:end", b"")
        out, missed = [], []
        while True:
            _, _, channel, message = parsed(listener.next())
            if channel == b"__key__:end":
                return out, missed
            if b"keymiss" in (message, channel.rpartition(b":")[2]):
                missed.append((channel, message))
            elif message not in self.UNTIMELY and not channel.endswith(tuple(b":" + e for e in self.UNTIMELY)):
                out.append((channel, message))

    @staticmethod
    def deletes(event, keys):
        _, _, of = event[0].partition(b"__:")
        return (of == b"del" and event[1] in keys) or (event[1] == b"del" and of in keys)

    def test_the_events_of_all_rows_are_those_of_redis(self):
        """Keyspace notifications, of all classes."""
        theirs = rows_of(Answers(self.peer.port))
        names = [n for n in self.rows.rows if n not in UNSTABLE and n in theirs.rows]
        end, seed, told = time.monotonic() + SECONDS / 4, SEED, 0
        while time.monotonic() < end or seed == SEED:
            asked, listeners, ends = [(self.connect(), Answers(self.peer.port)) for _ in range(3)]
            for a, l in zip(asked, listeners):
                self.assertEqual(a.ask(b"CONFIG", b"SET", b"notify-keyspace-events", b"AKEmn"), b"+OK\r\n")
                l.ask(b"PSUBSCRIBE", b"__key*__:*")
            queued, due = [], set()
            for i, words in enumerate(Generator(seed, self.rows, names).stream(300)):
                x, y = [parsed(a.ask(*words)) for a in asked]
                if words[-2:] == [b"PXAT", b"1"]:
                    due.add(words[1])
                if words == [b"MULTI"]:
                    queued = []
                if x == b"+QUEUED":
                    queued.append(words)
                alike, parted = same(Said(words, x, y, True, queued), collections.Counter())
                if not alike or parted or (words[0][:1] in b"xX" and b"~" in words):
                    break  # the states differ from here on; why is another test's matter
                ours, redis = [self.events(l, a) for l, a in zip(listeners, ends)]
                # A result that is empty deletes, for redis-server, also what is due and was not looked for.
                ours, redis = [([e for e in news if not self.deletes(e, due)], missed) for news, missed in (ours, redis)]
                told += len(ours[0])
                refused = isinstance(x, bytes) and x[:1] == b"-"  # before it looked, or after
                if refused or words[0].upper() in self.MISSES_MORE:
                    ours, redis = ours[0], redis[0]
                if ours != redis:
                    self.fail("seed %d step %d: %r\n  answers %r\n  tells   %r\n  redis   %r" % (
                        seed, i, [w[:60] for w in words], repr(x)[:200], ours, redis))
            for connection in asked + listeners + ends:
                connection.close()
            seed += 1
        self.assertGreater(told, 100)
        print("events as redis-server's: seeds %d to %d, %d told" % (SEED, seed - 1, told))

    def test_command_tells_of_each_row_what_redis_tells(self):
        """Arity, keys and their flags, as clients and proxies read them."""
        a, b = self.connect(), Answers(self.peer.port)
        theirs = rows_of(b)
        for name, row in self.rows.rows.items():
            if name not in theirs.rows or name == "migrate":
                continue  # its keys are looked for where its options are, not from the end
            x, y = (parsed(c.ask(b"COMMAND", b"INFO", name.encode()))[0] for c in (a, b))
            if name not in ("zrank", "zrevrank"):  # WITHSCORE is of 7.2
                self.assertEqual(x[1], y[1], name)
            self.assertEqual(x[3:6], y[3:6], name)
            for i in (2, 6):
                ours, reference = set(x[i]), set(y[i])
                if name in DIFFERENT_FLAGS:
                    ours, reference = ours - DIFFERENT_FLAGS[name], reference - DIFFERENT_FLAGS[name]
                self.assertEqual(ours, reference, name)
            strip = lambda specs: [dict(zip(s[::2], s[1::2])) for s in specs]
            for s, t in zip(strip(x[8]), strip(y[8])):
                self.assertEqual(sorted(s[b"flags"]), sorted(t[b"flags"]), name)
                self.assertEqual((s[b"begin_search"], s[b"find_keys"]), (t[b"begin_search"], t[b"find_keys"]), name)
            self.assertEqual(len(x[8]), len(y[8]), name)
        for words in ((b"SET", b"a", b"b"), (b"SET", b"a", b"b", b"GET"), (b"BITFIELD", b"a"), (b"MOVE", b"a", b"1"),
                      (b"BITFIELD", b"a", b"INCRBY", b"u8", b"0", b"1"), (b"COPY", b"a", b"b", b"DB", b"1"),
                      (b"BITOP", b"AND", b"a", b"b", b"c"), (b"MSET", b"a", b"1", b"b", b"2"), (b"MSET", b"a"),
                      (b"OBJECT", b"ENCODING", b"a"), (b"OBJECT", b"FOO", b"a"), (b"PING", b"a"), (b"NOSUCH", b"a"),
                      (b"SINTERCARD", b"2", b"a", b"b", b"LIMIT", b"1"), (b"SINTERCARD", b"3", b"a"), (b"SINTERCARD", b"x", b"a"),
                      (b"SMOVE", b"a", b"b", b"c"), (b"SUNIONSTORE", b"a", b"b", b"c"), (b"SINTERSTORE", b"a", b"b", b"c"),
                      (b"SORT", b"a", b"BY", b"w*", b"STORE", b"b"), (b"SORT_RO", b"a", b"GET", b"x*"), (b"SORT", b"a", b"STORE"),
                      (b"GEORADIUS", b"a", b"1", b"2", b"3", b"m", b"STOREDIST", b"b"), (b"GEOSEARCHSTORE", b"a", b"b", b"3", b"4", b"5", b"6", b"7"),
                      (b"MIGRATE", b"h", b"1", b"k", b"0", b"9"), (b"MIGRATE", b"h", b"1", b"", b"0", b"9"),
                      (b"MIGRATE", b"h", b"1", b"", b"0", b"9", b"KEYS", b"a", b"b"), (b"MIGRATE", b"h", b"1", b"k", b"0", b"9", b"COPY", b"KEYS", b"a"),
                      (b"MIGRATE", b"h", b"1", b"k", b"0", b"9", b"COPY", b"AUTH2", b"KEYS", b"x"), (b"MIGRATE", b"h", b"1", b"", b"0", b"9", b"KEYS"), (b"MIGRATE", b"h", b"1", b"k", b"0", b"9", b"KEYS"),
                      (b"MIGRATE", b"h", b"1", b"", b"0", b"9", b"auth", b"KEYS", b"keys", b"a"), (b"MIGRATE", b"h", b"1", b"", b"0", b"9", b"AUTH", b"x"),
                      (b"ZUNIONSTORE", b"d", b"0", b"a"), (b"ZUNIONSTORE", b"d", b"2", b"a"), (b"ZUNIONSTORE", b"d", b"x", b"a"), (b"ZUNIONSTORE", b"d", b"1", b"a"),
                      (b"ZINTER", b"-1", b"a"), (b"LMPOP", b"0", b"a", b"LEFT"), (b"BLMPOP", b"0", b"2", b"a", b"b", b"LEFT"), (b"EVAL", b"", b"x"),
                      (b"EVAL", b"", b"0"), (b"EVAL", b"", b"2", b"a"), (b"XREAD", b"STREAMS", b"a", b"b", b"0", b"0"), (b"FCALL", b"f", b"1", b"a"),
                      (b"RENAME", b"a", b"b"), (b"CLIENT", b"KILL", b"a"), (b"GET", b"a", b"b")):
            for sub in (b"GETKEYS", b"GETKEYSANDFLAGS"):
                self.assertEqual(a.ask(b"COMMAND", sub, *words), b.ask(b"COMMAND", sub, *words), words)
        b.close()

    def test_command_tells_it_in_the_types_of_redis(self):
        """In RESP3: what is a set there was an array."""
        pair = self.connect(), Answers(self.peer.port)
        def shape(answer):  # without the words
            return [line[:1] if line[:1] in b"$+" else line for line in answer.split(b"\r\n") if line[:1] in b"*~%$+:_-" and line]
        for protocol in (b"2", b"3"):
            for c in pair:
                c.ask(b"HELLO", protocol)
            for name in (b"DEL", b"GET", b"PING", b"TIME", b"OBJECT|HELP", b"OBJECT|ENCODING", b"HGETALL", b"FLUSHALL"):
                ours, theirs = (c.ask(b"COMMAND", b"INFO", name) for c in pair)
                self.assertEqual(shape(ours), shape(theirs), name)
            for words in ((b"INFO", b"nosuch"), (b"GETKEYSANDFLAGS", b"GET", b"a"), (b"LIST", b"FILTERBY", b"PATTERN", b"get")):
                self.assertEqual(*(c.ask(b"COMMAND", *words) for c in pair), words)
            containers = [c.ask(b"COMMAND", b"INFO", b"OBJECT") for c in pair]
            self.assertEqual(*(answer[:answer.index(b"*10", 8)] for answer in containers))
        pair[1].close()

    def test_command_docs_tell_what_is_deprecated_as_redis_tells_it(self):
        pair = self.connect(), Answers(self.peer.port)
        def old(docs, into):
            for name, fields in zip(docs[::2], docs[1::2]):
                fields = dict(zip(fields[::2], fields[1::2]))
                into[name] = [fields.get(f) for f in (b"doc_flags", b"deprecated_since", b"replaced_by")]
                old(fields.get(b"subcommands", []), into)
            return into
        ours, theirs = (old(parsed(c.ask(b"COMMAND", b"DOCS")), {}) for c in pair)
        for name in set(ours) & set(theirs):
            self.assertEqual(ours[name], theirs[name], name)
        self.assertEqual(ours[b"hmset"][0], [b"+deprecated"])
        pair[1].close()

    def test_command_docs_tell_the_arguments_that_redis_tells(self):
        a, b = self.connect(), Answers(self.peer.port)
        def arguments(docs):
            if not docs:
                return None
            fields = dict(zip(docs[1][::2], docs[1][1::2]))
            return fields.get(b"arguments")
        def plain(of):
            pairs = dict(zip(of[::2], of[1::2]))
            pairs.pop(b"since", None)
            pairs.pop(b"deprecated_since", None)
            pairs[b"arguments"] = [plain(x) for x in pairs.get(b"arguments", [])]
            return pairs
        compared = 0
        for name in self.rows.rows:
            ours, theirs = (arguments(parsed(c.ask(b"COMMAND", b"DOCS", name.encode()))) for c in (a, b))
            if theirs and name not in ("zrank", "zrevrank", "set", "xadd", "xtrim"):  # which have more since
                self.assertEqual([plain(x) for x in ours or []], [plain(x) for x in theirs], name)
                compared += 1
        self.assertGreater(compared, 100)
        b.close()

    def test_command_list_names_subcommands_too_and_under_the_same_categories(self):
        a, b = self.connect(), Answers(self.peer.port)
        theirs = rows_of(b)
        listed = lambda c, *words: {n.lstrip(b"+") for n in parsed(c.ask(b"COMMAND", b"LIST", *words))}
        both = {n.encode() for n in self.rows.rows if n in theirs.rows and n not in DIFFERENT_FLAGS}
        self.assertIn(b"client|list", both)
        self.assertLessEqual(both, listed(a))
        for category in parsed(b.ask(b"ACL", b"CAT")):
            words = (b"FILTERBY", b"ACLCAT", category)
            self.assertEqual(listed(a, *words) & both, listed(b, *words) & both, category)
        b.close()

    def test_lengths_are_read_as_redis_reads_them(self):
        rng = random.Random(SEED)
        texts = {b"0", b"1", b"-1", b"-5", b"10", b"-", b"", b"-0", b"+1", b"01", b"1.0", b"1e0", b"0x1", b" 1", b"1 ", b"00"}
        texts |= {bytes(rng.choice(b"0011-+ .x") for _ in range(rng.randint(1, 4))) for _ in range(200)}
        for text in sorted(texts):
            if text.strip(b"01") == b"" and int(text or b"0") > 1:
                continue  # well-formed, and more is to come
            for data in (b"*%s\r\n$4\r\nPING\r\nPING\r\n", b"*2\r\n$4\r\nECHO\r\n$%s\r\na\r\nPING\r\n"):
                if b"ECHO" in data:  # as long as it says, if it says so: Redis does not look behind it
                    data = data.replace(b"a", b"a" * (int(text) if text.isdigit() else 1))
                ours, theirs = (raw(port, before + data % text) for port, before in (
                    (self.server.resp, b"AUTH %s\r\n" % PASSWORD.encode()), (self.peer.port, b"PING\r\n")))
                self.assertEqual(ours.split(b"\r\n", 1)[1], theirs.split(b"\r\n", 1)[1], data % text)

    def test_what_was_answered_otherwise(self):
        """One by one, what an outside look found."""
        a, b = self.connect(), Answers(self.peer.port)
        for words in SINGLE:
            x, y = (c.ask(*(w.encode() if isinstance(w, str) else w for w in words)) for c in (a, b))
            if words[0] == "KEYS":
                x, y = sorted(parsed(x)), sorted(parsed(y))
            self.assertEqual(x, y, [w[:60] for w in words])
        b.close()


# SAVE and its like do not write a snapshot beside the database, so they load nothing either.
DIFFERENT_FLAGS = {
    "watch": {b"+allow_busy"},  # of a key that a script has, it waits
    "echo": {b"+loading"}, "shutdown": {b"+loading"},
    # Since 7.2 scripts may call them, and do not wait.
    **{name: {b"+noscript"} for name in "blpop brpop blmove brpoplpush bzpopmin bzpopmax".split()},
}
LONG = "x" * 5000
SINGLE = [w.split() for w in """FLUSHALL
BITFIELD k SET I8 0 0
SET s foobar
BITPOS s 0 1 hello hello2
BITPOS s 0 1 hello
BITPOS s 0 hello 2 BIT
COPY s b DB x
COPY s b DB 2147483648
COPY s b DB 99
COPY s b DB 1 DB x
COPY s b DB 1 DB 2
MOVE s 2147483648
CLIENT KILL USER nobody
CLIENT KILL ID x
CLIENT KILL ADDR
CONFIG SET timeout 0 timeout 1
CONFIG SET databases 4
CONFIG SET databases 4 databases 4
CONFIG SET maxclients 0
CONFIG SET maxclients x
CONFIG SET timeout -1
CONFIG SET timeout 7 maxclients 0
CONFIG GET timeout
CONFIG SET nothing 1
CONFIG SET timeout
CONFIG SET timeout 1 maxclients
CONFIG SET maxmemory 1x
CONFIG SET maxmemory-policy foo
CONFIG SET appendfsync foo
CONFIG SET appendonly foo
CONFIG SET maxmemory-clients 101%
CONFIG SET maxmemory-clients -1%
CONFIG SET maxmemory-clients foo
CONFIG SET proto-max-bulk-len 5
CONFIG FOO
CONFIG REWRITE
CLUSTER
CLUSTER INFO
CLUSTER KEYSLOT
CLUSTER KEYSLOT a
CLUSTER HELP
CLUSTER HELP x
CLUSTER FOO
READONLY
READWRITE
ASKING
RESTORE-ASKING a
RESTORE-ASKING a 0 b
REPLICAOF NO ONE
REPLICAOF NO
SLAVEOF no one
FAILOVER
FAILOVER ABORT
FAILOVER TO a 1
FAILOVER TO a x
FAILOVER FOO
FAILOVER FORCE
FAILOVER TIMEOUT 0
FAILOVER TIMEOUT x
FAILOVER TIMEOUT 1
FAILOVER TIMEOUT
LOLWUT VERSION x
MODULE
MODULE LIST
MODULE LIST x
MODULE FOO
BGSAVE FOO
BGSAVE SCHEDULE FOO
SCAN -1 MATCH nothing
SCAN 9223372036854775808 MATCH nothing
SCAN 18446744073709551615 MATCH nothing
SCAN 18446744073709551616
SCAN x
HSCAN nokey -1
RPUSH l a b c a b c
LPOP l x
LPOP l -1
LPOP l 0
LPOP nokey 0
LPOP s -1
LPOP l 1 2
LPOS l a RANK 0
LPOS l a RANK x
LPOS l a COUNT -1
LPOS l a MAXLEN x
LPOS l a COUNT 0 RANK -1
LPOS l a COUNT
LPOS nokey a COUNT 1
LPOS nokey a
LPOS s a RANK 0
LSET nokey x a
LSET l x a
LSET l 100 a
LSET s x a
LINSERT s foo a b
LINSERT nokey before a b
LINSERT l before z b
LREM s x a
LREM l -9223372036854775808 b
LINDEX nokey x
LINDEX s x
LMOVE l s left right
LMOVE nokey s left right
LMOVE l l left right
LMPOP x l left
LMPOP 0 l left
LMPOP 1 l foo
LMPOP 1 l left count 0
LMPOP 1 l left count
LMPOP 2 l left
LMPOP 1 l left foo
LMPOP 9223372036854775807 l left
LMPOP 1 l left count 9223372036854775807
LPUSHX s a
EXISTS l
XADD s 1-1 a b
XADD st foo a b
XADD st 0-0 a b
XADD st 0 a b
XADD st 5-* a b
XADD st 5 a b
XADD st 5-1 a
XADD st MAXLEN 5 MINID 5 * a b
XADD st LIMIT 5 * a b
XADD st MAXLEN = 5 LIMIT 5 * a b
XADD st MAXLEN -1 * a b
XADD st MAXLEN ~ 5 LIMIT -1 * a b
XADD st MAXLEN x * a b
XADD st MINID x * a b
XADD nokey NOMKSTREAM * a b
XADD st + a b
XADD st *-1 a b
XADD st *
XADD st 5-6-7 a b
XTRIM st MAXLEN
XTRIM st FOO 5
XTRIM st MINID ~ 5 LIMIT
XTRIM st MAXLEN 5 FOO
XTRIM s MAXLEN 5
XTRIM nokey MAXLEN 4
XSETID st 4
XSETID nokey 5
XSETID st 5 ENTRIESADDED
XSETID st 5-1 ENTRIESADDED -1
XSETID st 5-1 MAXDELETEDID 8-1
XSETID st 9 ENTRIESADDED 0
XRANGE st - + COUNT
XRANGE st - + COUNT x
XRANGE st - + COUNT -5
XRANGE nokey - + COUNT 0
XRANGE st (- +
XRANGE st (18446744073709551615-18446744073709551615 +
XRANGE st - (0-0
XRANGE s x +
XREAD STREAMS st
XREAD STREAMS st t 0
XREAD BLOCK x STREAMS st 0
XREAD BLOCK -1 STREAMS st 0
XREAD STREAMS st >
XREAD GROUP g c STREAMS st 0
XREAD NOACK STREAMS st 0
XREAD STREAMS s 0
XREAD STREAMS st +
XREAD STREAMS st $
XREADGROUP GROUP g c STREAMS st >
XREADGROUP STREAMS st st st st > x
XGROUP CREATE nokey g 0
XGROUP CREATE st g x
XGROUP CREATE st g 0 FOO
XGROUP CREATE st g 0 ENTRIESREAD
XGROUP CREATE st g 0 ENTRIESREAD -2
XGROUP CREATE st g 0
XGROUP CREATE st g 0
XREADGROUP GROUP g c STREAMS st $
XREADGROUP GROUP g c STREAMS st >
XREADGROUP GROUP g c STREAMS st 0
XREADGROUP GROUP g c STREAMS st st 0 0
XGROUP SETID st nog 0
XGROUP SETID st g +
XGROUP SETID st g 0 MKSTREAM
XGROUP DESTROY nokey g
XGROUP DESTROY st nog
XGROUP CREATECONSUMER st nog c
XGROUP DELCONSUMER st nog c
XGROUP FOO
XINFO FOO
XINFO STREAM nokey
XINFO STREAM st FOO
XINFO STREAM st FULL COUNT x
XINFO GROUPS s
XINFO CONSUMERS st nog
XACK st g foo
XACK nokey g foo
XPENDING st g
XPENDING st g - +
XPENDING st g IDLE 5
XPENDING st g IDLE x - + 10
XPENDING st nog
XPENDING st g - + x
XCLAIM st g d x 5-0
XCLAIM st g d 0 5-0 FOO
XCLAIM st g d 0 5-0 TIME x
XCLAIM st g d 0 5-0 IDLE
XCLAIM st nog d 0 5-0
XCLAIM st g d 0 5-0 FORCE
XAUTOCLAIM st g e 0 x
XAUTOCLAIM st g e x 0
XAUTOCLAIM st g e 0 0 COUNT 0
XAUTOCLAIM st g e 0 0 COUNT
XAUTOCLAIM st nog e 0 0
XAUTOCLAIM st g e 0 0
OBJECT ENCODING st
CONFIG GET stream-node-max-bytes
CONFIG GET stream-node-max-entries
DEL st
MULTI
BGSAVE FOO
HELLO 2
DISCARD
HSET h f 1
HINCRBYFLOAT h f inf
HINCRBYFLOAT h f -inf
HINCRBYFLOAT h f nan
INCRBYFLOAT nf 1e4000
INCRBYFLOAT nf 1
INCRBYFLOAT nf inf
INCRBYFLOAT nf 1e5000
EXISTS nf
OBJECT ENCODING
OBJECT FOO bar
OBJECT FREQ nokey
OBJECT IDLETIME nokey
COMMAND GETKEYS
COMMAND INFO nosuch
COMMAND COUNT x
MIGRATE 127.0.0.1 1 h 0 5000
LMPOP 1 l LEFT COUNT 0 extra
LMPOP 1 l LEFT COUNT x extra
LMPOP 1 l LEFT COUNT 1 extra
LMPOP 1 l LEFT COUNT
LMPOP 1 l LEFT extra COUNT 0
BLMPOP 0.01 1 l LEFT COUNT 0 extra
ZMPOP 1 l MIN COUNT 0 extra
XADD end 18446744073709551615-18446744073709551615 a b
XTRIM end MAXLEN ~ 0
XADD near 1-1 a b
XADD near 18446744073709551615-18446744073709551615 a b
XTRIM near MINID ~ 18446744073709551615-18446744073709551615
XLEN near
XTRIM near MAXLEN ~ 1
XTRIM near MAXLEN 0
DEL end near
COMMAND LIST FILTERBY
COMMAND LIST FILTERBY MODULE x
COMMAND FOO
CLIENT
CLIENT FOO
CLIENT GETREDIR
CLIENT PAUSE x
CLIENT PAUSE -1
CLIENT PAUSE 1 FOO
CLIENT PAUSE 99999999999999999999
CLIENT UNPAUSE
SLOWLOG GET x
SLOWLOG GET -2
SLOWLOG FOO
LATENCY FOO
LATENCY GRAPH x
LATENCY HISTORY x
LATENCY RESET x
MEMORY FOO
MEMORY USAGE nokey
MEMORY USAGE nokey FOO
MEMORY USAGE nokey SAMPLES
MEMORY USAGE nokey SAMPLES -1
MEMORY USAGE nokey SAMPLES x
DEBUG SLEEP 0
CONFIG SET loglevel foo
CONFIG SET latency-tracking foo
CONFIG SET save foo
SADD set 1 2 3
SADD word x
SRANDMEMBER set -9223372036854775808
SRANDMEMBER set 9223372036854775808
SRANDMEMBER set x
SRANDMEMBER set 1 2
SRANDMEMBER set 0
SRANDMEMBER nokey
SRANDMEMBER nokey 5
SRANDMEMBER nokey -5
SRANDMEMBER word
SRANDMEMBER word 5
SRANDMEMBER word -3
SRANDMEMBER nf 1
SPOP set -1
SPOP set x
SPOP set 1 2
SPOP set 0
SPOP set 99999999999999999999
SPOP nokey
SPOP nokey 3
SPOP word 7
EXISTS word
SADD word x
SPOP word
EXISTS word
SINTERCARD 0 set
SINTERCARD x set
SINTERCARD 3 set
SINTERCARD 1 set LIMIT
SINTERCARD 1 set LIMIT -1
SINTERCARD 1 set LIMIT x
SINTERCARD 1 set LIMIT 1 LIMIT 2
SINTERCARD 1 set FOO 1
SINTERCARD 1 set set
SMOVE set set 9
SMOVE set set 1
SMOVE nokey set 1
SMOVE set nf 1
SMOVE nf set 1
SSCAN set 0 NOVALUES
SSCAN set 0 COUNT 0
SSCAN set 0 COUNT x
SSCAN set 0 MATCH
SSCAN nokey 0 FOO
SINTERSTORE to set nokey
SDIFFSTORE to set nokey
SINTER nokey nf
SUNION nokey set word
OBJECT ENCODING set
DEL set to
PING a b""".split("\n")] + [
    ["SET", "l1", LONG], ["SET", "l2", LONG[:-1] + "y"], ["LCS", "l1", "l2", "LEN"], ["LCS", "l1", "l2"],
    ["LCS", "l1", "l2", "IDX", "WITHMATCHLEN"],
    ["CONFIG", "SET", "client-output-buffer-limit", "normal 0 0"],
    ["CONFIG", "SET", "client-output-buffer-limit", "nobody 0 0 0"],
    ["CONFIG", "SET", "client-output-buffer-limit", "normal 1x 0 0"],
    ["CONFIG", "SET", "client-output-buffer-limit", ""],
    ["CONFIG", "GET", "client-output-buffer-limit"],
    ["KEYS", "*" * 70000], ["DEL", "l1", "l2", "s", "b", "h", "nf"], ["SCAN", "0", "MATCH", "k" * 70000],
]


if __name__ == "__main__":
    unittest.main()
