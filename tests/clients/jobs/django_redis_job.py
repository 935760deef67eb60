"""django-redis: Django's cache and sessions, with its locks, times to live and patterns."""
from importlib import import_module

import django
from django.conf import settings

from support import URL, check, crash, done

settings.configure(
    CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": URL + "/3", "OPTIONS": {
        "CLIENT_CLASS": "django_redis.client.DefaultClient",
        "COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor"}}},
    SESSION_ENGINE="django.contrib.sessions.backends.cache", INSTALLED_APPS=["django.contrib.sessions"], SECRET_KEY="x")
django.setup()
from django.core.cache import cache  # noqa: E402  once it is set up
from django_redis.exceptions import ConnectionInterrupted  # noqa: E402

sessions = import_module(settings.SESSION_ENGINE)
page, many = {"html": ["word"] * 1000}, {"k%d" % i: i for i in range(100)}

cache.set("page", page, 1000)
cache.set("visits", 5, None)
cache.set_many(many, 1000)
check(cache.add("page", 1) is False, "added what was there")
check(cache.incr("visits", 3) == 8, "incr")
check(cache.ttl("visits") is None and cache.ttl("nothing") == 0 and 0 < cache.ttl("page") <= 1000, "ttl")
session = sessions.SessionStore()
session["user"] = 7
session.save()

crash()
try:
    cache.get("page")
except ConnectionInterrupted:
    pass  # the connection of before
check(cache.get("page") == page, "page")
check(cache.get("visits") == 8, "visits")
check(cache.get_many(many) == many, "many")
check(sessions.SessionStore(session_key=session.session_key)["user"] == 7, "session")

check(len(list(cache.iter_keys("k*"))) == 100 and len(cache.keys("k1*")) == 11, "keys by pattern")
check(cache.delete_pattern("k*") == 100, "delete by pattern")
cache.touch("page", 5000)
check(cache.ttl("page") > 1000, "touch")
cache.persist("page")
check(cache.ttl("page") is None, "persist")
cache.expire("page", 500)
check(cache.pttl("page") > 1000, "expire")
with cache.lock("lock", timeout=1000):
    check(cache.lock("lock", timeout=1000, blocking_timeout=0.1).acquire() is False, "a lock that is held")
check(cache.lock("lock", timeout=1000, blocking_timeout=0.1).acquire(), "a lock that was released")
check(cache.get_or_set("made", lambda: 9, 1000) == 9, "get_or_set")
cache.clear()
check(cache.get("visits") is None, "clear")
done()
