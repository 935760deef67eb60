"""python-rq: its workers take a job by BLPOP and note that they have it only then, so what is in between
at a kill is lost on any server. The server is killed under a producer, and with a job under way."""
import datetime
import os

import redis
from rq import Queue, Retry
from rq import Worker as RqWorker

import rq_tasks
from gate import how_many_wait_at, open_gate
from support import HERE, PASSWORD, PORT, URL, Worker, accept_through_kills, check, crash, done, folder, wait_for

queue = Queue(connection=redis.Redis(port=PORT, password=PASSWORD))
gate = os.path.join(folder(), "gate")
accepted = []  # (id, what its result must be)


def are_finished(ids):
    return all(queue.fetch_job(i).get_status() == "finished" for i in ids)


def worker(*options):
    return Worker(["rq", "worker", "-u", URL + "/0", *options], PYTHONPATH=HERE)


# The first job is the one that is under way at the last kill.
accepted.append((queue.enqueue(rq_tasks.add_behind_the_gate, gate, 0, 1, result_ttl=1000).id, 1))
accept_through_kills(accepted, lambda i: (queue.enqueue(rq_tasks.add, i, 1, result_ttl=1000).id, i + 1), redis.RedisError, (20, 40),
                     "jobs to be accepted")
ids = [i for i, _ in accepted]
check(set(ids) <= set(queue.get_job_ids()), "accepted jobs are not there", set(ids) - set(queue.get_job_ids()))

w = worker()
wait_for(lambda: how_many_wait_at(gate) == 1, "a job to be under way")
crash()
open_gate(gate)


def next_is_finished():
    w.revive()  # rq's worker ends when it is refused for too long
    return are_finished(ids[:1])


while ids:
    wait_for(next_is_finished, "a job")
    ids.pop(0)
for i, value in accepted:
    check(queue.fetch_job(i).result == value, "a result", i, queue.fetch_job(i).result, value)
w.stop()

# What people do with it.
w = worker("--with-scheduler")
first = queue.enqueue(rq_tasks.add, 1, 2)
second = queue.enqueue(rq_tasks.add, 3, 4, depends_on=first)
flaky = queue.enqueue(rq_tasks.third_time_lucky, "tries", retry=Retry(max=4))
later = queue.enqueue_in(datetime.timedelta(seconds=1), rq_tasks.add, 5, 6)
wait_for(lambda: are_finished([j.id for j in (first, second, flaky, later)]), "dependencies, retries, scheduled jobs")
check([j.result for j in (first, second, flaky, later)] == [3, 7, "lucky", 11], "results")
check(len(RqWorker.all(connection=queue.connection)) >= 1, "workers")
done()
