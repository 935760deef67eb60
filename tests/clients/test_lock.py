"""Object lock: what is locked stays, at whichever door; with boto3 and redis-py together."""
import base64
import datetime
import hashlib
import json
import time
import unittest
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from redis.exceptions import ResponseError

from harness import PASSWORD, USER, Case
from test_s3 import signed

PROTECTED = "Access Denied because object protected by object lock."
MISSING = "Bucket is missing Object Lock Configuration"


def md5(body):
    return base64.b64encode(hashlib.md5(body).digest()).decode()


def after(**kwargs):
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    return now + datetime.timedelta(**kwargs)


class Lock(Case):
    server_args = dict(args=["--durability=always"])

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3 = cls.server.s3()

    def locked(self, name, default=None):
        self.s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
        if default:
            self.configure(name, default)
        return name

    def configure(self, name, default=None):
        configuration = {"ObjectLockEnabled": "Enabled"}
        if default:
            configuration["Rule"] = {"DefaultRetention": default}
        self.s3.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=configuration)

    def put(self, bucket, key="k", body=b"body", **kwargs):
        return self.s3.put_object(Bucket=bucket, Key=key, Body=body, **kwargs)["VersionId"]

    def refused(self, call, **kwargs):
        with self.assertRaises(ClientError) as e:
            call(**kwargs)
        r = e.exception.response
        return r["Error"]["Code"], r["ResponseMetadata"]["HTTPStatusCode"], r["Error"]["Message"]

    def code(self, call, **kwargs):
        return self.refused(call, **kwargs)[:2]

    def stays(self, bucket, key, version, **kwargs):
        self.assertEqual(self.refused(self.s3.delete_object, Bucket=bucket, Key=key, VersionId=version, **kwargs),
                         ("AccessDenied", 403, PROTECTED))
        self.s3.head_object(Bucket=bucket, Key=key, VersionId=version)

    def raw(self, method, path, body=b"", headers=None, query=""):
        sent, *_ = signed(method, self.server.http, path, query, headers)
        url = "http://127.0.0.1:%d%s%s" % (self.server.http, path, "?" + query if query else "")
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, sent, method=method)) as r:
                return r.status, r.read()
        except urllib.error.HTTPError as e:
            return e.code, e.read()

    # ---- of buckets ----

    def test_a_bucket_is_made_with_it_and_keeps_it(self):
        bucket = self.locked("made")
        self.assertEqual(self.s3.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"], {"ObjectLockEnabled": "Enabled"})
        self.assertEqual(self.s3.get_bucket_versioning(Bucket=bucket)["Status"], "Enabled")
        suspend = dict(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
        self.assertEqual(self.refused(self.s3.put_bucket_versioning, **suspend), (
            "InvalidBucketState", 409,
            "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed."))
        for default in ({"Mode": "GOVERNANCE", "Days": 3}, {"Mode": "COMPLIANCE", "Years": 2}):
            self.configure(bucket, default)
            for _ in range(2):
                got = self.s3.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
                self.assertEqual(got, {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": default}})
                self.server.restart()
                type(self).s3 = self.server.s3()
        self.configure(bucket)
        self.assertNotIn("Rule", self.s3.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"])

    def test_it_comes_later_where_versions_are_kept(self):
        self.s3.create_bucket(Bucket="later")
        get = self.s3.get_object_lock_configuration
        self.assertEqual(self.code(get, Bucket="later"), ("ObjectLockConfigurationNotFoundError", 404))
        put = dict(Bucket="later", ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
        self.assertEqual(self.code(self.s3.put_object_lock_configuration, **put), ("InvalidBucketState", 409))
        self.s3.put_bucket_versioning(Bucket="later", VersioningConfiguration={"Status": "Enabled"})
        before = self.put("later")
        retention = {"Mode": "COMPLIANCE", "RetainUntilDate": after(days=1)}
        for call, kwargs in ((self.s3.put_object_retention, dict(Retention=retention)), (self.s3.get_object_retention, {}),
                             (self.s3.put_object_legal_hold, dict(LegalHold={"Status": "ON"})), (self.s3.get_object_legal_hold, {})):
            self.assertEqual(self.refused(call, Bucket="later", Key="k", **kwargs), ("InvalidRequest", 400, MISSING))
        self.assertEqual(self.refused(self.s3.put_object, Bucket="later", Key="k", Body=b"x", ObjectLockLegalHoldStatus="ON"),
                         ("InvalidRequest", 400, MISSING))
        self.s3.put_object_lock_configuration(**put)
        self.s3.put_object_retention(Bucket="later", Key="k", VersionId=before, Retention=retention)
        self.stays("later", "k", before)

    def test_configurations_that_are_none_are_refused(self):
        bucket = self.locked("wrong")

        def refused(body):
            answer = self.raw("PUT", "/" + bucket, body.encode(), {"content-md5": md5(body.encode())}, "object-lock=")
            self.assertEqual(answer[0], 400, answer)
            return answer[1].decode().partition("<Code>")[2].partition("<")[0]
        head, tail = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>", "</ObjectLockConfiguration>"

        def rule(inner):
            return head + "<Rule><DefaultRetention>" + inner + "</DefaultRetention></Rule>" + tail
        mode = "<Mode>GOVERNANCE</Mode>"
        for body, code in ((head.replace("Enabled<", "Disabled<") + tail, "MalformedXML"), ("<ObjectLockConfiguration/>", "MalformedXML"),
                           (rule(mode), "MalformedXML"), (rule("<Days>1</Days>"), "MalformedXML"),
                           (rule("<Mode>governance</Mode><Days>1</Days>"), "MalformedXML"),
                           (rule(mode + "<Days>1</Days><Years>1</Years>"), "MalformedXML"), (rule(mode + "<Days>a</Days>"), "MalformedXML"),
                           (rule(mode + "<Days>0</Days>"), "InvalidRetentionPeriod"), (rule(mode + "<Years>-1</Years>"), "InvalidRetentionPeriod"),
                           (rule(mode + "<Days>36501</Days>"), "InvalidRetentionPeriod"), (rule(mode + "<Years>101</Years>"), "InvalidRetentionPeriod")):
            self.assertEqual(refused(body), code, body)
        answer = self.raw("PUT", "/" + bucket, (head + tail).encode(), {}, "object-lock=")
        self.assertIn(b"Missing required header for this request: Content-MD5", answer[1])

    # ---- of versions ----

    def test_governance_is_bypassed_and_compliance_is_not(self):
        bucket = self.locked("modes")
        for mode in ("GOVERNANCE", "COMPLIANCE"):
            until = after(days=2)
            version = self.put(bucket, mode, ObjectLockMode=mode, ObjectLockRetainUntilDate=until)
            which = dict(Bucket=bucket, Key=mode, VersionId=version)
            for answer in (self.s3.head_object(**which), self.s3.get_object(**which)):
                self.assertEqual((answer["ObjectLockMode"], answer["ObjectLockRetainUntilDate"]), (mode, until))
                self.assertNotIn("ObjectLockLegalHoldStatus", answer)
            self.assertEqual(self.s3.get_object_retention(**which)["Retention"], {"Mode": mode, "RetainUntilDate": until})
            self.stays(bucket, mode, version)
            listed = self.s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": mode, "VersionId": version}]})["Errors"]
            self.assertEqual([(e["Code"], e["Message"], e["VersionId"]) for e in listed], [("AccessDenied", PROTECTED, version)])
            # A deletion without a version makes a marker, and hides it.
            self.s3.delete_object(Bucket=bucket, Key=mode)
            self.stays(bucket, mode, version)
            put = self.s3.put_object_retention
            longer, shorter = ({"Mode": mode, "RetainUntilDate": until + datetime.timedelta(hours=by)} for by in (1, -1))
            other = {"Mode": "COMPLIANCE" if mode == "GOVERNANCE" else "GOVERNANCE", "RetainUntilDate": until + datetime.timedelta(hours=2)}
            put(**which, Retention=longer)
            for retention in (shorter, {}, other):
                self.assertEqual(self.refused(put, **which, Retention=retention), ("AccessDenied", 403, PROTECTED))
            self.server.restart()
            type(self).s3 = self.server.s3()
            put = self.s3.put_object_retention
            if mode == "COMPLIANCE":
                for retention in (shorter, {}, other):
                    self.assertEqual(self.code(put, **which, Retention=retention, BypassGovernanceRetention=True), ("AccessDenied", 403))
                self.stays(bucket, mode, version, BypassGovernanceRetention=True)
                continue
            put(**which, Retention=shorter, BypassGovernanceRetention=True)
            self.assertEqual(self.s3.get_object_retention(**which)["Retention"], shorter)
            self.stays(bucket, mode, version)
            self.s3.delete_object(**which, BypassGovernanceRetention=True)
            self.assertEqual(self.code(self.s3.head_object, **which), ("404", 404))
            removed = self.put(bucket, mode, ObjectLockMode=mode, ObjectLockRetainUntilDate=until)
            put(Bucket=bucket, Key=mode, VersionId=removed, Retention={}, BypassGovernanceRetention=True)
            self.assertEqual(self.code(self.s3.get_object_retention, Bucket=bucket, Key=mode), ("NoSuchObjectLockConfiguration", 404))
            self.s3.delete_object(Bucket=bucket, Key=mode, VersionId=removed)

    def test_a_hold_stays_until_it_is_let_go(self):
        bucket = self.locked("holds")
        version = self.put(bucket)
        get, put = self.s3.get_object_legal_hold, self.s3.put_object_legal_hold
        self.assertEqual(self.code(get, Bucket=bucket, Key="k"), ("NoSuchObjectLockConfiguration", 404))
        put(Bucket=bucket, Key="k", LegalHold={"Status": "ON"})
        self.put(bucket, body=b"another")
        which = dict(Bucket=bucket, Key="k", VersionId=version)
        self.assertEqual(self.s3.head_object(**which)["ObjectLockLegalHoldStatus"], "ON")
        self.stays(bucket, "k", version, BypassGovernanceRetention=True)
        put(**which, LegalHold={"Status": "OFF"})
        self.assertEqual(get(**which)["LegalHold"], {"Status": "OFF"})
        self.assertEqual(self.s3.head_object(**which)["ObjectLockLegalHoldStatus"], "OFF")
        self.s3.delete_object(**which)
        held = self.put(bucket, ObjectLockLegalHoldStatus="ON")
        self.stays(bucket, "k", held)
        self.assertEqual(self.code(put, Bucket=bucket, Key="k", LegalHold={"Status": "on"}), ("MalformedXML", 400))
        self.assertEqual(self.code(put, Bucket=bucket, Key="none", LegalHold={"Status": "ON"}), ("NoSuchKey", 404))
        marker = self.s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
        self.assertEqual(self.code(put, Bucket=bucket, Key="k", VersionId=marker, LegalHold={"Status": "ON"}), ("MethodNotAllowed", 405))

    def test_a_lock_makes_no_version_and_changes_nothing_else(self):
        bucket = self.locked("inplace")
        version = self.put(bucket, body=b"x" * 200000, Metadata={"a": "b"}, ContentType="text/x", Tagging="t=u")
        before = self.s3.head_object(Bucket=bucket, Key="k")
        self.s3.put_object_retention(Bucket=bucket, Key="k", Retention={"Mode": "GOVERNANCE", "RetainUntilDate": after(days=1)})
        self.s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "t", "Value": "v"}]})
        answer = self.s3.get_object(Bucket=bucket, Key="k")
        self.assertEqual(answer["Body"].read(), b"x" * 200000)
        for name in ("ETag", "LastModified", "VersionId", "Metadata", "ContentType", "ContentLength"):
            self.assertEqual(answer[name], before[name], name)
        self.assertEqual(answer["ObjectLockMode"], "GOVERNANCE")
        self.assertEqual(len(self.s3.list_object_versions(Bucket=bucket)["Versions"]), 1)
        self.stays(bucket, "k", version)

    def test_a_default_holds_for_every_way_in(self):
        bucket = self.locked("defaults", {"Mode": "GOVERNANCE", "Days": 1})
        explicit = dict(ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=after(days=5))
        self.put(bucket, "put")
        self.put(bucket, "own", **explicit)
        self.s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "own"})
        self.s3.copy_object(Bucket=bucket, Key="copy-own", CopySource={"Bucket": bucket, "Key": "put"}, **explicit)
        for key, lock in (("parts", {}), ("parts-own", explicit)):
            upload = dict(Bucket=bucket, Key=key, UploadId=self.s3.create_multipart_upload(Bucket=bucket, Key=key, **lock)["UploadId"])
            part = self.s3.upload_part(**upload, PartNumber=1, Body=b"part")["ETag"]
            self.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]})
        for key, lock in (("form", {}), ("form-own", explicit)):
            fields = {"x-amz-object-lock-mode": lock["ObjectLockMode"],
                      "x-amz-object-lock-retain-until-date": lock["ObjectLockRetainUntilDate"].strftime("%Y-%m-%dT%H:%M:%SZ")} if lock else {}
            fields["Content-MD5"] = md5(b"form")
            post = self.s3.generate_presigned_post(bucket, key, fields, [{n: v} for n, v in fields.items()])
            self.post(post, b"form")
        with self.entered(bucket) as client:
            client.set("resp", "one")
            client.append("resp", "two")
        for key in ("put", "copy", "parts", "form", "resp", "own", "copy-own", "parts-own", "form-own"):
            want = "COMPLIANCE" if key.endswith("own") else "GOVERNANCE"
            head = self.s3.head_object(Bucket=bucket, Key=key)
            self.assertEqual(head["ObjectLockMode"], want, key)
            self.stays(bucket, key, head["VersionId"])
        # A body that nothing vouches for.
        status, body = self.raw("PUT", "/%s/plain" % bucket, b"x")
        self.assertEqual(status, 400)
        self.assertIn(b"Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters", body)
        self.assertEqual(self.raw("PUT", "/%s/plain" % bucket, b"x", {"content-md5": md5(b"x")})[0], 200)

    def post(self, post, body):
        boundary = "a-boundary-of-a-form"
        parts = ["--%s\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n" % (boundary, n, v) for n, v in post["fields"].items()]
        end = "--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n" % boundary
        data = "".join(parts).encode() + end.encode() + body + ("\r\n--%s--\r\n" % boundary).encode()
        request = urllib.request.Request(post["url"], data, {"Content-Type": "multipart/form-data; boundary=" + boundary})
        with urllib.request.urlopen(request) as r:
            self.assertEqual(r.status, 204)

    def entered(self, name):
        def enter(connection):
            connection.on_connect()
            connection.send_command("SELECT", name)
            connection.read_response()
        return self.server.redis(redis_connect_func=enter)

    def test_headers_that_make_no_lock_are_refused(self):
        bucket = self.locked("headers")
        future, past = "2099-01-01T00:00:00Z", "2001-01-01T00:00:00Z"
        mode, until, hold = "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold"
        for headers, message in (
                ({mode: "GOVERNANCE"}, until + " and " + mode + " must both be supplied"),
                ({until: future}, until + " and " + mode + " must both be supplied"),
                ({mode: "governance", until: future}, "Unknown wormMode directive."),
                ({mode: "GOVERNANCE", until: "tomorrow"}, "The retain until date must be provided in ISO 8601 format"),
                ({mode: "GOVERNANCE", until: past}, "The retain until date must be in the future!"),
                ({hold: "YES"}, "Legal Hold must be either of &apos;ON&apos; or &apos;OFF&apos;")):
            status, body = self.raw("PUT", "/%s/k" % bucket, b"x", {**headers, "content-md5": md5(b"x")})
            self.assertEqual((status, b"InvalidArgument" in body), (400, True), headers)
            self.assertIn(message.replace("&apos;", "'"), body.decode().replace("&apos;", "'"))
        for retention, code in (("<Retention><Mode>GOVERNANCE</Mode></Retention>", "MalformedXML"),
                                ("<Retention><Mode>X</Mode><RetainUntilDate>%s</RetainUntilDate></Retention>" % future, "MalformedXML"),
                                ("<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>%s</RetainUntilDate></Retention>" % past, "InvalidArgument")):
            answer = self.raw("PUT", "/%s/k" % bucket, retention.encode(), {"content-md5": md5(retention.encode())}, "retention=")
            self.assertEqual((answer[0], code.encode() in answer[1]), (400, True), answer)

    # ---- at every door ----

    def test_no_door_takes_what_is_locked(self):
        bucket = self.locked("doors")
        lock = dict(ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=after(days=1))
        versions = {key: self.put(bucket, key, key.encode(), **lock) for key in ("del", "unlink", "rename", "set", "expire", "getdel", "multi")}
        with self.entered(bucket) as client:
            client.delete("del")
            client.unlink("unlink")
            client.rename("rename", "elsewhere")
            client.set("set", "other")
            client.pexpire("expire", 1)
            client.getdel("getdel")
            with client.pipeline() as several:
                several.set("multi", "a").delete("multi").execute()
            with self.assertRaises(ResponseError):
                client.flushdb()
            client.flushall()
            with self.assertRaises(ResponseError):
                client.execute_command("SWAPDB", "0", bucket)
            while client.exists("expire"):
                time.sleep(0.02)
        self.assertEqual(self.code(self.s3.delete_bucket, Bucket=bucket), ("BucketNotEmpty", 409))
        self.server.restart()
        type(self).s3 = self.server.s3()
        for key, version in versions.items():
            self.assertEqual(self.s3.get_object(Bucket=bucket, Key=key, VersionId=version)["Body"].read(), key.encode())
            self.stays(bucket, key, version)
        # What was renamed took no lock along.
        self.assertNotIn("ObjectLockMode", self.s3.head_object(Bucket=bucket, Key="elsewhere"))

    def test_what_was_retained_goes_when_its_time_has_come(self):
        bucket = self.locked("short")
        version = self.put(bucket, ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=after(seconds=2))
        self.stays(bucket, "k", version, BypassGovernanceRetention=True)
        while True:
            try:
                self.s3.delete_object(Bucket=bucket, Key="k", VersionId=version)
                break
            except ClientError as e:
                self.assertEqual(e.response["Error"]["Code"], "AccessDenied")
                time.sleep(0.2)
        self.s3.delete_bucket(Bucket=bucket)

    # ---- rights ----

    def test_locks_take_rights_of_their_own(self):
        bucket = self.locked("rights")
        retained = dict(ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=after(days=1))
        version = self.put(bucket, "old", **retained, ObjectLockLegalHoldStatus="OFF")
        iam = boto3.client("iam", endpoint_url="http://127.0.0.1:%d" % self.server.http, aws_access_key_id=USER,
                           aws_secret_access_key=PASSWORD, region_name="us-east-1")
        iam.create_user(UserName="lena")
        key = iam.create_access_key(UserName="lena")["AccessKey"]

        def allow(*actions):
            statement = {"Effect": "Allow", "Action": ["s3:" + a for a in actions], "Resource": ["arn:aws:s3:::rights", "arn:aws:s3:::rights/*"]}
            iam.put_user_policy(UserName="lena", PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
        lena = boto3.client("s3", endpoint_url="http://127.0.0.1:%d" % self.server.http, aws_access_key_id=key["AccessKeyId"],
                            aws_secret_access_key=key["SecretAccessKey"], region_name="us-east-1",
                            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}))
        which = dict(Bucket=bucket, Key="old", VersionId=version)
        basics = ("PutObject", "GetObject", "GetObjectVersion", "DeleteObject", "DeleteObjectVersion", "ListBucket")
        allow(*basics)
        lena.put_object(Bucket=bucket, Key="k", Body=b"x")
        seen = lena.head_object(**which)
        self.assertFalse({"ObjectLockMode", "ObjectLockLegalHoldStatus"} & set(seen))
        for call, kwargs in ((lena.put_object, dict(Bucket=bucket, Key="k", Body=b"x", **retained)),
                             (lena.put_object, dict(Bucket=bucket, Key="k", Body=b"x", ObjectLockLegalHoldStatus="ON")),
                             (lena.get_object_retention, which), (lena.get_object_legal_hold, which),
                             (lena.put_object_legal_hold, dict(which, LegalHold={"Status": "ON"})),
                             (lena.get_object_lock_configuration, dict(Bucket=bucket)),
                             (lena.delete_object, dict(which, BypassGovernanceRetention=True))):
            self.assertEqual(self.code(call, **kwargs), ("AccessDenied", 403))
        allow(*basics, "PutObjectRetention", "GetObjectRetention", "GetObjectLegalHold", "PutObjectLegalHold")
        seen = lena.head_object(**which)
        self.assertEqual((seen["ObjectLockMode"], seen["ObjectLockLegalHoldStatus"]), ("GOVERNANCE", "OFF"))
        lena.put_object(Bucket=bucket, Key="k", Body=b"x", **retained, ObjectLockLegalHoldStatus="ON")
        shorter = dict(which, Retention={"Mode": "GOVERNANCE", "RetainUntilDate": after(hours=1)}, BypassGovernanceRetention=True)
        self.assertEqual(self.code(lena.put_object_retention, **shorter), ("AccessDenied", 403))
        allow(*basics, "PutObjectRetention", "BypassGovernanceRetention")
        lena.put_object_retention(**shorter)
        lena.delete_object(**which, BypassGovernanceRetention=True)
        iam.create_user(UserName="max")
        made = iam.create_access_key(UserName="max")["AccessKey"]
        iam.put_user_policy(UserName="max", PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "s3:CreateBucket", "Resource": "*"}]}))
        other = boto3.client("s3", endpoint_url="http://127.0.0.1:%d" % self.server.http, aws_access_key_id=made["AccessKeyId"],
                             aws_secret_access_key=made["SecretAccessKey"], region_name="us-east-1",
                             config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}))
        self.assertEqual(self.code(other.create_bucket, Bucket="of-max", ObjectLockEnabledForBucket=True), ("AccessDenied", 403))
        other.create_bucket(Bucket="of-max")

    def test_policies_see_what_a_body_says(self):
        bucket = self.locked("conditions")
        version = self.put(bucket)
        deny = lambda action, key, value, operator="StringEquals": {
            "Effect": "Deny", "Principal": "*", "Action": "s3:" + action, "Resource": "arn:aws:s3:::%s/*" % bucket,
            "Condition": {operator: {"s3:object-lock-" + key: value}}}
        self.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [
            deny("PutObjectRetention", "mode", "COMPLIANCE"), deny("PutObjectLegalHold", "legal-hold", "OFF"),
            deny("PutObjectRetention", "remaining-retention-days", "10", "NumericGreaterThan")]}))
        retain = lambda mode, days: self.s3.put_object_retention(
            Bucket=bucket, Key="k", VersionId=version, Retention={"Mode": mode, "RetainUntilDate": after(days=days)})
        hold = lambda status: self.s3.put_object_legal_hold(Bucket=bucket, Key="k", LegalHold={"Status": status})
        retain("GOVERNANCE", 1)
        hold("ON")
        for refused in (lambda: retain("COMPLIANCE", 1), lambda: retain("GOVERNANCE", 20), lambda: hold("OFF")):
            self.assertEqual(self.code(refused), ("AccessDenied", 403))
        self.put(bucket, "without")  # a lock that there is none of lasts no days
        self.s3.delete_bucket_policy(Bucket=bucket)
        hold("OFF")


if __name__ == "__main__":
    unittest.main()
