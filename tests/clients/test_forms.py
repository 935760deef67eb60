"""Uploads from HTML forms (POST Object), as boto3 makes the forms and as browsers send them; signature
version 2 beside it, since forms and URLs of older clients have it."""
import base64
import datetime
import email.utils
import hashlib
import hmac
import http.client
import json
import os
import re
import time
import unittest
import urllib.parse
import xml.etree.ElementTree
import zlib

import boto3
from botocore.config import Config

from harness import PASSWORD, USER, wait_until
from test_http import Calls

# The conditions on what a form is signed with.
OF_SIGNATURE = "".join('["starts-with", "$%s", ""], ' % name for name in ("x-amz-algorithm", "x-amz-credential", "x-amz-date"))
BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"


def multipart(fields, file=b"", name="a.jpg", boundary=BOUNDARY, after=b""):
    parts = ["--%s\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n" % (boundary, k, v) for k, v in fields]
    text = "".join(parts).encode()
    if file is not None:
        text += ("--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=\"%s\"\r\nContent-Type: image/jpeg\r\n\r\n"
                 % (boundary, name)).encode() + file + b"\r\n" + after
    return text + ("--%s--\r\n" % boundary).encode()


class Forms(Calls):
    def post(self, fields, file=b"data", path="/bucket", headers=None, name="a.jpg", after=b""):
        self.connection.close()
        body = multipart(fields, file, name, after=after)
        self.connection.request("POST", path, body, {"Content-Type": "multipart/form-data; boundary=" + BOUNDARY, **(headers or {})})
        r = self.connection.getresponse()
        return r.status, r.read(), r.headers

    def form(self, key="key", conditions=(), fields=None, more=None, expires=60):
        """As boto3 signs it: conditions beside those of its own, fields as sent."""
        made = self.s3.generate_presigned_post("bucket", key, Fields=dict(fields or {}), Conditions=list(conditions), ExpiresIn=expires)
        return list({**made["fields"], **(more or {})}.items())

    def get(self, key="key"):
        got = self.s3.get_object(Bucket="bucket", Key=key)
        return got["Body"].read(), got

    def error(self, answer):
        found = re.search(rb"<Message>([^<]*)</Message>", answer[1])
        return self.code(answer) + (found.group(1).decode().replace("&quot;", '"') if found else "",)

    def test_what_a_browser_uploads_is_there(self):
        for size in (0, 1, 70000, 9 << 20):
            data = os.urandom(size)
            answer = self.post(self.form(), data)
            self.assertEqual((answer[0], answer[1], answer[2]["ETag"]), (204, b"", '"%s"' % hashlib.md5(data).hexdigest()))
            self.assertEqual(answer[2]["Location"], "http://127.0.0.1:%d/bucket/key" % self.server.http)
            self.assertEqual(self.get()[0], data)
        tricky = ("\r\n--%s" % BOUNDARY).encode()[:-1] + b"\r\n--\r\n" * 5
        self.assertEqual(self.post(self.form(), tricky)[0], 204)
        self.assertEqual(self.get()[0], tricky)

    def test_fields_are_what_headers_of_a_put_are(self):
        fields = {"Content-Type": "image/x", "Cache-Control": "no-cache", "Content-Disposition": "attachment", "Content-Encoding": "x",
                  "Expires": "Thu, 01 Jan 2099 00:00:00 GMT", "acl": "private", "x-amz-meta-color": "red", "x-amz-storage-class": "STANDARD",
                  "x-amz-checksum-crc32": base64.b64encode(zlib.crc32(b"data").to_bytes(4, "big")).decode(),
                  "tagging": "<Tagging><TagSet><Tag><Key>a b</Key><Value>c&amp;d</Value></Tag></TagSet></Tagging>".replace("&amp;", "/")}
        answer = self.post(self.form("dir/${filename}", [{k: v} for k, v in fields.items()], more={**fields, "x-ignore-me": "1"}),
                           b"data", name="C:\\\\photos\\\\b c.jpg")
        self.assertEqual(answer[0], 204, answer[1])
        body, got = self.get("dir/b c.jpg")
        self.assertEqual((body, got["ContentType"], got["CacheControl"], got["ContentDisposition"], got["ContentEncoding"], got["Metadata"],
                          got["TagCount"]), (b"data", "image/x", "no-cache", "attachment", "x", {"color": "red"}, 1))
        self.assertEqual(self.s3.get_object_tagging(Bucket="bucket", Key="dir/b c.jpg")["TagSet"], [{"Key": "a b", "Value": "c/d"}])
        for name, value, want in (("x-amz-checksum-crc32", "AAAAAA==", (400, "BadDigest")), ("acl", "public-read", (400, "AccessControlListNotSupported")),
                                  ("x-amz-server-side-encryption", "aws:kms:dsse", (501, "NotImplemented")), ("x-amz-security-token", "t", (400, "InvalidToken")),
                                  ("x-amz-meta-a", "b\r\nc", (400, "InvalidArgument")), ("tagging", "<Tagging/>", (400, "MalformedXML"))):
            form = self.form("refused", [{name: value}] if "\r" not in value else [["starts-with", "$" + name, ""]], more={name: value})
            self.assertEqual(self.code(self.post(form)), want, name)
        self.assertNotIn("refused", [o["Key"] for o in self.s3.list_objects_v2(Bucket="bucket").get("Contents", [])])

    def test_a_policy_is_kept_to_the_letter(self):
        for conditions, more, message in (
                ([], {"x-amz-meta-a": "b"}, "Extra input fields: x-amz-meta-a"), ([{"acl": "private"}], {}, 'Policy Condition failed: ["eq", "$acl", "private"]'),
                ([["starts-with", "$Content-Type", "image/"]], {"Content-Type": "text/html"},
                 'Policy Condition failed: ["starts-with", "$content-type", "image/"]'),
                ([["eq", "$bucket", "other"]], {}, 'Policy Condition failed: ["eq", "$bucket", "other"]')):
            self.assertEqual(self.error(self.post(self.form("kept", conditions, more=more))),
                             (403, "AccessDenied", "Invalid according to Policy: " + message))
        policy = '{"expiration": "2099-12-01T12:00:00.000Z", "conditions": [["starts-with", "$key", ""]]}'
        self.assertEqual(self.error(self.post(self.policy_form(policy, "kept"))),
                         (403, "AccessDenied", "Invalid according to Policy: Extra input fields: bucket, x-amz-algorithm, x-amz-credential, x-amz-date"))
        form = self.form("kept")
        self.assertEqual(self.error(self.post([(k, "other" if k == "key" else v) for k, v in form]))[:2], (403, "AccessDenied"))
        self.assertEqual(self.code(self.post(self.form("kept", [["content-length-range", 5, 10]]), b"1234")), (400, "EntityTooSmall"))
        answer = self.post(self.form("kept", [["content-length-range", 5, 10]]), b"12345678901")
        self.assertEqual(self.code(answer), (400, "EntityTooLarge"))
        self.assertIn(b"<MaxSizeAllowed>10</MaxSizeAllowed>", answer[1])
        self.assertEqual(self.code(self.post(self.form("kept", [["content-length-range", 0, 1000]]), os.urandom(9 << 20)))[1], "EntityTooLarge")
        self.assertEqual(self.error(self.post(self.form("kept", expires=-5))), (403, "AccessDenied", "Invalid according to Policy: Policy expired."))
        # Only what was signed counts.
        for name, change in (("x-amz-signature", lambda v: "0" * 64), ("policy", lambda v: v[:-8] + "AAAA" + v[-4:]),
                             ("x-amz-credential", lambda v: v.replace("us-east-1", "us-east-2"))):
            answer = self.code(self.post([(k, change(v) if k == name else v) for k, v in form]))
            self.assertIn(answer[0], (400, 403), name)
        self.assertEqual(self.code(self.post([(k, "nobody" + v if k == "x-amz-credential" else v) for k, v in form])), (403, "InvalidAccessKeyId"))
        self.assertEqual(self.code(self.post([("key", "kept")])), (403, "AccessDenied"))
        self.assertEqual(self.error(self.post([(k, v) for k, v in form if k != "x-amz-date"])),
                         (400, "InvalidArgument", "Bucket POST must contain a field named 'X-Amz-Date'.  If it is specified, please check the order of the fields."))
        self.assertNotIn("kept", [o["Key"] for o in self.s3.list_objects_v2(Bucket="bucket").get("Contents", [])])
        self.assertEqual(self.post(form)[0], 204)

    def test_a_form_that_is_none_is_refused(self):
        form = self.form("none")
        self.assertEqual(self.error(self.post([(k, v) for k, v in form if k != "key"])),
                         (400, "InvalidArgument", "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields."))
        self.assertEqual(self.error(self.post(form, None)), (400, "InvalidArgument", "POST requires exactly one file upload per request."))
        self.assertEqual(self.code(self.post(form + [("x-amz-meta-a", "x" * (20 << 10))])), (400, "MaxPostPreDataLengthExceededError"))
        self.assertEqual(self.code(self.post(form, path="/nowhere")), (403, "AccessDenied"))  # the policy is for another bucket
        made = self.s3.generate_presigned_post("nowhere", "none")["fields"]
        self.assertEqual(self.code(self.post(list(made.items()), path="/nowhere")), (404, "NoSuchBucket"))
        self.assertEqual(self.code(self.post(form, path="/bucket?later")), (501, "NotImplemented"))
        for headers, body, want in (({"Content-Type": "multipart/form-data"}, b"", (400, "MalformedPOSTRequest")),
                                    ({"Content-Type": "multipart/form-data; boundary=a"}, b"--b", (400, "MalformedPOSTRequest"))):
            self.connection.close()
            self.connection.request("POST", "/bucket", body, headers)
            r = self.connection.getresponse()
            self.assertEqual(self.code((r.status, r.read())), want)
        answer = self.call("POST", "/bucket")
        self.assertEqual(self.code(answer), (412, "PreconditionFailed"))
        self.assertIn(b"<Condition>Bucket POST must be of the enclosure-type multipart/form-data</Condition>", answer[1])
        # What comes behind the file is not looked at.
        late = "--%s\r\nContent-Disposition: form-data; name=\"x-amz-meta-late\"\r\n\r\n1\r\n" % BOUNDARY
        self.assertEqual(self.post(self.form("late"), b"data", after=late.encode())[0], 204)
        self.assertEqual(self.get("late")[1]["Metadata"], {})
        # Half a file is none.
        body = multipart(self.form("half"), b"x" * 100000)[:-200]
        answer = self.raw_post(body)
        self.assertNotIn(b" 204 ", answer)
        self.assertNotIn("half", [o["Key"] for o in self.s3.list_objects_v2(Bucket="bucket").get("Contents", [])])

    def policy_form(self, text, key="written"):
        """A form under a policy as it is written here, signed by hand."""
        fields = dict(self.form(key))
        policy = base64.b64encode(text.encode()).decode()
        sign = lambda k, x: hmac.new(k, x.encode(), hashlib.sha256).digest()
        secret = b"AWS4" + PASSWORD.encode()
        for part in fields["x-amz-credential"].split("/")[1:]:
            secret = sign(secret, part)
        return list({**fields, "policy": policy, "x-amz-signature": sign(secret, policy).hex()}.items())

    def test_a_policy_is_read_as_the_documentation_writes_it(self):
        head = '{ "expiration": "2099-12-01T12:00:00.000Z", "conditions": [ {"bucket": "bucket"}, ' + OF_SIGNATURE
        self.assertEqual(self.post(self.policy_form(head + '["starts-with", "$key", "writ"], ] }'))[0], 204)  # a comma too many
        self.assertEqual(self.code(self.post(self.policy_form(head + '["starts-with", "\\$key", "other"]]}'))), (403, "AccessDenied"))
        for stamp in ("infinite-future", "infinite-past", "soon"):
            answer = self.post(self.policy_form('{"expiration": "%s", "conditions": []}' % stamp))
            self.assertEqual(self.code(answer), (400, "InvalidPolicyDocument"), stamp)

    def test_fields_are_honoured_or_refused(self):
        form = lambda key, **more: self.form(key, [["starts-with", "$" + name.replace("_", "-"), ""] for name in more],
                                             more={name.replace("_", "-"): value for name, value in more.items()})
        self.assertEqual(self.post(form("ttl", x_cairn_ttl="1000"))[0], 204)
        self.assertIn("x-cairn-expires-ms", self.get("ttl")[1]["ResponseMetadata"]["HTTPHeaders"])
        md5 = base64.b64encode(hashlib.md5(b"data").digest()).decode()
        self.assertEqual(self.post(form("md5", content_md5=md5))[0], 204)
        self.assertEqual(self.code(self.post(form("md5", content_md5=md5), b"other")), (400, "BadDigest"))
        for name in ("if_none_match", "x_amz_content_sha256"):
            self.assertEqual(self.code(self.post(form("no", **{name: "*"}))), (501, "NotImplemented"), name)
        # The name of the file, nine hundred times.
        long = form("no", x_amz_meta_a="${filename}" * 900)
        self.assertEqual(self.code(self.post(long, name="x" * 8000)), (400, "MaxPostPreDataLengthExceededError"))
        # Only the file has a file's name.
        body = multipart(self.form("${filename}", [["starts-with", "$key", ""]]), b"data").replace(b'name="key"', b'name="key"; filename="other"')
        self.assertIn(b"204 ", self.raw_post(body))
        self.assertEqual(self.get("a.jpg")[0], b"data")

    def raw_post(self, body):
        self.connection.close()
        self.connection.request("POST", "/bucket", body, {"Content-Type": "multipart/form-data; boundary=" + BOUNDARY})
        r = self.connection.getresponse()
        return ("%d " % r.status).encode() + r.read()

    def test_what_a_form_wants_to_hear(self):
        etag = '"%s"' % hashlib.md5(b"data").hexdigest()
        location = "http://127.0.0.1:%d/bucket/a%%20b/c" % self.server.http
        for status, want in (("200", 200), ("201", 201), ("204", 204), ("299", 204), ("", 204)):
            answer = self.post(self.form("a b/c", [{"success_action_status": status}], more={"success_action_status": status}))
            self.assertEqual((answer[0], answer[2]["Location"]), (want, location))
            if want == 201:
                self.assertEqual(re.findall(rb"<(Location|Bucket|Key|ETag)>([^<]*)<", answer[1]),
                                 [(b"Location", location.encode()), (b"Bucket", b"bucket"), (b"Key", b"a b/c"), (b"ETag", etag.replace('"', "&quot;").encode())]
                                 if b"&quot;" in answer[1] else
                                 [(b"Location", location.encode()), (b"Bucket", b"bucket"), (b"Key", b"a b/c"), (b"ETag", etag.encode())])
            else:
                self.assertEqual(answer[1], b"")
        for name, url, want in (("success_action_redirect", "http://example.org/done", "http://example.org/done?"),
                                ("redirect", "https://example.org/?a=b", "https://example.org/?a=b&")):
            answer = self.post(self.form("a b/c", [{name: url}], more={name: url}))
            self.assertEqual((answer[0], answer[2]["Location"]),
                             (303, want + "bucket=bucket&key=a%20b%2Fc&etag=" + urllib.parse.quote(etag, safe="")))
        answer = self.post(self.form("a b/c", [{"redirect": "javascript:x"}], more={"redirect": "javascript:x"}))
        self.assertEqual(answer[0], 204)
        self.s3.put_bucket_cors(Bucket="bucket", CORSConfiguration={"CORSRules": [
            {"AllowedOrigins": ["http://page"], "AllowedMethods": ["POST"], "ExposeHeaders": ["ETag"]}]})
        answer = self.post(self.form(), headers={"Origin": "http://page"})
        self.assertEqual((answer[0], answer[2]["Access-Control-Allow-Origin"]), (204, "http://page"))
        answer = self.post(self.form(), path="/", headers={"Host": "bucket.localhost:%d" % self.server.http})
        self.assertEqual((answer[0], answer[2]["Location"]), (204, "http://bucket.localhost:%d/key" % self.server.http))


class Version2(Calls):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.old = boto3.client("s3", endpoint_url="http://127.0.0.1:%d" % cls.server.http, aws_access_key_id=USER, aws_secret_access_key=PASSWORD,
                               region_name="us-east-1", config=Config(signature_version="s3", s3={"addressing_style": "path"}))

    def fetch(self, method, url, body=None, headers=None):
        parts = urllib.parse.urlparse(url)
        self.connection.request(method, parts.path + ("?" + parts.query if parts.query else ""), body, headers or {})
        r = self.connection.getresponse()
        return r.status, r.read(), r.headers

    def test_a_client_that_signs_in_this_way_does_all(self):
        """But for operations that a word of the query selects: Debian's botocore signs it twice (others: test_s3_clients.py)."""
        s3, data, key = self.old, os.urandom(100000), "dir/a b+\u00e9"
        s3.put_object(Bucket="bucket", Key=key, Body=data, ContentType="text/x", Metadata={"a": "b"}, Tagging="c=d")
        got = s3.get_object(Bucket="bucket", Key=key, ResponseContentType="text/y")
        self.assertEqual((got["Body"].read(), got["ContentType"], got["Metadata"]), (data, "text/y", {"a": "b"}))
        self.assertEqual(self.s3.get_object_tagging(Bucket="bucket", Key=key)["TagSet"], [{"Key": "c", "Value": "d"}])
        s3.copy_object(Bucket="bucket", Key="copy", CopySource={"Bucket": "bucket", "Key": key})
        self.assertEqual([o["Key"] for o in s3.list_objects(Bucket="bucket", Prefix="dir/", Delimiter="/")["Contents"]], [key])
        upload = self.s3.create_multipart_upload(Bucket="bucket", Key="parts")["UploadId"]
        part = s3.upload_part(Bucket="bucket", Key="parts", UploadId=upload, PartNumber=1, Body=data)
        s3.complete_multipart_upload(Bucket="bucket", Key="parts", UploadId=upload, MultipartUpload={"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]})
        for name in ("copy", "parts", key):
            s3.delete_object(Bucket="bucket", Key=name)
        s3.create_bucket(Bucket="second")
        s3.head_bucket(Bucket="second")
        s3.delete_bucket(Bucket="second")
        self.assertEqual(s3.list_buckets()["Buckets"][0]["Name"], "bucket")

    def test_urls_open_what_they_name_until_they_expire(self):
        self.s3.put_object(Bucket="bucket", Key="url", Body=b"value")
        url = self.old.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "url", "ResponseContentType": "text/y"}, ExpiresIn=60)
        self.assertIn("AWSAccessKeyId=", url)
        answer = self.fetch("GET", url)
        self.assertEqual((answer[:2], answer[2]["Content-Type"]), ((200, b"value"), "text/y"))
        self.assertEqual(self.code(self.fetch("PUT", url, b"x")), (403, "SignatureDoesNotMatch"))
        self.assertEqual(self.code(self.fetch("GET", url.replace("/url", "/other"))), (403, "SignatureDoesNotMatch"))
        self.assertEqual(self.code(self.fetch("GET", url + "&tagging")), (403, "SignatureDoesNotMatch"))
        self.assertEqual(self.code(self.fetch("GET", url + "&attributes")), (400, "InvalidRequest"))
        self.assertEqual(self.code(self.fetch("GET", url, headers={"x-amz-meta-a": "b"})), (403, "SignatureDoesNotMatch"))
        self.assertEqual(self.code(self.fetch("GET", re.sub(r"Expires=\d+", "Expires=9999999999", url))), (403, "SignatureDoesNotMatch"))
        old = self.old.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "url"}, ExpiresIn=-5)
        self.assertEqual(self.code(self.fetch("GET", old)), (403, "AccessDenied"))
        put = self.old.generate_presigned_url("put_object", Params={"Bucket": "bucket", "Key": "put", "ContentType": "text/z", "Metadata": {"a": "b"}})
        self.assertEqual(self.fetch("PUT", put, b"up", {"Content-Type": "text/z"})[0], 200)
        got = self.s3.get_object(Bucket="bucket", Key="put")
        self.assertEqual((got["Body"].read(), got["ContentType"], got["Metadata"]), (b"up", "text/z", {"a": "b"}))
        self.assertEqual(self.code(self.fetch("PUT", put, b"up", {"Content-Type": "text/other"})), (403, "SignatureDoesNotMatch"))

    def test_dates_of_all_forms(self):
        """As s3cmd and others write them; signed here and not by a library."""
        self.s3.put_object(Bucket="bucket", Key="date", Body=b"value")
        sign = lambda text, secret=PASSWORD: base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()
        now = time.time()
        get = lambda **h: self.fetch("GET", "/bucket/date", headers={k.replace("_", "-"): v for k, v in h.items()})
        for date in (email.utils.formatdate(now, usegmt=True), email.utils.formatdate(now)):
            date = date.replace("-0000", "+0000")
            auth = "AWS %s:%s" % (USER, sign("GET\n\n\n%s\n/bucket/date" % date))
            self.assertEqual(get(Date=date, Authorization=auth)[:2], (200, b"value"))
            auth = "AWS %s:%s" % (USER, sign("GET\n\n\n\nx-amz-date:%s\n/bucket/date" % date))
            self.assertEqual(get(x_amz_date=date, Authorization=auth)[:2], (200, b"value"))
            self.assertEqual(self.code(get(x_amz_date=date, Authorization=auth[:-4] + "AAA=")), (403, "SignatureDoesNotMatch"))
        late = email.utils.formatdate(now - 1000, usegmt=True)
        auth = "AWS %s:%s" % (USER, sign("GET\n\n\n%s\n/bucket/date" % late))
        self.assertEqual(self.code(get(Date=late, Authorization=auth)), (403, "RequestTimeTooSkewed"))
        self.assertEqual(self.code(get(Authorization=auth)), (403, "AccessDenied"))
        for date_of_no_time in ("infinite-future", "infinite-past", "Tue, 07 Jul 1950 21:53:04 GMT"):
            self.assertEqual(self.code(get(Date=date_of_no_time, Authorization=auth)), (403, "AccessDenied"))
        auth = "AWS nobody:%s" % sign("GET\n\n\n%s\n/bucket/date" % date)
        self.assertEqual(self.code(get(Date=date, Authorization=auth)), (403, "InvalidAccessKeyId"))

    def test_a_form_of_this_version(self):
        policy = base64.b64encode(json.dumps({
            "expiration": (datetime.datetime.utcnow() + datetime.timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "conditions": [{"bucket": "bucket"}, ["starts-with", "$key", "v2/"]]}).encode()).decode()
        signature = base64.b64encode(hmac.new(PASSWORD.encode(), policy.encode(), hashlib.sha1).digest()).decode()
        fields = [("key", "v2/${filename}"), ("AWSAccessKeyId", USER), ("Policy", policy), ("Signature", signature)]
        post = lambda f: self.fetch("POST", "/bucket", multipart(f, b"data"), {"Content-Type": "multipart/form-data; boundary=" + BOUNDARY})
        self.assertEqual(post(fields)[0], 204)
        self.assertEqual(self.s3.get_object(Bucket="bucket", Key="v2/a.jpg")["Body"].read(), b"data")
        self.connection.close()
        self.assertEqual(self.code(post(fields[:3] + [("Signature", "AAAA")])), (403, "SignatureDoesNotMatch"))

    # ---- what refusals say, in either version ----

    def fields(self, answer, code):
        self.assertEqual(self.code(answer), (403, code))
        return {e.tag: e.text or "" for e in xml.etree.ElementTree.fromstring(answer[1]) if e.tag not in ("Code", "Message", "Resource", "RequestId")}

    def test_refusals_say_what_was_to_be_signed(self):
        """By which the one who signed finds his mistake."""
        ours, date = {}, email.utils.formatdate(usegmt=True)
        for version, answer in ((2, self.fetch("GET", "/bucket/refused?tagging&prefix=x", headers={"Date": date, "Authorization": "AWS %s:AAAA" % USER})),
                                (4, self.call("GET", "/bucket/refused", "tagging", secret="wrong-password"))):
            got = ours[version] = self.fields(answer, "SignatureDoesNotMatch")
            self.assertEqual(got["AWSAccessKeyId"], USER)
            for name in ["StringToSign"] + ["CanonicalRequest"] * (version == 4):
                self.assertEqual(bytes.fromhex(got[name + "Bytes"]).decode(), got[name])
        self.assertEqual((ours[2]["StringToSign"], ours[2]["SignatureProvided"]), ("GET\n\n\n%s\n/bucket/refused?tagging" % date, "AAAA"))
        self.assertTrue(ours[4]["CanonicalRequest"].startswith("GET\n/bucket/refused\ntagging=\nhost:"))
        self.assertTrue(ours[4]["StringToSign"].endswith(hashlib.sha256(ours[4]["CanonicalRequest"].encode()).hexdigest()))
        late = datetime.datetime.utcnow() - datetime.timedelta(hours=1)
        for answer in (self.call("GET", "/bucket", now=late),
                       self.fetch("GET", "/bucket", headers={"Date": email.utils.formatdate(time.time() - 3600), "Authorization": "AWS %s:AAAA" % USER})):
            got = self.fields(answer, "RequestTimeTooSkewed")
            self.assertEqual((set(got), got["MaxAllowedSkewMilliseconds"]), ({"RequestTime", "ServerTime", "MaxAllowedSkewMilliseconds"}, "900000"))
        for client, want in ((self.s3, {"X-Amz-Expires", "Expires", "ServerTime"}), (self.old, {"Expires", "ServerTime"})):
            url = client.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "k"}, ExpiresIn=1 if client is self.s3 else -5)
            wait_until(lambda: self.fetch("GET", url)[0] == 403)
            got = self.fields(self.fetch("GET", url), "AccessDenied")
            self.assertEqual(set(got), want)
            self.assertLessEqual(got["Expires"], got["ServerTime"])
        self.assertEqual(self.fields(self.fetch("GET", "/bucket", headers={"Date": date, "Authorization": "AWS nobody:AAAA"}), "InvalidAccessKeyId"),
                         {"AWSAccessKeyId": "nobody"})


if __name__ == "__main__":
    unittest.main()
