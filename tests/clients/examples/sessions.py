"""Sessions of a web application: a hash each, gone after a while without a request."""
import os
import secrets

import redis

db = redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
WHILE = 1800


def log_in(user):
    token = secrets.token_urlsafe()
    with db.pipeline(transaction=True) as p:
        p.hset("session:" + token, mapping={"user": user, "requests": 0})
        p.expire("session:" + token, WHILE)
        p.execute()
    return token


def request(token):
    key = "session:" + token
    if not db.expire(key, WHILE):
        return None  # it is over
    db.hincrby(key, "requests", 1)
    return db.hgetall(key)


token = log_in("ada")
request(token)
assert request(token) == {"user": "ada", "requests": "2"}
assert request("made up") is None
db.delete("session:" + token)
assert request(token) is None
print("a session of two requests")
