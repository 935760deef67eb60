"""A stream of events that a group of workers shares: each event to one of them, again if it dies."""
import os

import redis

db = redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
db.delete("orders")
db.xgroup_create("orders", "shipping", id="0", mkstream=True)
for n in range(10):
    db.xadd("orders", {"number": n, "what": "a book"}, maxlen=100_000, approximate=True)


def read(worker, count):
    answer = db.xreadgroup("shipping", worker, {"orders": ">"}, count=count, block=1000)
    return answer[0][1] if answer else []


for id, fields in read("first", 6):
    db.xack("orders", "shipping", id)
lost = read("second", 4)  # it dies before it acknowledges
_, taken, *_ = db.xautoclaim("orders", "shipping", "first", min_idle_time=0)
assert [id for id, _ in taken] == [id for id, _ in lost]
db.xack("orders", "shipping", *(id for id, _ in taken))
assert db.xpending("orders", "shipping")["pending"] == 0
assert db.xrange("orders")[0][1] == {"number": "0", "what": "a book"}
print("ten orders, four of them taken over")
