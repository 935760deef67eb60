"""Generated streams of commands, of several clients in both protocols, are answered as redis-server answers them; messages
and what is left are compared too. What may differ, and why, is in differences.py. A stream that differs is made as small
as it can be, and printed with its seed.

CAIRN_WIRE_COMMANDS says how many commands are compared at the least, CAIRN_WIRE_SECONDS for how long to go on beyond that,
CAIRN_WIRE_SEED where to begin. With --coverage it prints which rows were answered how, and with --all it goes on after a
difference and prints each kind once."""
import os
import re
import resource
import sys
import time
import unittest

from differ import SUBSCRIBES, Client, Covered, Difference, Run, Smaller, shown_stream, waits_for_ever
from harness import SANITIZED, Server
from streams import UNSTABLE, Rows, Scenes
from test_resp import Peer

COMMANDS = int(os.environ.get("CAIRN_WIRE_COMMANDS", "20000" if SANITIZED else "300000"))
SECONDS = float(os.environ.get("CAIRN_WIRE_SECONDS", "0"))
SEED = int(os.environ.get("CAIRN_WIRE_SEED", "1"))
COVERAGE, ALL = "--coverage" in sys.argv, "--all" in sys.argv
STEPS = 1000  # of a stream
UNSTEADY_MAX = 2
PASSED_OVER_MAX = 0.02  # of all commands

# Rows that streams cannot say with random words: the whole server heeds them, or one of the clients goes. Some are said
# in scenes.
NEVER = set("""shutdown debug failover replicaof slaveof psync sync replconf monitor quit client|reply client|kill client|pause client|unpause
acl|deluser acl|setuser acl|load acl|save acl|log config|set config|rewrite migrate save bgsave
bgrewriteaof script|debug subscribe psubscribe ssubscribe unsubscribe punsubscribe sunsubscribe multi exec discard watch
client|tracking client|caching""".split())
# Of these chance says something, but the form can be compared.
LOOSE = set("""ttl pttl randomkey hrandfield srandmember zrandmember spop time lastsave client|id memory|usage
object|refcount dump role slowlog|len command|count auth object|encoding object|freq object|idletime client|info client|list
client|no-evict slowlog|get slowlog|reset memory|doctor memory|stats memory|purge memory|malloc-stats latency|doctor latency|graph
latency|histogram latency|history latency|latest latency|reset lolwut function|dump function|kill script|kill config|get config|resetstat info
command command|docs command|info command|list asking restore-asking pfselftest client|help config|help command|help function|help latency|help
memory|help module|help object|help pubsub|help script|help slowlog|help xgroup|help xinfo|help""".split())


# What MONITOR is compared with; without what scripts may not say there, or answer otherwise.
MONITORED = set("get set append incr del mset lpush lrange rpop sadd smembers zadd zrange hset hgetall expire type exists ping echo".split())
MONITORED_OTHERWISE = SUBSCRIBES | {b"SELECT", b"CLIENT", b"CONFIG", b"MIGRATE", b"AUTH", b"HELLO", b"FAILOVER", b"REPLICAOF", b"SLAVEOF", b"DEBUG", b"REPLCONF"}


class AsRedis(unittest.TestCase):
    server_args = ()

    @classmethod
    def setUpClass(cls):
        cls.server = Server(credentials=False, args=cls.server_args)
        cls.addClassCleanup(lambda: cls.server.remove())
        cls.start_peer()
        cls.addClassCleanup(lambda: cls.peer.stop())

    @classmethod
    def start_peer(cls):
        """With bounds: what a stream asks of it by mistake must not take the machine."""
        cls.peer = Peer()
        resource.prlimit(cls.peer.process.pid, resource.RLIMIT_AS, (4 << 30, 4 << 30))

    def ports(self):
        """Of both servers, started again if one is gone."""
        if self.server.process.poll() is not None:
            print("Cairn ended: " + open(self.server.log.name, errors="replace").read()[-2000:])
            self.server.start()
        if self.peer.process.poll() is not None:
            self.start_peer()
        return self.server.resp, self.peer.port

    def difference(self, steps, covered):
        try:
            Run(self.ports(), steps, covered).go()
            return None
        except Difference as d:
            return d

    def report(self, seed, steps, d, rows):
        """As it is to be read."""
        small, again = Smaller(lambda s: self.difference(s, Covered(rows)), 30 if ALL else 120).shrink(steps, d)
        last = again or d
        text = "seed %d, step %d of %d%s\n%s\n  Cairn: %s\n  Redis: %s" % (
            seed, d.step, len(steps), "" if again else " (it did not happen again: these are the last steps)",
            shown_stream(small if again else small[-12:]), repr(last.ours)[:600], repr(last.theirs)[:600])
        return text + ("" if last.words == small[-1][1] else "\n  to: %r" % [w[:60] for w in last.words]), again is not None

    def make_steps(self, seed, told, names, refused):
        return Scenes(seed, told, names, refused).steps(STEPS)

    def test_streams_are_answered_as_redis_answers_them(self):
        ours, theirs = (Client(port) for port in self.ports())
        told = [Rows(c.ask(b"COMMAND")) for c in (ours, theirs)]
        for c in (ours, theirs):
            c.close()
        rows = told[0].rows
        # Users have a comparison of their own, test_acl.py.
        both = [n for n in rows if n in told[1].rows and n.split("|")[0] != "acl"]
        names = [n for n in both if n not in NEVER and (n not in UNSTABLE or n in LOOSE)]
        refused = [n for n in both if n not in ("shutdown", "debug")]
        self.assertGreater(len(names), 150)
        covered, seed, begun, known, unsteady = Covered(rows), SEED, time.monotonic(), set(), 0
        while covered.commands < COMMANDS or time.monotonic() < begun + SECONDS:
            steps = self.make_steps(seed, told[0], names, refused)
            try:
                Run(self.ports(), steps, covered).go()
            except Difference as d:
                if not ALL or d.kin() not in known:
                    text, again = self.report(seed, steps, d, rows)
                    unsteady += not again
                    # What does not come again rests on moments (of expiry, above all): a few may be.
                    if not ALL and (again or unsteady > UNSTEADY_MAX):
                        self.fail(text)
                    known.add(d.kin())
                    print(text, flush=True)
            seed += 1
        print("as redis-server: seeds %d to %d, %d commands and %d messages compared in %d s, but for %d commands; data parted %d times" % (
            SEED, seed - 1, covered.commands, covered.messages, time.monotonic() - begun, covered.passed_over, covered.partings))
        if COVERAGE:
            covered.print(both)
        self.assertLess(covered.passed_over, covered.commands * PASSED_OVER_MAX)

    def test_monitor_shows_what_redis_shows(self):
        told = []
        for port in self.ports():
            client, monitor = Client(port), Client(port)
            monitor.listens = True
            client.ask(b"FLUSHALL"), client.ask(b"FUNCTION", b"FLUSH"), client.ask(b"SCRIPT", b"FLUSH")
            rows = Rows(client.ask(b"COMMAND")) if not told else rows
            names = [n for n in rows.rows if n in MONITORED]
            monitor.ask(b"MONITOR")
            for seed in range(SEED, SEED + 3):
                for who, words in Scenes(seed, rows, names, ["get"]).steps(STEPS):
                    # A long word is shown by its length here, and an EXEC that is refused for its arity is shown there.
                    if who == 0 and max(map(len, words)) < 1000 and words != [b"EXEC", b"x"] and not waits_for_ever(words) and words[0].upper().split(b"|")[0] not in MONITORED_OTHERWISE:
                        client.ask(*words)
                client.ask(b"DISCARD"), client.ask(b"RESET"), client.ask(b"SELECT", b"0")
            client.ask(b"ECHO", b"<end>")
            lines = []
            while not lines or b"<end>" not in lines[-1]:
                lines.append(monitor.answers(1)[0][0])
            told.append([re.sub(rb"^\+[0-9]+\.[0-9]{6} \[([0-9]+) [^]]+:[0-9]+\]", rb"[\1 client]", re.sub(rb"^\+[0-9]+\.[0-9]{6} \[([0-9]+) lua\]", rb"[\1 lua]", l)) for l in lines])
            client.close(), monitor.close()
        for at, (x, y) in enumerate(zip(*told)):
            self.assertEqual(x[:300], y[:300], told[0][max(0, at - 4):at])
        self.assertEqual(len(told[0]), len(told[1]))


if __name__ == "__main__":
    unittest.main(argv=[a for a in sys.argv if a not in ("--coverage", "--all")])
