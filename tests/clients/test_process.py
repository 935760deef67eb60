"""The server as a process, and the cairn tool: flags, errors that name what is wrong, exit codes, TLS."""
import json
import os
import signal
import socket
import ssl
import subprocess
import tempfile
import unittest

import golden
from harness import BUILD, PASSWORD, PATIENCE, ROOT, USER, Case, Server, raw

GOLDEN = os.path.join(ROOT, "tests", "golden")


def cairnd(*args, **env):
    return subprocess.run([os.path.join(BUILD, "cairnd"), *args], capture_output=True, text=True, timeout=PATIENCE,
                          env={**os.environ, **env})


class Golden(unittest.TestCase):
    """Stores that earlier versions made; see make_golden.py."""

    def test_every_golden_store_opens(self):
        stores = sorted(os.listdir(GOLDEN))
        self.assertTrue(stores)
        for store in stores:
            for checkpoint in (True, False):
                with tempfile.TemporaryDirectory() as d:
                    subprocess.check_call(["tar", "-C", d, "-xf", os.path.join(GOLDEN, store)])
                    if not checkpoint:
                        for f in os.listdir(d + "/data"):
                            if f.startswith("checkpoint-"):
                                os.unlink(os.path.join(d, "data", f))
                    server = Server(directory=d)
                    try:
                        r = server.redis()
                        self.assertEqual(int(r.info("persistence")["recovered_from_checkpoint"]) > 0, checkpoint)
                        r.close()
                        golden.check(self, server)
                        self.assertEqual(server.stop(), 0)
                        server.start()
                        golden.check(self, server)
                    finally:
                        server.remove()


class Process(unittest.TestCase):
    def test_whenever_it_is_told_to_stop_what_it_acknowledged_stays(self):
        """In the first milliseconds after the Redis door opened the signal ended it without a flush."""
        server = Server()
        try:
            for n in range(12):
                self.assertEqual(server.stop(), 0)
                with socket.socket() as s:
                    s.bind(("127.0.0.1", 0))
                    port = s.getsockname()[1]
                server.launch((port, 0, 0))
                value = b"%d" % n
                while server.process.poll() is None:
                    try:
                        with socket.create_connection(("127.0.0.1", port)) as s:
                            s.sendall(b"AUTH %s\r\nSET k %s\r\n" % (PASSWORD.encode(), value))
                            s.settimeout(PATIENCE)
                            if s.recv(10, socket.MSG_WAITALL) == b"+OK\r\n+OK\r\n":
                                break
                    except ConnectionError:
                        pass
                self.assertEqual(server.stop(), 0)
                server.start()
                self.assertEqual(server.redis().get("k"), value)
        finally:
            server.remove()

    def test_a_directory_stays_locked_whatever_is_removed_from_it(self):
        server = Server()
        try:
            data = os.path.join(server.directory, "data")
            for name in os.listdir(data):
                if not name.startswith(("segment", "superblock")):
                    os.unlink(os.path.join(data, name))
            done = subprocess.run([os.path.join(BUILD, "cairnd"), "--data=" + data, *self.ports],
                                  capture_output=True, text=True, timeout=PATIENCE)
            self.assertEqual(done.returncode, 1)
            self.assertIn("another server has the data directory", done.stderr)
        finally:
            server.remove()

    ports = ("--resp=127.0.0.1:0", "--http=127.0.0.1:0", "--grpc=127.0.0.1:0")

    def test_errors_name_what_is_wrong(self):
        with tempfile.TemporaryDirectory() as d:
            server = Server(directory=d)
            try:
                for args, want in [
                        (["--data=%s/data" % d], "another server has the data directory"),
                        (["--data=%s/other" % d, "--resp=127.0.0.1:%d" % server.resp, "--http=127.0.0.1:0", "--grpc=127.0.0.1:0"], "cannot listen on 127.0.0.1:%d" % server.resp),
                        (["--data=%s/other" % d, "--http=127.0.0.1:%d" % server.http, "--resp=127.0.0.1:0", "--grpc=127.0.0.1:0"], "cannot listen on 127.0.0.1:%d" % server.http),
                        (["--data=%s/other" % d, "--grpc=127.0.0.1:%d" % server.grpc, "--resp=127.0.0.1:0", "--http=127.0.0.1:0"], "cannot listen on 127.0.0.1:%d" % server.grpc),
                        (["--resp=nonsense"], "is not HOST:PORT"),
                        (["--unknown=1"], "--unknown"),
                        (["--durability=sometimes"], "'sometimes' is none of always, everysec and off"),
                        (["--memory=12parsecs"], "'12parsecs' is no size: say 512mb"),
                        (["--memory=-1"], "'-1' is no size"),
                        (["--memory=1kb"], "'1kb' is less than"),
                        (["--memory=1e400gb"], "no size"),
                        (["--maxmemory-clients=150%"], "'150%' is no such value"),
                        (["--data=/proc/nowhere"], "/proc/nowhere"),
                        (["--resp-tls=127.0.0.1:0"], "--tls-cert"),
                ]:
                    if not any(a.startswith("--data") for a in args):
                        args = args + ["--data=%s/third" % d]
                    got = cairnd(*args)
                    self.assertNotEqual(got.returncode, 0, args)
                    self.assertIn(want, got.stderr + got.stdout, args)
                self.assertEqual(cairnd("--data=%s/x" % d, CAIRN_ROOT_USER="a", CAIRN_ROOT_PASSWORD="short").returncode, 1)
                got = cairnd("--data=%s/port" % d, "--grpc=127.0.0.1:%d" % server.resp, "--resp=127.0.0.1:0", "--http=127.0.0.1:0")
                self.assertRegex(got.stderr.splitlines()[-1], r"^cairnd: cannot listen on 127.0.0.1:\d+: Address already in use$")
                self.assertNotIn("{", got.stderr)
            finally:
                server.remove()

    def test_help_is_text_and_sizes_have_fractions(self):
        got = cairnd("--help")
        self.assertEqual(got.returncode, 0)
        self.assertNotIn("\0", got.stdout)
        self.assertRegex(got.stdout, r"--durability .*everysec")
        for text, want in (("1.5gb", 3 << 29), ("512mb", 512 << 20), ("1GiB", 1 << 30), ("0", 0), ("2097152", 2 << 20)):
            server = Server(args=["--memory=" + text])
            try:
                self.assertEqual(server.redis().config_get("maxmemory")["maxmemory"], str(want))
            finally:
                server.remove()

    def test_a_typo_in_the_configuration_file_is_named(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "c.toml")
            open(path, "w").write('thread = 2\n')
            got = cairnd("--config=" + path, "--data=" + d)
            self.assertEqual(got.returncode, 2)
            self.assertIn("thread", got.stderr + got.stdout)
            open(path, "w").write('threads = 1\nmemory = "64mb"\ndurability = "always"\n')
            server = Server(args=["--config=" + path])
            try:
                r = server.redis()
                self.assertEqual(r.config_get("maxmemory")["maxmemory"], str(64 << 20))
                self.assertEqual(r.config_get("appendfsync")["appendfsync"], "always")
            finally:
                self.assertEqual(server.stop(), 0)
                server.remove()

    def test_a_foreign_directory_is_refused_and_left_alone(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "segment-0000000000000000")
            open(path, "w").write("not a log")
            got = cairnd("--data=" + d, *self.ports)
            self.assertEqual(got.returncode, 1)
            self.assertIn("superblock-0 is missing", got.stderr)
            self.assertEqual(open(path).read(), "not a log")

    def test_damage_in_the_middle_is_refused_and_repair_goes_on(self):
        with tempfile.TemporaryDirectory() as d:
            server = Server(directory=d)
            r = server.redis()
            r.config_set("appendfsync", "always")
            for i in range(50):
                r.set("k%d" % i, "v" * 100)
            server.kill()  # a clean shutdown would leave a checkpoint, which tells all of this too
            path = os.path.join(d, "data", "segment-0000000000000000")
            with open(path, "r+b") as f:
                f.seek(4096 * 10 + 100)
                f.write(b"damage")
            got = cairnd("--data=" + os.path.join(d, "data"), *self.ports, CAIRN_ROOT_USER=USER,
                         CAIRN_ROOT_PASSWORD=PASSWORD)
            self.assertEqual(got.returncode, 1)
            self.assertIn("is damaged at offset 40960", got.stderr)
            self.assertIn("--repair", got.stderr)
            server = Server(directory=d, args=["--repair"])
            self.assertGreaterEqual(server.redis().dbsize(), 45)
            server.remove()

    def test_sigterm_flushes_and_exits_zero_with_any_storage_engine(self):
        for io in ("uring", "threads"):
            with tempfile.TemporaryDirectory() as d:
                server = Server(directory=d, args=["--io=" + io, "--durability=off"])
                r = server.redis()
                data = os.urandom(300000)
                for i in range(100):
                    r.set("k%d" % i, i)
                r.set("blob", data)
                self.assertEqual(server.stop(), 0)
                server.start()
                r = server.redis()
                self.assertEqual((r.dbsize(), r.get("k99"), r.get("blob")), (101, b"99", data))
                r.shutdown(nosave=True)
                self.assertEqual(server.process.wait(20), 0)
                server.remove()

    def test_tls_on_all_doors(self):
        with tempfile.TemporaryDirectory() as d:
            cert, key = os.path.join(d, "cert.pem"), os.path.join(d, "key.pem")
            subprocess.check_call(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                                   "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert],
                                  stderr=subprocess.DEVNULL)
            server = Server(args=["--tls-cert=" + cert, "--tls-key=" + key, "--resp-tls=127.0.0.1:0",
                                  "--http-tls=127.0.0.1:0", "--grpc-tls=127.0.0.1:0"])
            try:
                import redis, grpc
                r = redis.Redis(port=server.ports["resp-tls"], password=PASSWORD, ssl=True, ssl_ca_certs=cert)
                data = os.urandom(200000)
                r.set("t", data)
                self.assertEqual(r.get("t"), data)
                out = subprocess.check_output(["curl", "-s", "--cacert", cert, "https://localhost:%d/-/health/ready" % server.ports["http-tls"]])
                self.assertEqual(out, b"ready\n")
                got = subprocess.run([os.path.join(BUILD, "cairn"), "--server", "localhost:%d" % server.ports["grpc-tls-port"], "--ca", cert, "get", "db0/t"],
                                     capture_output=True, env={**os.environ, "CAIRN_ROOT_PASSWORD": PASSWORD})
                self.assertEqual(got.stdout.rstrip(b"\n")[:1000], data[:1000].rstrip(b"\n") if len(data[:1000].rstrip(b"\n")) == 1000 else got.stdout[:1000])
            finally:
                server.remove()

    def test_no_secret_in_the_log(self):
        server = Server(env={"CAIRN_ROOT_PASSWORD": "canary-secret-4711"})
        name = server.log.name
        raw(server.resp, b"AUTH canary-secret-4711\r\nINFO\r\nCONFIG GET *\r\n")
        server.stop()
        self.assertNotIn("canary-secret-4711", open(name).read())
        server.remove()


class Tool(Case):
    def cairn(self, *args, **env):
        return subprocess.run([os.path.join(BUILD, "cairn"), "--server", "127.0.0.1:%d" % self.server.grpc, *args],
                              capture_output=True, timeout=PATIENCE, env={**os.environ, "CAIRN_ROOT_USER": USER, "CAIRN_ROOT_PASSWORD": PASSWORD, **env})

    def test_values_and_exit_codes(self):
        self.assertEqual(self.cairn("put", "db0/a", "hello").returncode, 0)
        self.assertEqual(self.cairn("get", "db0/a").stdout, b"hello")
        self.assertEqual(self.cairn("put", "db0/a", "x", "--new").returncode, 3)
        self.assertEqual(self.cairn("get", "db0/none").returncode, 1)
        self.assertEqual(self.cairn("get", "nokey").returncode, 2)
        self.assertEqual(self.cairn("nosuch").returncode, 2)
        self.assertEqual(self.cairn("get", "db0/a", CAIRN_ROOT_PASSWORD="wrong").returncode, 4)
        self.assertEqual(self.cairn("--server", "127.0.0.1:1", "get", "db0/a").returncode, 5)
        self.assertEqual(json.loads(self.cairn("--json", "stat", "db0/a").stdout)["size_bytes"], "5")
        self.assertEqual(self.cairn("del", "db0/a").returncode, 0)
        self.assertEqual(self.cairn("del", "db0/a").returncode, 1)

    def test_recursive_copies_there_and_back(self):
        self.assertEqual(self.cairn("mb", "files").returncode, 0)
        with tempfile.TemporaryDirectory() as d:
            os.makedirs(os.path.join(d, "in", "deep"))
            for name, size in (("in/a", 10), ("in/deep/b", 300000), ("in/deep/empty", 0)):
                open(os.path.join(d, name), "wb").write(os.urandom(size))
            self.assertEqual(self.cairn("cp", "-r", d + "/in", "cairn://files/x").returncode, 0)
            self.assertIn(b"x/deep/b", self.cairn("ls", "-r", "files/").stdout)
            self.assertEqual(self.cairn("cp", "-r", "cairn://files/x", d + "/out").returncode, 0)
            self.assertEqual(subprocess.call(["diff", "-r", d + "/in", d + "/out"]), 0)
            self.assertEqual(self.cairn("cp", "cairn://files/x/a", "cairn://files/y").returncode, 0)
            self.assertEqual(self.cairn("cat", "files/y").stdout, open(d + "/in/a", "rb").read())
            self.server.redis().execute_command("SELECT", "files")
            self.server.s3().put_object(Bucket="files", Key="z/../../escape", Body=b"x")
            self.assertEqual(self.cairn("cp", "-r", "cairn://files/z", d + "/out2").returncode, 2)
            self.assertFalse(os.path.exists(os.path.join(d, "escape")))

    def test_info_and_bench(self):
        self.assertIn(b"storage", self.cairn("info").stdout)
        self.assertEqual(self.cairn("bench", "-n", "200").returncode, 0)


if __name__ == "__main__":
    unittest.main()
