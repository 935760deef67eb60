"""What is known about a file: metadata, which come with it, and tags, which change without it."""
import os

import boto3

BUCKET = "documents"
s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
s3.create_bucket(Bucket=BUCKET)


def tags(key):
    return {t["Key"]: t["Value"] for t in s3.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"]}


def set_tags(key, **changes):
    wanted = {**tags(key), **changes}
    s3.put_object_tagging(Bucket=BUCKET, Key=key, Tagging={"TagSet": [
        {"Key": name, "Value": value} for name, value in wanted.items()]})


for number in range(6):
    s3.put_object(Bucket=BUCKET, Key="invoice-%d.pdf" % number, Body=b"%PDF", ContentType="application/pdf",
                  Metadata={"customer": "ada", "pages": str(number)}, Tagging="state=new&year=2026")

head = s3.head_object(Bucket=BUCKET, Key="invoice-3.pdf")
assert (head["ContentType"], head["Metadata"]) == ("application/pdf", {"customer": "ada", "pages": "3"})

# Tags change in place, and the object stays as it is.
set_tags("invoice-3.pdf", state="paid")
assert tags("invoice-3.pdf") == {"state": "paid", "year": "2026"}
after = s3.head_object(Bucket=BUCKET, Key="invoice-3.pdf")
assert (after["ETag"], after["LastModified"]) == (head["ETag"], head["LastModified"])
keys = [o["Key"] for o in s3.list_objects_v2(Bucket=BUCKET, Prefix="invoice-")["Contents"]]
assert [key for key in keys if tags(key)["state"] == "paid"] == ["invoice-3.pdf"]

# Metadata change by a copy onto itself. Tags come along, and no bytes move.
s3.copy_object(Bucket=BUCKET, Key="invoice-3.pdf", CopySource=BUCKET + "/invoice-3.pdf", MetadataDirective="REPLACE",
               ContentType="application/pdf", Metadata={"customer": "lovelace"})
assert s3.get_object(Bucket=BUCKET, Key="invoice-3.pdf")["Metadata"] == {"customer": "lovelace"}
assert tags("invoice-3.pdf")["state"] == "paid"
print("of %d invoices one is paid" % len(keys))
