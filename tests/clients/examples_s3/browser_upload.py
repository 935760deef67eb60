"""Uploads straight from a browser: the application hands out an address or a form, and never sees the file."""
import os

import boto3
import urllib3
from botocore.config import Config

BUCKET = "uploads"
# With version 4 an address for PUT does not fix the content type unless it is given.
s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], config=Config(signature_version="s3v4"))
s3.create_bucket(Bucket=BUCKET)
# Which pages may use such addresses: a browser asks before it sends.
s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": [{
    "AllowedOrigins": ["https://app.example"], "AllowedMethods": ["PUT", "POST"], "AllowedHeaders": ["*"],
    "ExposeHeaders": ["ETag"], "MaxAgeSeconds": 600}]})
browser = urllib3.PoolManager()  # stands for the browser

# An address: one file, of one name and type, within five minutes.
url = s3.generate_presigned_url("put_object", ExpiresIn=300, Params={
    "Bucket": BUCKET, "Key": "ada/photo.jpg", "ContentType": "image/jpeg"})
page = {"Origin": "https://app.example"}
asked = browser.request("OPTIONS", url, headers=dict(page, **{"Access-Control-Request-Method": "PUT"}))
assert asked.status == 200 and asked.headers["Access-Control-Allow-Origin"] == "https://app.example"
put = browser.request("PUT", url, body=b"\xff\xd8" + bytes(50_000), headers=dict(page, **{"Content-Type": "image/jpeg"}))
assert put.status == 200
assert browser.request("PUT", url, body=b"#!/bin/sh", headers={"Content-Type": "text/x-sh"}).status == 403

# A form: any name below ada/, an image, at most 100 KB.
form = s3.generate_presigned_post(BUCKET, "ada/${filename}", ExpiresIn=300, Fields={"success_action_status": "201"}, Conditions=[
    {"success_action_status": "201"}, ["starts-with", "$Content-Type", "image/"], ["content-length-range", 1, 100_000]])


def send(data, **fields):
    return browser.request("POST", form["url"], fields={**form["fields"], **fields, "file": ("cat.png", data)})


assert send(b"\x89PNG" + bytes(50_000), **{"Content-Type": "image/png"}).status == 201
assert send(bytes(100_001), **{"Content-Type": "image/png"}).status == 400
assert send(b"#!/bin/sh", **{"Content-Type": "text/x-sh"}).status == 403
names = [o["Key"] for o in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
assert names == ["ada/cat.png", "ada/photo.jpg"]
print("uploaded " + ", ".join(names))
