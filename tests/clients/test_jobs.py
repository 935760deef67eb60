"""Stock clients doing real jobs, each a program in jobs/, with the server killed in the middle: with
`always`, all that was acknowledged is there afterwards.

CAIRN_JOBS_SERVER=redis-server runs them on redis-server instead: a job must be fair."""
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

from harness import PASSWORD, PATIENCE, Server, install_npm, wait_until

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "jobs")


def free_port():
    """One that stays free while nobody listens: not of those that the kernel gives to whoever asks for any,
    or to the clients that try again and again."""
    while True:
        port = random.randrange(20000, 30000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Cairn(Server):
    def __init__(self, *args):
        self.port = free_port()
        super().__init__(args=["--durability=always", *args])

    def start(self):
        self.launch((self.port, 0, 0))
        self.wait_until_ready()


class Redis:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="cairn-test-")
        self.port = free_port()
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--dir", self.directory, "--requirepass", PASSWORD, "--save", "",
             "--appendonly", "yes", "--appendfsync", "always"], stdout=subprocess.DEVNULL)
        assert wait_until(self.is_ready)

    def is_ready(self):
        out = subprocess.run(["redis-cli", "-p", str(self.port), "-a", PASSWORD, "ping"], capture_output=True)
        return out.stdout == b"PONG\n"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def remove(self):
        self.kill()
        shutil.rmtree(self.directory)


class Job(unittest.TestCase):
    def setUp(self):
        self.server = {"cairnd": Cairn, "redis-server": Redis}[os.environ.get("CAIRN_JOBS_SERVER", "cairnd")]()
        self.addCleanup(self.server.remove)
        self.directory = tempfile.mkdtemp(prefix="cairn-job-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def job(self, *words, kills):
        """Runs a program to its end, and kills the server as often as it asks, which must be `kills` times."""
        port = self.server.port
        env = dict(os.environ, REDIS_URL="redis://:%s@127.0.0.1:%d" % (PASSWORD, port), REDIS_PORT=str(port),
                   REDIS_PASSWORD=PASSWORD, REDISCLI_AUTH=PASSWORD, JOB_DIRECTORY=self.directory,
                   PYTHONDONTWRITEBYTECODE="1")
        with open(os.path.join(self.directory, "stderr.log"), "wb") as errors:
            process = subprocess.Popen(words, cwd=HERE, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=errors, start_new_session=True)
        # Its workers go with it, however it ends: they are of the group that it leads.
        end = threading.Timer(3 * PATIENCE, os.killpg, (process.pid, signal.SIGKILL))
        end.start()
        said, killed = [], 0
        try:
            for line in iter(process.stdout.readline, b""):
                said.append(line.decode(errors="replace"))
                if line == b"ask kill\n":
                    killed += 1
                    self.server.kill()
                elif line == b"ask start\n":
                    self.server.start()
                if line.startswith(b"ask "):
                    # One that has ended in the meantime left its reason in its output, which is read to the end.
                    with contextlib.suppress(BrokenPipeError):
                        os.write(process.stdin.fileno(), line[4:-1] + b" done\n")
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        finally:
            end.cancel()
            os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
            process.stdin.close()
            process.stdout.close()
        # A program in JavaScript also ends when nothing can happen any more; "done" is said by one that came through.
        self.assertEqual((code, killed, said[-1:]), (0, kills, ["done\n"]), "".join(said) + self.logs())

    def logs(self):
        out = ""
        for base, _, names in os.walk(self.directory):
            for name in sorted(n for n in names if n.endswith(".log")):
                with open(os.path.join(base, name), errors="replace") as f:
                    out += "\n--- %s\n%s" % (name, f.read()[-4000:])
        return out


class DebianJobs(Job):
    def test_celery(self):
        self.job(sys.executable, "-W", "ignore", "celery_job.py", kills=3)

    def test_rq(self):
        self.job(sys.executable, "-W", "ignore", "rq_job.py", kills=3)

    def test_sidekiq(self):
        self.job(sys.executable, "-W", "ignore", "sidekiq_job.py", kills=3)

    def test_django_redis(self):
        self.job(sys.executable, "-W", "ignore", "django_redis_job.py", kills=1)

    def test_hiredis(self):
        program = os.path.join(self.directory, "hiredis_job")
        subprocess.check_call(["gcc", "-Wall", "-Wextra", "-O1", "-o", program, "hiredis_job.c", "-lhiredis"], cwd=HERE)
        self.job(program, kills=2)


class NpmJobs(Job):
    """Clients from npm, in the versions that jobs/package-lock.json names; the first run installs them."""

    @classmethod
    def setUpClass(cls):
        install_npm(HERE)

    def test_ioredis(self):
        self.job("node", "ioredis.js", kills=4)

    def test_node_redis(self):
        self.job("node", "node_redis.js", kills=6)

    def test_bullmq(self):
        self.job("node", "bullmq.js", kills=5)

    def test_socketio(self):
        self.job("node", "socketio.js", kills=4)

    def test_socketio_streams(self):
        self.job("node", "socketio_streams.js", kills=2)

    def test_cluster(self):
        self.server.remove()
        self.server = Cairn("--cluster-enabled=yes")
        self.addCleanup(self.server.remove)
        self.job("node", "cluster.js", kills=1)

    def test_redlock(self):
        self.job("node", "redlock.js", kills=1)

    def test_rate_limiter_flexible(self):
        self.job("node", "rate_limiter.js", kills=2)

    def test_connect_redis(self):
        self.job("node", "connect_redis.js", kills=1)


if __name__ == "__main__":
    unittest.main()
