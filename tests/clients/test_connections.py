"""Connections and the process: what clients may hold, how long, and how they are parted with."""
import os
import resource
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import unittest
import urllib.parse

import redis

from harness import BUILD, PASSWORD, PATIENCE, Case, Server, command, resident, wait_until
from test_s3 import signed

AUTH = command(b"AUTH", PASSWORD.encode())
MIB = 1 << 20


def raise_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Crowd:
    """Many sockets that all said the same, and nothing after."""

    def __init__(self, port, n, said):
        self.sockets = []
        for _ in range(n):
            s = socket.create_connection(("127.0.0.1", port))
            try:
                s.sendall(said)
            except OSError:
                pass  # it was sent away meanwhile
            self.sockets.append(s)

    def close(self):
        for s in self.sockets:
            s.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Writers:
    """Clients at every door that write without pause, and what each was told is written."""

    def __init__(self, server):
        self.server, self.ended = server, False
        self.acknowledged = {}
        self.threads = [threading.Thread(target=self.resp, args=("r%d" % i,)) for i in range(8)]
        self.threads += [threading.Thread(target=self.s3, args=("s%d" % i,)) for i in range(3)]
        self.threads += [threading.Thread(target=self.grpc, args=("g%d" % i,)) for i in range(3)]
        for t in self.threads:
            t.start()

    def resp(self, name):
        """Pipelines; what is answered counts, in order."""
        sent = got = 0
        with socket.create_connection(("127.0.0.1", self.server.resp)) as s:
            try:
                s.sendall(command(b"AUTH", PASSWORD.encode()))
                self.receive(s, 5)
                while True:
                    n = 50
                    s.sendall(b"".join(command(b"SET", b"%s:%d" % (name.encode(), sent + i), b"v") for i in range(n)))
                    sent += n
                    while got < sent:
                        self.receive(s, 5)
                        got += 1
                        self.acknowledged[name] = got
            except (OSError, EOFError):
                pass

    @staticmethod
    def receive(s, n):
        data = b""
        while len(data) < n:
            part = s.recv(n - len(data))
            if not part:
                raise EOFError
            data += part
        assert data == b"+OK\r\n", data

    def s3(self, name):
        client, n = self.server.s3(), 0
        try:
            while True:
                client.put_object(Bucket="db0", Key="%s:%d" % (name, n), Body=b"v")
                n += 1
                self.acknowledged[name] = n
        except Exception:  # whatever the client makes of a connection that ends
            pass

    def grpc(self, name):
        stubs, n = self.server.grpc_stubs(), 0
        try:
            while True:
                stubs.kv.Put(stubs.kv_pb.PutRequest(key=stubs.key("db0", "%s:%d" % (name, n)), value=b"v"),
                             metadata=stubs.metadata)
                n += 1
                self.acknowledged[name] = n
        except Exception:
            stubs.channel.close()

    def join(self):
        for t in self.threads:
            t.join()


class CleanStop(unittest.TestCase):
    def under_load(self, number, *args):
        server = Server(args=args)
        self.addCleanup(server.remove)
        for _ in range(3):
            writers = Writers(server)
            self.assertTrue(wait_until(lambda: len(writers.acknowledged) == len(writers.threads), 60))
            server.process.send_signal(number)
            self.assertEqual(server.process.wait(60), 0)
            writers.join()
            server.process.stdout.close()
            server.start()
            r = server.redis()
            for name, n in writers.acknowledged.items():
                lost = n - sum(r.exists(*["%s:%d" % (name, i) for i in range(at, min(at + 1000, n))])
                               for at in range(0, n, 1000))
                self.assertEqual(lost, 0, "%s was told that %d are written" % (name, n))
            r.flushall()
            r.close()

    def test_sigterm_loses_nothing_that_was_acknowledged(self):
        self.under_load(signal.SIGTERM)

    def test_sighup_is_a_clean_stop_too(self):
        self.under_load(signal.SIGHUP, "--durability=off")

    def test_clients_who_do_not_read_keep_nobody_from_stopping(self):
        server = Server()
        self.addCleanup(server.remove)
        r = server.redis()
        r.set("large", b"x" * (8 << 20))
        with socket.create_connection(("127.0.0.1", server.resp)) as s:
            s.sendall(command(b"AUTH", PASSWORD.encode()) + command(b"GET", b"large") * 4)
            s.recv(100)
            with socket.create_connection(("127.0.0.1", server.http)) as idle:
                idle.sendall(b"GET / HT")
                self.assertEqual(server.stop(), 0)


    def test_ten_thousand_buckets_keep_nobody_waiting(self):
        """A clean stop wrote a checkpoint that looked at every stripe of every bucket."""
        server = Server()
        self.addCleanup(server.remove)
        stubs = server.grpc_stubs()
        n = 3000
        calls = [stubs.objects.CreateBucket.future(stubs.objects_pb.CreateBucketRequest(name="bucket-%d" % i),
                                                   metadata=stubs.metadata) for i in range(n)]
        for call in calls:
            call.result()
        r = server.redis()
        for i in range(0, n, 100):
            r.execute_command("SELECT", "bucket-%d" % i)
            r.set("k", i)
        stubs.channel.close()
        r.close()
        self.assertEqual(server.stop(), 0)
        server.start()
        r = server.redis()
        for i in range(0, n, 100):
            r.execute_command("SELECT", "bucket-%d" % i)
            self.assertEqual(r.get("k"), b"%d" % i)
        self.assertEqual(len(server.s3().list_buckets()["Buckets"]), n)
        r.close()


class Credentials(unittest.TestCase):
    def test_a_door_for_everybody_demands_a_password_at_every_address(self):
        with tempfile.TemporaryDirectory() as d:
            cert, key = os.path.join(d, "cert.pem"), os.path.join(d, "key.pem")
            subprocess.check_call(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                                   "/CN=localhost", "-keyout", key, "-out", cert], stderr=subprocess.DEVNULL)
            import redis
            for address, open_to_all in (("0.0.0.0", False), ("127.0.0.1", True), ("[::ffff:127.0.0.1]", True)):
                server = Server(credentials=False, args=[
                    "--tls-cert=" + cert, "--tls-key=" + key, "--resp-tls=%s:0" % address])
                try:
                    for options in (dict(port=server.resp),
                                    dict(port=server.ports["resp-tls"], ssl=True, ssl_cert_reqs=None)):
                        r = redis.Redis(**options)
                        if open_to_all:
                            self.assertTrue(r.set("k", "v"))
                        else:
                            with self.assertRaises(redis.exceptions.AuthenticationError):
                                r.set("k", "v")
                        r.close()
                finally:
                    server.remove()

    def test_a_store_that_had_a_password_is_not_opened_without(self):
        with tempfile.TemporaryDirectory() as d:
            for before in ((), (False,)):  # also one that had a random password before
                for credentials in before + (True,):
                    server = Server(directory=d, credentials=credentials)
                    server.redis().close()
                    self.assertEqual(server.stop(), 0)
                got = subprocess.run(
                    [os.path.join(BUILD, "cairnd"), "--data=%s/data" % d, "--resp=127.0.0.1:0", "--http=127.0.0.1:0",
                     "--grpc=127.0.0.1:0"], capture_output=True, text=True, timeout=60,
                    env={k: v for k, v in os.environ.items() if not k.startswith("CAIRN_ROOT")})
                self.assertEqual(got.returncode, 1)
                self.assertNotIn("password:", got.stdout)
                self.assertIn("CAIRN_ROOT_PASSWORD", got.stderr)
                os.unlink(os.path.join(d, "data", "root-configured"))


class Handshakes(unittest.TestCase):
    def test_one_that_stalls_is_ended_at_every_door(self):
        with tempfile.TemporaryDirectory() as d:
            cert, key = os.path.join(d, "cert.pem"), os.path.join(d, "key.pem")
            subprocess.check_call(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                                   "/CN=localhost", "-keyout", key, "-out", cert], stderr=subprocess.DEVNULL)
            server = Server(args=["--tls-cert=" + cert, "--tls-key=" + key, "--resp-tls=127.0.0.1:0",
                                  "--http-tls=127.0.0.1:0", "--grpc-tls=127.0.0.1:0"])
            self.addCleanup(server.remove)
            stalled = [socket.create_connection(("127.0.0.1", server.ports[door]))
                       for door in ("resp-tls", "http-tls", "grpc-tls")]
            for s in stalled:
                s.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
            # Who means the port beside is told so at once: he sends nothing more before an answer.
            with socket.create_connection(("127.0.0.1", server.http)) as s:
                s.settimeout(PATIENCE)
                s.sendall(b"\x16\x03\x01\x02\x00\x01")
                self.assertRegex(s.makefile("rb").read(), b"(?s)^HTTP/1.1 400 .*HTTP, not HTTPS")
            for s in stalled:
                s.settimeout(120)
                self.assertEqual(s.recv(1), b"")
                s.close()
            self.farewells(server)

    # Who never said farewell stayed for ever, and was counted.
    def farewells(self, server):
        context = ssl._create_unverified_context()
        silent = []
        for door, words in (("http-tls", b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), ("resp-tls", b"QUIT\r\n")):
            for _ in range(3):
                s = context.wrap_socket(socket.create_connection(("127.0.0.1", server.ports[door])))
                s.settimeout(PATIENCE)
                s.sendall(words)
                self.assertNotEqual(s.recv(1000), b"")
                silent.append(s)

        def closed(s):  # the connection, of which a client that reads no more says nothing
            return struct.unpack("B", s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1))[0] != 1
        self.assertTrue(wait_until(lambda: all(closed(s) for s in silent)))
        r = server.redis()
        self.assertTrue(wait_until(lambda: r.info("clients")["connected_clients"] == 1))
        r.close()
        for s in silent:
            s.close()


class Descriptors(unittest.TestCase):
    def test_idle_clients_leave_the_storage_what_it_needs(self):
        def few():
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        server = Server(preexec=few)
        self.addCleanup(server.remove)
        r = server.redis()
        r.ping()
        doors = [server.resp, server.http, server.grpc]
        idle = [socket.create_connection(("127.0.0.1", doors[i % 3])) for i in range(300)]
        # Segments and extent files are opened meanwhile.
        value = os.urandom(1 << 20)
        for i in range(80):
            self.assertTrue(r.set("k%d" % i, value))
        pipe = r.pipeline(transaction=False)
        for i in range(2500):
            pipe.set("s%d" % i, value[:60000])
        self.assertEqual(pipe.execute(), [True] * 2500)
        self.assertEqual(r.get("k79"), value)
        self.assertIn("clients refused", open(server.log.name).read())
        for s in idle:
            s.close()
        self.assertTrue(wait_until(lambda: self.comes_in(server), 30))
        self.assertEqual(server.stop(), 0)

    @staticmethod
    def comes_in(server):
        try:
            stubs = server.grpc_stubs()
            stubs.kv.Get(stubs.kv_pb.GetRequest(key=stubs.key("db0", b"k1")), metadata=stubs.metadata)
            stubs.channel.close()
            return all(server.redis().ping() for _ in range(20)) and server.s3().list_buckets()
        except Exception:
            return False


class Chunks(Case):
    """Who stands still in the middle of a large value keeps its buffers from nobody."""

    @classmethod
    def setUpClass(cls):
        raise_descriptors()
        super().setUpClass()
        cls.data = os.urandom(3 * MIB)
        r = cls.server.redis()
        r.set("large", cls.data)
        r.close()

    def everybody_goes_on(self):
        """Large values both ways at every door."""
        r, s3, stubs = self.server.redis(), self.server.s3(), self.server.grpc_stubs()
        self.assertTrue(r.set("r", self.data))
        self.assertEqual(r.get("large"), self.data)
        s3.put_object(Bucket="db0", Key="s", Body=self.data)
        self.assertEqual(s3.get_object(Bucket="db0", Key="r")["Body"].read(), self.data)
        stubs.upload("db0", "g", self.data)
        self.assertEqual(stubs.download("db0", "s"), self.data)
        self.assertEqual(r.get("g"), self.data)
        stubs.channel.close()
        r.close()

    def all_is_as_before(self):
        def idle():
            memory = self.server.redis().info("memory")
            return memory["chunks_in_use"] == 0 and memory["chunks_waited_for"] == 0
        self.assertTrue(wait_until(idle, 60))
        self.everybody_goes_on()

    def test_writers_that_stop_in_the_middle(self):
        said = AUTH + b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n" + b"abc"
        with Crowd(self.server.resp, 515, said):
            self.everybody_goes_on()
        self.all_is_as_before()

    def test_writers_whose_chunks_are_full_of_bytes(self):
        said = AUTH + b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3000000\r\n" + self.data[:130000]
        with Crowd(self.server.resp, 250, said) as crowd:
            self.everybody_goes_on()
            for s in crowd.sockets[:20]:  # and they may go on where they stopped
                s.sendall(self.data[130000:3000000] + b"\r\n")
            for s in crowd.sockets[:20]:
                s.settimeout(60)
                self.assertEqual(s.makefile("rb").read(10), b"+OK\r\n+OK\r\n")
            self.assertEqual(self.server.redis().get("k"), self.data[:3000000])
        self.all_is_as_before()

    def test_uploads_over_http_that_stop_in_the_middle(self):
        """However the body is framed, and wherever in its frames it stops."""
        s3 = self.server.s3()
        url = urllib.parse.urlsplit(s3.generate_presigned_url("put_object", Params=dict(Bucket="db0", Key="stopped")))
        head = ("PUT %s?%s HTTP/1.1\r\nHost: %s\r\n" % (url.path, url.query, url.netloc)).encode()
        full = MIB - 4096  # a chunk's room, exactly
        said = [head + b"Content-Length: 3000000\r\n\r\n" + self.data[:n] for n in (66000, 300000, full)]
        for ending in (b"", b"\r", b"\r\n", b"\r\n10", b"\r\n100000;x=y\r\n"):
            said.append(head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % 300000 + self.data[:300000] + ending)
        for words in said:
            with Crowd(self.server.http, 195, words) as crowd:
                self.everybody_goes_on()
                for s in crowd.sockets:  # though none of them was sent away
                    s.setblocking(False)
                    with self.assertRaises(BlockingIOError):
                        s.recv(1)
        self.all_is_as_before()

    def test_readers_that_do_not_read(self):
        with Crowd(self.server.resp, 340, AUTH + command(b"GET", b"large") * 3) as crowd:
            self.everybody_goes_on()
            for s in crowd.sockets[::40]:  # nor are they sent away: what they did not read is there
                s.settimeout(60)
                want = b"+OK\r\n" + (b"$%d\r\n%s\r\n" % (len(self.data), self.data)) * 3
                got = bytearray()
                while len(got) < len(want):
                    part = s.recv(MIB)
                    self.assertTrue(part)
                    got += part
                self.assertTrue(got == want)
        self.all_is_as_before()

    def test_readers_that_do_not_read_at_the_other_doors(self):
        s3, stubs = self.server.s3(), self.server.grpc_stubs()
        s3.put_object(Bucket="db0", Key="huge", Body=self.data * 6)
        url = urllib.parse.urlsplit(s3.generate_presigned_url("get_object", Params=dict(Bucket="db0", Key="huge")))
        said = ("GET %s?%s HTTP/1.1\r\nHost: %s\r\n\r\n" % (url.path, url.query, url.netloc)).encode()
        calls = []
        with Crowd(self.server.http, 330, said) as crowd:
            for _ in range(20):
                call = stubs.objects.Download(stubs.objects_pb.DownloadRequest(key=stubs.key("db0", "huge")),
                                              metadata=stubs.metadata)
                next(call)
                calls.append(call)
            self.everybody_goes_on()
            s = crowd.sockets[0]  # what it did not read is there
            s.settimeout(60)
            got = b""
            while b"\r\n\r\n" not in got:
                got += s.recv(1 << 16)
            got = got.split(b"\r\n\r\n", 1)[1]
            while len(got) < 18 * MIB:
                part = s.recv(MIB)
                self.assertTrue(part)
                got += part
            self.assertTrue(got == self.data * 6)
            for call in calls:
                call.cancel()
        stubs.channel.close()
        self.all_is_as_before()

    def test_as_many_copies_at_once_as_there_are_chunks_and_more(self):
        s3 = self.server.s3()
        s3.create_bucket(Bucket="copies")
        part = self.data[:400000]
        s3.put_object(Bucket="copies", Key="from", Body=part)
        upload = s3.create_multipart_upload(Bucket="copies", Key="to")["UploadId"]
        n = 700
        sockets = []
        for i in range(n):
            url = urllib.parse.urlsplit(s3.generate_presigned_url("upload_part_copy", Params=dict(
                Bucket="copies", Key="to", UploadId=upload, PartNumber=i + 1, CopySource="copies/from")))
            s = socket.create_connection(("127.0.0.1", self.server.http))
            s.sendall(("PUT %s?%s HTTP/1.1\r\nHost: %s\r\nx-amz-copy-source: copies/from\r\nContent-Length: 0\r\n"
                       "Connection: close\r\n\r\n" % (url.path, url.query, url.netloc)).encode())
            sockets.append(s)
        for s in sockets:
            s.settimeout(300)
            got = b""
            while part := s.recv(1 << 16):
                got += part
            s.close()
            self.assertTrue(got.startswith(b"HTTP/1.1 200"), got)
            self.assertIn(b"<ETag>", got)
        s3.abort_multipart_upload(Bucket="copies", Key="to", UploadId=upload)
        self.all_is_as_before()


class Buffers(unittest.TestCase):
    """What clients hold in the server's memory is bounded, each and together."""
    LIMIT = 256 * MIB
    KEYS = 20000

    @classmethod
    def setUpClass(cls):
        raise_descriptors()
        cls.server = Server(args=["--memory=%d" % cls.LIMIT, "--maxmemory-policy=allkeys-lru"])
        r = cls.server.redis()
        pipe = r.pipeline(transaction=False)
        for i in range(cls.KEYS):
            pipe.set("key:%d" % i, b"v" * 500)
        pipe.set("value", b"x" * 65536)
        pipe.hset("hash", mapping={"f%d" % i: b"y" * 60000 for i in range(3)})
        pipe.execute()
        r.close()

    @classmethod
    def tearDownClass(cls):
        cls.server.remove()

    def setUp(self):
        self.r = self.server.redis()
        self.r.config_resetstat()
        self.peak, self.ended = 0, threading.Event()
        self.watcher = threading.Thread(target=self.watch)
        self.watcher.start()

    def watch(self):
        while not self.ended.wait(0.02):
            self.peak = max(self.peak, resident(self.server))

    def tearDown(self):
        self.ended.set()
        self.watcher.join()
        self.assertLess(self.peak, self.LIMIT * 1.5)
        self.assertEqual(self.r.dbsize(), self.KEYS + 2, "clients take no room from the data")
        self.r.close()

    def sent_away(self, said, timeout=60):
        """Whether who says so is sent away; in the end, whatever is answered before."""
        with socket.create_connection(("127.0.0.1", self.server.resp)) as s:
            s.settimeout(timeout)
            try:
                s.sendall(AUTH)
                self.assertEqual(s.recv(5, socket.MSG_WAITALL), b"+OK\r\n")
                for part in said:
                    s.sendall(part)
                while s.recv(1 << 16):
                    pass
            except (ConnectionError, BrokenPipeError):
                return True
            return True

    def test_half_commands(self):
        half = AUTH + b"*9\r\n$4\r\nMSET\r\n" + (b"$60000\r\n%s\r\n" % (b"h" * 60000)) * 2
        with Crowd(self.server.resp, 600, half):
            self.assertTrue(wait_until(lambda: self.r.info("stats")["evicted_clients"] > 50, 60))
            self.assertEqual(self.r.get("key:1"), b"v" * 500)

    def test_strangers_get_next_to_nothing(self):
        half = b"*9\r\n" + (b"$16000\r\n%s\r\n" % (b"h" * 16000)) * 3
        with Crowd(self.server.resp, 300, half):
            self.assertEqual(self.r.get("key:1"), b"v" * 500)
            self.assertLess(self.r.info("memory")["mem_clients_normal"], 300 * 70000)

    def test_a_command_that_does_not_end(self):
        word = b"$60000\r\n%s\r\n" % (b"h" * 60000)
        self.assertTrue(self.sent_away([b"*100000\r\n$4\r\nMSET\r\n"] + [word] * 5000))

    def test_one_answer_of_gigabytes(self):
        self.assertTrue(self.sent_away([command(b"MGET", *[b"value"] * 30000)]))
        self.assertEqual(self.r.info("stats")["client_output_buffer_limit_disconnections"], 1)
        with socket.create_connection(("127.0.0.1", self.server.resp)) as s:  # this one is made as it is read
            s.sendall(AUTH + command(b"HRANDFIELD", b"hash", b"-30000", b"WITHVALUES"))
            self.assertEqual(len(s.recv(64 << 20, socket.MSG_WAITALL)), 64 << 20)
            self.assertLess(self.r.info("memory")["mem_clients_normal"], 8 << 20)
        self.assertEqual(self.r.get("key:1"), b"v" * 500)

    def test_large_answers_that_nobody_reads_while_what_they_are_about_goes(self):
        """Each walk over the hash kept a copy of its own of what was deleted."""
        fields = {"f%d" % i: os.urandom(5000).hex() for i in range(4000)}  # 40 MB
        for i in range(0, 4000, 500):
            self.r.hset("walked", mapping={"f%d" % k: fields["f%d" % k] for k in range(i, i + 500)})
        with Crowd(self.server.resp, 30, AUTH + command(b"HGETALL", b"walked")):
            wait_until(lambda: False, 1)
            self.r.delete("walked")
            self.assertEqual(self.r.get("key:1"), b"v" * 500)

    def test_transactions_that_are_never_run(self):
        queued = command(b"SET", b"k", b"q" * 60000)
        self.assertTrue(self.sent_away([b"MULTI\r\n"] + [queued] * 5000))

    def test_names_that_are_watched(self):
        self.assertTrue(self.sent_away([command(b"WATCH", b"%08d" % i + b"w" * 60000) for i in range(3000)]))

    def test_idle_clients_cost_next_to_nothing(self):
        n = min(9900, raise_descriptors() - 500)
        before = resident(self.server)
        with Crowd(self.server.resp, n, AUTH):
            self.assertTrue(wait_until(lambda: self.r.info("clients")["connected_clients"] >= n, 120))
            self.assertLess(resident(self.server) - before, n * 16384)


class Values(unittest.TestCase):
    """What one command reads back from disk is bounded, and what it answers with it."""
    LIMIT = 256 * MIB
    KEYS = 6000

    def test_cold_values_of_one_command(self):
        server = Server(args=["--memory=%d" % self.LIMIT])
        self.addCleanup(server.remove)
        r = server.redis()
        for first in range(0, self.KEYS, 500):  # 360 MB
            for _ in range(60):
                try:
                    r.mset({"key:%d" % i: b"v" * 60000 for i in range(first, first + 500)})
                    break
                except redis.ResponseError as e:
                    self.assertIn("OOM", str(e))
                    wait_until(lambda: False, 0.5)
        cold = r.info("memory")["keys_with_value_on_disk"]
        self.assertGreater(cold, self.KEYS // 4)
        peak, ended = [0], threading.Event()

        def watch():
            while not ended.wait(0.02):
                peak[0] = max(peak[0], resident(server))
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            keys = ["key:%d" % i for i in range(self.KEYS)]
            for _ in range(3):
                with self.assertRaises(redis.ResponseError) as e:
                    r.mget(keys)
                self.assertIn("OOM the values of this command", str(e.exception))
            self.assertEqual(r.mget(keys[:200]), [b"v" * 60000] * 200)
            for key in keys[:4]:  # of one, cold or not, more often than an answer may hold
                with self.assertRaises(redis.ConnectionError):
                    redis.Redis(port=server.resp, password=PASSWORD, retry=None).mget([key] * 30000)
        finally:
            ended.set()
            watcher.join()
        print("peak of resident memory: %.1f MiB of %d" % (peak[0] / MIB, self.LIMIT // MIB))
        self.assertLess(peak[0], self.LIMIT * 1.5)
        self.assertEqual(r.get("key:1"), b"v" * 60000)


class HttpBuffers(Case):
    """A connection that has sent no whole header holds next to nothing: each had 64 KiB."""
    server_args = dict(args=["--memory=%d" % (256 * MIB)])

    def setUp(self):
        raise_descriptors()
        self.before = resident(self.server)

    def test_idle_connections(self):
        n, answer = 4000, b"HTTP/1.1 200"
        with Crowd(self.server.http, n, b"GET /-/health/live HTTP/1.1\r\nHost: x\r\n\r\n") as crowd:
            for s in crowd.sockets:
                s.settimeout(PATIENCE)
                self.assertEqual(s.recv(len(answer), socket.MSG_WAITALL), answer)
            grown = resident(self.server) - self.before
            print("%d idle connections: %.1f KiB each" % (n, grown / n / 1024))
            self.assertLess(grown, n * (20 << 10))
            self.server.s3().list_buckets()

    def test_half_headers(self):
        n, half = 4000, b"GET / HTTP/1.1\r\nHost: x\r\nx-filler: " + b"f" * 15000
        with Crowd(self.server.http, n, half):
            grown = resident(self.server) - self.before
            print("%d half headers: %.1f KiB each" % (n, grown / n / 1024))
            # 32 MiB of buffers, and what a connection is without.
            self.assertLess(grown, (48 * MIB) + n * (16 << 10))
            self.assertTrue(self.server.redis().ping())

    def test_bodies_that_a_handler_keeps(self):
        """Each was kept whole while its client was waited for."""
        n, s3 = 300, self.server.s3()
        s3.create_bucket(Bucket="bodies")
        headers = signed("POST", self.server.http, "/bodies", "delete=", {"content-length": "1000000", "content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="})[0]
        head = "".join("%s: %s\r\n" % item for item in headers.items())
        half = b"POST /bodies?delete= HTTP/1.1\r\n%s\r\n<Delete>" % head.encode() + b"<Object><Key>a</Key></Object>" * 30000
        before = resident(self.server)
        with Crowd(self.server.http, n, half) as crowd:
            refused = 0
            for s in crowd.sockets:
                s.settimeout(0.2)
                try:
                    refused += b" 503 " in s.recv(100)
                except (TimeoutError, ConnectionError):
                    pass
            grown = resident(self.server) - before
            print("%d bodies of 1 MB: %.1f MiB, %d refused" % (n, grown / MIB, refused))
            self.assertGreater(refused, 0)
            self.assertLess(grown, (64 * MIB) + n * (100 << 10))  # and what its socket buffers held

if __name__ == "__main__":
    unittest.main()
