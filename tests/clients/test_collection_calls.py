"""gRPC's collections against redis-server: generated calls, each also a command there, with the same answers and the
same state; and the calls that wait, in one line with the Redis door's clients."""
import random
import threading
import time
import unittest

import grpc
import redis

from harness import PASSWORD, Server, wait_until
from test_collections import SEED, CollectionCase
from test_grpc import CODE, PATIENCE
from test_resp import BesidePeer

INFINITE = float("inf")
ERRORS = {(CODE.FAILED_PRECONDITION, "WRONG_TYPE"): "WRONGTYPE", (CODE.NOT_FOUND, "NO_SUCH_KEY"): "no such key",
          (CODE.OUT_OF_RANGE, "NO_SUCH_ELEMENT"): "index out of range"}


class Waits:
    """What the server's sum of clients that wait tells."""
    def waiting(self, n):
        self.assertTrue(wait_until(lambda: self.redis.info("clients")["blocked_clients"] == n))


class AgainstRedis(BesidePeer, CollectionCase):
    STEPS = 1500

    def setUp(self):
        super().setUp()
        self.peer.client.flushall()

    # ---- what is drawn ----

    def key_of(self, kind):
        """Mostly of this type; sometimes of another one."""
        r = self.random
        return b"%c%d" % (r.choice(b"hlsz") if r.random() < .04 and self.wild else ord(kind), r.randrange(3))

    def some(self, make, most):
        return [make() for _ in range(self.random.randrange(1, most))]

    def number(self):
        return self.random.choice((0.0, -0.5, 1.5, 3.0, 1e300, -1e-300, 0.1, 7.0, INFINITE, -INFINITE))

    def place(self):
        return self.random.randrange(-6, 7)

    def end(self):
        pb = self.rpc.collections_pb
        return self.random.choice((pb.LIST_END_UNSPECIFIED, pb.LIST_END_HEAD, pb.LIST_END_TAIL))

    def side(self, end, usual):
        return {0: usual, 1: b"LEFT", 2: b"RIGHT"}[end]

    def range_of(self, kinds, source):
        """As fields of a request, and as the words of ZRANGE with its ends from low to high."""
        r, pb = self.random, self.rpc.collections_pb
        # Where scores differ nobody says what a range of members is.
        is_sorted = self.peer.client.type(source) == b"zset"
        if self.in_one or (is_sorted and len({s for _, s in self.peer.client.zrange(source, 0, -1, withscores=True)}) > 1):
            kinds = [k for k in kinds if k != "members"]
        kind = r.choice(kinds)
        if kind == "ranks":
            start, stop = self.place(), self.place()
            return kind, {kind: pb.RankRange(start=start, stop=stop)}, [start, stop]
        out, low, high = r.random() < .5, None, None
        make = self.number if kind == "scores" else self.word
        if r.random() < .8:
            low = make()
        if r.random() < .8:
            high = make()
        fields = {}
        if low is not None:
            fields["above" if out else "min"] = low
        if high is not None:
            fields["below" if out else "max"] = high
        message = (pb.ScoreRange if kind == "scores" else pb.MemberRange)(**fields)
        def word(v, none):
            if v is None:
                return none
            if kind == "members":
                return (b"(" if out else b"[") + v
            return ("(" if out else "") + repr(v)
        words = [word(low, "-inf" if kind == "scores" else "-"), word(high, "+inf" if kind == "scores" else "+")]
        return kind, {kind: message}, words

    def part_of(self, kinds, source):
        """The same with direction and limit, as RangeInto has it, with all words behind the key."""
        r = self.random
        kind, fields, ends = self.range_of(kinds, source)
        words = list(ends)
        if kind != "ranks":
            words = [words[1], words[0]] if fields.setdefault("reverse", r.random() < .5) else words
            words.append("BYSCORE" if kind == "scores" else "BYLEX")
        else:
            fields["reverse"] = r.random() < .5
        if fields["reverse"]:
            words.append("REV")
        if kind != "ranks" and r.random() < .5:
            fields.update(offset=r.randrange(3), limit=r.randrange(4))
            if fields["offset"] or fields["limit"]:
                words += ["LIMIT", fields["offset"], fields["limit"] or -1]
        return fields, words

    def combination(self, sets):
        r, pb = self.random, self.rpc.collections_pb
        operation = r.choice((pb.SET_OPERATION_UNION, pb.SET_OPERATION_INTERSECTION, pb.SET_OPERATION_DIFFERENCE))
        keys = self.some(lambda: self.key_of("s" if sets or r.random() < .2 else "z"), 4)
        fields, words = dict(operation=operation), []
        if not sets and operation != pb.SET_OPERATION_DIFFERENCE:
            if r.random() < .5:
                fields["weights"] = [r.choice((1.0, -2.0, 0.0, 0.5)) for _ in keys]
                words += ["WEIGHTS"] + [repr(w) for w in fields["weights"]]
            if r.random() < .5:
                fields["aggregate"] = r.choice((pb.AGGREGATE_SUM, pb.AGGREGATE_MIN, pb.AGGREGATE_MAX))
                words += ["AGGREGATE", {1: "SUM", 2: "MIN", 3: "MAX"}[fields["aggregate"]]]
        name = {1: "UNION", 2: "INTER", 3: "DIFF"}[operation]
        return name, keys, fields, words

    # Each returns the method, its key, its fields, the command of the same meaning, and how the two
    # answers read to be compared. None as a command: check() does both itself.

    def list_push(self):
        key, end, values = self.key_of("l"), self.end(), self.some(self.word, 5)
        return ("ListPush", key, dict(values=values, end=end), ["LPUSH" if end == 1 else "RPUSH", key, *values],
                lambda a: a.count, lambda a: a)

    def list_pop(self):
        key, end, count = self.key_of("l"), self.end(), self.random.randrange(4)
        return ("ListPop", key, dict(end=end, count=count), ["RPOP" if end == 2 else "LPOP", key, max(count, 1)],
                lambda a: list(a.values), lambda a: a or [])

    def list_pop_that_would_wait(self):
        """And finds something, or nothing for a moment."""
        key, end, count = self.key_of("l"), self.end(), self.random.randrange(4)
        side = self.side(end, b"LEFT")
        return ("ListPop", key, dict(end=end, count=count, wait_ms=1), ["LMPOP", 1, key, side, "COUNT", max(count, 1)],
                lambda a: list(a.values), lambda a: a[1] if a else [])

    def list_set(self):
        key, index, value = self.key_of("l"), self.place(), self.word()
        return "ListSet", key, dict(index=index, value=value), ["LSET", key, index, value], lambda a: a.version > 0, lambda a: True

    def list_insert(self):
        key, pivot, value, after = self.key_of("l"), self.word(), self.word(), self.random.random() < .5
        return ("ListInsert", key, dict(pivot=pivot, value=value, after=after),
                ["LINSERT", key, "AFTER" if after else "BEFORE", pivot, value],
                lambda a: (a.inserted, a.count, a.version > 0), lambda a: (a > 0, max(a, 0), a > 0))

    def list_remove(self):
        key, value, count, end = self.key_of("l"), self.word(), self.random.randrange(3), self.end()
        return ("ListRemove", key, dict(value=value, count=count, end=end),
                ["LREM", key, -count if end == 2 else count, value],
                lambda a: (a.removed, a.version > 0), lambda a: (a, a > 0))

    def list_trim(self):
        key, start, stop = self.key_of("l"), self.random.randrange(-9, 3), self.random.randrange(-2, 30)
        return "ListTrim", key, dict(start=start, stop=stop), ["LTRIM", key, start, stop], lambda a: None, lambda a: None

    def list_move(self):
        key, to, end, to_end = self.key_of("l"), self.key_of("l"), self.end(), self.end()
        return ("ListMove", key, dict(to=to, end=end, to_end=to_end, wait_ms=self.random.randrange(2) * self.wild),
                ["LMOVE", key, to, self.side(end, b"LEFT"), self.side(to_end, b"RIGHT")],
                lambda a: (a.value if a.found else None, a.version > 0), lambda a: (a, a is not None))

    def set_add(self):
        key, members = self.key_of("s"), self.some(self.word, 5)
        return "SetAdd", key, dict(members=members), ["SADD", key, *members], lambda a: a.added, lambda a: a

    def set_move(self):
        key, to, member = self.key_of("s"), self.key_of("s"), self.word()
        return ("SetMove", key, dict(to=to, member=member), ["SMOVE", key, to, member], lambda a: a.moved, bool)

    def set_combine(self):
        name, keys, fields, _ = self.combination(True)
        return ("SetCombine", keys[0], dict(others=keys[1:], **fields), ["S" + name, *keys],
                lambda a: sorted(m for p in a for m in p.members), sorted)

    def set_combine_into(self):
        name, keys, fields, _ = self.combination(True)
        key = self.key_of("s")
        return ("SetCombineInto", key, dict(**{"from": keys}, **fields), ["S" + name + "STORE", key, *keys],
                lambda a: a.count, lambda a: a)

    def sorted_set_add(self):
        key, items = self.key_of("z"), {self.word(): self.number() for _ in range(3)}
        if key == b"z0":  # for ranges of members
            items = dict.fromkeys(items, 1.5)
        members = [self.rpc.collections_pb.ScoredMember(member=m, score=s) for m, s in items.items()]
        words = [w for m, s in items.items() for w in (repr(s), m)]
        return "SortedSetAdd", key, dict(members=members), ["ZADD", key, "CH", *words], lambda a: a.changed, lambda a: a

    def scored(self, a):
        flat = a[1] if a and isinstance(a[0], bytes) and len(a) == 2 and isinstance(a[1], list) else a or []
        if flat and isinstance(flat[0], (list, tuple)):
            return [(m, float(s)) for m, s in flat]
        return [(m, float(s)) for m, s in zip(flat[::2], flat[1::2])]

    def sorted_set_pop(self):
        key, highest, count = self.key_of("z"), self.random.random() < .5, self.random.randrange(4)
        return ("SortedSetPop", key, dict(highest=highest, count=count, wait_ms=self.random.randrange(2) * self.wild),
                ["ZMPOP", 1, key, "MAX" if highest else "MIN", "COUNT", max(count, 1)],
                lambda a: [(m.member, m.score) for m in a.members], self.scored)

    def sorted_set_remove_range(self):
        key = self.key_of("z")
        kind, fields, ends = self.range_of(("ranks", "scores", "members"), key)
        command = {"ranks": "ZREMRANGEBYRANK", "scores": "ZREMRANGEBYSCORE", "members": "ZREMRANGEBYLEX"}[kind]
        return ("SortedSetRemoveRange", key, fields, [command, key, *ends],
                lambda a: (a.removed, a.version > 0), lambda a: (a, a > 0))

    def sorted_set_range(self):
        key = self.key_of("z")
        fields, words = self.part_of(("ranks", "scores", "members"), key)
        if "members" in fields:  # with which redis-server answers no scores
            return ("SortedSetRange", key, fields, ["ZRANGE", key, *words],
                    lambda a: [m.member for p in a for m in p.members], lambda a: a)
        return ("SortedSetRange", key, fields, ["ZRANGE", key, *words, "WITHSCORES"],
                lambda a: [(m.member, m.score) for p in a for m in p.members], self.scored)

    def sorted_set_count(self):
        key = self.key_of("z")
        kind, fields, ends = self.range_of(("scores", "members"), key)
        return ("SortedSetCount", key, fields, ["ZCOUNT" if kind == "scores" else "ZLEXCOUNT", key, *ends],
                lambda a: a.count, lambda a: a)

    def sorted_set_range_into(self):
        key, source = self.key_of("z"), self.key_of("z")
        fields, words = self.part_of(("ranks", "scores", "members"), source)
        return ("SortedSetRangeInto", key, dict(**{"from": source}, **fields), ["ZRANGESTORE", key, source, *words],
                lambda a: a.count, lambda a: a)

    def sorted_set_combine(self):
        name, keys, fields, words = self.combination(False)
        return ("SortedSetCombine", keys[0], dict(others=keys[1:], **fields),
                ["Z" + name, len(keys), *keys, *words, "WITHSCORES"],
                lambda a: [(m.member, m.score) for p in a for m in p.members], self.scored)

    def sorted_set_combine_into(self):
        name, keys, fields, words = self.combination(False)
        key = self.key_of("z")
        return ("SortedSetCombineInto", key, dict(**{"from": keys}, **fields), ["Z" + name + "STORE", key, len(keys), *keys, *words],
                lambda a: a.count, lambda a: a)

    CHANGES = (list_push, list_pop, list_set, list_insert, list_remove, list_trim, list_move, set_add, set_move,
               set_combine_into, sorted_set_add, sorted_set_pop, sorted_set_remove_range, sorted_set_range_into,
               sorted_set_combine_into)
    READS = (set_combine, sorted_set_range, sorted_set_count, sorted_set_combine, list_pop_that_would_wait)

    # ---- the comparison ----

    def told(self, name, key, fields, read):
        try:
            answer = self.do(name, key, **fields)
            return read(answer), getattr(answer, "version", 0)
        except grpc.RpcError as e:
            return ERRORS.get((e.code(), self.detail(e).reason), (e.code(), e.details())), 0

    def told_by_peer(self, command, read):
        # redis-py would make something of the answers.
        connection = self.peer.client.connection_pool.get_connection(command[0])
        try:
            connection.send_command(*command)
            return read(connection.read_response())
        except redis.ResponseError as e:
            return next((t for t in ERRORS.values() if t in str(e)), str(e))
        finally:
            self.peer.client.connection_pool.release(connection)

    def state(self, r):
        out = {}
        for key in sorted(r.keys()):
            kind = r.type(key)
            out[key] = (kind, {b"list": lambda: r.lrange(key, 0, -1), b"set": lambda: r.smembers(key),
                               b"zset": lambda: r.zrange(key, 0, -1, withscores=True)}[kind]())
        return out

    def versions(self):
        items = self.call(self.rpc.kv.Scan, self.rpc.kv_pb.ScanRequest(namespace="db0", page_size=1000)).items
        return {i.key: i.version for i in items}

    def draw_random_members(self, step):
        """SPOP and SRANDMEMBER: whichever come, redis-server is told which they were."""
        key, n, r = self.key_of("s"), self.random.randrange(5), self.peer.client
        if r.type(key) not in (b"set", b"none"):
            return
        size, want = r.scard(key), max(n, 1)
        if self.random.random() < .5:
            answer = self.do("SetPop", key, count=n)
            self.assertEqual((len(set(answer.members)), answer.version > 0), (min(size, want), size > 0), (SEED, step))
            if answer.members:
                self.assertEqual(r.srem(key, *answer.members), len(answer.members), (SEED, step))
            return
        again = self.random.random() < .5
        members = self.do("SetRandom", key, count=n, with_repetition=again).members
        self.assertEqual(len(members), (want if size else 0) if again else min(size, want), (SEED, step))
        self.assertTrue(again or len(set(members)) == len(members))
        self.assertTrue(all(r.sismember(key, m) for m in members), (SEED, step))

    def test_generated_calls(self):
        condition, seen = self.rpc.common.Condition, set()
        self.in_one = False
        for step in range(self.STEPS):
            self.wild = self.random.random() < .5
            if self.random.random() < .05:
                self.wild = False
                self.draw_random_members(step)
                continue
            name, key, fields, command, read, read_peer = self.random.choice(self.CHANGES + self.READS)(self)
            # With a condition it is done in one go, where without it might take turns.
            if self.random.random() < .3 and not fields.get("wait_ms") and hasattr(self.request(name), "condition"):
                fields["condition"] = condition(version=self.versions().get(key, 0))
            want = self.told_by_peer(command, read_peer)
            got, version = self.told(name, key, fields, read)
            self.assertEqual(got, want, (SEED, step, name, key, fields, command))
            seen.add((name, isinstance(got, str)))
            now = self.versions()
            if version and not name.endswith("Move") and key in now:
                self.assertEqual(version, now[key], (SEED, step, name, fields))
            if step % 10 == 0:
                self.assertEqual(self.state(self.redis), self.state(self.peer.client), (SEED, step, name, fields))
        self.assertEqual(self.state(self.redis), self.state(self.peer.client), SEED)
        self.assertGreaterEqual(len({n for n, _ in seen}), len(self.CHANGES + self.READS) - 1)

    def test_generated_transactions(self):
        pb = self.rpc.kv_pb
        self.wild, self.in_one = False, True
        for step in range(200):
            drawn = [self.random.choice(self.CHANGES)(self) for _ in range(self.random.randrange(1, 6))]
            ops = []
            for name, key, fields, *_ in drawn:
                snake = "".join("_" + c.lower() if c.isupper() else c for c in name)[1:]
                ops.append((snake, pb.TxnOp(**{snake: self.request(name, key, **fields)})))
            with self.peer.client.pipeline() as p:
                for _, _, _, command, *_ in drawn:
                    p.execute_command(*command)
                p.response_callbacks = {}
                before = {k: self.peer.client.dump(k) for k in self.peer.client.keys()}
                theirs = p.execute(raise_on_error=False)
            request = pb.TxnRequest(then=[op for _, op in ops])
            if any(isinstance(a, redis.ResponseError) for a in theirs):
                self.assertIn(self.error(self.rpc.kv.Txn, request), ERRORS, (SEED, step))
                self.peer.client.flushall()  # it has done the others
                for k, v in before.items():
                    self.peer.client.restore(k, 0, v)
            else:
                answer = self.call(self.rpc.kv.Txn, request)
                for (snake, _), (name, _, fields, command, read, read_peer), result, want in zip(
                        ops, drawn, answer.results, theirs):
                    if name in ("ListSet", "ListInsert", "ListRemove", "ListMove", "SortedSetRemoveRange"):
                        continue  # their version, which read() looks at, is the transaction's
                    self.assertEqual(read(getattr(result, snake)), read_peer(want), (SEED, step, name, fields))
            self.assertEqual(self.state(self.redis), self.state(self.peer.client), (SEED, step, [o[1] for o in ops]))


class LargeOnes(CollectionCase):
    N = 60_000

    def test_what_takes_turns_is_whole(self):
        """Each in turns, and with a condition in one go: the same comes of it."""
        pb, condition = self.rpc.collections_pb, self.rpc.common.Condition
        members = [b"%07d" % i for i in range(self.N)]
        for begin in range(0, self.N, 5000):
            part = members[begin:begin + 5000]
            self.redis.sadd("s1", *part)
            self.redis.sadd("s2", *part[::2])
            self.redis.zadd("z1", {m: int(m) for m in part})
            self.redis.zadd("z2", {m: 1 for m in part[::4]})
            self.redis.rpush("l", *part)
        rest = [m for p in self.do("SetCombine", "s1", others=[b"s2"], operation=pb.SET_OPERATION_DIFFERENCE) for m in p.members]
        self.assertTrue(sorted(rest) == members[1::2])  # assertEqual would compare line by line
        both = [(m.member, m.score) for p in self.do("SortedSetCombine", "z1", others=[b"z2"], durable=True,
                                                     operation=pb.SET_OPERATION_INTERSECTION) for m in p.members]
        self.assertTrue(both == [(m, int(m) + 1) for m in members[::4]])

        def version(key):
            items = self.call(self.rpc.kv.Scan, self.rpc.kv_pb.ScanRequest(namespace="db0", prefix=key.encode())).items
            return next((i.version for i in items if i.key == key.encode()), 0)

        for conditional in (False, True):
            def more(key):
                return dict(condition=condition(version=version(key))) if conditional else {}
            a = self.do("SetCombineInto", "to", **{"from": [b"s1", b"s2"]}, operation=pb.SET_OPERATION_INTERSECTION, **more("to"))
            self.assertEqual((a.count, a.version), (self.N // 2, version("to")))
            self.assertEqual(self.redis.scard("to"), self.N // 2)
            a = self.do("SortedSetCombineInto", "to", **{"from": [b"z1", b"z2"]}, operation=pb.SET_OPERATION_UNION,
                        aggregate=pb.AGGREGATE_MIN, **more("to"))
            self.assertEqual((a.count, a.version), (self.N, version("to")))
            a = self.do("SortedSetRangeInto", "part", **{"from": b"z1"}, scores=pb.ScoreRange(min=100, below=50_100), **more("part"))
            self.assertEqual((a.count, a.version), (50_000, version("part")))
            a = self.do("SortedSetRemoveRange", "part", ranks=pb.RankRange(start=0, stop=29_999), **more("part"))
            self.assertEqual((a.removed, a.version), (30_000, version("part")))
            self.assertEqual(self.redis.zrange("part", 0, 0), [b"%07d" % 30_100])
            self.redis.copy("l", "copy", replace=True)
            a = self.do("ListTrim", "copy", start=30_000, stop=30_009, **more("copy"))
            self.assertEqual(a.version, version("copy"))
            self.assertEqual(self.redis.lrange("copy", 0, -1), members[30_000:30_010])
            self.redis.rpush("copy", *[b"x"] * 3000, "y")
            self.redis.copy("l", "long", replace=True)
            self.redis.rpush("long", b"x", b"x", b"y")
            a = self.do("ListRemove", "long", value=b"x", **more("long"))
            self.assertEqual((a.removed, a.version), (2, version("long")))
        self.assertEqual(self.fails("SetCombineInto", "to", **{"from": [b"s1"]}, operation=pb.SET_OPERATION_UNION,
                                    condition=condition(version=1)), (CODE.FAILED_PRECONDITION, "CONDITION_FAILED"))


class FieldTimes(CollectionCase):
    def test_generated_times(self):
        """redis-server 7.0 has none: a model says what comes."""
        pb, r = self.rpc.collections_pb, self.random
        request, outcome = pb.HashExpireRequest, pb.HashExpireResponse
        model, far = {}, int(time.time() * 1000) + 10 ** 9
        for step in range(400):
            names = list(dict.fromkeys(b"f%d" % r.randrange(8) for _ in range(r.randrange(1, 5))))
            what = r.randrange(4)
            if what == 0:
                self.do("HashSet", fields=[self.field(n, b"v") for n in names])
                model.update(dict.fromkeys(names, 0))
            elif what == 1:
                got = [(f.name, f.found, f.expires_at_ms) for f in self.do("HashGetExpiry", names=names).fields]
                self.assertEqual(got, [(n, n in model, model.get(n, 0)) for n in names], (SEED, step))
            elif what == 2 and r.random() < .5:
                want = [outcome.OUTCOME_NO_FIELD if n not in model else outcome.OUTCOME_DONE if model[n] else outcome.OUTCOME_LEFT
                        for n in names]
                answer = self.do("HashExpire", names=names, never=True)
                self.assertEqual(list(answer.outcomes), want, (SEED, step))
                self.assertEqual(answer.version > 0, outcome.OUTCOME_DONE in want)
                model.update({n: 0 for n in names if n in model})
            else:
                only, at = r.randrange(5), far + r.randrange(5) if r.random() < .8 else 1000
                holds = {request.ONLY_UNSPECIFIED: lambda old: True, request.ONLY_WITHOUT: lambda old: not old,
                         request.ONLY_WITH: bool, request.ONLY_LATER: lambda old: old and old < at,
                         request.ONLY_EARLIER: lambda old: not old or old > at}[only]
                want = []
                for n in names:
                    if n not in model:
                        want.append(outcome.OUTCOME_NO_FIELD)
                    elif not holds(model[n]):
                        want.append(outcome.OUTCOME_LEFT)
                    elif at == 1000:
                        want.append(outcome.OUTCOME_DELETED)
                        del model[n]
                    else:
                        want.append(outcome.OUTCOME_DONE)
                        model[n] = at
                answer = self.do("HashExpire", names=names, expires_at_ms=at, only=only)
                self.assertEqual(list(answer.outcomes), want, (SEED, step, only, at))
            self.assertEqual(self.redis.hlen("k"), len(model))

    def test_a_ttl_counts_from_now_and_stands_in_a_transaction(self):
        op, pb = self.rpc.kv_pb.TxnOp, self.rpc.kv_pb
        before = int(time.time() * 1000)
        self.call(self.rpc.kv.Txn, pb.TxnRequest(then=[
            op(hash_set=self.request("HashSet", fields=[self.field(b"session", b"v")])),
            op(hash_expire=self.request("HashExpire", names=[b"session"], ttl_ms=3_600_000))]))
        at = self.do("HashGetExpiry", names=[b"session"]).fields[0].expires_at_ms
        self.assertTrue(before + 3_600_000 <= at <= int(time.time() * 1000) + 3_600_000)
        self.assertEqual(self.redis.execute_command("HPEXPIRETIME", "k", "FIELDS", 1, "session"), [at])
        self.assertEqual(list(self.do("HashExpire", names=[b"session"], ttl_ms=0).outcomes),
                         [self.rpc.collections_pb.HashExpireResponse.OUTCOME_DELETED])
        self.assertEqual(self.redis.exists("k"), 0)


class Waiting(CollectionCase, Waits):
    def later(self, name, key="k", /, timeout=PATIENCE, **fields):
        return self.method(name).future(self.request(name, key, **fields), metadata=self.rpc.metadata, timeout=timeout)

    def test_all_stand_in_one_line_in_order_of_arrival(self):
        takers, n = [], 12
        for i in range(n):
            if self.random.random() < .4:
                c = self.redis.connection_pool.get_connection("blpop")
                c.send_command("BLPOP", "k", 0)
                takers.append(lambda c=c: (c.read_response()[1], c.disconnect())[0])
            elif self.random.random() < .5:
                call = self.later("ListPop", wait_ms=10 ** 9)
                takers.append(lambda call=call: call.result().values[0])
            else:
                call = self.later("ListMove", to=b"mine", wait_ms=(1 << 64) - 1)
                takers.append(lambda call=call: call.result().value)
            self.waiting(i + 1)
        for i in range(n):
            if i % 2:
                self.redis.rpush("k", b"%d" % i)
            else:
                self.do("ListPush", values=[b"%d" % i])
        self.assertEqual([take() for take in takers], [b"%d" % i for i in range(n)], SEED)
        self.assertEqual(self.redis.exists("k"), 0)

    def test_several_at_once_and_those_of_sorted_sets(self):
        call = self.later("ListPop", count=3, end=2, wait_ms=10 ** 9)
        self.waiting(1)
        self.redis.rpush("k", 1, 2, 3, 4)
        answer = call.result()
        self.assertEqual(list(answer.values), [b"4", b"3", b"2"])
        self.assertGreater(answer.version, 0)
        call = self.later("SortedSetPop", "z", count=2, highest=True, wait_ms=10 ** 9)
        self.waiting(1)
        self.redis.zadd("z", {"a": 1, "b": 2.5, "c": 7})
        answer = call.result()
        self.assertEqual([(m.member, m.score) for m in answer.members], [(b"c", 7.0), (b"b", 2.5)])
        item = self.call(self.rpc.kv.Scan, self.rpc.kv_pb.ScanRequest(namespace="db0", prefix=b"z")).items[0]
        self.assertEqual((item.key, item.version), (b"z", answer.version))

    def test_who_is_cancelled_takes_nothing_any_more(self):
        calls = [self.later("ListPop", wait_ms=10 ** 9) for _ in range(20)]
        self.waiting(20)
        for call in calls:
            call.cancel()
        self.waiting(0)
        self.redis.rpush("k", "job")
        self.assertEqual(self.redis.lrange("k", 0, -1), [b"job"])

    def test_it_ends_by_its_time_and_before_the_deadline(self):
        answer = self.do("ListPop", wait_ms=1)
        self.assertEqual((list(answer.values), answer.version), ([], 0))
        self.assertFalse(self.do("ListMove", to=b"x", wait_ms=1).found)
        for _ in range(3):
            try:
                self.assertEqual(list(self.later("SortedSetPop", timeout=1, wait_ms=10 ** 12).result().members), [])
            except grpc.RpcError as e:  # of a machine that was busy for long
                self.assertEqual(e.code(), CODE.DEADLINE_EXCEEDED)
        self.waiting(0)
        self.redis.zadd("k", {"m": 1})
        self.assertEqual(self.redis.zcard("k"), 1)

    def test_what_does_not_fit_in_an_answer_stays(self):
        for name, fields, add in (("ListPop", {}, lambda v: self.redis.rpush("k", v)),
                                  ("ListMove", dict(to=b"x"), lambda v: self.redis.rpush("k", v)),
                                  ("SortedSetPop", {}, lambda v: self.redis.zadd("k", {v: 1}))):
            calls = [self.later(name, wait_ms=10 ** 9, **fields) for _ in range(2)]
            self.waiting(2)
            add(b"x" * 5_000_000)
            for call in calls + [self.later(name, wait_ms=1, **fields)]:
                with self.assertRaises(grpc.RpcError) as refused:
                    call.result()
                self.assertEqual((refused.exception.code(), self.detail(refused.exception).reason), (CODE.OUT_OF_RANGE, "TOO_LARGE"))
            self.assertEqual(self.redis.keys(), [b"k"])
            self.redis.flushall()
        call = self.later("ListPop", count=1000, wait_ms=10 ** 9)
        self.waiting(1)
        self.redis.rpush("k", *[b"x" * 300_000] * 12)  # read out in parts
        self.assertEqual([len(v) for v in call.result().values], [300_000] * 12)

    def test_what_it_cannot_do_is_said(self):
        condition = self.rpc.common.Condition(exists=False)
        for name, fields in (("ListPop", {}), ("ListMove", dict(to=b"x")), ("SortedSetPop", {})):
            bad = (CODE.INVALID_ARGUMENT, "BAD_ARGUMENT")
            self.assertEqual(self.fails(name, wait_ms=5, condition=condition, **fields), bad)
            snake = "".join("_" + c.lower() if c.isupper() else c for c in name)[1:]
            op = self.rpc.kv_pb.TxnOp(**{snake: self.request(name, wait_ms=5, **fields)})
            self.assertEqual(self.error(self.rpc.kv.Txn, self.rpc.kv_pb.TxnRequest(then=[op])), bad)
            self.assertEqual(self.fails(name, wait_ms=5, durability=9, **fields), bad)

    def test_a_bucket_that_goes_ends_it(self):
        s3 = self.server.s3()
        s3.create_bucket(Bucket="gone")
        call = self.method("ListPop").future(self.request("ListPop", ns="gone", wait_ms=10 ** 9), metadata=self.rpc.metadata)
        self.waiting(1)
        s3.delete_bucket(Bucket="gone")
        with self.assertRaises(grpc.RpcError) as over:
            call.result()
        self.assertEqual((over.exception.code(), self.detail(over.exception).reason), (CODE.NOT_FOUND, "NO_SUCH_NAMESPACE"))

    def test_movers_that_are_cancelled_at_any_moment_lose_nothing(self):
        """A worker's own list has what he was given, whether he heard of it or not."""
        n, stop, heard = 600, threading.Event(), []

        def work(seed):
            r = random.Random(seed)
            while not stop.is_set():
                call = self.later("ListMove", to=b"mine", wait_ms=10 ** 9)
                if r.random() < .5:
                    time.sleep(r.random() * .01)
                    call.cancel()
                try:
                    heard.append(call.result().value)
                except (grpc.RpcError, grpc.FutureCancelledError):
                    pass
        threads = [threading.Thread(target=work, args=(SEED + i,)) for i in range(4)]
        for t in threads:
            t.start()
        for i in range(n):
            self.redis.rpush("k", b"%d" % i)
        self.assertTrue(wait_until(lambda: self.redis.llen("mine") == n))
        stop.set()
        self.redis.rpush("k", *[b"end"] * 50)
        for t in threads:
            t.join()
        got = [v for v in self.redis.lrange("mine", 0, -1) if v != b"end"]
        self.assertEqual(got, [b"%d" % i for i in range(n)], SEED)  # in order, too
        self.assertLessEqual(set(heard) - {b"end"}, set(got))

    def test_a_stop_ends_it(self):
        call = self.later("ListPop", wait_ms=10 ** 9)
        self.waiting(1)
        self.server.process.terminate()
        with self.assertRaises(grpc.RpcError) as over:
            call.result()
        self.assertEqual(over.exception.code(), CODE.UNAVAILABLE)
        self.server.stop()
        self.server.start()
        type(self).rpc = self.server.grpc_stubs()
        type(self).redis = self.server.redis()

    def test_it_is_durable_when_it_is_answered(self):
        """Though the Redis door of this server answers before."""
        server = Server(args=["--durability=everysec"])
        try:
            for i in range(3):
                rpc, r = server.grpc_stubs(), server.redis()
                pop = rpc.collections_pb.ListPopRequest(key=rpc.key("db0", "k"), wait_ms=10 ** 9)
                into = rpc.collections_pb.SetCombineIntoRequest(
                    key=rpc.key("db0", "s%d" % i), operation=rpc.collections_pb.SET_OPERATION_UNION, **{"from": [b"s"]})
                call = rpc.Lists.Pop.future(pop, metadata=rpc.metadata)
                self.assertTrue(wait_until(lambda: r.info("clients")["blocked_clients"] == 1))
                r.sadd("s", "a", "b")
                r.rpush("k", "first", "second")
                self.assertEqual(list(call.result().values), [b"first"])
                rpc.Sets.CombineInto(into, metadata=rpc.metadata)
                server.kill()
                server.start()
                self.assertEqual(server.redis().lrange("k", 0, -1), [b"second"])
                self.assertEqual(server.redis().smembers("s%d" % i), {b"a", b"b"})
                server.redis().delete("k")
        finally:
            server.remove()


class WaitingInLittleMemory(CollectionCase, Waits):
    server_args = dict(args=["--memory=256MB"])

    def test_there_are_so_many(self):
        calls = [self.method("ListPop").future(self.request("ListPop", wait_ms=10 ** 9), metadata=self.rpc.metadata)
                 for _ in range(600)]
        refused = 0
        self.assertTrue(wait_until(lambda: self.redis.info("clients")["blocked_clients"] +
                                   sum(c.done() for c in calls) == 600))
        for call in [c for c in calls if c.done()]:
            self.assertEqual((call.code(), self.detail(call.exception()).reason), (CODE.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS"))
            refused += 1
        self.assertGreater(refused, 300)
        for call in calls:
            call.cancel()
        self.waiting(0)
        self.assertEqual(list(self.do("ListPop", wait_ms=1).values), [])


if __name__ == "__main__":
    unittest.main()
