"""The main job on real input: documents and packages in as objects, words as keys, read back through
another door, killed during a second load, and everything acknowledged is there, whole."""
import concurrent.futures
import glob
import hashlib
import os
import random
import subprocess
import threading
import unittest

from harness import PASSWORD, PATIENCE, USER, Server, wait_until


def files():
    found = []
    for top in ("/usr/share/doc", "/var/cache/apt/archives"):
        for base, _, names in os.walk(top):
            for n in names:
                path = os.path.join(base, n)
                if os.path.isfile(path) and not os.path.islink(path) and os.access(path, os.R_OK) and os.path.getsize(path) < 1 << 30:
                    found.append(path)
    return sorted(found)


def sha(data):
    return hashlib.sha256(data).hexdigest()


class MainJob(unittest.TestCase):
    def setUp(self):
        self.server = Server(threads=2)

    def tearDown(self):
        self.server.remove()

    def test_main_job(self):
        s3 = self.server.s3(max_pool_connections=8)
        s3.create_bucket(Bucket="docs")
        paths = files()
        self.assertGreater(len(paths), 100)
        key = lambda p: p.lstrip("/")
        digests = {}

        def load(path):
            with open(path, "rb") as f:
                data = f.read()
            digests[path] = sha(data)
            s3.put_object(Bucket="docs", Key=key(path), Body=data)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(load, paths))

        words = sorted(set(w.strip() for w in open("/usr/share/dict/words", encoding="utf-8") if w.strip()))
        pipe = b"".join(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(k), k, len(v), v)
                        for k, v in ((b"word:" + w.encode(), w.encode()[::-1]) for w in words))
        out = subprocess.run(["redis-cli", "-p", str(self.server.resp), "-a", PASSWORD, "--no-auth-warning", "--pipe"],
                             input=pipe, capture_output=True, timeout=PATIENCE)
        self.assertIn(b"errors: 0, replies: %d" % len(words), out.stdout, out.stderr)

        # Back through another door: objects over RESP and gRPC, words over HTTP and gRPC.
        r, rpc = self.server.redis(), self.server.grpc_stubs()
        c = r.connection_pool.make_connection()
        c.connect()
        c.send_command("SELECT", "docs")
        c.read_response()
        for i, path in enumerate(paths):
            if i % 2:
                c.send_command("GET", key(path))
                data = c.read_response()
            else:
                data = rpc.download("docs", key(path))
            self.assertEqual(sha(data), digests[path], path)
        c.disconnect()
        for w in random.Random(1).sample(words, 300):
            self.assertEqual(s3.get_object(Bucket="db0", Key="word:" + w)["Body"].read(), w.encode()[::-1])
        for i in range(0, 3000, 500):
            keys = [rpc.key("db0", "word:" + w) for w in words[i:i + 500]]
            got = rpc.kv.BatchGet(rpc.kv_pb.BatchGetRequest(keys=keys), metadata=rpc.metadata)
            self.assertEqual([e.value.value for e in got.entries], [w.encode()[::-1] for w in words[i:i + 500]])
        self.assertEqual(r.dbsize(), len(words))

        # The same objects through stock command-line clients.
        env = {**os.environ, "AWS_ACCESS_KEY_ID": USER, "AWS_SECRET_ACCESS_KEY": PASSWORD, "AWS_DEFAULT_REGION": "us-east-1"}
        big = max(paths, key=os.path.getsize)
        copy = os.path.join(self.server.directory, "copy")
        subprocess.check_call(["aws", "--endpoint-url", "http://127.0.0.1:%d" % self.server.http, "s3", "cp",
                               "s3://docs/" + key(big), copy, "--no-progress"], env=env, stdout=subprocess.DEVNULL)
        self.assertEqual(sha(open(copy, "rb").read()), digests[big])
        url = s3.generate_presigned_url("get_object", Params={"Bucket": "docs", "Key": key(paths[0])})
        self.assertEqual(sha(subprocess.check_output(["curl", "-s", url])), digests[paths[0]])

        # A second load through all doors, killed in the middle.
        r.config_set("appendfsync", "always")
        acknowledged, attempted, stop, lock = {}, {}, threading.Event(), threading.Lock()

        def writer(number):
            rng = random.Random(number)
            s3, r, rpc = self.server.s3(), self.server.redis(), self.server.grpc_stubs()
            i = 0
            while not stop.is_set():
                i += 1
                name = "second/%d/%d" % (number, i)
                data = rng.randbytes(rng.choice([10, 1000, 70000, 300000]))
                with lock:
                    attempted[name] = sha(data)
                try:
                    if number % 3 == 0:
                        r.set(name, data)
                    elif number % 3 == 1:
                        s3.put_object(Bucket="db0", Key=name, Body=data)
                    else:
                        rpc.upload("db0", name, data)
                except Exception:
                    return
                with lock:
                    acknowledged[name] = True
        threads = [threading.Thread(target=writer, args=(n,)) for n in range(6)]
        for t in threads:
            t.start()
        self.assertTrue(wait_until(lambda: len(acknowledged) > 50))
        self.server.kill()
        stop.set()
        for t in threads:
            t.join()
        self.server.start()
        r = self.server.redis()
        for name in acknowledged:
            data = r.get(name)
            self.assertIsNotNone(data, name)
            self.assertEqual(sha(data), attempted[name])
        for k in r.scan_iter("second/*", count=1000):
            self.assertEqual(sha(r.get(k)), attempted[k.decode()])  # nothing half-written
        self.assertEqual(r.dbsize(), len(words) + len(list(r.scan_iter("second/*", count=1000))))
        s3 = self.server.s3()
        for path in random.Random(2).sample(paths, 200):
            self.assertEqual(sha(s3.get_object(Bucket="docs", Key=key(path))["Body"].read()), digests[path])


if __name__ == "__main__":
    unittest.main()
