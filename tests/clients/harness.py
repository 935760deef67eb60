"""Starts the real server for a test: free ports, a directory of its own, stopped by process id."""
import filecmp
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("CAIRN_BUILD", os.path.join(ROOT, "build", "release"))
SANITIZED = os.path.basename(BUILD) in ("asan", "tsan")
USER, PASSWORD = "tester", "tester-password-1"
PATIENCE = 180  # seconds, after which something hangs, however busy the machine is


def disk_of(mb, directory):
    """What to start a server with, so that `directory` is a disk of its own of so many MiB, which
    goes with the server: no root is needed where the kernel gives users their own mounts."""
    return ["unshare", "-Urm", "sh", "-c", 'mount -t tmpfs -o size=%dm none "$0" && exec "$@"' % mb, directory]


def has_small_disks():
    with tempfile.TemporaryDirectory() as d:
        return subprocess.run(disk_of(1, d) + ["true"], capture_output=True).returncode == 0


class Disk:
    """A disk of so many MiB that outlives the servers on it; their command lines begin with `before`."""
    def __init__(self, mb):
        self.directory = tempfile.mkdtemp(prefix="cairn-disk-")
        self.holder = subprocess.Popen(
            ["unshare", "-Urm", "sh", "-c",
             'mount -t tmpfs -o size=%dm none "$0" && echo ready && exec sleep 100000' % mb, self.directory],
            stdout=subprocess.PIPE)
        if self.holder.stdout.readline().strip() != b"ready":
            raise unittest.SkipTest("the kernel gives no mounts of one's own")
        self.before = ["nsenter", "-t", str(self.holder.pid), "-U", "-m", "--preserve-credentials"]

    def remove(self):
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()
        shutil.rmtree(self.directory, ignore_errors=True)


class Server:
    def __init__(self, directory=None, env=None, args=(), threads=2, credentials=True, disk_mb=None,
                 preexec=None, before=()):
        self.own = directory is None
        self.directory = directory or tempfile.mkdtemp(prefix="cairn-test-")
        self.env = dict(os.environ)
        self.env.pop("CAIRN_ROOT_USER", None)
        self.env.pop("CAIRN_ROOT_PASSWORD", None)
        if credentials:
            self.env.update(CAIRN_ROOT_USER=USER, CAIRN_ROOT_PASSWORD=PASSWORD)
        self.env.update(env or {})
        self.args = list(args)
        self.threads = threads
        self.before = list(before) if disk_mb is None else disk_of(disk_mb, self.directory)
        self.preexec = preexec  # runs in the server's process before the server, for limits
        self.process = None
        self.start()

    def start(self):
        self.launch()
        self.wait_until_ready()

    def launch(self, ports=(0, 0, 0)):
        self.log = open(os.path.join(self.directory, "..", os.path.basename(self.directory) + ".log"), "ab")
        self.process = subprocess.Popen(
            self.before + [os.path.join(BUILD, "cairnd"), "--data=" + os.path.join(self.directory, "data"),
             "--resp=127.0.0.1:%d" % ports[0], "--http=127.0.0.1:%d" % ports[1],
             "--grpc=127.0.0.1:%d" % ports[2], "--threads=%d" % self.threads] + self.args,
            stdout=subprocess.PIPE, stderr=self.log, env=self.env, preexec_fn=self.preexec)

    def wait_until_ready(self):
        while True:
            line = self.process.stdout.readline().decode()
            if not line:
                raise RuntimeError("the server did not start: " + open(self.log.name).read()[-2000:])
            if line.startswith("ready "):
                break
        self.ports = {}
        for word in line.split()[1:]:
            door, address = word.split("=")
            self.ports[door] = int(address.rsplit(":", 1)[-1])
        self.resp, self.http, self.grpc = (self.ports[d] for d in ("resp", "http", "grpc"))

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=PATIENCE)
        self.process.stdout.close()
        self.log.close()
        return code

    def restart(self):
        self.kill()
        self.start()

    def remove(self):
        if self.process.poll() is None:
            self.kill()
        if self.own:
            shutil.rmtree(self.directory, ignore_errors=True)
            try:
                os.unlink(self.log.name)
            except OSError:
                pass

    def redis(self, **kwargs):
        import redis
        return redis.Redis(port=self.resp, password=PASSWORD, **kwargs)

    def s3(self, **config):
        import boto3
        from botocore.config import Config
        settings = dict(retries={"max_attempts": 0}, signature_version="s3v4",
                        s3={"addressing_style": "path"})
        settings.update(config)
        session = boto3.session.Session()  # the one that they share is not for threads
        return session.client("s3", endpoint_url="http://127.0.0.1:%d" % self.http,
                              aws_access_key_id=USER, aws_secret_access_key=PASSWORD,
                              region_name="us-east-1", config=Config(**settings))

    def grpc_stubs(self):
        return Grpc(self.grpc)


def resident(server, what="VmRSS"):
    """In bytes; none under a sanitizer, which holds more for itself than for the server."""
    with open("/proc/%d/status" % server.process.pid) as f:
        lines = [line for line in f if line.startswith(what + ":")]
    return 0 if SANITIZED else int(lines[0].split()[1]) << 10


def entry_bytes(r):
    """What keys, values and their tables take: used_memory without the process, clients and scripts."""
    info = r.info("memory")
    return info["used_memory"] - sum(info[k] for k in ("used_memory_startup", "mem_clients_normal", "used_memory_scripts"))


class Grpc:
    """The services with credentials, from stubs that protoc makes for the occasion."""
    _generated = None
    _generating = threading.Lock()

    def __init__(self, port, password=PASSWORD):
        import grpc
        self.protos()
        from cairn.v1 import admin_pb2, admin_pb2_grpc, common_pb2, kv_pb2, kv_pb2_grpc
        from cairn.v1 import objects_pb2, objects_pb2_grpc
        from cairn.v1 import collections_pb2, collections_pb2_grpc, events_pb2, events_pb2_grpc
        self.common, self.kv_pb, self.objects_pb, self.admin_pb = (
            common_pb2, kv_pb2, objects_pb2, admin_pb2)
        self.metadata = (("authorization", "Bearer " + password),)
        self.channel = grpc.insecure_channel(
            "127.0.0.1:%d" % port, options=[("grpc.max_receive_message_length", 8 << 20)])
        self.kv = kv_pb2_grpc.KeyValueStub(self.channel)
        self.objects = objects_pb2_grpc.ObjectsStub(self.channel)
        self.admin = admin_pb2_grpc.AdminStub(self.channel)
        self.events_pb, self.events = events_pb2, events_pb2_grpc.EventsStub(self.channel)
        self.collections_pb = collections_pb2
        for service in ("Hashes", "Lists", "Sets", "SortedSets", "Streams"):
            setattr(self, service, getattr(collections_pb2_grpc, service + "Stub")(self.channel))

    @classmethod
    def protos(cls):
        with cls._generating:  # a second thread would import what is not made yet
            if not cls._generated:
                cls._generated = cls.generate()

    @staticmethod
    def generate():
        directory = tempfile.mkdtemp(prefix="cairn-stubs-")
        base = os.path.join(ROOT, "proto")
        names = ["cairn/v1/%s.proto" % n for n in ("common", "collections", "kv", "objects", "admin", "events")]
        subprocess.check_call([sys.executable, "-m", "grpc_tools.protoc", "-I" + base,
                               "-I/usr/include", "--python_out=" + directory,
                               "--grpc_python_out=" + directory] + names, cwd=base)
        sys.path.insert(0, directory)
        return directory

    def key(self, namespace, key):
        return self.common.Key(namespace=namespace, key=key if isinstance(key, bytes) else key.encode())

    def upload(self, namespace, key, data, **header):
        def parts():
            yield self.objects_pb.UploadRequest(
                header=self.objects_pb.UploadHeader(key=self.key(namespace, key), **header))
            for i in range(0, len(data), 1 << 20):
                yield self.objects_pb.UploadRequest(data=data[i:i + (1 << 20)])
        return self.objects.Upload(parts(), metadata=self.metadata).info

    def download(self, namespace, key, **range_):
        out = []
        for message in self.objects.Download(
                self.objects_pb.DownloadRequest(key=self.key(namespace, key), **range_),
                metadata=self.metadata):
            out.append(message.data)
        return b"".join(out)


class Case(unittest.TestCase):
    """A test with one server for the whole class."""
    server_args = dict()

    @classmethod
    def setUpClass(cls):
        cls.server = Server(**cls.server_args)

    @classmethod
    def tearDownClass(cls):
        cls.server.remove()

    def raw_client(self):
        """A socket that is logged in, and its number in CLIENT LIST."""
        s = socket.create_connection(("127.0.0.1", self.server.resp))
        self.addCleanup(s.close)
        s.sendall(command(b"AUTH", PASSWORD.encode()) + command(b"CLIENT", b"ID"))
        answer = b""
        while answer.count(b"\r\n") < 2:
            answer += s.recv(100)
        return s, answer.split(b":")[1].strip().decode()


def raw(port, data, timeout=60, shut=True):
    """Sends bytes and returns all that comes back until the server closes or falls silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as s:
        try:
            s.sendall(data)
            if shut:
                s.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        out = b""
        try:
            while True:
                part = s.recv(1 << 16)
                if not part:
                    break
                out += part
        except OSError:
            pass
        return out


def command(*words):
    """A command of byte strings as RESP has it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def run_histories(history, first_seed, seconds):
    """history(seed) with one seed after the other: at least one, then as long as there is time."""
    end, seed = time.monotonic() + seconds, first_seed
    while time.monotonic() < end or seed == first_seed:
        history(seed)
        seed += 1
    print("against redis-server: seeds %d to %d" % (first_seed, seed - 1))


def write_readme(begin, end, made):
    """Puts what was made between these two lines of the README."""
    path = os.path.join(ROOT, "README.md")
    with open(path, encoding="utf-8") as f:
        head, rest = f.read().split(begin)
    with open(path, "w", encoding="utf-8") as f:
        f.write(head + begin + made + end + rest.split(end)[1])


def has_node():
    if not (shutil.which("node") and shutil.which("npm")):
        return False
    version = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout
    return int(version[1:].split(".")[0]) >= 20


def install_npm(directory):
    """What package-lock.json in this directory names; the first run fetches it. It needs Node.js 20, and Debian 12 has
    an older one: who has none skips what is tested so, but not CI."""
    if not (has_node() or os.environ.get("CI")):
        raise unittest.SkipTest("Node.js 20 and npm are not here")
    lock = os.path.join(directory, "package-lock.json")
    stamp = os.path.join(directory, "node_modules", "installed.json")
    if not (os.path.exists(stamp) and filecmp.cmp(lock, stamp, shallow=False)):
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"], cwd=directory, check=True)
        shutil.copyfile(lock, stamp)


def wait_until(check, timeout=PATIENCE):
    """No test depends on how long something takes: this ends one that would hang."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.02)
    return False
