"""Laws of the Redis door, over generated command streams: framing, grouping and splitting change no answer,
and what redis-server knows is answered as redis-server answers it. Each failure prints its seed;
CAIRN_WIRE_SECONDS says how long to go on (a minute in all by default), CAIRN_WIRE_SEED where to begin."""
import os
import random
import re
import socket
import threading
import time
import unittest

from harness import PASSWORD, Case, command
from test_dump import payload
from test_resp import BesidePeer

SECONDS = float(os.environ.get("CAIRN_WIRE_SECONDS", "40"))
SEED = int(os.environ.get("CAIRN_WIRE_SEED", "1"))

NUMBERS = [b"%d" % (base + d) for base in (0, 1 << 31, 1 << 32, -(1 << 31)) for d in (-1, 0, 1)] + [
    b"%d" % n for n in (2, 3, 7, 8, 10, 100, (1 << 63) - 1, 1 << 63, -(1 << 63), -(1 << 63) - 1, 1 << 64, 1 << 48)] + [
    b"007", b"+1", b"1.5", b"-0", b"1e3", b"nan", b"inf", b"-inf", b"1e4000", b"1e5000", b"-1e-4950", b"0x10",
    b" 1", b"1 ", b"1" * 300]
OPTIONS = b"""NX XX GT LT GET EX PX EXAT PXAT KEEPTTL PERSIST WITHVALUES MATCH COUNT TYPE BIT BYTE LEN IDX
WITHMATCHLEN MINMATCHLEN LEFT RIGHT BEFORE AFTER RANK MAXLEN AND OR XOR NOT SET INCRBY OVERFLOW WRAP SAT FAIL DB REPLACE SYNC ASYNC string hash u8 i8 i64
u63 u64 I8 #1 #0 * k* h? [a-z]* default MINID = ~ LIMIT NOMKSTREAM GROUP STREAMS NOACK $ > - + 0-0 3-1 5-* (2-2 IDLE TIME
RETRYCOUNT FORCE JUSTID LASTID MKSTREAM ENTRIESREAD ENTRIESADDED MAXDELETEDID FULL g c""".split()
# Of these the answer depends on the moment, the process, what redis-server shares (OBJECT REFCOUNT) or the table's order, is not one,
# or ends the test.
UNSTABLE = set("""info client|list client|info client|id client|kill client|reply client|setinfo client|no-touch config|set
config|resetstat config|rewrite config|get time lastsave randomkey hrandfield shutdown ttl pttl object|idletime object|freq
object|refcount object|help client|help config|help command|help command command|info command|docs command|list command|count auth
hello reset quit save bgsave waitaof select multi exec discard watch object|encoding httl hpttl hexpiretime hpexpiretime
subscribe unsubscribe psubscribe punsubscribe ssubscribe sunsubscribe pubsub|help xgroup|help xinfo|help spop srandmember zrandmember
client|pause client|unpause debug latency|doctor latency|graph latency|help latency|histogram latency|history latency|latest latency|reset
asking psync sync replconf replicaof slaveof lolwut module|help restore-asking memory|doctor memory|help memory|malloc-stats memory|purge memory|stats memory|usage monitor role slowlog|get slowlog|help slowlog|len
slowlog|reset dump migrate script|debug script|help function|help function|dump""".split())
# The word that says how long it waits, from the end if negative.
TIMED = {"blpop": -1, "brpop": -1, "blmove": -1, "brpoplpush": -1, "bzpopmin": -1, "bzpopmax": -1, "blmpop": 1, "bzmpop": 1, "wait": 2}
UNORDERED = set("keys scan hscan hkeys hvals hgetall sscan smembers sinter sunion sdiff zscan".split())
SIZED = set("setbit setrange bitfield".split())  # redis-server would make 512 MB of some numbers
KEYS = [b"k%d" % i for i in range(8)] + [b"%c%d" % (kind, i) for kind in b"hlsxz" for i in range(4)] + [b"", b"absent"]
PAYLOADS = [payload(body) for body in (
    b"\x00\x05hello", b"\x00\xc0\x11", b"\x00\x41\x00" + b"y" * 256, b"\x01\x02\x01a\x01b", b"\x02\x02\x01a\x011", b"\x02\x02\x01a\x01a",
    b"\x04\x01\x02f1\x01x", b"\x05\x02\x01a\0\0\0\0\0\0\xf0\x3f\x01b\0\0\0\0\0\0\0\0", b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x01\0\x05\0",
    b"\x10\x0d\x0d\0\0\0\x02\0\x81f\x02\x07\x01\xff", b"\x02\x00", b"\x06\x01", b"\x00\x3fhell")] + [payload(b"\x00\x01a", 13), b"", b"x" * 20]
ZKEYS = KEYS[24:28]  # sorted sets, most of them
GKEYS = [b"g%d" % i for i in range(3)]  # of places
KEYS += GKEYS
# Members have places of their own, so that no two are equally far from a third; some are where the earth or its grid ends.
PLACES = [(13.361389, 38.115556), (15.087269, 37.502669), (2.3488, 48.85341), (-0.1277, 51.5073), (-74.0059, 40.71278), (151.2093, -33.8688),
          (179.9871, -16.5), (-179.8113, -17.25), (18.9, 79.3331), (-170.35, 84.1013), (10.017, 84.9), (0.013, 0.0071), (-60.4, -84.417), (180, 10.53)]
BIG = bytes(range(256)) * 300  # lies in extents


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


class Rows:
    """What COMMAND says of each row: name words, arity, keys."""

    def __init__(self, connection):
        self.rows = {}
        for row in parsed(connection.ask(b"COMMAND")):
            self.add(row)

    def add(self, row):
        if row[9]:
            for sub in row[9]:
                self.add(sub)
        name = row[0].decode()
        if not (row[9] and name != "command"):
            self.rows[name] = (name.encode().split(b"|"), int(row[1][1:]), *(int(x[1:]) for x in row[3:6]))


class Generator:
    def __init__(self, seed, rows, names):
        self.r = random.Random(seed)
        self.rows = rows
        self.names = sorted(names)

    def word(self, name):
        r = self.r
        x = r.random()
        if x < 0.35:
            n = r.choice(NUMBERS)
            if name in SIZED and n.lstrip(b"-+").isdigit() and 10000 < abs(int(n)) < 1 << 33:
                n = b"77"
            return n
        if x < 0.7:
            return r.choice(OPTIONS)
        if x < 0.72 and name not in SIZED:
            return BIG[:r.choice([65536, 65537, 70000])]
        return r.choice([b"", b"a", b"value", b"\x00\xff", b"f1", b"f2", b"k1", b"x" * r.randrange(100)])

    def likely(self, name):
        """What the row wants more often than not, so that not all is a syntax error."""
        r = self.r
        n = lambda: r.choice([b"0", b"1", b"-1", b"5", b"-3", b"100"])
        word = lambda: r.choice([b"", b"a", b"17", b"3.5", b"value"])
        words = lambda: [word() for _ in range(r.randrange(1, 4))]
        side = lambda: r.choice([b"LEFT", b"RIGHT", b"left"])
        members = lambda: [r.choice([b"", b"a", b"b", b"1", b"-1", b"17", b"017", b"70000", b"-5000000000", b"x" * 70])
                           for _ in range(r.choice([1, 1, 2, 5]))]
        fields = lambda: [b"FIELDS", b"1", b"f%d" % r.randrange(4)]
        sid = lambda: r.choice([b"%d-%d" % (r.randrange(1, 30), r.randrange(4)), b"%d" % r.randrange(1, 30)])
        sids = lambda: [sid() for _ in range(r.randrange(1, 4))]
        pair = lambda: [b"f%d" % r.randrange(3), word()]
        group, consumer = b"g%d" % r.randrange(2), b"c%d" % r.randrange(3)
        streams = lambda last: (lambda n: [b"STREAMS"] + [r.choice(KEYS[20:24]) for _ in range(n)] + [last() for _ in range(n)])(r.choice([1, 1, 2]))
        count = lambda: r.choice([[], [b"COUNT", n()]])
        trim = lambda: r.choice([[b"MAXLEN", n()], [b"MAXLEN", b"~", n()], [b"MINID", b"=", sid()], [b"MINID", b"~", sid(), b"LIMIT", n()],
                                 [b"MAXLEN", b"~", n(), b"LIMIT", n()]])
        idle = lambda: r.choice([b"0", b"0", b"100000000"])
        policy = lambda: r.choice([[], [b"KEEPREF"], [b"delref"], [b"ACKED"]])
        ids = lambda: (lambda some: [b"IDS", b"%d" % r.choice([len(some)] * 9 + [0, 100])] + some)(sids())
        return {
            "xadd": lambda: r.choice([[], [], [b"NOMKSTREAM"], trim()]) + [r.choice([b"%d-*" % r.randrange(1, 30), sid()])] + pair() + r.choice([[], pair()]),
            "xtrim": trim, "xdel": sids, "xlen": lambda: [],
            "xdelex": lambda: policy() + ids(), "xackdel": lambda: [group] + ids() + policy(),
            "xrange": lambda: [r.choice([b"-", sid(), b"(" + sid()]), r.choice([b"+", sid(), b"(" + sid()])] + count(),
            "xrevrange": lambda: [r.choice([b"+", sid(), b"(" + sid()]), r.choice([b"-", sid(), b"(" + sid()])] + count(),
            "xsetid": lambda: [sid()] + r.choice([[], [b"ENTRIESADDED", b"100"], [b"MAXDELETEDID", sid(), b"ENTRIESADDED", n()]]),
            "xread": lambda: count() + streams(lambda: r.choice([b"0", sid(), b"$"])),
            "xreadgroup": lambda: [b"GROUP", group, consumer] + count() + r.choice([[], [], [b"NOACK"]]) + streams(lambda: r.choice([b">", b">", b"0", sid()])),
            "xgroup|create": lambda: [group, r.choice([b"0", b"$", sid()])] + r.choice([[], [b"MKSTREAM"], [b"ENTRIESREAD", n()]]),
            "xgroup|setid": lambda: [group, r.choice([b"0", b"$", sid()])] + r.choice([[], [b"ENTRIESREAD", n()]]),
            "xgroup|destroy": lambda: [group], "xgroup|createconsumer": lambda: [group, consumer],
            "xgroup|delconsumer": lambda: [group, consumer],
            "xack": lambda: [group] + sids(),
            "xpending": lambda: [group] + r.choice([[], [b"-", b"+", b"10"], [b"-", b"+", b"10", consumer], [b"IDLE", idle(), sid(), b"+", n()], [b"(" + sid(), sid(), n()]]),
            "xclaim": lambda: [group, consumer, idle()] + sids() + r.choice([[], [b"JUSTID"], [b"FORCE"], [b"RETRYCOUNT", n()], [b"IDLE", b"100000", b"FORCE"], [b"TIME", b"5"], [b"LASTID", sid()]]),
            "xautoclaim": lambda: [group, consumer, idle(), r.choice([b"0", b"-", b"(" + sid(), sid()])] + count() + r.choice([[], [b"JUSTID"]]),
            "xinfo|stream": lambda: r.choice([[], [b"FULL"], [b"FULL", b"COUNT", n()]]),
            "xinfo|groups": lambda: [], "xinfo|consumers": lambda: [group],
            "set": lambda: [word()] + r.choice([[], [b"GET"], [b"NX"], [b"XX", b"GET"], [b"KEEPTTL"], [b"PXAT", b"99999999999999"]]),
            "restore": lambda: [r.choice([b"0", b"0", b"100000000", b"-1", b"x"]), r.choice(PAYLOADS)] + r.choice(
                [[], [b"REPLACE"], [b"replace"], [b"ABSTTL", b"REPLACE"], [b"IDLETIME", n()], [b"FREQ", n()], [b"FREQ", b"5", b"IDLETIME", b"5"], [b"FOO"]]),
            "digest": lambda: [], "delex": lambda: r.choice([[], [r.choice([b"IFEQ", b"IFNE", b"IFDEQ"]), word()], [b"IFDNE", b"0" * 16]]),
            "increx": lambda: r.choice([[], [b"BYINT", n()], [b"BYFLOAT", word()]]) + r.choice([[], [b"UBOUND", n()], [b"LBOUND", n(), b"SATURATE"]]) + r.choice(
                [[], [b"EXAT", b"99999999999", b"ENX"], [b"PERSIST"], [b"PXAT", b"1"]]),
            "getex": lambda: r.choice([[], [b"PERSIST"], [b"EXAT", b"99999999999"]]),
            "bitfield": lambda: [b"SET", r.choice([b"u8", b"i5", b"i64"]), n(), n(), b"GET", b"u4", b"3"][:r.choice([0, 3, 4, 7])],
            "bitfield_ro": lambda: [b"GET", b"u8", n()][:r.choice([0, 3])],
            "bitpos": lambda: [r.choice([b"0", b"1"]), n(), n(), b"BIT"][:r.randrange(1, 5)],
            "bitcount": lambda: [n(), n(), b"BIT"][:r.choice([0, 2, 3])],
            "setbit": lambda: [n(), r.choice([b"0", b"1"])],
            "copy": lambda: r.choice([[], [b"REPLACE"], [b"DB", b"1"], [b"DB", b"1", b"DB", b"0", b"REPLACE"], [b"DB", b"99"]]),
            "move": lambda: [r.choice([b"0", b"1", b"99", b"x"])],
            "lcs": lambda: r.choice([[], [b"LEN"], [b"IDX", b"MINMATCHLEN", b"2", b"WITHMATCHLEN"]]),
            "hset": lambda: [b"f%d" % r.randrange(4), word()],
            "lpush": words, "rpush": words, "lpushx": words, "rpushx": words,
            "lpop": lambda: r.choice([[], [], [n()]]), "rpop": lambda: r.choice([[], [], [n()]]),
            "lrange": lambda: r.choice([[b"0", b"-1"], [n(), n()]]), "ltrim": lambda: [n(), n()],
            "lindex": lambda: [n()], "lset": lambda: [n(), word()], "lrem": lambda: [n(), word()],
            "linsert": lambda: [r.choice([b"BEFORE", b"after"]), word(), word()],
            "lpos": lambda: [word()] + r.choice([[], [b"RANK", n()], [b"COUNT", n()], [b"COUNT", b"0", b"RANK", n(), b"MAXLEN", n()]]),
            "lmove": lambda: [side(), side()], "rpoplpush": lambda: [],
            "lmpop": lambda: [b"2", r.choice(KEYS), r.choice(KEYS[12:16]), side()] + r.choice([[], [b"COUNT", n()]]),
            "blpop": lambda: [b"0"], "brpop": lambda: [b"0"], "bzpopmin": lambda: [b"0"], "bzpopmax": lambda: [b"0"],
            "blmove": lambda: [side(), side(), b"0"], "brpoplpush": lambda: [b"0"],
            "blmpop": lambda: [b"0", b"2", r.choice(KEYS), r.choice(KEYS[12:16]), side()] + r.choice([[], [b"COUNT", n()]]),
            "bzmpop": lambda: [b"0", b"2", r.choice(KEYS), r.choice(ZKEYS), r.choice([b"MIN", b"max"])] + r.choice([[], [b"COUNT", n()]]),
            "hscan": lambda: [b"0"], "scan": lambda: [b"0", b"COUNT", b"100"],
            "hsetex": lambda: r.choice([[], [b"FNX"], [b"KEEPTTL"], [b"PXAT", b"9999999999999"]]) + fields() + [word()],
            "hgetex": lambda: r.choice([[], [b"PERSIST"], [b"EXAT", b"9999999999"], [b"EXAT", b"1"]]) + fields(),
            "hgetdel": fields, "hpersist": fields,
            "hexpireat": lambda: [r.choice([b"9999999999", b"1"])] + r.choice([[], [b"NX"], [b"LT"]]) + fields(),
            "hpexpire": lambda: [b"5"] + fields(),
            "pfadd": lambda: [b"e%d" % r.randrange(1 << 20) for _ in range(r.choice([0, 1, 3, 300]))],
            "pfcount": lambda: [], "pfmerge": lambda: [],
            "pfdebug": lambda: [r.choice(KEYS)],
            "sadd": lambda: members() + members(), "srem": lambda: members() + members(), "smismember": members,
            "sismember": lambda: members()[:1], "smove": lambda: members()[:1],
            "sscan": lambda: [b"0"] + r.choice([[], [b"MATCH", b"*1*"], [b"COUNT", b"100"]]),
            "client|tracking": lambda: [r.choice([b"ON", b"on", b"OFF", b"x"])] + r.choice(  # redis-server 7.0 answers twice to other prefixes
                [[], [b"BCAST"], [b"BCAST", b"PREFIX", b"k", b"prefix", word()], [b"BCAST", b"PREFIX", b"h1"], [b"OPTIN"], [b"OPTOUT", b"NOLOOP"],
                 [b"OPTIN", b"OPTOUT"], [b"BCAST", b"OPTIN"], [b"PREFIX", b"k"], [b"REDIRECT", b"99999999"], [b"REDIRECT", word()], [b"PREFIX"]]),
            "client|caching": lambda: [r.choice([b"YES", b"no", b"x"])], "client|trackinginfo": lambda: [], "client|getredir": lambda: [],
            "expireat": lambda: [b"99999999999"], "pexpireat": lambda: [b"99999999999999"],
        }.get(name, lambda: None)()

    def sorted_set(self, name):
        """A whole command on sorted sets."""
        r = self.r
        key = lambda: r.choice(ZKEYS) if r.random() < 0.9 else r.choice(KEYS)
        score = lambda: r.choice([b"0", b"-0", b"1", b"2", b"-1", b"1.5", b"3.3", b"inf", b"-inf", b"1e20", b"1e-9", b"100", b"70000",
                                  b"0x10", b"nan", b"", b"x", b"123456789012345678", b"0.1", b"1e400"][:r.choice([6, 15, 20])])
        member = lambda: r.choice([b"", b"a", b"b", b"c", b"d", b"ab", b"m%d" % r.randrange(12), b"x" * 70])
        n = lambda: r.choice([b"0", b"1", b"-1", b"2", b"5", b"-3", b"100", b"x", b"-9223372036854775808"][:r.choice([6, 9])])
        bound = lambda: r.choice([b"", b"", b"("]) + score()
        lex = lambda: r.choice([b"-", b"+", b"[" + member(), b"[" + member(), b"(" + member(), b"x", b"", b"+a"][:r.choice([5, 8])])
        limit = lambda: r.choice([[], [], [b"LIMIT", n(), n()]])
        scores = lambda: r.choice([[], [b"WITHSCORES"]])
        if name == "zadd":
            options = [r.choice([b"NX", b"XX", b"GT", b"LT", b"CH", b"INCR", b"ch"]) for _ in range(r.choice([0, 0, 1, 1, 2, 3]))]
            return [key()] + options + sum(([score(), member()] for _ in range(r.choice([1, 1, 2, 3]))), [])
        if name in ("zrange", "zrangestore"):
            by = r.choice([(n, []), (bound, [b"BYSCORE"]), (lex, [b"BYLEX"])])
            rest = by[1] + r.choice([[], [], [], [b"BYLEX"], [b"BYSCORE"]][:r.choice([3, 5])]) + r.choice([[], [b"REV"]]) + limit() + (scores() if name == "zrange" or r.random() < 0.1 else [])
            r.shuffle(rest) if b"LIMIT" not in rest else None
            return [key() for _ in range(1 + (name == "zrangestore"))] + [by[0](), by[0]()] + rest
        if name in ("zunion", "zinter", "zdiff", "zunionstore", "zinterstore", "zdiffstore", "zintercard"):
            keys = [key() for _ in range(r.choice([1, 2, 2, 3]))]
            options = [lambda: [b"WEIGHTS"] + [score() for _ in keys], lambda: [b"AGGREGATE", r.choice([b"SUM", b"MIN", b"max", b"x"])],
                       lambda: [b"WITHSCORES"], lambda: [b"LIMIT", n()]]
            rest = sum((r.choice(options)() for _ in range(r.choice([0, 1, 1, 2]))), [])
            count = b"%d" % len(keys) if r.random() < 0.9 else n()
            return ([key()] if name.endswith("store") else []) + [count] + keys + rest
        return {
            "zincrby": lambda: [key(), score(), member()],
            "zrem": lambda: [key()] + [member() for _ in range(r.choice([1, 2, 5]))],
            "zmscore": lambda: [key()] + [member() for _ in range(r.choice([1, 2, 5]))],
            "zcard": lambda: [key()], "zscore": lambda: [key(), member()],
            "zrank": lambda: [key(), member()], "zrevrank": lambda: [key(), member()],
            "zrevrange": lambda: [key(), n(), n()] + scores(),
            "zrangebyscore": lambda: [key(), bound(), bound()] + scores() + limit(),
            "zrevrangebyscore": lambda: [key(), bound(), bound()] + limit() + scores(),
            "zrangebylex": lambda: [key(), lex(), lex()] + limit(), "zrevrangebylex": lambda: [key(), lex(), lex()] + limit(),
            "zcount": lambda: [key(), bound(), bound()], "zlexcount": lambda: [key(), lex(), lex()],
            "zremrangebyrank": lambda: [key(), n(), n()], "zremrangebyscore": lambda: [key(), bound(), bound()],
            "zremrangebylex": lambda: [key(), lex(), lex()],
            "zpopmin": lambda: [key()] + r.choice([[], [n()]]), "zpopmax": lambda: [key()] + r.choice([[], [n()]]),
            "zmpop": lambda: [b"2", key(), key(), r.choice([b"MIN", b"max", b"x"])] + r.choice([[], [], [b"COUNT", n()]]),
            "zscan": lambda: [key(), b"0"] + r.choice([[], [b"MATCH", b"m*"], [b"COUNT", b"500"], [b"COUNT", n()]]),
        }.get(name, lambda: None)()

    def place(self, i):
        lon, lat = PLACES[i % len(PLACES)]
        return [b"%.9g" % (lon - self.r.choice([0, 0, 0.0123])), b"%.9g" % lat]

    def geo(self, name):
        """A whole command on places."""
        r = self.r
        key = lambda: r.choice(GKEYS) if r.random() < 0.9 else r.choice(KEYS)
        some = lambda: r.randrange(len(PLACES))
        member = lambda: b"p%d" % some() if r.random() < 0.95 else r.choice([b"", b"absent"])
        number = lambda likely: r.choice(likely) if r.random() < 0.93 else r.choice([b"-1", b"x", b"nan", b"inf", b"1e400", b"", b"0x10"])
        unit = lambda: r.choice([b"m", b"km", b"ft", b"mi", b"KM", b"parsec"][:r.choice([5, 5, 5, 6])])
        at = lambda: self.place(some()) if r.random() < 0.9 else [number([b"1", b"-180", b"0"]), number([b"2", b"85.05112878", b"86"])]
        length = lambda: number([b"0", b"1", b"100", b"250.5", b"1000", b"5000", b"3000000", b"20000"])
        plain = lambda: r.choice([[], [], [b"ASC"], [b"desc"], [b"COUNT", number([b"1", b"3", b"100"])], [b"COUNT", b"2", b"ANY"], [b"ANY"]])
        shown = lambda: [w for w in (b"WITHCOORD", b"withdist", b"WITHHASH") if r.random() < 0.3]
        center = lambda: r.choice([[b"FROMMEMBER", member()], [b"FROMLONLAT"] + at()])
        shape = lambda: r.choice([[b"BYRADIUS", length(), unit()], [b"BYBOX", length(), length(), unit()]])
        if name == "geoadd":
            points = [r.randrange(len(PLACES)) for _ in range(r.choice([1, 1, 3]))]
            options = [r.choice([b"NX", b"XX", b"CH", b"ch"]) for _ in range(r.choice([0, 0, 1, 2]))]
            words = sum((self.place(i) + [b"p%d" % i] for i in points), [])
            return [key()] + options + (words if r.random() < 0.9 else at() + [b"p%d" % points[0]] + words[:r.choice([0, 1, 3])])
        if name == "geodist":
            return [key(), member(), member()] + r.choice([[], [unit()], [unit(), b"x"]][:r.choice([2, 3])])
        if name in ("geohash", "geopos"):
            return [key()] + [member() for _ in range(r.choice([0, 1, 3]))]
        if name.startswith("geosearch"):
            store = name == "geosearchstore"
            parts = [center(), shape(), plain(), plain()] + ([[b"STOREDIST"]] if r.random() < 0.2 else []) + (
                [shown()] if not store or r.random() < 0.05 else [])
            if r.random() < 0.05:
                parts.append(r.choice([center, shape])())
            if r.random() < 0.05:
                del parts[r.randrange(2)]
            r.shuffle(parts)
            return ([r.choice(KEYS)] if store else []) + [key()] + sum(parts, [])
        if name.startswith("georadius"):
            start = [member()] if "bymember" in name else at()
            parts = [shown() if r.random() < 0.7 else [], plain(), plain()]
            if not name.endswith("_ro") and r.random() < 0.3 or r.random() < 0.03:
                parts = parts[1:] + [[r.choice([b"STORE", b"storedist"]), r.choice(KEYS)]]
            r.shuffle(parts)
            return [key()] + start + [length(), unit()] + sum(parts, [])
        return None

    def sort(self, name):
        r = self.r
        kind = r.choice(b"lszk" if r.random() < 0.9 else b"hgx")
        key = b"%c%d" % (kind, r.randrange(4))
        pattern = lambda: r.choice([b"w_*", b"w_*", b"h*->f1", b"k*", b"*", b"h*->", b"absent_*", b"#", b"nosort", b"*->*", b"w_*->f1", b"l*"])
        n = lambda: r.choice([b"0", b"1", b"-1", b"2", b"5", b"100", b"x"][:r.choice([6, 6, 7])])
        by = [b"BY", pattern()] if r.random() < 0.5 else []
        alpha = [r.choice([b"ALPHA", b"alpha"])] if r.random() < 0.6 else []
        limit = [b"LIMIT", n(), n()] if r.random() < 0.3 else []
        store = [b"STORE", r.choice(KEYS)] if name == "sort" and r.random() < 0.3 else []
        if store and by and alpha and (kind != b"l"[0] or limit):
            by = []  # of equal ones the order is anybody's
        parts = [by, alpha, limit, store, r.choice([[], [], [b"DESC"], [b"asc"]])] + [[b"GET", pattern()] for _ in range(r.choice([0, 0, 1, 2]))]
        if r.random() < 0.04:
            parts.append([r.choice([b"BY", b"GET", b"LIMIT", b"STORE", b"x"])])
        r.shuffle(parts)
        return [key] + sum(parts, [])

    def command(self):
        r = self.r
        name = r.choice(self.names)
        made = self.sorted_set(name) if name[0] == "z" and r.random() < 0.8 else None
        if name.startswith(("geo", "sort")) and r.random() < 0.85:
            made = self.geo(name) if name[0] == "g" else self.sort(name)
        if made is not None:
            return [name.encode()] + made
        words, arity, first, last, step = self.rows.rows[name]
        words = list(words)
        least = abs(arity)
        extra = self.likely(name) if r.random() < 0.6 else None
        n = least + r.choice([0, 0, 0, 0, 1, 2, 3, 4]) - (r.random() < 0.05)
        whole = name in ("lmpop", "blmpop", "bzmpop", "xread", "xreadgroup", "client|tracking", "client|caching",
                         "client|trackinginfo", "client|getredir")  # their keys, if any, are where they say
        if extra is not None and whole:
            n = len(words)
        elif extra is not None and first:
            n = (first + 1 if last < 0 else last + 1)
        while len(words) < n:
            words.append(self.word(name))
        if name == "sintercard" and r.random() < 0.8:
            keys = [r.choice(KEYS) for _ in range(r.choice([1, 2, 2, 3]))]
            limit = r.choice([[], [b"LIMIT", b"1"], [b"limit", b"0"], [b"LIMIT", b"-1"]])
            return words[:1] + [b"%d" % len(keys)] + keys + limit
        if extra is not None and (first or whole):
            words += extra
        if first:
            end = last if last >= 0 else len(words) + last
            for i in range(first, min(end, len(words) - 1) + 1, step):
                words[i] = r.choice(KEYS[20:24] if name[0] == "x" and r.random() < 0.8 else KEYS)
        if name == "xadd":
            words = [b"5-*" if w == b"*" else w for w in words]  # an ID of the clock is another one at each server
        if name[0] == "x":  # what is as old as that is so for both
            old = lambda w: w.isdigit() and 0 < int(w) < 100_000
            words = [b"100000000" if old(w) and (words[i - 1].upper() == b"IDLE" or i == 4 and name in ("xclaim", "xautoclaim")) else w
                     for i, w in enumerate(words)]
        if name in ("expire", "pexpire", "setex", "psetex", "hexpire", "hpexpire") and len(words) > 2 and words[2].isdigit():
            words[2] = b"100000000"  # nothing comes due on the way
        for i, w in enumerate(words[3:], 3):  # as here
            if words[i - 1].upper() in (b"EX", b"PX") and w.isdigit():
                words[i] = b"100000000"
        if name in TIMED and len(words) > 2:
            words[TIMED[name]] = r.choice([b"5" if name == "wait" else b"0.005"] * 8 + [b"x", b"-1"])
        return [w if r.random() < 0.9 or i else w.swapcase() for i, w in enumerate(words)]

    def setting(self):
        """A key in one of the states that a value can have."""
        r = self.r
        k = r.choice(KEYS[:8])
        return r.choice([
            lambda: [b"DEL", k], lambda: [b"SET", k, b"hello world"], lambda: [b"SET", k, b"17"],
            lambda: [b"SET", k, BIG], lambda: [b"SET", k, b"x", b"PXAT", b"1"],
            lambda: [b"SET", k, b"later", b"EXAT", b"99999999999"],
            lambda: [b"RPUSH", r.choice(KEYS[12:16]), b"a", b"value", b"17", b"", b"a", b"3.5"],
            lambda: [b"RPUSH", r.choice(KEYS[12:16])] + [b"value", b"a", b"x" * 100] * 100,
            lambda: [b"HSET", r.choice(KEYS[8:12]), b"f1", b"1", b"f2", b"x"],
            lambda: [b"PFADD", k] + [b"e%d" % r.randrange(1 << 20) for _ in range(r.choice([1, 30, 1500]))],
            lambda: [b"SET", k, b"HYLL\x01" + bytes(11) + r.choice([b"\x7f\xff", b"\x7f", b"\x80\x84\x7f\xfc", b"\x00"])],
            lambda: [b"XADD", r.choice(KEYS[20:24]), b"%d-*" % r.randrange(1, 20), b"f1", b"a", b"f2", b"b"],
            lambda: [b"XADD", r.choice(KEYS[20:24]), b"%d-*" % r.randrange(1, 20), b"f1", b"c", b"f2", b"d"],
            lambda: [b"XGROUP", b"CREATE", r.choice(KEYS[20:24]), b"g%d" % r.randrange(2), b"0"],
            lambda: [b"XREADGROUP", b"GROUP", b"g%d" % r.randrange(2), b"c%d" % r.randrange(3), b"STREAMS", r.choice(KEYS[20:24]), b">"],
            lambda: [b"ZADD", r.choice(ZKEYS), b"1", b"a", b"2", b"b", b"2", b"c", b"-inf", b"d", b"3.3", b"m1", b"7", b"m2"],
            lambda: [b"ZADD", r.choice(ZKEYS)] + [w for m in (b"", b"a", b"ab", b"b", b"c", b"d", b"m1", b"m3") for w in (b"0", m)],
            lambda: [b"ZADD", r.choice(ZKEYS)] + [w for i in range(200) for w in (b"%d" % (i % 50), b"m%d" % i)],
            lambda: [b"GEOADD", r.choice(GKEYS)] + [w for i in r.sample(range(14), r.choice([3, 9, 14])) for w in self.place(i) + [b"p%d" % i]],
            lambda: [b"GEOADD", r.choice(GKEYS)] + [w for i in range(14) for w in self.place(i) + [b"p%d" % i]],
            lambda: [b"MSET"] + [w for e in (b"a", b"b", b"c", b"1", b"17", b"2", b"m1", b"value") for w in (b"w_" + e, r.choice([b"3", b"-1", b"7.5", b"10", b"x", b""][:r.choice([4, 6])]))],
            lambda: [b"RPUSH", r.choice(KEYS[12:16]), b"3", b"1", b"2", b"17", b"-5", b"2"],
            lambda: [b"RPUSH", r.choice(KEYS[12:16]), b"c", b"a", b"b", b"1", b"m1"],
            lambda: [b"DEL", r.choice(KEYS)],
            lambda: [b"SADD", r.choice(KEYS[16:20]), b"1", b"-1", b"70000"],
            lambda: [b"SADD", r.choice(KEYS[16:20]), b"a", b"1", b"17", b"x" * 70],
            lambda: [b"SADD", r.choice(KEYS[16:20])] + [b"%d" % i for i in range(r.choice([100, 600]))],
            lambda: [b"SADD", r.choice(KEYS[16:20])] + [b"m%d" % i for i in range(200)],
        ])()

    def stream(self, n, transactions=True):
        out, inside, edited = [[b"FLUSHALL"]], False, False
        for _ in range(n):
            x = self.r.random()
            if x < 0.15:
                out.append(self.setting())
            elif x < 0.19 and transactions:
                out.append([b"EXEC"] if inside else [b"MULTI"])
                inside = not inside
            elif x < 0.21:
                out.append([b"SELECT", self.r.choice([b"0", b"0", b"1", b"99", b"x"])])
            else:
                out.append(self.command())
        return out + [[b"EXEC"], [b"SELECT", b"0"]]


def timeless(value):
    """An answer about streams without what depends on the moment, and what Redis says of its own structures."""
    if isinstance(value, bytes):
        return b":time" if re.fullmatch(rb":[0-9]{13,}", value) else value
    if not isinstance(value, list):
        return value
    if len(value) == 4 and isinstance(value[0], bytes) and re.fullmatch(rb"[0-9]+-[0-9]+", value[0]):
        return [value[0], value[1], b":time", value[3]]
    out, i = [], 0
    while i < len(value):
        if isinstance(value[i], bytes) and value[i] in MOMENTARY:
            i += 2
            continue
        v = timeless(value[i])
        # Since 7.2 who tried is a consumer too, though he got nothing.
        idle = isinstance(v, list) and v[:1] == [b"name"] and b"last-delivered-id" not in v and b":0" in v
        if not idle:
            out.append(v)
        i += 1
    return out


# Counts of what groups have read are mended since 7.0; test_streams.py looks at them.
MOMENTARY = {b"idle", b"inactive", b"seen-time", b"active-time", b"radix-tree-nodes", b"radix-tree-keys", b"lag", b"entries-read"}


class Wire(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        connection = Answers(cls.server.resp, PASSWORD)
        cls.rows = Rows(connection)
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
        end, seed = time.monotonic() + SECONDS / 2, SEED
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
    """Only what differs on purpose may differ; each difference has its reason here."""

    test_framing_grouping_and_splitting_change_nothing = None

    def accepted(self, words, ours, theirs):
        name = words[0].lower()
        long = any(len(w) > 65535 for w in words)
        if isinstance(ours, bytes):
            if ours.startswith(b"-ERR a value above the extent threshold"):
                return "values in extents cannot be edited inside MULTI"
            if long and b"is too long" in ours or b"has at most 65535 bytes" in ours:
                return "words of commands that take no values, keys and fields have a limit"
            if name == b"select" and ours.startswith(b"-ERR no such bucket"):
                return "SELECT takes names of buckets"
            if name == b"command" and ours == b"-ERR Invalid command specified":
                return "SYNC is a word that streams are made of, and no command here"
            if name == b"pfadd" and ours[:11] == b"-INVALIDOBJ" and theirs in (b":0", b":1"):
                return "a value that ends within a run: redis-server reads the byte behind it, and breaks the value"
            if name == b"lpos" and b"must between -9223372036854775807" in ours:
                return "a rank that cannot be negated is refused since 7.2; 7.0 finds something"
            if name == b"function" and ours[:1] == b"-" and len(ours) > 120 and isinstance(theirs, bytes) and theirs[:100] == ours[:100]:
                return "of what a client said its error says as much as fits a line"
            if name == b"function" and ours == b"-ERR functions cannot be changed inside MULTI":
                return "libraries are records of a transaction of their own"
            if name == b"exec" and isinstance(theirs, bytes) and ours[:10] == theirs[:10]:
                return "why a transaction was aborted is said in other words"
        if name.startswith((b"geosearch", b"georadius")):
            if isinstance(ours, list) and isinstance(theirs, list):
                names = [{m if isinstance(m, bytes) else m[0] for m in side} for side in (ours, theirs)]
                edge = {b"p%d" % i for i, (lon, lat) in enumerate(PLACES) if abs(lat) > 66 or lon == 180}
                on_edge = {b"85.05112878", b"180", b"-180", b"p13"} & set(words)
                if names[0] - names[1] and (on_edge or names[0] - names[1] <= edge):
                    return "7.0.15 misses places across a pole and on the edge of the grid"
            if ours[:1] == theirs[:1] == b":" and int(ours[1:]) > int(theirs[1:]):
                return "the same, stored"
        if name in (b"sort", b"sort_ro"):
            options = [w.upper() for w in words[2:]]
            if theirs == b"-ERR One or more scores can't be converted into double" and ours != theirs:
                return "7.0.15 looks at an error of an earlier conversion"
            if isinstance(ours, list) and isinstance(theirs, list) and b"BY" in options and len(ours) == len(theirs):
                if b"LIMIT" in options or sorted(map(repr, ours)) == sorted(map(repr, theirs)):
                    return "what is equal, or not sorted, comes in any order"
        if b"lex" in name or (name in (b"zrange", b"zrangestore") and b"bylex" in [w.lower() for w in words]):
            if self.uneven and not any(isinstance(x, bytes) and x.startswith(b"-") for x in (ours, theirs)):
                return "what is between two names is unspecified where scores differ; of a large set it is what each search meets"
        if name in (b"zrank", b"zrevrank") and len(words) > 3 and theirs[:10].lower() == b"-err wrong":
            return "WITHSCORE is of 7.2"
        if name == b"zscan" and isinstance(ours, list) and isinstance(theirs, list) and (ours[0], theirs[0]) != (b"0", b"0"):
            return "a cursor on its way: each server's own order"
        if name in (b"scan", b"hscan", b"sscan", b"zscan") and isinstance(ours, list) and isinstance(theirs, list):
            if words[1 if name == b"scan" else 2] != b"0":
                return "a cursor that was not handed out is any place in each server's own order"
        if name == b"scan" and isinstance(ours, list) and isinstance(theirs, list) and (ours[0], theirs[0]) != (b"0", b"0"):
            return "a cursor on its way: each server's own order"
        if name == b"sscan" and isinstance(ours, list) and isinstance(theirs, list) and theirs[0] != b"0":
            if set(theirs[1]) <= set(ours[1]) or ours[0] != b"0":
                return "a cursor into a table, which 7.0.15 makes of fewer members than later versions and this one"
        return None

    def has_uneven_scores(self, peer, words, in_multi):
        """Whether the sorted set that a command takes names from has members of different scores; unknown within MULTI."""
        name = words[0].lower()
        if b"lex" not in name and name not in (b"zrange", b"zrangestore"):
            return name == b"exec"
        key = 2 if name == b"zrangestore" else 1
        if in_multi or len(words) <= key:
            return in_multi
        items = parsed(peer.ask(b"ZRANGE", words[key], b"0", b"-1", b"WITHSCORES"))
        return isinstance(items, list) and len(set(items[1::2])) > 1

    def same(self, words, ours, theirs, queued=()):
        said = [w.upper() for w in words]
        if said[0][:3] == b"GEO" and b"ANY" in said and {b"STORE", b"STOREDIST", b"GEOSEARCHSTORE"} & set(said):
            self.parted = True  # any of them was stored
        if ours == theirs:
            return True
        why = self.accepted(words, ours, theirs)
        if why:
            self.parted |= not why.startswith(("a cursor", "SYNC"))
            return True
        name = words[0].lower().decode("latin1")
        if name[:1] == "x":
            if name == "xgroup" and words[1].lower() == b"createconsumer" and {ours, theirs} == {b":0", b":1"}:
                return True  # since 7.2 who tried is a consumer
            if name == "xinfo" and words[1].lower() == b"groups" and isinstance(ours, list) and isinstance(theirs, list):
                ours, theirs = ([[x for i, x in enumerate(g) if b"consumers" not in (x, g[i - 1])] for g in v] for v in (ours, theirs))
            return timeless(ours) == timeless(theirs)
        if name.startswith(("z", "bz")) and repr(ours).replace("b'-0'", "b'0'") == repr(theirs).replace("b'-0'", "b'0'"):
            return True  # a score of -0 stays one here; there it becomes 0 in a small set, and stays in a large one
        if name in ("expiretime", "pexpiretime") and ours[:1] == theirs[:1] == b":":
            return abs(int(ours[1:]) - int(theirs[1:])) < 60_000  # what was relative was said to one before the other
        if name == "dbsize" and ours[:1] == theirs[:1] == b":":
            return int(ours[1:]) <= int(theirs[1:])  # it counts a key that is due until it meets it
        if not (isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs)):
            return False
        if name == "exec":
            return len(ours) == len(queued) and all(map(self.same, queued, ours, theirs))
        if name in ("scan", "hscan", "sscan", "zscan"):
            ours, theirs = ours[1:], theirs[1:]
        if name not in UNORDERED:
            return False
        key = lambda v: sorted(map(repr, v)) if isinstance(v, list) else v
        return sorted(map(repr, map(key, ours))) == sorted(map(repr, map(key, theirs)))

    def test_all_rows_answer_as_redis_does(self):
        theirs = Rows(Answers(self.peer.port))
        names = [n for n in self.rows.rows if n not in UNSTABLE and n in theirs.rows]
        self.assertGreater(len(names), 70)
        end, seed = time.monotonic() + SECONDS / 2, SEED
        while time.monotonic() < end or seed == SEED:
            a, b = self.connect(), Answers(self.peer.port)
            queued, self.parted, in_multi = [], False, False
            for i, words in enumerate(Generator(seed, self.rows, names).stream(400)):
                self.uneven = self.has_uneven_scores(b, words, in_multi)
                x, y = parsed(a.ask(*words)), parsed(b.ask(*words))
                if words == [b"MULTI"]:
                    queued = []
                in_multi = words[0].upper() == b"MULTI" or (in_multi and words[0].upper() not in (b"EXEC", b"DISCARD", b"RESET"))
                if x == b"+QUEUED":
                    queued.append(words)
                if not self.same(words, x, y, queued):
                    self.fail("seed %d step %d: %r\n  answers %r\n  redis   %r" % (
                        seed, i, [w[:60] for w in words], repr(x)[:300], repr(y)[:300]))
                if self.parted:
                    break  # from here on the states may differ
            a.close()
            b.close()
            seed += 1
        print("against redis-server: seeds %d to %d" % (SEED, seed - 1))

    def test_all_rows_do_in_a_script_what_they_do_in_one_of_redis(self):
        theirs = Rows(Answers(self.peer.port))
        names = [n for n in self.rows.rows if n not in UNSTABLE and n in theirs.rows and n not in DIFFERENT_FLAGS]
        end, seed, self.uneven = time.monotonic() + SECONDS / 4, SEED, True
        while time.monotonic() < end or seed == SEED:
            a, b = self.connect(), Answers(self.peer.port)
            self.parted = False
            for i, words in enumerate(Generator(seed, self.rows, names).stream(300)):
                # Half of them name a key that is theirs, as they should.
                keys = [words[1]] if i % 2 and len(words) > 1 and len(words[1]) < 100 else []
                call = [b"EVAL", b"return redis.pcall(unpack(ARGV))", b"%d" % len(keys)] + keys + words
                x, y = parsed(a.ask(*call)), parsed(b.ask(*call))
                if not self.same(words, x, y):
                    self.fail("seed %d step %d: %r\n  answers %r\n  redis   %r" % (
                        seed, i, [w[:60] for w in words], repr(x)[:300], repr(y)[:300]))
                if self.parted:
                    break  # from here on the states may differ
            if not self.parted:
                for words in [[name, k] for k in KEYS for name in (b"TYPE", b"STRLEN", b"HLEN", b"LLEN", b"SCARD", b"ZCARD", b"XLEN")]:
                    self.assertEqual(a.ask(*words), b.ask(*words), "seed %d: %r" % (seed, words))
            a.close()
            b.close()
            seed += 1
        print("in scripts as in redis-server's: seeds %d to %d" % (SEED, seed - 1))

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
        theirs = Rows(Answers(self.peer.port))
        names = [n for n in self.rows.rows if n not in UNSTABLE and n in theirs.rows]
        end, seed, told = time.monotonic() + SECONDS / 4, SEED, 0
        while time.monotonic() < end or seed == SEED:
            asked, listeners, ends = [(self.connect(), Answers(self.peer.port)) for _ in range(3)]
            for a, l in zip(asked, listeners):
                self.assertEqual(a.ask(b"CONFIG", b"SET", b"notify-keyspace-events", b"AKEmn"), b"+OK\r\n")
                l.ask(b"PSUBSCRIBE", b"__key*__:*")
            queued, due, self.parted, self.uneven = [], set(), False, True
            for i, words in enumerate(Generator(seed, self.rows, names).stream(300)):
                x, y = [parsed(a.ask(*words)) for a in asked]
                if words[-2:] == [b"PXAT", b"1"]:
                    due.add(words[1])
                if words == [b"MULTI"]:
                    queued = []
                if x == b"+QUEUED":
                    queued.append(words)
                if not self.same(words, x, y, queued) or self.parted or (words[0][:1] in b"xX" and b"~" in words):
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
        theirs = Rows(b)
        for name, row in self.rows.rows.items():
            if name not in theirs.rows or name == "migrate":
                continue  # its keys are looked for where its options are, not from the end
            x, y = (parsed(c.ask(b"COMMAND", b"INFO", name.encode()))[0] for c in (a, b))
            if name not in ("zrank", "zrevrank"):  # WITHSCORE is of 7.2
                self.assertEqual(x[1], y[1], name)
            self.assertEqual(x[3:6], y[3:6], name)
            for i in (2, 6):
                ours, reference = set(x[i]), set(y[i]) - {b"+stale", b"+allow_busy", b"+no_async_loading", b"+skip_slowlog"}
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
                      (b"RENAME", b"a", b"b"), (b"CLIENT", b"KILL", b"a"), (b"GET", b"a", b"b")):
            for sub in (b"GETKEYS", b"GETKEYSANDFLAGS"):
                self.assertEqual(a.ask(b"COMMAND", sub, *words), b.ask(b"COMMAND", sub, *words), words)
        b.close()

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
        theirs = Rows(b)
        listed = lambda c, *words: {n.lstrip(b"+") for n in parsed(c.ask(b"COMMAND", b"LIST", *words))}
        both = {n.encode() for n in self.rows.rows if n in theirs.rows and n not in DIFFERENT_FLAGS}
        self.assertIn(b"client|list", both)
        self.assertLessEqual(both, listed(a))
        for category in parsed(b.ask(b"ACL", b"CAT")):
            words = (b"FILTERBY", b"ACLCAT", category)
            self.assertEqual(listed(a, *words) & both, listed(b, *words) & both, category)
        b.close()

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
    "role": {b"+@admin"}, "restore-asking": {b"+asking"},
    "lastsave": {b"+admin", b"+@admin"}, "echo": {b"+loading"}, "shutdown": {b"+loading"},
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
COMMAND COUNT x
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
