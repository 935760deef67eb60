"""A cache: what is slow to get is kept for a while, pages and pictures alike."""
import os
import time

import redis

db = redis.from_url(os.environ["REDIS_URL"])


def cached(key, seconds, make):
    value = db.get(key)
    if value is None:
        value = make()
        db.set(key, value, ex=seconds)
    return value


def picture():
    time.sleep(0.01)  # the slow part
    return b"\x89PNG" + bytes(5_000_000)


first = cached("picture:7", 60, picture)
again = cached("picture:7", 60, lambda: b"never made")
assert first == again and 0 < db.ttl("picture:7") <= 60
db.delete("picture:7")
assert db.get("picture:7") is None
print("cached %d bytes" % len(first))
