"""The HTTP door as a whole: what a request carries is honoured or refused, framings, ranges that go
on, metadata as headers, who may see what."""
import base64
import hashlib
import http.client
import itertools
import os
import re
import subprocess
import time
import unittest
import urllib.error
import urllib.request
import zlib

from botocore.exceptions import ClientError

from harness import PASSWORD, USER, Case, raw
from test_s3 import signed

CHECKSUMS = ["x-amz-checksum-" + a for a in ("crc32", "crc32c", "crc64nvme", "sha1", "sha256", "sha512", "md5", "xxhash64", "xxhash3", "xxhash128")]
SOURCE = ["x-amz-copy-source", "x-amz-source-expected-bucket-owner"] + [
    "x-amz-copy-source-if-" + c for c in ("match", "none-match", "modified-since", "unmodified-since")]
READ = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "x-amz-checksum-mode"] + [
    "x-amz-server-side-encryption-customer-" + n for n in ("algorithm", "key", "key-md5")]
CUSTOMER = ["x-amz-server-side-encryption-customer-" + n for n in ("algorithm", "key", "key-md5")]
ENCRYPTION = ["x-amz-server-side-encryption" + n for n in ("", "-aws-kms-key-id", "-context", "-bucket-key-enabled")] + CUSTOMER
SOURCE_KEY = ["x-amz-copy-source-server-side-encryption-customer-" + n for n in ("algorithm", "key", "key-md5")]
BODY = ["x-amz-decoded-content-length", "x-amz-trailer", "x-amz-sdk-checksum-algorithm"] + CHECKSUMS
TAG = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
CORS = "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>"
WRITE = ["x-amz-tagging", "if-match", "if-none-match", "if-unmodified-since", "x-amz-acl", "x-amz-storage-class", "x-amz-meta-a"]
GRANTS = ["x-amz-grant-" + g for g in ("full-control", "read", "read-acp", "write-acp")] + ["x-amz-website-redirect-location"]
LOCK = ["x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold"]
RENAME = ["x-amz-rename-source", "x-amz-client-token"] + [
    p + "if-" + c for p in ("", "x-amz-rename-source-") for c in ("match", "none-match", "modified-since", "unmodified-since")]
RESPONSE = ["response-" + n for n in ("content-type", "content-language", "expires", "cache-control",
                                      "content-disposition", "content-encoding")]
LIST = ["prefix", "delimiter", "max-keys", "encoding-type"]
# Operation: method, path, query, headers that it honours, parameters that it honours.
OPERATIONS = {
    "ListBuckets": ("GET", "/", "", [], ["prefix", "continuation-token", "max-buckets", "bucket-region"]),
    "CreateBucket": ("PUT", "/fresh-bucket", "", ["x-amz-acl", "x-amz-object-ownership", "x-amz-sdk-checksum-algorithm",
                                                  "x-amz-bucket-object-lock-enabled", "x-amz-grant-write"] + GRANTS[:4] + CHECKSUMS, []),
    "HeadBucket": ("HEAD", "/matrix", "", [], []),
    "DeleteBucket": ("DELETE", "/empty", "", [], []),
    "GetBucketLocation": ("GET", "/matrix", "location=", [], []),
    "PutBucketVersioning": ("PUT", "/versioned", "versioning=", ["x-amz-sdk-checksum-algorithm"] + CHECKSUMS, []),
    "GetBucketVersioning": ("GET", "/matrix", "versioning=", [], []),
    "PutBucketTagging": ("PUT", "/matrix", "tagging=", ["x-amz-sdk-checksum-algorithm"] + CHECKSUMS, []),
    "GetBucketTagging": ("GET", "/matrix", "tagging=", [], []),
    "DeleteBucketTagging": ("DELETE", "/bucket", "tagging=", [], []),
    "GetObjectTagging": ("GET", "/matrix/key", "tagging=", [], ["versionId"]),
    "PutObjectTagging": ("PUT", "/matrix/key", "tagging=", ["x-amz-sdk-checksum-algorithm"] + CHECKSUMS, ["versionId"]),
    "DeleteObjectTagging": ("DELETE", "/matrix/key", "tagging=", [], ["versionId"]),
    "PutBucketCors": ("PUT", "/matrix", "cors=", ["x-amz-sdk-checksum-algorithm"] + CHECKSUMS, []),
    "GetBucketCors": ("GET", "/matrix", "cors=", [], []),
    "DeleteBucketCors": ("DELETE", "/bucket", "cors=", [], []),
    "ListObjectVersions": ("GET", "/matrix", "versions=", [], LIST + ["key-marker", "version-id-marker"]),
    "GetBucketNotificationConfiguration": ("GET", "/matrix", "notification=", [], []),
    "PutBucketNotificationConfiguration": ("PUT", "/matrix", "notification=", ["x-amz-skip-destination-validation",
                                                                              "x-amz-sdk-checksum-algorithm"] + CHECKSUMS, []),
    "GetBucketLogging": ("GET", "/matrix", "logging=", [], []),
    "PutBucketLogging": ("PUT", "/matrix", "logging=", ["x-amz-sdk-checksum-algorithm"] + CHECKSUMS, []),
    "ListObjects": ("GET", "/matrix", "", ["x-amz-optional-object-attributes"], LIST + ["marker"]),
    "ListObjectsV2": ("GET", "/matrix", "list-type=2", ["x-amz-optional-object-attributes"],
                      LIST + ["continuation-token", "start-after", "fetch-owner"]),
    "DeleteObjects": ("POST", "/matrix", "delete=", ["x-amz-bypass-governance-retention", "x-amz-sdk-checksum-algorithm"] + CHECKSUMS, []),
    "ListMultipartUploads": ("GET", "/matrix", "uploads=", [], ["prefix", "delimiter", "key-marker", "upload-id-marker",
                                                                "max-uploads", "encoding-type"]),
    "PutObject": ("PUT", "/matrix/key", "", WRITE + GRANTS + BODY + LOCK + ENCRYPTION + ["x-amz-write-offset-bytes", "x-cairn-ttl"], []),
    "RenameObject": ("PUT", "/matrix/renamed", "renameObject=", RENAME, []),
    "RestoreObject": ("POST", "/matrix/key", "restore=", ["x-amz-sdk-checksum-algorithm"] + CHECKSUMS, ["versionId"]),
    "CopyObject": ("PUT", "/matrix/copy", "", WRITE + GRANTS + SOURCE + LOCK + ENCRYPTION + SOURCE_KEY + ["x-amz-metadata-directive", "x-amz-tagging-directive",
                                                                "x-amz-checksum-algorithm", "x-cairn-ttl"], []),
    "GetObject": ("GET", "/matrix/key", "", READ, ["partNumber", "versionId", "attributes"] + RESPONSE),
    "GetObjectAttributes": ("GET", "/matrix/key", "attributes=", CUSTOMER + ["x-amz-object-attributes", "x-amz-max-parts",
                                                                  "x-amz-part-number-marker"], ["versionId"]),
    "HeadObject": ("HEAD", "/matrix/key", "", READ, ["partNumber", "versionId"] + RESPONSE),
    "DeleteObject": ("DELETE", "/matrix/key", "", ["if-match", "if-unmodified-since", "x-amz-if-match-last-modified-time",
                                                    "x-amz-if-match-size", "x-amz-bypass-governance-retention"], ["versionId"]),
    "CreateMultipartUpload": ("POST", "/matrix/key", "uploads=", [
        "x-amz-acl", "x-amz-storage-class", "x-amz-meta-a", "x-amz-tagging", "x-amz-checksum-algorithm",
        "x-amz-checksum-type", "x-cairn-ttl"] + GRANTS + LOCK + ENCRYPTION, []),
    "UploadPart": ("PUT", "/matrix/open", "partNumber=1&uploadId=", BODY + CUSTOMER, ["partNumber"]),
    "UploadPartCopy": ("PUT", "/matrix/open", "partNumber=1&uploadId=", SOURCE + CUSTOMER + SOURCE_KEY + ["x-amz-copy-source-range"], ["partNumber"]),
    "CompleteMultipartUpload": ("POST", "/matrix/open", "uploadId=", ["if-match", "if-none-match", "x-amz-checksum-type",
                                                                      "x-amz-mp-object-size"] + CHECKSUMS + CUSTOMER, []),
    "AbortMultipartUpload": ("DELETE", "/matrix/open", "uploadId=", [], []),
    "ListParts": ("GET", "/matrix/open", "uploadId=", CUSTOMER, ["max-parts", "part-number-marker"]),
}
# GET of what is not set, of buckets and of objects (test_settings.py).
UNSET = ["accelerate", "acl", "encryption", "lifecycle", "object-lock", "ownershipControls", "policy", "policyStatus",
         "publicAccessBlock", "replication", "requestPayment", "website"]
LOCKS = ["acl", "legal-hold", "retention"]
# PUT and DELETE of what is set for buckets (test_access.py, test_lock.py).
SETTINGS = ["acl", "encryption", "lifecycle", "object-lock", "ownershipControls", "policy", "publicAccessBlock", "requestPayment", "website"]
# Without which an operation is another, or none.
NEEDED = {"x-amz-copy-source": "/matrix/key", "x-amz-rename-source": "/matrix/old", "x-amz-object-attributes": "ETag"}
# What S3 gives a meaning to, with a value that it takes.
HEADERS = {
    "x-amz-acl": "private", "x-amz-bypass-governance-retention": "true", "x-amz-bucket-object-lock-enabled": "false",
    "x-amz-bucket-object-lock-token": "t", "x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-mode": "ENABLED",
    "x-amz-checksum-type": "FULL_OBJECT", "x-amz-client-token": "t", "x-amz-confirm-remove-self-bucket-access": "true",
    "x-amz-copy-source-range": "bytes=0-1", "x-amz-copy-source-if-match": "*", "x-amz-copy-source-if-none-match": '"a"',
    "x-amz-copy-source-if-modified-since": "Thu, 01 Jan 2015 00:00:00 GMT",
    "x-amz-copy-source-if-unmodified-since": "Thu, 01 Jan 2099 00:00:00 GMT",
    "x-amz-copy-source-server-side-encryption-customer-algorithm": "AES256",
    "x-amz-copy-source-server-side-encryption-customer-key": "a", "x-amz-copy-source-server-side-encryption-customer-key-md5": "a",
    "x-amz-create-session-mode": "ReadOnly", "x-amz-decoded-content-length": "1", "x-amz-fwd-status": "200",
    "x-amz-grant-full-control": "id=a", "x-amz-grant-read": "id=a", "x-amz-grant-read-acp": "id=a",
    "x-amz-grant-write": "id=a", "x-amz-grant-write-acp": "id=a",
    "x-amz-if-match-initiated-time": "Thu, 01 Jan 2015 00:00:00 GMT",
    "x-amz-if-match-last-modified-time": "Thu, 01 Jan 2015 00:00:00 GMT", "x-amz-if-match-size": "5",
    "x-amz-max-parts": "5", "x-amz-meta-a": "b", "x-amz-metadata-directive": "COPY", "x-amz-mfa": "1 2",
    "x-amz-mp-object-size": "5", "x-amz-object-attributes": "ETag", "x-amz-object-lock-legal-hold": "ON",
    "x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": "2099-01-01T00:00:00Z",
    "x-amz-object-ownership": "BucketOwnerEnforced", "x-amz-optional-object-attributes": "RestoreStatus",
    "x-amz-part-number-marker": "1", "x-amz-rename-source": "a", "x-amz-rename-source-if-match": "*",
    "x-amz-sdk-checksum-algorithm": "CRC32", "x-amz-security-token": "t", "x-amz-server-side-encryption": "AES256",
    "x-amz-server-side-encryption-aws-kms-key-id": "k", "x-amz-server-side-encryption-bucket-key-enabled": "true",
    "x-amz-server-side-encryption-context": "e30=", "x-amz-server-side-encryption-customer-algorithm": "AES256",
    "x-amz-server-side-encryption-customer-key": "k", "x-amz-server-side-encryption-customer-key-md5": "k",
    "x-amz-skip-destination-validation": "true", "x-amz-source-expected-bucket-owner": USER, "x-amz-storage-class": "STANDARD",
    "x-amz-tagging": "a=b", "x-amz-tagging-directive": "COPY", "x-amz-trailer": "x-amz-checksum-crc32",
    "x-amz-transition-default-minimum-object-size": "all_storage_classes_128K", "x-amz-website-redirect-location": "/a",
    "x-amz-write-offset-bytes": "4", "x-amz-new-with-next-year": "1", "x-cairn-new": "1", "x-cairn-ttl": "1000", "x-cairn-expires-ms": "1",
    "if-match": "*", "if-none-match": '"a"', "if-modified-since": "Thu, 01 Jan 2015 00:00:00 GMT",
    "if-unmodified-since": "Thu, 01 Jan 2099 00:00:00 GMT", "if-range": '"a"', "content-range": "bytes 0-1/2",
}
HEADERS.update({name: "AAAAAA==" for name in CHECKSUMS})
PARAMS = ["acl", "policy", "policyStatus", "cors", "lifecycle", "tagging", "versions", "website", "logging",
          "replication", "encryption", "object-lock", "retention", "legal-hold", "torrent", "restore", "select", "select-type",
          "attributes", "requestPayment", "accelerate", "inventory", "analytics", "metrics", "publicAccessBlock",
          "ownershipControls", "intelligent-tiering", "append", "position", "session", "renameObject", "metadataTable",
          "x-amz-acl", "x-amz-object-lock-mode", "X-Amz-Security-Token", "new-with-next-year", "prefix", "delimiter", "max-keys",
          "encoding-type", "marker", "key-marker", "upload-id-marker", "max-uploads", "max-parts", "part-number-marker",
          "continuation-token", "start-after", "fetch-owner", "partNumber", "versionId", "max-buckets",
          "bucket-region"] + RESPONSE


class Calls(Case):
    """A server with buckets, and signed requests to it as they are."""
    buckets = ("bucket",)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3 = cls.server.s3()
        for b in cls.buckets:
            cls.s3.create_bucket(Bucket=b)
        cls.connection = http.client.HTTPConnection("127.0.0.1", cls.server.http, timeout=30)

    def call(self, method, path, query="", headers=None, body=b"", payload=None, **kwargs):
        """One signed request: status, body, headers."""
        payload = hashlib.sha256(body).hexdigest() if payload is None else payload
        canonical = "&".join(sorted(p if "=" in p else p + "=" for p in query.split("&") if p))
        if canonical == "delete=" and not any(n == "content-md5" or n.startswith("x-amz-checksum-") for n in headers or {}):
            headers = {**(headers or {}), "content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()}
        h, *_ = signed(method, self.server.http, path, canonical, headers, payload_hash=payload, **kwargs)
        h["content-length"] = str(len(body))
        h = {k: v for k, v in h.items() if k != "content-length" or body or method in ("PUT", "POST")}
        for attempt in (0, 1):
            try:
                self.connection.request(method, path + ("?" + query if query else ""), body, h)
                r = self.connection.getresponse()
                return r.status, r.read(), r.headers
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self.connection.close()
                if attempt:
                    raise

    def code(self, answer):
        found = re.search(rb"<Code>(\w+)</Code>", answer[1])
        return (answer[0], found.group(1).decode() if found else "")


class Http(Calls):
    buckets = ("bucket", "matrix", "empty", "versioned")

    # ---- all that is carried ----

    def state(self):
        s3 = self.s3
        objects = {(b, o["Key"]): (o["ETag"], s3.head_object(Bucket=b, Key=o["Key"])["ResponseMetadata"]["HTTPHeaders"]["x-cairn-version"])
                   for b in ("matrix", "empty") for o in s3.list_objects_v2(Bucket=b).get("Contents", [])}
        uploads = [(u["Key"], u["UploadId"]) for u in s3.list_multipart_uploads(Bucket="matrix").get("Uploads", [])]
        parts = [(p["PartNumber"], p["ETag"]) for p in s3.list_parts(Bucket="matrix", Key="open", UploadId=self.upload).get("Parts", [])]
        return [b["Name"] for b in s3.list_buckets()["Buckets"]], objects, uploads, parts

    def test_what_an_operation_does_not_honour_it_refuses_and_does_nothing(self):
        for key in ("key", "old"):
            self.s3.put_object(Bucket="matrix", Key=key, Body=b"value")
        self.__class__.upload = self.s3.create_multipart_upload(Bucket="matrix", Key="open")["UploadId"]
        part = self.s3.upload_part(Bucket="matrix", Key="open", UploadId=self.upload, PartNumber=1, Body=b"part")["ETag"]
        bodies = {
            "DeleteObjects": b"<Delete><Object><Key>key</Key></Object></Delete>", "PutObject": b"other", "UploadPart": b"other",
            "PutBucketVersioning": b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
            "PutBucketLogging": b"<BucketLoggingStatus/>", "PutBucketNotificationConfiguration": b"<NotificationConfiguration/>", "PutBucketTagging": TAG.encode(), "PutObjectTagging": TAG.encode(), "PutBucketCors": CORS.encode(),
            "CompleteMultipartUpload": ("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part>"
                                        "</CompleteMultipartUpload>" % part).encode()}
        before, wrong = self.state(), []
        # A parameter that makes another operation of a request without one.
        others = {("GET", False): set(UNSET), ("GET", True): set(LOCKS), ("PUT", False): set(SETTINGS), ("PUT", True): set(LOCKS),
                  ("DELETE", False): set(SETTINGS)}
        for method, path, query, _, _ in OPERATIONS.values():
            others.setdefault((method, path.count("/") > 1), set()).update(q.split("=")[0] for q in query.split("&"))
        for name, (method, path, query, headers, params) in OPERATIONS.items():
            query = query.replace("uploadId=", "uploadId=" + self.upload)
            base = {h: v for h, v in NEEDED.items() if h in headers}
            tries = [(query, {**base, h: v}, h) for h, v in HEADERS.items() if h not in headers]
            tries += [("&".join(q for q in (query, p + "=1") if q), base, p) for p in PARAMS
                      if p not in params and p + "=" not in query
                      and (query or p not in others[method, path.count("/") > 1])]
            tries += [("&".join(q for q in (query, p + "=1", p + "=2") if q), base, "twice " + p) for p in params
                      if p != "versionId" and p + "=" not in query]
            for q, h, what in tries:
                answer = self.call(method, path, q, h, bodies.get(name, b""))
                want = (400,) if what.startswith("twice") or what.lower() in ("x-amz-security-token", "x-amz-server-side-encryption") else (501,)
                if answer[0] not in want:
                    wrong.append((name, what, answer[0]))
        self.assertEqual(wrong, [])
        self.assertEqual(self.state(), before)
        # And without what they refuse, they do what they say.
        for name, (method, path, query, headers, params) in OPERATIONS.items():
            if name in ("DeleteObject", "AbortMultipartUpload", "DeleteObjects", "CompleteMultipartUpload"):
                continue
            query = query.replace("uploadId=", "uploadId=" + self.upload)
            base = {h: v for h, v in NEEDED.items() if h in headers}
            # There is nothing to restore.
            self.assertIn(self.call(method, path, query, base, bodies.get(name, b""))[0], (403,) if name == "RestoreObject" else (200, 204), name)

    def test_what_is_true_is_honoured(self):
        put = lambda headers, status=200: self.assertEqual(self.call("PUT", "/bucket/true", "", headers, b"x")[0], status, headers)
        for headers in ({"x-amz-acl": "private"}, {"x-amz-acl": "bucket-owner-full-control"}, {"x-amz-storage-class": "STANDARD"},
                        {"x-amz-expected-bucket-owner": USER}, {"x-amz-request-payer": "requester"},
                        # s3cmd's and s3fs's ways
                        {"x-amz-acl": "private", "x-amz-storage-class": "STANDARD", "content-type": "text/plain",
                         "x-amz-meta-s3cmd-attrs": "atime:1/ctime:2/gid:0/gname:root/md5:x/mode:33188/mtime:3/uid:0/uname:root"},
                        {"x-amz-acl": "private", "x-amz-meta-mtime": "1", "x-amz-meta-mode": "33188", "x-amz-meta-uid": "0"}):
            put(headers)
        for headers, status in (({"x-amz-acl": "public-read"}, 400), ({"x-amz-acl": "nonsense"}, 400), ({"x-amz-storage-class": "GLACIER"}, 501),
                                ({"x-amz-storage-class": "NONSENSE"}, 400), ({"x-amz-expected-bucket-owner": "somebody"}, 403),
                                ({"x-amz-request-payer": "nobody"}, 400), ({"x-amz-sdk-checksum-algorithm": "CRC32"}, 400),
                                ({"if-unmodified-since": "yesterday"}, 400), ({"if-match": ""}, 400)):
            put(headers, status)
        owner = self.s3.list_buckets()["Owner"]["ID"]
        for call, args in ((self.s3.get_object, dict(Key="true")), (self.s3.head_object, dict(Key="true")), (self.s3.list_objects_v2, {}),
                           (self.s3.head_bucket, {}), (self.s3.put_object, dict(Key="true", Body=b"y")),
                           (self.s3.copy_object, dict(Key="true2", CopySource="bucket/true", ExpectedSourceBucketOwner=owner))):
            call(Bucket="bucket", ExpectedBucketOwner=owner, **args)
            with self.assertRaises(ClientError) as e:
                call(Bucket="bucket", ExpectedBucketOwner="123456789012", **args)
            self.assertEqual(e.exception.response["ResponseMetadata"]["HTTPStatusCode"], 403)
        with self.assertRaises(ClientError):
            self.s3.copy_object(Bucket="bucket", Key="true2", CopySource="bucket/true", ExpectedSourceBucketOwner="123456789012")
        self.s3.create_bucket(Bucket="owned", ACL="private", ObjectOwnership="BucketOwnerEnforced")
        self.assertEqual(self.call("PUT", "/owned2", "", {"x-amz-object-ownership": "ObjectWriter"})[0], 200)
        self.assertEqual(self.call("PUT", "/owned2", "", {"x-amz-bucket-object-lock-enabled": "maybe"})[0], 400)
        self.assertEqual(self.call("GET", "/bucket/true", "versionId=null")[0], 200)

    def test_stock_clients_work(self):
        env = dict(os.environ, AWS_ACCESS_KEY_ID=USER, AWS_SECRET_ACCESS_KEY=PASSWORD, AWS_DEFAULT_REGION="us-east-1")
        aws = lambda *args: subprocess.run(["aws", "--endpoint-url=http://127.0.0.1:%d" % self.server.http] + list(args), env=env,
                                           capture_output=True, text=True)
        path = os.path.join(self.server.directory, "file")
        with open(path, "wb") as f:
            f.write(os.urandom(9 << 20))
        for args in (("s3", "mb", "s3://awscli"), ("s3", "cp", path, "s3://awscli/large", "--acl", "private", "--storage-class", "STANDARD"),
                     ("s3", "cp", "s3://awscli/large", "s3://awscli/copy"), ("s3", "ls", "s3://awscli/"), ("s3", "sync", "s3://awscli", path + "s"),
                     ("s3", "mv", "s3://awscli/copy", "s3://awscli/moved"), ("s3", "rm", "s3://awscli", "--recursive"), ("s3", "rb", "s3://awscli")):
            done = aws(*args)
            self.assertEqual(done.returncode, 0, (args, done.stderr[-500:]))
        url = self.s3.generate_presigned_url("put_object", Params={"Bucket": "bucket", "Key": "curl"}, ExpiresIn=60)
        self.assertEqual(subprocess.run(["curl", "-sf", "-T", path, url]).returncode, 0)
        self.assertEqual(subprocess.run(["curl", "-sf", "--aws-sigv4", "aws:amz:us-east-1:s3", "-u", USER + ":" + PASSWORD, "-H",
                                         "x-amz-content-sha256: UNSIGNED-PAYLOAD", "-o", path + "2",
                                         "http://127.0.0.1:%d/bucket/curl" % self.server.http]).returncode, 0)
        self.assertEqual(open(path, "rb").read(), open(path + "2", "rb").read())

    # ---- framing, addresses ----

    def test_nothing_hides_behind_a_framing(self):
        hidden = b"GET /-/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
        for lines in ("Transfer-Encoding: identity", "Transfer-Encoding: gzip", "Transfer-Encoding: xchunked",
                      "Transfer-Encoding: chunked, identity", "Transfer-Encoding: gzip\r\nContent-Length: %d" % len(hidden),
                      "Content-Length: 0\r\nContent-Length: 0", "Host: x", "Transfer-Encoding : chunked"):
            answer = raw(self.server.http, b"GET /-/health/live HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n" % lines.encode() + hidden)
            self.assertEqual(answer.count(b"HTTP/1.1 "), 1, lines)
            self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), (lines, answer))
        self.assertTrue(raw(self.server.http, b"GET /-/health/live HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 "))

    def test_a_path_with_two_slashes_names_no_bucket(self):
        for path in ("//bucket/true", "//", "//bucket"):
            self.assertEqual(self.code(self.call("GET", path)), (400, "InvalidBucketName"))
        self.s3.put_object(Bucket="bucket", Key="/a//b/../c", Body=b"odd")
        self.assertEqual(self.call("GET", "/bucket//a//b/../c")[1], b"odd")

    def test_other_regions_are_told_which_it_is(self):
        answer = self.call("GET", "/bucket", region="eu-central-1")
        self.assertEqual(self.code(answer), (400, "AuthorizationHeaderMalformed"))
        self.assertIn(b"<Region>us-east-1</Region>", answer[1])
        for where, want in (("", 200), ("us-east-1", 200), ("eu-west-1", 400)):
            xml = "<CreateBucketConfiguration><LocationConstraint>%s</LocationConstraint></CreateBucketConfiguration>" % where
            self.assertEqual(self.call("PUT", "/region%d%s" % (want, where), body=xml.encode())[0], want)
        xml = b"<CreateBucketConfiguration><Bucket><Type>Directory</Type></Bucket></CreateBucketConfiguration>"
        self.assertEqual(self.call("PUT", "/directory", body=xml)[0], 501)

    def test_the_hash_of_a_body_that_nobody_reads_is_checked(self):
        self.s3.put_object(Bucket="bucket", Key="hash", Body=b"x")
        other = hashlib.sha256(b"other").hexdigest()
        for method, path, query in (("GET", "/bucket/hash", ""), ("HEAD", "/bucket/hash", ""), ("GET", "/bucket", ""), ("GET", "/", ""),
                                    ("DELETE", "/bucket/hash", ""), ("POST", "/bucket/hash", "uploads="), ("DELETE", "/bucket", "")):
            for body, payload, want in ((b"", other, 400), (b"ther", other, 400)):
                self.assertEqual(self.call(method, path, query, {}, body, payload)[0], want, (method, path))
            self.assertEqual(self.call(method, path, query, {"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}, b"other", other)[0], 400)
        self.assertEqual(self.call("DELETE", "/bucket/hash", "", {}, b"other", other)[0], 204)

    # ---- ranges that go on ----

    def test_if_range(self):
        self.s3.put_object(Bucket="bucket", Key="range", Body=b"0123456789")
        head = self.s3.head_object(Bucket="bucket", Key="range")
        etag, date = head["ETag"], head["ResponseMetadata"]["HTTPHeaders"]["last-modified"]
        part, whole = (206, b"234"), (200, b"0123456789")
        for value, want in ((etag, part), ("W/" + etag, whole), ('"other"', whole), (etag.strip('"'), whole), ("*", whole),
                            (etag + ', "a"', whole), (date, whole), ("Thu, 01 Jan 2015 00:00:00 GMT", whole),
                            ("Thu, 01 Jan 2099 00:00:00 GMT", whole), ("nonsense", whole)):
            status, body, headers = self.call("GET", "/bucket/range", "", {"range": "bytes=2-4", "if-range": value})
            self.assertEqual((status, body), want, value)
            self.assertEqual(headers.get("content-range"), "bytes 2-4/10" if status == 206 else None)
            self.assertEqual(self.call("GET", "/bucket/range", "", {"if-range": value})[:2], whole)
            past = self.call("GET", "/bucket/range", "", {"range": "bytes=10-", "if-range": value})
            self.assertEqual(past[0], 416 if want is part else 200)
        # A download that goes on after the object changed starts anew. By its date it always does: the object may have changed
        # within that second.
        self.s3.put_object(Bucket="bucket", Key="range", Body=b"abcdefghij")
        self.assertEqual(self.call("GET", "/bucket/range", "", {"range": "bytes=5-", "if-range": etag})[:2], (200, b"abcdefghij"))
        self.assertEqual(self.call("GET", "/bucket/range", "", {"range": "bytes=5-", "if-match": etag})[0], 412)
        self.assertEqual(self.call("GET", "/bucket/range", "", {"if-match": "W/" + self.s3.head_object(Bucket="bucket", Key="range")["ETag"]})[0], 412)

    # ---- XML ----

    def test_the_text_of_an_element_is_all_of_it(self):
        keys = lambda: {o["Key"] for o in self.s3.list_objects_v2(Bucket="bucket", Prefix="x/").get("Contents", [])}
        every = ["x/a", "x/ab", "x/b", "x/", "x/ ", "x/<&", "x/a\tb"]
        for xml, gone in (("x/<![CDATA[a]]>b", "x/ab"), ("x/a<!-- -->b", "x/ab"), ("<![CDATA[x/a]]>", "x/a"), ("x/&#x61;", "x/a"),
                          ("x/&#97;b", "x/ab"), ("x/&lt;&amp;", "x/<&"), ("x/<![CDATA[<&]]>", "x/<&"), ("x/ ", "x/ "), ("x/a&#9;b", "x/a\tb")):
            for k in every:
                self.s3.put_object(Bucket="bucket", Key=k, Body=b"")
            answer = self.call("POST", "/bucket", "delete=", {}, b"<Delete><Object><Key>%s</Key></Object></Delete>" % xml.encode())
            self.assertEqual(answer[0], 200, (xml, answer))
            self.assertEqual(keys(), set(every) - {gone}, xml)
        for k in every:
            self.s3.put_object(Bucket="bucket", Key=k, Body=b"")
        for inside in ("<Object><Key>x/a<b/></Key></Object>", "<Object><Key>x/a</Key><Key>x/b</Key></Object>", "<Object><Key>x/a&foo;</Key></Object>",
                       "<Object><Key>x/a&#0;</Key></Object>", "<Object><Key>x/a</Key>x/b</Object>", "x/a<Object><Key>x/a</Key></Object>",
                       "<Object><Key>x/a</Key><Odd/></Object>", "<Odd/><Object><Key>x/a</Key></Object>", "<Object><Key>x/a&#xd800;</Key></Object>",
                       "<Object><Key>x/a</Key><ETag></ETag></Object>", "<Object><Key>x/a<?pi ?></Key></Object>", "<Object><Key>x/a&</Key></Object>",
                       "<Quiet>maybe</Quiet><Object><Key>x/a</Key></Object>", "<![CDATA[<Object><Key>x/a</Key></Object>]]>", "<Object><Key/></Object>"):
            self.assertEqual(self.code(self.call("POST", "/bucket", "delete=", {}, b"<Delete>%s</Delete>" % inside.encode())), (400, "MalformedXML"), inside)
        for text in (b"<Delete><Object><Key>x/a\xff</Key></Object></Delete>", b"<Delete><Object><Key>x/a\x01</Key></Object></Delete>",
                     b"<Delete><Object><Key>x/a</Key></Object></Delete><Delete/>", b"a<Delete><Object><Key>x/a</Key></Object></Delete>",
                     b"<!DOCTYPE a><Delete><Object><Key>x/a</Key></Object></Delete>", b"<Delete><Object><Key>x/a</Key></Object>",
                     b'<?xml version="1.0" encoding="ISO-8859-1"?><Delete><Object><Key>x/a</Key></Object></Delete>', b"<a>" * 100000):
            self.assertEqual(self.code(self.call("POST", "/bucket", "delete=", {}, text)), (400, "MalformedXML"), text[:60])
        answer = self.call("POST", "/bucket", "delete=", {}, b"<Delete><Object><Key>x/a</Key><VersionId>1</VersionId></Object></Delete>")
        self.assertEqual(self.code(answer), (200, "NoSuchVersion"))
        for field in ("LastModifiedTime", "Size"):
            for value in ("", "x", "-1"):
                xml = "<Delete><Object><Key>x/a</Key><%s>%s</%s></Object></Delete>" % (field, value, field)
                self.assertEqual(self.code(self.call("POST", "/bucket", "delete=", {}, xml.encode())), (400, "MalformedXML"), xml)
        self.assertEqual(keys(), set(every))

    def test_keys_that_xml_cannot_hold_are_listed_encoded(self):
        r = self.server.redis()
        self.s3.create_bucket(Bucket="binary")
        keys = [b"a\x01b", b"\xff\xfe", b"n\x00l", b"plain", "\u00e9".encode()]
        with r.pipeline(transaction=False) as p:
            p.execute_command("SELECT", "binary")
            for k in keys:
                p.set(k, "x")
            p.execute_command("SELECT", "0")
            p.execute()
        import urllib.parse
        import xml.etree.ElementTree as tree
        for query in ("", "list-type=2", "encoding-type=url", "encoding-type=url&list-type=2"):
            answer = self.call("GET", "/binary", query)
            root = tree.fromstring(answer[1])
            ns = "{http://s3.amazonaws.com/doc/2006-03-01/}"
            self.assertEqual(root.findtext(ns + "EncodingType"), "url")
            self.assertEqual([urllib.parse.unquote_to_bytes(k.text) for k in root.iter(ns + "Key")], sorted(keys))
        for k in keys:
            self.assertEqual(self.call("GET", "/binary/" + urllib.parse.quote(k))[1], b"x")

    # ---- metadata ----

    def test_user_metadata_goes_as_text_and_in_two_kilobytes(self):
        for value, want in (("=?UTF-8?B?w6k=?=", "\u00e9"), ("=?utf-8?q?=C3=A9?=", "\u00e9"),
                            ("=?UTF-8?B?w6k=?= =?UTF-8?B?w6k=?=", "\u00e9\u00e9")):
            self.assertEqual(self.call("PUT", "/bucket/meta", "", {"x-amz-meta-name": value}, b"x")[0], 200)
            self.assertEqual(self.call("GET", "/bucket/meta")[2]["x-amz-meta-name"], "=?UTF-8?B?%s?=" % base64.b64encode(want.encode()).decode())
            rpc = self.server.grpc_stubs()
            stat = rpc.objects.Stat(rpc.objects_pb.StatRequest(key=rpc.key("bucket", "meta")), metadata=rpc.metadata)
            self.assertEqual(stat.info.metadata.user["name"], want)
        # Bytes that are no text: latin-1 of an e acute.
        self.assertEqual(self.call_latin1("/bucket/meta2", "x-amz-meta-name", "\u00e9"), 400)
        self.assertEqual(self.call("PUT", "/bucket/meta2", "", {"x-amz-meta-a": "x" * 2047}, b"")[0], 200)
        self.assertEqual(self.code(self.call("PUT", "/bucket/meta2", "", {"x-amz-meta-a": "x" * 2048}, b"")), (400, "MetadataTooLarge"))
        self.assertEqual(self.code(self.call("PUT", "/bucket/meta2", "", {"cache-control": "x" * 9000}, b"")), (400, "MetadataTooLarge"))
        for name in ("response-content-type=a%0d%0aSet-Cookie:%20b", "response-expires=%00"):
            query = name.replace(":", "%3A").replace("%0d%0a", "%0D%0A")
            answer = self.call("GET", "/bucket/meta", query)
            self.assertEqual((answer[0], answer[2].get("set-cookie")), (400, None))

    def call_latin1(self, path, name, value):
        import hmac, datetime
        now = datetime.datetime.now(datetime.timezone.utc)
        stamp = now.strftime("%Y%m%dT%H%M%SZ")
        h = {"host": b"127.0.0.1:%d" % self.server.http, "x-amz-content-sha256": b"UNSIGNED-PAYLOAD", "x-amz-date": stamp.encode(),
             name: value.encode("latin1")}
        names = sorted(h)
        canonical = b"PUT\n%s\n\n" % path.encode() + b"".join(n.encode() + b":" + h[n] + b"\n" for n in names) + \
            b"\n" + ";".join(names).encode() + b"\nUNSIGNED-PAYLOAD"
        scope = "%s/us-east-1/s3/aws4_request" % stamp[:8]
        key = ("AWS4" + PASSWORD).encode()
        for part in (stamp[:8], "us-east-1", "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical).hexdigest()])
        auth = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
            USER, scope, ";".join(names), hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest())
        request = b"PUT %s HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\nAuthorization: %s\r\n" % (path.encode(), auth.encode())
        request += b"".join(n.encode() + b": " + v + b"\r\n" for n, v in h.items()) + b"\r\n"
        return int(raw(self.server.http, request).split(b" ")[1])

    # ---- multipart ----

    def test_content_encodings_stay_as_they_were_written(self):
        # All but the one that says how the body came: it was taken out, and the blanks of the others with it.
        for words in itertools.product(["gzip", "deflate", "aws-chunked"], repeat=3):
            for comma in (",", ", ", " ,  "):
                self.s3.put_object(Bucket="bucket", Key="encoded", ContentEncoding=comma.join(words))
                kept = comma.join(w for w in words if w != "aws-chunked").strip()
                self.assertEqual(self.s3.head_object(Bucket="bucket", Key="encoded").get("ContentEncoding", "").strip(), kept)

    def test_the_attributes_of_an_object_are_those_that_it_was_uploaded_with(self):
        parts, names = [b"a" * (5 << 20), b"b" * (5 << 20), b"the last"], ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
        digests = {"SHA256": lambda b: hashlib.sha256(b).digest(), "SHA1": lambda b: hashlib.sha1(b).digest(),
                   "CRC32": lambda b: zlib.crc32(b).to_bytes(4, "big")}
        text = lambda raw: base64.b64encode(raw).decode()
        ask = lambda key, **args: self.s3.get_object_attributes(Bucket="bucket", Key=key, **{"ObjectAttributes": names, **args})
        for algorithm in (None, *digests):
            declared = {"ChecksumAlgorithm": algorithm} if algorithm else {}
            upload = self.s3.create_multipart_upload(Bucket="bucket", Key="known", **declared)["UploadId"]
            sums = [text(digests[algorithm](b)) if algorithm else None for b in parts]
            sent = [{"PartNumber": i + 1, "ETag": self.s3.upload_part(Bucket="bucket", Key="known", UploadId=upload, PartNumber=i + 1,
                                                                      Body=b, **declared)["ETag"]} for i, b in enumerate(parts)]
            done = self.s3.complete_multipart_upload(Bucket="bucket", Key="known", UploadId=upload, MultipartUpload={"Parts": sent})
            self.s3.copy_object(Bucket="bucket", Key="copied", CopySource="bucket/known", MetadataDirective="REPLACE")
            for key in ("known", "copied"):
                all_of_it = ask(key)
                self.assertEqual((all_of_it["ETag"], all_of_it["ObjectSize"], all_of_it["StorageClass"]),
                                 (done["ETag"].strip('"'), sum(map(len, parts)), "STANDARD"))
                field = "Checksum" + str(algorithm)
                self.assertEqual(all_of_it.get("Checksum", {}).get(field), done.get(field))
                for limit, marker in itertools.product(range(5), range(5)):
                    page = ask(key, MaxParts=limit, PartNumberMarker=marker)["ObjectParts"]
                    want = list(range(1, 4))[marker:marker + limit]
                    got = page.get("Parts", [])
                    self.assertEqual([p["PartNumber"] for p in got], want)
                    self.assertEqual([p["Size"] for p in got], [len(parts[i - 1]) for i in want])
                    self.assertEqual([p.get(field) for p in got], [sums[i - 1] for i in want])
                    self.assertEqual((page["TotalPartsCount"], page["IsTruncated"], page["NextPartNumberMarker"]),
                                     (3, limit > 0 and marker + limit < 3, want[-1] if want else marker))
                for i, b in enumerate(parts):  # the checksum of a part is that of its bytes
                    got = self.s3.get_object(Bucket="bucket", Key=key, PartNumber=i + 1, ChecksumMode="ENABLED")
                    self.assertEqual((got["Body"].read(), got.get(field)), (b, sums[i]))
        self.s3.put_object(Bucket="bucket", Key="known", Body=b"x", ChecksumAlgorithm="SHA256")
        self.assertEqual({k: v for k, v in ask("known").items() if k in names},
                         {"ETag": hashlib.md5(b"x").hexdigest(), "ObjectSize": 1, "StorageClass": "STANDARD",
                          "Checksum": {"ChecksumSHA256": text(digests["SHA256"](b"x"))}})
        for name in names:
            got = ask("known", ObjectAttributes=[name])
            self.assertEqual([n for n in names if n in got], [] if name == "ObjectParts" else [name])
        for headers in ({}, {"x-amz-object-attributes": "ETag,Nothing"}, {"x-amz-object-attributes": "ETag", "x-amz-max-parts": "-1"}):
            self.assertEqual(self.call("GET", "/bucket/known", "attributes", headers)[0], 400, headers)
        self.assertEqual(self.code(self.call("GET", "/bucket/nothing", "attributes", {"x-amz-object-attributes": "ETag"})), (404, "NoSuchKey"))

    def test_a_list_in_two_lines_is_one_list(self):
        # As SDKs for Java send it, and as S3 signs it: with a comma and no blank.
        for method, headers, body in (("PUT", {"x-amz-meta-list": "a,b"}, b"x"), ("GET", {"x-amz-object-attributes": "ETag,ObjectSize"}, b"")):
            query = "attributes=" if method == "GET" else ""
            h, *_ = signed(method, self.server.http, "/bucket/list", query, headers, payload_hash=hashlib.sha256(body).hexdigest())
            self.connection.putrequest(method, "/bucket/list?" + query, skip_host=True)
            for name, value in {**h, "content-length": str(len(body))}.items():
                for line in value.split(",") if name in headers else [value]:
                    self.connection.putheader(name, line)
            self.connection.endheaders(body)
            r = self.connection.getresponse()
            text = r.read()
            self.assertEqual(r.status, 200, text)
        self.assertIn(b"<ObjectSize>1</ObjectSize>", text)
        self.assertEqual(self.s3.head_object(Bucket="bucket", Key="list")["Metadata"], {"list": "a,b"})

    def test_a_conditional_delete_of_nothing_finds_nothing(self):
        for etag in ("*", '"abc"'):
            self.assertEqual(self.code(self.call("DELETE", "/bucket/never", "", {"if-match": etag})), (404, "NoSuchKey"))
        body = b"<Delete><Object><Key>never</Key><ETag>abc</ETag></Object></Delete>"
        self.assertEqual(self.code(self.call("POST", "/bucket", "delete=", {}, body)), (200, "NoSuchKey"))
        self.s3.put_object(Bucket="bucket", Key="there", Body=b"x")
        self.assertEqual(self.code(self.call("DELETE", "/bucket/there", "", {"if-match": '"abc"'})), (412, "PreconditionFailed"))
        self.assertEqual(self.call("DELETE", "/bucket/there", "", {"if-match": "*"})[0], 204)

    def test_what_is_no_checksum_is_refused_as_such(self):
        digests = {"crc32": 4, "crc32c": 4, "crc64nvme": 8, "sha1": 20, "sha256": 32}
        for name, size in digests.items():
            for length in (0, 1, size - 1, size, size + 1, 64):
                answer = self.call("PUT", "/bucket/sum", "", {"x-amz-checksum-" + name: base64.b64encode(b"z" * length).decode()}, b"x")
                self.assertEqual(self.code(answer), (400, "BadDigest" if length == size else "InvalidRequest"), (name, length))

    def test_a_dropped_bucket_takes_its_open_uploads_along(self):
        rpc = self.server.grpc_stubs()
        extents = lambda: rpc.admin.Stats(rpc.admin_pb.StatsRequest(), metadata=rpc.metadata).extents
        before = extents()
        for _ in range(3):
            self.s3.create_bucket(Bucket="droppable")
            ids = []
            for i in range(3):
                ids.append(self.s3.create_multipart_upload(Bucket="droppable", Key="k%d" % i)["UploadId"])
                for n in (1, 2):
                    self.s3.upload_part(Bucket="droppable", Key="k%d" % i, UploadId=ids[-1], PartNumber=n, Body=os.urandom(200000))
            self.assertGreater(extents(), before)
            self.s3.delete_bucket(Bucket="droppable")
            self.s3.create_bucket(Bucket="droppable")
            self.assertNotIn("Uploads", self.s3.list_multipart_uploads(Bucket="droppable"))
            with self.assertRaises(ClientError):
                self.s3.list_parts(Bucket="droppable", Key="k0", UploadId=ids[0])
            self.s3.delete_bucket(Bucket="droppable")
        for _ in range(500):
            if extents() <= before:
                break
            time.sleep(0.02)
        self.assertLessEqual(extents(), before)

    def test_what_a_completion_says_of_the_object_is_checked(self):
        crc = lambda b: base64.b64encode(__import__("zlib").crc32(b).to_bytes(4, "big")).decode()
        data = b"part of an object"
        for headers, want in (({}, 200), ({"x-amz-mp-object-size": str(len(data))}, 200), ({"x-amz-mp-object-size": "5"}, 400),
                              ({"x-amz-mp-object-size": "x"}, 400), ({"x-amz-checksum-type": "FULL_OBJECT"}, 200),
                              ({"x-amz-checksum-type": "COMPOSITE"}, 400), ({"x-amz-checksum-crc32": crc(data)}, 200),
                              ({"x-amz-checksum-crc32": crc(b"x")}, 400), ({"x-amz-checksum-sha1": crc(data)}, 400),
                              ({"if-none-match": "*"}, 412), ({"if-match": '"a"'}, 412)):
            answer = self.call("POST", "/bucket/said", "uploads=", {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "FULL_OBJECT"})
            upload = re.search(rb"<UploadId>(\w+)<", answer[1]).group(1).decode()
            part = self.call("PUT", "/bucket/said", "partNumber=1&uploadId=" + upload, {"x-amz-checksum-crc32": crc(data)}, data)
            xml = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part></CompleteMultipartUpload>" % part[2]["ETag"]
            self.assertEqual(self.call("POST", "/bucket/said", "uploadId=" + upload, headers, xml.encode())[0], want, headers)

    # ---- who may see what ----

    def test_metrics_take_credentials_and_health_does_not(self):
        url = "http://127.0.0.1:%d" % self.server.http
        token = base64.b64encode(("%s:%s" % (USER, PASSWORD)).encode()).decode()

        def get(path, authorization=None):
            headers = {"Authorization": authorization} if authorization else {}
            try:
                return urllib.request.urlopen(urllib.request.Request(url + path, headers=headers)).status
            except urllib.error.HTTPError as e:
                self.assertNotIn(b"cairn_keys", e.read())
                return e.code
        for path in ("/-/metrics", "/%2d/metrics", "/-/metric%73", "/%2D/%6d%65trics", "/-%2fmetrics", "/-/metrics?x"):
            self.assertEqual(get(path), 401, path)
            self.assertEqual(get(path, "Basic " + token), 200, path)
            self.assertEqual(get(path, "Bearer " + PASSWORD), 200, path)
            for bad in ("Basic " + token[:-4], "Basic !", "Bearer x", "Bearer", "Basic " + base64.b64encode(b"a:b").decode(), "Digest " + token):
                self.assertEqual(get(path, bad), 401, (path, bad))
        for path in ("/-/health/live", "/-/health/ready"):
            self.assertEqual(get(path), 200)

    def test_metrics_name_what_there_is(self):
        request = urllib.request.Request("http://127.0.0.1:%d/-/metrics" % self.server.http, headers={"Authorization": "Bearer " + PASSWORD})
        text = urllib.request.urlopen(request).read().decode()
        for name in ("cairn_log_bytes_total", "process_resident_memory_bytes", 'cairn_keys{namespace="bucket"}'):
            self.assertIn("\n" + name + " ", text)

    def test_what_is_not_implemented_is_no_error_of_the_server(self):
        def metric(name):
            request = urllib.request.Request("http://127.0.0.1:%d/-/metrics" % self.server.http, headers={"Authorization": "Bearer " + PASSWORD})
            return int(re.search(rb"^%s (\d+)$" % name.encode(), urllib.request.urlopen(request).read(), re.M).group(1))
        before = metric("cairn_http_5xx_total"), metric("cairn_http_not_implemented_total")
        self.assertEqual(self.call("GET", "/bucket", "inventory=")[0], 501)
        self.assertEqual((metric("cairn_http_5xx_total"), metric("cairn_http_not_implemented_total")), (before[0], before[1] + 1))


class Loopback(Case):
    server_args = dict(args=["--metrics-on-loopback", "--region=eu-central-1"])

    def test_metrics_are_open_to_loopback_where_a_flag_says_so(self):
        text = urllib.request.urlopen("http://127.0.0.1:%d/-/metrics" % self.server.http).read().decode()
        self.assertIn("\ncairn_log_bytes_total ", text)

    def test_the_region_is_a_flag(self):
        import boto3
        from botocore.config import Config
        s3 = boto3.client("s3", endpoint_url="http://127.0.0.1:%d" % self.server.http, aws_access_key_id=USER, aws_secret_access_key=PASSWORD,
                          region_name="eu-central-1", config=Config(signature_version="s3v4", s3={"addressing_style": "path"}))
        s3.create_bucket(Bucket="here", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        self.assertEqual(s3.get_bucket_location(Bucket="here")["LocationConstraint"], "eu-central-1")


if __name__ == "__main__":
    unittest.main()
