"""The server as a process, and the cairn tool: flags, errors that name what is wrong, exit codes, TLS."""
import json
import os
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import unittest

import golden
import compatibility
from harness import BUILD, PASSWORD, PATIENCE, ROOT, USER, Case, Server, command, raw

GOLDEN = os.path.join(ROOT, "tests", "golden")
ROOT_USER = dict(CAIRN_ROOT_USER=USER, CAIRN_ROOT_PASSWORD=PASSWORD)


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
                        (["--data=/proc/nowhere"], "cannot make the data directory /proc/nowhere: "),
                        (["--data=%s/no/such/place" % d], "%s/no/such does not exist" % d),
                ]:
                    if not any(a.startswith("--data") for a in args):
                        args = args + ["--data=%s/third" % d]
                    got = cairnd(*args, **ROOT_USER)
                    self.assertEqual((got.returncode, got.stdout), (1, ""), args)
                    self.assertIn(want, got.stderr, args)
                self.assertEqual(cairnd("--data=%s/x" % d, CAIRN_ROOT_USER="a", CAIRN_ROOT_PASSWORD="short").returncode, 1)
                got = cairnd("--data=%s/port" % d, "--grpc=127.0.0.1:%d" % server.resp, "--resp=127.0.0.1:0", "--http=127.0.0.1:0")
                self.assertRegex(got.stderr.splitlines()[-1], r" error cairnd: cannot listen on 127.0.0.1:\d+: Address already in use$")
                self.assertNotIn("{", got.stderr)
                got = cairnd("--data=%s/no/such/place" % d, "--log-format=json")
                self.assertEqual([json.loads(line)["level"] for line in got.stderr.splitlines()], ["error"])
            finally:
                server.remove()

    def test_what_cannot_be_asked_for_is_an_error_of_usage_that_says_what_can(self):
        with tempfile.TemporaryDirectory() as d:
            pem = os.path.join(d, "some.pem")
            open(pem, "w").close()
            for args, want in [
                    (["--resp=nonsense"], "--resp: 'nonsense' is not HOST:PORT"),
                    (["--http=:16379"], "--http: ':16379' has no host: say 127.0.0.1:16379"),
                    (["--unknown=1"], "--unknown"),
                    (["--durability=sometimes"], "--durability: 'sometimes' is none of always, everysec and off"),
                    (["--memory=12parsecs"], "'12parsecs' is no size: say 512mb"),
                    (["--memory=-1"], "'-1' is no size"),
                    (["--memory=1kb"], "'1kb' is less than"),
                    (["--memory=1e400gb"], "no size"),
                    (["--threads=many"], "--threads: "),
                    (["--space-amplification=nan"], "--space-amplification: "),
                    (["--space-amplification=inf"], "--space-amplification: "),
                    (["--maxclients=abc"], "--maxclients: 'abc' is not a number of clients"),
                    (["--timeout=-1"], "--timeout: '-1' is not a number of seconds"),
                    (["--proto-max-bulk-len=1kb"], "--proto-max-bulk-len: '1kb' is not a size of at least 1mb"),
                    (["--maxmemory-clients=150%"], "--maxmemory-clients: '150%' is not a size"),
                    (["--client-output-buffer-limit=x"], "--client-output-buffer-limit: 'x' is not CLASS"),
                    (["--region="], "--region needs a value"),
                    (["--region", ""], "--region: must not be empty"),
                    (["--domain", ""], "--domain: must not be empty"),
                    (["--data", ""], "--data: must not be empty"),
                    (["--region=a", "--region=b"], "--region is given more than once"),
                    (["--resp-tls=127.0.0.1:0"], "--tls-cert"),
                    (["--tls-cert=" + pem, "--tls-key=" + pem], "there is none"),
                    (["--config=%s/none.toml" % d], "none.toml"),
            ]:
                got = cairnd(*([] if args[0].startswith("--data") else ["--data=%s/data" % d]), *args, **ROOT_USER)
                self.assertEqual((got.returncode, got.stdout), (2, ""), args)
                self.assertIn(want, got.stderr, args)
            path = os.path.join(d, "c.toml")
            for text, want in [
                    ("thread = 2\n", ":1: 'thread' is no flag of cairnd"),
                    ("# some\n\nthreads = \"many\"\n", ":3: threads: "),
                    ("memory = \"1kb\"\n", ":1: memory: '1kb' is less than"),
                    ("threads = 1\nresp = \"nonsense\"\n", ":2: resp: 'nonsense' is not HOST:PORT"),
                    ("maxclients = \"abc\"\n", ":1: maxclients: 'abc' is not a number"),
                    ("repair = \"maybe\"\n", ":1: repair: is true or false"),
                    ("region = \"\"\n", ":1: region: must not be empty")]:
                open(path, "w").write(text)
                got = cairnd("--config=" + path, "--data=%s/data" % d, **ROOT_USER)
                self.assertEqual((got.returncode, got.stdout), (2, ""), text)
                self.assertIn(path + want, got.stderr, text)
                self.assertNotIn("INI", got.stderr)

    def test_help_is_text_and_sizes_have_fractions(self):
        got = cairnd("--help")
        self.assertEqual(got.returncode, 0)
        self.assertNotIn("\0", got.stdout)
        self.assertRegex(got.stdout, r"--durability .*everysec")
        for name, default in (("maxclients", "10000"), ("timeout", "0"), ("proto-max-bulk-len", "536870912"),
                              ("maxmemory-clients", ""), ("client-output-buffer-limit", "normal 0 0 0 ")):
            self.assertRegex(got.stdout, r"--%s TEXT=%s" % (name, default))
        self.assertIn("CAIRN_ROOT_PASSWORD", got.stdout.split("Options:")[1])
        for text, want in (("1.5gb", 3 << 29), ("512mb", 512 << 20), ("1GiB", 1 << 30), ("0", 0), ("2097152", 2 << 20)):
            server = Server(args=["--memory=" + text])
            try:
                self.assertEqual(server.redis().config_get("maxmemory")["maxmemory"], str(want))
            finally:
                server.remove()

    def test_flags_come_from_a_file_too(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "c.toml")
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

    def test_no_other_signal_ends_it_and_sigquit_ends_it_clean(self):
        server = Server(args=["--durability=off"])
        self.addCleanup(server.remove)
        r = server.redis()
        self.assertEqual(os.path.realpath(r.info("server")["executable"]), os.path.realpath(os.path.join(BUILD, "cairnd")))
        r.set("k", "v")
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO,
                       signal.SIGPWR, signal.SIGPIPE, signal.SIGRTMIN, signal.SIGRTMAX):
            server.process.send_signal(number)
            self.assertTrue(r.ping(), number)
        server.process.send_signal(signal.SIGQUIT)
        self.assertEqual(server.process.wait(PATIENCE), 0)
        server.process.stdout.close()
        server.start()
        self.assertEqual(server.redis().get("k"), b"v")

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
                got = subprocess.run([os.path.join(BUILD, "cairn"), "--server", "localhost:%d" % server.ports["grpc-tls"], "--ca", cert, "get", "db0/t"],
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


class Told(unittest.TestCase):
    """What goes wrong is told in the log, counted in the metrics, and seen in readiness."""

    def log_of(self, server):
        return open(server.log.name).read()

    def http(self, server, path, password=PASSWORD):
        out = subprocess.check_output(["curl", "-s", "-u", "%s:%s" % (USER, password),
                                       "http://127.0.0.1:%d/-/%s" % (server.http, path)])
        return out.decode()

    def test_a_store_that_was_never_written_to_starts_again_without_a_warning(self):
        with tempfile.TemporaryDirectory() as d:
            server = Server(directory=d)
            for _ in range(2):
                self.assertEqual(server.stop(), 0)
                server.start()
            self.assertNotIn("checkpoint-", self.log_of(server))
            data = os.path.join(d, "data")
            for harm, want in ((lambda f: open(f, "r+b").write(b"?"), "is damaged; the log alone"),
                               (os.unlink, "is missing; the log alone")):
                self.assertEqual(server.stop(), 0)
                newest = max(f for f in os.listdir(data) if f.startswith("checkpoint-"))
                harm(os.path.join(data, newest))
                server.start()
                self.assertIn("%s %s" % (newest, want), self.log_of(server))
            server.remove()

    def test_damaged_values(self):
        with tempfile.TemporaryDirectory() as d:
            server = Server(directory=d)
            server.redis().set("blob", os.urandom(200000))
            self.assertEqual(self.http(server, "health/ready"), "ready\n")
            self.assertEqual(server.stop(), 0)
            data = os.path.join(d, "data")
            name = min(f for f in os.listdir(data) if f.startswith("extents-"))
            with open(os.path.join(data, name), "r+b") as f:
                f.seek(10000)
                byte = f.read(1)
                f.seek(10000)
                f.write(bytes([byte[0] ^ 1]))
            server.start()
            import redis
            with self.assertRaises((redis.ResponseError, redis.ConnectionError)):
                server.redis().get("blob")
            self.assertRegex(self.log_of(server), r" warning damage: a value cannot be read: a damaged block in %s at offset \d+" % name)
            self.assertRegex(self.http(server, "health/ready"), r"ready\nreads that met damage: [1-9]\d*, at last .*%s" % name)
            self.assertRegex(self.http(server, "metrics"), r"(?m)^cairn_damaged_reads_total [1-9]")
            self.assertEqual(server.stop(), 0)
            os.unlink(os.path.join(data, name))
            server.start()
            self.assertIn("%s is missing, with the values in it" % name, self.http(server, "health/ready"))
            server.remove()

    def test_large_values_that_the_disk_has_no_room_for(self):
        def no_more_than(mb):
            return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (mb << 20, mb << 20))
        server = Server(preexec=no_more_than(72))
        try:
            from botocore.exceptions import BotoCoreError, ClientError
            s3 = server.s3()
            s3.create_bucket(Bucket="large")
            with self.assertRaises((ClientError, BotoCoreError)) as refused:  # it may still be sending when that comes
                s3.put_object(Bucket="large", Key="k", Body=b"\0" * (80 << 20))
            if isinstance(refused.exception, ClientError):
                self.assertEqual(refused.exception.response["ResponseMetadata"]["HTTPStatusCode"], 507)
            self.assertIn(" warning refused: a large value is refused: ", self.log_of(server))
            self.assertRegex(self.http(server, "metrics"), r"(?m)^cairn_large_values_refused_total [1-9]")
        finally:
            server.remove()

    def test_wrong_passwords(self):
        import grpc
        server = Server()
        wrong = "wrong-canary-4712"
        try:
            for words in (("AUTH", wrong), ("AUTH", "no'body\n" + "x" * 100, wrong), ("AUTH", PASSWORD, wrong),
                          ("HELLO", "3", "AUTH", "eve", wrong)):
                got = raw(server.resp, command(*(w.encode() for w in words)))
                self.assertTrue(got.startswith(b"-WRONGPASS"), got)
            for password in (wrong, PASSWORD):
                import boto3
                from botocore.exceptions import ClientError
                client = boto3.client("s3", endpoint_url="http://127.0.0.1:%d" % server.http, region_name="us-east-1",
                                      aws_access_key_id="mallory" if password == PASSWORD else USER, aws_secret_access_key=password)
                with self.assertRaises(ClientError):
                    client.list_buckets()
            stubs = server.grpc_stubs()
            for sent, want in ((wrong, "wrong user or password"), (None, "send the metadata")):
                with self.assertRaises(grpc.RpcError) as refused:
                    stubs.admin.Info(stubs.admin_pb.InfoRequest(), metadata=(("authorization", "Bearer " + sent),) if sent else ())
                self.assertIn(want, refused.exception.details())
            self.assertEqual(self.http(server, "metrics", wrong), "wrong user or password\n")
            metrics = self.http(server, "metrics")
            for door, count in (("resp", 4), ("s3", 2), ("grpc", 1), ("metrics", 1)):
                self.assertIn('cairn_auth_failures_total{door="%s"} %d\n' % (door, count), metrics)
                self.assertRegex(self.log_of(server), r" warning auth-%s: wrong user or password: user '[^']{0,40}' from .*127.0.0.1:\d+" % door)
            for secret in (wrong, PASSWORD):
                self.assertNotIn(secret, self.log_of(server))
        finally:
            server.remove()

    def test_refusals_of_s3_say_what_was_asked(self):
        server = Server()
        try:
            s3 = server.s3()
            s3.create_bucket(Bucket="asked")
            r = server.redis()
            connection = r.connection_pool.get_connection("")
            connection.send_command("SELECT", "asked")
            connection.read_response()
            connection.send_command("HSET", "h", "f", "v")
            connection.read_response()
            from botocore.exceptions import ClientError
            for call, code, text in (
                    (lambda: s3.put_bucket_accelerate_configuration(Bucket="asked", AccelerateConfiguration={"Status": "Enabled"}),
                     "NotImplemented", "PUT ?accelerate of a bucket"),
                    (lambda: s3.select_object_content(Bucket="asked", Key="k", Expression="", ExpressionType="SQL", InputSerialization={},
                                                  OutputSerialization={}), "NotImplemented", "POST ?select of an object"),
                    (lambda: s3.delete_bucket(Bucket="asked"), "BucketNotEmpty", "keys that listings leave out")):
                with self.assertRaises(ClientError) as refused:
                    call()
                self.assertEqual(refused.exception.response["Error"]["Code"], code)
                self.assertIn(text, refused.exception.response["Error"]["Message"])
            s3.put_object(Bucket="asked", Key="h", Body=b"replaced")
            s3.delete_object(Bucket="asked", Key="h")
            s3.delete_bucket(Bucket="asked")
            out = subprocess.check_output(["curl", "-s", "http://127.0.0.1:%d/db0/k?AWSAccessKeyId=%s&Expires=99999999999&Signature=AAAA" % (server.http, USER)])
            self.assertIn(b"<Code>SignatureDoesNotMatch</Code>", out)
        finally:
            server.remove()


class Readme(Case):
    """What the README says can be done."""
    text = open(os.path.join(ROOT, "README.md"), encoding="utf-8").read()

    def test_the_table_of_compatibility_is_what_the_server_has(self):
        made = compatibility.table(*compatibility.rows_of(self.server))
        listed = self.text.split(compatibility.BEGIN)[1].split(compatibility.END)[0]
        self.assertEqual(listed, made, "run tests/clients/compatibility.py --write")

    def test_files_that_it_names_are_there(self):
        for path in re.findall(r"`((?:core|kv|objects|gateway|tools|tests|proto)/[\w./-]+)[ :`]", self.text):
            self.assertTrue(os.path.exists(os.path.join(ROOT, path)), path)

    def test_the_first_look_can_be_pasted(self):
        block = self.text.split("In the other:\n\n")[1].split("\n\n`build")[0]
        script = "\n".join(line[4:] for line in block.split("\n"))
        for plain, here in (("change-me-now", PASSWORD), ("ROOT_USER=root", "ROOT_USER=" + USER), ("KEY_ID=root", "KEY_ID=" + USER),
                            ("127.0.0.1:9000", "127.0.0.1:%d" % self.server.http), ("redis-cli", "redis-cli -p %d" % self.server.resp),
                            ("build/release/cairn", os.path.join(BUILD, "cairn"))):
            self.assertIn(plain, script)
            script = script.replace(plain, here)
        with tempfile.TemporaryDirectory() as d:
            got = subprocess.run(["bash", "-e"], input=script.encode(), cwd=d, capture_output=True,
                                 env={**os.environ, "CAIRN_SERVER": "127.0.0.1:%d" % self.server.grpc, "HOME": d})
            self.assertEqual(got.returncode, 0, got.stderr.decode() + got.stdout.decode())
            for want in (b"Ada", b"20000000", b"expires  2", b'"type":"set"'):
                self.assertIn(want, got.stdout)
            r = self.server.redis()
            self.assertGreater(self.server.s3().head_object(Bucket="photos", Key="pictures/a.jpg")["ContentLength"], 0)
            r.close()


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

    def test_what_it_says(self):
        def says(text, code, *args, **env):
            got = self.cairn(*args, **env)
            self.assertEqual(got.returncode, code, (args, got.stderr))
            self.assertRegex(got.stderr.decode() + got.stdout.decode(), text)
            return got.stderr.decode()
        with tempfile.TemporaryDirectory() as d:
            made = os.path.join(d, "made")
            open(made, "w").write("tester:" + PASSWORD + "\n")
            none = dict(CAIRN_ROOT_PASSWORD="")
            says(r"no password: set CAIRN_ROOT_PASSWORD or --credentials", 4, "--credentials", d + "/none", "info", **none)
            says(r"password refused \(from CAIRN_ROOT_PASSWORD\)", 4, "info", CAIRN_ROOT_PASSWORD="wrong")
            says(r"storage", 0, "--credentials", made, "info", **none)
            open(made, "w").write("tester:stale\n")
            says(r"password refused \(from %s\)" % made, 4, "--credentials", made, "info", **none)
            # What a server left behind before somebody chose a password is not tried.
            os.mkdir(os.path.join(d, "data"))
            os.rename(made, os.path.join(d, "data", "root-credentials"))
            open(os.path.join(d, "data", "root-configured"), "w").close()
            got = subprocess.run([os.path.join(BUILD, "cairn"), "info"], cwd=d, capture_output=True, text=True,
                                 env={**os.environ, **none})
            self.assertEqual((got.returncode, "started with CAIRN_ROOT_PASSWORD" in got.stderr), (4, True), got.stderr)

            says(r"nosuch", 2, "--ca", "nosuch", "info")
            self.assertEqual(self.cairn("put", "db0/s", "x").returncode, 0)
            says(r"(?s)modified 2\d{3}-\d\d-\d\dT[\d:.]+Z \(\d+ ms\)\nexpires  never\n", 0, "stat", "db0/s")
            self.server.redis().set("big", b"x" * (4 << 20))
            says(r"use: cairn cat db0/big", 2, "get", "db0/big")
            says(r"^$", 0, "mb", "cairn://tool-made")
            says(r"3 to 63 of a-z", 2, "mb", "b2")
            says(r"is no name of a bucket", 2, "mb", "cairn://tool-made/key")
            self.assertEqual(says(r"No such file", 2, "cp", "nosuchfile", "cairn://tool-made/x").count("nosuchfile"), 1)
            file = os.path.join(d, "file")
            open(file, "w").write("x")
            says(r"cairn: nobucket/x: no such bucket or database", 1, "cp", file, "cairn://nobucket/x")
            for sub, text in (("put", "until it expires"), ("ls", "what lies behind"), ("cp", "files at once"), ("bench", "bytes of a value")):
                got = self.cairn(sub, "--help").stdout.decode()
                self.assertNotIn("NAMESPACE", got)
                self.assertIn(text, got)

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

    # Directories that could not be read were left out without a word.
    def test_what_a_recursive_upload_leaves_out_it_names(self):
        self.assertEqual(self.cairn("mb", "partly").returncode, 0)
        with tempfile.TemporaryDirectory() as d:
            os.chmod(d, 0o755)
            tool = shutil.copy(os.path.join(BUILD, "cairn"), d)
            for name in ("in/a", "in/closed/b", "in/deep/c", "in/deep/closed/d", "in/z"):
                os.makedirs(os.path.dirname(os.path.join(d, name)), exist_ok=True)
                open(os.path.join(d, name), "w").write(name)
            os.symlink("nowhere", d + "/in/dangling")
            os.mkfifo(d + "/in/deep/pipe")
            closed = [d + "/in/closed", d + "/in/deep/closed"]
            for path in closed:
                os.chmod(path, 0)
            somebody = (lambda: os.setuid(65534)) if os.geteuid() == 0 else None
            got = subprocess.run([tool, "--server", "127.0.0.1:%d" % self.server.grpc, "cp", "-r", d + "/in", "cairn://partly/x"],
                                 capture_output=True, text=True, preexec_fn=somebody, cwd="/",
                                 env={**os.environ, "CAIRN_ROOT_USER": USER, "CAIRN_ROOT_PASSWORD": PASSWORD})
            self.assertEqual(got.returncode, 5, got.stderr)
            for path in closed + [d + "/in/dangling", d + "/in/deep/pipe"]:
                self.assertIn("left out %s: " % path, got.stderr)
            listed = [line.split()[1] for line in self.cairn("ls", "-r", "partly/").stdout.decode().splitlines()]
            self.assertEqual(listed, ["x/a", "x/deep/c", "x/z"])
            for path in closed:
                os.chmod(path, 0o755)

    # Two keys of one path overwrote each other, or mixed their bytes.
    def test_keys_that_are_no_name_of_a_file_of_their_own_are_refused_by_name(self):
        s3 = self.server.s3()
        s3.create_bucket(Bucket="paths")
        good = ["a", "b/c", "b/c.part", "b/c.part.part", "..a/b", "d-", "d/e", "x ", "\u00e9"]
        bad = ["a/b", "b//c", "b/./c", "b/../c", "./a", "../a", "/a", "/", "d/", ".", "..", "f/..", "b/c/e/f"]
        for key in good + bad:
            s3.put_object(Bucket="paths", Key="p/" + key, Body=key.encode() * 100_000)
        for parallel in ("1", "8"):
            with tempfile.TemporaryDirectory() as d:
                got = self.cairn("cp", "-r", "--parallel", parallel, "cairn://paths/p", d + "/out")
                self.assertEqual(got.returncode, 2)
                for key in bad:
                    self.assertIn("left out p/%s: " % key, got.stderr.decode())
                found = [os.path.relpath(os.path.join(at, f), d + "/out") for at, _, files in os.walk(d) for f in files]
                self.assertEqual(sorted(found), sorted(good))
                for key in good:
                    self.assertEqual(open(os.path.join(d, "out", key), "rb").read(), key.encode() * 100_000, key)

    def test_info_and_bench(self):
        self.assertIn(b"storage", self.cairn("info").stdout)
        self.assertEqual(self.cairn("bench", "-n", "200").returncode, 0)


if __name__ == "__main__":
    unittest.main()
