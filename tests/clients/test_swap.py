"""SWAPDB: two databases exchange what they hold, at every door, for whoever is at it, and for good. What redis-server
answers too is compared in test_differential.py."""
import random
import threading
import unittest

import redis

from harness import PATIENCE, Case, Server, command, wait_until


class Swaps(Case):
    server_args = dict(args=["--durability=always"])

    def setUp(self):
        self.dbs = [self.server.redis(db=i) for i in range(3)]
        self.dbs[0].flushall()

    def refused(self, pattern, *words):
        with self.assertRaisesRegex(redis.ResponseError, pattern):
            self.dbs[0].execute_command(*words)

    def names(self, s3, bucket):
        return [o["Key"] for o in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]

    def test_words_are_databases(self):
        self.refused("invalid first DB index", "SWAPDB", "a", "1")
        self.refused("invalid second DB index", "SWAPDB", "0", "1.5")
        self.refused("DB index is out of range", "SWAPDB", "0", "16")
        self.refused("DB index is out of range", "SWAPDB", "-1", "0")
        self.assertTrue(self.dbs[0].swapdb(1, 1))
        told = self.dbs[0].execute_command("COMMAND", "INFO", "SWAPDB")
        row = list(told.values())[0] if isinstance(told, dict) else told[0]
        flags = row["flags"] if isinstance(row, dict) else row[2]
        self.assertEqual(set(flags), {"write", "fast"})

    def test_every_door_shows_it(self):
        s3, rpc = self.server.s3(), self.server.grpc_stubs()
        s3.put_object(Bucket="db0", Key="photo", Body=b"p" * 200_000, Metadata={"of": "a"})
        self.dbs[0].set("small", "in 0")
        self.dbs[1].set("small", "in 1")
        self.dbs[1].hset("hash", mapping={"f%d" % i: "v" * 100 for i in range(3000)})
        self.assertEqual((self.names(s3, "db0"), self.names(s3, "db1")), (["photo", "small"], ["small"]))
        upload = s3.create_multipart_upload(Bucket="db0", Key="parts")
        part = s3.upload_part(Bucket="db0", Key="parts", UploadId=upload["UploadId"], PartNumber=1, Body=b"x" * (5 << 20))
        self.dbs[2].swapdb(0, 1)
        self.assertEqual((self.names(s3, "db0"), self.names(s3, "db1")), (["small"], ["photo", "small"]))
        self.assertEqual(s3.get_object(Bucket="db1", Key="photo")["Body"].read(), b"p" * 200_000)
        self.assertEqual(s3.head_object(Bucket="db1", Key="photo")["Metadata"], {"of": "a"})
        self.assertEqual(rpc.download("db0", "small"), b"in 1")
        self.assertEqual(rpc.download("db1", "small"), b"in 0")
        self.assertEqual(self.dbs[0].hlen("hash"), 3000)
        # An upload is of a name, and ends in what has it then.
        s3.complete_multipart_upload(Bucket="db0", Key="parts", UploadId=upload["UploadId"],
                                     MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
        self.assertEqual((self.names(s3, "db0"), self.names(s3, "db1")), (["parts", "small"], ["photo", "small"]))
        self.assertEqual([self.dbs[i].dbsize() for i in range(3)], [3, 2, 0])
        # db2 was never listed: its names come to be in order while it is another.
        self.dbs[0].swapdb(0, 2)
        self.assertEqual((self.names(s3, "db0"), self.names(s3, "db2")), ([], ["parts", "small"]))
        self.dbs[0].set("new", "n")
        self.assertEqual((self.names(s3, "db0"), self.names(s3, "db2")), (["new"], ["parts", "small"]))

    def test_it_outlives_the_process(self):
        r = random.Random(7)
        held = [{}, {}, {}]
        for _ in range(6):
            for _ in range(60):
                i, key = r.randrange(3), "k%d" % r.randrange(10)
                if r.random() < 0.2:
                    j = r.randrange(3)
                    if r.random() < 0.5:
                        self.dbs[i].swapdb(i, j)
                        held[i], held[j] = held[j], held[i]
                    else:  # with changes before and after it
                        p = self.dbs[i].pipeline(transaction=True)
                        p.set(key, "before").swapdb(i, j).set(key, "after").execute()
                        held[i][key] = "before"
                        held[i], held[j] = held[j], held[i]
                        held[i][key] = "after"
                elif r.random() < 0.1:
                    self.dbs[i].flushdb()
                    held[i].clear()
                else:
                    held[i][key] = "%d" % r.randrange(1 << 30)
                    self.dbs[i].set(key, held[i][key])
            self.server.restart()
            self.dbs = [self.server.redis(db=i, decode_responses=True) for i in range(3)]
            for i, expected in enumerate(held):
                keys = self.dbs[i].keys()
                self.assertEqual({k: self.dbs[i].get(k) for k in keys}, expected)

    def test_what_was_watched_is_touched_where_it_was_or_comes(self):
        for where, touched in (((), False), ((0,), True), ((1,), True), ((2,), False)):
            self.dbs[0].flushall()
            for i in where:
                self.dbs[i].set("k", "v")
            with self.dbs[0].pipeline() as p:
                p.watch("k")
                self.dbs[2].swapdb(0, 1)
                p.multi()
                p.set("done", "1")
                if touched:
                    self.assertRaises(redis.WatchError, p.execute)
                else:
                    p.execute()

    def test_who_waits_is_served_by_what_comes(self):
        self.dbs[1].rpush("line", "a", "b")
        got = []
        waiting = self.server.redis(db=0)
        thread = threading.Thread(target=lambda: got.append(waiting.blpop("line", timeout=PATIENCE)))
        thread.start()
        self.assertTrue(wait_until(lambda: self.dbs[2].info("clients")["blocked_clients"] == 1))
        self.dbs[2].swapdb(1, 0)
        thread.join(PATIENCE)
        self.assertEqual(got, [(b"line", b"a")])
        self.assertEqual((self.dbs[0].lrange("line", 0, -1), self.dbs[1].exists("line")), ([b"b"], 0))

    def test_nobody_keeps_what_is_old(self):
        self.dbs[0].set("k", "old")
        self.dbs[1].set("k", "new")
        s, _ = self.raw_client()

        def ask(*words, end):
            s.sendall(command(*words))
            answer = b""
            while not answer.endswith(end):
                answer += s.recv(4096)
            return answer
        ask(b"HELLO", b"3", end=b"modules\r\n*0\r\n")
        ask(b"CLIENT", b"TRACKING", b"ON", end=b"+OK\r\n")
        ask(b"GET", b"k", end=b"$3\r\nold\r\n")
        self.dbs[2].swapdb(0, 1)
        self.assertIn(b">2\r\n$10\r\ninvalidate\r\n_\r\n", ask(b"GET", b"k", end=b"$3\r\nnew\r\n"))

    def test_a_lister_sees_one_of_them_whole(self):
        for i in (0, 1):
            self.dbs[i].mset({"%d:%d" % (i, k): "v" for k in range(5000)})
        ends, swapper, s3 = threading.Event(), self.server.redis(), self.server.s3()

        def swap():
            while not ends.is_set():
                swapper.swapdb(0, 1)
        thread = threading.Thread(target=swap)
        thread.start()
        try:
            for _ in range(20):
                keys = self.dbs[0].keys("*")
                self.assertEqual((len(keys), len({k[:1] for k in keys})), (5000, 1))
                page = self.names(s3, "db0")
                self.assertEqual((len(page), len({k[:1] for k in page})), (1000, 1))
        finally:
            ends.set()
            thread.join()

    def test_scripts_and_transactions_see_it_at_once(self):
        self.dbs[0].set("k", "a")
        self.dbs[1].set("k", "b")
        script = "redis.call('SWAPDB', 0, 1) return redis.call('GET', 'k')"
        self.assertEqual(self.dbs[0].eval(script, 0), b"b")
        self.assertEqual(self.dbs[0].get("k"), b"b")
        p = self.dbs[0].pipeline(transaction=True)
        self.assertEqual(p.get("k").swapdb(0, 1).get("k").dbsize().set("n", "1").dbsize().swapdb(1, 0).get("k").dbsize().execute(),
                         [b"b", True, b"a", 1, True, 2, True, b"b", 1])
        self.assertEqual((self.dbs[0].dbsize(), self.dbs[1].dbsize()), (1, 2))


class Cold(Case):
    """Values on disk alone, which a swap brings to who looks for them."""
    LIMIT = 16 << 20
    server_args = dict(args=["--memory=%d" % LIMIT])

    def test_transactions_and_scripts_find_values_that_came_from_elsewhere(self):
        dbs = [self.server.redis(db=i) for i in range(2)]
        value = lambda db, k: b"%d:%d:" % (db, k) + b"v" * 4000
        for k in range(6000):
            dbs[k % 2].set("k%d" % (k // 2), value(k % 2, k // 2))
        self.assertGreater(dbs[0].info("memory")["keys_with_value_on_disk"], 1000)
        here = 0  # what the first database holds
        for k in range(0, 3000, 50):
            name = "k%d" % k
            p = dbs[0].pipeline(transaction=True)
            got = p.get(name).swapdb(0, 1).get(name).mget(name, "k%d" % (k + 1)).execute()
            self.assertEqual(got, [value(here, k), True, value(1 - here, k), [value(1 - here, k), value(1 - here, k + 1)]])
            here = 1 - here
            script = "redis.call('SWAPDB', 0, 1) return redis.call('GET', 'k' .. ARGV[1])"
            self.assertEqual(dbs[0].eval(script, 0, k + 2), value(1 - here, k + 2))
            here = 1 - here
            p = dbs[0].pipeline(transaction=True)
            got = p.eval(script, 0, k + 3).get("k%d" % (k + 4)).execute()
            self.assertEqual(got, [value(1 - here, k + 3), value(1 - here, k + 4)])
            here = 1 - here


class InACluster(unittest.TestCase):
    def test_there_is_one_database(self):
        server = Server(args=["--cluster-enabled=yes"])
        self.addCleanup(server.remove)
        with self.assertRaisesRegex(redis.ResponseError, "SWAPDB is not allowed in cluster mode"):
            server.redis().execute_command("SWAPDB", "0", "1")


if __name__ == "__main__":
    unittest.main()
