"""Temporary files: exports, previews, uploads in between. They go by themselves, each when its time has come."""
import io
import os
import time

import boto3
from botocore.exceptions import ClientError

BUCKET = "temporary"


def client(seconds):
    """One whose objects live so long, also those that it uploads in parts."""
    s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    for operation in ("PutObject", "CopyObject", "CreateMultipartUpload"):
        s3.meta.events.register("before-call.s3." + operation, lambda params, **_: params["headers"].update(
            {"x-cairn-ttl": str(seconds)}))
    return s3


def expires(s3, key):
    """In seconds since 1970; None: it stays."""
    ms = s3.head_object(Bucket=BUCKET, Key=key)["ResponseMetadata"]["HTTPHeaders"].get("x-cairn-expires-ms")
    return ms and int(ms) / 1000


brief, daily = client(1), client(86400)
s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
s3.create_bucket(Bucket=BUCKET)

daily.upload_fileobj(io.BytesIO(bytes(10 << 20)), BUCKET, "export.csv")  # in parts
assert 86000 < expires(s3, "export.csv") - time.time() <= 86400
# To keep it, copy it without a time.
s3.copy_object(Bucket=BUCKET, Key="kept.csv", CopySource={"Bucket": BUCKET, "Key": "export.csv"})
assert expires(s3, "kept.csv") is None

brief.put_object(Bucket=BUCKET, Key="preview.png", Body=b"\x89PNG")
end = time.monotonic() + 60
while time.monotonic() < end:
    try:
        s3.head_object(Bucket=BUCKET, Key="preview.png")
        time.sleep(0.1)
    except ClientError as e:
        assert e.response["Error"]["Code"] == "404"
        break
else:
    raise AssertionError("it is still there")
assert [o["Key"] for o in s3.list_objects_v2(Bucket=BUCKET)["Contents"]] == ["export.csv", "kept.csv"]
print("a preview went after a second; an export has a day")
