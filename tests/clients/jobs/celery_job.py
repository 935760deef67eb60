"""Celery with the server as broker and for the results.

A worker of Celery on Redis takes a task by BRPOP and notes it among the unacknowledged only then: what
is in between at a kill is lost on any server. So the server is killed while no worker waits for tasks:
under a producer, and with tasks that all workers are busy with."""
import os
import sys

import redis
from celery import chain, chord, group

from celery_tasks import add, add_behind_the_gate, app, third_time_lucky, total
from gate import how_many_wait_at, open_gate
from support import PASSWORD, PORT, Worker, accept_through_kills, check, crash, done, folder, wait_for

broker = redis.Redis(port=PORT, password=PASSWORD)
gate = os.path.join(folder(), "gate")
accepted = []  # (the result to come, what it must be)


# A producer, and two kills.
accept_through_kills(accepted, lambda i: (add_behind_the_gate.delay(gate, i, 1), i + 1), Exception, (40, 80), "tasks to be accepted")
check(broker.llen("celery") >= len(accepted), "tasks that were accepted and are not there", broker.llen("celery"), len(accepted))

# Workers that hold tasks, as many as they take, and a kill.
worker = Worker([sys.executable, "-m", "celery", "-A", "celery_tasks", "worker", "-c", "2", "-l", "INFO"])
wait_for(lambda: broker.hlen("unacked") == how_many_wait_at(gate) == 2, "the worker to take tasks")
crash()
open_gate(gate)
worker.stop()  # A worker of Celery 5.2 that met a kill may never ask for tasks again, on any server;
worker.start()  # it ends when its tasks are over.
for result, value in accepted:
    check(result.get(timeout=300) == value, "a result", result.get(), value)

# What people do with it.
check(chord([add.s(i, i) for i in range(10)])(total.s()).get(timeout=300) == 90, "chord")
check(sum(group(add.s(i, 1) for i in range(20)).apply_async().get(timeout=300)) == 210, "group")
check(chain(add.s(1, 2), add.s(3), add.s(4)).apply_async().get(timeout=300) == 10, "chain")
check(third_time_lucky.delay(5).get(timeout=300) == 5, "tried again")
check(add.apply_async((1, 1), countdown=1).get(timeout=300) == 2, "countdown")
inspect = app.control.inspect(timeout=1)
wait_for(lambda: inspect.ping() and inspect.stats(), "workers that answer")
later = add.apply_async((1, 1), countdown=1000)
later.revoke()
wait_for(lambda: any(later.id in ids for ids in (inspect.revoked() or {}).values()), "a revoked task")
done()
