"""Sidekiq: its threads take a job by BRPOP and tell nobody, so that what they were about to get, or had
and could not give back, is lost at a kill on any server. The server is killed under a producer, and
while all threads are busy with jobs."""
import os
import subprocess
import threading

import redis

from gate import how_many_wait_at, open_gate
from support import HERE, PASSWORD, PORT, Worker, check, crash, done, folder, wait_for

THREADS = 5
r = redis.Redis(port=PORT, password=PASSWORD)
gate = os.path.join(folder(), "gate")

# A producer, and two kills.
producer = subprocess.Popen(["ruby", "-W0", "sidekiq_push.rb"], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
accepted = []
reader = threading.Thread(target=lambda: [accepted.append(int(line)) for line in iter(producer.stdout.readline, b"")])
reader.start()
for accepted_at_least in (50, 100):
    wait_for(lambda: len(accepted) >= accepted_at_least, "jobs to be accepted")
    crash()
producer.stdin.close()
reader.join()
check(producer.wait() == 0, "the producer ended by an error")
later = [n for n in accepted if n % 7 == 0]
check(r.zcard("schedule") >= len(later), "scheduled jobs are not there", r.zcard("schedule"), len(later))

# Jobs that all threads are busy with, and a kill.
held = range(-THREADS, 0)
push = "require './sidekiq_worker'; ARGV[1..].each { |n| Job.set(queue: 'first').perform_async(n.to_i, 0, ARGV[0]) }"
subprocess.check_call(["ruby", "-W0", "-e", push, gate, *map(str, held)], cwd=HERE)
worker = Worker(["sidekiq", "-r", "./sidekiq_worker.rb", "-c", str(THREADS), "-q", "first", "-q", "default"])
wait_for(lambda: how_many_wait_at(gate) == THREADS, "all threads to be busy")
crash()
open_gate(gate)
now = set(accepted) - set(later) | set(held)
wait_for(lambda: now <= {int(n) for n in r.smembers("done")}, "the jobs")
tries = {int(n): int(count) for n, count in r.hgetall("tries").items()}
check(all(tries[n] >= 2 for n in now if n > 0 and n % 17 == 0), "jobs that failed once were tried again", tries)

# Scheduled jobs: all of them now.
r.zadd("schedule", {job: 0 for job in r.zrange("schedule", 0, -1)})
wait_for(lambda: set(accepted) <= {int(n) for n in r.smembers("done")}, "the scheduled jobs")
done()
