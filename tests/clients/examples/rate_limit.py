"""A rate limit: so many requests within any window of time, counted in a sorted set."""
import os
import time
import uuid

import redis

db = redis.from_url(os.environ["REDIS_URL"])


def allowed(who, most, seconds):
    key, now = "requests:" + who, time.time()
    with db.pipeline(transaction=True) as p:
        p.zremrangebyscore(key, "-inf", now - seconds)
        p.zadd(key, {uuid.uuid4().hex: now})
        p.zcard(key)
        p.expire(key, seconds)
        return p.execute()[2] <= most


answers = [allowed("10.0.0.1", 5, 60) for _ in range(8)]
assert answers == [True] * 5 + [False] * 3
assert allowed("10.0.0.2", 5, 60)
print("five of eight requests were let through")
