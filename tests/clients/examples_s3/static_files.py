"""Static files: how long browsers may keep them, pages sent compressed, and a video that one can jump about in."""
import gzip
import os

import boto3
import urllib3

BUCKET = "static"
s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
s3.create_bucket(Bucket=BUCKET)
page = b"<!doctype html><link rel=stylesheet href=style.4f1c.css>" + b"<p>Hello</p>" * 100
s3.put_object(Bucket=BUCKET, Key="index.html", Body=gzip.compress(page), ContentType="text/html; charset=utf-8",
              ContentEncoding="gzip", CacheControl="no-cache")  # kept, but asked for each time
s3.put_object(Bucket=BUCKET, Key="style.4f1c.css", Body=b"p { color: teal }", ContentType="text/css",
              CacheControl="public, max-age=31536000, immutable")  # a new content gets a new name
video = os.urandom(3_000_000)
s3.put_object(Bucket=BUCKET, Key="video.mp4", Body=video, ContentType="video/mp4")
browser = urllib3.PoolManager()


def get(key, **headers):
    url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=3600)
    return browser.request("GET", url, headers={name.replace("_", "-"): value for name, value in headers.items()})


first = get("index.html")
assert first.data == page and first.headers["Cache-Control"] == "no-cache"
again = get("index.html", If_None_Match=first.headers["ETag"])
assert (again.status, again.data) == (304, b"")
assert "immutable" in get("style.4f1c.css").headers["Cache-Control"]

# A player reads the end, where the index is, and then from where the viewer jumped to.
end = get("video.mp4", Range="bytes=-1000")
assert (end.status, end.data) == (206, video[-1000:])
jump = get("video.mp4", Range="bytes=2000000-", If_Range=end.headers["ETag"])
assert jump.headers["Content-Range"] == "bytes 2000000-2999999/3000000" and jump.data == video[2_000_000:]
assert get("video.mp4", Range="bytes=3000000-").status == 416
# If the file was replaced meanwhile, the new one comes from its beginning.
s3.put_object(Bucket=BUCKET, Key="video.mp4", Body=video[::-1], ContentType="video/mp4")
assert get("video.mp4", Range="bytes=2000000-", If_Range=end.headers["ETag"]).status == 200
print("a page of %d bytes, kept by the browser, and %d bytes from the middle of a video" % (len(page), len(jump.data)))
