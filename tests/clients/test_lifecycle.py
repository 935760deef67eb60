"""Lifecycles that run, with boto3; a day has two seconds."""
import base64
import datetime
import hashlib
import http.client
import time
import unittest

from botocore.exceptions import ClientError

from harness import Case
from test_http import Calls

DAY = 2


def rule(ident="r", **kwargs):
    return {"ID": ident, "Status": "Enabled", "Filter": {"Prefix": ""}, **kwargs}


class Lifecycle(Calls):
    server_args = dict(args=["--lifecycle-day=%d" % DAY])
    buckets = ()

    def restart(self):
        self.server.restart()
        type(self).s3 = self.server.s3()
        type(self).connection = http.client.HTTPConnection("127.0.0.1", self.server.http, timeout=30)

    def bucket(self, name, versioned=False):
        self.s3.create_bucket(Bucket=name)
        if versioned:
            self.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def set(self, bucket, *rules):
        self.s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": list(rules)})

    def keys(self, bucket):
        return [o["Key"] for o in self.s3.list_objects_v2(Bucket=bucket).get("Contents", [])]

    def versions(self, bucket):
        page = self.s3.list_object_versions(Bucket=bucket)
        return len(page.get("Versions", [])), len(page.get("DeleteMarkers", []))

    def until(self, what, want):
        while True:
            got = what()
            if got == want:
                return
            time.sleep(0.2)

    # ---- documents ----

    def test_rules_are_answered_as_they_were_set(self):
        bucket = self.bucket("documents")
        rules = [rule("a", Expiration={"Days": 300}), rule("b", Filter={"Prefix": "logs/"}, NoncurrentVersionExpiration={"NoncurrentDays": 3}),
                 rule("c", Filter={"Tag": {"Key": "k", "Value": "v"}}, Expiration={"Days": 1000}),
                 rule("d", Filter={"And": {"Prefix": "x", "Tags": [{"Key": "k", "Value": "v"}, {"Key": "l", "Value": ""}],
                                           "ObjectSizeGreaterThan": 10, "ObjectSizeLessThan": 1000}},
                      NoncurrentVersionExpiration={"NoncurrentDays": 3, "NewerNoncurrentVersions": 5}),
                 rule("e", Filter={"ObjectSizeGreaterThan": 5}, Status="Disabled", Expiration={"Days": 1}),
                 rule("f", AbortIncompleteMultipartUpload={"DaysAfterInitiation": 7}),
                 rule("g", Expiration={"ExpiredObjectDeleteMarker": True}),
                 rule("h", Expiration={"Date": datetime.datetime(2099, 1, 1, tzinfo=datetime.timezone.utc)})]
        self.set(bucket, *rules)
        for _ in range(2):
            self.assertEqual(self.s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"], rules)
            self.restart()
        without = rule(Expiration={"Days": 3})
        del without["ID"]
        self.set(bucket, without)
        self.assertTrue(self.s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"][0]["ID"])
        self.s3.delete_bucket_lifecycle(Bucket=bucket)
        with self.assertRaises(ClientError) as e:
            self.s3.get_bucket_lifecycle_configuration(Bucket=bucket)
        self.assertEqual(e.exception.response["Error"]["Code"], "NoSuchLifecycleConfiguration")

    def test_what_is_no_rule_is_refused(self):
        bucket = self.bucket("refusals")

        def put(inner):
            body = ("<LifecycleConfiguration>%s</LifecycleConfiguration>" % inner).encode()
            digest = base64.b64encode(hashlib.md5(body).digest()).decode()
            return self.code(self.call("PUT", "/" + bucket, "lifecycle=", {"content-md5": digest}, body))

        def one(inner, status="<Status>Enabled</Status>", where="<Filter/>"):
            return put("<Rule>" + status + where + inner + "</Rule>")
        days = "<Expiration><Days>1</Days></Expiration>"
        transition = "<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>"
        for got, want in (
                (put(""), (400, "MalformedXML")), (one(days, status="<Status>enabled</Status>"), (400, "MalformedXML")),
                (one(days, status=""), (400, "MalformedXML")), (one(days, where=""), (400, "MalformedXML")),
                (one(days, where="<Filter/><Prefix/>"), (400, "MalformedXML")),
                (one(days, where="<Filter><Prefix>a</Prefix><ObjectSizeLessThan>5</ObjectSizeLessThan></Filter>"), (400, "MalformedXML")),
                (one(""), (400, "InvalidRequest")), (one("<Expiration><Days>0</Days></Expiration>"), (400, "InvalidArgument")),
                (one("<Expiration><Days>1</Days><Date>2099-01-01T00:00:00Z</Date></Expiration>"), (400, "MalformedXML")),
                (one("<Expiration><Date>2099-01-01T00:00:01Z</Date></Expiration>"), (400, "InvalidArgument")),
                (one("<NoncurrentVersionExpiration><NoncurrentDays>0</NoncurrentDays></NoncurrentVersionExpiration>"), (400, "InvalidArgument")),
                (one("<NoncurrentVersionExpiration><NewerNoncurrentVersions>1</NewerNoncurrentVersions></NoncurrentVersionExpiration>"),
                 (400, "MalformedXML")),
                (one("<AbortIncompleteMultipartUpload><DaysAfterInitiation>0</DaysAfterInitiation></AbortIncompleteMultipartUpload>"),
                 (400, "InvalidArgument")),
                (one("<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>",
                     where="<Filter><Tag><Key>a</Key><Value>b</Value></Tag></Filter>"), (400, "InvalidRequest")),
                (put(2 * ("<Rule><ID>same</ID><Status>Enabled</Status><Filter/>" + days + "</Rule>")), (400, "InvalidArgument")),
                (one("<ID>" + "i" * 256 + "</ID>" + days), (400, "InvalidArgument")), (one(transition), (501, "NotImplemented"))):
            self.assertEqual(got, want)
        self.assertEqual(one(days), (200, ""))
        self.assertEqual(one(days, where="<Prefix>old</Prefix>"), (200, ""))
        self.assertEqual(self.s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"][0]["Prefix"], "old")

    # ---- what becomes of objects ----

    def test_objects_go_by_prefix_tag_and_size(self):
        bucket = self.bucket("goes")
        for key, kwargs in (("before/x", {}), ("a/x", {}), ("b/tagged", {"Tagging": "go=yes"}), ("b/plain", {}), ("c/large", {"Body": b"x" * 100}),
                            ("c/small", {})):
            self.s3.put_object(Bucket=bucket, Key=key, **kwargs)
        self.set(bucket, rule("p", Filter={"Prefix": "a/"}, Expiration={"Days": 1}), rule("q", Filter={"Prefix": "before/"}, Expiration={"Days": 1}),
                 rule("t", Filter={"Tag": {"Key": "go", "Value": "yes"}}, Expiration={"Days": 1}),
                 rule("s", Filter={"And": {"Prefix": "c/", "ObjectSizeGreaterThan": 50}}, Expiration={"Days": 1}))
        self.s3.put_object(Bucket=bucket, Key="a/later", Body=b"")
        self.until(lambda: self.keys(bucket), ["b/plain", "c/small"])
        self.restart()
        self.s3.put_object(Bucket=bucket, Key="a/again", Body=b"")
        self.until(lambda: self.keys(bucket), ["b/plain", "c/small"])

    def test_versions_go_and_markers_behind_them(self):
        bucket = self.bucket("versions", True)
        self.set(bucket, rule("n", NoncurrentVersionExpiration={"NoncurrentDays": 1}), rule("m", Expiration={"ExpiredObjectDeleteMarker": True}))
        for i in range(5):
            self.s3.put_object(Bucket=bucket, Key="k", Body=b"%d" % i)
        self.until(lambda: self.versions(bucket), (1, 0))
        self.assertEqual(self.s3.get_object(Bucket=bucket, Key="k")["Body"].read(), b"4")
        self.s3.delete_object(Bucket=bucket, Key="k")
        self.until(lambda: self.versions(bucket), (0, 0))
        self.s3.delete_bucket(Bucket=bucket)

    def test_what_expires_is_told_and_becomes_a_version(self):
        bucket = self.bucket("told", True)
        self.set(bucket, rule("all of it", Expiration={"Days": 1}))
        put = self.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        head = self.s3.head_object(Bucket=bucket, Key="k")
        self.assertRegex(put["Expiration"], r'^expiry-date="\w{3}, .* GMT", rule-id="all%20of%20it"$')
        self.assertEqual(head["Expiration"], put["Expiration"])
        self.assertNotIn("Expiration", self.s3.head_object(Bucket=bucket, Key="k", VersionId=put["VersionId"]))
        self.until(lambda: self.versions(bucket), (1, 1))
        self.assertEqual(self.s3.get_object(Bucket=bucket, Key="k", VersionId=put["VersionId"])["Body"].read(), b"x")

    def test_a_lock_outranks_a_rule(self):
        self.s3.create_bucket(Bucket="outranked", ObjectLockEnabledForBucket=True)
        until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
        held = self.s3.put_object(Bucket="outranked", Key="held", Body=b"x", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until)
        self.s3.put_object(Bucket="outranked", Key="free", Body=b"x")
        self.set("outranked", rule("r", Expiration={"Days": 1}, NoncurrentVersionExpiration={"NoncurrentDays": 1}))
        self.until(lambda: self.versions("outranked"), (1, 1))
        self.s3.head_object(Bucket="outranked", Key="held", VersionId=held["VersionId"])

    def test_what_comes_of_an_upload_is_told(self):
        bucket = self.bucket("parts")
        self.set(bucket, rule("u", AbortIncompleteMultipartUpload={"DaysAfterInitiation": 9}, Expiration={"Days": 9}))
        made = self.s3.create_multipart_upload(Bucket=bucket, Key="a")
        listed = self.s3.list_parts(Bucket=bucket, Key="a", UploadId=made["UploadId"])
        for answer in made, listed:
            self.assertEqual(answer["AbortRuleId"], "u")
            self.assertGreater(answer["AbortDate"], datetime.datetime.now(datetime.timezone.utc))
        part = self.s3.upload_part(Bucket=bucket, Key="a", UploadId=made["UploadId"], PartNumber=1, Body=b"x")
        done = self.s3.complete_multipart_upload(Bucket=bucket, Key="a", UploadId=made["UploadId"],
                                                 MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
        self.assertIn('rule-id="u"', done["Expiration"])

    def test_uploads_are_aborted(self):
        bucket = self.bucket("uploads")
        self.s3.create_multipart_upload(Bucket=bucket, Key="a/x")
        self.set(bucket, rule("u", Filter={"Prefix": "a/"}, AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1}))
        self.s3.create_multipart_upload(Bucket=bucket, Key="a/y")
        self.s3.create_multipart_upload(Bucket=bucket, Key="b")
        self.until(lambda: [u["Key"] for u in self.s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])], ["b"])


if __name__ == "__main__":
    unittest.main()
