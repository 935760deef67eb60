"""What generated command streams are made of: values at the edges, every option, and for each row what it wants more
often than not. A row that is new gets a line in `likely`, and in `setting` a state that its key can have; what takes
several commands, or several clients, is a scene of `Scenes`."""
import hashlib
import random
import re

from test_dump import payload

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
UNSTABLE = set("""acl|genpass acl|log acl|setuser acl|deluser acl|load acl|save info client|list client|info client|id client|kill client|reply client|setinfo client|no-touch config|set
config|resetstat config|rewrite config|get time lastsave randomkey hrandfield shutdown ttl pttl object|idletime object|freq
object|refcount object|help client|help config|help command|help command command|info command|docs command|list command|count auth
hello reset quit save bgsave bgrewriteaof waitaof select multi exec discard watch object|encoding httl hpttl hexpiretime hpexpiretime
subscribe unsubscribe psubscribe punsubscribe ssubscribe sunsubscribe pubsub|help xgroup|help xinfo|help spop srandmember zrandmember
client|pause client|unpause debug latency|doctor latency|graph latency|help latency|histogram latency|history latency|latest latency|reset
asking psync sync replconf replicaof slaveof lolwut module|help restore-asking memory|doctor memory|help memory|malloc-stats memory|purge memory|stats memory|usage monitor role slowlog|get slowlog|help slowlog|len
slowlog|reset dump migrate script|debug script|help function|help function|dump""".split())
# The word that says how long it waits, from the end if negative.
TIMED = {"blpop": -1, "brpop": -1, "blmove": -1, "brpoplpush": -1, "bzpopmin": -1, "bzpopmax": -1, "blmpop": 1, "bzmpop": 1, "wait": 2}
UNORDERED = set("keys scan hscan hkeys hvals hgetall sscan smembers sinter sunion sdiff zscan pubsub|channels pubsub|shardchannels".split())
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


# What rows that say something of the server take.
SERVERS = {
    "client|info": [b""], "client|list": [b"", b"", b"ID 1", b"ID 1 x", b"TYPE normal", b"TYPE pubsub", b"TYPE replica", b"TYPE none", b"ID", b"TYPE"],
    "client|no-evict": [b"on", b"OFF", b"off", b"x"], "slowlog|get": [b"", b"1", b"-1", b"-2", b"x"], "slowlog|reset": [b""],
    "memory|doctor": [b""], "memory|stats": [b""], "memory|purge": [b""], "memory|malloc-stats": [b""],
    "latency|doctor": [b""], "latency|graph": [b"command", b"x"], "latency|history": [b"command", b"x"], "latency|latest": [b""],
    "latency|reset": [b"", b"x", b"command x"], "latency|histogram": [b"", b"get", b"nosuch", b"set nosuch", b"client|list config"],
    "lolwut": [b"", b"VERSION 1", b"version x", b"VERSION", b"x"], "function|dump": [b""], "function|kill": [b""], "script|kill": [b""],
    "config|get": [b"maxmemory-policy", b"MaxMemory", b"*listpack*", b"nosuch", b"maxmemory maxmemory timeout", b"hz appendonly save", b"proto-max-bulk-len"],
    "config|resetstat": [b""], "info": [b"", b"keyspace", b"Server", b"nosuch", b"clients memory", b"commandstats", b"everything", b"all", b"default replication"],
    "command|docs": [b"get", b"nosuch", b"get SET", b"xgroup"], "command|info": [b"get", b"nosuch", b"get SET nosuch", b"xgroup|create", b"zadd"],
    "command|list": [b"", b"FILTERBY PATTERN geo*", b"filterby aclcat geo", b"FILTERBY ACLCAT nosuch", b"FILTERBY MODULE x", b"FILTERBY x y", b"FILTERBY PATTERN"],
    "asking": [b""], "pfselftest": [b""],
}


class Rows:
    """What COMMAND says of each row: name words, arity, keys."""

    def __init__(self, told):
        self.rows = {}
        for row in told:
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
        if name in SERVERS:
            return r.choice(SERVERS[name]).split()
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
            "object|encoding": lambda: [], "object|freq": lambda: [], "object|idletime": lambda: [], "function|dump": lambda: [],
            "swapdb": lambda: r.choice([[b"0", b"1"], [b"1", b"0"], [b"1", b"2"], [b"0", b"0"], [b"0", b"16"], [b"-1", b"0"], [b"x", b"0"], [b"0", b"1.5"]]),
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
                         "client|trackinginfo", "client|getredir", "swapdb", *SERVERS)  # their keys, if any, are where they say
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
                out.append([b"SELECT", self.r.choice([b"0", b"0", b"1", b"99", b"2147483648", b"x"])])
            else:
                out.append(self.command())
        return out + [[b"EXEC"], [b"SELECT", b"0"]]



# Scripts that say the commands in their arguments, each after the count of its words, and answer what came back.
EACH = """local out, i = {}, 1
while i <= #ARGV do
  local answer = redis.%s(unpack(ARGV, i + 1, i + ARGV[i]))
  if answer == nil then answer = 'nil' end
  out[#out + 1] = answer
  i = i + 1 + ARGV[i]
end
return out"""
SCRIPTS = [(EACH % "pcall").encode(), ("redis.setresp(3) " + EACH % "pcall").encode(), (EACH % "call").encode()]
SHAS = [hashlib.sha1(s).hexdigest().encode() for s in SCRIPTS]
LIBRARY = b"#!lua name=each\n" + b"".join(
    b"redis.register_function{function_name='each%d', %s callback=function(KEYS, ARGV)\n%s\nend}\n" % (i, flags, SCRIPTS[i])
    for i, flags in ((0, b""), (1, b""), (2, b"flags={'no-writes'},")))
SCRIPTED = {b"EVAL", b"EVAL_RO", b"EVALSHA", b"EVALSHA_RO", b"FCALL", b"FCALL_RO"}


def inner_commands(words):
    """Which commands a script of these was given."""
    if words[0].upper() not in SCRIPTED or len(words) < 3 or words[1][-1:] == b"x" or not words[2].isdigit():
        return []
    out, rest = [], words[3 + int(words[2]):]
    while rest:
        if not rest[0].isdigit() or not 0 < int(rest[0]) < len(rest):
            return []
        out.append(rest[1:1 + int(rest[0])])
        rest = rest[1 + int(rest[0]):]
    return out


VALUED = set(b"""set setnx setex psetex getset append setrange mset msetnx echo lpush rpush lpushx rpushx lset linsert hset hmset hsetnx
sadd zadd xadd publish restore pfadd""".split())  # which take values of any size
LISTENER = 3  # the client that subscribes
CHANNELS = [b"news", b"n\x00ws", b"__keyspace@0__:k1"]  # none without a name, which * matches here and not there


class Scenes(Generator):
    """Streams of steps (client, words) of three clients, of which one or two speak RESP3, and a listener."""

    def __init__(self, seed, rows, names, refused):
        # Some streams swap databases. Nobody tracks keys there: redis-server tells of no swap.
        self.swaps = seed % 8 == 7
        super().__init__(seed, rows, [n for n in names if n != "swapdb" or self.swaps])
        self.refused = sorted(refused)  # rows of which only the arity is tried
        self.later = 100_000_000
        self.mode = self.r.choice([[], [], [b"BCAST"], [b"BCAST", b"PREFIX", b"k"], [b"NOLOOP"], [b"OPTIN"], [b"OPTOUT"]])

    def command(self):
        words = super().command()
        while words[0].upper() in (b"FLUSHALL", b"FLUSHDB") and self.r.random() < 0.9:
            words = super().command()
        r = self.r
        if words[0].lower() in (b"hrandfield", b"srandmember", b"zrandmember"):
            words = [b"-7" if re.fullmatch(rb"-[0-9]{4,}", w) else w for w in words]  # they would answer all of those
        if words[0].lower() not in VALUED and r.random() < 0.98:
            words = [w[:1000] if len(w) > 65535 else w for w in words]  # which Cairn would refuse
        if words[0][:3].lower() == b"geo" and {b"STORE", b"STOREDIST", b"GEOSEARCHSTORE"} & {w.upper() for w in words}:
            # Any of them would be stored; and of fewer it is not seen that redis-server misses some.
            words = [w for i, w in enumerate(words) if w.upper() not in (b"ANY", b"COUNT") and words[i - 1].upper() != b"COUNT"]
        if words[0].lower() in (b"zrank", b"zrevrank"):
            words = words[:3]  # WITHSCORE is of 7.2
        # No two relative times are near each other, since the two servers hear of them at different moments.
        for i, w in enumerate(words):
            if w == b"100000000":
                self.later += 60_000
                words[i] = b"%d" % self.later
        return words

    def on(self, key):
        """A command on that key."""
        while True:
            words = self.command()
            row = self.rows.rows.get(words[0].lower().decode("latin1"))
            if row and row[2] == 1 and len(words) > 1:
                words[1] = key
                return words

    def key(self):
        return self.r.choice(KEYS)

    def some(self):
        return self.setting() if self.r.random() < 0.2 else self.command()

    def ordinary(self, who):
        return [(who, self.some()) for _ in range(self.r.choice([1, 5, 30, 100]))]

    def transaction(self, who):
        inner = [self.some() for _ in range(self.r.choice([0, 1, 2, 3, 6]))]
        if self.r.random() < 0.1:
            inner.insert(0, [self.r.choice([b"MULTI", b"WATCH", b"UNWATCH", b"RESET", b"NOSUCH"])])
        end = self.r.choice([[b"EXEC"]] * 8 + [[b"DISCARD"], [b"EXEC", b"x"]])
        return [(who, w) for w in [[b"MULTI"]] + inner + [end]] + [(who, [b"DISCARD"])] * (end[-1] == b"x")

    def watch(self, who):
        other, keys = self.r.choice([0, 1, 2]), [self.key() for _ in range(self.r.choice([1, 1, 3]))]
        steps = [(who, [b"WATCH"] + keys)] + [(other, self.on(self.r.choice(keys))) for _ in range(self.r.choice([0, 1, 2]))]
        if self.r.random() < 0.1:
            steps.append((who, [b"UNWATCH"]))
        return steps + self.transaction(who)

    def swapping(self, who):
        """Two databases exchange what they hold, among those who work and watch there."""
        r, other, keys = self.r, self.r.choice([0, 1, 2]), [self.key() for _ in range(3)]
        swap = lambda: [b"SWAPDB"] + r.choice([[b"0", b"1"], [b"0", b"1"], [b"1", b"0"], [b"2", b"1"]])
        steps = [(other, w) for w in [[b"SELECT", b"1"]] + [r.choice([self.setting(), self.on(r.choice(keys))]) for _ in range(r.choice([1, 3, 6]))] + [[b"SELECT", b"0"]]]
        steps += [(r.choice([0, 1, 2]), self.on(r.choice(keys))) for _ in range(r.choice([0, 1, 3]))]
        if r.random() < 0.4:
            steps += [(who, [b"WATCH"] + keys)]
        look = lambda: self.on(r.choice(keys))
        if r.random() < 0.4:
            steps += [(r.choice([i for i in (0, 1, 2) if i not in (who, other)]), r.choice([
                [b"BLPOP", r.choice(KEYS[12:16]), b"0"], [b"BLMOVE", r.choice(KEYS[12:16]), r.choice(KEYS[12:16]), b"LEFT", b"LEFT", b"0"],
                [b"BZPOPMIN", r.choice(ZKEYS), b"0"], [b"XREAD", b"BLOCK", b"0", b"STREAMS", r.choice(KEYS[20:24]), r.choice([b"$", b"3"])],
                [b"XREADGROUP", b"GROUP", b"g%d" % r.randrange(2), b"c1", b"BLOCK", b"0", b"STREAMS", r.choice(KEYS[20:24]), b">"]]))]
        steps += r.choice([
            lambda: [(other, swap())], lambda: [(other, swap()), (other, swap())],
            lambda: [(other, w) for w in [[b"MULTI"], look(), swap(), look(), look(), r.choice([[b"EXEC"], [b"EXEC"], [b"DISCARD"]])]],
            lambda: [(other, w) for w in [[b"MULTI"], look(), swap(), [b"SELECT", b"1"], look(), swap(), look(), [b"SELECT", b"0"], [b"EXEC"]]],
            lambda: [(other, w) for w in [[b"MULTI"], look(), [b"FLUSHDB"], look(), swap(), [b"DBSIZE"], [b"EXEC"]]],
            lambda: [(other, [b"EVAL", SCRIPTS[0], b"0"] + sum(([b"%d" % len(w)] + w for w in (look(), swap(), look(), look())), []))],
        ])()
        steps += [(r.choice([0, 1, 2]), look()) for _ in range(r.choice([1, 3]))]
        return steps + [(i, w) for i in {who, other} for w in ([b"DBSIZE"], [b"SELECT", b"1"], look(), [b"DBSIZE"], [b"SELECT", b"0"])] + self.transaction(who)

    def expiry(self, who):
        """What is due in a moment: before anybody looks, both servers have let it expire."""
        r, key = self.r, self.key()
        soon = r.choice([
            lambda: [(who, [b"SET", key, b"brief", b"PX", b"1"])], lambda: [(who, [b"PSETEX", key, b"1", b"brief"])],
            lambda: [(who, [b"PEXPIRE", key, b"1"])], lambda: [(who, [b"GETEX", key, b"PX", b"1"])],
            lambda: [(who, [b"RESTORE", key, b"1", PAYLOADS[r.randrange(4)], b"REPLACE"])],
            lambda: [(who, [b"PEXPIRE", k, b"1"]) for k in r.sample(KEYS, 3)],
            lambda: [(who, [b"COPY", key, b"absent"]), (who, [b"PEXPIRE", b"absent", b"1"])],
            lambda: [(who, w) for w in ([b"MULTI"], [b"PEXPIRE", key, b"1"], [b"EXEC"])],
        ])()
        return soon + [(r.choice([who, who, 0, 2]), self.on(key)) for _ in range(r.choice([1, 2, 4]))]

    def script(self, who):
        r = self.r
        inner = [self.some() for _ in range(r.choice([1, 1, 2, 3, 5]))]
        which = r.choice([0, 0, 1, 2])
        keys = []
        for words in inner:
            row = self.rows.rows.get(words[0].lower().decode("latin1"))
            if row and row[2] and r.random() < 0.8:
                keys += words[row[2]:row[3] + 1 if row[3] > 0 else row[2] + 1]
        if any(len(k) > 1000 for k in keys):
            keys = []
        arguments = [b"%d" % len(keys)] + keys + sum(([b"%d" % len(w)] + w for w in inner), [])
        ro = r.choice([b"", b"", b"", b"_RO"])
        how = r.random()
        if how < 0.5:
            return [(who, [b"EVAL" + ro, SCRIPTS[which]] + arguments)]
        if how < 0.7:
            load = [] if r.random() < 0.3 else [(who, [b"SCRIPT", b"LOAD", SCRIPTS[which]])]
            return load + [(who, [b"EVALSHA" + ro, SHAS[which]] + arguments)]
        load = [] if r.random() < 0.5 else [(who, [b"FUNCTION", b"LOAD", r.choice([b"REPLACE", b"replace"]), LIBRARY])]
        return load + [(who, [b"FCALL" + ro, b"each%d" % which] + arguments)]

    def functions(self, who):
        r = self.r
        library = lambda: r.choice([
            LIBRARY, b"#!lua name=one\nredis.register_function('one', function(k, a) return {#k, a[1]} end)", b"#!lua\nreturn 1", b"#!lua name=two\n",
            b"#!js name=x\nx", b"redis.call('GET','x')", b"#!lua name=bad-name\nx", b"#!lua name=syntax\nreturn +", b"#!lua name=run\nerror('no')"])
        name = lambda: r.choice([b"one", b"each", b"each0", b"absent", b"ONE", b"o*", b"*"])
        return [(who, r.choice([
            lambda: [b"FUNCTION", b"LOAD", library()], lambda: [b"FUNCTION", b"LOAD", b"REPLACE", library()],
            lambda: [b"FUNCTION", b"LIST"] + r.choice([[], [b"WITHCODE"], [b"LIBRARYNAME", name()], [b"LIBRARYNAME"], [b"x"]]),
            lambda: [b"FUNCTION", b"DELETE", name()], lambda: [b"FUNCTION", b"STATS"], lambda: [b"FUNCTION", b"FLUSH"] + r.choice([[], [b"SYNC"], [b"x"]]),
            lambda: [b"FCALL", name(), b"1", self.key(), b"a"], lambda: [b"FCALL_RO", name(), b"0"], lambda: [b"FCALL", name(), r.choice([b"-1", b"5", b"x"]), b"a"],
            lambda: [b"SCRIPT", b"EXISTS"] + SHAS, lambda: [b"SCRIPT", b"FLUSH"] + r.choice([[], [b"ASYNC"], [b"x"]]),
        ])()) for _ in range(r.choice([1, 3]))]

    def lua(self, who):
        """What values become on their way."""
        r = self.r
        what = r.choice([
            b"1", b"1.9", b"-0.5", b"'text'", b"''", b"nil", b"false", b"true", b"{}", b"{1,2,nil,4}", b"{1,{2,{3}}}", b"{ok='fine'}", b"{err='ERR no'}",
            b"{err='no code'}", b"{double=3.5}", b"{map={a=1}}", b"{set={a=true}}", b"KEYS", b"ARGV", b"{#KEYS,#ARGV}", 
            b"redis.status_reply('a')", b"redis.sha1hex(ARGV[1] or '')", b"redis.sha1hex()", b"error('no')", b"error({err='A b'})",
            b"x", b"redis.call()", b"redis.call('nosuch')", b"redis.call('get')", b"redis.pcall('get','k1','k2').err", b"redis.call('incr',KEYS[1])",
            b"redis.call('set',KEYS[1],ARGV[1])", b"redis.call('set','k1',{})", b"redis.call('ping', 1.5)", b"redis.call('echo', 3)", b"redis.call('hgetall','h1')",
            b"tostring(redis.call('get','absent'))", b"cjson.encode({1,2,'x'})", b"cjson.decode(ARGV[1] or '[1,{\"a\":null}]')", b"cmsgpack.unpack(cmsgpack.pack({1,'a'}))",
            b"bit.band(7,12)", b"struct.pack('>I2', 258)", b"redis.log(redis.LOG_DEBUG,'x')", b"redis.setresp(4)", b"redis.REPL_ALL", b"redis.acl_check_cmd('get','k1')",
            b"redis.call('multi')", b"redis.call('subscribe','x')", b"redis.call('blpop','l1',0)", b"math.floor(3.7)", b"tostring(1e15)", b"2^53", b"1e300", b"tostring(nil)",
            b"redis.breakpoint()", b"pcall(redis.call,'lpush','s1')", b"string.rep('x',100)", b"unpack({1,2})", b"type(redis.pcall('nosuch'))", b"_G", b"loadstring('return 1')()"])
        text = b"return " + what if r.random() < 0.9 else r.choice([b"a = 1", b"return +", b"", b"local x", b"#!lua\nreturn 1", b"#!lua flags=no-writes\nreturn redis.call('set','k1',1)",
                                                                    b"#!lua flags=x\nreturn 1", b"#!js\nreturn 1", b"#!lua name=x\nreturn 1"])
        keys = [self.key() for _ in range(r.choice([0, 1, 2]))]
        count = b"%d" % len(keys) if r.random() < 0.95 else r.choice([b"-1", b"9", b"x", b""])
        return [(who, [b"EVAL" + r.choice([b"", b"", b"_RO"]), text, count] + keys + [b"1", b"a\x00"][:r.randrange(3)])]

    def chance(self, who):
        """Who is popped is anybody; nothing of it stays."""
        key, n = self.r.choice(KEYS[16:20]), self.r.choice([[], [b"1"], [b"3"]])
        return [(who, [b"EVAL", b"local v = redis.pcall('SPOP', KEYS[1], unpack(ARGV)) redis.call('DEL', KEYS[1]) "
                       b"return type(v) == 'table' and (v.err or #v) or type(v)", b"1", key] + n)]

    def arity(self, who):
        name = self.r.choice(self.refused)
        words, arity = self.rows.rows[name][:2]
        n = self.r.choice([k for k in (len(words), abs(arity) - 1, abs(arity) + 1) if k >= 1 and (k < abs(arity) or (arity > 0 and k > arity))] or [0])
        return [(who, (words + [b"x"] * 20)[:n])] if n >= len(words) else []

    def many(self, who):
        r = self.r
        n = r.choice([300, 1000, 5000])
        return [(who, r.choice([
            lambda: [b"DEL"] + [b"d%d" % i for i in range(n)] + [self.key()], lambda: [b"MSET"] + [b"w_%d" % (i // 2) for i in range(2 * n)],
            lambda: [b"SADD", r.choice(KEYS[16:20])] + [b"m%d" % i for i in range(n)], lambda: [b"HSET", r.choice(KEYS[8:12])] + [b"f%d" % i for i in range(2 * n)],
            lambda: [b"RPUSH", r.choice(KEYS[12:16])] + [b"%d" % i for i in range(n)], lambda: [b"MGET"] + [r.choice(KEYS[8:]) for _ in range(n)],
            lambda: [b"ZADD", r.choice(ZKEYS)] + [b"%d" % (i // 2) for i in range(2 * n)], lambda: [b"XADD", r.choice(KEYS[20:24]), b"99-*"] + [b"f%d" % i for i in range(2 * n)],
            lambda: [b"HMGET", r.choice(KEYS[8:12])] + [b"f%d" % i for i in range(n)], lambda: [b"PFADD", self.key()] + [b"e%d" % i for i in range(n)],
            lambda: [b"SINTERCARD", b"%d" % n] + [r.choice(KEYS[16:18]) for _ in range(n)], lambda: [b"EXISTS"] + [self.key() for _ in range(n)],
            lambda: [b"SET", r.choice(KEYS[:8]), b"z" * r.choice([65536, 200_000])], lambda: [b"APPEND", r.choice(KEYS[:8]), BIG],
            lambda: [b"LPUSH", r.choice(KEYS[12:16]), BIG, b"a"], lambda: [b"ECHO", BIG],
        ])())] + [(who, [b"DEL", b"w_0"])]

    def blocking(self, who):
        """One or two wait, the third works on what they wait for."""
        r = self.r
        lists, zsets, streams = KEYS[12:16], ZKEYS, KEYS[20:24]
        side = lambda: r.choice([b"LEFT", b"RIGHT"])

        def wait():
            a, b = r.choice(lists), r.choice(lists)
            pair = lambda one, other: [one, one if self.swaps else other]  # of several that a swap brings redis-server serves any
            return r.choice([
                lambda: [r.choice([b"BLPOP", b"BRPOP"])] + pair(a, b) + [b"0"], lambda: [b"BLMOVE", a, b, side(), side(), b"0"], lambda: [b"BRPOPLPUSH", a, b, b"0"],
                lambda: [b"BLMPOP", b"0", b"2"] + pair(a, b) + [side(), b"COUNT", b"2"], lambda: [r.choice([b"BZPOPMIN", b"BZPOPMAX"])] + pair(r.choice(zsets), r.choice(zsets)) + [b"0"],
                lambda: [b"BZMPOP", b"0", b"1", r.choice(zsets), r.choice([b"MIN", b"MAX"])],
                lambda: [b"XREAD", b"BLOCK", b"0", b"STREAMS", r.choice(streams), r.choice([b"$", b"100"])],
                lambda: [b"XREADGROUP", b"GROUP", b"g%d" % r.randrange(2), b"c1", b"BLOCK", b"0", b"STREAMS", r.choice(streams), b">"],
            ])()
        waiting = r.sample([0, 1, 2], r.choice([1, 2]))
        worker = r.choice([i for i in (0, 1, 2) if i not in waiting])
        steps = [(worker, [b"DEL"] + r.sample(lists + zsets, 5))] if r.random() < 0.8 else []
        steps += [(i, wait()) for i in waiting]

        def work():
            key = r.choice(lists + zsets + streams)
            return r.choice([
                lambda: self.on(key), lambda: [r.choice([b"RPUSH", b"LPUSH"]), r.choice(lists), b"v", b"w"], lambda: [b"ZADD", r.choice(zsets), b"1", b"a", b"2", b"b"],
                lambda: [b"XADD", r.choice(streams), b"200-*", b"f", b"v"], lambda: [b"RENAME", r.choice(lists), r.choice(lists)],
                lambda: [b"EVAL", b"redis.call('RPUSH', KEYS[1], 'x') return redis.call('LLEN', KEYS[1])", b"1", r.choice(lists)],
                lambda: [b"SORT", r.choice(lists), b"STORE", r.choice(lists)], self.some])()
        steps += [(worker, work()) for _ in range(r.choice([2, 4, 8]))]
        if r.random() < 0.3:
            steps += [(worker, w) for w in [[b"MULTI"]] + [work() for _ in range(3)] + [[b"EXEC"]]]
        return steps

    def tracking(self, who):
        r = self.r
        # It is never off again: redis-server goes on to tell of what was read before that.
        mode = self.mode
        steps = [(1, [b"CLIENT", b"TRACKING", b"ON"] + mode)]
        for _ in range(r.choice([2, 5])):
            keys = [self.key() for _ in range(3)]
            if r.random() < 0.3:
                steps.append((1, [b"CLIENT", b"CACHING", b"YES" if mode == [b"OPTIN"] else b"NO"]))
            steps += [(1, r.choice([[b"MGET"] + keys, self.on(keys[0])]))] + [(r.choice([0, 0, 1]), self.on(r.choice(keys))) for _ in range(r.choice([1, 3]))]
        return steps

    def listening(self, who):
        r = self.r
        some = lambda of: [r.choice(of) for _ in range(r.choice([1, 1, 2]))]
        patterns = [b"n*", b"*", b"n?ws", b"[mn]ews", b"__key*__:*"]
        subscribe = r.choice([
            lambda: [b"SUBSCRIBE"] + some(CHANNELS), lambda: [b"PSUBSCRIBE"] + some(patterns), lambda: [b"SSUBSCRIBE"] + some(CHANNELS),
            lambda: [b"UNSUBSCRIBE"] + some(CHANNELS), lambda: [b"PUNSUBSCRIBE"] + some(patterns), lambda: [b"SUNSUBSCRIBE"] + some(CHANNELS),
            lambda: [r.choice([b"UNSUBSCRIBE", b"PUNSUBSCRIBE", b"SUNSUBSCRIBE"])], lambda: [b"SUBSCRIBE"]])()
        say = lambda: r.choice([[b"PUBLISH", r.choice(CHANNELS), r.choice([b"", b"hello", BIG])], [b"SPUBLISH", r.choice(CHANNELS), b"x"], [b"PUBSUB", b"NUMPAT"],
                                [b"PUBSUB", b"NUMSUB"] + CHANNELS, [b"PUBSUB", b"CHANNELS", b"n*"], [b"PUBSUB", b"SHARDNUMSUB"] + CHANNELS])
        return [(LISTENER, subscribe)] + [(who, say()) for _ in range(r.choice([1, 4]))]

    def events(self, who):
        """From now on the listener hears what happens to keys."""
        return [(who, [b"CONFIG", b"SET", b"notify-keyspace-events", self.r.choice([b"AKE", b"AKEn", b"Elg", b"K$", b"Kn", b""])]),
                (LISTENER, [b"PSUBSCRIBE", b"__key*__:*"])]

    def administration(self, who):
        """What may be said of a server and its clients without harm to them."""
        r = self.r
        number = lambda: b"<client %d>" % r.randrange(4)
        return [(who, words) for words in r.choice([
            lambda: [[b"CLIENT", b"LIST", b"ID", number(), number()]],
            lambda: [[b"CLIENT", b"INFO"], [b"SELECT", b"1"], [b"CLIENT", b"SETNAME", b"me"], [b"WATCH", b"k1"], [b"MULTI"], [b"CLIENT", b"INFO"], [b"GET", b"k1"],
                     [b"CLIENT", b"INFO"], [b"EXEC"], [b"CLIENT", b"LIST", b"ID", b"<client %d>" % who], [b"SELECT", b"0"]],
            lambda: [[b"CLIENT", b"KILL"] + r.choice([[b"ID", b"x"], [b"ID", b"-1"], [b"ID", b"999999"], [b"TYPE", b"x"], [b"TYPE", b"replica"], [b"TYPE", b"master"], [b"x"],
                                                      [b"127.0.0.1:1"], [b"ADDR", b"127.0.0.1:1"], [b"LADDR", b"127.0.0.1:1"], [b"USER", b"nosuch"],
                                                      [b"SKIPME", b"x"], [b"ID"], [b"ID", b"999999", b"TYPE", b"normal", b"USER", b"default"],
                                                      [b"ID", b"<client %d>" % who, b"SKIPME", b"yes"], [b"ID", number(), b"TYPE", b"replica"]])],
            lambda: [[b"CLIENT", b"PAUSE"] + r.choice([[b"x"], [b"-1"], [b"0"], [b"1"], [b"1", b"WRITE"], [b"1", b"x"], [b"1", b"all"], [b"1", b"ALL", b"x"]]), [b"CLIENT", b"UNPAUSE"]],
            lambda: [[b"CLIENT", b"REPLY", r.choice([b"ON", b"on", b"x"])]], lambda: [[b"CLIENT", b"UNPAUSE", b"x"]],
            lambda: [[b"CLIENT", b"UNBLOCK", r.choice([b"<client %d>" % who, b"999999", b"x"])] + r.choice([[], [b"TIMEOUT"], [b"ERROR"], [b"x"]])],
            lambda: [[b"MIGRATE", b"127.0.0.1", b"1", r.choice([self.key(), b""]), r.choice([b"0", b"0", b"x", b"99"]), r.choice([b"100", b"100", b"0", b"-1", b"x"])] + r.choice(
                [[], [b"COPY"], [b"REPLACE", b"COPY"], [b"KEYS", self.key(), b"absent"], [b"KEYS"], [b"KEYS", b"absent"], [b"AUTH"], [b"AUTH", b"x"], [b"AUTH2", b"x"], [b"x"]])],
            lambda: [[r.choice([b"REPLICAOF", b"SLAVEOF"]), b"no", b"ONE"]],
            lambda: [[b"FAILOVER"] + r.choice([[], [b"ABORT"], [b"x"], [b"TO", b"127.0.0.1", b"1"]])], lambda: [[b"DEBUG", r.choice([b"SLEEP", b"OBJECT", b"x"]), b"0"]],
            lambda: [[b"REPLCONF", b"x", b"x"]],
            lambda: [[b"CONFIG", b"SET"] + r.choice([[b"nosuch", b"x"], [b"maxmemory-policy", b"x"], [b"maxmemory", b"x"], [b"timeout", b"-1"],
                                                     [b"timeout"], [b"timeout", b"0", b"timeout", b"0"], [b"timeout", b"0", b"nosuch", b"x"]])],
            lambda: [[b"OBJECT", b"ENCODING", self.key()] for _ in range(10)],
            lambda: [[b"OBJECT", r.choice([b"FREQ", b"IDLETIME", b"REFCOUNT"]), self.key()]],
        ])()]

    def protocol(self, who):
        return [(who, [b"RESET"])] * (self.r.random() < 0.5) + [(who, [b"HELLO", self.r.choice([b"2", b"3", b"3", b"4", b"x"])])]

    def steps(self, n):
        r = self.r
        out = [(1, [b"HELLO", b"3"])] + [(i, [b"HELLO", b"3"]) for i in (2, LISTENER) if r.random() < 0.5]
        scenes = [(self.ordinary, 30), (self.transaction, 15), (self.watch, 8), (self.expiry, 5), (self.script, 20), (self.functions, 3), (self.lua, 8),
                  (self.chance, 1), (self.arity, 6), (self.many, 1), (self.blocking, 3), (self.protocol, 1), (self.administration, 8)] + [(self.swapping, 10)] * self.swaps
        if r.random() < 0.3 and not self.swaps:
            scenes += [(self.tracking, 8), (self.listening, 5)]
            if r.random() < 0.7:
                out += self.events(0)
        kinds, weights = zip(*scenes)
        while len(out) < n:
            out += r.choices(kinds, weights)[0](r.choice([0, 0, 1, 2]))
            if r.random() < 0.03:
                out.append((r.randrange(3), [b"SELECT", r.choice([b"0", b"0", b"1", b"99", b"x"])]))
        return out
