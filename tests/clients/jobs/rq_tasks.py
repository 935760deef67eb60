"""The jobs of rq_job.py."""
import redis

from gate import wait_at
from support import PASSWORD, PORT


def add(a, b):
    return a + b


def add_behind_the_gate(gate, a, b):
    wait_at(gate)
    return a + b


def third_time_lucky(key):
    if redis.Redis(port=PORT, password=PASSWORD).incr(key) < 3:
        raise ValueError("not yet")
    return "lucky"
