"""A Redis Cluster of one node (`--cluster-enabled yes`): clients of Redis Cluster do their work on it, and what it
answers is what a redis-server answers that is a cluster alone, over generated streams too, of which some have all keys in
one slot, some none and some a few. CAIRN_CLUSTER_COMMANDS says how many commands, CAIRN_WIRE_SEED where to begin."""
import logging
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
import unittest

import redis
from redis.cluster import RedisCluster

import test_differential
from differ import Client, Map
from harness import PASSWORD, PATIENCE, SANITIZED, Case, Server, wait_until
from streams import KEYS, Scenes
from test_resp import Peer

COMMANDS = int(os.environ.get("CAIRN_CLUSTER_COMMANDS", "5000" if SANITIZED else "50000"))
ON = ["--cluster-enabled=yes"]
SLOTS = 16384


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def slot_of(key):
    """By the specification, bit for bit."""
    tag = re.match(rb"[^{]*\{([^}]+)\}", key, re.DOTALL)
    crc = 0
    for byte in tag.group(1) if tag else key:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xffff
    return crc % SLOTS


class ClusterPeer(Peer):
    """A redis-server that is a cluster alone."""

    def __init__(self):
        super().__init__("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--cluster-announce-ip", "127.0.0.1")
        self.client.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", str(SLOTS - 1))
        self.client.execute_command("CLUSTER", "BUMPEPOCH")
        assert wait_until(lambda: b"cluster_state:ok" in Client(self.port).ask(b"CLUSTER", b"INFO"))


# Said one after the other on both, by one client; "ME" is the node's id.
ALIKE = r"""
CLUSTER INFO
CLUSTER SLOTS
CLUSTER SHARDS
CLUSTER NODES
CLUSTER LINKS
CLUSTER REPLICAS ME
CLUSTER SLAVES ME
CLUSTER SLAVES xx
CLUSTER COUNT-FAILURE-REPORTS ME
CLUSTER COUNT-FAILURE-REPORTS xx
CLUSTER COUNTKEYSINSLOT -1
CLUSTER COUNTKEYSINSLOT 16384
CLUSTER COUNTKEYSINSLOT 16383
CLUSTER COUNTKEYSINSLOT x
CLUSTER GETKEYSINSLOT -1 3
CLUSTER GETKEYSINSLOT 1 0
CLUSTER GETKEYSINSLOT 1 a
CLUSTER GETKEYSINSLOT a -1
CLUSTER GETKEYSINSLOT 1 -1
CLUSTER ADDSLOTS 1
CLUSTER ADDSLOTS 1 x
CLUSTER ADDSLOTS 20000
CLUSTER ADDSLOTSRANGE 1 2
CLUSTER ADDSLOTSRANGE 1 2 3
CLUSTER ADDSLOTSRANGE 2 1
CLUSTER ADDSLOTSRANGE 2 x
CLUSTER DELSLOTS x
CLUSTER DELSLOTSRANGE 1 2 3
CLUSTER DELSLOTSRANGE 3 1
CLUSTER MEET 127.0.0.1 x
CLUSTER MEET 127.0.0.1 7000 7000 7000
CLUSTER FAILOVER
CLUSTER FAILOVER FORCE
CLUSTER FAILOVER xx
CLUSTER FAILOVER FORCE TAKEOVER
CLUSTER FORGET ME
CLUSTER FORGET xx
CLUSTER REPLICATE ME
CLUSTER REPLICATE xx
CLUSTER SETSLOT 1 NODE ME
CLUSTER SETSLOT 1 NODE xx
CLUSTER SETSLOT 1 NODE
CLUSTER SETSLOT 1 STABLE
CLUSTER SETSLOT 1 IMPORTING xx
CLUSTER SETSLOT 1 MIGRATING xx
CLUSTER SETSLOT x STABLE
CLUSTER SETSLOT 1 FOO
CLUSTER RESET foo
CLUSTER RESET foo bar
CLUSTER BUMPEPOCH
CLUSTER SET-CONFIG-EPOCH x
CLUSTER SET-CONFIG-EPOCH -1
CLUSTER SET-CONFIG-EPOCH 3
CLUSTER SAVECONFIG
CLUSTER FOO
CLUSTER
CLUSTER MYID a
ASKING
ASKING a
READONLY
READWRITE
SELECT 0
SELECT 1
SELECT 99
SELECT 2147483648
MOVE a 1
MOVE a x
COPY a {a}b DB 1
COPY a {a}b DB 99
COPY a {a}b DB x
COPY a a DB 0
COPY a b DB 1
REPLICAOF NO ONE
SLAVEOF a b
FAILOVER
FAILOVER ABORT
CONFIG GET cluster-enabled
CONFIG SET cluster-enabled no
INFO cluster
SET a{t} 1
CLUSTER GETKEYSINSLOT 15891 5
CLUSTER COUNTKEYSINSLOT 15891
CLUSTER KEYSLOT t
MULTI
SET a 1
SET b 1
MSET a 1 b 2
EXEC
MULTI
SET a 1
SET b 1
EXEC
EXEC
MULTI
SET a 1
NOSUCH
SET b 1
EXEC
MULTI
SET a 1
SET b 1
EXEC x
DISCARD
MULTI
NOSUCH
SET a 1
EXEC
MULTI
CLUSTER COUNTKEYSINSLOT 15891
CLUSTER GETKEYSINSLOT 15891 10
SELECT 1
EXEC
WATCH a b
WATCH a
WATCH b
UNWATCH
MULTI
WATCH a b
EXEC
MULTI
EVAL return~1 2 a b
EXEC
EVAL return~1 2 a b
EVAL return~1 2 a{t} b{t}
EVAL return~redis.call('mset','a',1,'b',2) 0
EVAL return~redis.pcall('mset','a',1,'b',2) 0
EVAL redis.call('set','a',1)~return~redis.call('set','b',2) 0
EVAL return~redis.call('set','b',2) 1 a
EVAL #!lua|return~redis.call('set','b',2) 1 a
EVAL #!lua|return~redis.pcall('set','b',2) 1 a
EVAL #!lua|redis.call('set','a',1)~return~redis.call('set','b',2) 0
EVAL #!lua|redis.call('set','a{t}',1)~return~redis.call('set','b{t}',2) 0
EVAL #!lua|return~redis.call('mset','a',1,'b',2) 0
EVAL #!lua~flags=allow-cross-slot-keys|redis.call('set','a',1)~return~redis.call('set','b',2) 0
EVAL #!lua~flags=allow-cross-slot-keys|return~redis.call('mset','a',1,'b',2) 0
EVAL #!lua~flags=no-cluster|return~1 0
EVAL #!lua~flags=no-cluster,no-writes|return~1 0
EVAL #!lua|return~redis.pcall('spublish','b','x') 1 a
EVAL #!lua|return~redis.pcall('publish','b','x') 1 a
MULTI
EVAL #!lua|return~redis.pcall('set','b',1) 0
SET a 1
EXEC
MULTI
EVAL #!lua|return~redis.pcall('set','a',1) 0
EVAL #!lua|return~redis.pcall('set','b',1) 0
EXEC
EVAL return~redis.call('select',1) 0
EVAL return~redis.pcall('move','a',1) 0
EVAL return~redis.call('asking') 0
EVAL return~redis.call('cluster','keyslot','a') 0
EVAL return~redis.call('cluster','countkeysinslot',15891) 0
EVAL return~redis.call('cluster','getkeysinslot',15891,0) 0
FUNCTION LOAD REPLACE #!lua~name=x|redis.register_function('f',~function(k,~a)~return~redis.pcall('set',a[1],1)~end)
FCALL f 1 a b
FCALL f 1 a a
FCALL f 0 b
FCALL f 2 a b c
FUNCTION LOAD REPLACE #!lua~name=x|redis.register_function{function_name='f',~callback=function(k,~a)~return~1~end,~flags={'no-cluster'}}
FCALL f 0
SSUBSCRIBE a b
SPUBLISH a x
PUBLISH a x
SUNSUBSCRIBE a b
MULTI
SPUBLISH a x
SPUBLISH b x
EXEC
MULTI
GET a
SPUBLISH b x
EXEC
DEL a b
DEL a a
EXISTS a b
RENAME a b
BLPOP a b 0
XREAD STREAMS a b 0 0
XREAD STREAMS a b 0
SORT a STORE b
SORT a STORE b BY x*
SORT a{t} BY nosort
ZUNION 2 a b
ZUNION x a b
ZUNION 3 a b
ZUNIONSTORE d 2 a b
GEORADIUS a 1 1 1 m STORE b
MIGRATE 127.0.0.1 1 a 0 10
PFMERGE a b
BITOP AND a b
MEMORY USAGE a
LCS a b
LMPOP 2 a b LEFT
RENAME {a}b {a}c
MSETNX a{t} 1 b{t} 2
COMMAND GETKEYS MSET a 1 b 2
RESET
""".strip().split("\n")
# What redis-server does, or words otherwise, and a node that keeps all slots does not.
KEPT = """CLUSTER DELSLOTS 1|CLUSTER DELSLOTSRANGE 1 2|CLUSTER FLUSHSLOTS|CLUSTER RESET|CLUSTER RESET HARD|CLUSTER MEET 127.0.0.1 7000
CLUSTER MEET 127.0.0.1 7000 17000""".replace("\n", "|").split("|")


class AsRedisCluster(test_differential.AsRedis):
    """Beside its own tests that of the base, over streams of which the keys are given tags."""

    server_args = ON

    @classmethod
    def start_peer(cls):
        cls.peer = ClusterPeer()

    def both(self, protocol):
        pair = [Client(port) for port in self.ports()]
        ids = [c.ask(b"CLUSTER", b"MYID") for c in pair]
        for c in pair:
            self.addCleanup(c.close)
            c.ask(b"FLUSHALL")
            c.ask(b"HELLO", protocol)
        return pair, ids

    def plain(self, v, me, port):
        """Without what differs from one server to the other."""
        if isinstance(v, list):
            out = [self.plain(x, me, port) for x in v]
            return Map(x if i == 0 or v[i - 1] != b"replication-offset" else b":any" for i, x in enumerate(out))
        if not isinstance(v, bytes):
            return v
        return re.sub(rb"@[0-9]+", b"@BUS", v.replace(me, b"ME").replace(b"%d" % port, b"PORT"))

    def test_forms_and_errors(self):
        for protocol in (b"2", b"3"):
            pair, ids = self.both(protocol)
            for line in ALIKE:
                words = [w.replace("~", " ").replace("|", "\n").encode() for w in line.split(" ")]
                said = [c.ask(*(i if w == b"ME" else w for w in words)) for c, i in zip(pair, ids)]
                ours, theirs = (self.plain(v, i, port) for v, i, port in zip(said, ids, self.ports()))
                self.assertEqual((ours, type(said[0])), (theirs, type(said[1])), (line, protocol))

    def test_what_would_change_the_cluster_is_refused(self):
        client, me = Client(self.server.resp), []
        self.addCleanup(client.close)
        for line in KEPT:
            self.assertRegex(client.ask(*line.encode().split()), rb"^-ERR CLUSTER [A-Z]+ is not possible: ", line)
        me = client.ask(b"CLUSTER", b"MYID")
        self.assertRegex(client.ask(b"CLUSTER", b"SETSLOT", b"1", b"MIGRATING", me), rb"^-ERR CLUSTER SETSLOT is not possible")
        self.assertIn(b"cluster_slots_ok:16384", client.ask(b"CLUSTER", b"INFO"))

    def test_slots_of_keys(self):
        r, pair = random.Random(1), self.both(b"2")[0]
        keys = [b"", b"{", b"}", b"{}", b"{}a", b"{a}", b"{{a}", b"{a}}", b"a{b}c{d}", b"{}{a}", b"123456789", b"\x00{\xff}\n"]
        keys += [bytes(r.choice(b"{}{}ab\x00\xff") for _ in range(r.randrange(12))) for _ in range(3000)]
        keys += [bytes(r.randrange(256) for _ in range(r.choice([1, 20, 3000]))) for _ in range(300)]
        for key in keys:
            ours, theirs = (c.ask(b"CLUSTER", b"KEYSLOT", key) for c in pair)
            self.assertEqual((ours, theirs), (b":%d" % slot_of(key),) * 2, key)

    def test_hello_info_and_the_client_list(self):
        for protocol in (b"2", b"3"):
            client = Client(self.server.resp)
            self.addCleanup(client.close)
            hello = client.ask(b"HELLO", protocol)
            self.assertEqual(hello[hello.index(b"mode") + 1], b"cluster")
            self.assertIn(b"redis_mode:cluster", client.ask(b"INFO", b"server"))
            self.assertIn(b"cluster_enabled:1", client.ask(b"INFO"))
            flags = lambda: re.search(rb"flags=(\w+)", client.ask(b"CLIENT", b"INFO")).group(1)
            said = [flags()]
            for word in (b"READONLY", b"READWRITE", b"READONLY", b"RESET"):
                client.ask(word)
                said.append(flags())
            self.assertEqual(said, [b"N", b"r", b"N", b"r", b"N"])

    def test_names_of_buckets_are_refused_as_numbers_are(self):
        client = Client(self.server.resp)
        self.addCleanup(client.close)
        self.assertEqual(client.ask(b"SELECT", b"db1"), b"-ERR SELECT is not allowed in cluster mode")
        self.assertEqual(client.ask(b"COPY", b"a", b"{a}", b"DB", b"db1"), b"-ERR Copying to another database is not allowed in cluster mode")
        self.assertEqual(client.ask(b"SELECT", b"db0"), b"+OK")
        # What comes after one that is refused is of the database that there is.
        for words in ((b"MULTI",), (b"SELECT", b"1"), (b"EXISTS", b"{k}absent")):
            client.ask(*words)
        self.assertEqual(client.ask(b"EXEC"), [b"-ERR SELECT is not allowed in cluster mode", b":0"])
        self.assertRegex(client.ask(b"SELECT", b"absent"), b"^-ERR no such bucket")

    def test_sort_may_look_where_its_key_is(self):
        client = Client(self.server.resp)
        self.addCleanup(client.close)
        client.ask(b"FLUSHALL")
        client.ask(b"RPUSH", b"{t}l", b"1", b"2")
        client.ask(b"MSET", b"w_{t}1", b"5", b"w_{t}2", b"3")
        self.assertEqual(client.ask(b"SORT", b"{t}l", b"BY", b"w_{t}*", b"GET", b"#", b"GET", b"w_{t}*"), [b"2", b"3", b"1", b"5"])
        for words in ([b"BY", b"w_*"], [b"BY", b"w_*{t}"], [b"GET", b"w_*"], [b"GET", b"w_{s}*"], [b"GET", b"absent"]):
            self.assertEqual(client.ask(b"SORT", b"{t}l", *words),
                             b"-ERR %s option of SORT denied in cluster mode when keys formed by the pattern may be in different slots." % words[0])

    def make_steps(self, seed, told, names, refused):
        """Streams of which the same keys have the same tag throughout; none says what other keys it looks at."""
        r = random.Random(seed)
        tags = r.choice([lambda k: b"{t}", lambda k: b"{t}", lambda k: b"{%c}" % (k[:1] or b"a")[0], lambda k: r2[k], lambda k: b""])
        r2 = {k: r.choice([b"{t}", b"{t}", b"{u}", b""]) for k in KEYS}
        names_of = {k: (tags(k) + k if r.random() < 0.5 else k + tags(k)) if k else k for k in KEYS}
        # The others of CLUSTER are in ALIKE; two find a key whose time has come, or not, as it happens.
        names = [n for n in names if n == "cluster|keyslot" or not n.startswith(("cluster|", "dbsize", "memory|usage"))]
        steps = Tagged(seed, told, names, refused).steps(test_differential.STEPS)
        # What redis-server has not looked for since its time came it counts.
        end = [[b"EXISTS", k] for k in names_of.values()] + [[b"CLUSTER", b"COUNTKEYSINSLOT", b"%d" % slot_of(k)] for k in (b"t", b"u", b"k", *names_of.values())]
        return [(who, words[:1] + [names_of.get(w, w) for w in words[1:]]) for who, words in steps] + [
            (0, words) for words in [[b"DISCARD"]] + end]

    def test_streams_are_answered_as_redis_answers_them(self):
        at_least = test_differential.COMMANDS
        test_differential.COMMANDS = COMMANDS
        try:
            super().test_streams_are_answered_as_redis_answers_them()
        finally:
            test_differential.COMMANDS = at_least


class Tagged(Scenes):
    """Without what differ.py compares by the names of keys."""

    def events(self, who):
        return []

    tracking = events


class Clients(Case):
    server_args = dict(args=ON)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        logging.getLogger("redis.cluster").setLevel(logging.CRITICAL)  # of errors that are to come

    def cluster(self, **kwargs):
        r = RedisCluster(host="127.0.0.1", port=self.server.resp, password=PASSWORD, **kwargs)
        self.addCleanup(r.close)
        r.flushall()
        return r

    def test_redis_py(self):
        r = self.cluster()
        self.assertEqual([(n.host, n.port, n.server_type) for n in r.get_nodes()], [("127.0.0.1", self.server.resp, "primary")])
        for i in range(200):
            r.set("key%d" % i, i)
        self.assertEqual([r.get("key%d" % i) for i in range(200)], [b"%d" % i for i in range(200)])
        self.assertEqual(r.mget_nonatomic(["key%d" % i for i in range(200)]), [b"%d" % i for i in range(200)])
        r.mset_nonatomic({"m%d" % i: i for i in range(50)})
        self.assertEqual(r.delete(*["m%d" % i for i in range(50)]), 50)
        self.assertEqual(r.exists("key1", "key2", "absent"), 2)
        self.assertEqual(r.keyslot("key1"), r.cluster_keyslot("key1"))
        with r.pipeline() as p:
            for i in range(100):
                p.incr("key%d" % i)
            p.hset("h", mapping={"a": 1, "b": 2}).hgetall("h").zadd("{z}1", {"a": 1}).zunionstore("{z}2", ["{z}1"])
            self.assertEqual(p.execute(), [i + 1 for i in range(100)] + [2, {b"a": b"1", b"b": b"2"}, 1, 1])
        self.assertEqual(r.eval("return redis.call('incrby', KEYS[1], ARGV[1])", 1, "key1", 5), 7)
        self.assertEqual(sorted(r.scan_iter("key1?")), [b"key%d" % i for i in range(10, 20)])
        self.assertEqual(r.dbsize(), 203)
        slot = r.keyslot("key7")
        self.assertEqual((r.cluster_countkeysinslot(slot), r.cluster_get_keys_in_slot(slot, 10)), (1, ["key7"]))
        with self.assertRaisesRegex(redis.ResponseError, "CROSSSLOT|hash to the same slot"):
            r.execute_command("MSET", "a", 1, "b", 2, target_nodes=RedisCluster.RANDOM)

    def test_redis_py_reading_from_replicas_and_listening(self):
        r = self.cluster(read_from_replicas=True)
        r.set("a", 1)
        self.assertEqual(r.get("a"), b"1")
        p = r.pubsub()
        self.addCleanup(p.close)
        p.subscribe("news")
        p.psubscribe("n*")
        heard = []
        self.assertTrue(wait_until(lambda: heard.append(p.get_message(timeout=0.1)) or len([m for m in heard if m]) == 2))
        self.assertEqual(r.publish("news", "hello"), 2)
        self.assertTrue(wait_until(lambda: heard.append(p.get_message(timeout=0.1)) or len([m for m in heard if m]) == 4))
        self.assertEqual([m["data"] for m in heard if m][2:], [b"hello"] * 2)

    def run_cli(self, *words, **kwargs):
        out = subprocess.run(["redis-cli", "-p", str(self.server.resp), *words], capture_output=True, timeout=PATIENCE, text=True,
                             env=dict(os.environ, REDISCLI_AUTH=PASSWORD), **kwargs)
        return out.stdout + out.stderr

    def test_redis_cli_and_its_helpers(self):
        said = self.run_cli("-c", input="set foo 1\nget foo\nmset {t}a 1 {t}b 2\nmget {t}a {t}b\nmset a 1 b 2\n")
        self.assertEqual(said.split("\n"), ["OK", "1", "OK", "1", "2", "CROSSSLOT Keys in request don't hash to the same slot", "", ""])
        address = "127.0.0.1:%d" % self.server.resp
        self.assertIn("[OK] All 16384 slots covered.", self.run_cli("--cluster", "check", address))
        self.assertIn("16384 slots | 0 slaves", self.run_cli("--cluster", "info", address))


class Identity(unittest.TestCase):
    def test_it_stays_while_its_store_does(self):
        server = Server(args=ON)
        self.addCleanup(server.remove)
        who = lambda: [server.redis().execute_command("CLUSTER", w) for w in ("MYID", "MYSHARDID")]
        before = who()
        self.assertRegex(b" ".join(before), rb"^[0-9a-f]{40} [0-9a-f]{40}$")
        self.assertNotEqual(*before)
        server.restart()
        self.assertEqual(who(), before)
        other = Server(args=ON)
        self.addCleanup(other.remove)
        self.assertNotEqual(other.redis().execute_command("CLUSTER", "MYID"), before[0])

    def test_the_address_that_is_announced(self):
        server = Server(args=ON + ["--cluster-announce-ip=cache.example", "--cluster-announce-port=7000"])
        self.addCleanup(server.remove)
        r = server.redis()
        r.response_callbacks.clear()
        slots = r.execute_command("CLUSTER", "SLOTS")
        self.assertEqual(slots[0][2][:2], [b"cache.example", 7000])
        self.assertIn(b" cache.example:7000@0 myself,master ", r.execute_command("CLUSTER", "NODES"))
        self.assertIn(b"cache.example", r.execute_command("CLUSTER", "SHARDS")[0][3][0])
        self.assertEqual(r.execute_command("CONFIG", "GET", "cluster-announce-ip", "cluster-announce-port", "cluster-announce-tls-port"),
                         [b"cluster-announce-ip", b"cache.example", b"cluster-announce-port", b"7000", b"cluster-announce-tls-port", b"0"])
        with self.assertRaisesRegex(redis.ResponseError, "an option of the start"):
            r.execute_command("CONFIG", "SET", "cluster-announce-port", "7001")

    def test_without_the_option_there_is_none(self):
        server = Server()
        self.addCleanup(server.remove)
        r = server.redis()
        for words in ("CLUSTER INFO", "CLUSTER COUNTKEYSINSLOT 1", "ASKING", "READONLY"):
            with self.assertRaisesRegex(redis.ResponseError, "This instance has cluster support disabled"):
                r.execute_command(*words.split())
        self.assertTrue(r.mset({"a": 1, "b": 2}) and r.execute_command("SELECT", "1"))
        self.assertEqual((r.info()["cluster_enabled"], r.info()["redis_mode"]), (0, "standalone"))


class KeysOfASlot(Case):
    server_args = dict(args=ON, threads=1)

    def test_of_a_large_database_hold_nobody_up(self):
        keys, mine = (20_000, 5_000) if SANITIZED else (100_000, 30_000)
        r = self.server.redis()
        for begin in range(0, keys, 10_000):
            p = r.pipeline(transaction=False)
            for i in range(begin, begin + 10_000):
                p.set("key%d" % i, "")
            p.execute()
        slot = slot_of(b"t")
        others = {k for k in (b"key%d" % i for i in range(keys)) if slot_of(k) == slot}
        for begin in range(0, mine, 5_000):
            r.mset({"{t}%d" % i: "" for i in range(begin, begin + 5_000)})
        self.assertEqual(r.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot), len(others) + mine)
        waits, done = [], threading.Event()

        def look():
            other = self.server.redis()
            while not done.is_set():
                begun = time.monotonic()
                other.ping()
                waits.append(time.monotonic() - begun)
            other.close()
        looker = threading.Thread(target=look)
        looker.start()
        try:
            for _ in range(3):
                self.assertEqual(r.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot), len(others) + mine)
                found = r.execute_command("CLUSTER", "GETKEYSINSLOT", slot, keys)
                self.assertEqual(set(found), others | {b"{t}%d" % i for i in range(mine)})
                self.assertEqual(len(found), len(others) + mine)
                self.assertEqual(len(r.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 10)), 10)
        finally:
            done.set()
            looker.join()
        waits.sort()
        print("beside a count of the keys of a slot: PING %.1f ms at the median, %.1f ms at p99, %.1f ms at the most" % (
            waits[len(waits) // 2] * 1e3, waits[len(waits) * 99 // 100] * 1e3, waits[-1] * 1e3))


if __name__ == "__main__":
    unittest.main(argv=[a for a in sys.argv if a not in ("--coverage", "--all")])
