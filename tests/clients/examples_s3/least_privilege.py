"""A key for each program, which may do what the program does and no more: here one that reads pictures of Ada's alone."""
import json
import os

import boto3
from botocore.exceptions import ClientError

BUCKET, USER, URL = "pictures", "thumbnails", os.environ["AWS_ENDPOINT_URL"]
root = boto3.client("s3", endpoint_url=URL)
iam = boto3.client("iam", endpoint_url=URL)  # the same address
root.create_bucket(Bucket=BUCKET)
for key in ("ada/cat.jpg", "ben/dog.jpg"):
    root.put_object(Bucket=BUCKET, Key=key, Body=b"\xff\xd8")

iam.create_user(UserName=USER)
iam.put_user_policy(UserName=USER, PolicyName="pictures", PolicyDocument=json.dumps({
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::%s/ada/*" % BUCKET},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::" + BUCKET,
         "Condition": {"StringLike": {"s3:prefix": "ada/*"}}},
        {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::%s/thumbnails/*" % BUCKET}]}))
key = iam.create_access_key(UserName=USER)["AccessKey"]
s3 = boto3.client("s3", endpoint_url=URL, aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as e:
        return e.response["Error"]["Code"] == code
    return False


assert [o["Key"] for o in s3.list_objects_v2(Bucket=BUCKET, Prefix="ada/")["Contents"]] == ["ada/cat.jpg"]
picture = s3.get_object(Bucket=BUCKET, Key="ada/cat.jpg")["Body"].read()
s3.put_object(Bucket=BUCKET, Key="thumbnails/cat.jpg", Body=picture)
assert refused("AccessDenied", s3.get_object, Bucket=BUCKET, Key="ben/dog.jpg")
assert refused("AccessDenied", s3.list_objects_v2, Bucket=BUCKET)
assert refused("AccessDenied", s3.put_object, Bucket=BUCKET, Key="ada/cat.jpg", Body=b"")
assert refused("AccessDenied", s3.delete_object, Bucket=BUCKET, Key="thumbnails/cat.jpg")
assert refused("AccessDenied", s3.list_buckets)

# A key that may have leaked: what it is taken from holds at once.
iam.update_access_key(UserName=USER, AccessKeyId=key["AccessKeyId"], Status="Inactive")
assert refused("InvalidAccessKeyId", s3.get_object, Bucket=BUCKET, Key="ada/cat.jpg")
iam.delete_access_key(UserName=USER, AccessKeyId=key["AccessKeyId"])
iam.delete_user_policy(UserName=USER, PolicyName="pictures")
iam.delete_user(UserName=USER)
print("a key that reads ada/ and writes thumbnails/")
