"""Where an answer may be another one than redis-server's, and why: the whole list. What is not in it must be alike.

Each entry is a reason and when it holds; `parts` says that the two servers hold different data from then on: what the
command names is dropped, and not compared until then. Most reasons are of what 7.0.15 does and later versions mended."""
import re

from streams import PLACES, UNORDERED, inner_commands

# Of these only the form is compared: chance or the moment or the process says the rest.
OF_CHANCE = set("""randomkey hrandfield srandmember zrandmember spop time lastsave client|id memory|usage
object|refcount dump role hello slowlog|len command|count""".split())
HELP = re.compile(r"[a-z]+\|help")
MOMENTARY = {b"idle", b"inactive", b"seen-time", b"active-time", b"radix-tree-nodes", b"radix-tree-keys",
             # Counts of what groups have read are mended since 7.0; test_streams.py looks at them.
             b"lag", b"entries-read"}


class Said:
    """A command and its two answers."""

    def __init__(self, words, ours, theirs, uneven=True, queued=()):
        self.words, self.ours, self.theirs = words, ours, theirs
        self.said = [w.upper() for w in words]
        self.name = words[0].lower().decode("latin1")
        self.row = self.name + "|" + words[1].lower().decode("latin1") if len(words) > 1 else self.name
        self.uneven = uneven  # whether a sorted set's scores differ, or may
        self.queued = queued  # what EXEC answers

    def we_say(self, text):
        return isinstance(self.ours, bytes) and text in self.ours

    def they_say(self, text):
        return isinstance(self.theirs, bytes) and text in self.theirs

    def lists(self):
        return isinstance(self.ours, list) and isinstance(self.theirs, list)

    def numbers(self):
        """Both, if they are."""
        both = [x[1:] for x in (self.ours, self.theirs) if isinstance(x, bytes) and x[:1] == b":"]
        return [int(x) for x in both] if len(both) == 2 else None


DIFFERENCES = []
PARTINGS = []  # which are looked for where the answers are alike too
NOT_IN_SCRIPTS = b"-ERR This Redis command is not allowed from script"
SCRIPTED = {"eval", "eval_ro", "evalsha", "evalsha_ro", "fcall", "fcall_ro"}


def differs(why, parts=False):
    def enter(when):
        DIFFERENCES.append((why, parts, when))
        return when
    return enter


def parts_unseen(why):
    def enter(when):
        PARTINGS.append((why, True, when))
        return when
    return enter


def same(said, reasons):
    """Whether the answers are alike, or differ for a reason, and whether the data do from now on: (same, parted).
    `reasons` counts."""
    if said.name == "exec" and said.lists() and len(said.ours) == len(said.theirs) == len(said.queued):
        return each(said.queued, said, reasons)
    inner = inner_commands(said.words)
    if inner and said.lists() and len(said.ours) == len(said.theirs) == len(inner):
        return each(inner, said, reasons)
    alike = said.ours == said.theirs
    for why, parts, when in PARTINGS if alike else PARTINGS + DIFFERENCES:
        if when(said):
            reasons[why + " (data part)" * parts] += 1
            return True, parts
    return alike, False


def each(commands, said, reasons):
    parted = False
    for words, x, y in zip(commands, said.ours, said.theirs):
        alike, p = same(Said(words, x, y), reasons)
        parted |= p
        if not alike:
            return False, parted
    return True, parted


@parts_unseen("any of them was taken, or stored")
def _(d):
    if d.name.startswith("geo") and b"ANY" in d.said:
        return bool({b"STORE", b"STOREDIST", b"GEOSEARCHSTORE"} & set(d.said)) and d.numbers() is not None
    if d.name != "spop" or d.ours in (None, []) or is_error(d.ours):  # a member may be -1
        return False
    return in_any_order(d.ours) != in_any_order(d.theirs)


@parts_unseen("a broken HyperLogLog is refused by both, but redis-server has changed it by then")
def _(d):
    return d.name in ("pfadd", "pfmerge", "pfdebug") and d.we_say(b"-INVALIDOBJ") and d.they_say(b"-INVALIDOBJ")


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


def is_error(v):
    """A string may begin with '-' too, but streams know none like this."""
    return isinstance(v, bytes) and re.match(rb"-[A-Z]+ ", v) is not None


def in_any_order(v):
    return sorted(repr(in_any_order(x)) for x in v) if isinstance(v, list) else v


def form(v):
    """What is left of an answer where chance chose."""
    if isinstance(v, list):
        return type(v), [form(x) for x in v]
    if isinstance(v, bytes):
        return v[:1] if v[:1] in (b":", b",") else v if is_error(v) else b"string"
    return v


def rounded(v):
    """A score of -0 as 0."""
    if isinstance(v, list):
        return [rounded(x) for x in v]
    return {b"-0": b"0", b",-0": b",0"}.get(v, v) if isinstance(v, bytes) else v


# --- what depends on chance, on the moment, or on an order that nobody promises

@differs("what chance or the moment says: the same form")
def _(d):
    if not OF_CHANCE & {d.name, d.row}:
        return False
    if d.name == "hello" or d.row == "object|refcount" or d.name in ("time", "role"):
        return type(d.ours) is type(d.theirs)
    if d.numbers():
        return True
    return form(d.ours) == form(d.theirs)


@differs("each server's help is its own")
def _(d):
    return HELP.fullmatch(d.row) and d.lists()


@differs("a time that is left or told, which was said to one before the other")
def _(d):
    if d.name not in ("ttl", "pttl", "expiretime", "pexpiretime") or not d.numbers():
        return False
    x, y = d.numbers()
    return min(x, y) > 0 and abs(x - y) < (60 if d.name in ("ttl", "expiretime") else 60_000)


@differs("members, fields and keys in any order")
def _(d):
    returned = d.name in SCRIPTED and len(d.words) > 1 and d.words[1].startswith(b"return redis.call('hgetall'")
    unordered = {d.name, d.row} & UNORDERED or returned
    return unordered and d.lists() and type(d.ours) is type(d.theirs) and in_any_order(d.ours) == in_any_order(d.theirs)


@differs("libraries and functions in any order")
def _(d):
    return d.row == "function|list" and d.lists() and in_any_order(d.ours) == in_any_order(d.theirs)


@differs("a place in a table: each server's own order")
def _(d):
    if d.name not in ("scan", "hscan", "sscan", "zscan") or not d.lists():
        return False
    if d.words[1 if d.name == "scan" else 2] != b"0":
        return True  # a cursor that was not handed out is any place
    if (d.ours[0], d.theirs[0]) == (b"0", b"0"):
        return in_any_order(d.ours[1]) == in_any_order(d.theirs[1])
    return d.name in ("scan", "zscan") or (
        # 7.0.15 makes a table of fewer members than later versions and this one
        d.theirs[0] != b"0" and (d.ours[0] != b"0" or set(d.theirs[1]) <= set(d.ours[1])))


@differs("of streams, what depends on the moment and on Redis's own structures; since 7.2 who tried is a consumer")
def _(d):
    if d.name[:1] != "x":
        return False
    ours, theirs = d.ours, d.theirs
    if d.row == "xgroup|createconsumer" and {ours, theirs} == {b":0", b":1"}:
        return True
    if d.row == "xinfo|groups" and d.lists():
        ours, theirs = ([[x for i, x in enumerate(g) if b"consumers" not in (x, g[i - 1])] for g in v] for v in (ours, theirs))
    return timeless(ours) == timeless(theirs)


@differs("redis-server takes what stands where ZINCRBY has its increment for an option of ZADD, if it is one")
def _(d):
    return d.name == "zincrby" and d.we_say(b"-ERR value is not a valid float") and d.they_say(b"-ERR syntax error")


@differs("a score of -0 stays one here; there it becomes 0 in a small set, and stays in a large one")
def _(d):
    return d.name.startswith(("z", "bz")) and rounded(d.ours) == rounded(d.theirs)


def pairs(v):
    """Of ZSCAN: the members with their scores as numbers."""
    return sorted((m, float(s)) for m, s in zip(v[1][::2], v[1][1::2]))


@differs("ZSCAN of a small set shows there how scores are kept: 0 for -0, 123456789012345680 for 1.2345678901234568e+17")
def _(d):
    return d.name == "zscan" and d.lists() and [len(v) for v in (d.ours, d.theirs)] == [2, 2] and pairs(d.ours) == pairs(d.theirs)


@differs("DBSIZE counts a key that is due until the server meets it")
def _(d):
    return d.name == "dbsize" and d.numbers() is not None and d.numbers()[0] - d.numbers()[1] <= 2


@differs("what is between two names is unspecified where scores differ; of a large set it is what each search meets", parts=True)
def _(d):
    by_name = "lex" in d.name or (d.name in ("zrange", "zrangestore") and b"BYLEX" in d.said)
    return by_name and d.uneven and not any(isinstance(x, bytes) and x[:1] == b"-" for x in (d.ours, d.theirs))


@differs("SORT: what is equal, or not sorted, comes in any order")
def _(d):
    if d.name not in ("sort", "sort_ro") or not d.lists() or b"BY" not in d.said or len(d.ours) != len(d.theirs):
        return False
    return b"LIMIT" in d.said[2:] or in_any_order(d.ours) == in_any_order(d.theirs)


# --- what a server says of itself: the same shape, and what both count in the same way

def fields(line):
    """Of a line of CLIENT LIST."""
    return [tuple(f.partition(b"=")[::2]) for f in line.split(b" ")]


CLIENT_SAME = {b"name", b"db", b"sub", b"psub", b"ssub", b"multi", b"cmd", b"user", b"resp", b"flags"}
CLIENT_NEWER = {b"lib-name", b"lib-ver"}


@differs("clients: the same fields, of which those are alike that a client chose")
def _(d):
    if d.row not in ("client|info", "client|list") or not isinstance(d.ours, bytes) or not isinstance(d.theirs, bytes) or type(d.ours) is not type(d.theirs):
        return False
    ours, theirs = ([fields(x) for x in v.removeprefix(b"txt:").splitlines()] for v in (d.ours, d.theirs))
    names = [[[k for k, _ in line if k not in CLIENT_NEWER] for line in side] for side in (ours, theirs)]
    if d.row == "client|list" and b"ID" not in d.said[2:3]:
        return all(n == names[1][0] for n in names[0] + names[1])  # who else is there is another matter
    if b"1" in d.words[2:]:
        return True  # whoever that is
    # RESET ends CLIENT NO-EVICT, as from 7.2 on.
    value = lambda k, v: (v.replace(b"e", b"") or b"N") if k == b"flags" else v
    same = [[[(k, value(k, v)) for k, v in line if k in CLIENT_SAME] for line in side] for side in (ours, theirs)]
    return names[0] == names[1] and same[0] == same[1]


@differs("CLIENT LIST takes several filters, as later versions do")
def _(d):
    return d.row == "client|list" and len(d.words) > 4 and d.they_say(b"-ERR syntax error")


@differs("SLOWLOG GET: the same shape")
def _(d):
    shaped = lambda v: all(isinstance(e, list) and [type(x) for x in e] == [bytes, bytes, bytes, list, bytes, bytes] for e in v)
    return d.row == "slowlog|get" and d.lists() and shaped(d.ours) and shaped(d.theirs)


# What Redis's allocator and its replication hold.
NOT_OF_MEMORY = re.compile(rb"allocator[-._].*|db\.[0-9]+|cluster\.links|aof\.buffer|lua\.caches|functions\.caches|overhead\.hashtable.*|rss-overhead.*|fragmentation.*")


@differs("MEMORY STATS: the same fields, but for those of Redis's allocator and its caches")
def _(d):
    if d.row != "memory|stats" or not d.lists() or type(d.ours) is not type(d.theirs):
        return False
    ours, theirs = ({k: form(v) for k, v in zip(x[::2], x[1::2]) if not NOT_OF_MEMORY.fullmatch(k)} for x in (d.ours, d.theirs))
    return all(theirs.get(k) == v or b"percentage" in k for k, v in ours.items()) and set(ours) == set(theirs)


@differs("a report is each server's own: text")
def _(d):
    return (d.row in ("memory|doctor", "memory|malloc-stats", "latency|doctor") or d.name == "lolwut") and type(d.ours) is type(d.theirs) and not (
        is_error(d.ours) or is_error(d.theirs))


@differs("LATENCY HISTOGRAM: each server's own times")
def _(d):
    return d.row == "latency|histogram" and d.lists() and type(d.ours) is type(d.theirs)


def sections(v):
    return [x for x in v.removeprefix(b"txt:").split(b"\r\n") if x.startswith(b"# ")]


@differs("INFO: the same sections, but for what is not here and what is its own")
def _(d):
    if d.name != "info" or type(d.ours) is not type(d.theirs) or not isinstance(d.ours, bytes):
        return False
    own = {b"# Modules", b"# Errorstats", b"# Cairn"}
    return set(sections(d.ours)) - own == set(sections(d.theirs)) - own


@differs("COMMAND: what later versions say of rows, and each server has its own rows")
def _(d):
    if d.name != "command" or not d.lists() or type(d.ours) is not type(d.theirs):
        return False
    if d.row == "command|list":
        return set(d.theirs) - {b"acl", b"bgrewriteaof"} <= set(d.ours) or b"FILTERBY" not in d.said
    if d.row == "command|info" and len(d.words) > 2:
        return [x and [x[:2], x[3:6]] for x in d.ours] == [x and [x[:2], x[3:6]] for x in d.theirs]
    if d.row == "command|docs":
        return len(d.words) == 2 or sorted(d.ours[::2]) == sorted(d.theirs[::2])
    return len(d.words) < 3


# Which say how each server works, and what it has not.
CONFIG_OWN = set(b"""acllog-max-len aof-use-rdb-preamble appenddirname appendfilename appendonly auto-aof-rewrite-min-size
auto-aof-rewrite-percentage cluster-config-file crash-log-enabled crash-memcheck-enabled dbfilename dir dynamic-hz
enable-protected-configs hz io-threads io-threads-do-reads jemalloc-bg-thread lazyfree-lazy-eviction lazyfree-lazy-expire
lazyfree-lazy-server-del lazyfree-lazy-user-del lazyfree-lazy-user-flush maxmemory-clients port proc-title-template rdbcompression
repl-backlog-size sanitize-dump-payload save set-proc-title tcp-backlog tls-auth-clients tls-protocols tls-session-cache-timeout""".split())


@differs("CONFIG GET: in any order, but for how each server works")
def _(d):
    if d.row != "config|get" or not d.lists() or type(d.ours) is not type(d.theirs):
        return False
    ours, theirs = ({k: x for k, x in zip(v[::2], v[1::2]) if k not in CONFIG_OWN} for v in (d.ours, d.theirs))
    return all(ours.get(k) == v for k, v in theirs.items())  # later versions have more


def lzf(b, size):
    """What Redis compresses long strings in dumps with."""
    out, i = bytearray(), 0
    while i < len(b):
        n = b[i]
        i += 1
        if n < 32:
            out += b[i:i + n + 1]
            i += n + 1
            continue
        length = n >> 5
        if length == 7:
            length += b[i]
            i += 1
        at = len(out) - ((n & 31) << 8) - b[i] - 1
        i += 1
        for k in range(length + 2):
            out.append(out[at + k])
    assert len(out) == size
    return bytes(out)


def libraries(dump):
    """The sources in what FUNCTION DUMP answers, and the version behind them."""
    def length(at):
        first = dump[at]
        return (first, at + 1) if first < 64 else ((first & 63) << 8 | dump[at + 1], at + 2) if first < 128 else (int.from_bytes(dump[at + 1:at + 5], "big"), at + 5)
    out, at = [], 0
    while at < len(dump) - 10:
        assert dump[at] == 245
        if dump[at + 1] == 0xC3:
            (packed, at), is_packed = length(at + 2), True
            size, at = length(at)
        else:
            (size, at), is_packed = length(at + 1), False
            packed = size
        out.append(lzf(dump[at:at + packed], size) if is_packed else dump[at:at + size])
        at += packed
    return sorted(out), dump[-10:-8]


@differs("FUNCTION DUMP: libraries in any order; redis-server compresses them")
def _(d):
    return d.row == "function|dump" and not is_error(d.ours) and not is_error(d.theirs) and libraries(d.ours) == libraries(d.theirs)


@differs("OBJECT ENCODING: since 7.2 a small list is a listpack, and so is a small set of words")
def _(d):
    return d.row == "object|encoding" and (d.ours, d.theirs) in ((b"listpack", b"quicklist"), (b"listpack", b"hashtable"))


@differs("OBJECT ENCODING: redis-server's SORT makes a skiplist of a sorted set")
def _(d):
    return d.row == "object|encoding" and (d.ours, d.theirs) == (b"listpack", b"skiplist")


@differs("OBJECT ENCODING: which string was ever changed is not kept yet")
def _(d):
    return d.row == "object|encoding" and {d.ours, d.theirs} < {b"embstr", b"raw", b"int"}


@differs("OBJECT IDLETIME: it is not tracked")
def _(d):
    return d.row == "object|idletime" and d.we_say(b"-ERR idle time is not tracked")


@differs("OBJECT IDLETIME: it is not tracked, and ends a script", parts=True)
def _(d):
    return d.name in SCRIPTED and d.we_say(b"-ERR idle time is not tracked")


# --- what Cairn does otherwise on purpose

@differs("MEMORY USAGE finds a key that is past until the server meets it", parts=True)
def _(d):
    return d.row == "memory|usage" and d.ours in (None, b"nil", b"_") and isinstance(d.theirs, bytes) and d.theirs[:1] == b":"


@differs("no HyperLogLog is as long as a value in extents: it is none, there a broken one")
def _(d):
    return d.name.startswith("pf") and d.we_say(b"-WRONGTYPE Key is not a valid HyperLogLog") and d.they_say(b"-INVALIDOBJ")


def too_long(d):
    return d.we_say(b"has at most 65535 bytes") or (d.we_say(b"is too long") and any(len(w) > 65535 for w in d.words))


@differs("words of commands that take no values, and keys, have a limit: refused by both")
def _(d):
    return too_long(d) and is_error(d.theirs)


@differs("words of commands that take no values, and keys, have a limit", parts=True)
def _(d):
    return too_long(d)


@differs("SELECT takes names of buckets")
def _(d):
    return d.name == "select" and d.we_say(b"-ERR no such bucket")


@differs("libraries are records of a transaction of their own", parts=True)
def _(d):
    return d.name == "function" and d.we_say(b"-ERR functions cannot be changed inside MULTI")


@differs("of what a client said its error says as much as fits a line")
def _(d):
    return d.we_say(b"-") and len(d.ours) > 120 and isinstance(d.theirs, bytes) and d.theirs[:100] == d.ours[:100]


@differs("redis-server ends what it quotes in an error where a NUL is")
def _(d):
    if not (is_error(d.ours) and is_error(d.theirs) and b"\0" in d.ours):
        return False
    return d.theirs.rstrip(b"'") == d.ours[:d.ours.index(b"\0")].rstrip(b"'")


@differs("why a transaction was aborted is said in other words")
def _(d):
    return d.name == "exec" and isinstance(d.ours, bytes) and isinstance(d.theirs, bytes) and d.ours[:10] == d.theirs[:10]


# --- what later versions of Redis do otherwise than 7.0.15, and this one with them

@differs("since 7.2 scripts may call what waits elsewhere, and do not wait: nothing was there, or it is refused")
def _(d):
    return d.they_say(NOT_IN_SCRIPTS) and d.name not in SCRIPTED and (d.ours in (b"nil", []) or is_error(d.ours))


@differs("since 7.2 scripts may call what waits elsewhere, and do not wait", parts=True)
def _(d):
    return d.they_say(NOT_IN_SCRIPTS) and not d.we_say(NOT_IN_SCRIPTS)


@differs("a timeout beyond 64-bit integers is out of range, as in later versions; to 7.0 it is negative")
def _(d):
    return d.we_say(b"-ERR timeout is out of range") and d.they_say(b"-ERR timeout is negative")


@differs("since 7.2 XSETID takes no ID below that of what was deleted", parts=True)
def _(d):
    return d.name == "xsetid" and d.we_say(b"smaller than current max_deleted_entry_id")


@differs("a rank that cannot be negated is refused since 7.2; 7.0 finds something")
def _(d):
    return d.name == "lpos" and d.we_say(b"must between -9223372036854775807")


@differs("a dense HyperLogLog that ends within a run: redis-server reads the byte behind it, and breaks the value", parts=True)
def _(d):
    return d.name == "pfadd" and d.we_say(b"-INVALIDOBJ") and d.theirs in (b":0", b":1")


@differs("7.0.15 misses places across a pole and on the edge of the grid")
def _(d):
    if not d.name.startswith(("geosearch", "georadius")) or not d.lists():
        return False
    names = [{m if isinstance(m, bytes) else m[0] for m in side} for side in (d.ours, d.theirs)]
    edge = {b"p%d" % i for i, (lon, lat) in enumerate(PLACES) if abs(lat) > 66 or lon == 180}
    on_edge = {b"85.05112878", b"180", b"-180", b"p13"} & set(d.words)
    more = names[0] - names[1]
    return more and (on_edge or more <= edge)


@differs("of places that are equally far COUNT takes any")
def _(d):
    return d.name.startswith(("geosearch", "georadius")) and b"COUNT" in d.said and d.lists() and len(d.ours) == len(d.theirs)


@differs("7.0.15 misses places across a pole and on the edge of the grid: stored", parts=True)
def _(d):
    return d.name.startswith(("geosearch", "georadius")) and d.numbers() is not None and d.numbers()[0] > d.numbers()[1]


@differs("SORT in 7.0.15 looks at an error of an earlier conversion", parts=True)
def _(d):
    return d.name in ("sort", "sort_ro") and d.they_say(b"-ERR One or more scores can't be converted into double")


@differs("patterns of SORT in a cluster: since 7.4 they may look where the key is")
def _(d):
    return d.name in ("sort", "sort_ro") and d.they_say(b"denied in Cluster mode") and b"STORE" not in d.said


@differs("a SORT in a cluster, which 7.0.15 refused for its patterns", parts=True)
def _(d):
    return d.they_say(b"denied in Cluster mode")


COUNTS_KEYS = {"zunion": 1, "zinter": 1, "zdiff": 1, "zintercard": 1, "sintercard": 1, "lmpop": 1, "zmpop": 1, "zunionstore": 2, "zinterstore": 2,
               "zdiffstore": 2, "blmpop": 2, "bzmpop": 2, "eval": 2, "evalsha": 2, "eval_ro": 2, "evalsha_ro": 2, "fcall": 2, "fcall_ro": 2}


def is_odd_count(words):
    at = COUNTS_KEYS.get(words[0].lower().decode("latin1"), 0)
    return 0 < at < len(words) and (not re.fullmatch(rb"-?[0-9]+", words[at]) or abs(int(words[at])) >= 1 << 31)


@differs("in a cluster, 7.0.15 looks for keys behind a count that is none, of which it takes the digits, or 32 bits", parts=True)
def _(d):
    if not (d.they_say(b"-CROSSSLOT") or d.they_say(b"a non local key")):
        return False
    return any(map(is_odd_count, [d.words, *d.queued, *inner_commands(d.words)]))


@differs("in a cluster, 7.0.15 takes a word behind STORE for a key of SORT though another STORE has none", parts=True)
def _(d):
    return d.name == "sort" and d.they_say(b"-CROSSSLOT") and d.said[-1] == b"STORE"


@differs("in a cluster, 7.0.15 sees no keys of an XREAD whose options are wrong, and says so", parts=True)
def _(d):
    return d.name in ("xread", "xreadgroup") and d.we_say(b"-CROSSSLOT") and (is_error(d.theirs) or d.they_say(b"+QUEUED"))
