"""A lock that several programs share, and that does not outlive who holds it."""
import os
import threading

import redis

db = redis.from_url(os.environ["REDIS_URL"])
db.set("balance", 0)


def pay_in():
    for _ in range(20):
        with db.lock("lock:balance", timeout=10, blocking_timeout=30, sleep=0.001):
            before = int(db.get("balance"))
            db.set("balance", before + 1)


threads = [threading.Thread(target=pay_in) for _ in range(5)]
for t in threads:
    t.start()
for t in threads:
    t.join()
assert int(db.get("balance")) == 100
assert db.get("lock:balance") is None
print("a balance of 100, with nothing lost")
