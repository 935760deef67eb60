"""A log that grows: lines are put behind those that are there, and a reader takes up where it was."""
import os

import boto3
from botocore.exceptions import ClientError

BUCKET, KEY = "logs", "app.log"


class Log:
    """One that appends; several can at once. Each needs a client of its own."""
    def __init__(self):
        self.s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
        # Later versions of boto3 have WriteOffsetBytes for this.
        self.s3.meta.events.register("before-call.s3.PutObject", lambda params, **_: params["headers"].update(
            {"x-amz-write-offset-bytes": str(self.size)}))
        self.size = 0

    def append(self, line):
        while True:
            try:
                answer = self.s3.put_object(Bucket=BUCKET, Key=KEY, Body=line)["ResponseMetadata"]["HTTPHeaders"]
                self.size = int(answer["x-amz-object-size"])
                return
            except ClientError as e:  # somebody else appended: behind theirs, then
                if e.response["Error"]["Code"] != "InvalidWriteOffset":
                    raise
                self.size = self.s3.head_object(Bucket=BUCKET, Key=KEY)["ContentLength"]


one, other = Log(), Log()
one.s3.create_bucket(Bucket=BUCKET)
one.s3.delete_object(Bucket=BUCKET, Key=KEY)
for i in range(20):
    one.append(b"one %d\n" % i)
    other.append(b"other %d\n" % i)

# A reader that has read the first 100 bytes asks for what came since.
rest = one.s3.get_object(Bucket=BUCKET, Key=KEY, Range="bytes=100-")["Body"].read()
log = one.s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read()
assert log[100:] == rest
lines = log.splitlines()
assert len(lines) == 40 and [w for w in lines if w.startswith(b"one")] == [b"one %d" % i for i in range(20)]
print("%d lines by two writers, none lost" % len(lines))
