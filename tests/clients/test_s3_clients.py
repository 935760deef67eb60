"""Stock clients of S3 that do what people use them for beside plain copies: tags, signed URLs of both versions, forms, CORS,
listings of versions, and settings that nobody set."""
import filecmp
import json
import os
import shutil
import subprocess
import unittest
import urllib.error
import urllib.parse
import urllib.request

import boto3
from botocore.config import Config

from harness import PASSWORD, USER, Case, install_npm

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "s3_npm")


class Clients(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3 = cls.server.s3()
        cls.address = "127.0.0.1:%d" % cls.server.http
        cls.url = "http://" + cls.address
        cls.env = dict(os.environ, AWS_ACCESS_KEY_ID=USER, AWS_SECRET_ACCESS_KEY=PASSWORD, AWS_DEFAULT_REGION="us-east-1",
                       AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull, HOME=cls.server.directory)
        cls.env.pop("AWS_CA_BUNDLE", None)  # rclone cannot have one
        cls.path = os.path.join(cls.server.directory, "file")
        with open(cls.path, "wb") as f:
            f.write(os.urandom(20 << 20))

    def run_client(self, *words, fails=False):
        done = subprocess.run(words, env=self.env, capture_output=True, text=True, cwd=self.server.directory)
        self.assertEqual(done.returncode != 0, fails, (words, done.stdout[-2000:], done.stderr[-2000:]))
        return done.stderr if fails else done.stdout

    def tags(self, bucket, key):
        return {t["Key"]: t["Value"] for t in self.s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]}

    def fetch(self, url, method="GET", body=None, headers=None):
        request = urllib.request.Request(url, body, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request) as r:
                return r.status, r.read(), r.headers
        except urllib.error.HTTPError as e:
            with e:
                return e.code, e.read(), e.headers


class Aws(Clients):
    def aws(self, *words, **kwargs):
        return self.run_client("/usr/bin/aws", "--endpoint-url", self.url, *words, **kwargs)

    def api(self, operation, fails=False, **words):
        options = [w for name, value in words.items() for w in ("--" + name.replace("_", "-"), value)]
        out = self.aws("s3api", operation, "--bucket", "awscli", *options, fails=fails)
        return out if fails else json.loads(out or "{}")

    def refused(self, operation, code, **words):
        self.assertIn("(%s)" % code, self.api(operation, fails=True, **words))

    def test_awscli(self):
        self.aws("s3", "mb", "s3://awscli")
        tag = '{"TagSet": [{"Key": "a", "Value": "b"}]}'
        self.refused("get-bucket-tagging", "NoSuchTagSet")
        self.api("put-bucket-tagging", tagging=tag)
        self.assertEqual(self.api("get-bucket-tagging"), json.loads(tag))
        self.api("delete-bucket-tagging")
        self.api("put-object", key="small", body=os.path.abspath(__file__), tagging="c=d&e=f%20g")
        self.assertEqual(self.tags("awscli", "small"), {"c": "d", "e": "f g"})
        self.assertEqual(self.api("head-object", key="small").get("ContentLength"), os.path.getsize(os.path.abspath(__file__)))
        self.api("copy-object", key="copy", copy_source="awscli/small")
        self.api("copy-object", key="other", copy_source="awscli/small", tagging_directive="REPLACE", tagging="x=y")
        self.assertEqual((self.tags("awscli", "copy"), self.tags("awscli", "other")), ({"c": "d", "e": "f g"}, {"x": "y"}))
        self.api("put-object-tagging", key="small", tagging=tag)
        self.assertEqual(self.api("get-object-tagging", key="small")["TagSet"], json.loads(tag)["TagSet"])
        self.api("delete-object-tagging", key="small")
        self.refused("put-object-tagging", "InvalidTag", key="small", tagging=tag.replace('"a"', '"aws:a"'))
        self.refused("get-object-tagging", "NoSuchKey", key="none")
        upload = self.api("create-multipart-upload", key="parts", tagging="in=parts")["UploadId"]
        etag = self.api("upload-part", key="parts", upload_id=upload, part_number="1", body=self.path)["ETag"]
        self.api("complete-multipart-upload", key="parts", upload_id=upload,
                 multipart_upload=json.dumps({"Parts": [{"ETag": etag, "PartNumber": 1}]}))
        self.assertEqual(self.tags("awscli", "parts"), {"in": "parts"})
        self.aws("s3", "cp", "s3://awscli/parts", "s3://awscli/parts2")  # in parts: it asks for the tags and takes them along
        self.assertEqual(self.tags("awscli", "parts2"), {"in": "parts"})
        cors = {"CORSRules": [{"AllowedOrigins": ["*"], "AllowedMethods": ["GET"], "MaxAgeSeconds": 5}]}
        self.refused("get-bucket-cors", "NoSuchCORSConfiguration")
        self.api("put-bucket-cors", cors_configuration=json.dumps(cors))
        self.assertEqual(self.api("get-bucket-cors"), cors)
        self.api("delete-bucket-cors")
        for operation, code in (("get-bucket-encryption", "ServerSideEncryptionConfigurationNotFoundError"), ("get-bucket-policy", "NoSuchBucketPolicy"),
                                ("get-bucket-lifecycle-configuration", "NoSuchLifecycleConfiguration"), ("get-bucket-website", "NoSuchWebsiteConfiguration"),
                                ("get-public-access-block", "NoSuchPublicAccessBlockConfiguration"),
                                ("get-object-lock-configuration", "ObjectLockConfigurationNotFoundError"),
                                ("get-bucket-replication", "ReplicationConfigurationNotFoundError")):
            self.refused(operation, code)
        for operation in ("get-bucket-versioning", "get-bucket-logging", "get-bucket-accelerate-configuration", "get-bucket-notification-configuration"):
            self.assertEqual(self.api(operation), {})
        self.assertEqual(self.api("get-bucket-request-payment"), {"Payer": "BucketOwner"})
        url = self.aws("s3", "presign", "s3://awscli/small").strip()
        self.assertEqual(self.fetch(url)[0], 200)
        self.assertEqual(len(self.api("list-object-versions")["Versions"]), 5)
        self.aws("s3", "rb", "s3://awscli", "--force")

    def test_urls_of_boto3_as_it_signs_them_by_itself(self):
        """Without a signature_version: for us-east-1 those of version 2."""
        self.s3.create_bucket(Bucket="boto3")
        own = boto3.client("s3", endpoint_url=self.url, aws_access_key_id=USER, aws_secret_access_key=PASSWORD, region_name="us-east-1",
                           config=Config(s3={"addressing_style": "path"}))
        key = "a b/\u00e9+&=?#%"
        url = own.generate_presigned_url("put_object", Params={"Bucket": "boto3", "Key": key, "ContentType": "text/x", "Metadata": {"a": "b"}, "Tagging": "c=d"})
        self.assertIn("AWSAccessKeyId=", url)
        headers = {"Content-Type": "text/x", "x-amz-meta-a": "b", "x-amz-tagging": "c=d"}
        # botocore puts them into the URL, or leaves them to the headers: whoever opens it may send them either way.
        status, body, _ = self.fetch(url, "PUT", b"value", {"Content-Type": "text/x"})
        self.assertEqual(status, 200, body)
        got = self.s3.get_object(Bucket="boto3", Key=key)
        self.assertEqual((got["Body"].read(), got["ContentType"], got["Metadata"], self.tags("boto3", key)), (b"value", "text/x", {"a": "b"}, {"c": "d"}))
        self.assertEqual(self.fetch(url, "PUT", b"value", headers)[0], 200)
        self.assertEqual(self.fetch(url, "PUT", b"value", {**headers, "x-amz-tagging": "c=e"})[0], 403)
        for operation, method, more, want in (
                ("get_object", "GET", {"ResponseContentDisposition": 'attachment; filename="x y"', "ResponseContentType": "text/y"}, 200),
                ("head_object", "HEAD", {}, 200), ("delete_object", "DELETE", {}, 204)):
            url = own.generate_presigned_url(operation, Params={"Bucket": "boto3", "Key": key, **more})
            status, _, got = self.fetch(url, method)
            self.assertEqual(status, want, url)
            if more:
                self.assertEqual((got["Content-Disposition"], got["Content-Type"]), ('attachment; filename="x y"', "text/y"))
        self.assertEqual(self.fetch(own.generate_presigned_url("list_objects", Params={"Bucket": "boto3", "Prefix": "a", "MaxKeys": 5}))[0], 200)
        for change, code in ((lambda u: u.replace("Signature=", "Signature=A"), b"SignatureDoesNotMatch"), (lambda u: u.replace("Expires=", "Expires=1"), b"SignatureDoesNotMatch"),
                             (lambda u: u.replace(USER, "nobody"), b"InvalidAccessKeyId")):
            status, body, _ = self.fetch(change(own.generate_presigned_url("get_object", Params={"Bucket": "boto3", "Key": "k"})))
            self.assertEqual((status, code in body), (403, True), body)
        status, body, _ = self.fetch(own.generate_presigned_url("get_object", Params={"Bucket": "boto3", "Key": "k"}, ExpiresIn=-5))
        self.assertEqual((status, b"<Code>AccessDenied</Code><Message>Request has expired</Message>" in body), (403, True), body)
        made = own.generate_presigned_post("boto3", "form/${filename}", Fields={"acl": "private"}, Conditions=[{"acl": "private"}])
        self.assertIn("AWSAccessKeyId", made["fields"])
        fields = [w for k, v in made["fields"].items() for w in ("-F", "%s=%s" % (k, v))]
        self.run_client("curl", "-sf", *fields, "-F", "file=@" + self.path, made["url"])
        self.assertEqual(self.s3.head_object(Bucket="boto3", Key="form/file")["ContentLength"], 20 << 20)


class S3cmd(Clients):
    def s3cmd(self, *words, **kwargs):
        return self.run_client("s3cmd", "--config=/dev/null", "--access_key=" + USER, "--secret_key=" + PASSWORD, "--no-ssl",
                               "--host=" + self.address, "--host-bucket=" + self.address, *words, **kwargs)

    def test_s3cmd(self):
        for more in ([], ["--signature-v2"]):
            self.s3cmd("mb", "s3://s3cmd", *more)
            self.s3cmd("put", self.path, "s3://s3cmd/dir/a b", *more)
            self.s3cmd("get", "s3://s3cmd/dir/a b", self.path + "2", "--force", *more)
            self.assertTrue(filecmp.cmp(self.path, self.path + "2", shallow=False))
            self.s3cmd("info", "s3://s3cmd", *more)
            self.s3cmd("info", "s3://s3cmd/dir/a b", *more)
            self.s3cmd("cp", "s3://s3cmd/dir/a b", "s3://s3cmd/copy", *more)
            self.s3cmd("mv", "s3://s3cmd/copy", "s3://s3cmd/moved", *more)
            self.s3cmd("modify", "s3://s3cmd/moved", "--add-header=x-amz-meta-color:red", *more)
            self.assertEqual(self.s3.head_object(Bucket="s3cmd", Key="moved")["Metadata"]["color"], "red")
            self.assertIn("dir/a b", self.s3cmd("ls", "-r", "s3://s3cmd", *more))
            with open(os.path.join(self.server.directory, "cors.xml"), "w") as f:
                f.write("<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule></CORSConfiguration>")
            self.s3cmd("setcors", "cors.xml", "s3://s3cmd", *more)
            self.assertIn("CORS", self.s3cmd("info", "s3://s3cmd", *more))
            self.s3cmd("delcors", "s3://s3cmd", *more)
            url = self.s3cmd("signurl", "s3://s3cmd/dir/a b", "+60", *more).strip()
            status, body, _ = self.fetch(url)
            self.assertEqual((status, len(body)), (200, 20 << 20), (url, body[:500]))
            self.s3cmd("rb", "-r", "s3://s3cmd", *more)


class Rclone(Clients):
    def rclone(self, *words, **kwargs):
        return self.run_client("rclone", *words, "--config=", "--s3-provider=Other", "--s3-access-key-id=" + USER, "--s3-secret-access-key=" + PASSWORD,
                               "--s3-endpoint=" + self.url, "--s3-region=us-east-1", **kwargs)

    def test_rclone(self):
        source, back = os.path.join(self.server.directory, "source"), os.path.join(self.server.directory, "back")
        for name in ("a", "dir/b c", "dir/\u00e9/d"):
            path = os.path.join(source, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as f:
                f.write(os.urandom(100000))
        shutil.copyfile(self.path, os.path.join(source, "large"))
        for more in ([], ["--s3-v2-auth"]):
            self.rclone("mkdir", ":s3:rclone", *more)
            self.rclone("sync", source, ":s3:rclone/x", "--s3-upload-cutoff=5M", "--s3-chunk-size=5M", "--header-upload=x-amz-tagging: a=b", *more)
            self.rclone("check", source, ":s3:rclone/x", *more)
            if not more:
                self.assertEqual((self.tags("rclone", "x/large"), self.tags("rclone", "x/a")), ({"a": "b"}, {"a": "b"}))
            self.rclone("copy", ":s3:rclone/x", ":s3:rclone/y", *more)
            self.rclone("sync", ":s3:rclone/y", back, *more)
            self.assertEqual(filecmp.dircmp(source, back).diff_files, [])
            self.assertEqual(len(self.rclone("lsf", "-R", "--files-only", "--s3-versions", ":s3:rclone", *more).split("\n")), 9)
            if not more:  # it signs no URLs in the old way
                url = self.rclone("link", ":s3:rclone/x/dir/b c", "--expire=60s").strip()
                self.assertEqual(len(self.fetch(url)[1]), 100000, url)
            self.rclone("backend", "cleanup", ":s3:rclone", *more)
            self.rclone("purge", ":s3:rclone", *more)


class Npm(Clients):
    """Clients from npm, in the versions that s3_npm/package-lock.json names; the first run installs them."""

    @classmethod
    def setUpClass(cls):
        install_npm(HERE)
        super().setUpClass()

    def job(self, name):
        env = dict(os.environ, S3_PORT=str(self.server.http), S3_USER=USER, S3_PASSWORD=PASSWORD, NODE_NO_WARNINGS="1",
                   AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE="1")
        done = subprocess.run(["node", name], env=env, capture_output=True, text=True, cwd=HERE)
        self.assertEqual((done.returncode, done.stdout), (0, "done\n"), done.stderr[-3000:])

    def test_minio(self):
        self.job("minio.js")

    def test_aws_sdk(self):
        self.job("aws_sdk.js")


if __name__ == "__main__":
    unittest.main()
