"""Connections and the process: what clients may hold, how long, and how they are parted with."""
import os
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

from harness import BUILD, PASSWORD, Case, Server, command, wait_until


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


class Credentials(unittest.TestCase):
    def test_a_door_for_everybody_demands_a_password_at_every_address(self):
        with tempfile.TemporaryDirectory() as d:
            cert, key = os.path.join(d, "cert.pem"), os.path.join(d, "key.pem")
            subprocess.check_call(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                                   "/CN=localhost", "-keyout", key, "-out", cert], stderr=subprocess.DEVNULL)
            import redis
            for address, open_to_all in (("0.0.0.0", False), ("127.0.0.1", True)):
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


class Descriptors(unittest.TestCase):
    def test_idle_clients_leave_the_storage_what_it_needs(self):
        def few():
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        server = Server(preexec=few)
        self.addCleanup(server.remove)
        r = server.redis()
        r.ping()
        doors = [server.resp, server.http]
        idle = [socket.create_connection(("127.0.0.1", doors[i % 2])) for i in range(300)]
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
            return all(server.redis().ping() for _ in range(20)) and server.s3().list_buckets()
        except Exception:
            return False


if __name__ == "__main__":
    unittest.main()
