"""One value, two doors: what a Redis client sets, S3 reads; what S3 uploads has a length and a time to live in Redis."""
import os

import boto3
import redis

BUCKET = "two-doors"
s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
s3.create_bucket(Bucket=BUCKET)
db = redis.from_url(os.environ["REDIS_URL"])
pool = redis.ConnectionPool.from_url(os.environ["REDIS_URL"])
pool.connection_kwargs["db"] = BUCKET  # a bucket is selected by its name
files = redis.Redis(connection_pool=pool)

# A numbered database is a bucket, too: db0.
db.set("config:theme", b'{"dark": true}')
assert s3.get_object(Bucket="db0", Key="config:theme")["Body"].read() == b'{"dark": true}'

# An application writes pages as values; whoever wants files has files.
files.set("page/index.html", "<h1>Hello</h1>", ex=3600)
listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="page/")["Contents"]
assert [(o["Key"], o["Size"]) for o in listed] == [("page/index.html", 14)]

# A large upload is a key: its length, a piece of it, a time to live.
video = os.urandom(5 << 20)
s3.put_object(Bucket=BUCKET, Key="video.mp4", Body=video)
assert files.strlen("video.mp4") == len(video)
assert files.getrange("video.mp4", 1_000_000, 1_000_099) == video[1_000_000:1_000_100]
files.expire("video.mp4", 600)
head = s3.head_object(Bucket=BUCKET, Key="video.mp4")["ResponseMetadata"]["HTTPHeaders"]
assert int(head["x-cairn-expires-ms"]) == files.pexpiretime("video.mp4")

# Both are one key: whoever watches it in Redis hears of an upload.
with files.pipeline() as pipe:
    pipe.watch("page/index.html")
    s3.put_object(Bucket=BUCKET, Key="page/index.html", Body=b"<h1>Uploaded</h1>")
    pipe.multi()
    pipe.set("page/index.html", "<h1>Too late</h1>")
    try:
        pipe.execute()
        raise AssertionError("the upload was overwritten")
    except redis.WatchError:
        pass
assert files.get("page/index.html") == b"<h1>Uploaded</h1>"
print("a video of %d bytes goes in %d seconds" % (len(video), files.ttl("video.mp4")))
