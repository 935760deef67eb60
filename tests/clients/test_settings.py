"""What buckets answer that were never versioned and of which nothing is set."""
import json
import os
import random
import subprocess
import unittest
import urllib.parse

from botocore.exceptions import ClientError

from harness import PASSWORD, USER
from test_http import SETTINGS, UNSET, Calls

# GET of what is not set: how boto3 calls it, the subresource, code, message.
ERRORS = [
    ("get_bucket_encryption", "encryption", "ServerSideEncryptionConfigurationNotFoundError", "The server side encryption configuration was not found"),
    ("get_bucket_lifecycle_configuration", "lifecycle", "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"),
    ("get_bucket_policy", "policy", "NoSuchBucketPolicy", "The bucket policy does not exist"),
    ("get_bucket_policy_status", "policyStatus", "NoSuchBucketPolicy", "The bucket policy does not exist"),
    ("get_bucket_replication", "replication", "ReplicationConfigurationNotFoundError", "The replication configuration was not found"),
    ("get_bucket_website", "website", "NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration"),
    ("get_bucket_cors", "cors", "NoSuchCORSConfiguration", "The CORS configuration does not exist"),
    ("get_bucket_tagging", "tagging", "NoSuchTagSet", "The TagSet does not exist"),
    ("get_object_lock_configuration", "object-lock", "ObjectLockConfigurationNotFoundError",
     "Object Lock configuration does not exist for this bucket"),
    ("get_public_access_block", "publicAccessBlock", "NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found"),
]
DEFAULTS = [("get_bucket_accelerate_configuration", {}), ("get_bucket_logging", {}), ("get_bucket_notification_configuration", {}),
            ("get_bucket_ownership_controls", {"OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}}),
            ("get_bucket_request_payment", {"Payer": "BucketOwner"}), ("get_bucket_versioning", {})]
OTHER_VERSION = "HPniJFCxqTsMuIH9KX8K8wEjNUgmABCD"


class Settings(Calls):
    def refused(self, call, **kwargs):
        with self.assertRaises(ClientError) as e:
            call(**kwargs)
        r = e.exception.response
        return r["ResponseMetadata"]["HTTPStatusCode"], r["Error"]

    def test_what_is_not_set_is_answered_as_s3_answers_it(self):
        for name, _, code, message in ERRORS:
            for bucket in ("bucket", "db2"):
                status, error = self.refused(getattr(self.s3, name), Bucket=bucket)
                self.assertEqual((status, error["Code"], error["Message"], error["BucketName"]), (404, code, message, bucket))
            self.assertEqual(self.refused(getattr(self.s3, name), Bucket="nowhere")[1]["Code"], "NoSuchBucket")
        for name, want in DEFAULTS:
            answer = getattr(self.s3, name)(Bucket="bucket")
            self.assertEqual({k: v for k, v in answer.items() if k != "ResponseMetadata"}, want, name)
            self.assertEqual(self.refused(getattr(self.s3, name), Bucket="nowhere")[1]["Code"], "NoSuchBucket")
        self.s3.put_object(Bucket="bucket", Key="key", Body=b"x")
        # All rights are the owner's; s3cmd's info and Terraform ask.
        owner = {"DisplayName": USER, "ID": self.s3.list_buckets()["Owner"]["ID"]}
        self.assertRegex(owner["ID"], "^[0-9a-f]{64}$")
        for answer in (self.s3.get_bucket_acl(Bucket="bucket"), self.s3.get_object_acl(Bucket="bucket", Key="key")):
            self.assertEqual((answer["Owner"], answer["Grants"]), (owner, [{"Grantee": {**owner, "Type": "CanonicalUser"}, "Permission": "FULL_CONTROL"}]))
        self.assertEqual(self.refused(self.s3.get_object_acl, Bucket="bucket", Key="none")[1]["Code"], "NoSuchKey")
        for name in ("get_object_retention", "get_object_legal_hold"):
            status, error = self.refused(getattr(self.s3, name), Bucket="bucket", Key="key")
            self.assertEqual((status, error["Code"], error["Message"]), (400, "InvalidRequest", "Bucket is missing Object Lock Configuration"))

    def test_what_cannot_be_set_says_so_and_is_not_set(self):
        for name in set(UNSET) - set(SETTINGS):
            self.assertEqual(self.code(self.call("PUT", "/bucket", name, {}, b"<A/>")), (501, "NotImplemented"), name)
        self.test_what_is_not_set_is_answered_as_s3_answers_it()

    # ---- versions ----

    def test_every_object_is_its_only_version(self):
        """Generated keys and pages, against all keys in order."""
        rng = random.Random(8)
        self.s3.create_bucket(Bucket="versions")
        letters = "ab/-\u00e9 &<\u4e2d"
        keys = sorted({"".join(rng.choice(letters) for _ in range(rng.randint(1, 5))) for _ in range(120)}, key=lambda k: k.encode())
        for key in keys:
            self.s3.put_object(Bucket="versions", Key=key, Body=key.encode())
        for _ in range(60):
            prefix, delimiter = rng.choice(["", "", "a", "a/", "/"]), rng.choice([None, "/", "b", "a/"])
            after = rng.choice([None, None, rng.choice(keys), "a/"])
            want, groups = [], []
            for key in keys:
                if not key.startswith(prefix) or (after is not None and key.encode() <= after.encode()):
                    continue
                at = -1 if delimiter is None else key.find(delimiter, len(prefix))
                group = None if at < 0 else key[:at + len(delimiter)]
                if group is not None and group != after and group not in groups:
                    groups.append(group)
                if group is None:
                    want.append(key)
            pages = self.s3.get_paginator("list_object_versions").paginate(
                Bucket="versions", Prefix=prefix, **({"Delimiter": delimiter} if delimiter else {}), **({"KeyMarker": after} if after else {}),
                PaginationConfig={"PageSize": rng.choice([1, 2, 7, 1000])}) if after is None else self.pages(
                    "versions", Prefix=prefix, **({"Delimiter": delimiter} if delimiter else {}), KeyMarker=after, MaxKeys=rng.choice([1, 2, 7, 1000]))
            got, got_groups = [], []
            for page in pages:
                self.assertNotIn("DeleteMarkers", page)
                for v in page.get("Versions", []):
                    self.assertEqual((v["VersionId"], v["IsLatest"], v["Size"], v["StorageClass"]), ("null", True, len(v["Key"].encode()), "STANDARD"))
                    got.append(v["Key"])
                got_groups += [p["Prefix"] for p in page.get("CommonPrefixes", [])]
            self.assertEqual((got, got_groups), (want, groups), (prefix, delimiter, after))

    def pages(self, bucket, **query):
        while True:
            page = self.s3.list_object_versions(Bucket=bucket, **query)
            yield page
            if not page["IsTruncated"]:
                return
            query["KeyMarker"] = page["NextKeyMarker"]
            query.pop("VersionIdMarker", None)
            if "NextVersionIdMarker" in page:
                query["VersionIdMarker"] = page["NextVersionIdMarker"]

    def test_markers_of_versions(self):
        for key in ("a", "b"):
            self.s3.put_object(Bucket="bucket", Key="m/" + key, Body=b"")
        listed = lambda **k: [v["Key"] for v in self.s3.list_object_versions(Bucket="bucket", Prefix="m/", **k).get("Versions", [])]
        self.assertEqual(listed(KeyMarker="m/a"), ["m/b"])
        self.assertEqual(listed(KeyMarker="m/a", VersionIdMarker="null"), ["m/b"])
        self.assertEqual(listed(MaxKeys=0), [])
        for query, message in (("version-id-marker=null", "A version-id marker cannot be specified without a key marker."),
                               ("key-marker=a&version-id-marker=", "A version-id marker cannot be empty."),
                               ("key-marker=a&version-id-marker=odd", "Invalid version id specified"),
                               ("key-marker=a&version-id-marker=" + OTHER_VERSION, "Invalid version id specified"),
                               ("max-keys=x", "max-keys"), ("encoding-type=x", "Invalid Encoding Method")):
            answer = self.call("GET", "/bucket", "versions&" + query)
            self.assertEqual(self.code(answer), (400, "InvalidArgument"), query)
            self.assertIn(message.encode(), answer[1])

    def test_the_version_null_is_what_is_there_and_there_is_no_other(self):
        s3 = self.s3
        s3.put_object(Bucket="bucket", Key="v", Body=b"value", Tagging="a=b")
        null, other = {"VersionId": "null"}, {"VersionId": OTHER_VERSION}
        got = s3.get_object(Bucket="bucket", Key="v", **null)
        self.assertEqual((got["Body"].read(), got["VersionId"]), (b"value", "null"))
        self.assertNotIn("VersionId", s3.get_object(Bucket="bucket", Key="v"))
        self.assertEqual(s3.head_object(Bucket="bucket", Key="v", **null)["ContentLength"], 5)
        self.assertEqual(s3.get_object_attributes(Bucket="bucket", Key="v", ObjectAttributes=["ObjectSize"], **null)["ObjectSize"], 5)
        self.assertEqual(s3.get_object_tagging(Bucket="bucket", Key="v", **null)["TagSet"], [{"Key": "a", "Value": "b"}])
        s3.put_object_tagging(Bucket="bucket", Key="v", Tagging={"TagSet": [{"Key": "c", "Value": "d"}]}, **null)
        s3.delete_object_tagging(Bucket="bucket", Key="v", **null)
        copied = s3.copy_object(Bucket="bucket", Key="v2", CopySource={"Bucket": "bucket", "Key": "v", "VersionId": "null"})
        self.assertEqual(copied["CopySourceVersionId"], "null")
        upload = s3.create_multipart_upload(Bucket="bucket", Key="v3")["UploadId"]
        s3.upload_part_copy(Bucket="bucket", Key="v3", UploadId=upload, PartNumber=1, CopySource={"Bucket": "bucket", "Key": "v", "VersionId": "null"})
        calls = [(s3.get_object, {}), (s3.get_object_attributes, {"ObjectAttributes": ["ETag"]}), (s3.get_object_tagging, {}),
                 (s3.put_object_tagging, {"Tagging": {"TagSet": []}}), (s3.delete_object_tagging, {})]
        for call, more in calls:
            status, error = self.refused(call, Bucket="bucket", Key="v", **other, **more)
            self.assertEqual((status, error["Code"], error["Key"], error["VersionId"]), (404, "NoSuchVersion", "v", OTHER_VERSION))
            for odd in ("odd", "", "null2", OTHER_VERSION + "a"):
                self.assertEqual(self.code(self.call("GET", "/bucket/v", "versionId=" + odd)), (400, "InvalidArgument"))
        self.assertEqual(self.refused(s3.head_object, Bucket="bucket", Key="v", **other)[0], 404)
        status, error = self.refused(s3.copy_object, Bucket="bucket", Key="v2", CopySource={"Bucket": "bucket", "Key": "v", **other})
        self.assertEqual((status, error["Code"]), (404, "NoSuchVersion"))
        s3.delete_object(Bucket="bucket", Key="v", **other)  # which is not there
        self.assertEqual(s3.get_object(Bucket="bucket", Key="v")["Body"].read(), b"value")
        done = s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "v2", "VersionId": "null"}, {"Key": "v", **other}]})
        self.assertEqual(done["Deleted"], [{"Key": "v2", "VersionId": "null"}, {"Key": "v", **other}])
        self.assertEqual(s3.get_object(Bucket="bucket", Key="v")["Body"].read(), b"value")
        self.assertEqual(s3.delete_object(Bucket="bucket", Key="v", **null)["VersionId"], "null")
        self.assertEqual(self.refused(s3.get_object, Bucket="bucket", Key="v")[1]["Code"], "NoSuchKey")

    def test_awscli_lists_versions_and_empties_a_bucket_by_them(self):
        env = dict(os.environ, AWS_ACCESS_KEY_ID=USER, AWS_SECRET_ACCESS_KEY=PASSWORD, AWS_DEFAULT_REGION="us-east-1")

        def aws(*args):
            done = subprocess.run(["aws", "--endpoint-url=http://127.0.0.1:%d" % self.server.http, *args], env=env, capture_output=True,
                                  text=True)
            self.assertEqual(done.returncode, 0, (args, done.stderr[-500:]))
            return json.loads(done.stdout or "{}")
        self.s3.create_bucket(Bucket="emptied")
        for i in range(5):
            self.s3.put_object(Bucket="emptied", Key="k %d" % i, Body=b"")
        found = aws("s3api", "list-object-versions", "--bucket", "emptied", "--query", "{Objects: Versions[].{Key:Key,VersionId:VersionId}}")
        self.assertEqual(len(found["Objects"]), 5)
        aws("s3api", "delete-objects", "--bucket", "emptied", "--delete", json.dumps(found))
        self.s3.delete_bucket(Bucket="emptied")


if __name__ == "__main__":
    unittest.main()
