"""The S3 door, with boto3, curl and raw sockets."""
import base64
import datetime
import hashlib
import hmac
import io
import json
import os
import socket
import subprocess
import threading
import unittest
import urllib.error
import urllib.parse
import urllib.request
import zlib

from botocore.exceptions import ClientError

from harness import PASSWORD, PATIENCE, USER, Case, Server, raw, resident


def signed(method, port, path, query="", headers=None, payload_hash="UNSIGNED-PAYLOAD", now=None,
           secret=PASSWORD, region="us-east-1", access_key=USER):
    """Headers of a SigV4 request, computed here and not by a library."""
    now = now or datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    all_headers = {"host": "127.0.0.1:%d" % port, "x-amz-date": stamp, "x-amz-content-sha256": payload_hash}
    all_headers.update({k.lower(): v for k, v in (headers or {}).items()})
    names = sorted(all_headers)
    canonical = "\n".join([method, path, query, "".join("%s:%s\n" % (n, all_headers[n].strip()) for n in names),
                           ";".join(names), payload_hash])
    scope = "%s/%s/s3/aws4_request" % (stamp[:8], region)
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + secret).encode()
    for part in (stamp[:8], region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    all_headers["authorization"] = ("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s"
                                    % (access_key, scope, ";".join(names), signature))
    return all_headers, key, scope, stamp, signature


class S3(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3 = cls.server.s3()
        cls.s3.create_bucket(Bucket="bucket")

    def code(self, call, **kwargs):
        with self.assertRaises(ClientError) as e:
            call(**kwargs)
        return e.exception.response["Error"]["Code"], e.exception.response["ResponseMetadata"]["HTTPStatusCode"]

    def request(self, method, path, query="", headers=None, body=b"", **kwargs):
        h, *_ = signed(method, self.server.http, path, query, headers, **kwargs)
        req = urllib.request.Request(
            "http://127.0.0.1:%d%s%s" % (self.server.http, path, "?" + query if query else ""),
            data=body if method in ("PUT", "POST") else None, method=method, headers=h)
        try:
            with urllib.request.urlopen(req, timeout=PATIENCE) as r:
                return r.status, r.read(), r.headers
        except urllib.error.HTTPError as e:
            return e.code, e.read(), e.headers

    def test_objects_of_any_size_with_metadata(self):
        for size in (0, 1, 65535, 65536, 65537, 7 << 20):
            data = os.urandom(size)
            put = self.s3.put_object(Bucket="bucket", Key="o", Body=data, ContentType="text/x",
                                     CacheControl="no-cache", Metadata={"one": "1"})
            self.assertEqual(put["ETag"], '"%s"' % hashlib.md5(data).hexdigest())
            got = self.s3.get_object(Bucket="bucket", Key="o")
            self.assertEqual(got["Body"].read(), data)
            self.assertEqual((got["ContentType"], got["CacheControl"], got["Metadata"], got["ContentLength"]),
                             ("text/x", "no-cache", {"one": "1"}, size))
            head = self.s3.head_object(Bucket="bucket", Key="o")
            self.assertEqual((head["ContentLength"], head["ETag"]), (size, put["ETag"]))

    def test_ranges(self):
        data = os.urandom(200000)
        self.s3.put_object(Bucket="bucket", Key="r", Body=data)
        get = lambda r: self.s3.get_object(Bucket="bucket", Key="r", Range=r)
        self.assertEqual(get("bytes=0-0")["Body"].read(), data[:1])
        self.assertEqual(get("bytes=65530-131080")["Body"].read(), data[65530:131081])
        self.assertEqual(get("bytes=199990-")["Body"].read(), data[199990:])
        self.assertEqual(get("bytes=-5")["Body"].read(), data[-5:])
        got = get("bytes=100-999999")
        self.assertEqual((got["ContentRange"], got["ResponseMetadata"]["HTTPStatusCode"]),
                         ("bytes 100-199999/200000", 206))
        self.assertEqual(self.code(get, r="bytes=200000-"), ("InvalidRange", 416))
        for digits in range(17, 60):  # a number may be of any length
            large = "9" * digits
            self.assertEqual(get("bytes=5-" + large)["Body"].read(), data[5:])
            self.assertEqual(get("bytes=-" + large)["Body"].read(), data)
            self.assertEqual(self.code(get, r="bytes=%s-" % large), ("InvalidRange", 416))

    def test_conditions(self):
        etag = self.s3.put_object(Bucket="bucket", Key="c", Body=b"1")["ETag"]
        get = self.s3.get_object
        self.assertEqual(self.code(get, Bucket="bucket", Key="c", IfMatch='"x"')[1], 412)
        self.assertEqual(self.code(get, Bucket="bucket", Key="c", IfNoneMatch=etag)[1], 304)
        past, future = datetime.datetime(2020, 1, 1), datetime.datetime(2100, 1, 1)
        self.assertEqual(self.code(get, Bucket="bucket", Key="c", IfModifiedSince=future)[1], 304)
        self.assertEqual(self.code(get, Bucket="bucket", Key="c", IfUnmodifiedSince=past)[1], 412)
        self.assertEqual(get(Bucket="bucket", Key="c", IfMatch=etag, IfUnmodifiedSince=past)["Body"].read(), b"1")
        put = lambda h, k="c": self.request("PUT", "/bucket/" + k, headers=h, body=b"2")[0]
        self.assertEqual(put({"If-None-Match": "*"}), 412)
        self.assertEqual(put({"If-None-Match": "*"}, "fresh"), 200)
        self.assertEqual(put({"If-Match": '"nope"'}), 412)
        self.assertEqual(put({"If-Match": etag}), 200)
        self.assertEqual(put({"If-Match": "*"}, "missing"), 404)

    def test_listing_pages_prefixes_and_delimiters(self):
        self.s3.create_bucket(Bucket="listing")
        keys = sorted(["a/%03d" % i for i in range(30)] + ["b/x/%d" % i for i in range(5)] + ["c", "d e+&<\u00e9"])
        for k in keys:
            self.s3.put_object(Bucket="listing", Key=k, Body=b"x")
        for api, page in (("list_objects_v2", 7), ("list_objects", 7), ("list_objects_v2", 1)):
            found = []
            for p in self.s3.get_paginator(api).paginate(Bucket="listing", PaginationConfig={"PageSize": page}):
                found += [o["Key"] for o in p.get("Contents", [])]
            self.assertEqual(found, keys)
            found, prefixes = [], []
            for p in self.s3.get_paginator(api).paginate(Bucket="listing", Delimiter="/",
                                                         PaginationConfig={"PageSize": 1}):
                found += [o["Key"] for o in p.get("Contents", [])]
                prefixes += [o["Prefix"] for o in p.get("CommonPrefixes", [])]
            self.assertEqual((found, prefixes), (["c", "d e+&<\u00e9"], ["a/", "b/"]))
        got = self.s3.list_objects_v2(Bucket="listing", Prefix="b/", Delimiter="/")
        self.assertEqual([p["Prefix"] for p in got["CommonPrefixes"]], ["b/x/"])
        got = self.s3.list_objects_v2(Bucket="listing", StartAfter="a/028", MaxKeys=2)
        self.assertEqual([o["Key"] for o in got["Contents"]], ["a/029", "b/x/0"])
        self.assertEqual(self.s3.list_objects_v2(Bucket="listing", MaxKeys=0)["KeyCount"], 0)
        done = self.s3.delete_objects(Bucket="listing", Delete={"Objects": [{"Key": k} for k in keys]})
        self.assertEqual(len(done["Deleted"]), len(keys))
        self.s3.delete_bucket(Bucket="listing")

    def test_a_thousand_deletes_are_one_sync(self):
        self.s3.create_bucket(Bucket="thousand")
        r = self.server.redis()
        keys = ["k%d" % i for i in range(1000)]
        with r.pipeline(transaction=False) as p:
            p.execute_command("SELECT", "thousand")
            for k in keys:
                p.set(k, "x" * 100)
            p.execute_command("WAITAOF", 1, 0, 0)
            p.execute_command("SELECT", "0")
            p.execute()
        before = r.info("persistence")["log_syncs"]
        done = self.s3.delete_objects(Bucket="thousand", Delete={"Objects": [{"Key": k} for k in keys]})
        self.assertEqual(len(done["Deleted"]), 1000)
        self.assertEqual(r.info("persistence")["log_syncs"], before + 1)
        self.s3.delete_bucket(Bucket="thousand")

    def test_multipart(self):
        data = os.urandom((11 << 20) + 5)
        mp = self.s3.create_multipart_upload(Bucket="bucket", Key="mp", Metadata={"m": "p"}, ContentType="video/x")
        upload = mp["UploadId"]
        cuts = [(1, data[:5 << 20]), (2, data[5 << 20:10 << 20]), (7, data[10 << 20:])]
        parts = []
        for n, body in cuts:
            r = self.s3.upload_part(Bucket="bucket", Key="mp", UploadId=upload, PartNumber=n, Body=body)
            parts.append({"PartNumber": n, "ETag": r["ETag"]})
        self.assertEqual(self.code(self.s3.head_object, Bucket="bucket", Key="mp")[1], 404)
        listed = self.s3.list_parts(Bucket="bucket", Key="mp", UploadId=upload)
        self.assertEqual([(p["PartNumber"], p["Size"]) for p in listed["Parts"]], [(n, len(b)) for n, b in cuts])
        self.assertEqual([u["Key"] for u in self.s3.list_multipart_uploads(Bucket="bucket")["Uploads"]], ["mp"])
        complete = lambda p: self.s3.complete_multipart_upload(Bucket="bucket", Key="mp", UploadId=upload,
                                                               MultipartUpload={"Parts": p})
        self.assertEqual(self.code(complete, p=[parts[1], parts[0]])[0], "InvalidPartOrder")
        self.assertEqual(self.code(complete, p=[{"PartNumber": 1, "ETag": '"0"'}])[0], "InvalidPart")
        self.assertEqual(self.code(complete, p=[parts[2], {"PartNumber": 9, "ETag": parts[0]["ETag"]}])[0] in
                         ("InvalidPart", "EntityTooSmall"), True)
        self.server.restart()  # an upload under way survives
        self.__class__.s3 = self.server.s3()
        done = complete(parts)
        want = hashlib.md5(b"".join(hashlib.md5(b).digest() for _, b in cuts)).hexdigest() + "-3"
        self.assertEqual(done["ETag"], '"%s"' % want)
        got = self.s3.get_object(Bucket="bucket", Key="mp")
        self.assertEqual(got["Body"].read(), data)
        self.assertEqual((got["Metadata"], got["ContentType"]), ({"m": "p"}, "video/x"))
        part = self.s3.get_object(Bucket="bucket", Key="mp", PartNumber=2)
        self.assertEqual((part["Body"].read(), part["PartsCount"]), (cuts[1][1], 3))
        again = complete(parts)  # as S3: an answer may have been lost
        self.assertEqual((again["ETag"], again["Key"]), (done["ETag"], "mp"))
        self.assertEqual(self.code(complete, p=parts[:2])[0], "NoSuchUpload")
        self.s3.put_object(Bucket="bucket", Key="mp", Body=b"another")
        self.assertEqual(self.code(complete, p=parts)[0], "NoSuchUpload")
        self.s3.put_object(Bucket="bucket", Key="mp", Body=data)
        mp2 = self.s3.create_multipart_upload(Bucket="bucket", Key="mp2")["UploadId"]
        r = self.s3.upload_part_copy(Bucket="bucket", Key="mp2", UploadId=mp2, PartNumber=1,
                                     CopySource="bucket/mp", CopySourceRange="bytes=100-6000000")
        self.s3.complete_multipart_upload(Bucket="bucket", Key="mp2", UploadId=mp2, MultipartUpload={
            "Parts": [{"PartNumber": 1, "ETag": r["CopyPartResult"]["ETag"]}]})
        self.assertEqual(self.s3.get_object(Bucket="bucket", Key="mp2")["Body"].read(), data[100:6000001])
        mp3 = self.s3.create_multipart_upload(Bucket="bucket", Key="mp3")["UploadId"]
        self.s3.upload_part(Bucket="bucket", Key="mp3", UploadId=mp3, PartNumber=1, Body=b"x")
        none = self.s3.list_parts(Bucket="bucket", Key="mp3", UploadId=mp3, MaxParts=0)
        self.assertEqual((none["IsTruncated"], none.get("Parts", [])), (False, []))
        none = self.s3.list_multipart_uploads(Bucket="bucket", MaxUploads=0)
        self.assertEqual((none["IsTruncated"], none.get("Uploads", [])), (False, []))
        tag = self.s3.list_parts(Bucket="bucket", Key="mp3", UploadId=mp3)["Parts"][0]["ETag"]
        status, text, _ = self.request(
            "POST", "/bucket/mp3", "uploadId=" + mp3, {"if-match": "x"},
            b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part>"
            b"</CompleteMultipartUpload>" % tag.encode())
        self.assertEqual((status, b"<Code>NoSuchKey</Code>" in text), (404, True), text)
        self.s3.abort_multipart_upload(Bucket="bucket", Key="mp3", UploadId=mp3)
        self.assertEqual(self.code(self.s3.list_parts, Bucket="bucket", Key="mp3", UploadId=mp3)[0], "NoSuchUpload")

    def test_copies(self):
        data = os.urandom(300000)
        self.s3.put_object(Bucket="bucket", Key="src", Body=data, Metadata={"a": "b"})
        self.s3.copy_object(Bucket="bucket", Key="dst", CopySource="bucket/src")
        got = self.s3.get_object(Bucket="bucket", Key="dst")
        self.assertEqual((got["Body"].read(), got["Metadata"]), (data, {"a": "b"}))
        self.s3.delete_object(Bucket="bucket", Key="src")
        self.assertEqual(self.s3.get_object(Bucket="bucket", Key="dst")["Body"].read(), data)
        self.s3.copy_object(Bucket="bucket", Key="dst", CopySource="bucket/dst", MetadataDirective="REPLACE",
                            Metadata={"c": "d"})
        self.assertEqual(self.s3.head_object(Bucket="bucket", Key="dst")["Metadata"], {"c": "d"})
        self.assertEqual(self.code(self.s3.copy_object, Bucket="bucket", Key="dst", CopySource="bucket/dst")[0],
                         "InvalidRequest")
        self.assertEqual(self.code(self.s3.copy_object, Bucket="bucket", Key="x", CopySource="bucket/no")[0], "NoSuchKey")

    def test_errors_are_s3s(self):
        for call, args, want in [
                (self.s3.get_object, dict(Bucket="bucket", Key="nokey"), ("NoSuchKey", 404)),
                (self.s3.get_object, dict(Bucket="nobucket", Key="k"), ("NoSuchBucket", 404)),
                (self.s3.create_bucket, dict(Bucket="Bad_Name"), ("InvalidBucketName", 400)),
                (self.s3.put_object, dict(Bucket="bucket", Key="k" * 1025, Body=b""), ("KeyTooLongError", 400)),
                (self.s3.get_bucket_policy, dict(Bucket="bucket"), ("NoSuchBucketPolicy", 404)),
                (self.s3.put_object_tagging, dict(Bucket="bucket", Key="k", Tagging={"TagSet": []}), ("NoSuchKey", 404)),
        ]:
            try:
                self.assertEqual(self.code(call, **args), want)
            except AssertionError:
                raise
            except Exception as e:  # boto3 refuses the name itself
                self.assertIn("nvalid bucket name", str(e))
        self.s3.put_object(Bucket="bucket", Key="full", Body=b"")
        self.assertEqual(self.code(self.s3.delete_bucket, Bucket="bucket"), ("BucketNotEmpty", 409))

    def test_signatures_decide(self):
        self.s3.put_object(Bucket="bucket", Key="sig", Body=b"secret")
        self.assertEqual(self.request("GET", "/bucket/sig")[:2], (200, b"secret"))
        status, body, _ = self.request("GET", "/bucket/sig", secret="wrong-password")
        self.assertEqual((status, b"SignatureDoesNotMatch" in body), (403, True))
        now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        for minutes, want in ((14, 200), (-14, 200), (16, 403), (-16, 403)):
            self.assertEqual(self.request("GET", "/bucket/sig", now=now + datetime.timedelta(minutes=minutes))[0], want)
        url = "http://127.0.0.1:%d/bucket/sig" % self.server.http
        with self.assertRaises(urllib.error.HTTPError) as e:
            urllib.request.urlopen(url)
        self.assertEqual(e.exception.code, 403)
        h, *_ = signed("GET", self.server.http, "/bucket/sig")
        for extra in ({"x-amz-meta-more": "1"},):  # a header that nobody signed
            with self.assertRaises(urllib.error.HTTPError):
                urllib.request.urlopen(urllib.request.Request(url, headers={**h, **extra}))

    def test_every_changed_byte_of_a_signed_request_is_refused(self):
        self.s3.put_object(Bucket="bucket", Key="flip", Body=b"secret")
        h, *_ = signed("GET", self.server.http, "/bucket/flip", "partNumber=1")
        line = "GET /bucket/flip?partNumber=1 HTTP/1.1\r\n"
        text = (line + "".join("%s: %s\r\n" % kv for kv in h.items()) + "\r\n").encode()
        self.assertIn(b" 206 ", raw(self.server.http, text).split(b"\r\n")[0])
        accepted = []
        for i in range(4, len(text) - 4, 3):
            changed = bytearray(text)
            changed[i] ^= 1
            answer = raw(self.server.http, bytes(changed), timeout=2)
            if answer.startswith(b"HTTP/1.1 20"):
                accepted.append(text[max(0, i - 10):i + 10])
        # What is no part of the signature: the blank after a colon, say.
        self.assertLessEqual(len(accepted), 4, accepted)

    def test_presigned_urls(self):
        self.s3.put_object(Bucket="bucket", Key="pre", Body=b"presigned")
        url = self.s3.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "pre"}, ExpiresIn=60)
        self.assertEqual(urllib.request.urlopen(url).read(), b"presigned")
        self.assertEqual(subprocess.check_output(["curl", "-s", url]), b"presigned")
        for bad in (url.replace("pre?", "pr?"), url.replace("X-Amz-Expires=60", "X-Amz-Expires=600"), url[:-1] + "0" if url[-1] != "0" else url[:-1] + "1"):
            with self.assertRaises(urllib.error.HTTPError):
                urllib.request.urlopen(bad)
        put = self.s3.generate_presigned_url("put_object", Params={"Bucket": "bucket", "Key": "pre2"}, ExpiresIn=60)
        urllib.request.urlopen(urllib.request.Request(put, data=b"up", method="PUT"))
        self.assertEqual(self.s3.get_object(Bucket="bucket", Key="pre2")["Body"].read(), b"up")

    def presigned(self, method, path, params, headers=None):
        """As AWS's SDK for JavaScript makes it: what would be headers is in the query."""
        quote = lambda text: urllib.parse.quote(text, safe="-_.~")
        stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        scope = "%s/us-east-1/s3/aws4_request" % stamp[:8]
        payload = next((v for k, v in params.items() if k.lower() == "x-amz-content-sha256"), "UNSIGNED-PAYLOAD")
        params = {"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": "%s/%s" % (USER, scope), "X-Amz-Date": stamp, "X-Amz-Expires": "900",
                  "X-Amz-SignedHeaders": "host", **({} if payload in params.values() else {"X-Amz-Content-Sha256": payload}), **params}
        query = "&".join("%s=%s" % (quote(k), quote(params[k])) for k in sorted(params))
        host = "127.0.0.1:%d" % self.server.http
        canonical = "\n".join([method, path, query, "host:" + host, "", "host", payload])
        key = ("AWS4" + PASSWORD).encode()
        for part in (stamp[:8], "us-east-1", "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        url = "http://%s%s?%s&X-Amz-Signature=%s" % (host, path, query, hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest())
        body = b"the body" if method == "PUT" else None
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data=body, method=method, headers=headers or {}),
                                        timeout=PATIENCE) as r:
                return r.status, r.read(), r.headers
        except urllib.error.HTTPError as e:
            return e.code, e.read(), e.headers

    def test_what_a_presigned_url_carries_in_place_of_headers_is_honoured(self):
        put = {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-sdk-checksum-algorithm": "CRC32", "x-id": "PutObject",
               "x-amz-meta-Colour": "dark green", "x-amz-acl": "private", "x-amz-storage-class": "STANDARD"}
        self.assertEqual(self.presigned("PUT", "/bucket/js", put)[0], 200)
        status, body, headers = self.presigned("GET", "/bucket/js", {"x-amz-checksum-mode": "ENABLED", "x-id": "GetObject"})
        self.assertEqual((status, body, headers["x-amz-meta-colour"]), (200, b"the body", "dark green"))
        self.assertEqual(self.presigned("PUT", "/bucket/js2", {"x-amz-copy-source": "/bucket/js", "X-Amz-Meta-A": "b"})[0], 200)
        self.assertEqual(self.s3.get_object(Bucket="bucket", Key="js2")["Body"].read(), b"the body")
        for params, headers, want in (({"x-amz-acl": "public-read"}, {}, 400), ({"x-amz-tagging": "a&a"}, {}, 400),
                                      ({"x-amz-object-lock-mode": "GOVERNANCE"}, {}, 400), ({"x-amz-new": "1"}, {}, 501),
                                      ({"X-Amz-Security-Token": "t"}, {}, 400), ({"tagging": ""}, {}, 400),
                                      ({"X-Amz-Content-Sha256": "0" * 64}, {}, 400)):
            self.assertEqual(self.presigned("PUT", "/bucket/js3", params, headers)[0], want, params)
        # The hash of the body counts in any spelling: in all but one the body was not looked at.
        for name in ("X-Amz-Content-Sha256", "x-amz-content-sha256", "X-Amz-Content-SHA256", "X-AMZ-CONTENT-SHA256"):
            other, own = (hashlib.sha256(b).hexdigest() for b in (b"other", b"the body"))
            status, body, _ = self.presigned("PUT", "/bucket/js3", {name: other})
            self.assertEqual((status, b"XAmzContentSHA256Mismatch" in body), (400, True), name)
            self.assertEqual(self.presigned("PUT", "/bucket/js4", {name: own})[0], 200, name)
            if name != "X-Amz-Content-Sha256":
                self.assertEqual(self.presigned("PUT", "/bucket/js3", {name: own, "X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD"})[0], 400)
        self.assertEqual(self.code(self.s3.head_object, Bucket="bucket", Key="js3")[1], 404)

    def test_signed_payloads_are_verified_before_commit(self):
        good = hashlib.sha256(b"body").hexdigest()
        self.assertEqual(self.request("PUT", "/bucket/sp", body=b"body", payload_hash=good)[0], 200)
        status, body, _ = self.request("PUT", "/bucket/sp", body=b"evil", payload_hash=good)
        self.assertEqual((status, b"XAmzContentSHA256Mismatch" in body), (400, True))
        self.assertEqual(self.s3.get_object(Bucket="bucket", Key="sp")["Body"].read(), b"body")

    def test_declared_checksums_are_verified_before_commit(self):
        data = os.urandom(100000)
        for name, value in (("crc32", base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()),
                            ("sha1", base64.b64encode(hashlib.sha1(data).digest()).decode()),
                            ("sha256", base64.b64encode(hashlib.sha256(data).digest()).decode())):
            self.assertEqual(self.request("PUT", "/bucket/ck", headers={"x-amz-checksum-" + name: value}, body=data)[0], 200)
            _, _, headers = self.request("GET", "/bucket/ck", headers={"x-amz-checksum-mode": "ENABLED"})
            self.assertEqual(headers["x-amz-checksum-" + name], value)
            self.assertEqual(self.request("PUT", "/bucket/ck2", headers={"x-amz-checksum-" + name: value}, body=data[1:])[0], 400)
        for name, value in (("crc32c", "4waSgw=="), ("crc64nvme", "rosUhgp5mIg=")):  # of "123456789"
            self.assertEqual(self.request("PUT", "/bucket/ck", headers={"x-amz-checksum-" + name: value}, body=b"123456789")[0], 200)
            self.assertEqual(self.request("PUT", "/bucket/ck2", headers={"x-amz-checksum-" + name: value}, body=b"123456780")[0], 400)
        md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
        self.assertEqual(self.request("PUT", "/bucket/ck", headers={"content-md5": md5}, body=data)[0], 200)
        self.assertEqual(self.request("PUT", "/bucket/ck2", headers={"content-md5": md5}, body=b"x")[0], 400)
        self.assertEqual(self.code(self.s3.head_object, Bucket="bucket", Key="ck2")[1], 404)

    def chunked(self, path, data, mode, tamper=None, trailer=None, sizes=(65536, 100, 8192), announced=True):
        headers = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(len(data))}
        if trailer and announced:
            headers["x-amz-trailer"] = trailer[0]
        h, key, scope, stamp, previous = signed("PUT", self.server.http, path, headers=headers, payload_hash=mode)
        sign = lambda text: hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        empty = hashlib.sha256(b"").hexdigest()
        body, at, i = b"", 0, 0
        while True:
            part = data[at:at + sizes[i % len(sizes)]]
            at, i = at + len(part), i + 1
            if mode.startswith("STREAMING-AWS4"):
                previous = sign("\n".join(["AWS4-HMAC-SHA256-PAYLOAD", stamp, scope, previous, empty,
                                           hashlib.sha256(part).hexdigest()]))
                body += b"%x;chunk-signature=%s\r\n" % (len(part), previous.encode())
            else:
                body += b"%x\r\n" % len(part)
            if not part:
                break
            body += part + b"\r\n"
        if trailer:
            line = "%s:%s\n" % trailer
            body += line.encode().strip() + b"\r\n"
            if mode == "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER":
                body += b"x-amz-trailer-signature:%s\r\n" % sign("\n".join(
                    ["AWS4-HMAC-SHA256-TRAILER", stamp, scope, previous, hashlib.sha256(line.encode()).hexdigest()])).encode()
        body += b"\r\n"
        if tamper is not None:
            body = tamper(body)
        req = urllib.request.Request("http://127.0.0.1:%d%s" % (self.server.http, path), data=body, method="PUT", headers=h)
        try:
            return urllib.request.urlopen(req, timeout=PATIENCE).status
        except urllib.error.HTTPError as e:
            return e.code

    def test_chunked_payloads_signed_and_unsigned_with_trailers(self):
        data = os.urandom(200000)
        crc = ("x-amz-checksum-crc32", base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode())
        wrong = (crc[0], base64.b64encode(b"abcd").decode())
        signed_mode, with_trailer = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
        unsigned = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
        for mode, trailer in ((signed_mode, None), (with_trailer, crc), (unsigned, crc)):
            self.assertEqual(self.chunked("/bucket/ch", data, mode, trailer=trailer), 200)
            self.assertEqual(self.s3.get_object(Bucket="bucket", Key="ch")["Body"].read(), data)
            self.assertNotIn("ContentEncoding", self.s3.head_object(Bucket="bucket", Key="ch"))
        flip = lambda b: b[:5000] + bytes([b[5000] ^ 1]) + b[5001:]
        for mode, trailer, tamper in ((signed_mode, None, flip), (with_trailer, crc, flip), (unsigned, crc, flip),
                                      (unsigned, wrong, None), (with_trailer, wrong, None)):
            self.assertIn(self.chunked("/bucket/ch2", data, mode, tamper, trailer), (400, 403))
        for more in (b"x", b"\r\n", b"0\r\n\r\n", b"more" * 5000):  # after the end
            for mode, trailer in ((signed_mode, None), (with_trailer, crc), (unsigned, crc)):
                self.assertEqual(self.chunked("/bucket/ch2", data, mode, lambda b: b + more, trailer), 400)
        line = ("%s:%s\r\n" % crc).encode()
        self.assertEqual(self.chunked("/bucket/ch2", data, unsigned, lambda b: b.replace(line, line * 2), crc), 400)
        for trailer in (crc, ("x-amz-meta-a", "b")):
            self.assertEqual(self.chunked("/bucket/ch2", data, unsigned, None, trailer, announced=False), 400)
        self.assertEqual(self.code(self.s3.head_object, Bucket="bucket", Key="ch2")[1], 404)

    def test_virtual_host_style(self):
        h, *_ = signed("PUT", self.server.http, "/vh", headers={"host": "bucket.localhost:%d" % self.server.http})
        request = "PUT /vh HTTP/1.1\r\ncontent-length: 2\r\n" + "".join("%s: %s\r\n" % kv for kv in h.items()) + "\r\nhi"
        self.assertIn(b"200 OK", raw(self.server.http, request.encode()))
        self.assertEqual(self.s3.get_object(Bucket="bucket", Key="vh")["Body"].read(), b"hi")

    # It went to the administration, which has no such thing.
    def test_keys_that_begin_as_the_administration_does(self):
        for key in ("-/", "-/x", "-/health/live", "-/metrics"):
            self.s3.put_object(Bucket="bucket", Key=key, Body=key.encode())
            host = {"host": "bucket.localhost:%d" % self.server.http}
            for method, body in (("GET", key.encode()), ("PUT", b"")):
                h, *_ = signed(method, self.server.http, "/" + key, headers=host)
                answer = raw(self.server.http, ("%s /%s HTTP/1.1\r\ncontent-length: 0\r\nconnection: close\r\n" % (method, key) +
                                                "".join("%s: %s\r\n" % kv for kv in h.items()) + "\r\n").encode())
                self.assertTrue(answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n\r\n" + body), (key, answer))
            self.assertEqual(self.s3.get_object(Bucket="bucket", Key=key)["Body"].read(), b"")
        self.assertEqual(raw(self.server.http, b"GET /-/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")[9:12], b"200")

    # The other doors make keys that are longer than S3's: a listing stopped at them.
    def test_a_listing_goes_on_behind_a_long_key(self):
        redis = self.server.redis(db=9)
        keys = ["k%d%s" % (i, "y\u00e9+/" * n) for i, n in enumerate((0, 600, 614, 615, 620, 1000, 1500, 2000))]
        for key in keys:
            redis.set(key, "v")
        for size in (1, 3):
            listed, more = [], {}
            while True:
                page = self.s3.list_objects_v2(Bucket="db9", MaxKeys=size, **more)
                listed += [o["Key"] for o in page["Contents"]]
                if not page["IsTruncated"]:
                    break
                more = dict(ContinuationToken=page["NextContinuationToken"])
            self.assertEqual(listed, keys)

    # One without bytes had no range, and was not found.
    def test_parts_by_their_number(self):
        for sizes in ((0,), (5 << 20, 0), (5 << 20, 7), (3,)):
            upload = self.s3.create_multipart_upload(Bucket="bucket", Key="numbered")["UploadId"]
            bodies = [os.urandom(n) for n in sizes]
            parts = [{"PartNumber": i + 1, "ETag": self.s3.upload_part(
                Bucket="bucket", Key="numbered", UploadId=upload, PartNumber=i + 1, Body=body)["ETag"]} for i, body in enumerate(bodies)]
            self.s3.complete_multipart_upload(Bucket="bucket", Key="numbered", UploadId=upload, MultipartUpload={"Parts": parts})
            for i, body in enumerate(bodies):
                for call in (self.s3.get_object, self.s3.head_object):
                    got = call(Bucket="bucket", Key="numbered", PartNumber=i + 1)
                    self.assertEqual((got["ContentLength"], got["PartsCount"]), (len(body), len(sizes)))
                    self.assertEqual(got["ResponseMetadata"]["HTTPStatusCode"], 206 if sum(sizes) else 200)
                    if "Body" in got:
                        self.assertEqual(got["Body"].read(), body)
            self.assertEqual(self.code(self.s3.get_object, Bucket="bucket", Key="numbered", PartNumber=len(sizes) + 1)[1], 416)

    def test_a_copied_part_is_the_range_or_nothing(self):
        upload = self.s3.create_multipart_upload(Bucket="bucket", Key="ranged")["UploadId"]
        stop, sizes = threading.Event(), (10, 5)
        self.s3.put_object(Bucket="bucket", Key="changing", Body=b"x" * 10)

        def change():
            s3 = self.server.s3()
            while not stop.is_set():
                for n in sizes:
                    s3.put_object(Bucket="bucket", Key="changing", Body=b"x" * n)
        thread = threading.Thread(target=change)
        thread.start()
        try:
            for _ in range(100):
                try:
                    self.s3.upload_part_copy(Bucket="bucket", Key="ranged", UploadId=upload, PartNumber=1,
                                             CopySource="bucket/changing", CopySourceRange="bytes=0-9")
                except ClientError as e:
                    self.assertIn(e.response["Error"]["Code"], ("InvalidArgument", "InvalidRange"))
                    continue
                self.assertEqual([p["Size"] for p in self.s3.list_parts(Bucket="bucket", Key="ranged", UploadId=upload)["Parts"]], [10])
        finally:
            stop.set()
            thread.join()
        self.s3.abort_multipart_upload(Bucket="bucket", Key="ranged", UploadId=upload)

    def test_who_drips_a_header_is_sent_away(self):
        with socket.create_connection(("127.0.0.1", self.server.http)) as s:
            s.sendall(b"GET /-/health/live HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nX: ")  # the second one drips
            s.settimeout(0.2)
            for _ in range(5 * PATIENCE):
                try:
                    s.sendall(b"x")
                    if s.recv(4096) == b"":
                        return
                except socket.timeout:
                    pass
                except OSError:
                    return
        self.fail("it may drip for ever")

    def test_bad_requests_get_an_answer_and_no_harm(self):
        for data, want in [(b"GARBAGE\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\nX: " + b"a" * 20000 + b"\r\n\r\n", b"431"),
                           (b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
                           (b"GET /-/health/ready HTTP/1.1\r\nHost: x\r\n\r\n", b"200"),
                           (b"PUT /a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400")]:
            self.assertIn(want, raw(self.server.http, data).split(b"\r\n")[0], data[:40])
        for body in (b"<Delete>", b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]><Delete>&a;</Delete>", b"<Delete/>", b""):
            digest = {"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()}
            self.assertEqual(self.request("POST", "/bucket", "delete=", digest, body=body)[0], 400)
        status, body, _ = self.request("PUT", "/bucket/short", headers={}, body=b"")
        self.assertEqual(status, 200)


class Memory(unittest.TestCase):
    def test_a_large_upload_and_download_stay_small_in_memory(self):
        server = Server(threads=1)
        try:
            s3 = server.s3()
            s3.create_bucket(Bucket="large")
            base = resident(server)
            size, block = 400 << 20, os.urandom(1 << 20)
            digest = hashlib.sha256()

            class Source(io.RawIOBase):
                left, top = size, 0
                def read(self, n=-1):
                    n = min(len(block), self.left if n < 0 else n, self.left)
                    self.left -= n
                    Source.top = max(Source.top, resident(server))
                    digest.update(block[:n])
                    return block[:n]
            h, *_ = signed("PUT", server.http, "/large/o", headers={})
            import http.client
            c = http.client.HTTPConnection("127.0.0.1", server.http)
            c.putrequest("PUT", "/large/o", skip_host=True)
            for k, v in h.items():
                c.putheader(k, v)
            c.putheader("content-length", str(size))
            c.endheaders()
            source = Source()
            while source.left:
                c.send(source.read(1 << 20))
            self.assertEqual(c.getresponse().status, 200)
            got, top = hashlib.sha256(), 0
            body = s3.get_object(Bucket="large", Key="o")["Body"]
            while True:
                part = body.read(1 << 20)
                if not part:
                    break
                got.update(part)
                top = max(top, resident(server))
            self.assertEqual(got.digest(), digest.digest())
            self.assertLess(max(top, Source.top) - base, 64 << 20)
        finally:
            server.remove()


if __name__ == "__main__":
    unittest.main()
