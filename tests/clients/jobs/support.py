"""What the jobs in Python share. A job is a program: the environment says where the server is, and it
asks for kills by lines on its output, which test_jobs.py answers on its input."""
import os
import subprocess
import sys
import tempfile
import threading
import time

URL = os.environ["REDIS_URL"]  # without a database: URL + "/0"
HOST, PORT, PASSWORD = "127.0.0.1", int(os.environ["REDIS_PORT"]), os.environ["REDIS_PASSWORD"]
HERE = os.path.dirname(os.path.abspath(__file__))


def ask(what):
    """`kill` (with SIGKILL) or `start`: returns when it is done."""
    print("ask " + what, flush=True)
    answer = sys.stdin.readline()
    assert answer == what + " done\n", answer


def crash():
    ask("kill")
    ask("start")


def check(is_so, *what):
    if not is_so:
        raise AssertionError(*what)


def wait_for(condition, what, patience=300):
    """Ends a job that hangs; no job depends on how long something takes."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain", what)


def accept_through_kills(accepted, produce, refusal, counts, what):
    """Adds what produce(1), produce(2), … return to `accepted`, from another thread, and kills the server once so many
    are in it, for each of `counts`. What a `refusal` was thrown for is not accepted: nobody was promised anything."""
    enough, most = threading.Event(), 0

    def work():
        i = 0
        while not enough.is_set():
            if len(accepted) >= most:
                time.sleep(0.001)
                continue
            i += 1
            try:
                accepted.append(produce(i))
            except refusal:
                pass
    producer = threading.Thread(target=work)
    producer.start()
    for at_least in counts:
        most = at_least + 20  # so it goes on at the kill, but not for as long as a busy machine takes for it
        wait_for(lambda: len(accepted) >= at_least, what)
        crash()
    enough.set()
    producer.join()


def folder():
    """One that goes with the test."""
    return tempfile.mkdtemp(dir=os.environ["JOB_DIRECTORY"])


class Worker:
    """A worker of a queue, with its output in a file that the test shows when the job fails."""

    def __init__(self, words, **environment):
        self.words, self.environment = words, environment
        self.start()

    def start(self):
        name = os.path.join(os.environ["JOB_DIRECTORY"], os.path.basename(self.words[0]) + ".log")
        with open(name, "ab") as log:
            self.process = subprocess.Popen(self.words, cwd=HERE, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=dict(os.environ, **self.environment))

    def revive(self):
        """As whoever looks after a worker does when it has ended."""
        if self.process.poll() is not None:
            self.start()

    def stop(self):
        self.process.terminate()
        self.process.wait()


def done():
    print("done", flush=True)
