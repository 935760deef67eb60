"""RESP's ACL: generated rules and commands beside redis-server, and what it is beside IAM's users."""
import hashlib
import json
import os
import random
import socket
import tempfile
import threading
import unittest

import redis

from harness import PASSWORD, PATIENCE, USER, Case, Server, wait_until
from test_resp import Peer

HASH = hashlib.sha256(b"word").hexdigest()
COMMANDS = [c.split() for c in """get a1|get b1|set a1 v|set c1 v get|getset a1 v|mget a1 b1|mget a1 c1|mset a1 x b1 y|del a1|exists b1|type c1
strlen a1|append b1 x|incr c1|getdel a1|getex a1|getex a1 persist|copy a1 b1|rename a1 b1|lpush a1 x|lrange a1 0 -1|lmove a1 b1 left left|rpoplpush a1 c1
blpop a1 b1 0.01|blmove a1 b1 left left 0.01|sadd a1 m|smembers b1|sinterstore a1 b1 c1|sunion a1 b1|sinter a1 c1|smove a1 b1 m|hset a1 f v|hgetall b1
zadd a1 1 m|zrange b1 0 -1|zunionstore a1 2 b1 c1|zrangestore a1 b1 0 -1|xadd a1 * f v|xread streams a1 0|xreadgroup group g c streams b1 >
xrange c1 - +|eval return(1) 1 a1|eval return(1) 0|evalsha ffff 1 b1|sort a1|sort a1 store b1|sort a1 by nosort get #|sort a1 by w_* get d_*
pfadd a1 x|pfcount a1 b1|pfmerge a1 b1|geoadd a1 1 1 m|geosearchstore a1 b1 frommember m byradius 1 m|bitop and a1 b1 c1|bitfield a1 get u8 0
bitfield a1 set u8 0 1|object encoding a1|memory usage b1|expire a1 100|ttl a1|persist b1|dump a1|touch a1 c1|unlink b1|scan 0|keys *|dbsize|randomkey
publish ch1 m|publish dh1 m|subscribe ch1|psubscribe ch*|psubscribe ch1|ssubscribe ch1|spublish dh1 m|unsubscribe ch1|pubsub channels|ping|echo x|select 0|select 1
config get port|config set maxmemory 0|config resetstat|client id|client list|client kill id 1|client no-evict on|acl whoami|acl list|acl cat|info|time
command count|command docs get|multi|exec|discard|watch a1|unwatch|wait 0 0|auth x y|hello|quit|reset|slowlog get|latency latest|script load return(1)
script exists ffff|function list|fcall f 1 a1|flushdb|flushall|swapdb 0 1|save|lastsave|debug object a1|monitor|cluster info|object freq a1|lcs a1 b1|move a1 1
get|get a1 b1|nosuch|config nosuch|subscribe""".replace("\n", "|").split("|")]
NAMES = """get set mget del config config|get config|set client client|id acl acl|whoami object object|encoding publish subscribe psubscribe
eval select ping sort zunionstore scan multi exec nosuch config|nosuch script script|load xread hello auth memory|usage""".split()
CATEGORIES = """all keyspace read write set sortedset list hash string bitmap hyperloglog geo stream pubsub admin fast slow blocking
dangerous connection transaction scripting nosuch""".split()
PATTERNS = ["a*", "b1", "*", "?1", "[a-b]1", "[^a]*", "c\\1", "", "*1", "a1*", "[c"]


class Wire:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.file = self.socket.makefile("rb")

    def ask(self, *words):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        return self.read()

    def read(self):
        line = self.file.readline()
        if not line:
            raise ConnectionError("the connection ended")
        kind, rest = line[:1], line[1:-2]
        if kind in b"+-":
            return line[:-2]
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        return None if rest == b"-1" else [self.read() for _ in range(int(rest))]

    def close(self):
        self.file.close()
        self.socket.close()


def rule(rng, depth=0):
    kind = rng.randrange(14)
    if kind < 4:
        return rng.choice("++-") + rng.choice(NAMES)
    if kind < 6:
        return rng.choice("++-") + "@" + rng.choice(CATEGORIES)
    if kind < 8:
        return rng.choice(["~", "%R~", "%W~", "%RW~", "%wr~", "%~", "%X~", "%R"]) + rng.choice(PATTERNS)
    if kind == 8:
        return "&" + rng.choice(["ch*", "ch1", "*", "d?1"])
    if kind == 9:
        return rng.choice("on off nopass resetpass reset allkeys resetkeys allchannels resetchannels allcommands nocommands "
                          "clearselectors sanitize-payload skip-sanitize-payload nonsense ON AllKeys".split())
    if kind == 10:
        return rng.choice([">word", "<word", ">other", "#" + HASH, "!" + HASH, "#12", "!" + "0" * 64, "#" + "Z" * 64])
    if kind == 11:
        return rng.choice(["+select|0", "+select|1", "-select|0", "+get|a1", "+config|get|x"])
    if depth == 0:
        inner = [rule(rng, 1) for _ in range(rng.randrange(4))]
        inner = [r for r in inner if not r.startswith((">", "<", "#", "!"))]
        return "(" + " ".join(inner) + rng.choice([")", ")", ")", " )", ""])
    return "+get"


def of(answer):
    """GETUSER's fields, without what has another form: commands are compared by what they allow."""
    fields = dict(zip(answer[::2], answer[1::2]))
    selectors = [dict(zip(s[::2], s[1::2])) for s in fields[b"selectors"]]
    return (sorted(fields[b"flags"]), fields[b"passwords"], fields[b"keys"], fields[b"channels"],
            [(s[b"keys"], s[b"channels"]) for s in selectors])


class BesideRedis(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server, cls.peer = Server(credentials=False), Peer()

    @classmethod
    def tearDownClass(cls):
        cls.peer.stop()
        cls.server.remove()

    def setUp(self):
        self.ours, self.theirs = Wire(self.server.resp), Wire(self.peer.port)
        self.addCleanup(self.ours.close)
        self.addCleanup(self.theirs.close)
        for wire in (self.ours, self.theirs):
            wire.ask("flushall")
            wire.ask("acl", "deluser", "u", "v")
            wire.ask("acl", "log", "reset")

    def same(self, *words):
        ours, theirs = self.ours.ask(*words), self.theirs.ask(*words)
        self.assertEqual(ours, theirs, words)
        return ours

    def test_generated(self):
        rng = random.Random(20)
        for n in range(int(os.environ.get("CAIRN_ACL_ROUNDS", "150"))):
            rules = [rule(rng) for _ in range(rng.randrange(1, 7))]
            with self.subTest(n=n, rules=rules):
                if rng.random() < 0.3:
                    self.same("acl", "deluser", "u")
                words = [w for r in rules for w in (r.split(" ") if rng.random() < 0.3 else [r])]
                said = self.same("acl", "setuser", "u", *words)
                ours, theirs = (w.ask("acl", "getuser", "u") for w in (self.ours, self.theirs))
                if theirs is None:
                    self.assertIsNone(ours)
                    continue
                self.assertEqual(of(ours), of(theirs), (said, rules))
                for command in rng.sample(COMMANDS, 60):
                    self.assertEqual(self.ours.ask("acl", "dryrun", "u", *command),
                                     self.theirs.ask("acl", "dryrun", "u", *command), (command, ours, theirs))
                # What is printed means the same when it is read again, and to the other one.
                line = [x for x in self.ours.ask("acl", "list") if x.startswith(b"user u ")][0].split(b" ")
                self.assertEqual(self.same("acl", "setuser", "v", "reset", *line[2:]), b"+OK", line)
                for command in rng.sample(COMMANDS, 20):
                    self.assertEqual(self.ours.ask("acl", "dryrun", "u", *command), self.same("acl", "dryrun", "v", *command), (command, line))

    def test_verdicts_hold(self):
        """What a user does is refused as DRYRUN says, in the same words, queued or not, and ACL LOG tells of it alike."""
        rng = random.Random(3)
        stays = [c for c in COMMANDS if c[0] not in ("quit", "reset", "subscribe", "psubscribe", "ssubscribe", "monitor", "hello", "auth", "save",
                                                      "debug", "multi", "exec", "discard", "config", "client", "acl", "swapdb", "wait")]
        for n in range(20):
            rules = [r for r in (rule(rng) for _ in range(6)) if r[:1] not in "><#!"] + ["on", "nopass", "+multi", "+exec", "+discard"]
            said = self.same("acl", "setuser", "u", "reset", *rules)
            if said != b"+OK":
                continue
            wires = [Wire(self.server.resp), Wire(self.peer.port)]
            for wire in wires:
                self.assertEqual(wire.ask("auth", "u", "x"), b"+OK")
            queues = n % 3 == 0
            if queues:
                self.assertEqual([w.ask("multi") for w in wires], [b"+OK"] * 2)
            for command in rng.sample(stays, 30):
                ours, theirs = (w.ask(*command) for w in wires)
                noperm = [isinstance(a, bytes) and a.startswith(b"-NOPERM") for a in (ours, theirs)]
                self.assertEqual(noperm[0], noperm[1], (rules, command, ours, theirs))
                if noperm[0]:
                    self.assertEqual(ours, theirs, (rules, command))
            if queues:
                ours, theirs = (w.ask("exec") for w in wires)
                self.assertEqual(isinstance(ours, bytes) and ours[:10], isinstance(theirs, bytes) and theirs[:10])
            for wire in wires:
                wire.close()
            logs = []
            for wire in (self.ours, self.theirs):
                log = [dict(zip(e[::2], e[1::2])) for e in wire.ask("acl", "log", 128)]
                logs.append(sorted((e[b"reason"], e[b"context"], e[b"object"], e[b"username"], e[b"count"]) for e in log))
            self.assertEqual(logs[0], logs[1], rules)
            self.same("acl", "log", "reset")

    def test_words(self):
        for words in (["acl"], ["acl", "nosuch"], ["acl", "cat"], ["acl", "cat", "nosuch"], ["acl", "cat", "a", "b"], ["acl", "whoami"], ["acl", "genpass", "0"],
                      ["acl", "genpass", "4097"], ["acl", "genpass", "x"], ["acl", "genpass", "1", "2"], ["acl", "save"], ["acl", "load"],
                      ["acl", "log", "x"], ["acl", "log", "-1"], ["acl", "log", "1", "2"], ["acl", "dryrun", "nobody", "get", "a"],
                      ["acl", "getuser", "nobody"], ["acl", "getuser", "default"], ["acl", "deluser", "nobody"], ["acl", "deluser", "default"],
                      ["acl", "setuser", "a b"], ["acl", "setuser", "u", "(+get", "~a"], ["acl", "setuser"], ["acl", "setuser", "u", ""],
                      ["acl", "setuser", "u", "+@all", "-@all", "()"], ["acl", "getuser", "u"], ["auth", "u", "x"], ["auth", "x"], ["acl", "users", "x"]):
            self.same(*words)
        self.assertEqual(len(self.ours.ask("acl", "genpass")), 64)
        self.assertEqual(len(self.ours.ask("acl", "genpass", 5)), 2)

    def test_categories(self):
        known = {(c[0] if isinstance(c, list) else c) for c in self.theirs.ask("command", "list")}
        for category in CATEGORIES[1:-1]:
            ours, theirs = (set(w.ask("acl", "cat", category)) for w in (self.ours, self.theirs))
            of_both = {c for c in ours | theirs if c.split(b"|")[0] in known}
            there = set(self.ours.ask("command", "list"))
            for c in sorted((ours ^ theirs) & of_both):
                if c.split(b"|")[0] in there and self.ours.ask("command", "info", c)[0] and self.theirs.ask("command", "info", c)[0]:
                    self.fail("%s: %s is in %s alone" % (category, c, "ours" if c in ours else "theirs"))

    def test_who_is_connected(self):
        """DELUSER ends the connections of a user; losing a channel those that listen to it; nothing else does."""
        for wire in (self.ours, self.theirs):
            wire.ask("acl", "setuser", "u", "on", "nopass", "+@all", "~*", "&*")
        for rules, ends in ((["-get"], False), (["resetchannels", "&ch*"], False), (["off"], False), (["resetchannels", "&x"], True)):
            for port, admin in ((self.server.resp, self.ours), (self.peer.port, self.theirs)):
                admin.ask("acl", "setuser", "u", "on", "allchannels", "+@all")
                wire = Wire(port)
                self.assertEqual(wire.ask("auth", "u", "x"), b"+OK")
                wire.ask("subscribe", "ch1")
                self.assertEqual(admin.ask("acl", "setuser", "u", *rules), b"+OK")
                if ends:
                    with self.assertRaises(ConnectionError):
                        wire.read()
                else:
                    self.assertEqual(wire.ask("ping"), [b"pong", b""], rules)
                wire.close()
        for port, admin in ((self.server.resp, self.ours), (self.peer.port, self.theirs)):
            admin.ask("acl", "setuser", "u", "on")
            wire = Wire(port)
            wire.ask("auth", "u", "x")
            self.assertEqual(wire.ask("ping"), b"+PONG")
            self.assertEqual(admin.ask("acl", "deluser", "u"), 1)
            with self.assertRaises(ConnectionError):
                wire.read()
            wire.close()

    def test_scripts(self):
        for words in (["acl", "setuser", "u", "on", "nopass", "+eval", "+get", "~a*", "+publish", "&ch*"],):
            self.same(*words)
        wires = [Wire(self.server.resp), Wire(self.peer.port)]
        for wire in wires:
            wire.ask("auth", "u", "x")
        for script in ("return redis.call('get','a1')", "return redis.pcall('set','a1','x')", "return redis.call('get','b1')", "return redis.call('publish','d','m')",
                       "return redis.call('set','a1','x')"):
            ours, theirs = (w.ask("eval", script, 0) for w in wires)
            # redis-server adds where in the script it was; as later ones we have a code for refusals.
            words = [a.replace(b"-NOPERM", b"-ERR").split(b" script:")[0] if a else a for a in (ours, theirs)]
            self.assertEqual(words[0], words[1], script)
        for wire in wires:
            wire.close()


class Default(unittest.TestCase):
    """The user `default`, as the start has him and as ACL does."""

    def setUp(self):
        self.server, self.peer = Server(credentials=False), Peer()
        self.addCleanup(self.server.remove)
        self.addCleanup(self.peer.stop)

    def both(self, *words):
        answers = []
        for port in (self.server.resp, self.peer.port):
            wire = Wire(port)
            answers.append([wire.ask(*w) for w in words])
            wire.close()
        self.assertEqual(answers[0], answers[1], words)
        return answers[0]

    def test_as_redis(self):
        admin = (["acl", "setuser", "admin", "on", ">admin", "~*", "&*", "+@all"],)
        login = ["auth", "admin", "admin"]
        get = ["acl", "getuser", "default"]
        self.both(*admin)
        self.both(["auth", "x"], ["acl", "whoami"], get)
        self.both(login, ["config", "set", "requirepass", "one"], ["config", "get", "requirepass"], get)
        self.both(["ping"], ["auth", "one"], ["ping"], ["acl", "whoami"], ["auth", "default", "two"])
        self.both(login, ["acl", "setuser", "default", ">two"], get)
        self.both(["ping"], ["auth", "one"], ["auth", "two"])
        self.both(login, ["acl", "setuser", "default", "<one"], get)
        self.both(["ping"], ["auth", "one"], ["auth", "two"])
        self.both(login, ["acl", "setuser", "default", "-@all", "+get", "resetkeys", "~a*"], get)
        self.both(["auth", "two"], ["get", "a"], ["get", "b"], ["ping"], ["acl", "whoami"])
        self.both(login, ["acl", "setuser", "default", "nopass"])
        self.both(["get", "a"], ["auth", "two"], ["ping"], ["auth", "default", "any"])
        self.both(login, ["acl", "setuser", "default", "off"])
        self.both(["get", "a"], ["auth", "default", "any"], ["ping"])
        self.both(login, ["acl", "setuser", "default", "reset", "on", "nopass", "~*", "&*", "+@all"], get)
        self.both(["get", "a"], ["ping"])

    def test_kept(self):
        """What ACL says of users is there after a kill; the start's password is not shown by its hash."""
        wire = Wire(self.server.resp)
        root = ["auth", "root", open(os.path.join(self.server.directory, "data", "root-credentials")).read().split(":")[1].strip()]
        wire.ask("acl", "setuser", "default", "-@dangerous", "+config")
        self.assertEqual(wire.ask(*root), b"+OK")
        self.assertEqual(wire.ask("acl", "setuser", "u", "on", ">word", "%R~a*", "&c", "+get", "(~b +set)"), b"+OK")
        before = wire.ask("acl", "list")
        wire.close()
        self.server.restart()
        wire = Wire(self.server.resp)
        self.assertEqual(wire.ask("acl", "list"), b"-NOPERM this user has no permissions to run the 'acl|list' command")
        wire.ask(*root)
        self.assertEqual(wire.ask("acl", "list"), before)
        self.assertIn(b"user u on #" + HASH.encode() + b" %R~a* resetchannels &c -@all +get (~b resetchannels -@all +set)", before)
        wire.close()


class BesidePolicies(Case):
    """One table: what ACL does not say stays, is shown, and denies; other doors take no ACL."""

    def setUp(self):
        self.iam = self.server.s3().meta.config and __import__("boto3").session.Session().client(
            "iam", endpoint_url="http://127.0.0.1:%d" % self.server.http, aws_access_key_id=USER, aws_secret_access_key=PASSWORD,
            region_name="us-east-1")
        self.root = Wire(self.server.resp)
        self.addCleanup(self.root.close)
        self.root.ask("auth", USER, PASSWORD)

    def login(self, user, password="word"):
        wire = Wire(self.server.resp)
        self.addCleanup(wire.close)
        self.assertEqual(wire.ask("auth", user, password), b"+OK")
        return wire

    def policy(self, user, effect, action, resource):
        self.iam.put_user_policy(UserName=user, PolicyName="own", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": effect, "Action": action, "Resource": resource}]}))

    def test_both(self):
        self.iam.create_user(UserName="ada")
        self.policy("ada", "Allow", "s3:GetObject", "arn:aws:s3:::db0/p*")
        key = self.iam.create_access_key(UserName="ada")["AccessKey"]
        self.assertEqual(self.root.ask("acl", "setuser", "ada", ">word", "~a*", "+get", "+set"), b"+OK")
        fields = self.root.ask("acl", "getuser", "ada")
        shown = dict(zip(fields[::2], fields[1::2]))
        self.assertEqual(shown[b"iam"], [b"policy own", b"access key " + key["AccessKeyId"].encode()])
        self.assertIn("own", self.iam.list_user_policies(UserName="ada")["PolicyNames"])
        ada = self.login("ada")
        self.assertEqual([ada.ask("set", "a", "1"), ada.ask("get", "a"), ada.ask("get", "p")], [b"+OK", b"1", None])
        self.assertTrue(ada.ask("set", "p", "1").startswith(b"-NOPERM"))
        self.assertTrue(ada.ask("mget", "a", "p").startswith(b"-NOPERM"))
        self.policy("ada", "Deny", "s3:GetObject", "arn:aws:s3:::db0/a*")
        self.assertTrue(ada.ask("get", "a").startswith(b"-NOPERM"))
        self.assertEqual(ada.ask("set", "a", "2"), b"+OK")
        by_key = self.login(key["AccessKeyId"], key["SecretAccessKey"])
        self.assertEqual(by_key.ask("set", "a", "3"), b"+OK")
        self.iam.update_access_key(UserName="ada", AccessKeyId=key["AccessKeyId"], Status="Inactive")
        self.assertTrue(by_key.ask("set", "a", "3").startswith(b"-NOPERM"))
        self.assertIn(b"has more than an ACL", self.root.ask("acl", "deluser", "ada"))

    def test_other_doors(self):
        """A user of ACL's may log in by gRPC, and do there what policies allow: nothing, or that."""
        import grpc
        from harness import Grpc
        self.root.ask("acl", "setuser", "bob", "on", ">word", "+@all", "~*", "&*")
        self.assertEqual(self.login("bob").ask("set", "x", "1"), b"+OK")
        stubs = Grpc(self.server.grpc)
        call = lambda: stubs.kv.Get(stubs.kv_pb.GetRequest(key=stubs.key("db0", "x")), metadata=(
            ("authorization", "Basic " + __import__("base64").b64encode(b"bob:word").decode()),))
        with self.assertRaises(grpc.RpcError) as e:
            call()
        self.assertEqual(e.exception.code(), grpc.StatusCode.PERMISSION_DENIED)
        self.policy("bob", "Allow", "s3:GetObject", "arn:aws:s3:::db0/x")
        call()
        # Any password was right there, too.
        self.root.ask("acl", "setuser", "bob", "nopass")
        self.assertEqual(self.login("bob", "other").ask("set", "x", "1"), b"+OK")
        with self.assertRaises(grpc.RpcError) as e:
            call()
        self.assertEqual(e.exception.code(), grpc.StatusCode.UNAUTHENTICATED)

    def test_rights_end(self):
        """Who looks on, listens, keeps what he read, or waits, was served after he was deleted."""
        for what in (["monitor"], ["subscribe", "c"], ["psubscribe", "*"]):
            self.root.ask("acl", "setuser", "eve", "on", ">word", "+@all", "~*", "&*")
            eve = self.login("eve")
            eve.ask(*what)
            self.assertEqual(self.root.ask("acl", "deluser", "eve"), 1)
            with self.assertRaises((ConnectionError, OSError)):
                while True:
                    eve.read()
        self.iam.create_user(UserName="mon")
        self.policy("mon", "Allow", "resp:*", "*")
        self.root.ask("acl", "setuser", "mon", ">word")
        mon = self.login("mon")
        self.assertEqual(mon.ask("monitor"), b"+OK")
        self.iam.delete_user_policy(UserName="mon", PolicyName="own")
        with self.assertRaises((ConnectionError, OSError)):
            while True:
                mon.read()

    def test_broadcasts_end(self):
        """Who had lost the right to names of all keys was told them for as long as he stayed."""
        self.iam.create_user(UserName="kim")
        self.policy("kim", "Allow", "*", "*")
        key = self.iam.create_access_key(UserName="kim")["AccessKey"]
        kim = self.login(key["AccessKeyId"], key["SecretAccessKey"])
        self.assertEqual(kim.ask("client", "tracking", "on", "bcast"), b"+OK")
        self.policy("kim", "Allow", "s3:GetObject", "*")
        with self.assertRaises(ConnectionError):
            kim.read()

    def test_waiting(self):
        self.root.ask("acl", "setuser", "wes", "on", ">word", "+@all", "~*")
        wes = self.login("wes")
        got = []
        waiting = threading.Thread(target=lambda: got.append(wes.ask("blpop", "queue", 0)))
        waiting.start()
        self.assertTrue(wait_until(lambda: b"cmd=blpop" in self.root.ask("client", "list")))
        self.root.ask("acl", "setuser", "wes", "resetkeys", "~other")
        self.assertEqual(self.root.ask("rpush", "queue", "element"), 1)
        waiting.join(PATIENCE)
        self.assertEqual(got, [b"-NOPERM this user has no permissions to access one of the keys used as arguments"])
        self.assertEqual(self.root.ask("llen", "queue"), 1)
        self.root.ask("del", "queue")

    def test_root_is_the_starts(self):
        self.assertIn(b"may do all", self.root.ask("acl", "setuser", USER, "off"))
        self.assertIn(b"cannot be removed", self.root.ask("acl", "deluser", USER))
        self.assertIn(b"user " + USER.encode() + b" on ~* &* +@all", self.root.ask("acl", "list"))
        for name in ("a/b", "x" * 65, "gr\u00fcn"):
            self.assertIn(b"at most 64", self.root.ask("acl", "setuser", name, "on"))


class File(unittest.TestCase):
    def test_saves_at_once_leave_a_whole_file(self):
        """Two of them wrote the same file beside it: what was there then was neither's."""
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "users.acl")
            open(path, "w").close()
            server = Server(args=["--aclfile=" + path], threads=4)
            try:
                root = Wire(server.resp)
                root.ask("auth", USER, PASSWORD)
                for i in range(300):
                    root.ask("acl", "setuser", "user%03d" % i, "on", ">word", "~" + "k" * 100, "+@all")
                self.assertEqual(root.ask("acl", "save"), b"+OK")
                whole, ends, torn = open(path).read(), threading.Event(), []

                def save():
                    wire = Wire(server.resp)
                    wire.ask("auth", USER, PASSWORD)
                    for _ in range(40):
                        if wire.ask("acl", "save") != b"+OK":
                            torn.append("refused")

                def read():
                    while not ends.is_set():
                        if open(path).read() != whole:
                            torn.append("torn")

                reader, savers = threading.Thread(target=read), [threading.Thread(target=save) for _ in range(6)]
                for thread in [reader] + savers:
                    thread.start()
                for thread in savers:
                    thread.join()
                ends.set()
                reader.join()
                self.assertEqual(torn, [])
                self.assertEqual(os.listdir(d), ["users.acl"])
            finally:
                server.remove()

    def test_file(self):
        """What is saved is loaded; whoever is not in the file goes, unless IAM knows of him; an error changes nothing."""
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "users.acl")
            with open(path, "w") as f:
                f.write("# who\n\nuser default on nopass ~* &* +@all\nuser ann on >word ~a* +@read -@slow\n")
            server = Server(args=["--aclfile=" + path])
            try:
                root = Wire(server.resp)
                root.ask("auth", USER, PASSWORD)
                ann = Wire(server.resp)
                self.assertEqual(ann.ask("auth", "ann", "word"), b"+OK")
                root.ask("acl", "setuser", "ben", "on", "nopass")
                self.assertEqual(root.ask("acl", "save"), b"+OK")
                saved = open(path).read()
                self.assertEqual(saved, "user ann on #%s ~a* resetchannels -@all +@read -@slow\nuser ben on nopass resetchannels -@all\n"
                                 "user default on nopass ~* &* +@all\n" % HASH)
                self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
                for bad, why in (("user cid on +nosuch\n", b"Unknown command"), ("cid on\n", b"should start with user"),
                                 ("user cid on (+get\n", b"Unmatched parenthesis"), ("user cid on\nuser cid off\n", b"Duplicate user")):
                    with open(path, "w") as f:
                        f.write(bad)
                    answer = root.ask("acl", "load")
                    self.assertIn(why, answer)
                    self.assertIn(b"no change to the previously active ACL rules was performed", answer)
                    self.assertIn(b"ann", root.ask("acl", "users"))
                with open(path, "w") as f:
                    f.write("user default on nopass ~* &* +@all\nuser cid on nopass +@all\n")
                self.assertEqual(root.ask("acl", "load"), b"+OK")
                self.assertEqual(root.ask("acl", "users"), [b"cid", b"default", USER.encode()])
                with self.assertRaises(ConnectionError):
                    ann.read()
                os.unlink(path)
                self.assertIn(b"No such file", root.ask("acl", "load"))
                ann.close()
                root.close()
            finally:
                server.remove()

    def test_default_is_as_the_start_says(self):
        """A file that was saved shut out root's password for `default`, or left him open to all at a later start."""
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "users.acl")
            open(path, "w").close()
            server = Server(args=["--aclfile=" + path], credentials=False)
            self.addCleanup(server.remove)

            def asked(*words, password=None, user=None):
                wire = Wire(server.resp)
                try:
                    login = [w for w in (user, password) if w is not None]
                    if login:
                        self.assertEqual(wire.ask("auth", *login), b"+OK")
                    return wire.ask(*words)
                finally:
                    wire.close()

            def saved_and_loaded(**login):
                self.assertEqual(asked("acl", "save", **login), b"+OK")
                text = open(path).read()
                self.assertEqual(asked("acl", "load", **login), b"+OK")
                self.assertEqual(asked("acl", "save", **login), b"+OK")
                self.assertEqual(open(path).read(), text)
                return text

            root = dict(user=USER, password=PASSWORD)
            self.assertEqual(saved_and_loaded(), "")
            self.assertEqual(asked("acl", "setuser", "default", "-lolwut"), b"+OK")
            self.assertEqual(saved_and_loaded(), "user default on ~* &* +@all -lolwut\n")
            self.assertEqual(asked("ping"), b"+PONG")
            server.stop()
            server.env.update(CAIRN_ROOT_USER=USER, CAIRN_ROOT_PASSWORD=PASSWORD)
            server.start()
            self.assertTrue(asked("ping").startswith(b"-NOAUTH"))
            self.assertEqual(asked("ping", password=PASSWORD), b"+PONG")
            saved_and_loaded(**root)
            self.assertEqual(asked("ping", password=PASSWORD), b"+PONG")
            self.assertEqual(asked("acl", "setuser", "default", ">word", **root), b"+OK")
            saved_and_loaded(**root)
            for password in (PASSWORD, "word"):
                self.assertEqual(asked("ping", password=password), b"+PONG")
            # What ACL says of his passwords holds.
            self.assertEqual(asked("acl", "setuser", "default", "resetpass", ">word", **root), b"+OK")
            self.assertIn("user default resetpass on #" + HASH, saved_and_loaded(**root))
            self.assertEqual(asked("ping", password="word"), b"+PONG")
            self.assertEqual(asked("acl", "setuser", "default", "resetpass", **root), b"+OK")
            self.assertIn("user default resetpass on ~*", saved_and_loaded(**root))
            for password in (PASSWORD, "word"):
                with self.assertRaises(AssertionError):
                    asked("ping", password=password)
            server.restart()
            with self.assertRaises(AssertionError):
                asked("ping", password=PASSWORD)


if __name__ == "__main__":
    unittest.main()
