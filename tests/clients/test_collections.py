"""Collections at the gRPC door: what a model says, what the Redis door reads of the same keys, and what a client
that does not behave can do."""
import base64
import json
import os
import random
import threading
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

import grpc
import redis

from harness import resident, wait_until
from test_grpc import CODE, PATIENCE, GrpcCase
from test_s3 import signed

SEED = int(os.environ.get("CAIRN_SEED", random.randrange(1 << 30)))
INFINITE = float("inf")


class CollectionCase(GrpcCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.redis = cls.server.redis()

    @classmethod
    def tearDownClass(cls):
        cls.redis.close()
        super().tearDownClass()

    def setUp(self):
        self.redis.flushall()
        self.random = random.Random(SEED)

    def request(self, method, key="k", /, ns="db0", **fields):
        """The request message of Hashes.Set and the like, by its name: HashSet."""
        return getattr(self.rpc.collections_pb, method + "Request")(key=self.rpc.key(ns, key), **fields)

    def method(self, name):
        for prefix, service in (("Hash", "Hashes"), ("List", "Lists"), ("SortedSet", "SortedSets"), ("Set", "Sets"),
                                ("Stream", "Streams")):
            if name.startswith(prefix):
                return getattr(getattr(self.rpc, service), name[len(prefix):])
        raise KeyError(name)

    def do(self, name, key="k", /, **fields):
        return self.call(self.method(name), self.request(name, key, **fields))

    def fails(self, name, key="k", /, **fields):
        return self.error(self.method(name), self.request(name, key, **fields))

    def field(self, name, value):
        return self.rpc.collections_pb.HashField(name=name, value=value)

    def fields(self, pairs):
        return [self.field(n, v) for n, v in pairs.items()]

    def scan(self, key="k", **more):
        return {f.name: f.value for m in self.do("HashScan", key, **more) for f in m.fields}

    def elements(self, key="k", **more):
        return [v for m in self.do("ListRange", key, **more) for v in m.values]

    def members(self, key="k"):
        return [v for m in self.do("SetMembers", key) for v in m.members]

    def ranked(self, key="k", **more):
        return [(i.member, i.score) for m in self.do("SortedSetRange", key, **more) for i in m.members]

    def entries(self, key="k", **more):
        return [self.entry(e) for m in self.do("StreamRange", key, **more) for e in m.entries]

    def entry(self, e):
        return e.id.encode(), [(f.name, f.value) for f in e.fields]

    def scores(self, **bounds):
        return self.rpc.collections_pb.ScoreRange(**bounds)

    def ranks(self, **bounds):
        return self.rpc.collections_pb.RankRange(**bounds)

    def word(self):
        r = self.random
        return bytes(r.randrange(256) for _ in range(r.choice((1, 3, 8, 200)))) if r.random() < .2 else b"w%d" % r.randrange(30)


class AgainstAModel(CollectionCase):
    """Generated operations: each is answered as the model says, and the Redis door reads what the model holds."""
    STEPS = 400

    def test_hashes(self):
        model, r = {}, self.random
        for step in range(self.STEPS):
            what = r.randrange(5)
            names = list(dict.fromkeys(self.word() for _ in range(r.randrange(1, 5))))
            if what == 0:
                values = {n: self.word() for n in names}
                answer = self.do("HashSet", fields=self.fields(values))
                self.assertEqual(answer.added, sum(n not in model for n in names), (SEED, step))
                self.assertGreater(answer.version, 0)
                model.update(values)
            elif what == 1:
                answer = self.do("HashDelete", names=names)
                self.assertEqual(answer.deleted, sum(n in model for n in names), (SEED, step))
                self.assertEqual(answer.version > 0, answer.deleted > 0)
                for n in names:
                    model.pop(n, None)
            elif what == 2:
                got = [(f.name, f.found, f.value) for f in self.do("HashGet", names=names, durable=r.random() < .2).fields]
                self.assertEqual(got, [(n, n in model, model.get(n, b"")) for n in names], (SEED, step))
            elif what == 3:
                by = r.choice((1, -1, 1 << 40, (1 << 63) - 1))
                old = model.get(names[0], b"0")
                request = dict(name=names[0], integer=by)
                if not old.lstrip(b"-").isdigit() or str(int(old)).encode() != old:
                    self.assertEqual(self.fails("HashIncrement", **request), (CODE.FAILED_PRECONDITION, "NOT_A_NUMBER"))
                elif not -(1 << 63) <= int(old) + by < 1 << 63:
                    self.assertEqual(self.fails("HashIncrement", **request), (CODE.OUT_OF_RANGE, "OVERFLOW"))
                else:
                    self.assertEqual(self.do("HashIncrement", **request).integer, int(old) + by)
                    model[names[0]] = b"%d" % (int(old) + by)
            else:
                self.assertEqual(self.do("HashCount").count, len(model))
                self.assertEqual(self.scan(), model, (SEED, step))
        self.assertEqual(self.redis.hgetall("k"), model, SEED)

    def test_lists(self):
        model, r = [], self.random
        pb = self.rpc.collections_pb
        for step in range(self.STEPS):
            what, end = r.randrange(4), r.choice((pb.LIST_END_UNSPECIFIED, pb.LIST_END_HEAD, pb.LIST_END_TAIL))
            if what == 0:
                values = [self.word() for _ in range(r.randrange(1, 5))]
                self.assertEqual(self.do("ListPush", values=values, end=end).count, len(model) + len(values))
                model = values[::-1] + model if end == pb.LIST_END_HEAD else model + values
            elif what == 1:
                n = r.randrange(4)
                want = []
                for _ in range(max(n, 1)):
                    if model:
                        want.append(model.pop(-1 if end == pb.LIST_END_TAIL else 0))
                answer = self.do("ListPop", count=n, end=end)
                self.assertEqual(list(answer.values), want, (SEED, step))
                self.assertEqual(answer.version > 0, bool(want))
            elif what == 2:
                start, stop = r.randrange(-8, 8), r.randrange(-8, 8)
                want = self.redis.lrange("k", start, stop)
                self.assertEqual(self.elements(start=start, stop=stop), want, (SEED, step))
            else:
                self.assertEqual(self.do("ListCount").count, len(model))
                self.assertEqual(self.elements(), model, (SEED, step))
        self.assertEqual(self.redis.lrange("k", 0, -1), model, SEED)

    def test_sets(self):
        model, r = set(), self.random
        for step in range(self.STEPS):
            what = r.randrange(4)
            members = [self.word() for _ in range(r.randrange(1, 5))]
            if what == 0:
                self.assertEqual(self.do("SetAdd", members=members).added, len(set(members) - model), (SEED, step))
                model |= set(members)
            elif what == 1:
                self.assertEqual(self.do("SetRemove", members=members).removed, len(set(members) & model), (SEED, step))
                model -= set(members)
            elif what == 2:
                self.assertEqual(list(self.do("SetContains", members=members).contained), [m in model for m in members])
            else:
                self.assertEqual(self.do("SetCount").count, len(model))
                self.assertEqual(sorted(self.members()), sorted(model), (SEED, step))
        self.assertEqual(self.redis.smembers("k"), model, SEED)

    def test_sorted_sets(self):
        model, r = {}, self.random
        pb = self.rpc.collections_pb
        add = pb.SortedSetAddRequest
        numbers = (0.0, -0.5, 1.5, 3.0, 1e300, -1e-300, 0.1, INFINITE, -INFINITE)
        for step in range(self.STEPS):
            what = r.randrange(6)
            names = list(dict.fromkeys(self.word() for _ in range(r.randrange(1, 5))))
            order = sorted(model.items(), key=lambda i: (i[1], i[0]))
            if what == 0:
                only = r.choice((add.ONLY_UNSPECIFIED, add.ONLY_NEW, add.ONLY_THERE, add.ONLY_GREATER, add.ONLY_LESS))
                items = [(n, r.choice(numbers)) for n in names]
                changed = 0
                for n, score in items:
                    old = model.get(n)
                    if (only == add.ONLY_NEW and old is not None) or (only == add.ONLY_THERE and old is None) or (
                            old is not None and ((only == add.ONLY_GREATER and score <= old) or
                                                 (only == add.ONLY_LESS and score >= old))):
                        continue
                    changed += score != old
                    model[n] = score
                answer = self.do("SortedSetAdd", members=[pb.ScoredMember(member=n, score=s) for n, s in items], only=only)
                self.assertEqual(answer.changed, changed, (SEED, step))
            elif what == 1:
                self.assertEqual(self.do("SortedSetRemove", members=names).removed, sum(n in model for n in names))
                for n in names:
                    model.pop(n, None)
            elif what == 2:
                by = r.choice((0.25, -3.0))
                model[names[0]] = model.get(names[0], 0.0) + by
                self.assertEqual(self.do("SortedSetIncrement", member=names[0], by=by).score, model[names[0]])
            elif what == 3:
                got = [(m.member, m.found, m.score) for m in self.do("SortedSetScore", members=names).members]
                self.assertEqual(got, [(n, n in model, model.get(n, 0.0)) for n in names], (SEED, step))
                for reverse in (False, True):
                    rank = self.do("SortedSetRank", member=names[0], reverse=reverse)
                    at = [n for n, _ in (order[::-1] if reverse else order)]
                    self.assertEqual((rank.found, rank.rank),
                                     (names[0] in model, at.index(names[0]) if names[0] in model else 0))
            elif what == 4:
                low, high, reverse = r.choice(numbers), r.choice(numbers), r.random() < .5
                out, offset, limit = r.random() < .5, r.randrange(3), r.randrange(4)
                bounds = self.scores(**{"above" if out else "min": low, "below" if out else "max": high})
                inside = [i for i in order if (low < i[1] < high if out else low <= i[1] <= high)]
                self.assertEqual(self.do("SortedSetCount", scores=bounds).count, len(inside), (SEED, step))
                want = (inside[::-1] if reverse else inside)[offset:]
                want = want[:limit] if limit else want
                got = self.ranked(scores=bounds, reverse=reverse, offset=offset, limit=limit)
                self.assertEqual(got, want, (SEED, step))
            else:
                self.assertEqual(self.do("SortedSetCount").count, len(model))
                self.assertEqual(self.ranked(), order, (SEED, step))
                self.assertEqual(self.ranked(ranks=self.ranks(start=-3)), order[-3:])
                self.assertEqual(self.ranked(ranks=self.ranks(start=1, stop=2), reverse=True), order[::-1][1:3])
        self.assertEqual(dict(self.redis.zrange("k", 0, -1, withscores=True)), model, SEED)

    def test_streams(self):
        model, r = [], self.random
        for step in range(self.STEPS):
            what = r.randrange(4)
            if what <= 1:
                fields = [(self.word(), self.word()) for _ in range(r.randrange(1, 4))]
                asked = {"id": "%d-%d" % (10 ** 15 + step, r.randrange(3))} if what else {}
                if what == 0 and model and int(model[-1][0].split(b"-")[0]) >= 10 ** 15:
                    asked = {}
                most = r.choice((0, 0, 20))
                answer = self.do("StreamAppend", fields=[self.field(*f) for f in fields], max_count=most, **asked)
                model.append((answer.id.encode(), fields))
                if asked:
                    self.assertEqual(answer.id, asked["id"])
                    self.assertEqual(self.fails("StreamAppend", fields=[self.field(*f) for f in fields], **asked),
                                     (CODE.FAILED_PRECONDITION, "ID_NOT_GREATER"))
                if most:
                    model = model[-most:]
            elif what == 2 and model:
                gone = r.sample(model, min(len(model), 2))
                self.assertEqual(self.do("StreamDelete", ids=[i.decode() for i, _ in gone]).deleted, len(gone))
                model = [e for e in model if e not in gone]
            else:
                self.assertEqual(self.do("StreamCount").count, len(model))
                self.assertEqual(self.entries(), model, (SEED, step))
                if model:
                    at = r.choice(model)[0]
                    self.assertEqual(self.entries(start=at.decode()), [e for e in model if model.index(e) >= [m[0] for m in model].index(at)])
                    self.assertEqual(self.entries(reverse=True, limit=3), model[::-1][:3])
        read = [(i, [w for pair in fields.items() for w in pair]) for i, fields in self.redis.xrange("k")]
        want = [(i, [w for pair in dict(fields).items() for w in pair]) for i, fields in model]
        self.assertEqual(read, want, SEED)


class Rules(CollectionCase):
    METHODS = {"HashSet": lambda t: dict(fields=[t.field(b"f", b"v")]), "HashGet": lambda t: dict(names=[b"f"]),
               "HashDelete": lambda t: dict(names=[b"f"]), "HashIncrement": lambda t: dict(name=b"n", integer=1),
               "HashCount": lambda t: {}, "HashScan": lambda t: {},
               "HashExpire": lambda t: dict(names=[b"f"], never=True), "HashGetExpiry": lambda t: dict(names=[b"f"]),
               "ListSet": lambda t: {}, "ListInsert": lambda t: {}, "ListRemove": lambda t: {}, "ListTrim": lambda t: {},
               "ListMove": lambda t: dict(to=b"to"), "SetPop": lambda t: {}, "SetRandom": lambda t: {},
               "SetMove": lambda t: dict(to=b"to", member=b"m"), "SetCombine": lambda t: dict(others=[b"x"], operation=1),
               "SetCombineInto": lambda t: {"from": [b"x", b"text"], "operation": 1}, "SortedSetPop": lambda t: {},
               "SortedSetRemoveRange": lambda t: dict(ranks=t.ranks(start=0)),
               "SortedSetRangeInto": lambda t: {"from": b"text"}, "SortedSetCombine": lambda t: dict(others=[b"x"], operation=1),
               "SortedSetCombineInto": lambda t: {"from": [b"x", b"text"], "operation": 1}, "ListPush": lambda t: dict(values=[b"v"]),
               "ListPop": lambda t: {}, "ListRange": lambda t: {}, "ListCount": lambda t: {},
               "SetAdd": lambda t: dict(members=[b"m"]), "SetRemove": lambda t: dict(members=[b"m"]),
               "SetContains": lambda t: dict(members=[b"m"]), "SetCount": lambda t: {}, "SetMembers": lambda t: {},
               "SortedSetAdd": lambda t: dict(members=[t.rpc.collections_pb.ScoredMember(member=b"m", score=1)]),
               "SortedSetRemove": lambda t: dict(members=[b"m"]), "SortedSetIncrement": lambda t: dict(member=b"m", by=1),
               "SortedSetScore": lambda t: dict(members=[b"m"]), "SortedSetRank": lambda t: dict(member=b"m"),
               "SortedSetCount": lambda t: {}, "SortedSetRange": lambda t: {},
               "StreamAppend": lambda t: dict(fields=[t.field(b"f", b"v")]), "StreamDelete": lambda t: dict(ids=["1-1"]),
               "StreamCount": lambda t: {}, "StreamRange": lambda t: {}, "StreamRead": lambda t: dict(after="0"),
               "StreamCreateGroup": lambda t: dict(group="g", create_stream=True),
               "StreamDeleteGroup": lambda t: dict(group="g"), "StreamReadGroup": lambda t: dict(group="g", consumer="c"),
               "StreamAcknowledge": lambda t: dict(group="g", ids=["1-1"]),
               "StreamClaim": lambda t: dict(group="g", consumer="c")}

    def test_a_key_that_holds_something_else_is_refused_and_left(self):
        self.redis.set("text", "x")
        self.redis.rpush("list", "x")
        for name, fields in self.METHODS.items():
            key = "text" if name.startswith("List") else "list"
            self.assertEqual(self.fails(name, key, **fields(self)), (CODE.FAILED_PRECONDITION, "WRONG_TYPE"), name)
        self.assertEqual((self.redis.get("text"), self.redis.lrange("list", 0, -1)), (b"x", [b"x"]))

    def test_every_method_wants_a_key_a_namespace_and_credentials(self):
        for name, fields in self.METHODS.items():
            self.assertEqual(self.fails(name, "", **fields(self)), (CODE.INVALID_ARGUMENT, "BAD_ARGUMENT"), name)
            self.assertEqual(self.fails(name, ns="nowhere", **fields(self)), (CODE.NOT_FOUND, "NO_SUCH_NAMESPACE"), name)
            method, request = self.method(name), self.request(name, **fields(self))
            with self.assertRaises(grpc.RpcError) as refused:
                answer = method(request, timeout=PATIENCE)
                if hasattr(answer, "initial_metadata"):
                    list(answer)
            self.assertEqual(refused.exception.code(), CODE.UNAUTHENTICATED, name)

    def test_nothing_is_like_an_empty_collection(self):
        self.assertEqual(self.do("HashGet", names=[b"a"]).fields[0].found, False)
        self.assertEqual((self.scan(), self.elements(), self.members(), self.ranked(), self.entries()), ({}, [], [], [], []))
        self.assertEqual(list(self.do("ListPop").values), [])
        for name in ("HashCount", "ListCount", "SetCount", "SortedSetCount", "StreamCount"):
            self.assertEqual(self.do(name).count, 0)
        self.assertEqual(self.do("SortedSetRank", member=b"m").found, False)

    def test_what_is_wrong_with_a_request_is_said(self):
        pb, many = self.rpc.collections_pb, [b"%d" % i for i in range(1001)]
        nan = float("nan")
        for name, fields in (
                ("HashSet", {}), ("HashGet", {}), ("HashGet", dict(names=many)), ("HashDelete", dict(names=many)),
                ("HashIncrement", dict(name=b"f")), ("HashIncrement", dict(name=b"f", real=nan)),
                ("HashIncrement", dict(name=b"f", real=INFINITE)), ("ListPush", {}), ("ListPush", dict(values=[b"v"], end=7)),
                ("ListPop", dict(count=1001)), ("ListPop", dict(end=9)), ("SetAdd", dict(members=many)), ("SetRemove", {}),
                ("SetContains", {}), ("SortedSetAdd", {}), ("SortedSetAdd", dict(members=[pb.ScoredMember(member=b"m", score=nan)])),
                ("SortedSetAdd", dict(members=[pb.ScoredMember(member=b"m")], only=9)), ("SortedSetIncrement", dict(member=b"m", by=nan)),
                ("SortedSetRange", dict(scores=self.scores(min=nan))), ("SortedSetRange", dict(limit=1)),
                ("SortedSetCount", dict(scores=self.scores(below=nan))), ("StreamAppend", {}),
                ("StreamAppend", dict(fields=[self.field(b"f", b"v")], id="1-*")),
                ("StreamAppend", dict(fields=[self.field(b"f", b"v")], id="0-0")),
                ("StreamAppend", dict(fields=[self.field(b"f", b"v")], id="*")),
                ("StreamAppend", dict(fields=[self.field(b"f", b"v")], max_count=1 << 63)),
                ("StreamDelete", dict(ids=["x"])), ("StreamDelete", dict(ids=["1-99999999999999999999999"])),
                ("StreamRange", dict(start="-")), ("StreamRange", dict(end="(1-1")), ("StreamRead", {}),
                ("StreamRead", dict(after="$")), ("StreamRead", dict(after="")), ("StreamRead", dict(new_ones=False)),
                ("StreamReadGroup", dict(count=1001)), ("StreamCreateGroup", dict(group="g", after=">")),
                ("StreamAcknowledge", dict(group="g")), ("StreamClaim", dict(group="g", start="+")),
                ("HashSet", dict(fields=[self.field(b"f", b"v")], durability=9)),
                ("HashExpire", dict(names=[b"f"])), ("HashExpire", dict(never=True)), ("HashExpire", dict(names=[b"f"], never=False)),
                ("HashExpire", dict(names=[b"f"], ttl_ms=-1)), ("HashExpire", dict(names=[b"f"], ttl_ms=1 << 46)),
                ("HashExpire", dict(names=[b"f"], never=True, only=1)), ("HashExpire", dict(names=[b"f"], ttl_ms=1, only=9)),
                ("HashGetExpiry", {}), ("HashGetExpiry", dict(names=many)), ("ListRemove", dict(end=7)),
                ("ListMove", {}), ("ListMove", dict(to=b"x" * 65536)), ("ListMove", dict(to=b"x", to_end=9)),
                ("SetPop", dict(count=1001)), ("SetRandom", dict(count=1001)), ("SetRandom", dict(count=1 << 31)),
                ("SetMove", dict(member=b"m")), ("SetCombine", {}), ("SetCombine", dict(operation=4)),
                ("SetCombine", dict(operation=1, others=[b""])), ("SetCombine", dict(operation=1, others=many)),
                ("SetCombineInto", dict(operation=1)), ("SetCombineInto", {"from": [b"s"]}),
                ("SetCombineInto", {"from": many, "operation": 1}), ("SortedSetPop", dict(count=1001)),
                ("SortedSetRemoveRange", {}), ("SortedSetRemoveRange", dict(scores=self.scores(max=nan))),
                ("SortedSetRangeInto", {}), ("SortedSetRangeInto", {"from": b"z", "limit": 1}),
                ("SortedSetCombine", dict(operation=1, weights=[1, 2])), ("SortedSetCombine", dict(operation=1, weights=[nan])),
                ("SortedSetCombine", dict(operation=3, weights=[1])), ("SortedSetCombine", dict(operation=3, aggregate=1)),
                ("SortedSetCombine", dict(operation=1, aggregate=7)), ("SortedSetCombineInto", dict(operation=2)),
                ("SortedSetCount", dict(scores=self.scores(min=1), members=pb.MemberRange(min=b"a")))):
            self.assertEqual(self.fails(name, **fields), (CODE.INVALID_ARGUMENT, "BAD_ARGUMENT"), (name, fields))
        self.assertEqual(self.redis.keys(), [])

    def test_a_write_with_a_condition_is_done_once(self):
        condition = self.rpc.common.Condition
        version = self.do("HashSet", fields=[self.field(b"f", b"1")], condition=condition(exists=False)).version
        self.assertEqual(self.fails("HashSet", fields=[self.field(b"f", b"2")], condition=condition(version=version - 1)),
                         (CODE.FAILED_PRECONDITION, "CONDITION_FAILED"))
        again = self.do("HashSet", fields=[self.field(b"f", b"3")], condition=condition(version=version)).version
        self.assertGreater(again, version)
        self.assertEqual(self.redis.hgetall("k"), {b"f": b"3"})
        item = [i for i in self.call(self.rpc.kv.Scan, self.rpc.kv_pb.ScanRequest(namespace="db0")).items]
        self.assertEqual([(i.key, i.version) for i in item], [(b"k", again)])

    def test_a_pop_whose_answer_does_not_fit_changes_nothing(self):
        self.redis.rpush("k", *[b"x" * (1 << 20)] * 6)
        self.assertEqual(self.fails("ListPop", count=6), (CODE.OUT_OF_RANGE, "TOO_LARGE"))
        self.assertEqual(self.redis.llen("k"), 6)
        self.assertEqual(len(self.do("ListPop", count=3).values), 3)
        self.assertEqual(len(self.elements()), 3)

    def test_an_error_that_names_any_bytes_can_be_read(self):
        self.do("StreamAppend", b"\xff\xfe\x80", fields=[self.field(b"f", b"1")])
        self.assertEqual(self.fails("StreamClaim", b"\xff\xfe\x80", group="g", consumer="c", start="0"),
                         (CODE.NOT_FOUND, "NO_SUCH_GROUP"))

    def test_a_real_increment(self):
        self.assertEqual(self.do("HashIncrement", name=b"r", real=0.5).real, 0.5)
        self.assertEqual(self.do("HashIncrement", name=b"r", real=1e300).real, 1e300)
        self.assertEqual(self.redis.hget("k", "r")[:3], b"100")


class BesideRedis(CollectionCase):
    def test_events_and_waiting_clients_are_as_of_commands(self):
        self.redis.config_set("notify-keyspace-events", "KEA")
        listener = self.redis.pubsub()
        listener.psubscribe("__keyevent@0__:*")
        wait_until(lambda: listener.get_message() is not None)
        got = []
        with self.server.redis() as waiting:
            thread = threading.Thread(target=lambda: got.append(waiting.blpop("queue", 30)))
            thread.start()
            wait_until(lambda: self.redis.info("clients")["blocked_clients"] == 1)
            self.do("ListPush", "queue", values=[b"job"])
            thread.join()
        self.assertEqual(got, [(b"queue", b"job")])
        self.do("HashSet", "h", fields=[self.field(b"f", b"1")])
        self.do("HashDelete", "h", names=[b"f"])
        self.do("SortedSetAdd", "z", members=[self.rpc.collections_pb.ScoredMember(member=b"m", score=1)])
        op, pb = self.rpc.kv_pb.TxnOp, self.rpc.kv_pb
        self.call(self.rpc.kv.Txn, pb.TxnRequest(then=[
            op(put=op.PutOp(key=self.rpc.key("db0", "s"), value=b"v")),
            op(set_add=self.request("SetAdd", "members", members=[b"m"])),
            op(delete=op.DeleteOp(key=self.rpc.key("db0", "s")))]))
        events = []

        def heard():
            m = listener.get_message()
            if m:
                events.append((m["channel"].split(b":")[1], m["data"]))
            return len(events) >= 10
        wait_until(heard)
        self.redis.config_set("notify-keyspace-events", "")
        listener.close()
        self.assertEqual(events, [(b"rpush", b"queue"), (b"lpop", b"queue"), (b"del", b"queue"), (b"hset", b"h"),
                                  (b"hdel", b"h"), (b"del", b"h"), (b"zadd", b"z"), (b"set", b"s"), (b"sadd", b"members"),
                                  (b"del", b"s")])

    def test_watch_hears_of_it(self):
        with self.redis.pipeline() as p:
            p.watch("k")
            p.multi()
            p.get("x")
            self.do("SetAdd", members=[b"m"])
            self.assertRaises(redis.WatchError, p.execute)

    def test_writers_at_once_lose_nothing(self):
        def work(n):
            for i in range(100):
                self.do("HashIncrement", "sum", name=b"n", integer=1)
                self.do("ListPush", "all", values=[b"%d-%d" % (n, i)])
                self.do("StreamAppend", "log", fields=[self.field(b"n", b"%d" % n)])
                self.server_redis[n].hincrby("sum", "n", 1)
        self.server_redis = [self.server.redis() for _ in range(6)]
        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for r in self.server_redis:
            r.close()
        self.assertEqual(self.redis.hget("sum", "n"), b"1200")
        self.assertEqual(sorted(self.elements("all")), sorted(b"%d-%d" % (n, i) for n in range(6) for i in range(100)))
        self.assertEqual(self.do("StreamCount", "log").count, 600)


class Transactions(CollectionCase):
    def txn(self, then, **more):
        return self.call(self.rpc.kv.Txn, self.rpc.kv_pb.TxnRequest(then=then, **more))

    def op(self, name, key="k", /, **fields):
        snake = "".join("_" + c.lower() if c.isupper() else c for c in name)[1:]
        return self.rpc.kv_pb.TxnOp(**{snake: self.request(name, key, **fields)})

    def test_all_operations_in_one(self):
        pb = self.rpc.kv_pb
        answer = self.txn([
            pb.TxnOp(put=pb.TxnOp.PutOp(key=self.rpc.key("db0", "s"), value=b"v")),
            self.op("HashSet", "h", fields=self.fields({b"a": b"1", b"b": b"2"})),
            self.op("HashIncrement", "h", name=b"a", integer=4), self.op("HashGet", "h", names=[b"a", b"c"]),
            self.op("HashDelete", "h", names=[b"b"]), self.op("HashCount", "h"),
            self.op("ListPush", "l", values=[b"x", b"y", b"z"]), self.op("ListPop", "l"), self.op("ListCount", "l"),
            self.op("SetAdd", "m", members=[b"p", b"q"]), self.op("SetRemove", "m", members=[b"p"]),
            self.op("SetContains", "m", members=[b"p", b"q"]), self.op("SetCount", "m"),
            self.op("SortedSetAdd", "z", members=[self.rpc.collections_pb.ScoredMember(member=b"m", score=2)]),
            self.op("SortedSetIncrement", "z", member=b"m", by=1), self.op("SortedSetScore", "z", members=[b"m"]),
            self.op("SortedSetRank", "z", member=b"m"), self.op("SortedSetCount", "z"),
            self.op("SortedSetRemove", "z", members=[b"m"]),
            self.op("StreamAppend", "e", fields=[self.field(b"f", b"v")], id="5-1"), self.op("StreamCount", "e"),
            self.op("StreamDelete", "e", ids=["5-1"]), self.op("StreamAcknowledge", "e", group="g", ids=["5-1"]),
            pb.TxnOp(get=pb.TxnOp.GetOp(key=self.rpc.key("db0", "s")))])
        r = answer.results
        self.assertEqual(r[1].hash_set.added, 2)
        self.assertEqual(r[2].hash_increment.integer, 5)
        self.assertEqual([(f.found, f.value) for f in r[3].hash_get.fields], [(True, b"5"), (False, b"")])
        self.assertEqual((r[4].hash_delete.deleted, r[5].hash_count.count), (1, 1))
        self.assertEqual((r[6].list_push.count, list(r[7].list_pop.values), r[8].list_count.count), (3, [b"x"], 2))
        self.assertEqual((r[9].set_add.added, r[10].set_remove.removed, r[12].set_count.count), (2, 1, 1))
        self.assertEqual(list(r[11].set_contains.contained), [False, True])
        self.assertEqual((r[13].sorted_set_add.changed, r[14].sorted_set_increment.score), (1, 3.0))
        self.assertEqual((r[15].sorted_set_score.members[0].score, r[16].sorted_set_rank.found), (3.0, True))
        self.assertEqual((r[17].sorted_set_count.count, r[18].sorted_set_remove.removed), (1, 1))
        self.assertEqual((r[19].stream_append.id, r[20].stream_count.count, r[21].stream_delete.deleted), ("5-1", 1, 1))
        self.assertEqual((r[22].stream_acknowledge.acknowledged, r[23].value.value), (0, b"v"))
        self.assertEqual(self.redis.hgetall("h"), {b"a": b"5"})
        self.assertEqual(self.redis.exists("z"), 0)
        self.server.restart()
        type(self).rpc = self.server.grpc_stubs()
        type(self).redis = self.server.redis()
        self.assertEqual((self.redis.hgetall("h"), self.redis.lrange("l", 0, -1), self.redis.smembers("m"), self.redis.get("s")),
                         ({b"a": b"5"}, [b"y", b"z"], {b"q"}, b"v"))

    def test_one_that_fails_leaves_nothing_of_the_others(self):
        pb = self.rpc.kv_pb
        self.redis.set("text", "x")
        self.redis.hset("h", "f", "no number")
        for bad, want in ((self.op("ListPush", "text", values=[b"v"]), (CODE.FAILED_PRECONDITION, "WRONG_TYPE")),
                          (self.op("HashIncrement", "h", name=b"f", integer=1), (CODE.FAILED_PRECONDITION, "NOT_A_NUMBER")),
                          (self.op("SetAdd", "m", members=[b"1"], durability=1), (CODE.INVALID_ARGUMENT, "BAD_ARGUMENT")),
                          (self.op("SetCount", "m", durable=True), (CODE.INVALID_ARGUMENT, "BAD_ARGUMENT")),
                          (self.op("SetAdd", "m"), (CODE.INVALID_ARGUMENT, "BAD_ARGUMENT")),
                          (self.op("SetAdd", "m", ns="nowhere", members=[b"1"]), (CODE.NOT_FOUND, "NO_SUCH_NAMESPACE"))):
            request = pb.TxnRequest(then=[
                self.op("HashSet", "h", fields=self.fields({b"new": b"1"})), self.op("ListPush", "l", values=[b"1"]),
                pb.TxnOp(put=pb.TxnOp.PutOp(key=self.rpc.key("db0", "s"), value=b"v")), bad])
            self.assertEqual(self.error(self.rpc.kv.Txn, request), want)
        self.assertEqual(sorted(self.redis.keys()), [b"h", b"text"])
        self.assertEqual(self.redis.hgetall("h"), {b"f": b"no number"})

    def test_an_answer_that_does_not_fit_leaves_nothing(self):
        self.redis.hset("h", "f", b"x" * (3 << 20))
        request = self.rpc.kv_pb.TxnRequest(then=[self.op("SetAdd", "m", members=[b"1"]), self.op("HashGet", "h", names=[b"f"]),
                                                  self.op("HashGet", "h", names=[b"f"])])
        self.assertEqual(self.error(self.rpc.kv.Txn, request), (CODE.OUT_OF_RANGE, "TOO_LARGE"))
        self.assertEqual(self.redis.exists("m"), 0)

    def test_moves_between_collections_are_never_seen_half_done(self):
        self.redis.rpush("a", *range(50))
        stop, seen = threading.Event(), []

        def look():
            with self.server.redis() as r:
                while not stop.is_set():
                    p = r.pipeline()
                    p.llen("a").scard("b")
                    seen.append(sum(p.execute()))
        thread = threading.Thread(target=look)
        thread.start()
        for i in range(50):
            self.txn([self.op("ListPop", "a"), self.op("SetAdd", "b", members=[b"%d" % i])])
        stop.set()
        thread.join()
        self.assertEqual(set(seen), {50})

    def test_generated_transactions_are_all_or_nothing(self):
        r = self.random
        hashes = {}
        for step in range(150):
            ops, after, ok = [], {k: dict(v) for k, v in hashes.items()}, True
            for _ in range(r.randrange(1, 6)):
                key, name = "h%d" % r.randrange(3), b"f%d" % r.randrange(3)
                h = after.setdefault(key, {})
                if r.random() < .6:
                    value = r.choice((b"1", b"7", b"x"))
                    ops.append(self.op("HashSet", key, fields=[self.field(name, value)]))
                    h[name] = value
                else:
                    ops.append(self.op("HashIncrement", key, name=name, integer=1))
                    ok = ok and h.get(name, b"0").isdigit()
                    h[name] = b"%d" % (int(h.get(name, b"0")) + 1) if ok else b"?"
            try:
                self.txn(ops)
                self.assertTrue(ok, (SEED, step))
                hashes = after
            except grpc.RpcError as e:
                self.assertFalse(ok, (SEED, step, e))
            for k in ("h0", "h1", "h2"):
                self.assertEqual(self.redis.hgetall(k), hashes.get(k, {}), (SEED, step))


class LongAnswers(CollectionCase):
    N = 60_000

    def fill(self):
        p = self.redis.pipeline(transaction=False)
        words = [b"%06d-" % i + b"x" * 20 for i in range(self.N)]
        for at in range(0, self.N, 5000):
            part = words[at:at + 5000]
            p.hset("h", mapping={w: b"v" + w for w in part})
            p.rpush("l", *part)
            p.sadd("s", *part)
            p.zadd("z", {w: float(w[:6]) for w in part})
            for w in part:
                p.xadd("e", {"f": w}, id="%d-1" % (1 + int(w[:6])))
        p.execute()
        return words

    def test_large_ones_come_whole(self):
        words = self.fill()
        self.assertEqual(self.scan("h"), {w: b"v" + w for w in words})
        self.assertEqual(self.elements("l"), words)
        self.assertEqual(sorted(self.members("s")), words)
        self.assertEqual([m for m, _ in self.ranked("z")], words)
        self.assertEqual([m for m, _ in self.ranked("z", reverse=True)], words[::-1])
        self.assertEqual([f[0][1] for _, f in self.entries("e")], words)
        sizes = [m.ByteSize() for m in self.do("ListRange", "l")]
        self.assertLess(max(sizes), 256 << 10)
        self.assertGreater(len(sizes), 10)

    def test_one_that_is_not_taken_holds_nobody_and_is_of_one_moment(self):
        words = self.fill()
        answer = self.do("ListRange", "l")
        first = list(next(answer).values)
        self.redis.delete("l")
        self.do("ListPush", "l", values=[b"new"])
        self.assertEqual(first + [v for m in answer for v in m.values], words)

    def test_many_that_are_not_taken_cost_little(self):
        self.fill()
        before = resident(self.server)
        held = [self.do(name, key) for name, key in (("HashScan", "h"), ("ListRange", "l"), ("StreamRange", "e")) * 60]
        for answer in held:
            next(answer)
        self.assertEqual(self.do("HashCount", "h").count, self.N)
        self.assertLess(resident(self.server), before + (120 << 20))
        for answer in held:
            answer.cancel()
        self.assertEqual(self.do("HashCount", "h").count, self.N)

    def test_large_values_come_whole(self):
        values = {b"%d" % i: b"%d-" % i * 130_000 for i in range(100)}
        for at in range(0, 100, 10):
            self.redis.hset("h", mapping={n: values[n] for n in list(values)[at:at + 10]})
        self.assertEqual(self.scan("h"), values)
        names = [b"%04d" % i + b"x" * 60_000 for i in range(1000)]
        for at in range(0, 1000, 100):
            self.redis.zadd("z", {n: int(n[:4]) for n in names[at:at + 100]})
        self.assertEqual([m for m, _ in self.ranked("z")], names)
        self.assertEqual([m for m, _ in self.ranked("z", reverse=True)], names[::-1])
        self.assertEqual(self.redis.zrange("z", 10, 500, withscores=True), [(n, int(n[:4])) for n in names[10:501]])
        with self.redis.pipeline() as p:
            self.assertEqual(p.zrange("z", 0, -1).zcard("z").execute(), [names, 1000])
        self.assertEqual(self.redis.zpopmin("z", 1000), [(n, int(n[:4])) for n in names])

    def test_an_element_that_fits_in_no_message(self):
        self.redis.rpush("k", b"small", b"x" * (5 << 20))
        self.assertEqual(self.fails("ListRange"), (CODE.OUT_OF_RANGE, "TOO_LARGE"))


class Tails(CollectionCase):
    def append(self, value, key="k"):
        return self.do("StreamAppend", key, fields=[self.field(b"f", value)]).id

    def read(self, answer, n):
        out = []
        while len(out) < n:
            out += [e.fields[0].value for e in next(answer).entries]
        return out

    def test_what_is_there_and_what_comes(self):
        ids = [self.append(b"%d" % i) for i in range(3)]
        answer = self.do("StreamRead", after="0")
        self.assertEqual(self.read(answer, 3), [b"0", b"1", b"2"])
        self.append(b"3")
        self.redis.xadd("k", {"f": "4"})
        self.assertEqual(self.read(answer, 2), [b"3", b"4"])
        answer.cancel()
        again = self.do("StreamRead", after=ids[1])
        self.assertEqual(self.read(again, 3), [b"2", b"3", b"4"])
        again.cancel()

    def test_new_ones_begin_where_the_call_said_so(self):
        self.append(b"old")
        answer = self.do("StreamRead", new_ones=True)
        answer.initial_metadata()
        self.append(b"new")
        self.assertEqual(self.read(answer, 1), [b"new"])
        answer.cancel()

    def test_many_wait_and_do_nothing(self):
        answers = [self.do("StreamRead", "k%d" % (i % 10), new_ones=True) for i in range(300)]
        for answer in answers:
            answer.initial_metadata()
        wait_until(lambda: self.redis.info("clients")["blocked_clients"] == 300)

        def reads():
            return self.redis.info("commandstats")["cmdstat_xread"]["calls"]
        before = reads()
        time.sleep(1)
        self.assertEqual(reads(), before)
        for i in range(10):
            self.append(b"%d" % i, "k%d" % i)
        for i, answer in enumerate(answers):
            self.assertEqual(self.read(answer, 1), [b"%d" % (i % 10)])
            answer.cancel()
        wait_until(lambda: self.redis.info("clients")["blocked_clients"] == 0)

    def test_a_deadline_ends_it(self):
        with self.assertRaises(grpc.RpcError) as over:
            list(self.call(self.rpc.Streams.Read, self.request("StreamRead", after="0"), timeout=0.5))
        self.assertEqual(over.exception.code(), CODE.DEADLINE_EXCEEDED)
        wait_until(lambda: self.redis.info("clients")["blocked_clients"] == 0)

    def test_one_that_does_not_read_holds_nobody(self):
        answer = self.do("StreamRead", after="0")
        value = b"x" * 100_000
        for _ in range(100):
            self.append(value)
        self.assertEqual(self.do("StreamCount").count, 100)
        self.assertEqual(self.read(answer, 100), [value] * 100)
        answer.cancel()

    def ends_with(self, answer):
        """What a tail that has nothing more to tell ends with."""
        with self.assertRaises(grpc.RpcError) as over:
            next(answer)
        return over.exception.code(), self.detail(over.exception).reason

    def test_a_bucket_that_goes_ends_it(self):
        s3 = self.server.s3()
        s3.create_bucket(Bucket="gone")
        answer = self.do("StreamRead", ns="gone", new_ones=True)
        answer.initial_metadata()
        wait_until(lambda: self.redis.info("clients")["blocked_clients"] == 1)
        s3.delete_bucket(Bucket="gone")
        self.assertEqual(self.ends_with(answer), (CODE.NOT_FOUND, "NO_SUCH_NAMESPACE"))

    def test_another_type_ends_it(self):
        self.redis.set("k", "v")
        self.assertEqual(self.fails("StreamRead", after="0"), (CODE.FAILED_PRECONDITION, "WRONG_TYPE"))
        self.assertEqual(self.fails("StreamRead", new_ones=True), (CODE.FAILED_PRECONDITION, "WRONG_TYPE"))
        self.redis.delete("k")
        self.append(b"0")
        answer = self.do("StreamRead", new_ones=True)
        self.do("StreamCreateGroup", group="g")
        group = self.do("StreamReadGroup", group="g", consumer="c")
        other = self.redis.connection_pool.get_connection("xread")
        other.send_command("xread", "block", "0", "streams", "k", "$")
        wait_until(lambda: self.redis.info("clients")["blocked_clients"] == 3)
        self.redis.set("k", "v")
        self.assertEqual(self.ends_with(answer), (CODE.FAILED_PRECONDITION, "WRONG_TYPE"))
        self.assertEqual(self.ends_with(group), (CODE.NOT_FOUND, "NO_SUCH_GROUP"))
        self.assertEqual(self.redis.info("clients")["blocked_clients"], 1)  # as Redis: XREAD waits on
        other.disconnect()

    def test_a_stream_that_is_deleted_ends_nothing(self):
        self.append(b"0")
        answer = self.do("StreamRead", new_ones=True)
        answer.initial_metadata()
        wait_until(lambda: self.redis.info("clients")["blocked_clients"] == 1)
        self.redis.delete("k")
        self.append(b"1")
        self.assertEqual(self.read(answer, 1), [b"1"])
        answer.cancel()

    def test_a_stop_ends_it(self):
        answer = self.do("StreamRead", new_ones=True)
        answer.initial_metadata()
        self.server.process.terminate()
        with self.assertRaises(grpc.RpcError) as over:
            next(answer)
        self.assertEqual(over.exception.code(), CODE.UNAVAILABLE)
        self.server.stop()
        self.server.start()
        type(self).rpc = self.server.grpc_stubs()
        type(self).redis = self.server.redis()

    def test_what_was_told_survives(self):
        for i in range(3):
            self.do("StreamCreateGroup", "g%d" % i, group="g", create_stream=True)
            told = self.do("StreamRead", "r%d" % i, after="0")
            given = self.do("StreamReadGroup", "g%d" % i, group="g", consumer="c", count=2)
            told.initial_metadata()
            for n in range(5):
                self.append(b"%d" % n, "g%d" % i)
            self.redis.xadd("r%d" % i, {"f": "v"})
            self.read(told, 1)
            self.read(given, 5)
            self.server.kill()
            self.server.start()
            type(self).rpc = self.server.grpc_stubs()
            type(self).redis = self.server.redis()
            self.assertEqual(self.redis.xlen("r%d" % i), 1)
            self.assertEqual(self.redis.xpending("g%d" % i, "g")["pending"], 5)
        fast = self.do("StreamRead", "r0", after="0", durability=self.rpc.common.DURABILITY_EVERYSEC)
        self.assertEqual(self.read(fast, 1), [b"v"])
        fast.cancel()
        self.assertEqual(self.fails("StreamRead", "r0", after="0", durability=7), (CODE.INVALID_ARGUMENT, "BAD_ARGUMENT"))

    def test_an_entry_that_fits_in_no_message_stops_nobody(self):
        """Over Redis there may be any; here it is told by its ID."""
        self.do("StreamCreateGroup", group="g", create_stream=True)
        large = self.redis.xadd("k", {"f": b"x" * 5_000_000, "g": "y"})
        wide = self.redis.execute_command("xadd", "k", "*", *["f"] * 520_000)
        ids = [self.append(b"before").encode(), large, wide, self.append(b"x" * 3_999_000).encode()]
        ids = sorted(ids, key=lambda i: [int(n) for n in i.split(b"-")])
        want = [(i.decode(), i in (large, wide)) for i in ids]

        def heard(messages, n):
            out = []
            for message in messages:
                for e in message.entries:
                    self.assertEqual(len(e.fields), 0 if e.too_large else 1)
                    out.append((e.id, e.too_large))
                if len(out) >= n:
                    break
            return out
        tail = self.do("StreamRead", after="0")
        group = self.do("StreamReadGroup", group="g", consumer="c", count=10)
        self.assertEqual(heard(tail, 4), want)
        self.assertEqual(heard(group, 4), want)
        self.assertEqual(heard(self.do("StreamRange"), 4), want)
        tail.cancel()
        group.cancel()
        part = self.do("StreamClaim", group="g", consumer="d", count=3)
        self.assertEqual([(e.id, e.too_large) for e in part.entries], want[:3])
        self.assertEqual(self.do("StreamAcknowledge", group="g", ids=[i.decode() for i in ids]).acknowledged, 4)
        self.assertEqual(self.fails("StreamAppend", fields=[self.field(b"f", b"x" * 4_000_000)]),
                         (CODE.OUT_OF_RANGE, "TOO_LARGE"))

    def test_groups(self):
        for name, nameless in (("StreamCreateGroup", {}), ("StreamDeleteGroup", {}), ("StreamReadGroup", dict(group="g")),
                               ("StreamReadGroup", dict(consumer="c")), ("StreamAcknowledge", dict(ids=["1"])),
                               ("StreamClaim", dict(group="g")), ("StreamClaim", dict(consumer="c"))):
            self.assertEqual(self.fails(name, **nameless), (CODE.INVALID_ARGUMENT, "BAD_ARGUMENT"), name)
        self.assertEqual(self.fails("StreamReadGroup", group="g", consumer="a"), (CODE.NOT_FOUND, "NO_SUCH_GROUP"))
        self.assertEqual(self.fails("StreamCreateGroup", group="g"), (CODE.NOT_FOUND, "NO_SUCH_KEY"))
        self.assertGreater(self.do("StreamCreateGroup", group="g", after="0", create_stream=True).version, 0)
        self.assertEqual(self.fails("StreamCreateGroup", group="g"), (CODE.ALREADY_EXISTS, "GROUP_EXISTS"))
        ids = [self.append(b"%d" % i) for i in range(4)]
        a = self.do("StreamReadGroup", group="g", consumer="a", count=2)
        self.assertEqual(self.read(a, 4), [b"0", b"1", b"2", b"3"])
        b = self.do("StreamReadGroup", group="g", consumer="b")
        b.initial_metadata()
        for waiting, end in ((2, lambda: a.cancel()), (1, lambda: None)):
            self.assertTrue(wait_until(lambda: self.redis.info("clients")["blocked_clients"] == waiting))
            end()
        ids.append(self.append(b"4"))
        self.assertEqual(self.read(b, 1), [b"4"])
        self.assertEqual(self.do("StreamAcknowledge", group="g", ids=[ids[0], ids[4], ids[0]]).acknowledged, 2)
        self.assertEqual(self.do("StreamAcknowledge", group="g", ids=[ids[0]]).acknowledged, 0)
        part = self.do("StreamClaim", group="g", consumer="b", count=2)
        self.assertEqual([e.id for e in part.entries], ids[1:3])
        rest = self.do("StreamClaim", group="g", consumer="b", start=part.next)
        self.assertEqual(([e.id for e in rest.entries], rest.next), ([ids[3]], ""))
        self.assertEqual(list(self.do("StreamClaim", group="g", consumer="b", idle_ms=1 << 63).entries), [])
        self.assertEqual({c["name"]: c["pending"] for c in self.redis.xinfo_consumers("k", "g")}, {b"a": 0, b"b": 3})
        self.assertTrue(self.do("StreamDeleteGroup", group="g").deleted)
        with self.assertRaises(grpc.RpcError) as over:
            next(b)
        self.assertEqual((over.exception.code(), self.detail(over.exception).reason), (CODE.NOT_FOUND, "NO_SUCH_GROUP"))
        self.assertFalse(self.do("StreamDeleteGroup", group="g").deleted)

    def test_consumers_at_once_get_each_entry_once(self):
        self.do("StreamCreateGroup", group="g", create_stream=True)
        seen, lock, n = [], threading.Lock(), 500
        tails = [self.do("StreamReadGroup", group="g", consumer="c%d" % i, count=3) for i in range(5)]

        def consume(tail):
            try:
                for message in tail:
                    self.do("StreamAcknowledge", group="g", ids=[e.id for e in message.entries])
                    with lock:
                        seen.extend(int(e.fields[0].value) for e in message.entries)
            except grpc.RpcError:
                pass
        threads = [threading.Thread(target=consume, args=(t,)) for t in tails]
        for t in threads:
            t.start()
        for i in range(n):
            self.append(b"%d" % i)
        wait_until(lambda: len(seen) >= n)
        for tail in tails:
            tail.cancel()
        for t in threads:
            t.join()
        self.assertEqual(sorted(seen), list(range(n)))


    def pending(self):
        return {c["name"].decode(): c["pending"] for c in self.redis.xinfo_consumers("k", "g")}

    def test_a_worker_is_given_no_more_than_he_is_to_have(self):
        self.do("StreamCreateGroup", group="g", create_stream=True)
        ids = [self.append(b"%d" % i) for i in range(150)]
        usual = self.do("StreamReadGroup", group="g", consumer="usual", count=7)
        self.assertEqual(self.read(usual, 100), [b"%d" % i for i in range(100)])
        one = self.do("StreamReadGroup", group="g", consumer="one", max_pending=1, count=1000)
        self.assertEqual(self.read(one, 1), [b"100"])
        rest = self.do("StreamReadGroup", group="g", consumer="rest")
        self.assertEqual(self.read(rest, 49), [b"%d" % i for i in range(101, 150)])
        self.assertEqual(self.pending(), {"usual": 100, "one": 1, "rest": 49})
        rest.cancel()
        usual.cancel()
        wait_until(lambda: self.redis.info("clients")["blocked_clients"] == 1)
        more = [self.append(b"more %d" % i) for i in range(6)]
        self.assertEqual(self.pending()["one"], 1)
        self.do("StreamAcknowledge", group="g", ids=ids[:100])  # of others: nothing to him
        self.assertEqual(self.pending()["one"], 1)
        self.do("StreamAcknowledge", group="g", ids=[ids[100]])
        self.assertEqual(self.read(one, 1), [b"more 0"])
        self.redis.xack("k", "g", more[0])
        self.assertEqual(self.read(one, 1), [b"more 1"])
        self.assertEqual(len(self.do("StreamClaim", group="g", consumer="other", start=more[1]).entries), 1)
        self.assertEqual(self.read(one, 1), [b"more 2"])
        self.redis.xgroup_delconsumer("k", "g", "one")
        self.assertEqual(self.read(one, 1), [b"more 3"])
        with self.redis.pipeline() as transaction:
            transaction.xack("k", "g", more[3]).set("other", "x").execute()
        self.assertEqual(self.read(one, 1), [b"more 4"])
        one.cancel()

    def test_a_worker_that_comes_again_gets_first_what_he_had(self):
        self.do("StreamCreateGroup", group="g", create_stream=True)
        ids = [self.append(b"%d" % i) for i in range(6)]
        first = self.do("StreamReadGroup", group="g", consumer="c", max_pending=3)
        self.assertEqual(self.read(first, 3), [b"0", b"1", b"2"])
        first.cancel()
        wait_until(lambda: self.redis.info("clients")["blocked_clients"] == 0)
        self.do("StreamDelete", ids=[ids[1]])
        again = self.do("StreamReadGroup", group="g", consumer="c", max_pending=3, pending_first=True)
        entries = [next(again).entries[0] for _ in range(3)]
        self.assertEqual([(e.id, e.deleted) for e in entries], [(ids[0], False), (ids[1], True), (ids[2], False)])
        self.do("StreamAcknowledge", group="g", ids=ids[:2])
        self.assertEqual(self.read(again, 2), [b"3", b"4"])
        self.assertEqual(self.pending(), {"c": 3})
        again.cancel()
        new = self.do("StreamReadGroup", group="g", consumer="new", pending_first=True)
        self.assertEqual(self.read(new, 1), [b"5"])
        new.cancel()

    def test_no_client_can_say_what_the_door_says(self):
        self.redis.xadd("k", {"f": "v"})
        self.redis.xgroup_create("k", "g", "0")
        for words in (("xread", "ready", "block", "1", "streams", "k", "0"),
                      ("xreadgroup", "group", "g", "c", "maxpending", "1", "streams", "k", ">")):
            with self.assertRaisesRegex(redis.ResponseError, "syntax error"):
                self.redis.execute_command(*words)

    def test_tails_send_no_client_away(self):
        before = self.redis.config_get("maxmemory-clients")["maxmemory-clients"]
        self.redis.config_set("maxmemory-clients", "4mb")
        tails = [self.do("StreamRead", b"%03d" % i + b"k" * 60_000, new_ones=True) for i in range(200)]
        for tail in tails:
            tail.initial_metadata()
        wait_until(lambda: self.redis.info("clients")["blocked_clients"] == 200)
        with self.server.redis() as client:
            client.set("a", b"v" * 20_000)
            self.assertEqual(client.get("a"), b"v" * 20_000)
        self.assertEqual(self.redis.info("stats")["evicted_clients"], 0)
        for tail in tails:
            tail.cancel()
        self.redis.config_set("maxmemory-clients", before)


class TailsInLittleMemory(CollectionCase):
    server_args = dict(args=["--memory=256MB"])

    def another_connection(self):
        """Stubs that share none with others, as those to one address do."""
        from cairn.v1 import collections_pb2_grpc, kv_pb2_grpc
        channel = grpc.insecure_channel("127.0.0.1:%d" % self.server.grpc, options=[
            ("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 8 << 20)])
        self.addCleanup(channel.close)
        return kv_pb2_grpc.KeyValueStub(channel), collections_pb2_grpc.StreamsStub(channel)

    def get(self, kv, key):
        return self.call(kv.Get, self.rpc.kv_pb.GetRequest(key=self.rpc.key("db0", key))).value.value

    def test_one_that_was_taken_holds_nothing(self):
        value, large = b"x" * 60_000, b"y" * 3_000_000
        for _ in range(10):
            self.redis.xadd("k", {"f": value})
        self.put("large", large)
        tails = []
        for _ in range(150):
            tails.append(self.do("StreamRead", after="0"))
            n = 0
            while n < 10:
                n += len(next(tails[-1]).entries)
        self.assertEqual(self.get(self.rpc.kv, "large"), large)
        self.assertEqual(self.get(self.another_connection()[0], "large"), large)
        for tail in tails:
            tail.cancel()

    def test_one_large_entry_is_not_made_for_all_at_once(self):
        tails = [self.do("StreamRead", new_ones=True) for _ in range(100)]
        for tail in tails:
            tail.initial_metadata()
        wait_until(lambda: self.redis.info("clients")["blocked_clients"] == 100)
        before = resident(self.server)
        self.do("StreamAppend", fields=[self.field(b"f", b"x" * 3_900_000)])
        self.put("other", b"y" * 3_000_000)
        self.assertLess(resident(self.server), before + (120 << 20))
        self.assertEqual(len(self.get(self.another_connection()[0], "other")), 3_000_000)
        for tail in tails:
            tail.cancel()

    def test_there_are_so_many_and_a_connection_leaves_some_to_others(self):
        self.redis.xadd("k", {"f": "v"})

        def opened(streams, n):
            """Those that were let in."""
            out = []
            for answer in [self.call(streams.Read, self.request("StreamRead", after="0")) for _ in range(n)]:
                try:
                    next(answer)
                    out.append(answer)
                except grpc.RpcError as e:
                    self.assertEqual((e.code(), self.detail(e).reason), (CODE.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS"))
            return out
        one, other = self.another_connection()[1], self.another_connection()[1]
        first, second = opened(one, 300), opened(other, 100)
        self.assertLessEqual(len(first), 256)
        self.assertGreater(len(first), 240)
        self.assertEqual(len(second), 100)
        for answer in first:
            answer.cancel()
        wait_until(lambda: self.redis.info("clients")["blocked_clients"] == 100)
        self.assertEqual(len(opened(one, 10)), 10)
        for answer in second:
            answer.cancel()


class Json(CollectionCase):
    """GET of a collection over HTTP by who accepts JSON."""
    JSON = {"Accept": "text/html;q=0.5, application/json"}

    def get(self, key="k", method="GET", headers=None, **query):
        path = "/db0/" + urllib.parse.quote(key, safe="")
        query = "&".join("%s=%s" % (n.replace("_", "-"), urllib.parse.quote(str(v), safe=""))
                         for n, v in sorted(query.items()))
        signed_headers, *_ = signed(method, self.server.http, path, query, headers or self.JSON)
        request = urllib.request.Request(
            "http://127.0.0.1:%d%s%s" % (self.server.http, path, "?" + query if query else ""), method=method,
            headers=signed_headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as r:
                return r.status, r.read(), r.headers
        except urllib.error.HTTPError as e:
            return e.code, e.read(), e.headers

    def plain(self, item):
        """What a member of the JSON says, with bytes for texts."""
        if isinstance(item, list):
            return [self.plain(i) for i in item]
        if isinstance(item, str):
            return item.encode()
        if isinstance(item, dict) and set(item) == {"base64"}:
            return base64.b64decode(item["base64"])
        if isinstance(item, dict):
            return {n: self.plain(v) for n, v in item.items()}
        return item

    def pages(self, key="k", **query):
        members, token, pages = [], {}, 0
        while True:
            status, body, headers = self.get(key, **token, **query)
            self.assertEqual((status, headers["content-type"]), (200, "application/json"), body)
            page = json.loads(body)
            self.assertEqual(headers["x-cairn-version"], str(page["version"]))
            members += self.plain(page["members"])
            pages += 1
            if "next" not in page:
                return page["type"], members, pages
            token = {"continuation_token": page["next"]}

    def any_bytes(self):
        r = self.random
        kind = r.randrange(4)
        if kind == 0:
            return bytes(r.randrange(256) for _ in range(r.randrange(12)))
        if kind == 1:
            return bytes(r.randrange(128) for _ in range(r.randrange(12)))
        if kind == 2:
            return "".join(chr(r.choice((0x20, 0xe9, 0x20ac, 0x1f600, 0x2028, 0x22, 0x5c))) for _ in range(6)).encode()
        return b"{\"base64\":\"%d\"}" % r.randrange(100)

    def test_members_of_all_bytes_come_through(self):
        for n in (1, 40, 700):
            self.redis.flushall()
            words = list(dict.fromkeys([bytes([b]) for b in range(256)] + [self.any_bytes() for _ in range(n)]))
            self.redis.rpush("l", *words)
            self.redis.sadd("s", *words)
            self.redis.hset("h", mapping={w: w[::-1] for w in words})
            scores = {w: self.random.choice((i + .1, -i, 1e300, -INFINITE, INFINITE)) for i, w in enumerate(words)}
            self.redis.zadd("z", scores)
            entries = [(self.redis.xadd("e", {w: w + b"!"}), w) for w in words]
            for most in (7, 1000):
                self.assertEqual(self.pages("l", max_keys=most)[:2], ("list", words), SEED)
                kind, members, _ = self.pages("s", max_keys=most)
                self.assertEqual((kind, sorted(members)), ("set", sorted(words)), SEED)
                times = {w: 10 ** 13 + i for i, w in enumerate(words[::3])}
                for w, at in times.items():
                    self.redis.execute_command("HPEXPIREAT", "h", at, "FIELDS", 1, w)
                kind, members, _ = self.pages("h", max_keys=most)
                self.assertEqual({m["field"]: m["expires_at_ms"] for m in members if "expires_at_ms" in m}, times)
                self.assertEqual((kind, {m["field"]: m["value"] for m in members}), ("hash", {w: w[::-1] for w in words}))
                kind, members, pages = self.pages("z", max_keys=most)
                self.assertEqual((kind, pages), ("sorted-set", -(-len(words) // most)))
                self.assertEqual([(m["member"], float(m["score"])) for m in members],
                                 self.redis.zrange("z", 0, -1, withscores=True), SEED)
                kind, members, pages = self.pages("e", max_keys=most)
                self.assertEqual((kind, pages), ("stream", -(-len(words) // most)))
                self.assertEqual([(m["id"], m["fields"]) for m in members],
                                 [(i, [{"field": w, "value": w + b"!"}]) for i, w in entries], SEED)

    def test_head_agrees(self):
        self.redis.hset("k", mapping={"a": "1", "b": "2"})
        self.redis.expire("k", 1000)
        status, body, headers = self.get()
        head_status, nothing, head = self.get(method="HEAD")
        self.assertEqual((status, head_status, nothing), (200, 200, b""))
        for name in ("content-type", "content-length", "x-cairn-version", "x-cairn-expires-ms", "vary"):
            self.assertEqual(head[name], headers[name], name)
        self.assertEqual(int(head["content-length"]), len(body))
        self.assertEqual(json.loads(body)["expires_at_ms"], int(head["x-cairn-expires-ms"]))

    def test_who_does_not_accept_json_gets_the_error_and_bytes_stay_bytes(self):
        self.redis.rpush("k", "x")
        for accept in ("*/*", "text/plain", "application/json5", "application/*", "application/json;q=0, */*", "application/json; q=0.00"):
            self.assertEqual(self.get(headers={"Accept": accept})[0], 400, accept)
        self.redis.set("bytes", b"{}")
        self.assertEqual(self.get("bytes")[:2], (200, b"{}"))
        self.assertEqual(self.get("bytes", max_keys=3)[0], 501)
        self.assertEqual(self.get("nothing")[0], 404)

    def test_what_it_cannot_do_is_refused(self):
        self.redis.rpush("k", "x")
        self.redis.xadd("e", {"f": "v"})
        for status, query in ((400, dict(max_keys=0)), (400, dict(max_keys="x")), (400, dict(continuation_token="-1")),
                              (400, dict(continuation_token="x")), (400, dict(continuation_token="9" * 30)),
                              (400, dict(partNumber=1)), (501, dict(response_content_type="x"))):
            self.assertEqual(self.get(**query)[0], status, query)
        for token in ("1", "-", "1-x", "(1-1", "1-1-1"):
            self.assertEqual(self.get("e", continuation_token=token)[0], 400, token)
        for name, value in (("If-None-Match", "*"), ("If-Match", '"x"'), ("Range", "bytes=0-1"),
                            ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT")):
            self.assertEqual(self.get(headers={**self.JSON, name: value})[0], 501, name)
        path = "/db0/k"
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:%d%s" % (self.server.http, path), headers=self.JSON))
        self.assertEqual(refused.exception.code, 403)
        refused.exception.close()

    def test_large_members_make_small_pages(self):
        big = [b"%d" % i * 300_000 for i in range(10)]
        self.redis.rpush("l", *big)
        self.redis.hset("h", mapping={b"f%d" % i: v for i, v in enumerate(big)})
        names = [b"%03d" % i + b"x" * 60_000 for i in range(120)]
        self.redis.zadd("z", {v: i for i, v in enumerate(names)})
        kind, members, pages = self.pages("l")
        self.assertEqual((members, pages > 2), (big, True))
        self.assertEqual({m["field"]: m["value"] for m in self.pages("h")[1]}, {b"f%d" % i: v for i, v in enumerate(big)})
        self.assertEqual([m["member"] for m in self.pages("z")[1]], names)

    def test_a_member_larger_than_a_page_hides_none_behind_it(self):
        for size in (1 << 20, 5 << 20):
            words = [b"a", b"x" * size] + [b"m%d" % i for i in range(50)]
            self.redis.delete("l")
            self.redis.rpush("l", *words)
            self.assertEqual(self.pages("l")[1], words)
            self.redis.delete("e")
            for i, w in enumerate(words):
                self.redis.xadd("e", {"f": w}, id="%d-1" % (i + 1))
            self.assertEqual([m["fields"][0]["value"] for m in self.pages("e")[1]], words)

    def test_pages_of_what_changes(self):
        self.redis.hset("h", mapping={"f%d" % i: i for i in range(3000)})
        stop = threading.Event()

        def change():
            with self.server.redis() as r:
                i = 0
                while not stop.is_set():
                    r.hset("h", "new%d" % i, 1)
                    r.hdel("h", "new%d" % (i - 5))
                    i += 1
        thread = threading.Thread(target=change)
        thread.start()
        members = {m["field"] for m in self.pages("h", max_keys=50)[1]}
        stop.set()
        thread.join()
        self.assertLessEqual({b"f%d" % i for i in range(3000)}, members)


if __name__ == "__main__":
    unittest.main()
