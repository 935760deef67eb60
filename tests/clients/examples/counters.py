"""Counters: how often, how many different ones, on which days."""
import datetime
import os

import redis

db = redis.from_url(os.environ["REDIS_URL"])
day = datetime.date(2026, 1, 31)
db.delete("views", "visitors", "active:%s" % day, "active:%s" % (day - datetime.timedelta(1)), "both")

with db.pipeline(transaction=False) as p:  # one way to the server for all
    for n in range(10_000):
        p.incr("views")
        p.pfadd("visitors", "visitor%d" % (n % 2500))
        p.setbit("active:%s" % day, n % 2500, 1)
    p.execute()
db.setbit("active:%s" % (day - datetime.timedelta(1)), 7, 1)

assert int(db.get("views")) == 10_000
assert abs(db.pfcount("visitors") - 2500) < 100  # 12 KiB at most, 0.8 % beside the truth
assert db.bitcount("active:%s" % day) == 2500
db.bitop("AND", "both", "active:%s" % day, "active:%s" % (day - datetime.timedelta(1)))
assert db.bitcount("both") == 1
print("about %d different visitors" % db.pfcount("visitors"))
