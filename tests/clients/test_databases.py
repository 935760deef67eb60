"""--databases: how many there are, at every door, and after starts with more and fewer of them."""
import os
import random
import subprocess
import unittest

import redis

from harness import BUILD, PASSWORD, Server, wait_until


class Databases(unittest.TestCase):
    def server(self, n):
        self.own = Server(args=["--databases=%d" % n] if n else [], env={"CAIRN_ROOT_PASSWORD": PASSWORD})
        self.addCleanup(self.own.remove)
        return self.own

    def db(self, n):
        r = redis.Redis(port=self.own.resp, password=PASSWORD, db=n)
        self.addCleanup(r.close)
        return r

    def again(self, n, kill=False):
        """A start with as many; what it says if it is none."""
        if kill:
            self.own.kill()
        elif self.own.process.poll() is None:
            self.assertEqual(self.own.stop(), 0)
        self.own.args = ["--databases=%d" % n]
        try:
            self.own.start()
        except RuntimeError as e:
            self.own.process.wait()
            self.own.log.close()
            return str(e)
        return None

    def out_of_range(self, f, *args):
        with self.assertRaisesRegex(redis.ResponseError, "out of range|invalid second DB index"):
            f(*args)

    def test_there_are_as_many_as_were_asked_for(self):
        for n in (None, 1, 2, 17, 1024):
            self.server(n)
            n = n or 16
            self.assertEqual(self.db(0).config_get("databases"), {"databases": str(n)})
            last = self.db(n - 1)
            last.set("k", "v")
            self.assertEqual(last.info("keyspace")["db%d" % (n - 1)]["keys"], 1)
            for beyond in (n, n + 1, 1024, 65536, 4294967295):
                self.out_of_range(self.db(beyond).ping)
                self.out_of_range(last.move, "k", beyond)
                self.out_of_range(last.execute_command, "COPY", "k", "k2", "DB", beyond)
                self.out_of_range(last.execute_command, "SWAPDB", 0, beyond)
            p = last.pipeline()
            p.execute_command("SELECT", n)
            p.execute_command("SELECT", 0)
            p.set("k", "other")
            got = p.execute(raise_on_error=False)
            self.assertIn("DB index is out of range", str(got[0]))
            self.assertEqual(self.db(0).get("k"), b"other")
            self.own.remove()

    def test_what_cannot_be_is_refused(self):
        for n in ("0", "1025", "-1", "x", ""):
            p = subprocess.run([os.path.join(BUILD, "cairnd"), "--databases=" + n, "--data=/nonexistent/x"], capture_output=True, timeout=60)
            self.assertEqual(p.returncode, 2, n)
            self.assertIn(b"databases", p.stderr)

    def test_they_are_as_the_first_sixteen_at_every_door(self):
        self.server(64)
        a, b, stubs, s3 = self.db(20), self.db(63), self.own.grpc_stubs(), self.own.s3()
        a.set("k", "v")
        a.set("large", "x" * 200_000)
        self.assertEqual(s3.get_object(Bucket="db20", Key="large")["Body"].read(), b"x" * 200_000)
        s3.put_object(Bucket="db63", Key="from-s3", Body=b"s3")
        stubs.upload("db63", "from-grpc", b"grpc")
        self.assertEqual(stubs.download("db20", "k"), b"v")
        self.assertEqual(b.mget("from-s3", "from-grpc"), [b"s3", b"grpc"])
        self.assertEqual(sorted(o["Key"] for o in s3.list_objects_v2(Bucket="db63")["Contents"]), ["from-grpc", "from-s3"])
        for name in ("db64", "db100", "db1024", "db99999"):  # reserved, whatever the number is
            with self.assertRaises(s3.exceptions.ClientError) as e:
                s3.create_bucket(Bucket=name)
            self.assertEqual(e.exception.response["Error"]["Code"], "InvalidBucketName")
            with self.assertRaises(s3.exceptions.ClientError) as e:
                s3.get_object(Bucket=name, Key="k")
            self.assertEqual(e.exception.response["Error"]["Code"], "NoSuchBucket")
        a.pexpire("k", 1)
        self.assertTrue(wait_until(lambda: a.dbsize() == 1))
        s3.create_bucket(Bucket="mine")
        s3.put_object(Bucket="mine", Key="k", Body=b"v")
        b.flushall()
        self.assertEqual([a.dbsize(), b.dbsize()], [0, 0])
        self.assertEqual(s3.get_object(Bucket="mine", Key="k")["Body"].read(), b"v")

    def test_they_keep_what_they_hold(self):
        """Of any type, moved, copied and swapped, after clean stops and others."""
        rng = random.Random(7)
        self.server(300)
        used = (0, 3, 15, 16, 17, 40, 255, 256, 299)
        model = {n: {} for n in used}
        for turn in range(6):
            for _ in range(60):
                n, m, key = rng.choice(used), rng.choice(used), "k%d" % rng.randrange(10)
                r, what = self.db(n), rng.randrange(6)
                if what < 2:
                    value = str(rng.random())
                    r.set(key, value)
                    model[n][key] = value
                elif what == 2:
                    r.delete(key)
                    r.hset(key, "f", str(turn))
                    model[n][key] = {"f": str(turn)}
                elif what == 3 and n != m:
                    if r.move(key, m):
                        model[m][key] = model[n].pop(key)
                elif what == 4 and n != m:
                    r.swapdb(n, m)
                    model[n], model[m] = model[m], model[n]
                elif rng.randrange(8) == 0:
                    r.flushdb()
                    model[n] = {}
                r.close()
            if turn == 3:
                self.db(0).flushall()
                model = {n: {} for n in used}
                self.db(299).set("after", "it")
                model[299]["after"] = "it"
            self.db(0).execute_command("WAITAOF", 1, 0, 0)
            self.assertIsNone(self.again(300, kill=turn % 2 == 0))
            for n in used:
                r = redis.Redis(port=self.own.resp, password=PASSWORD, db=n, decode_responses=True)
                there = {k: r.get(k) if r.type(k) == "string" else r.hgetall(k) for k in r.keys()}
                self.assertEqual(there, model[n], (turn, n))
                r.close()

    def test_a_start_without_one_that_holds_something_is_refused(self):
        self.server(50)
        self.db(41).set("k", "v")
        self.db(30).set("gone", "v")
        self.db(30).delete("gone")
        for kill in (False, True):
            said = self.again(16, kill)
            self.assertIn("database 41 is in use, and with --databases=16 there is none: 42 are needed at least", said)
            self.assertIsNone(self.again(42))
            self.assertEqual(self.db(41).get("k"), b"v")
        # A swap with one that is not there any more cannot be told, though nothing is in it.
        self.db(0).swapdb(3, 41)
        self.db(0).execute_command("WAITAOF", 1, 0, 0)
        self.assertIn("42 are needed at least", self.again(16))
        self.assertIsNone(self.again(42))
        self.assertEqual(self.db(3).get("k"), b"v")
        self.db(0).swapdb(3, 41)
        self.db(41).delete("k")
        self.assertIsNone(self.again(16))
        for n in (1024, 16, 17):
            self.db(15).set("here", str(n))
            self.assertIsNone(self.again(n))
            self.assertEqual(self.db(15).get("here"), b"%d" % n)
            self.db(0).swapdb(0, 5)
            self.db(0).swapdb(0, 5)
            self.assertEqual(self.db(15).dbsize(), 1)


if __name__ == "__main__":
    unittest.main()
