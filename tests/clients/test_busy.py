"""Scripts that take long: everybody else goes on, who needs their keys waits and is told BUSY in the end, and what
they do is there as a whole or not at all. Most of it on one I/O thread, where anything that waits with the thread
would be seen at once."""
import random
import signal
import socket
import threading
import time
import unittest

import grpc
import redis

from harness import PASSWORD, PATIENCE, Case, Grpc, Server, command, resident, wait_until

# For so many milliseconds; then it counts KEYS[1].
LONG = """local t = redis.call('TIME') local stop = t[1] * 1000 + t[2] / 1000 + ARGV[1]
repeat t = redis.call('TIME') until t[1] * 1000 + t[2] / 1000 >= stop
return redis.call('INCR', KEYS[1])"""
ENDLESS = "while true do redis.call('GET', KEYS[1]) end"
WRITES_FIRST = "redis.call('SET', KEYS[1], 'part') "


class Running:
    """A command that another client sends; its answer, or its error."""
    def __init__(self, server, *words):
        self.answer = None
        self.client = server.redis(socket_timeout=120)
        self.thread = threading.Thread(target=self.run, args=words)
        self.thread.start()

    def run(self, *words):
        begun = time.monotonic()
        try:
            self.answer = self.client.execute_command(*words)
        except redis.RedisError as e:
            self.answer = e
        self.seconds = time.monotonic() - begun

    def goes_on(self):
        return self.thread.is_alive()

    def end(self):
        self.thread.join(120)
        assert not self.goes_on()
        self.client.close()
        return self.answer


class Raw:
    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.resp), timeout=120)
        self.rest = b""
        self.say(b"AUTH", PASSWORD.encode())
        assert self.line() == b"+OK"

    def say(self, *words):
        self.socket.sendall(command(*words))

    def line(self):
        while b"\r\n" not in self.rest:
            part = self.socket.recv(1 << 16)
            if not part:
                raise EOFError
            self.rest += part
        line, _, self.rest = self.rest.partition(b"\r\n")
        return line

    def silent(self, seconds=0.2):
        """Whether nothing comes."""
        if self.rest:
            return False
        self.socket.settimeout(seconds)
        try:
            self.rest += self.socket.recv(1 << 16)
            return False
        except socket.timeout:
            return True
        finally:
            self.socket.settimeout(120)

    def close(self):
        self.socket.close()


class BusyCase(Case):
    server_args = dict(threads=1)

    def setUp(self):
        self.r = self.server.redis()
        self.r.flushall()
        self.r.function_flush()
        self.threshold(0)

    def tearDown(self):
        self.end_scripts()
        self.r.close()

    def threshold(self, ms):
        self.r.config_set("busy-reply-threshold", ms)

    def running(self):
        return self.r.execute_command("FUNCTION", "STATS")[1] is not None

    def begin(self, *words):
        """Until it has its keys, and has gone on beyond the thread of its client."""
        script = Running(self.server, *words)
        self.assertTrue(wait_until(self.running))
        time.sleep(0.1)
        return script

    def kill(self, kind="SCRIPT"):
        def killed():
            try:
                return self.r.execute_command(kind, "KILL") in (b"OK", True)
            except redis.ResponseError as e:
                self.assertIn("NOTBUSY", str(e))  # between its turn and its thread
                return False
        self.assertTrue(wait_until(killed))

    def end_scripts(self):
        if self.server.process.poll() is not None or not self.running():
            return
        for kind in ("SCRIPT", "FUNCTION"):
            try:
                self.r.execute_command(kind, "KILL")
            except redis.ResponseError:
                pass


class Busy(BusyCase):
    def others(self, script=None, seconds=0.0, key="other"):
        """How many commands a client gets done meanwhile, and the longest of them in seconds."""
        done, longest, end = 0, 0.0, time.monotonic() + seconds
        with self.server.redis() as r:
            while script.goes_on() if script else time.monotonic() < end:
                begun = time.monotonic()
                r.set(key, done)
                self.assertEqual(int(r.get(key)), done)
                longest = max(longest, time.monotonic() - begun)
                done += 2
        return done, longest

    def test_others_go_on_while_a_script_takes_five_seconds(self):
        alone, _ = self.others(seconds=2.5)
        script = self.begin("EVAL", LONG, 1, "n", 5000)
        beside, longest = self.others(script)
        self.assertEqual(script.end(), 1)
        print("\nalone %d in 2.5 s, beside a script %d in 5 s, the longest %.1f ms" % (alone, beside, longest * 1000))
        self.assertGreater(beside, alone / 4)  # of a machine that may have one processor for both

    def test_who_needs_its_keys_waits_in_order_and_others_do_not(self):
        script = self.begin("EVAL", WRITES_FIRST + "redis.call('SET', KEYS[1], 10) " + LONG, 1, "n", 1500)
        c = Raw(self.server)
        for words in ((b"SET", b"other", b"1"), (b"INCR", b"n"), (b"GET", b"other"), (b"INCR", b"n"), (b"PING",)):
            c.say(*words)
        self.assertEqual(c.line(), b"+OK")  # what was answered before it came to the busy key
        self.assertTrue(c.silent())
        self.assertTrue(script.goes_on())
        self.assertEqual(self.r.get("other"), b"1")
        self.assertEqual([c.line() for _ in range(5)], [b":12", b"$1", b"1", b":13", b"+PONG"])
        self.assertEqual(script.end(), 11)
        c.close()

    def test_many_who_need_its_keys_are_all_served(self):
        script = self.begin("EVAL", LONG, 1, "n", 1000)
        clients = [Raw(self.server) for _ in range(100)]
        for c in clients:
            c.say(b"INCR", b"n")
        self.assertEqual(self.r.set("other", 1), True)
        self.assertEqual(sorted(int(c.line()[1:]) for c in clients), list(range(2, 102)))
        self.assertEqual(script.end(), 1)
        for c in clients:
            c.close()

    def test_past_the_threshold_who_needs_its_keys_is_told(self):
        self.r.rpush("list", 1)
        self.threshold(300)
        script = self.begin("EVAL", ENDLESS, 1, "n")
        words = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
        for command_ in (("GET", "n"), ("SET", "n", 1), ("MGET", "other", "n"), ("WATCH", "n"), ("BLPOP", "n", 0), ("KEYS", "*"),
                         ("FLUSHALL",), ("RENAME", "list", "n"), ("LMOVE", "list", "n", "LEFT", "LEFT"), ("BLMOVE", "list", "n", "LEFT", "LEFT", 0),
                         ("EVAL", "return redis.call('GET', KEYS[1])", 1, "n"), ("EVAL", "return redis.call('GET', 'n')", 0),
                         ("COPY", "list", "n"), ("SORT", "list", "STORE", "n"), ("SHUTDOWN",)):
            with self.assertRaisesRegex(redis.ResponseError, words[5:40], msg=command_) as caught:
                self.r.execute_command(*command_)
            self.assertEqual(str(caught.exception).removeprefix("BUSY "), words.removeprefix("BUSY "))
        c = Raw(self.server)
        for command_ in ((b"MULTI",), (b"SET", b"other", b"x"), (b"INCR", b"n"), (b"EXEC",), (b"EXEC",)):
            c.say(*command_)
        self.assertEqual([c.line() for _ in range(5)],
                         [b"+OK", b"+QUEUED", b"+QUEUED", b"-EXECABORT Transaction discarded because of: " + words.encode(), b"-ERR EXEC without MULTI"])
        c.close()
        self.assertEqual(self.r.get("other"), None)
        self.assertEqual(self.r.lrange("list", 0, -1), [b"1"])
        self.assertTrue(script.goes_on())
        with self.assertRaisesRegex(redis.ResponseError, "busy running a script. You can only call SCRIPT KILL"):
            self.r.execute_command("FUNCTION", "KILL")
        self.assertIn(self.r.script_kill(), (True, b"OK"))
        self.assertRegex(str(script.end()), r"Script killed by user with SCRIPT KILL\.\.\. script: [0-9a-f]{40}, on @user_script:\d+\.")
        self.assertEqual(self.r.get("n"), None)

    def test_a_function_is_killed_by_its_own_command(self):
        self.r.function_load("#!lua name=l\nredis.register_function('endless', function(k) %s end)" % ENDLESS.replace("KEYS[1]", "k[1]"))
        self.threshold(100)
        script = self.begin("FCALL", "endless", 1, "n")
        with self.assertRaisesRegex(redis.ResponseError, "You can only call FUNCTION KILL or SHUTDOWN NOSAVE"):
            self.r.get("n")
        with self.assertRaisesRegex(redis.ResponseError, "You can only call FUNCTION KILL or SHUTDOWN NOSAVE"):
            self.r.script_kill()
        self.kill("FUNCTION")
        self.assertRegex(str(script.end()), r"killed by user with SCRIPT KILL\.\.\. script: endless, on @user_function:\d+\.")

    def test_what_has_written_is_not_killed_and_comes_to_its_end(self):
        script = self.begin("EVAL", WRITES_FIRST + "redis.call('SET', KEYS[1], 1) " + LONG, 1, "n", 1500)
        with self.assertRaisesRegex(redis.ResponseError, "UNKILLABLE"):
            self.r.script_kill()
        self.assertEqual(script.end(), 2)
        with self.assertRaisesRegex(redis.ResponseError, "NOTBUSY"):
            self.r.script_kill()

    def test_a_script_goes_on_when_its_client_is_gone(self):
        c = Raw(self.server)
        c.say(b"EVAL", LONG.encode(), b"1", b"n", b"1000")
        self.assertTrue(wait_until(self.running))
        c.close()
        self.assertEqual(self.r.incr("n"), 2)

    def test_transactions_and_watches(self):
        self.r.set("n", 5)
        with self.r.pipeline(transaction=True) as watches:
            watches.watch("n")
            script = self.begin("EVAL", LONG, 1, "n", 1000)
            watches.multi()
            watches.set("other", 1)
            with self.assertRaises(redis.WatchError):
                watches.execute()
        self.assertEqual(script.end(), 6)
        self.assertEqual(self.r.get("other"), None)
        # One with a long script in it is one change, and keeps its order.
        c = Raw(self.server)
        for words in ((b"MULTI",), (b"INCR", b"n"), (b"EVAL", LONG.encode(), b"1", b"n", b"700"), (b"INCR", b"m"), (b"HGETALL", b"h"), (b"EXEC",)):
            c.say(*words)
        self.assertTrue(wait_until(self.running))
        time.sleep(0.1)
        self.assertEqual(self.r.set("other", 2), True)
        self.assertEqual(self.r.mget("n", "m"), [b"8", b"1"])  # it waited
        self.assertEqual([c.line() for _ in range(10)], [b"+OK"] + [b"+QUEUED"] * 4 + [b"*4", b":7", b":8", b":1", b"*0"])
        c.close()

    def test_a_transaction_whose_script_is_killed_does_nothing(self):
        p = self.server.redis().pipeline(transaction=True)
        p.set("other", 1).eval(ENDLESS, 1, "n")
        answers = []

        def run():
            try:
                p.execute()
            except redis.RedisError as e:
                answers.append(str(e))
        thread = threading.Thread(target=run)
        thread.start()
        self.assertTrue(wait_until(self.running))
        self.kill()
        thread.join()
        self.assertIn("killed by user", answers[0])
        self.assertEqual(self.r.exists("other", "n"), 0)

    def test_who_waits_for_elements(self):
        before = Running(self.server, "BLPOP", "list", 60)
        self.assertTrue(wait_until(lambda: self.r.info("clients")["blocked_clients"] == 1))
        script = self.begin("EVAL", "redis.call('RPUSH', 'list', 'a', 'b') " + LONG, 2, "n", "list", 1000)
        during = Running(self.server, "BRPOP", "list", 60)
        moves = Running(self.server, "BLMOVE", "empty", "list", "LEFT", "LEFT", 60)
        time.sleep(0.3)
        self.assertTrue(before.goes_on() and during.goes_on())
        self.assertEqual(self.r.rpush("empty", "moved"), 1)  # served once the list is free
        self.assertEqual(script.end(), 1)
        self.assertEqual(list(before.end()), [b"list", b"a"])
        self.assertEqual(moves.end(), b"moved")
        self.assertEqual(list(during.end()), [b"list", b"b"])
        self.assertEqual(self.r.lrange("list", 0, -1), [b"moved"])

    def test_expiry_goes_on_beside_it_and_time_stands_still_in_it(self):
        before = self.r.info("stats")["expired_keys"]
        with self.r.pipeline(transaction=False) as p:
            p.set("due", "v", px=1000)
            for i in range(200):
                p.set("others%d" % i, "v", px=1000)
            p.execute()
        script = self.begin("EVAL", "local had = redis.call('GET', 'due') redis.call('SET', KEYS[1], 0) " + LONG.replace("return", "local n =") +
                            " return {had, redis.call('GET', 'due'), n}", 2, "n", "due", 4000)
        self.assertTrue(wait_until(lambda: self.r.info("stats")["expired_keys"] - before >= 195))
        self.assertTrue(script.goes_on())
        self.assertEqual(script.end(), [b"v", b"v", 1])
        self.assertEqual(self.r.get("due"), None)

    def test_names_are_listed_without_its_parts(self):
        for i in range(1000):
            self.r.set("k%d" % i, i)
        script = self.begin("EVAL", "redis.call('SET', 'part', 1) " + LONG, 2, "n", "part", 1500)
        self.assertEqual(self.r.dbsize(), 1000)
        self.assertIn(self.r.randomkey()[:1], (b"k",))
        cursor, names = 0, []
        while True:  # it waits where it comes to the busy ones
            cursor, page = self.r.scan(cursor, count=200)
            names += page
            if cursor == 0:
                break
        self.assertEqual(script.end(), 1)
        self.assertEqual(len(set(names) - {b"n", b"part"}), 1000)
        self.assertEqual(len(self.r.keys("*")), 1002)

    def test_keys_that_it_does_not_name(self):
        script = self.begin("EVAL", LONG.replace("KEYS[1]", "'zero'").replace("return redis", "redis") +
                            " for i = 1, 20 do redis.call('INCR', 'u' .. i) end return redis.call('DBSIZE')", 0, 700)
        self.assertEqual(self.r.set("other", 1), True)
        self.assertEqual(script.end(), 22)
        self.assertEqual(self.r.mget("u1", "u20"), [b"1", b"1"])
        # With all stripes everybody waits, but the thread does not.
        script = self.begin("EVAL", LONG.replace("return", "local n =") + " return #redis.call('KEYS', '*')", 1, "n", 1000)
        self.assertEqual(self.r.ping(), True)
        self.assertEqual(script.end(), 23)

    def test_scripts_of_the_same_keys_follow_each_other(self):
        scripts = [Running(self.server, "EVAL", LONG, 1, "n", 200) for _ in range(8)]
        self.assertEqual(sorted(s.end() for s in scripts), list(range(1, 9)))

    def test_more_than_there_are_threads_for(self):
        scripts = [Running(self.server, "EVAL", LONG, 1, "n%d" % i, 300) for i in range(12)]
        self.assertEqual(self.r.set("other", 1), True)
        self.assertEqual([s.end() for s in scripts], [1] * 12)

    def test_who_finds_no_thread_is_told_past_the_threshold(self):
        self.threshold(300)
        scripts = [self.begin("EVAL", ENDLESS, 1, "n%d" % i) for i in range(4)]
        begun = time.monotonic()
        with self.assertRaisesRegex(redis.ResponseError, "busy running a script. You can only call SCRIPT KILL"):
            self.r.eval(LONG, 1, "free", 50)
        self.assertGreater(time.monotonic() - begun, 0.25)
        self.assertEqual(self.r.eval("return redis.call('INCR', KEYS[1])", 1, "free"), 1)  # a short one needs none
        self.kill()
        for s in scripts:
            self.assertIn("killed by user", str(s.end()))
        self.assertEqual(self.r.eval(LONG, 1, "free", 50), 2)

    def test_what_is_being_sent_in_parts_waits(self):
        for i in range(0, 200_000, 10_000):
            self.r.hset("h", mapping={"f%d" % k: "v" * 50 for k in range(i, i + 10_000)})
        c = Raw(self.server)
        c.say(b"HGETALL", b"h")
        self.assertEqual(c.line(), b"*400000")
        begun = time.monotonic()
        script = self.begin("EVAL", LONG.replace("'INCR', KEYS[1]", "'HLEN', KEYS[1]"), 1, "h", 1500)
        left = sum(len("$%d\r\nf%d\r\n$50\r\n\r\n" % (len("f%d" % i), i)) + 50 for i in range(200_000)) - len(c.rest)
        while left > 0:
            left -= len(c.socket.recv(1 << 20))
        self.assertEqual(left, 0)
        self.assertGreater(time.monotonic() - begun, 1.4)
        self.assertEqual(script.end(), 200_000)
        self.assertLess(script.seconds, 10)  # it did not begin again for each part
        c.close()

    def test_a_script_may_ask_for_what_is_known_of_all(self):
        """INFO looked into the stripe that the script had, and waited for it for ever."""
        self.r.set("n", "v", ex=100)
        script = "redis.call('SET', KEYS[1], 'v', 'EX', 100) return redis.call('INFO')"
        self.assertIn(b"db0:keys=1", self.r.eval(script, 1, "n"))
        p = self.r.pipeline(transaction=True)
        p.set("n", "v", ex=100).info("keyspace")
        self.assertIn("db0", p.execute()[1])
        self.assertIn(b"db0:keys=1", self.begin("EVAL", "redis.call('SET', KEYS[1], 'v', 'EX', 100) local n " + LONG.replace("'INCR'", "'TTL'").replace("return", "n =") + " return redis.call('INFO')", 1, "n", 300).end())

    def test_who_needs_what_many_hold_in_turn_is_answered(self):
        """Each of them held a key for a moment, and whoever needed all keys was neither served nor told BUSY."""
        self.threshold(1000)
        stop = threading.Event()

        def hold(key):
            with self.server.redis() as r:
                while not stop.is_set():
                    p = r.pipeline(transaction=False)
                    for _ in range(10):
                        p.eval(LONG, 1, key, 60)
                    p.execute()
        keys = ["k%d" % i for i in range(8)]
        threads = [threading.Thread(target=hold, args=(key,)) for key in keys]
        for t in threads:
            t.start()
        try:
            with self.server.redis(socket_timeout=PATIENCE / 2) as r:
                for words in (("MGET", *keys), ("EVAL", "return redis.call('MGET', unpack(KEYS))", len(keys), *keys), ("FLUSHALL",), ("KEYS", "*")):
                    try:
                        r.execute_command(*words)
                    except redis.ResponseError as e:
                        self.assertRegex(str(e), "BUSY|WRONGTYPE", words)
        finally:
            stop.set()
            for t in threads:
                t.join()

    def test_pushes_come_when_it_is_over(self):
        c = Raw(self.server)
        c.say(b"HELLO", b"3")
        while not c.silent(0.5):
            c.rest = b""
        c.say(b"SUBSCRIBE", b"ch")
        self.assertEqual(c.line(), b">3")
        while c.line() != b":1":
            pass
        c.say(b"EVAL", LONG.encode(), b"1", b"n", b"700")
        self.assertTrue(wait_until(self.running))
        for i in range(50):
            self.r.publish("ch", "m%d" % i)
        self.assertEqual(c.line(), b":1")
        got = []
        while len(got) < 50:
            self.assertEqual(c.line(), b">3")
            got.append([c.line() for _ in range(6)][-1])
        self.assertEqual(got, [b"m%d" % i for i in range(50)])
        c.close()

    def test_grpc(self):
        g = Grpc(self.server.grpc)
        self.addCleanup(g.channel.close)
        calls = {name: (lambda q, name=name: getattr(g.kv, name)(q, metadata=g.metadata, timeout=60)) for name in ("Get", "Put", "Delete", "BatchGet", "Txn")}
        key, other, pb = g.key("", "n"), g.key("", "other"), g.kv_pb
        self.r.set("n", 1)
        script = self.begin("EVAL", "redis.call('SET', KEYS[1], 7) " + LONG, 1, "n", 1500)
        self.assertGreater(calls["Put"](pb.PutRequest(key=other, value=b"v")).version, 0)
        self.assertTrue(script.goes_on())
        self.assertEqual(calls["Get"](pb.GetRequest(key=key)).value.value, b"8")  # it waited
        self.assertEqual(script.end(), 8)
        self.threshold(200)
        script = self.begin("EVAL", ENDLESS, 1, "n")
        time.sleep(0.3)
        for name, request in (("Get", pb.GetRequest(key=key)), ("Put", pb.PutRequest(key=key, value=b"x")), ("Delete", pb.DeleteRequest(key=key)),
                              ("BatchGet", pb.BatchGetRequest(keys=[other, key]))):
            with self.assertRaises(grpc.RpcError, msg=name) as caught:
                calls[name](request)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
        self.kill()
        self.assertIn("killed by user", str(script.end()))

    def test_s3(self):
        s3 = self.server.s3()
        s3.create_bucket(Bucket="photos")
        s3.put_object(Bucket="photos", Key="cat", Body=b"old")
        self.threshold(300)
        c = Raw(self.server)
        c.say(b"SELECT", b"photos")
        self.assertEqual(c.line(), b"+OK")
        c.say(b"EVAL", ENDLESS.replace("GET", "STRLEN").encode(), b"1", b"cat")
        self.assertTrue(wait_until(self.running))
        time.sleep(0.5)
        for call in (lambda: s3.get_object(Bucket="photos", Key="cat"), lambda: s3.put_object(Bucket="photos", Key="cat", Body=b"x"),
                     lambda: s3.delete_object(Bucket="photos", Key="cat")):
            with self.assertRaisesRegex(Exception, "ServiceUnavailable|503"):
                call()
        s3.put_object(Bucket="photos", Key="dog", Body=b"x")
        self.kill()
        self.assertIn(b"killed by user", c.line())
        self.assertEqual(s3.get_object(Bucket="photos", Key="cat")["Body"].read(), b"old")
        c.close()

    def test_the_threshold_is_a_setting(self):
        for name in ("busy-reply-threshold", "lua-time-limit"):
            self.assertTrue(self.r.config_set(name, 1234))
            self.assertEqual(self.r.config_get("busy-reply-threshold"), {"busy-reply-threshold": "1234"})
            for bad in ("-1", "x"):
                with self.assertRaises(redis.ResponseError):
                    self.r.config_set(name, bad)


class Ends(unittest.TestCase):
    """The server ends while a script runs."""
    MANY = """for i = 1, 200 do redis.call('SET', 'k' .. i, ARGV[2]) end """ + LONG

    def setUp(self):
        self.server = Server(threads=1)
        self.addCleanup(self.server.remove)
        self.r = self.server.redis()
        self.r.config_set("appendfsync", "always")
        self.keys = ["k%d" % i for i in range(1, 201)]
        self.r.mset({k: "old" for k in self.keys})

    def begin(self, ms):
        script = Running(self.server, "EVAL", self.MANY, 201, "n", *self.keys, ms, "new")
        self.assertTrue(wait_until(lambda: self.r.execute_command("FUNCTION", "STATS")[1] is not None))
        time.sleep(0.3)
        return script

    def test_killed_in_the_middle_all_or_nothing(self):
        for wait in (0.0, 0.2, 0.5, 0.7, 1.0):
            self.r.mset({k: "old" for k in self.keys})
            script = self.begin(700)
            time.sleep(wait)
            self.server.restart()
            script.end()
            self.r = self.server.redis()
            self.r.config_set("appendfsync", "always")
            self.assertEqual(len(set(self.r.mget(self.keys))), 1)

    def test_shutdown_nosave_and_sigterm_end_it(self):
        self.begin(600_000)
        self.r.config_set("busy-reply-threshold", 100)
        with self.assertRaisesRegex(redis.ResponseError, "busy running a script"):
            self.r.execute_command("SHUTDOWN")
        with self.assertRaises(redis.ConnectionError):
            self.r.execute_command("SHUTDOWN", "NOSAVE")
        self.assertEqual(self.server.process.wait(PATIENCE), 0)
        self.server.process.stdout.close()
        self.server.log.close()
        self.server.start()
        self.r = self.server.redis()
        self.assertEqual(set(self.r.mget(self.keys)), {b"old"})
        self.begin(600_000)
        waits = Running(self.server, "GET", "k1")
        self.assertEqual(self.server.stop(), 0)
        waits.end()
        self.server.start()
        self.assertEqual(set(self.server.redis().mget(self.keys)), {b"old"})


class Answers(unittest.TestCase):
    # Each thread had made several before the loop could give one away: 4 GB of 150.
    def test_answers_that_nobody_has_yet_are_bounded(self):
        server = Server(threads=1, args=["--memory=%d" % (64 << 20)])
        self.addCleanup(server.remove)
        script = "local t = {} for i = 1, 1e5 do t[i] = '%s' end return t" % ("x" * 75)
        clients = [Raw(server) for _ in range(60)]
        before = resident(server, "VmHWM")
        for c in clients:
            c.say(b"EVAL", script.encode(), b"0")  # 8 MB, which it does not read
        with server.redis() as r:
            def waits():
                return sum(c["cmd"] == "eval" and int(c["tot-mem"]) < 1 << 20 for c in r.client_list())
            self.assertTrue(wait_until(lambda: waits() == 0))
        grown = resident(server, "VmHWM") - before
        for c in clients:
            c.socket.close()
        self.assertLess(grown, 600 << 20)


class Eviction(unittest.TestCase):
    def test_eviction_passes_over_what_is_busy(self):
        server = Server(threads=1, args=["--memory=%d" % (48 << 20), "--maxmemory-policy=allkeys-lru"])
        self.addCleanup(server.remove)
        r = server.redis()
        r.set("kept", "v" * 1000)
        script = Running(server, "EVAL", LONG + " + #redis.call('GET', 'kept')", 2, "n", "kept", 4000)
        self.assertTrue(wait_until(lambda: r.execute_command("FUNCTION", "STATS")[1] is not None))
        for i in range(0, 80_000, 100):
            with r.pipeline(transaction=False) as p:
                for k in range(i, i + 100):
                    p.set("k%d" % k, "v" * 1000)
                p.execute()
        self.assertGreater(r.info("stats")["evicted_keys"], 0)
        self.assertEqual(script.end(), 1001)


class Accounts(BusyCase):
    """Transfers by scripts short and long, on two threads; whoever looks sees the same sum."""
    server_args = dict(threads=2)
    TRANSFER = """local t = redis.call('TIME') local stop = t[1] * 1000 + t[2] / 1000 + ARGV[1]
redis.call('DECRBY', KEYS[1], ARGV[2])
repeat t = redis.call('TIME') until t[1] * 1000 + t[2] / 1000 >= stop
redis.call('INCRBY', KEYS[2] or ARGV[3], ARGV[2])"""

    def test_the_sum_is_the_same_for_everybody(self):
        names, stop, failures = ["a%d" % i for i in range(12)], threading.Event(), []
        self.r.mset({n: 100 for n in names})

        def guarded(work):
            def run(seed):
                rnd = random.Random(seed)
                try:
                    with self.server.redis() as r:
                        while not stop.is_set():
                            work(r, rnd)
                except Exception as e:
                    failures.append(repr(e))
            return run

        def transfer(r, rnd):
            a, b = rnd.sample(names, 2)
            ms = rnd.choice((0, 0, 1, 5, 20, 60))
            if rnd.random() < 0.3:
                r.eval(self.TRANSFER, 1, a, ms, 3, b)
            else:
                r.eval(self.TRANSFER, 2, a, b, ms, 3)

        def look(r, rnd):
            kind = rnd.randrange(4)
            if kind == 0:
                got = r.mget(names)
            elif kind == 1:
                p = r.pipeline(transaction=True)
                for n in names:
                    p.get(n)
                got = p.execute()
            elif kind == 2:
                got = r.eval("return redis.call('MGET', unpack(KEYS))", len(names), *names)
            else:
                r.sort("none", by="a*", get="a*")
                r.incr("beside")
                return
            if sum(map(int, got)) != 100 * len(names):
                failures.append(got)
        threads = [threading.Thread(target=guarded(w), args=(i,)) for i, w in enumerate([transfer] * 5 + [look] * 4)]
        for t in threads:
            t.start()
        time.sleep(8)
        stop.set()
        for t in threads:
            t.join()
        self.assertEqual(failures, [])
        self.assertEqual(sum(map(int, self.r.mget(names))), 1200)
        self.assertGreater(int(self.r.get("beside")), 10)


if __name__ == "__main__":
    unittest.main()
