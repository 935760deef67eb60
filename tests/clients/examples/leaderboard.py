"""A leaderboard: the best, the place of one, who is around."""
import os

import redis

db = redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
db.delete("board")
db.zadd("board", {"player%d" % n: n * n for n in range(1000)})
db.zincrby("board", 2_000_000, "player10")

assert db.zrevrange("board", 0, 2) == ["player10", "player999", "player998"]
assert db.zrevrank("board", "player10") == 0
place = db.zrevrank("board", "player500")
around = db.zrevrange("board", place - 1, place + 1, withscores=True)
assert [name for name, _ in around] == ["player501", "player500", "player499"]
assert db.zcount("board", 500 * 500, "+inf") == 501
print("player500 is number %d" % (place + 1))
