"""An upload that was interrupted goes on where it was: the server knows which parts it has."""
import base64
import hashlib
import os

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

BUCKET, KEY, PART = "resumed", "backup.tar", 5 << 20  # S3's smallest part; the last one may be smaller
# By itself boto3 sends a part again that was damaged on the way; here we want to see that it was refused.
s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], config=Config(retries={"max_attempts": 0}))
s3.create_bucket(Bucket=BUCKET)
data = os.urandom(12 << 20)
parts = {number: data[at:at + PART] for number, at in enumerate(range(0, len(data), PART), 1)}
upload = {"Bucket": BUCKET, "Key": KEY}
upload["UploadId"] = s3.create_multipart_upload(**upload, ChecksumAlgorithm="SHA256")["UploadId"]


def send(number, body):
    checksum = base64.b64encode(hashlib.sha256(parts[number]).digest()).decode()
    s3.upload_part(**upload, PartNumber=number, Body=body, ChecksumSHA256=checksum)


send(1, parts[1])
try:
    send(2, parts[2][:-1] + b"?")  # damaged on the way
    raise AssertionError("a damaged part was taken")
except ClientError as e:
    assert e.response["Error"]["Code"] == "BadDigest"

# Here the program ended. The next one finds what was begun, and sends what is missing.
begun = [u["UploadId"] for u in s3.list_multipart_uploads(Bucket=BUCKET, Prefix=KEY)["Uploads"]]
assert begun == [upload["UploadId"]]
there = {p["PartNumber"] for p in s3.list_parts(**upload)["Parts"]}
assert there == {1}
for number in set(parts) - there:
    send(number, parts[number])
names = ("PartNumber", "ETag", "ChecksumSHA256")
s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [
    {name: p[name] for name in names} for p in s3.list_parts(**upload)["Parts"]]})
assert s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read() == data
print("%d of %d parts were there already" % (len(there), len(parts)))
