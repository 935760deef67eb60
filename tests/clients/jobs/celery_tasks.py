"""The tasks of celery_job.py, and how Celery is set so that no task is lost with what it talks to: a task
is acknowledged when it is over, and one that was handed out and not acknowledged comes again after 3 s."""
import celery

from gate import wait_at
from support import URL

app = celery.Celery("jobs", broker=URL + "/0", backend=URL + "/1")
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, broker_connection_max_retries=None,
                broker_transport_options={"visibility_timeout": 3}, redis_backend_health_check_interval=5)


@app.task
def add(a, b):
    return a + b


@app.task
def add_behind_the_gate(gate, a, b):
    wait_at(gate)
    return a + b


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True, max_retries=5)
def third_time_lucky(self, x):
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    return x
