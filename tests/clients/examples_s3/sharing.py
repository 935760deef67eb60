"""Sharing a file with somebody who has no account: an address that works for a while, for this file alone."""
import os
import time

import boto3
import urllib3
from botocore.config import Config

BUCKET = "shared"
s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], config=Config(signature_version="s3v4"))
s3.create_bucket(Bucket=BUCKET)
s3.put_object(Bucket=BUCKET, Key="2026/report-final-7.pdf", Body=b"%PDF-1.7 the report", ContentType="application/pdf")
s3.put_object(Bucket=BUCKET, Key="2026/salaries.csv", Body=b"secret")
somebody = urllib3.PoolManager()


def share(key, seconds, **answer):
    """`answer`: what the browser is told, as ResponseContentDisposition; at most a week."""
    return s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key, **answer}, ExpiresIn=seconds)


url = share("2026/report-final-7.pdf", 7 * 86400, ResponseContentDisposition='attachment; filename="report.pdf"')
got = somebody.request("GET", url)
assert got.data == b"%PDF-1.7 the report" and got.headers["Content-Type"] == "application/pdf"
assert got.headers["Content-Disposition"] == 'attachment; filename="report.pdf"'

# It is good for nothing else: no other file, no other method, no other signature, no longer.
assert somebody.request("GET", url.replace("report-final-7.pdf", "salaries.csv")).status == 403
assert somebody.request("DELETE", url).status == 403
assert somebody.request("GET", url.split("?")[0]).status == 403
brief = share("2026/report-final-7.pdf", 1)
time.sleep(2.1)
late = somebody.request("GET", brief)
assert late.status == 403 and b"Request has expired" in late.data
print("shared for a week: %d bytes" % len(got.data))
