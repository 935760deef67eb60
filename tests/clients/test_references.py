"""What deletes entries of a stream with regard to what consumer groups hold of them, as Redis documents it since 8.2
(XDELEX, XACKDEL, and KEEPREF, DELREF, ACKED of XADD and XTRIM): no redis-server of Debian's has it, so generated histories
are held against a model of the documentation. Each failure prints its seed; CAIRN_WIRE_SEED and CAIRN_WIRE_SECONDS as in
test_wire.py."""
import os
import random
import time
import unittest

from harness import Case

SECONDS = float(os.environ.get("CAIRN_WIRE_SECONDS", "5"))
SEED = int(os.environ.get("CAIRN_WIRE_SEED", "1"))
POLICIES = ["", "KEEPREF", "DELREF", "ACKED"]


class Model:
    """Of one stream: its entries, and of each group what it delivered last and what is pending."""

    def __init__(self):
        self.entries, self.last, self.groups = [], (0, 0), {}

    def referred(self, at, but=None):
        return any(last < at or (at in pending and name != but) for name, (last, pending) in self.groups.items())

    def release(self, at):
        for _, pending in self.groups.values():
            pending.discard(at)

    def delete(self, at):
        there = at in self.entries
        if there:
            self.entries.remove(at)
        return there

    def trim(self, policy, length=None, least=None, looks=None):
        gone = 0
        for n, at in enumerate(list(self.entries)):
            if (looks is not None and n >= looks) or (length is not None and len(self.entries) <= length) or (least is not None and at >= least):
                break
            if policy == "ACKED" and self.referred(at):
                continue
            if policy == "DELREF":
                self.release(at)
            gone += self.delete(at)
        return gone

    def add(self, at):
        self.entries.append(at)
        self.last = at

    def read(self, group, count):
        last, pending = self.groups[group]
        for at in [e for e in self.entries if e > last][:count]:
            last = at
            pending.add(at)
        self.groups[group] = (last, pending)

    def delex(self, policy, ids):
        out = []
        for at in ids:
            if policy == "ACKED" and self.referred(at):
                out.append(2)
                continue
            if policy == "DELREF":
                self.release(at)
            out.append(1 if self.delete(at) else -1)
        return out

    def ackdel(self, group, policy, ids):
        if group not in self.groups:
            return [-1] * len(ids)
        out = []
        for at in ids:
            if at not in self.groups[group][1]:
                out.append(-1)
                continue
            self.groups[group][1].discard(at)
            if policy == "ACKED" and self.referred(at):
                out.append(2)
                continue
            if policy == "DELREF":
                self.release(at)
            self.delete(at)
            out.append(1)
        return out


def shown(at):
    return "%d-%d" % at


class References(Case):
    def setUp(self):
        self.r = self.server.redis()
        self.r.response_callbacks.clear()
        self.r.flushall()

    def tearDown(self):
        self.r.close()

    def do(self, *words):
        return self.r.execute_command(*" ".join(words).split())

    def state(self, key, groups):
        pending = {}
        for name in groups:
            pending[name] = sorted(p[0].decode() for p in self.do("XPENDING", key, name, "- + 1000000"))
        return [e[0].decode() for e in self.do("XRANGE", key, "- +")], pending

    def expected(self, model):
        return ([shown(e) for e in model.entries],
                {name: sorted(shown(p) for p in pending) for name, (_, pending) in model.groups.items()})

    def step(self, r, model):
        """Words, and what the model makes of them."""
        group, policy = r.choice(["g", "h", "i"]), r.choice(POLICIES)
        near = lambda: (max(1, model.last[0] - r.randrange(25)), r.choice([0, 0, 0, 1]))
        ids = [near() for _ in range(r.choice([1, 1, 2, 5, 20]))]
        if r.random() < 0.2:
            ids.append(ids[0])
        words = " ".join(shown(at) for at in ids)
        length, least = r.choice([(r.choice([0, 3, 8, 20]), None), (None, near())])
        bound = "MAXLEN %d" % length if least is None else "MINID = %s" % shown(least)
        looks = None
        if policy in ("DELREF", "ACKED") and model.groups and r.random() < 0.3:
            looks = r.choice([1, 4])
            bound = bound.replace("MAXLEN", "MAXLEN ~").replace("=", "~") + " LIMIT %d" % looks
        kind = r.choice(["add"] * 5 + ["add-trim", "trim", "read", "read", "read", "ack", "del", "delex", "delex", "ackdel", "ackdel", "group"])
        if kind == "add":
            at = (model.last[0] + 1, 0)
            model.add(at)
            return "XADD s %s f v" % shown(at), shown(at).encode()
        if kind == "add-trim":
            at = (model.last[0] + 1, 0)
            model.add(at)
            model.trim(policy, length, least, looks)
            first, second = (policy, bound) if r.random() < 0.5 else (bound, policy)
            return "XADD s %s %s %s f v" % (first, second, shown(at)), shown(at).encode()
        if kind == "trim":
            return "XTRIM s %s %s" % (bound, policy), model.trim(policy, length, least, looks)
        if kind == "read" and group in model.groups:
            count = r.choice([1, 3, 100])
            model.read(group, count)
            return "XREADGROUP GROUP %s c%d COUNT %d STREAMS s >" % (group, r.randrange(3), count), None
        if kind == "ack" and group in model.groups:
            done = len(set(ids) & model.groups[group][1])
            model.groups[group][1].difference_update(ids)
            return "XACK s %s %s" % (group, words), done
        if kind == "del":
            return "XDEL s " + words, sum(model.delete(at) for at in ids)
        if kind == "delex":
            return "XDELEX s %s IDS %d %s" % (policy, len(ids), words), model.delex(policy, ids)
        if kind == "ackdel":
            return "XACKDEL s %s IDS %d %s %s" % (group, len(ids), words, policy), model.ackdel(group, policy, ids)
        if group in model.groups and r.random() < 0.3:
            del model.groups[group]
            return "XGROUP DESTROY s " + group, 1
        if group in model.groups:
            at = near()
            model.groups[group] = (at, model.groups[group][1])
            return "XGROUP SETID s %s %s" % (group, shown(at)), b"OK"
        model.groups[group] = ((0, 0), set())
        return "XGROUP CREATE s %s 0" % group, b"OK"

    def test_generated_histories_are_as_the_model_has_them(self):
        end, seed = time.time() + SECONDS, SEED
        while time.time() < end:
            r, model = random.Random(seed), Model()
            self.do("DEL s")
            self.do("XGROUP CREATE s g 0 MKSTREAM")
            model.groups["g"] = ((0, 0), set())
            said = []
            for _ in range(120):
                within = r.random() < 0.1
                line, expected = self.step(r, model)
                said.append(line)
                if within:
                    self.do("MULTI")
                    self.do(line)
                    answer = self.do("EXEC")[0]
                else:
                    answer = self.do(line)
                told = "seed %d: %s" % (seed, "; ".join(said))
                if not line.startswith("XREADGROUP"):
                    self.assertEqual(answer, expected, told)
                self.assertEqual(self.state("s", model.groups), self.expected(model), told)
            seed += 1

    def refused(self, text, *words):
        with self.assertRaisesRegex(Exception, text):
            self.do(*words)

    def test_errors_are_redis_own(self):
        self.do("XADD s 1-1 f v")
        self.do("RPUSH l x")
        for command in ("XDELEX %s", "XACKDEL %s g"):
            self.refused("WRONGTYPE", command % "l", "IDS 1 x")
            self.refused("wrong number of arguments", command % "s", "IDS 1")
            self.refused("syntax error", command % "s", "KEEPREF DELREF IDS 1 1-1")
            self.refused("syntax error", command % "s", "KEEPREF KEEPREF IDS 1 1-1")
            self.refused("syntax error", command % "s", "IDS 1 1-1 2-1")
            self.refused("syntax error", command % "s", "IDS 1 1-1 IDS")
            self.refused("Number of IDs must be a positive integer", command % "s", "IDS 0 1-1")
            self.refused("Number of IDs must be a positive integer", command % "s", "IDS x 1-1")
            self.refused("The `numids` parameter must match the number of arguments", command % "s", "IDS 2 1-1")
            self.assertEqual(self.do(command % "absent", "IDS 2 1-1 x"), [-1, -1])
        self.refused("Invalid stream ID", "XDELEX s IDS 1 x")
        self.assertEqual(self.do("XACKDEL s g IDS 1 x"), [-1])
        self.do("XGROUP CREATE s g 0")
        self.refused("Invalid stream ID", "XACKDEL s g IDS 1 x")
        self.refused("syntax error", "XTRIM s MAXLEN 1 ACKED DELREF")
        self.refused("Invalid stream ID", "XADD s ACKED DELREF 5-1 f v")
        self.assertEqual(self.state("s", ["g"]), (["1-1"], {"g": []}))

    def test_what_goes_is_told_and_lasts(self):
        listener = self.server.redis().pubsub()
        self.r.execute_command("CONFIG", "SET", "notify-keyspace-events", "Et")
        listener.psubscribe("__keyevent@0__:*")
        listener.get_message(timeout=10)
        for line in ("XADD s 1-1 f v", "XADD s 2-1 f v", "XGROUP CREATE s g 0", "XREADGROUP GROUP g c COUNT 10 STREAMS s >",
                     "XDELEX s ACKED IDS 1 1-1", "XACKDEL s g ACKED IDS 1 1-1", "XDELEX s DELREF IDS 1 2-1"):
            self.do(line)
        self.do("PUBLISH __keyevent@0__:end x")
        names = []
        while not names or names[-1] != b"end":
            message = listener.get_message(timeout=10)
            names.append(message["channel"].rpartition(b":")[2])
        listener.close()
        self.assertEqual(names, [b"xadd", b"xadd", b"xgroup-create", b"xgroup-createconsumer", b"xdel", b"xdel", b"end"])
        self.assertEqual(self.state("s", ["g"]), ([], {"g": []}))
        self.r.execute_command("CONFIG", "SET", "notify-keyspace-events", "")

    def fill(self, n):
        for at in range(1, n + 1, 1000):
            p = self.r.pipeline(transaction=False)
            for i in range(at, min(at + 1000, n + 1)):
                p.execute_command("XADD", "s", "%d-1" % i, "f", "v")
            p.execute()

    def test_many_go_in_turns(self):
        n = 40_000
        self.fill(n)
        self.do("XGROUP CREATE s g 0")
        self.do("XREADGROUP GROUP g c COUNT %d STREAMS s >" % n)
        self.do("XACK s g", " ".join("%d-1" % i for i in range(1, n + 1, 2)))  # the odd ones
        self.assertEqual(self.do("XTRIM s MAXLEN 5000 ACKED"), n // 2)
        self.assertEqual(self.do("XTRIM s MAXLEN ~ 5000 ACKED"), 0)
        answer = self.do("XDELEX s ACKED IDS %d" % n, " ".join("%d-1" % i for i in range(1, n + 1)))
        self.assertEqual(answer, [-1, 2] * (n // 2))
        answer = self.do("XACKDEL s g IDS %d" % n, " ".join("%d-1" % i for i in range(1, n + 1)))
        self.assertEqual(answer, [-1, 1] * (n // 2))
        self.assertEqual(self.state("s", ["g"]), ([], {"g": []}))
        self.do("DEL s")
        self.fill(n)
        self.do("XGROUP CREATE s g 0")
        self.do("XREADGROUP GROUP g c COUNT %d STREAMS s >" % n)
        self.assertEqual(self.do("XADD s MAXLEN 10 DELREF %d-1 f v" % (n + 1)), b"%d-1" % (n + 1))
        self.assertEqual(self.do("XLEN s"), 10)
        self.assertEqual(self.do("XPENDING s g")[0], 9)
        self.assertEqual(self.do("XADD s MAXLEN 0 ACKED %d-1 f v" % (n + 2)), b"%d-1" % (n + 2))
        self.assertEqual(self.do("XLEN s"), 11)
        self.assertEqual(self.do("XTRIM s MAXLEN 0 DELREF"), 11)
        self.assertEqual(self.state("s", ["g"]), ([], {"g": []}))

    def test_a_transaction_that_looks_for_too_much_is_refused(self):
        """It has no turns: 50,000 entries of 1,000 groups held all others up for 0.6 s."""
        n, groups = 20_000, 100
        self.fill(n)
        for g in range(groups):
            self.do("XGROUP CREATE s g%d $" % g)
        ids = " ".join("%d-1" % i for i in range(1, n + 1))
        for line in ("XDELEX s ACKED IDS %d %s" % (n, ids), "XTRIM s MAXLEN 0 DELREF", "XADD s MAXLEN 0 DELREF * f v"):
            self.do("MULTI")
            self.do(line)
            answer, = self.do("EXEC")
            self.assertIn("too many entries to be removed at once within a transaction", str(answer))
        self.assertEqual(self.do("XLEN s"), n)
        self.assertEqual(self.do("XDELEX s ACKED IDS %d %s" % (n, ids)), [1] * n)


if __name__ == "__main__":
    unittest.main()
