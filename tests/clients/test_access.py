"""Who may use a bucket by what is set for the bucket: policies, public access, access control lists; and who has not said who he is."""
import hashlib
import http.client
import json
import unittest
import uuid

import boto3
import redis
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from harness import PASSWORD, USER, Case

EVERYBODY = "http://acs.amazonaws.com/groups/global/AllUsers"
KNOWN = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
BLOCK = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


def statement(action, resource, effect="Allow", principal="*", **more):
    return {"Effect": effect, "Principal": principal, "Action": action,
            "Resource": ["arn:aws:s3:::" + r for r in ([resource] if isinstance(resource, str) else resource)], **more}


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


class Access(Case):
    def setUp(self):
        self.s3 = self.server.s3()
        self.bucket = "b" + uuid.uuid4().hex[:20]
        self.s3.create_bucket(Bucket=self.bucket)
        self.s3.put_object(Bucket=self.bucket, Key="a", Body=b"value of a")
        self.anonymous = self.client(None)

    def client(self, key, service="s3"):
        settings = dict(retries={"max_attempts": 0}, s3={"addressing_style": "path"}, signature_version="s3v4" if service == "s3" else "v4")
        if key is None:
            settings["signature_version"] = UNSIGNED
        made = boto3.session.Session().client(
            service, endpoint_url="http://127.0.0.1:%d" % self.server.http, region_name="us-east-1",
            aws_access_key_id=key[0] if key else None, aws_secret_access_key=key[1] if key else None, config=Config(**settings))
        self.addCleanup(made.close)
        return made

    def user(self, *statements, password=None):
        """A new user with these rights: his ARN, his canonical id, a client of his."""
        iam = self.client((USER, PASSWORD), "iam")
        name = "u" + uuid.uuid4().hex[:20]
        made = iam.create_user(UserName=name)["User"]
        if statements:
            iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=policy(*statements))
        if password:
            iam.create_login_profile(UserName=name, Password=password)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        canonical = hashlib.sha256(("cairn user " + made["UserId"]).encode()).hexdigest()
        return made["Arn"], canonical, self.client((key["AccessKeyId"], key["SecretAccessKey"]))

    def code(self, call, **kwargs):
        with self.assertRaises(ClientError) as e:
            call(**kwargs)
        self.error = e.exception.response
        return self.error["Error"]["Code"]

    def put_policy(self, *statements, bucket=None):
        bucket = bucket or self.bucket
        self.s3.put_bucket_policy(Bucket=bucket, Policy=policy(*statements))

    def request(self, method, path, headers={}, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.http, timeout=30)
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, data

    def key(self, name="a"):
        return dict(Bucket=self.bucket, Key=name)

    # ---- policies ----

    def test_a_policy_is_kept_as_it_came(self):
        text = policy(statement("s3:GetObject", self.bucket + "/*", Sid="one"))
        self.assertEqual(self.code(self.s3.get_bucket_policy, Bucket=self.bucket), "NoSuchBucketPolicy")
        self.assertEqual(self.code(self.s3.get_bucket_policy_status, Bucket=self.bucket), "NoSuchBucketPolicy")
        answer = self.s3.put_bucket_policy(Bucket=self.bucket, Policy=text)
        self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], 204)
        self.assertEqual(self.s3.get_bucket_policy(Bucket=self.bucket)["Policy"], text)
        self.assertTrue(self.s3.get_bucket_policy_status(Bucket=self.bucket)["PolicyStatus"]["IsPublic"])
        self.server.restart()
        self.s3, anonymous = self.server.s3(), self.client(None)
        self.assertEqual(self.s3.get_bucket_policy(Bucket=self.bucket)["Policy"], text)
        self.assertEqual(anonymous.get_object(**self.key())["Body"].read(), b"value of a")
        self.assertEqual(self.s3.delete_bucket_policy(Bucket=self.bucket)["ResponseMetadata"]["HTTPStatusCode"], 204)
        self.s3.delete_bucket_policy(Bucket=self.bucket)
        self.assertEqual(self.code(anonymous.get_object, **self.key()), "AccessDenied")
        self.assertEqual(self.code(self.s3.get_bucket_policy, Bucket=self.bucket), "NoSuchBucketPolicy")

    def test_what_is_no_policy_is_refused(self):
        ok = statement("s3:GetObject", self.bucket + "/*")
        for text, message in (
                ("x", "Policies must be valid JSON and the first byte must be '{'"),
                ("{", "This policy contains invalid Json"),
                (policy(), "Could not parse the policy: Statement is empty!"),
                (policy({**ok, "Principal": {"AWS": "arn:aws:iam::000000000000:user/nobody-of-this-name"}}), "Invalid principal in policy"),
                (policy({**ok, "Principal": {"AWS": "arn:aws:iam::123456789012:root"}}), "Invalid principal in policy"),
                (policy({**ok, "Principal": {"CanonicalUser": "0" * 64}}), "Invalid principal in policy"),
                (policy({k: v for k, v in ok.items() if k != "Principal"}), "Missing required field Principal"),
                (policy(statement("s3:GetObject", "another/*")), "Policy has invalid resource"),
                (policy(statement("s3:Nothing", self.bucket + "/*")), "Policy has invalid action"),
                (policy(statement("s3:GetObject", self.bucket)), "Action does not apply to any resource(s) in statement"),
                (policy({**ok, "Condition": {"StringEquals": {"aws:Nothing": "1"}}}), "Policy has an invalid condition key"),
                (policy({**ok, "Condition": {"Nothing": {"aws:SourceIp": "1"}}}), "Invalid Condition type : Nothing"),
                (policy({**ok, "NotPrincipal": "*"}), "Invalid policy syntax."),
                (policy({**ok, "Sid": "x" * (20 << 10)}), "Policy exceeds the maximum allowed document size.")):
            self.assertEqual(self.code(self.s3.put_bucket_policy, Bucket=self.bucket, Policy=text), "MalformedPolicy", text[:200])
            self.assertEqual(self.error["Error"]["Message"], message)
            self.assertEqual(self.error["ResponseMetadata"]["HTTPStatusCode"], 400)
        self.assertEqual(self.code(self.s3.put_bucket_policy, Bucket="no-such-bucket", Policy=policy(ok)), "NoSuchBucket")
        self.assertEqual(self.code(self.s3.get_bucket_policy, Bucket=self.bucket), "NoSuchBucketPolicy")

    def test_strangers_may_what_a_policy_lets_everybody_do(self):
        get, head, put, remove = (self.anonymous.get_object, self.anonymous.head_object, self.anonymous.put_object, self.anonymous.delete_object)
        self.assertEqual(self.code(get, **self.key()), "AccessDenied")
        self.assertEqual(self.error["ResponseMetadata"]["HTTPStatusCode"], 403)
        self.put_policy(statement("s3:GetObject", self.bucket + "/*"))
        self.assertEqual(get(**self.key())["Body"].read(), b"value of a")
        self.assertEqual(get(Range="bytes=0-4", **self.key())["Body"].read(), b"value")
        self.assertEqual(head(**self.key())["ContentLength"], 10)
        self.assertEqual(self.code(get, **self.key("absent")), "AccessDenied")  # who may not list is not told
        self.assertEqual(self.code(head, **self.key("absent")), "403")
        for call, more in ((put, dict(Body=b"x")), (remove, {}), (self.anonymous.get_object_tagging, {}), (self.anonymous.get_object_acl, {})):
            self.assertEqual(self.code(call, **self.key(), **more), "AccessDenied")
        for call in (self.anonymous.list_objects_v2, self.anonymous.get_bucket_tagging, self.anonymous.delete_bucket, self.anonymous.get_bucket_acl):
            self.assertEqual(self.code(call, Bucket=self.bucket), "AccessDenied")
        self.assertEqual(self.code(self.anonymous.list_buckets), "AccessDenied")
        self.assertEqual(self.code(self.anonymous.create_bucket, Bucket="made-by-nobody"), "AccessDenied")
        self.assertEqual(self.code(get, Bucket="no-such-bucket", Key="a"), "NoSuchBucket")
        self.assertEqual(self.code(get, ResponseContentType="text/plain", **self.key()), "InvalidRequest")
        self.assertEqual(self.request("HEAD", "/%s/absent" % self.bucket), (403, b""))
        self.put_policy(statement("s3:*", [self.bucket, self.bucket + "/*"]))
        self.assertEqual(self.code(get, **self.key("absent")), "NoSuchKey")
        put(Body=b"new", **self.key("new"))
        self.assertEqual([o["Key"] for o in self.anonymous.list_objects_v2(Bucket=self.bucket)["Contents"]], ["a", "new"])
        gone = self.anonymous.delete_objects(Bucket=self.bucket, Delete={"Objects": [{"Key": "new"}]})
        self.assertEqual(len(gone["Deleted"]), 1)
        # What S3 has signed, whatever a policy says.
        for call in (self.anonymous.get_bucket_policy, self.anonymous.delete_bucket_policy):
            self.assertEqual(self.code(call, Bucket=self.bucket), "MethodNotAllowed")
        self.assertEqual(self.code(self.anonymous.put_bucket_policy, Bucket=self.bucket, Policy="{}"), "MethodNotAllowed")
        self.assertEqual(self.code(self.anonymous.create_multipart_upload, **self.key("parts")), "AccessDenied")
        self.assertEqual(self.code(self.anonymous.copy_object, CopySource=self.bucket + "/a", **self.key("copy")), "AccessDenied")
        for call, more in ((self.anonymous.delete_bucket, {}), (self.anonymous.put_bucket_versioning, {"VersioningConfiguration": {"Status": "Enabled"}}),
                           (self.anonymous.put_bucket_tagging, {"Tagging": {"TagSet": []}}), (self.anonymous.delete_bucket_cors, {})):
            self.assertEqual(self.code(call, Bucket=self.bucket, **more), "AccessDenied")

    def test_strangers_delete_what_they_may_delete_and_no_more(self):
        keys = {"Objects": [{"Key": "open/1"}, {"Key": "a"}]}
        self.assertEqual(self.code(self.anonymous.delete_objects, Bucket=self.bucket, Delete=keys), "AccessDenied")
        self.put_policy(statement("s3:DeleteObject", self.bucket + "/open/*"))
        gone = self.anonymous.delete_objects(Bucket=self.bucket, Delete=keys)
        self.assertEqual([d["Key"] for d in gone["Deleted"]], ["open/1"])
        self.assertEqual([(e["Key"], e["Code"]) for e in gone["Errors"]], [("a", "AccessDenied")])
        self.s3.head_object(**self.key())

    def test_users_are_allowed_and_denied_by_a_policy(self):
        ann, ann_id, of_ann = self.user()
        _, _, of_bob = self.user(dict(Effect="Allow", Action="s3:*", Resource="*"))
        self.assertEqual(self.code(of_ann.get_object, **self.key()), "AccessDenied")
        self.put_policy(statement("s3:GetObject", self.bucket + "/*", principal={"AWS": ann}),
                        statement("s3:PutObject", self.bucket + "/*", principal={"CanonicalUser": ann_id}),
                        statement("s3:DeleteObject", self.bucket + "/*", "Deny"))
        self.assertEqual(of_ann.get_object(**self.key())["Body"].read(), b"value of a")
        of_ann.put_object(Body=b"by ann", **self.key("of-ann"))
        self.assertEqual(self.code(self.anonymous.get_object, **self.key()), "AccessDenied")
        self.assertFalse(self.s3.get_bucket_policy_status(Bucket=self.bucket)["PolicyStatus"]["IsPublic"])
        # A denial holds for who may do all, and for root.
        for client in (of_ann, of_bob, self.s3):
            self.assertEqual(self.code(client.delete_object, **self.key()), "AccessDenied")
        denied = statement("s3:GetObject", self.bucket + "/*", "Deny", NotPrincipal={"AWS": [ann, "arn:aws:iam::000000000000:root"]})
        del denied["Principal"]
        self.put_policy(denied)
        self.assertEqual(self.code(of_bob.get_object, **self.key()), "AccessDenied")
        self.assertEqual(self.code(of_ann.get_object, **self.key()), "AccessDenied")  # nothing allows it now
        self.s3.get_object(**self.key())

    def test_root_deletes_a_policy_that_shuts_everybody_out(self):
        _, _, of_ann = self.user(dict(Effect="Allow", Action="*", Resource="*"))
        self.put_policy(statement("s3:*", [self.bucket, self.bucket + "/*"], "Deny"))
        for client in (self.s3, of_ann):
            self.assertEqual(self.code(client.get_object, **self.key()), "AccessDenied")
            self.assertEqual(self.code(client.list_objects_v2, Bucket=self.bucket), "AccessDenied")
        self.assertEqual(self.code(of_ann.delete_bucket_policy, Bucket=self.bucket), "AccessDenied")
        self.s3.get_bucket_policy(Bucket=self.bucket)
        self.s3.delete_bucket_policy(Bucket=self.bucket)
        self.s3.get_object(**self.key())

    def test_a_policy_holds_at_the_redis_door(self):
        arn, _, _ = self.user(password="a long password")
        of_user = redis.Redis(port=self.server.resp, username=arn.split("/")[-1], password="a long password")
        self.addCleanup(of_user.close)
        of_user.execute_command("SELECT", self.bucket)
        root = self.server.redis()
        self.addCleanup(root.close)
        root.execute_command("SELECT", self.bucket)
        with self.assertRaisesRegex(redis.exceptions.NoPermissionError, "no permissions"):
            of_user.get("a")
        self.put_policy(statement("s3:GetObject", self.bucket + "/*", principal={"AWS": arn}), statement("s3:DeleteObject", self.bucket + "/a", "Deny"))
        self.assertEqual(of_user.get("a"), b"value of a")
        with self.assertRaises(redis.exceptions.NoPermissionError):
            of_user.set("a", "x")
        with self.assertRaises(redis.exceptions.NoPermissionError):
            root.delete("a")
        root.set("b", "1")
        root.delete("b")
        self.s3.delete_bucket_policy(Bucket=self.bucket)
        root.delete("a")

    def test_a_database_has_a_policy_too(self):
        self.server.redis().set("policy:1", "one")
        self.put_policy(statement("s3:GetObject", "db0/policy:*"), bucket="db0")
        self.addCleanup(self.s3.delete_bucket_policy, Bucket="db0")
        self.assertEqual(self.anonymous.get_object(Bucket="db0", Key="policy:1")["Body"].read(), b"one")
        self.assertEqual(self.code(self.anonymous.get_object, Bucket="db0", Key="other"), "AccessDenied")

    def test_conditions(self):
        self.s3.put_object(Body=b"1", Tagging="public=yes", **self.key("tagged"))
        self.put_policy(statement("s3:GetObject", self.bucket + "/*", Condition={"StringEquals": {"s3:ExistingObjectTag/public": "yes"}}))
        self.assertEqual(self.anonymous.get_object(**self.key("tagged"))["Body"].read(), b"1")
        self.assertEqual(self.code(self.anonymous.get_object, **self.key()), "AccessDenied")
        self.s3.put_object_tagging(Tagging={"TagSet": [{"Key": "public", "Value": "no"}]}, **self.key("tagged"))
        self.assertEqual(self.code(self.anonymous.get_object, **self.key("tagged")), "AccessDenied")
        for condition, allowed in (({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, True), ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, False),
                                   ({"Bool": {"aws:SecureTransport": "false"}}, True), ({"StringEquals": {"aws:PrincipalType": "Anonymous"}}, True),
                                   ({"StringLike": {"aws:Referer": "https://a.example/*"}}, False), ({"Null": {"s3:authType": "true"}}, True)):
            self.put_policy(statement("s3:GetObject", self.bucket + "/*", Condition=condition))
            if allowed:
                self.anonymous.get_object(**self.key())
            else:
                self.assertEqual(self.code(self.anonymous.get_object, **self.key()), "AccessDenied", condition)
        self.assertEqual(self.request("GET", "/%s/a" % self.bucket)[0], 200)
        self.put_policy(statement("s3:PutObject", self.bucket + "/*", Condition={"StringEquals": {"s3:RequestObjectTag/kind": "x"}}),
                        statement("s3:PutObjectTagging", self.bucket + "/*"))
        self.anonymous.put_object(Body=b"1", Tagging="kind=x", **self.key("by-tag"))
        self.assertEqual(self.code(self.anonymous.put_object, Body=b"1", Tagging="kind=y", **self.key("by-tag")), "AccessDenied")
        self.assertEqual(self.code(self.anonymous.put_object, Body=b"1", **self.key("by-tag")), "AccessDenied")

    def test_a_version_is_read_by_its_own_right_and_id(self):
        self.s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        ids = [self.s3.put_object(Body=b"%d" % i, **self.key("v"))["VersionId"] for i in range(2)]
        self.put_policy(statement("s3:GetObject", self.bucket + "/*"))
        self.assertEqual(self.anonymous.get_object(**self.key("v"))["Body"].read(), b"1")
        self.assertEqual(self.code(self.anonymous.get_object, VersionId=ids[0], **self.key("v")), "AccessDenied")
        self.put_policy(statement(["s3:GetObjectVersion", "s3:DeleteObjectVersion"], self.bucket + "/*", Condition={"StringEquals": {"s3:VersionId": ids[0]}}))
        self.assertEqual(self.anonymous.get_object(VersionId=ids[0], **self.key("v"))["Body"].read(), b"0")
        self.assertEqual(self.code(self.anonymous.get_object, VersionId=ids[1], **self.key("v")), "AccessDenied")
        gone = self.anonymous.delete_objects(Bucket=self.bucket, Delete={"Objects": [{"Key": "v", "VersionId": i} for i in ids]})
        self.assertEqual([d["VersionId"] for d in gone["Deleted"]], [ids[0]])
        self.assertEqual([d["VersionId"] for d in gone["Errors"]], [ids[1]])

    def test_forms_of_strangers(self):
        boundary = "x" * 20
        body = "".join('--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (boundary, n, v) for n, v in (("key", "form/${filename}"),))
        body += '--%s\r\nContent-Disposition: form-data; name="file"; filename="f.txt"\r\n\r\nfrom a form\r\n--%s--\r\n' % (boundary, boundary)
        headers = {"Content-Type": "multipart/form-data; boundary=" + boundary}
        self.assertEqual(self.request("POST", "/" + self.bucket, headers, body)[0], 403)
        self.put_policy(statement("s3:PutObject", self.bucket + "/form/*"))
        self.assertEqual(self.request("POST", "/" + self.bucket, headers, body)[0], 204)
        self.assertEqual(self.s3.get_object(**self.key("form/f.txt"))["Body"].read(), b"from a form")
        here = {"Condition": {"StringLike": {"aws:Referer": "http://here/*"}}}
        self.put_policy(statement("s3:PutObject", self.bucket + "/form/*", **here))
        self.assertEqual(self.request("POST", "/" + self.bucket, headers, body)[0], 403)
        self.assertEqual(self.request("POST", "/" + self.bucket, {**headers, "Referer": "http://here/form"}, body)[0], 204)

    def test_a_new_bucket_of_the_name_has_no_policy(self):
        self.put_policy(statement("s3:*", [self.bucket, self.bucket + "/*"]))
        self.s3.delete_object(**self.key())
        self.s3.delete_bucket(Bucket=self.bucket)
        self.s3.create_bucket(Bucket=self.bucket)
        self.assertEqual(self.code(self.anonymous.list_objects_v2, Bucket=self.bucket), "AccessDenied")

    # ---- public access ----

    def block(self, **settings):
        self.s3.put_public_access_block(Bucket=self.bucket, PublicAccessBlockConfiguration=settings)

    def test_public_access_is_blocked(self):
        self.assertEqual(self.code(self.s3.get_public_access_block, Bucket=self.bucket), "NoSuchPublicAccessBlockConfiguration")
        self.block(BlockPublicPolicy=True)
        self.assertEqual(self.s3.get_public_access_block(Bucket=self.bucket)["PublicAccessBlockConfiguration"], {n: n == "BlockPublicPolicy" for n in BLOCK})
        public = statement("s3:GetObject", self.bucket + "/*")
        self.assertEqual(self.code(self.s3.put_bucket_policy, Bucket=self.bucket, Policy=policy(public)), "AccessDenied")
        near = {**public, "Condition": {"IpAddress": {"aws:SourceIp": "127.0.0.1/32"}}}
        self.put_policy(near)  # is not public
        self.assertFalse(self.s3.get_bucket_policy_status(Bucket=self.bucket)["PolicyStatus"]["IsPublic"])
        self.assertEqual(self.code(self.s3.put_bucket_policy, Bucket=self.bucket, Policy=policy(
            {**public, "Condition": {"IpAddress": {"aws:SourceIp": "0.0.0.0/1"}}})), "AccessDenied")
        self.s3.delete_public_access_block(Bucket=self.bucket)
        self.put_policy(public)
        self.anonymous.get_object(**self.key())
        self.block(BlockPublicPolicy=True)
        self.anonymous.get_object(**self.key())  # what is there already stays
        _, _, of_ann = self.user()
        self.block(RestrictPublicBuckets=True)
        self.assertEqual(self.code(self.anonymous.get_object, **self.key()), "AccessDenied")
        of_ann.get_object(**self.key())  # a user of the store
        self.put_policy(near)
        self.anonymous.get_object(**self.key())

    # ---- access control lists ----

    def open_acls(self):
        self.s3.put_bucket_ownership_controls(Bucket=self.bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]})

    def grants(self, answer):
        return [(g["Grantee"].get("URI", g["Grantee"].get("ID")), g["Permission"]) for g in answer["Grants"]]

    def test_ownership_says_whether_acls_count(self):
        rules = lambda: self.s3.get_bucket_ownership_controls(Bucket=self.bucket)["OwnershipControls"]["Rules"]
        owner = self.s3.list_buckets()["Owner"]["ID"]
        self.assertEqual(rules(), [{"ObjectOwnership": "BucketOwnerEnforced"}])
        self.assertEqual(self.code(self.s3.put_bucket_acl, Bucket=self.bucket, ACL="public-read"), "AccessControlListNotSupported")
        self.assertEqual(self.code(self.s3.put_object_acl, ACL="public-read", **self.key()), "AccessControlListNotSupported")
        self.assertEqual(self.code(self.s3.put_object, ACL="public-read", **self.key()), "AccessControlListNotSupported")
        self.assertEqual(self.code(self.s3.create_multipart_upload, ACL="public-read", **self.key()), "AccessControlListNotSupported")
        self.s3.put_object(ACL="bucket-owner-full-control", Body=b"value of a", **self.key())
        self.assertEqual(self.grants(self.s3.get_bucket_acl(Bucket=self.bucket)), [(owner, "FULL_CONTROL")])
        self.assertEqual(self.grants(self.s3.get_object_acl(**self.key())), [(owner, "FULL_CONTROL")])
        self.open_acls()
        self.assertEqual(rules(), [{"ObjectOwnership": "ObjectWriter"}])
        self.s3.put_bucket_acl(Bucket=self.bucket, ACL="public-read")
        self.anonymous.list_objects_v2(Bucket=self.bucket)
        enforced = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
        self.assertEqual(self.code(self.s3.put_bucket_ownership_controls, Bucket=self.bucket, OwnershipControls=enforced), "InvalidBucketAclWithObjectOwnership")
        self.s3.put_object_acl(ACL="public-read", **self.key())
        self.anonymous.get_object(**self.key())
        self.s3.put_bucket_acl(Bucket=self.bucket, ACL="private")
        self.s3.put_bucket_ownership_controls(Bucket=self.bucket, OwnershipControls=enforced)
        self.assertEqual(self.code(self.anonymous.get_object, **self.key()), "AccessDenied")  # lists do not count any more
        self.s3.delete_bucket_ownership_controls(Bucket=self.bucket)
        self.assertEqual(self.code(self.s3.get_bucket_ownership_controls, Bucket=self.bucket), "OwnershipControlsNotFoundError")
        self.anonymous.get_object(**self.key())

    def test_a_bucket_is_made_with_its_list(self):
        name = "b" + uuid.uuid4().hex[:20]
        self.assertEqual(self.code(self.s3.create_bucket, Bucket=name, ACL="public-read"), "InvalidBucketAclWithObjectOwnership")
        self.s3.create_bucket(Bucket=name, ACL="public-read-write", ObjectOwnership="BucketOwnerPreferred")
        self.anonymous.put_object(Bucket=name, Key="k", Body=b"1")
        self.assertEqual(self.anonymous.list_objects(Bucket=name)["Contents"][0]["Key"], "k")
        self.assertEqual(self.code(self.anonymous.get_object, Bucket=name, Key="k"), "AccessDenied")
        self.server.restart()
        anonymous = self.client(None)
        anonymous.delete_object(Bucket=name, Key="k")
        self.assertEqual(self.code(anonymous.get_bucket_acl, Bucket=name), "AccessDenied")

    def test_lists_of_buckets_and_objects(self):
        self.open_acls()
        owner = self.s3.list_buckets()["Owner"]["ID"]
        _, ann, of_ann = self.user()
        self.s3.put_object(ACL="authenticated-read", Body=b"1", **self.key("known"))
        self.assertEqual(of_ann.get_object(**self.key("known"))["Body"].read(), b"1")
        self.assertEqual(self.code(self.anonymous.get_object, **self.key("known")), "AccessDenied")
        self.assertEqual(self.grants(self.s3.get_object_acl(**self.key("known"))), [(owner, "FULL_CONTROL"), (KNOWN, "READ")])
        self.assertEqual(self.code(of_ann.get_object, **self.key()), "AccessDenied")
        self.s3.put_object_acl(GrantRead='id="%s"' % ann, GrantReadACP="id=%s, uri=%s" % (ann, EVERYBODY), **self.key())
        self.assertEqual(of_ann.get_object(**self.key())["Body"].read(), b"value of a")
        self.assertEqual(self.grants(of_ann.get_object_acl(**self.key())), [(ann, "READ"), (ann, "READ_ACP"), (EVERYBODY, "READ_ACP")])
        self.anonymous.get_object_acl(**self.key())
        self.assertEqual(self.code(self.anonymous.get_object, **self.key()), "AccessDenied")
        self.assertEqual(self.code(of_ann.put_object_acl, ACL="public-read", **self.key()), "AccessDenied")
        listed = self.s3.get_object_acl(**self.key())
        listed["Grants"].append({"Grantee": {"Type": "CanonicalUser", "ID": ann}, "Permission": "WRITE_ACP"})
        self.s3.put_object_acl(AccessControlPolicy={"Owner": listed["Owner"], "Grants": listed["Grants"]}, **self.key())
        of_ann.put_object_acl(ACL="public-read", **self.key())
        self.anonymous.get_object(**self.key())
        # A new object has a list of its own; so has a copy.
        self.s3.put_object_acl(ACL="public-read", **self.key("known"))
        self.s3.copy_object(CopySource="%s/known" % self.bucket, **self.key("copy"))
        self.assertEqual(self.code(self.anonymous.get_object, **self.key("copy")), "AccessDenied")
        self.s3.copy_object(CopySource="%s/known" % self.bucket, ACL="public-read", **self.key("copy"))
        self.anonymous.get_object(**self.key("copy"))
        self.s3.put_object(Body=b"again", **self.key("known"))
        self.assertEqual(self.code(self.anonymous.get_object, **self.key("known")), "AccessDenied")
        upload = self.s3.create_multipart_upload(ACL="public-read", **self.key("parts"))["UploadId"]
        tag = self.s3.upload_part(UploadId=upload, PartNumber=1, Body=b"part", **self.key("parts"))["ETag"]
        self.s3.complete_multipart_upload(UploadId=upload, MultipartUpload={"Parts": [{"ETag": tag, "PartNumber": 1}]}, **self.key("parts"))
        self.assertEqual(self.anonymous.get_object(**self.key("parts"))["Body"].read(), b"part")
        # Of the bucket.
        self.assertEqual(self.code(of_ann.list_objects_v2, Bucket=self.bucket), "AccessDenied")
        self.s3.put_bucket_acl(Bucket=self.bucket, GrantRead="id=" + ann, GrantWrite="id=" + ann)
        of_ann.list_objects_v2(Bucket=self.bucket)
        of_ann.put_object(Body=b"1", **self.key("by-ann"))
        of_ann.delete_object(**self.key("by-ann"))
        self.assertEqual(self.code(of_ann.get_bucket_acl, Bucket=self.bucket), "AccessDenied")
        self.s3.put_bucket_acl(Bucket=self.bucket, AccessControlPolicy={"Owner": {"ID": owner}, "Grants": []})
        self.assertEqual(self.grants(self.s3.get_bucket_acl(Bucket=self.bucket)), [])
        self.assertEqual(self.code(of_ann.list_objects_v2, Bucket=self.bucket), "AccessDenied")
        # What a policy denies no list allows.
        self.put_policy(statement("s3:GetObject", self.bucket + "/copy", "Deny"))
        self.assertEqual(self.code(self.anonymous.get_object, **self.key("copy")), "AccessDenied")
        self.anonymous.get_object(**self.key("parts"))

    def test_lists_that_are_none(self):
        self.open_acls()
        owner = self.s3.list_buckets()["Owner"]
        put = lambda **kwargs: self.code(self.s3.put_bucket_acl, Bucket=self.bucket, **kwargs)
        grant = lambda **who: {"Owner": owner, "Grants": [{"Grantee": who, "Permission": "READ"}]}
        self.assertEqual(put(ACL="nothing"), "InvalidArgument")
        self.assertEqual(put(ACL="private", GrantRead="id=" + owner["ID"]), "InvalidRequest")
        self.assertEqual(put(GrantRead="id=" + "0" * 64), "InvalidArgument")
        self.assertEqual(put(GrantRead="uri=http://nothing"), "InvalidArgument")
        self.assertEqual(put(GrantRead="nothing"), "InvalidArgument")
        self.assertEqual(put(GrantRead="emailAddress=a@b.c"), "UnresolvableGrantByEmailAddress")
        self.assertEqual(put(AccessControlPolicy=grant(Type="CanonicalUser", ID="0" * 64)), "InvalidArgument")
        self.assertEqual(put(AccessControlPolicy=grant(Type="AmazonCustomerByEmail", EmailAddress="a@b.c")), "UnresolvableGrantByEmailAddress")
        self.assertEqual(put(AccessControlPolicy=grant(Type="Group")), "MalformedACLError")
        self.assertEqual(put(AccessControlPolicy={"Owner": {"ID": "0" * 64}, "Grants": []}), "AccessDenied")
        self.assertEqual(put(), "MissingSecurityHeader")
        self.assertEqual(put(ACL="private", AccessControlPolicy={"Owner": owner, "Grants": []}), "UnexpectedContent")

    def test_public_lists_are_blocked_and_ignored(self):
        self.open_acls()
        self.s3.put_object_acl(ACL="public-read", **self.key())
        self.s3.put_bucket_acl(Bucket=self.bucket, ACL="public-read")
        self.block(BlockPublicAcls=True)
        self.anonymous.get_object(**self.key())
        for call, more in ((self.s3.put_object_acl, {"Key": "a"}), (self.s3.put_object, {"Key": "b"}), (self.s3.put_bucket_acl, {})):
            for acl in ("public-read", "authenticated-read"):
                self.assertEqual(self.code(call, Bucket=self.bucket, ACL=acl, **more), "AccessDenied")
        self.block(IgnorePublicAcls=True)
        self.assertEqual(self.code(self.anonymous.get_object, **self.key()), "AccessDenied")
        self.assertEqual(self.code(self.anonymous.list_objects_v2, Bucket=self.bucket), "AccessDenied")
        self.assertIn((EVERYBODY, "READ"), self.grants(self.s3.get_object_acl(**self.key())))
        self.s3.delete_public_access_block(Bucket=self.bucket)
        self.anonymous.get_object(**self.key())
        self.anonymous.list_objects_v2(Bucket=self.bucket)

    # ---- who pays ----

    def test_where_the_requester_pays_no_stranger_does(self):
        payer = lambda: self.s3.get_bucket_request_payment(Bucket=self.bucket)["Payer"]
        self.assertEqual(payer(), "BucketOwner")
        self.put_policy(statement("s3:GetObject", self.bucket + "/*"))
        self.s3.put_bucket_request_payment(Bucket=self.bucket, RequestPaymentConfiguration={"Payer": "Requester"})
        self.assertEqual(payer(), "Requester")
        self.assertEqual(self.code(self.anonymous.get_object, **self.key()), "AccessDenied")
        self.s3.get_object(**self.key())
        self.s3.get_object(RequestPayer="requester", **self.key())
        self.s3.put_bucket_request_payment(Bucket=self.bucket, RequestPaymentConfiguration={"Payer": "BucketOwner"})
        self.anonymous.get_object(**self.key())

    # ---- websites ----

    def site(self, path="/", method="GET", headers={}):
        """Status, Location, content type and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.http, timeout=30)
        connection.request(method, path, headers={"Host": self.bucket + ".s3-website.localhost:%d" % self.server.http, **headers})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, answer.getheader("Location"), answer.getheader("Content-Type"), data

    def put_site(self, **configuration):
        self.s3.put_bucket_website(Bucket=self.bucket, WebsiteConfiguration=configuration)

    def page(self, name, text, **more):
        self.s3.put_object(Body=text, ContentType="text/html", **self.key(name), **more)

    def test_a_website_is_kept_and_checked(self):
        self.assertEqual(self.code(self.s3.get_bucket_website, Bucket=self.bucket), "NoSuchWebsiteConfiguration")
        rule = {"Condition": {"KeyPrefixEquals": "old/", "HttpErrorCodeReturnedEquals": "404"},
                "Redirect": {"HostName": "a.example", "HttpRedirectCode": "302", "Protocol": "https", "ReplaceKeyPrefixWith": "new/"}}
        whole = dict(IndexDocument={"Suffix": "index.html"}, ErrorDocument={"Key": "error.html"},
                     RoutingRules=[rule, {"Redirect": {"ReplaceKeyWith": "x"}}])
        self.put_site(**whole)
        kept = self.s3.get_bucket_website(Bucket=self.bucket)
        del kept["ResponseMetadata"]
        self.assertEqual(kept, whole)
        self.put_site(RedirectAllRequestsTo={"HostName": "b.example"})
        self.assertEqual(self.s3.get_bucket_website(Bucket=self.bucket)["RedirectAllRequestsTo"], {"HostName": "b.example"})
        index = dict(IndexDocument={"Suffix": "index.html"})
        for wrong, code in ((dict(ErrorDocument={"Key": "e"}), "InvalidArgument"), (dict(IndexDocument={"Suffix": "a/b"}), "InvalidArgument"),
                            (dict(index, RedirectAllRequestsTo={"HostName": "b"}), "InvalidRequest"),
                            (dict(RedirectAllRequestsTo={"HostName": "b", "Protocol": "ftp"}), "InvalidRequest"),
                            (dict(index, RoutingRules=[{"Redirect": {"HttpRedirectCode": "300"}}]), "InvalidRequest"),
                            (dict(index, RoutingRules=[{"Condition": {"HttpErrorCodeReturnedEquals": "200"}, "Redirect": {"HostName": "a"}}]), "InvalidRequest"),
                            (dict(index, RoutingRules=[{"Redirect": {"ReplaceKeyWith": "a", "ReplaceKeyPrefixWith": "b"}}]), "InvalidRequest"),
                            (dict(index, RoutingRules=[{"Redirect": {}}]), "MalformedXML"),
                            (dict(index, RoutingRules=[{"Redirect": {"HostName": "a"}}] * 51), "InvalidRequest")):
            self.assertEqual(self.code(self.put_site, **wrong), code, wrong)
        self.s3.delete_bucket_website(Bucket=self.bucket)
        self.assertEqual(self.code(self.s3.get_bucket_website, Bucket=self.bucket), "NoSuchWebsiteConfiguration")

    def test_a_website_is_served_to_everybody(self):
        status, _, kind, body = self.site()
        self.assertEqual((status, kind), (404, "text/html; charset=utf-8"))
        self.assertIn(b"NoSuchWebsiteConfiguration", body)
        self.page("index.html", "home")
        self.page("docs/index.html", "docs")
        self.page("error.html", "sorry")
        self.page("moved", "", WebsiteRedirectLocation="/docs/")
        self.put_site(IndexDocument={"Suffix": "index.html"}, ErrorDocument={"Key": "error.html"}, RoutingRules=[
            {"Condition": {"KeyPrefixEquals": "old/"}, "Redirect": {"ReplaceKeyPrefixWith": "docs/"}},
            {"Condition": {"KeyPrefixEquals": "lost/", "HttpErrorCodeReturnedEquals": "403"}, "Redirect": {"HostName": "a.example", "Protocol": "https", "HttpRedirectCode": "307"}}])
        status, _, _, body = self.site()  # nobody allowed anything, the page of errors neither
        self.assertEqual(status, 403)
        self.assertIn(b"<li>Code: AccessDenied</li>", body)
        self.put_policy(statement("s3:GetObject", self.bucket + "/*"))
        self.assertEqual(self.site(), (200, None, "text/html", b"home"))
        self.assertEqual(self.site("/?versionId=x&acl"), (200, None, "text/html", b"home"))
        self.assertEqual(self.site("/", "HEAD"), (200, None, "text/html", b""))
        self.assertEqual(self.site("/docs/")[3], b"docs")
        self.assertEqual(self.site("/a", headers={"Range": "bytes=0-4"})[::3], (206, b"value"))
        host = self.bucket + ".s3-website.localhost:%d" % self.server.http
        self.assertEqual(self.site("/docs")[:2], (302, "http://%s/docs/" % host))
        self.assertEqual(self.site("/old/x%20y")[:2], (301, "http://%s/docs/x%%20y" % host))
        self.assertEqual(self.site("/lost/x")[:2], (307, "https://a.example/lost/x"))
        self.assertEqual(self.site("/moved")[:2], (301, "/docs/"))
        self.assertEqual(self.s3.head_object(**self.key("moved"))["WebsiteRedirectLocation"], "/docs/")
        self.assertEqual(self.site("/absent"), (403, None, "text/html", b"sorry"))
        self.assertEqual(self.site("/absent", headers={"Range": "bytes=100-"}), (403, None, "text/html", b"sorry"))
        self.assertEqual(self.site("/", "POST")[0], 405)
        self.put_policy(statement("s3:GetObject", self.bucket + "/*"), statement("s3:ListBucket", self.bucket))
        self.assertEqual(self.site("/absent"), (404, None, "text/html", b"sorry"))
        self.s3.delete_object(**self.key("error.html"))
        self.assertIn(b"<li>Code: NoSuchKey</li>", self.site("/absent")[3])
        self.put_site(RedirectAllRequestsTo={"HostName": "b.example", "Protocol": "https"})
        self.assertEqual(self.site("/a/b?c")[:2], (301, "https://b.example/a/b"))
        status, _, _, body = self.site(headers={"Host": "no-such-bucket.s3-website-us-east-1.localhost"})
        self.assertEqual(status, 404)
        self.assertIn(b"NoSuchBucket", body)


if __name__ == "__main__":
    unittest.main()
