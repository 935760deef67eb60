"""A backup that keeps what was: every copy is a version, and what was deleted by mistake comes back."""
import os

import boto3
from botocore.exceptions import ClientError

BUCKET, KEY = "backups", "notes.txt"
s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
s3.create_bucket(Bucket=BUCKET)
s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})


def read(**version):
    return s3.get_object(Bucket=BUCKET, Key=KEY, **version)["Body"].read()


for text in (b"of Monday", b"of Tuesday", b"of Wednesday"):
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=text)
versions = s3.list_object_versions(Bucket=BUCKET, Prefix=KEY)["Versions"]  # the newest first
assert [read(VersionId=v["VersionId"]) for v in versions[:2]] == [b"of Wednesday", b"of Tuesday"]

# Back to Tuesday: the old version is copied over the newest one. No bytes move.
s3.copy_object(Bucket=BUCKET, Key=KEY, CopySource={"Bucket": BUCKET, "Key": KEY, "VersionId": versions[1]["VersionId"]})
assert read() == b"of Tuesday"

# Deleting puts a marker on top; without the marker the object is there again.
marker = s3.delete_object(Bucket=BUCKET, Key=KEY)
try:
    read()
    raise AssertionError("it is deleted")
except ClientError as e:
    assert e.response["Error"]["Code"] == "NoSuchKey"
s3.delete_object(Bucket=BUCKET, Key=KEY, VersionId=marker["VersionId"])
assert read() == b"of Tuesday"

# The two newest versions stay, those before them go for good.
versions = s3.list_object_versions(Bucket=BUCKET, Prefix=KEY)["Versions"]
old = [{"Key": KEY, "VersionId": v["VersionId"]} for v in versions[2:]]
s3.delete_objects(Bucket=BUCKET, Delete={"Objects": old})
assert len(s3.list_object_versions(Bucket=BUCKET, Prefix=KEY)["Versions"]) == 2
print("restored from a version, and after a deletion; %d old versions went" % len(old))
