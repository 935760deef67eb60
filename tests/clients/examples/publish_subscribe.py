"""Messages to whoever listens now: chat, or word that a cached value is out of date."""
import os

import redis

db = redis.from_url(os.environ["REDIS_URL"], decode_responses=True)

with db.pubsub(ignore_subscribe_messages=True) as listener:
    listener.subscribe("room:1")
    listener.psubscribe("news.*")
    while not (db.pubsub_numsub("room:1")[0][1] and db.pubsub_numpat()):
        pass
    db.publish("room:1", "hello")
    db.publish("news.weather", "rain")
    heard = []
    while len(heard) < 2:
        message = listener.get_message(timeout=5)
        if message:
            heard.append((message["channel"], message["data"]))
assert heard == [("room:1", "hello"), ("news.weather", "rain")]
print("heard", heard)
