"""Publish and subscribe: word for word as redis-server does it, over generated histories of a few clients in both
protocols; and what only many, slow or vanishing clients show. CAIRN_PUBSUB_SECONDS says how long the histories go
on, CAIRN_PUBSUB_SEED where they begin."""
import os
import random
import re
import socket
import threading
import time
import unittest

import redis

from harness import PASSWORD, Case, command, resident, run_histories, wait_until
from test_resp import Both, Peer
from test_wire import Answers, parsed

SECONDS = float(os.environ.get("CAIRN_PUBSUB_SECONDS", "20"))
SEED = int(os.environ.get("CAIRN_PUBSUB_SEED", "1"))
MIB = 1 << 20
MESSAGES = (b"message", b"pmessage", b"smessage")


class Client(Answers):
    """Reads pushes as it reads arrays; a history's state of the client beside."""
    multi = silent = False

    def whole(self, at):
        while len(self.buffer) <= at:
            self.fill(at + 1)
        if self.buffer[at:at + 1] != b">":
            return super().whole(at)
        self.buffer = self.buffer[:at] + b"*" + self.buffer[at + 1:]
        end = super().whole(at)
        self.buffer = self.buffer[:at] + b">" + self.buffer[at + 1:]
        return end

    def value(self):
        """The next, and whether it was a push."""
        text = self.next()
        return parsed(text.replace(b">", b"*", 1) if text[:1] == b">" else text.replace(b"\r\n>", b"\r\n*"))

    def until(self, fence, answers):
        """What came, messages apart: until the fence's answer, or in a transaction so many answers."""
        got, messages = [], []
        while True:
            v = self.value()
            if isinstance(v, list) and v and v[0] in MESSAGES:
                messages.append(v)
                continue
            got.append(v)
            if len(got) == answers if self.multi else isinstance(v, list) and v[:2] == [b"punsubscribe", fence]:
                return got, messages


class Histories(Both):
    """The same commands to both servers; what each client got is compared. Three things may differ. A message that a
    client publishes to itself comes to it from redis-server 7.0 before the answer to PUBLISH, and in the midst of
    that of EXEC, from later versions and from Cairn behind them. And what is found in a table comes in its order.
    No pattern of redis-server's matches a channel without a name, not even *: nothing is published to it, nor is it listed."""

    @staticmethod
    def words(r, multi):
        name = lambda: r.choice([b"", b"a", b"b", b"ab", b"abc", b"x" * r.choice([100, 3000]), b"\x00\xff\r\n"])
        pattern = lambda: r.choice([b"*", b"a*", b"?", b"[ab]*", b"", b"ab", b"\\a", b"x*x", b"[^a]"])
        some = lambda f: [f() for _ in range(r.choice([1, 1, 1, 2, 3]))]
        message = lambda: r.choice([b"", b"m%d" % r.randrange(1000), b"y" * r.choice([1000, 70000]), b"\r\n$3\r\n"])
        everywhere = [
            lambda: [b"SUBSCRIBE"] + some(name), lambda: [b"SUBSCRIBE"] + some(name), lambda: [b"SUBSCRIBE"],
            lambda: [b"PSUBSCRIBE"] + some(pattern), lambda: [b"SSUBSCRIBE"] + some(name),
            lambda: [b"UNSUBSCRIBE"] + some(name), lambda: [b"PUNSUBSCRIBE"] + some(pattern),
            lambda: [b"SUNSUBSCRIBE"] + some(name), lambda: [b"PUBLISH", name()],
            lambda: [b"PUBSUB", b"NUMSUB"] + some(name), lambda: [b"PUBSUB", b"NUMPAT"],
            lambda: [b"PUBSUB", b"SHARDNUMSUB"] + some(name), lambda: [b"PUBSUB", r.choice([b"FOO", b"NUMSUB"])],
            lambda: [b"PUBSUB", b"CHANNELS", b"a", b"b"], lambda: [b"GET", b"k"], lambda: [b"PING"],
            lambda: [b"PING", b"x"], lambda: [b"PING", b"x", b"y"], lambda: [b"ECHO", b"e"], lambda: [b"MULTI"],
            lambda: [b"EXEC"], lambda: [b"DISCARD"], lambda: [b"HELLO", r.choice([b"2", b"3"])], lambda: [b"RESET"]]
        alone = [
            lambda: [b"UNSUBSCRIBE"], lambda: [b"PUNSUBSCRIBE"], lambda: [b"SUNSUBSCRIBE"], lambda: [b"NOSUCH"],
            lambda: [b"SPUBLISH", name(), message()], lambda: [b"PUBSUB", b"CHANNELS"] + r.choice([[], [pattern()]]),
            lambda: [b"PUBSUB", b"SHARDCHANNELS"],
            lambda: [b"CLIENT", b"REPLY", r.choice([b"ON", b"ON", b"OFF", b"SKIP"])]
        ] + [lambda: [b"PUBLISH", name() or b"none", message()]] * 6
        return r.choice(everywhere if multi else everywhere + alone)()

    @staticmethod
    def step(clients, who, words, fence):
        c = clients[who]
        c.socket.sendall(command(*words))
        queued = c.multi and words[0] not in (b"EXEC", b"DISCARD", b"RESET")
        if words == [b"MULTI"] and not c.multi:
            c.socket.sendall(command(b"PUNSUBSCRIBE", fence))
            first = c.value()
            while isinstance(first, list) and first and first[0] in MESSAGES:
                first = c.value()
            c.multi = first == b"+OK"
            out = {who: c.until(fence, 1)}
            out[who][0].insert(0, first)
        else:
            c.multi = queued
            c.socket.sendall(command(b"PUNSUBSCRIBE", fence))
            out = {who: c.until(fence, 2)}
        for i, other in enumerate(clients):
            if i != who:
                other.socket.sendall(command(b"PUNSUBSCRIBE", fence))
                out[i] = other.until(fence, 1)
        return out

    @staticmethod
    def comparable(words, answers):
        def plain(v):
            if not isinstance(v, list):
                return v
            return v[4:6] if v[:2] == [b"server", b"redis"] else [plain(x) for x in v]
        answers = [plain(v) for v in answers]
        if words[0][-11:] in (b"UNSUBSCRIBE",) and len(words) == 1:
            told = [v for v in answers if isinstance(v, list)]
            return sorted(v[:2] for v in told if v[1]), [v[2] for v in told], [v for v in answers if v not in told]
        if words[:2] in ([b"PUBSUB", b"CHANNELS"], [b"PUBSUB", b"SHARDCHANNELS"]):
            return [sorted(x for x in v if x) if isinstance(v, list) else v for v in answers]
        return answers

    def history(self, seed, steps=150):
        r = random.Random(seed)
        n = r.choice([2, 3])
        watches = [Client(port) for port in (self.server.resp, self.peer.port)]
        connected = lambda: [int(re.search(rb"connected_clients:(\d+)", w.ask(b"INFO", b"clients"))[1]) for w in watches]
        before = connected()
        sides = [[Client(port) for _ in range(n)] for port in (self.server.resp, self.peer.port)]
        messages = [[[] for _ in range(n)] for _ in sides]
        said = []
        try:
            for i in range(n):
                if r.random() < 0.6:
                    for side in sides:
                        side[i].ask(b"HELLO", b"3")
            for at in range(steps):
                who = r.randrange(n)
                words = self.words(r, sides[0][who].multi)
                said.append((who, [w[:30] for w in words]))
                speaker = sides[0][who]
                if words == [b"MULTI"] and speaker.silent:
                    continue  # answers are what tells of a transaction
                got = [self.step(side, who, words, b"fence%d" % at) for side in sides]
                if words[:2] == [b"CLIENT", b"REPLY"] and not speaker.multi:
                    speaker.silent = b"+OK" not in got[0][who][0]
                speaker.silent &= words != [b"RESET"]
                for i in range(n):
                    x, y = (self.comparable(words if i == who else [b""], g[i][0]) for g in got)
                    self.assertEqual(x, y, "seed %d step %d client %d: %r" % (seed, at, i, said[-15:]))
                    for side, g in zip(messages, got):
                        side[i] += g[i][1]
                    if not sides[0][i].multi:  # else one may come behind its fence
                        x, y = (sorted(m[i]) for m in messages)
                        self.assertEqual(x, y, "seed %d step %d client %d: %r" % (seed, at, i, said[-15:]))
                        for m in messages:
                            m[i].clear()
        finally:
            for c in sum(sides, []):
                c.close()
            self.assertTrue(wait_until(lambda: all(a <= b for a, b in zip(connected(), before))))  # who listened is gone
            for w in watches:
                w.close()

    def test_histories_of_a_few_clients_are_those_of_redis(self):
        run_histories(self.history, SEED, SECONDS)

    def both(self, *steps, resp=2):
        """Bytes, of one client each."""
        out = []
        for port in (self.server.resp, self.peer.port):
            c = Client(port)
            if resp == 3:
                c.ask(b"HELLO", b"3")
            text = b""
            for words in steps:
                c.socket.sendall(command(*words.encode().split()))
            c.socket.sendall(command(b"ECHO", b"the end") + command(b"PUNSUBSCRIBE", b"the end"))
            while b"the end\r\n:" not in text:
                text += c.socket.recv(1 << 16)
            c.close()
            out.append(text)
        return out

    def test_bytes_are_those_of_redis(self):
        for resp in (2, 3):
            for steps in (
                    ["MULTI", "SUBSCRIBE a b", "PSUBSCRIBE c*", "PING", "UNSUBSCRIBE a", "SSUBSCRIBE s", "GET k", "EXEC"],
                    ["SUBSCRIBE a", "GET k", "SET k v", "CLIENT GETNAME", "MULTI", "EXEC", "HELLO 4", "PING", "PING x", "NOSUCH",
                     "GET", "RESET", "GET k"],
                    ["SUBSCRIBE", "PUBLISH a", "SPUBLISH a", "PUBSUB", "PUBSUB FOO", "PUBSUB NUMPAT x", "PUBSUB CHANNELS a b",
                     "PUBSUB NUMSUB", "PUBSUB NUMSUB a b", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE x y"],
                    ["CLIENT REPLY OFF", "SUBSCRIBE a", "MULTI", "GET k", "SUBSCRIBE b", "EXEC", "UNSUBSCRIBE b"],
                    ["CLIENT REPLY SKIP", "SUBSCRIBE a", "PING", "CLIENT REPLY SKIP", "PING", "UNSUBSCRIBE a"],
                    ["SSUBSCRIBE a", "SUBSCRIBE a", "SUNSUBSCRIBE a", "PING", "UNSUBSCRIBE a", "PING", "SUNSUBSCRIBE"]):
                x, y = self.both(*steps, resp=resp)
                self.assertEqual(x, y, (resp, steps))

    def test_clients_are_listed_and_killed_by_their_class(self):
        for port in (self.server.resp, self.peer.port):
            a, b = Client(port), Client(port)
            a.ask(b"SUBSCRIBE", b"x")
            a.ask(b"PSUBSCRIBE", b"y*")
            a.ask(b"SSUBSCRIBE", b"z")
            listed = lambda t: parsed(b.ask(b"CLIENT", b"LIST", b"TYPE", t)).decode().splitlines()
            self.assertEqual(len(listed(b"pubsub")), 1)
            for field in ("flags=P", "sub=1", "psub=1", "ssub=1"):
                self.assertIn(field, listed(b"pubsub")[0].split())
            self.assertTrue(all("flags=P " not in line for line in listed(b"normal")))
            info = parsed(b.ask(b"INFO", b"stats")).decode().split()
            for field in ("pubsub_channels:1", "pubsub_patterns:1", "pubsubshard_channels:1"):
                self.assertIn(field, info)
            self.assertEqual(b.ask(b"CLIENT", b"KILL", b"TYPE", b"pubsub"), b":1\r\n")
            with self.assertRaises((EOFError, OSError)):
                a.next()
            self.assertTrue(wait_until(lambda: b.ask(b"PUBSUB", b"NUMSUB", b"x") == b"*2\r\n$1\r\nx\r\n:0\r\n"))
            b.ask(b"HELLO", b"3")
            b.ask(b"SUBSCRIBE", b"x")
            self.assertEqual(b.ask(b"CLIENT", b"KILL", b"TYPE", b"pubsub", b"SKIPME", b"no"), b":1\r\n")
            with self.assertRaises((EOFError, OSError)):
                b.next()


class Many(Case):
    def test_a_client_without_a_password_may_not(self):
        c = Client(self.server.resp)
        for words in ((b"SUBSCRIBE", b"a"), (b"PUBLISH", b"a", b"b"), (b"PUBSUB", b"CHANNELS"), (b"UNSUBSCRIBE",)):
            self.assertEqual(c.ask(*words), b"-NOAUTH Authentication required.\r\n")
        c.close()

    def test_redis_py_with_threads(self):
        r, got, lock = self.server.redis(), [], threading.Lock()

        def note(message):
            with lock:
                got.append((message["type"], message["channel"], message["data"]))
        listeners = []
        for _ in range(4):
            p = r.pubsub()
            p.subscribe(news=note)
            p.psubscribe(**{"new*": note})
            listeners.append((p, p.run_in_thread(sleep_time=0.01, daemon=True)))
        self.assertTrue(wait_until(lambda: r.pubsub_numsub("news") == [(b"news", 4)] and r.pubsub_numpat() == 1))
        for i in range(100):
            self.assertEqual(r.publish("news", "m%d" % i), 8)
        self.assertTrue(wait_until(lambda: len(got) == 800))
        for _, thread in listeners:
            thread.stop()
            thread.join()
        self.assertTrue(wait_until(lambda: r.pubsub_channels() == []))
        r.close()

    def test_a_thousand_subscribers_get_each_message_in_order(self):
        n, messages = 1000, 200
        clients = [Client(self.server.resp, PASSWORD) for _ in range(n)]
        for i, c in enumerate(clients):
            if i % 2:
                c.ask(b"HELLO", b"3")
            c.ask(b"SUBSCRIBE", b"all")
        publisher = Client(self.server.resp, PASSWORD)
        publisher.socket.sendall(b"".join(command(b"PUBLISH", b"all", b"%d" % i) for i in range(messages)))
        for _ in range(messages):
            self.assertEqual(publisher.next(), b":%d\r\n" % n)
        for i, c in enumerate(clients):
            want = b"".join(b"%s3\r\n$7\r\nmessage\r\n$3\r\nall\r\n$%d\r\n%d\r\n" % (
                b">" if i % 2 else b"*", len(str(k)), k) for k in range(messages))
            c.fill(len(want))
            self.assertTrue(c.buffer == want)
            c.close()
        self.assertTrue(wait_until(lambda: publisher.ask(b"PUBSUB", b"CHANNELS") == b"*0\r\n"))
        publisher.close()

    def test_nothing_comes_amidst_a_message(self):
        """Each in several copies, more than is sent in one turn, while the listener asks for answers all the time."""
        r, patterns = random.Random(SEED), 5
        listener, publisher = (Client(self.server.resp, PASSWORD) for _ in range(2))
        listener.ask(b"HELLO", b"3")
        for i in range(patterns):
            listener.ask(b"PSUBSCRIBE", b"a" + b"*" * (i + 1))
        sizes = [r.choice([10, 16_000, 60_000, 70_000, 300_000]) + r.randrange(100) for _ in range(300)]
        answered, ended, under_way = 0, threading.Event(), threading.Semaphore(8)  # what is unread has its limit

        def publish():
            for i, size in enumerate(sizes):
                under_way.acquire()
                publisher.ask(b"PUBLISH", b"a", b"%d:" % i + b"y" * size)
            ended.set()
        thread = threading.Thread(target=publish)
        thread.start()
        left = [patterns] * len(sizes)
        while not ended.is_set() or sum(left) > 0:
            listener.socket.sendall(command(b"ECHO", b"%d" % answered))
            while (value := listener.value()) != b"%d" % answered:
                self.assertEqual((value[0], value[2]), (b"pmessage", b"a"))
                i, text = value[3].split(b":")
                self.assertTrue(text == b"y" * sizes[int(i)])
                left[int(i)] -= 1
                if left[int(i)] == 0:
                    under_way.release()
            answered += 1
        thread.join()
        self.assertEqual(set(left), {0})
        for c in (listener, publisher):
            c.close()

    def test_who_does_not_read_goes_and_memory_stays_bounded(self):
        r = self.server.redis()
        r.config_set("client-output-buffer-limit", "pubsub 2mb 0 0")
        slow = [Client(self.server.resp, PASSWORD) for _ in range(50)]
        quick = Client(self.server.resp, PASSWORD)
        for c in slow + [quick]:
            if c is not quick:
                c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            c.ask(b"SUBSCRIBE", b"flood")
        before = resident(self.server)
        sent = 0
        while r.pubsub_numsub("flood")[0][1] > 1 and sent < 20000:
            r.publish("flood", b"%d:" % sent + b"x" * 20000)
            message = parsed(quick.next())
            self.assertEqual(message[2][:message[2].index(b":")], b"%d" % sent)
            sent += 1
        self.assertEqual(r.pubsub_numsub("flood"), [(b"flood", 1)])
        self.assertLess(resident(self.server) - before, 40 * MIB)  # one copy for all of the fifty
        self.assertGreaterEqual(r.info("stats")["client_output_buffer_limit_disconnections"], 50)
        r.config_set("client-output-buffer-limit", "pubsub 32mb 8mb 60")
        for c in slow + [quick]:
            c.close()
        r.close()

    def test_what_listeners_hold_counts_with_what_clients_hold(self):
        r = self.server.redis()
        r.config_set("maxmemory-clients", "8mb")
        hoarder = Client(self.server.resp, PASSWORD)
        with self.assertRaises((EOFError, OSError)):  # names
            for i in range(0, 1_000_000, 1000):
                hoarder.socket.sendall(command(b"SUBSCRIBE", *(b"c%d" % k for k in range(i, i + 1000))))
                for _ in range(1000):
                    hoarder.next()
        slow = Client(self.server.resp, PASSWORD)
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.ask(b"SUBSCRIBE", b"flood")

        def gone():  # messages
            r.publish("flood", b"x" * 50000)
            return r.pubsub_numsub("flood") == [(b"flood", 0)]
        self.assertTrue(wait_until(gone))
        self.assertGreaterEqual(r.info("stats")["evicted_clients"], 2)
        r.config_set("maxmemory-clients", "25%")
        self.assertTrue(wait_until(lambda: r.pubsub_channels() == []))
        r.close()

    def test_many_names_end_in_parts(self):
        n = 50_000
        c, other = Client(self.server.resp, PASSWORD), self.server.redis()
        for end in (b"UNSUBSCRIBE", b"RESET", b"close"):
            names = [b"many%d" % i for i in range(n)]
            c.socket.sendall(command(b"SUBSCRIBE", *names))
            for i in range(n):
                self.assertEqual(c.next(), b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%s\r\n:%d\r\n" % (len(names[i]), names[i], i + 1))
            self.assertEqual(len(other.pubsub_channels("many*")), n)
            if end == b"UNSUBSCRIBE":
                c.socket.sendall(command(b"UNSUBSCRIBE") + command(b"GET", b"k"))
                ended = set()
                for i in range(n):
                    what, name, left = parsed(c.next())
                    self.assertEqual((what, left), (b"unsubscribe", b":%d" % (n - 1 - i)))
                    ended.add(name)
                self.assertEqual(ended, set(names))
                self.assertEqual(c.next(), b"$-1\r\n")
            elif end == b"RESET":
                self.assertEqual(c.ask(b"RESET"), b"+RESET\r\n")
                self.assertEqual(other.pubsub_numsub("many1"), [(b"many1", 0)])
                c.ask(b"AUTH", PASSWORD.encode())
            else:
                c.close()
            self.assertTrue(wait_until(lambda: other.pubsub_channels() == []))
        other.close()

    def test_messages_of_any_size(self):
        c, r = Client(self.server.resp, PASSWORD), self.server.redis()
        c.ask(b"SUBSCRIBE", b"large")
        for size in (65535, 65536, 65537, 1 << 20, 20 << 20):
            data = os.urandom(1 << 16) * (size // 65536) + b"z" * (size % 65536)
            self.assertEqual(r.publish("large", data), 1)
            self.assertTrue(parsed(c.next()) == [b"message", b"large", data])
        name = b"n" * 100_000  # a name too
        c.ask(b"SUBSCRIBE", name)
        self.assertEqual(r.publish(name, "m"), 1)
        self.assertEqual(parsed(c.next()), [b"message", name, b"m"])
        c.close()
        r.close()

    def test_listeners_that_come_and_go_disturb_nobody(self):
        done, failures = threading.Event(), []

        def come_and_go(seed):
            rnd = random.Random(seed)
            while not done.is_set():
                try:
                    c = Client(self.server.resp, PASSWORD)
                    for _ in range(rnd.randrange(1, 5)):
                        c.socket.sendall(command(rnd.choice([b"SUBSCRIBE", b"PSUBSCRIBE", b"UNSUBSCRIBE"]), b"busy"))
                    if rnd.random() < 0.5:
                        c.value()
                    c.close()
                except Exception as e:
                    failures.append(e)

        def kill():
            r = self.server.redis()
            while not done.is_set():
                for client in r.client_list(_type="pubsub"):
                    if client["name"] != "stays" and int(client["id"]) % 3 == 0:
                        try:
                            r.client_kill_filter(_id=client["id"])
                        except redis.ResponseError as e:
                            failures.append(e)
            r.close()
        stays = Client(self.server.resp, PASSWORD)
        stays.ask(b"CLIENT", b"SETNAME", b"stays")
        stays.ask(b"SUBSCRIBE", b"busy")
        threads = [threading.Thread(target=come_and_go, args=(s,)) for s in range(2)] + [threading.Thread(target=kill)]
        for t in threads:
            t.start()
        publisher = Client(self.server.resp, PASSWORD)
        for i in range(3000):
            self.assertGreaterEqual(int(publisher.ask(b"PUBLISH", b"busy", b"%d" % i)[1:]), 1)
            self.assertEqual(parsed(stays.next()), [b"message", b"busy", b"%d" % i])
        done.set()
        for t in threads:
            t.join()
        self.assertEqual([f for f in failures if not isinstance(f, (EOFError, OSError))], [])
        self.assertTrue(wait_until(lambda: publisher.ask(b"PUBSUB", b"NUMSUB", b"busy").endswith(b":1\r\n")))
        stays.close()
        publisher.close()

    def test_a_pong_comes_behind_what_was_published_before_the_ping(self):
        c, p = Client(self.server.resp, PASSWORD), Client(self.server.resp, PASSWORD)
        c.ask(b"SUBSCRIBE", b"on")
        for i in range(6000):
            p.ask(b"PUBLISH", b"on", b"%d" % i)
            c.socket.sendall(command(b"PING"))
            self.assertEqual([parsed(c.next())[0] for _ in range(2)], [b"message", b"pong"], i)
        p.close()
        c.close()

    def test_a_key_is_missed_as_often_as_it_is_looked_for(self):
        """As redis-server tells it, of many keys at once, too."""
        peer = Peer()
        try:
            ends = [Client(self.server.resp, PASSWORD), Client(peer.port)]
            listeners = [Client(self.server.resp, PASSWORD), Client(peer.port)]
            for end, listener in zip(ends, listeners):
                end.ask(b"CONFIG", b"SET", b"notify-keyspace-events", b"Em")
                listener.ask(b"SUBSCRIBE", b"__keyevent@0__:keymiss", b"end")
                listener.next()
                for at in range(0, 150_000, 10_000):  # so many that SUNION goes on without its locks
                    end.ask(b"SADD", b"S", *(b"member %d" % i for i in range(at, at + 10_000)))
            many = b" ".join(b"none%d" % i for i in range(60_000))
            for line in (b"GET n", b"MGET a a b a", b"EXISTS a a", b"SUNION a a", b"SUNION S n n", b"GETEX n", b"GETDEL n", b"GETSET n v",
                         b"BITOP OR d a a", b"BITOP XOR d n a n a a", b"DEL n", b"SET n v", b"DEL n", b"SET n v GET", b"DEL n", b"PFCOUNT n", b"PFCOUNT a b", b"PFMERGE d a", b"DEL d",
                         b"XREAD STREAMS a b 0 0", b"XREAD STREAMS a $", b"WATCH a b", b"UNWATCH", b"OBJECT ENCODING n", b"TYPE n", b"TTL n",
                         b"APPEND n x", b"DEL n", b"XACK n g 1", b"XCLAIM n g c 0 1-1", b"XAUTOCLAIM n g c 0 0", b"TOUCH n n",
                         b"XREADGROUP GROUP g c STREAMS a b > >", b"XTRIM n MAXLEN 1", b"LPOP n", b"EXPIRE n 1", b"MGET " + many):
                told = []
                for end, listener in zip(ends, listeners):
                    answer = end.ask(*line.split())
                    end.ask(b"PUBLISH", b"end", b"")
                    told.append([])
                    while True:
                        message = parsed(listener.next())
                        if message[1] == b"end":
                            break
                        told[-1].append(message[2])
                self.assertEqual(told[0], told[1], (line[:60], answer[:60]))
            for c in ends + listeners:
                c.close()
        finally:
            peer.stop()

    def test_messages_of_a_channel_come_before_the_word_that_it_ended(self):
        """Whatever is on its way when it is ended."""
        done = threading.Event()

        def publish():
            p = Client(self.server.resp, PASSWORD)
            while not done.is_set():
                p.socket.sendall(b"".join(command(b"PUBLISH", b"on", b"m" * 100) for _ in range(50)))
                for _ in range(50):
                    p.next()
            p.close()
        thread = threading.Thread(target=publish)
        thread.start()
        c = Client(self.server.resp, PASSWORD)
        seen = 0
        for _ in range(300):
            c.socket.sendall(command(b"SUBSCRIBE", b"on") + command(b"UNSUBSCRIBE", b"on"))
            state = b"unsubscribe"
            while True:
                what = parsed(c.next())[0]
                if what == b"message":
                    self.assertEqual(state, b"subscribe")
                    seen += 1
                    continue
                state = what
                if what == b"unsubscribe":
                    break
        done.set()
        thread.join()
        c.close()


if __name__ == "__main__":
    unittest.main()
