"""A data lake: files by day, listed like folders, a range of days read, and what is new since the last time."""
import os

import boto3

BUCKET = "lake"
s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
s3.create_bucket(Bucket=BUCKET)
for day in range(1, 31):
    for part in range(4):
        s3.put_object(Bucket=BUCKET, Key="events/year=2026/month=11/day=%02d/part-%d.csv" % (day, part),
                      Body=b"user,amount\n1,%d\n2,10\n" % day)


def folders(prefix):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix, Delimiter="/",
                                                         PaginationConfig={"PageSize": 10})
    return [p["Prefix"] for page in pages for p in page.get("CommonPrefixes", [])]


def files(**arguments):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, **arguments)
    return [o["Key"] for page in pages for o in page.get("Contents", [])]


assert folders("events/") == ["events/year=2026/"]
days = folders("events/year=2026/month=11/")
assert len(days) == 30 and days[6] == "events/year=2026/month=11/day=07/"

total = 0
for day in days[:7]:
    for key in files(Prefix=day):
        lines = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode().splitlines()[1:]
        total += sum(int(line.split(",")[1]) for line in lines)
assert total == 4 * (sum(range(1, 8)) + 7 * 10)

# Keys come in order, so the last one that was seen is where to go on.
seen = files(Prefix="events/")
new = "events/year=2026/month=12/day=01/part-0.csv"
s3.put_object(Bucket=BUCKET, Key=new, Body=b"user,amount\n")
assert files(Prefix="events/", StartAfter=seen[-1]) == [new]
s3.delete_object(Bucket=BUCKET, Key=new)
print("a week in 28 files: %d" % total)
