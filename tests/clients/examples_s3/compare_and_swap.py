"""Compare and swap: several programs change one object and no change is lost; and of several one gets the job."""
import json
import os
import threading

import boto3
from botocore.exceptions import ClientError

BUCKET = "state"


class Store:
    """A client for one thread, which writes under conditions. Later versions of boto3 have IfMatch and IfNoneMatch for this."""
    def __init__(self):
        self.condition = {}
        self.s3 = boto3.session.Session().client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
        self.s3.meta.events.register("before-call.s3.PutObject", lambda params, **_: params["headers"].update(self.condition))

    def put_if(self, condition, key, body):
        """Whether it was written."""
        self.condition = condition
        try:
            self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
            return True
        except ClientError as e:
            if e.response["ResponseMetadata"]["HTTPStatusCode"] not in (409, 412):
                raise
            return False


def work():
    store = Store()
    if store.put_if({"If-None-Match": "*"}, "job.lock", threading.current_thread().name.encode()):
        leaders.append(threading.current_thread().name)
    for _ in range(10):
        while True:
            read = store.s3.get_object(Bucket=BUCKET, Key="account.json")
            account = json.load(read["Body"])
            account["balance"] += 1
            if store.put_if({"If-Match": read["ETag"]}, "account.json", json.dumps(account).encode()):
                break  # else somebody was faster: again, from what is there now


leaders = []
s3 = Store().s3
s3.create_bucket(Bucket=BUCKET)
s3.delete_object(Bucket=BUCKET, Key="job.lock")
s3.put_object(Bucket=BUCKET, Key="account.json", Body=json.dumps({"balance": 0}).encode())
threads = [threading.Thread(target=work) for _ in range(4)]
for t in threads:
    t.start()
for t in threads:
    t.join()
assert json.load(s3.get_object(Bucket=BUCKET, Key="account.json")["Body"]) == {"balance": 40}
assert [s3.get_object(Bucket=BUCKET, Key="job.lock")["Body"].read().decode()] == leaders
print("a balance of 40, with nothing lost; the job is done by %s" % leaders[0])
