"""Accesses of a bucket as lines of Amazon's format, in objects of another bucket."""
import base64
import hashlib
import re
import unittest
import urllib.error
import urllib.parse
import urllib.request

import boto3
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

import test_users
from harness import PASSWORD, USER, Case, wait_until
from test_s3 import signed

ACCOUNT = "000000000000"
PARTITIONED = ("<TargetObjectKeyFormat><PartitionedPrefix><PartitionDateSource>%s</PartitionDateSource></PartitionedPrefix>"
               "</TargetObjectKeyFormat>")
FIELD = r'(?:\[[^\]]*\]|"[^"]*"|[^ ]+)'
NAMES = ("owner bucket time peer requester id operation key uri status error sent size total turn referer agent version host signature "
         "cipher authentication host_header tls access_point acl region").split()


def fields(line):
    found = re.findall(FIELD, line)
    assert " ".join(found) == line and len(found) in (25, 26, 27), line
    return dict(zip(NAMES, found))


class AccessLog(Case):
    server_args = dict(args=["--access-log-period=1"])
    client, iam, user = (getattr(test_users.Users, name) for name in ("client", "iam", "user"))

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3 = cls.server.s3()

    def buckets(self, name, prefix="p/", form=""):
        self.s3.create_bucket(Bucket=name)
        self.s3.create_bucket(Bucket=name + "-logs")
        enabled = {"TargetBucket": name + "-logs", "TargetPrefix": prefix}
        if form:  # which old clients do not know
            inner = "<LoggingEnabled><TargetBucket>%s-logs</TargetBucket><TargetPrefix>%s</TargetPrefix>%s</LoggingEnabled>" % (name, prefix, form)
            self.assertEqual(self.raw("PUT", name, "<BucketLoggingStatus>%s</BucketLoggingStatus>" % inner)[0], 200)
            self.assertIn(inner, re.sub(rb"\s*\n\s*", b"", self.raw("GET", name)[1]).decode())
        else:
            self.s3.put_bucket_logging(Bucket=name, BucketLoggingStatus={"LoggingEnabled": enabled})
        self.assertEqual(self.s3.get_bucket_logging(Bucket=name)["LoggingEnabled"], enabled)
        return name, name + "-logs"

    def raw(self, method, bucket, text=""):
        data = text.encode()
        headers, *_ = signed(method, self.server.http, "/" + bucket, "logging=", None, hashlib.sha256(data).hexdigest())
        request = urllib.request.Request("http://127.0.0.1:%d/%s?logging=" % (self.server.http, bucket), data=data or None, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as e:
            return e.code, e.read()

    def keys(self, logs):
        return [o["Key"] for o in self.s3.list_objects_v2(Bucket=logs).get("Contents", [])]

    def lines(self, logs):
        text = b"".join(self.s3.get_object(Bucket=logs, Key=k)["Body"].read() for k in self.keys(logs)).decode()
        return [fields(line) for line in text.splitlines()]

    def found(self, logs, **want):
        """The first line with these fields, once it is there."""
        def look():
            return next((line for line in self.lines(logs) if all(line[k] == v for k, v in want.items())), None)
        wait_until(look)
        return look()

    def code(self, call, **kwargs):
        with self.assertRaises(ClientError) as e:
            call(**kwargs)
        return e.exception.response["Error"]["Code"]

    def test_what_a_line_says(self):
        b, logs = self.buckets("web")
        self.s3.put_object(Bucket=b, Key="a b/\u00e4", Body=b"x" * 1234)
        line = self.found(logs, operation="REST.PUT.OBJECT")
        owner = self.s3.list_buckets()["Owner"]["ID"]
        self.assertEqual((line["owner"], line["bucket"], line["requester"], line["key"]), (owner, b, owner, "a%20b/%C3%A4"))
        self.assertEqual((line["status"], line["error"], line["sent"], line["size"]), ("200", "-", "-", "1234"))
        self.assertEqual((line["signature"], line["authentication"], line["peer"]), ("SigV4", "AuthHeader", "127.0.0.1"))
        self.assertRegex(line["time"], r"^\[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\]$")
        self.assertRegex(line["uri"], r'^"PUT /web/a%20b/%C3%A4.* HTTP/1.1"$')
        self.assertIn("Boto3", line["agent"])
        self.s3.get_object(Bucket=b, Key="a b/\u00e4", Range="bytes=0-99")["Body"].read()
        line = self.found(logs, operation="REST.GET.OBJECT", status="206")
        self.assertEqual((line["sent"], line["size"]), ("100", "1234"))
        self.s3.head_object(Bucket=b, Key="a b/\u00e4")
        self.assertEqual(self.found(logs, operation="REST.HEAD.OBJECT")["size"], "1234")
        self.assertEqual(self.code(self.s3.get_object, Bucket=b, Key="none"), "NoSuchKey")
        self.assertEqual(self.found(logs, error="NoSuchKey")["status"], "404")
        self.s3.list_objects_v2(Bucket=b)
        self.found(logs, operation="REST.GET.BUCKET")
        self.s3.copy_object(Bucket=b, Key="c", CopySource={"Bucket": b, "Key": "a b/\u00e4"})
        self.found(logs, operation="REST.COPY.OBJECT", key="c")
        self.s3.delete_objects(Bucket=b, Delete={"Objects": [{"Key": "c"}]})
        self.found(logs, operation="REST.POST.MULTI_OBJECT_DELETE")
        u = self.s3.create_multipart_upload(Bucket=b, Key="m")["UploadId"]
        self.s3.upload_part(Bucket=b, Key="m", UploadId=u, PartNumber=1, Body=b"x")
        self.found(logs, operation="REST.POST.UPLOADS")
        self.found(logs, operation="REST.PUT.PART")
        self.assertEqual(self.code(self.s3.get_bucket_policy, Bucket=b), "NoSuchBucketPolicy")
        self.found(logs, operation="REST.GET.BUCKETPOLICY", error="NoSuchBucketPolicy")

    def test_who_it_was(self):
        b, logs = self.buckets("who")
        key = self.user("logged", ("Allow", "s3:GetObject", "arn:aws:s3:::who/*"))
        self.assertEqual(self.code(self.client("s3", key).put_object, Bucket=b, Key="k", Body=b""), "AccessDenied")
        line = self.found(logs, error="AccessDenied", operation="REST.PUT.OBJECT")
        self.assertEqual(line["requester"], "arn:aws:iam::%s:user/logged" % ACCOUNT)
        with self.assertRaises(urllib.error.HTTPError):
            request = urllib.request.Request("http://127.0.0.1:%d/who/k" % self.server.http, headers={"User-Agent": 'a "quoted" one', "Referer": "http://r"})
            urllib.request.urlopen(request, timeout=60)
        line = self.found(logs, operation="REST.GET.OBJECT", status="403")
        self.assertEqual((line["requester"], line["signature"], line["agent"], line["referer"]), ("-", "-", '"a %22quoted%22 one"', '"http://r"'))
        url = self.s3.generate_presigned_url("get_object", Params={"Bucket": b, "Key": "none"})
        with self.assertRaises(urllib.error.HTTPError):
            urllib.request.urlopen(url, timeout=60)
        self.assertEqual(self.found(logs, status="404")["authentication"], "QueryString")

    def test_no_line_says_what_opens_anything(self):
        """A customer's key in the URL of a request went into the log with it."""
        b, logs = self.buckets("secrets")
        raw = b"0123456789abcdefghijklmnopqrstuv"
        key, md5 = base64.b64encode(raw).decode(), base64.b64encode(hashlib.md5(raw).digest()).decode()
        customer = "x-amz-server-side-encryption-customer-"
        sse = {customer + "algorithm": "AES256", customer + "key": key, customer + "key-md5": md5}
        source = {name.replace("x-amz-", "x-amz-copy-source-"): value for name, value in sse.items()}
        def send(method, path, said, headers={}, spell=lambda query: query):
            """Signed in the query, with all that is said in it, too; answers how the query reads."""
            url = "http://127.0.0.1:%d%s" % (self.server.http, path)
            request = AWSRequest(method, url + "?" + urllib.parse.urlencode(said), headers=headers)
            S3SigV4QueryAuth(Credentials(USER, PASSWORD), "s3", "us-east-1").add_auth(request)
            query = spell(request.url.split("?", 1)[1])
            sent = urllib.request.Request(url + "?" + query, method=method, headers=headers)
            with urllib.request.urlopen(sent, timeout=60) as answer:
                answer.read()
            return query
        self.s3.put_object(Bucket=b, Key="k", Body=b"bytes", SSECustomerAlgorithm="AES256", SSECustomerKey=raw)
        queries = [send("GET", "/secrets/k", sse),
                   send("GET", "/secrets/k", sse, spell=lambda q: q.replace("encryption-customer-key=", "encryp%74ion-custome%72-key=")),
                   send("GET", "/secrets/k", {name.title(): value for name, value in sse.items()}),
                   send("PUT", "/secrets/copy", source, {"x-amz-copy-source": "/secrets/k"})]
        url = boto3.client("s3", endpoint_url="http://127.0.0.1:%d" % self.server.http, region_name="us-east-1", aws_access_key_id=USER,
                           aws_secret_access_key=PASSWORD, config=Config(signature_version="s3")).generate_presigned_url(
                               "get_object", Params={"Bucket": b, "Key": "copy"})
        urllib.request.urlopen(urllib.request.Request(url, headers={"Referer": url}), timeout=60).close()
        queries.append(url.split("?", 1)[1])
        wait_until(lambda: len([x for x in self.lines(logs) if "?" in x["uri"] and x["authentication"] == "QueryString"]) == len(queries))
        text = b"".join(self.s3.get_object(Bucket=logs, Key=k)["Body"].read() for k in self.keys(logs)).decode()
        secrets = {value for q in queries for name, value in urllib.parse.parse_qsl(q) if name.lower().endswith("signature")} | {key}
        self.assertGreaterEqual(len(secrets), len(queries))  # the first two may be of one moment
        for secret in secrets:
            for form in (secret, urllib.parse.quote(secret, safe=""), urllib.parse.quote(secret)):
                self.assertNotIn(form, text)
        self.assertIn("encryp%74ion-custome%72-key=" + "X" * 32, text)
        self.assertIn("customer-key-md5=" + urllib.parse.quote(md5, safe=""), text)  # which opens nothing
        self.assertIn("X-Amz-Signature=" + "X" * 32, text)

    def test_names(self):
        for name, form, pattern in (
                ("simple", "", r"^p/\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d-[0-9A-F]{16}$"),
                ("delivered", PARTITIONED % "DeliveryTime",
                 r"^p/0{12}/us-east-1/delivered/\d{4}/\d\d/\d\d/\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d-[0-9A-F]{16}$"),
                ("of-events", PARTITIONED % "EventTime",
                 r"^p/0{12}/us-east-1/of-events/\d{4}/\d\d/\d\d/\d{4}-\d\d-\d\d-00-00-00-[0-9A-F]{16}$")):
            b, logs = self.buckets(name, form=form)
            self.s3.put_object(Bucket=b, Key="k", Body=b"")
            wait_until(lambda: self.keys(logs))
            for key in self.keys(logs):
                self.assertRegex(key, pattern)

    def test_a_log_in_itself_does_not_grow_by_itself(self):
        self.s3.create_bucket(Bucket="itself")
        self.s3.put_bucket_logging(Bucket="itself", BucketLoggingStatus={"LoggingEnabled": {"TargetBucket": "itself", "TargetPrefix": "log-"}})
        self.s3.put_object(Bucket="itself", Key="k", Body=b"")
        wait_until(lambda: [k for k in self.keys("itself") if k.startswith("log-")])
        self.assertNotIn("log-", "".join(line["key"] for line in self.lines("itself") if line["operation"] == "REST.PUT.OBJECT"))

    def test_encrypted_as_its_bucket_wants(self):
        b, logs = self.buckets("sealed")
        self.s3.put_bucket_encryption(Bucket=logs, ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]})
        self.s3.put_object(Bucket=b, Key="sealed", Body=b"")
        self.found(logs, key="sealed")
        self.assertEqual(self.s3.head_object(Bucket=logs, Key=self.keys(logs)[-1])["ServerSideEncryption"], "AES256")

    def test_off_again_and_the_end(self):
        b, logs = self.buckets("off")
        self.s3.put_object(Bucket=b, Key="last", Body=b"")
        self.assertEqual(self.server.stop(), 0)
        self.server.start()
        type(self).s3 = self.server.s3()
        self.assertIn("last", [line["key"] for line in self.lines(logs)])
        self.s3.put_bucket_logging(Bucket=b, BucketLoggingStatus={})
        self.assertNotIn("LoggingEnabled", self.s3.get_bucket_logging(Bucket=b))

    def test_what_is_lost_is_counted(self):
        b, logs = self.buckets("lost")
        for key in self.keys(logs):
            self.s3.delete_object(Bucket=logs, Key=key)
        def lost():
            for key in self.keys(logs):
                self.s3.delete_object(Bucket=logs, Key=key)
            self.s3.delete_bucket(Bucket=logs)
            return True
        wait_until(lambda: not self.code_or_none(lost))
        self.s3.put_object(Bucket=b, Key="k", Body=b"")
        def counted():
            request = urllib.request.Request("http://127.0.0.1:%d/-/metrics" % self.server.http, headers={"Authorization": "Bearer " + test_users.PASSWORD})
            with urllib.request.urlopen(request, timeout=60) as answer:
                return int(re.search(rb"^cairn_access_log_lost_lines_total (\d+)$", answer.read(), re.M).group(1))
        wait_until(counted)

    def code_or_none(self, call):
        try:
            call()
        except ClientError as e:
            return e.response["Error"]["Code"]

    def test_what_is_refused(self):
        self.s3.create_bucket(Bucket="refused")
        def put(**enabled):
            return self.code(self.s3.put_bucket_logging, Bucket="refused", BucketLoggingStatus={"LoggingEnabled": enabled})
        self.assertEqual(put(TargetBucket="nowhere", TargetPrefix=""), "InvalidTargetBucketForLogging")
        self.assertEqual(put(TargetBucket="db0", TargetPrefix=""), "InvalidTargetBucketForLogging")
        self.assertEqual(put(TargetBucket="refused", TargetPrefix="x" * 1000), "InvalidArgument")
        self.assertEqual(put(TargetBucket="refused", TargetPrefix="", TargetGrants=[{"Grantee": {"Type": "CanonicalUser", "ID": "x"}, "Permission": "READ"}]),
                         "NotImplemented")
        key = self.user("logger", ("Allow", "s3:PutBucketLogging", "arn:aws:s3:::refused"))
        his = self.client("s3", key)
        self.assertEqual(self.code(his.put_bucket_logging, Bucket="refused", BucketLoggingStatus={
            "LoggingEnabled": {"TargetBucket": "refused", "TargetPrefix": ""}}), "InvalidTargetBucketForLogging")


if __name__ == "__main__":
    unittest.main()
