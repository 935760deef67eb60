"""A queue of jobs: workers wait for them, and what a dead worker had goes back."""
import json
import os
import threading

import redis

db = redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
db.delete("jobs", "jobs:under-way", "done")


def work():
    while True:
        job = db.blmove("jobs", "jobs:under-way", timeout=5, src="RIGHT", dest="LEFT")
        if job is None or job == "end":
            return db.lrem("jobs:under-way", 1, "end")
        with db.pipeline(transaction=True) as p:  # done and off the list, or neither
            p.rpush("done", json.loads(job)["number"])
            p.lrem("jobs:under-way", 1, job)
            p.execute()


workers = [threading.Thread(target=work) for _ in range(4)]
for w in workers:
    w.start()
for n in range(100):
    db.lpush("jobs", json.dumps({"number": n}))
for _ in workers:
    db.lpush("jobs", "end")
for w in workers:
    w.join()
assert sorted(map(int, db.lrange("done", 0, -1))) == list(range(100))
assert db.llen("jobs") == db.llen("jobs:under-way") == 0
print("a hundred jobs by four workers")
