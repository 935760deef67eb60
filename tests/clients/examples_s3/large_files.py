"""Large files: boto3 sends them in parts, several at once, and each part has a checksum that the server compares."""
import base64
import hashlib
import os
import tempfile

import boto3
from boto3.s3.transfer import TransferConfig

BUCKET, KEY, PART = "large", "film.mkv", 8 << 20
s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
s3.create_bucket(Bucket=BUCKET)
data = os.urandom(20 << 20)
in_parts = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=4)

with tempfile.TemporaryDirectory() as folder:
    film, copy = os.path.join(folder, "film.mkv"), os.path.join(folder, "copy.mkv")
    with open(film, "wb") as file:
        file.write(data)
    s3.upload_file(film, BUCKET, KEY, ExtraArgs={"ChecksumAlgorithm": "SHA256"}, Config=in_parts)
    s3.download_file(BUCKET, KEY, copy, Config=in_parts)
    with open(copy, "rb") as file:
        assert file.read() == data

# The checksum of the whole is that of the checksums of its parts.
sums = [hashlib.sha256(data[at:at + PART]).digest() for at in range(0, len(data), PART)]
whole = base64.b64encode(hashlib.sha256(b"".join(sums)).digest()).decode() + "-%d" % len(sums)
assert s3.head_object(Bucket=BUCKET, Key=KEY, ChecksumMode="ENABLED")["ChecksumSHA256"] == whole
print("%d MiB in %d parts" % (len(data) >> 20, len(sums)))
