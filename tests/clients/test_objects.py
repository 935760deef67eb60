"""What S3 says and does about one object: checksums of every kind, conditions on every verb, parts, appending,
renaming, times to live, and errors with what AWS puts beside their code."""
import base64
import ctypes
import datetime
import hashlib
import http.client
import itertools
import os
import re
import socket
import threading
import unittest
import urllib.parse
import zlib

from harness import Case, Server, wait_until
from test_http import Calls
from test_s3 import signed


def reflected_crc(polynomial, bits):
    """A CRC as S3 uses them, inverted before and after."""
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (polynomial if n & 1 else 0)
        table.append(n)

    def digest(data):
        crc = (1 << bits) - 1
        for byte in data:
            crc = table[(crc ^ byte) & 255] ^ crc >> 8
        return (crc ^ (1 << bits) - 1).to_bytes(bits // 8, "big")
    return digest


class Wide(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


XXHASH = ctypes.CDLL("libxxhash.so.0")
XXHASH.XXH64.restype = XXHASH.XXH3_64bits.restype = ctypes.c_uint64
XXHASH.XXH64.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
XXHASH.XXH3_64bits.argtypes = XXHASH.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
XXHASH.XXH3_128bits.restype = Wide


def xxhash128(data):
    wide = XXHASH.XXH3_128bits(data, len(data))
    return wide.high.to_bytes(8, "big") + wide.low.to_bytes(8, "big")


DIGESTS = {
    "CRC32": lambda b: zlib.crc32(b).to_bytes(4, "big"), "CRC32C": reflected_crc(0x82f63b78, 32),
    "CRC64NVME": reflected_crc(0x9a6c9329ac4bc9b5, 64), "SHA1": lambda b: hashlib.sha1(b).digest(),
    "SHA256": lambda b: hashlib.sha256(b).digest(), "SHA512": lambda b: hashlib.sha512(b).digest(),
    "MD5": lambda b: hashlib.md5(b).digest(), "XXHASH64": lambda b: XXHASH.XXH64(b, len(b), 0).to_bytes(8, "big"),
    "XXHASH3": lambda b: XXHASH.XXH3_64bits(b, len(b)).to_bytes(8, "big"), "XXHASH128": xxhash128}
CRCS = ("CRC32", "CRC32C", "CRC64NVME")
TYPES = [(a, t) for a in DIGESTS for t in ("FULL_OBJECT", "COMPOSITE")
         if (t == "FULL_OBJECT") <= (a in CRCS) and (t == "COMPOSITE") <= (a != "CRC64NVME")]


def text(raw):
    return base64.b64encode(raw).decode()


class Objects(Calls):
    buckets = ("bucket", "listed")

    def ask(self, method, path, query="", headers=None, body=b"", **kwargs):
        """What Calls.call() sends, and the answer's status, elements of its XML, and headers."""
        status, xml, headers = self.call(method, path, query, headers, body, **kwargs)
        xml = re.sub(r"<([\w-]+) ?/>", r"<\1></\1>", xml.decode("utf-8", "replace"))
        return status, dict(re.findall(r"<([\w-]+)>([^<]*)</\1>", xml)), headers

    def refused(self, want, method, path, query="", headers=None, body=b"", **fields):
        """The request is refused with this (status, code) and these elements."""
        status, error, _ = self.ask(method, path, query, headers, body)
        self.assertEqual((status, error.get("Code")), want, error)
        self.assertEqual({k: v for k, v in error.items() if k.replace("-", "_") in fields},
                         {k.replace("_", "-"): str(v) for k, v in fields.items()})
        return error

    def put(self, key, body=b"value", **headers):
        answer = self.call("PUT", "/bucket/" + key, "", {k.replace("_", "-"): v for k, v in headers.items()}, body)
        self.assertEqual(answer[0], 200, answer[1])
        return answer[2]

    def get(self, key, query="", **headers):
        return self.call("GET", "/bucket/" + key, query, {k.replace("_", "-"): v for k, v in headers.items()})

    # ---- checksums ----

    def upload(self, key, parts, algorithm=None, kind=None, more={}, bucket="bucket"):
        """Uploads in parts, each with its checksum: the id, and the parts as a completion names them."""
        headers = dict(more)
        if algorithm:
            headers.update({"x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": kind})
        status, xml, answer = self.call("POST", "/%s/%s" % (bucket, key), "uploads=", headers)
        self.assertEqual(status, 200, xml)
        if algorithm:
            self.assertEqual((answer["x-amz-checksum-algorithm"], answer["x-amz-checksum-type"]), (algorithm, kind))
        upload = re.search(rb"<UploadId>(\w+)<", xml).group(1).decode()
        sent = []
        for number, body in enumerate(parts, 1):
            sums = {"x-amz-checksum-" + algorithm.lower(): text(DIGESTS[algorithm](body))} if algorithm else {}
            status, xml, answer = self.call("PUT", "/%s/%s" % (bucket, key), "partNumber=%d&uploadId=%s" % (number, upload), sums, body)
            self.assertEqual(status, 200, xml)
            for name, value in sums.items():
                self.assertEqual(answer[name], value)
            sent.append((number, answer["ETag"], "".join("<Checksum%s>%s</Checksum%s>" % (algorithm, v, algorithm) for v in sums.values())))
        return upload, ("<CompleteMultipartUpload>%s</CompleteMultipartUpload>" % "".join(
            "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag>%s</Part>" % one for one in sent)).encode()

    def test_every_kind_of_checksum_of_an_object_in_parts(self):
        parts = [b"a" * (5 << 20), b"the rest of it"]
        for algorithm, kind in TYPES:
            name, tag = "x-amz-checksum-" + algorithm.lower(), "Checksum" + algorithm
            of_parts = [DIGESTS[algorithm](b) for b in parts]
            whole = text(DIGESTS[algorithm](b"".join(parts)) if kind == "FULL_OBJECT" else DIGESTS[algorithm](b"".join(of_parts)))
            if kind == "COMPOSITE":
                whole += "-2"
            upload, xml = self.upload("summed", parts, algorithm, kind)
            listed = self.ask("GET", "/bucket", "uploads=")[1]
            self.assertEqual((listed["ChecksumAlgorithm"], listed["ChecksumType"]), (algorithm, kind))
            listed = self.ask("GET", "/bucket/summed", "uploadId=" + upload)[1]
            self.assertEqual((listed["ChecksumAlgorithm"], listed["ChecksumType"], listed[tag]), (algorithm, kind, text(of_parts[1])))
            wrong = text(DIGESTS[algorithm](b"other")) + ("-2" if kind == "COMPOSITE" else "")
            self.refused((400, "BadDigest"), "POST", "/bucket/summed", "uploadId=" + upload, {name: wrong}, xml)
            # It is the object's, and not the XML's; a composite one may come without the number of parts.
            for value in (whole, whole.split("-")[0]):  # the second time as the first
                status, done, _ = self.ask("POST", "/bucket/summed", "uploadId=" + upload, {name: value}, xml)
                self.assertEqual((status, done.get(tag), done.get("ChecksumType")), (200, whole, kind), (algorithm, done))
            status, body, headers = self.get("summed", x_amz_checksum_mode="ENABLED")
            self.assertEqual((status, headers[name], headers["x-amz-checksum-type"]), (200, whole, kind))
            self.assertNotIn(name, self.get("summed")[2])
            for number, raw in enumerate(of_parts, 1):
                for method in ("GET", "HEAD"):
                    status, body, headers = self.call(method, "/bucket/summed", "partNumber=%d" % number, {"x-amz-checksum-mode": "ENABLED"})
                    self.assertEqual((status, headers[name], headers["x-amz-checksum-type"]), (206, text(raw), kind))
            status, said, _ = self.ask("GET", "/bucket/summed", "attributes=", {"x-amz-object-attributes": "Checksum"})
            self.assertEqual((said[tag], said["ChecksumType"]), (whole, kind))
            for query in ("prefix=summed", "list-type=2&prefix=summed"):
                said = self.ask("GET", "/bucket", query)[1]
                self.assertEqual((said["ChecksumAlgorithm"], said["ChecksumType"]), (algorithm, kind), query)
            status, said, _ = self.ask("PUT", "/bucket/copied", "", {"x-amz-copy-source": "bucket/summed"})
            self.assertEqual((status, said[tag], said["ChecksumType"]), (200, whole, kind))
            # A part that is copied has one of the upload's kind.
            copies, _ = self.upload("of-copies", [], algorithm, kind)
            status, said, _ = self.ask("PUT", "/bucket/of-copies", "partNumber=1&uploadId=" + copies,
                                       {"x-amz-copy-source": "bucket/summed", "x-amz-copy-source-range": "bytes=5242880-5242893"})
            self.assertEqual((status, said.get(tag)), (200, text(of_parts[1])))
            self.assertEqual(self.call("DELETE", "/bucket/of-copies", "uploadId=" + copies)[0], 204)

    def test_every_kind_of_checksum_of_a_put(self):
        for algorithm, digest in DIGESTS.items():
            name = "x-amz-checksum-" + algorithm.lower()
            headers = self.put("one", b"bytes", **{name: text(digest(b"bytes"))})
            self.assertEqual((headers[name], headers["x-amz-checksum-type"]), (text(digest(b"bytes")), "FULL_OBJECT"))
            for method in ("GET", "HEAD"):
                headers = self.call(method, "/bucket/one", "", {"x-amz-checksum-mode": "ENABLED"})[2]
                self.assertEqual((headers[name], headers["x-amz-checksum-type"]), (text(digest(b"bytes")), "FULL_OBJECT"))
            error = self.refused((400, "BadDigest"), "PUT", "/bucket/one", "", {name: text(digest(b"other"))}, b"bytes")
            self.assertIn(algorithm, error["Message"])
            self.refused((400, "InvalidRequest"), "PUT", "/bucket/one", "", {name: "bad"}, b"bytes")
            # A copy gets the one that is asked for, of all its bytes.
            status, said, _ = self.ask("PUT", "/bucket/two", "", {"x-amz-copy-source": "bucket/one", "x-amz-checksum-algorithm": algorithm})
            self.assertEqual((status, said["Checksum" + algorithm], said["ChecksumType"]), (200, text(digest(b"bytes")), "FULL_OBJECT"))
            self.put("plain", b"bytes")
            status, said, _ = self.ask("PUT", "/bucket/two", "", {"x-amz-copy-source": "bucket/plain", "x-amz-checksum-algorithm": algorithm})
            self.assertEqual((status, said["Checksum" + algorithm]), (200, text(digest(b"bytes"))))
        self.refused((400, "InvalidRequest"), "PUT", "/bucket/one", "", {
            "x-amz-checksum-crc32": text(DIGESTS["CRC32"](b"b")), "x-amz-checksum-sha1": text(DIGESTS["SHA1"](b"b"))}, b"b")

    def test_what_types_and_algorithms_go_together(self):
        for algorithm, kind in itertools.product(DIGESTS, ("FULL_OBJECT", "COMPOSITE")):
            status, error, _ = self.ask("POST", "/bucket/k", "uploads=", {"x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": kind})
            self.assertEqual(status, 200 if (algorithm, kind) in TYPES else 400, error)
            if status == 400:
                self.assertEqual((error["Code"], error["Message"]), ("InvalidRequest", "The %s checksum type cannot be used with the %s checksum algorithm." % (kind, algorithm.lower())))
        self.refused((400, "InvalidRequest"), "POST", "/bucket/k", "uploads=", {"x-amz-checksum-type": "COMPOSITE"})
        upload, _ = self.upload("k", [], "SHA256", "COMPOSITE")
        self.refused((400, "InvalidRequest"), "PUT", "/bucket/k", "partNumber=1&uploadId=" + upload,
                     {"x-amz-checksum-crc32": text(DIGESTS["CRC32"](b"x"))}, b"x")

    # minio-go's uploads of a size that it does not know failed with BadDigest.
    def test_a_completion_without_an_algorithm_takes_no_checksum_for_the_body(self):
        upload, xml = self.upload("unknown", [b"data"], "CRC32C", "FULL_OBJECT")
        self.assertEqual(self.call("POST", "/bucket/unknown", "uploadId=" + upload, {
            "x-amz-checksum-crc32c": text(DIGESTS["CRC32C"](b"data")), "x-amz-checksum-type": "FULL_OBJECT"}, xml)[0], 200)

    # ---- errors and what is beside their code ----

    def test_errors_name_what_they_are_about(self):
        self.put("there", b"0123456789")
        self.refused((404, "NoSuchKey"), "GET", "/bucket/no%20one", Key="no one")
        self.refused((404, "NoSuchBucket"), "GET", "/nobucket/k", BucketName="nobucket")
        self.refused((404, "NoSuchUpload"), "GET", "/bucket/k", "uploadId=abc", UploadId="abc")
        self.refused((404, "NoSuchKey"), "PUT", "/bucket/k", "", {"x-amz-copy-source": "/bucket/absent"}, Key="absent")
        self.refused((404, "NoSuchBucket"), "PUT", "/bucket/k", "", {"x-amz-copy-source": "/nobucket/absent"}, BucketName="nobucket")
        self.refused((416, "InvalidRange"), "GET", "/bucket/there", "", {"range": "bytes=10-"}, RangeRequested="bytes=10-", ActualObjectSize=10)
        self.refused((416, "InvalidRange"), "GET", "/bucket/there", "", {"range": "bytes=99999999999999999999999-"},
                     RangeRequested="bytes=99999999999999999999999-", ActualObjectSize=10)
        wrong, right = text(hashlib.md5(b"x").digest()), text(hashlib.md5(b"body").digest())
        self.refused((400, "BadDigest"), "PUT", "/bucket/k", "", {"content-md5": wrong}, b"body", ExpectedDigest=wrong, CalculatedDigest=right)
        for bad in ("abc", "", text(b"short"), hashlib.md5(b"body").hexdigest()):
            self.refused((400, "InvalidDigest"), "PUT", "/bucket/k", "", {"content-md5": bad}, b"body", Content_MD5=bad)
        self.refused((400, "BadDigest"), "POST", "/bucket", "delete=", {"content-md5": wrong}, b"body", ExpectedDigest=wrong, CalculatedDigest=right)
        empty, other = hashlib.sha256(b"").hexdigest(), hashlib.sha256(b"other").hexdigest()
        status, xml, _ = self.call("PUT", "/bucket/k", "", {}, b"", payload=other)
        self.assertEqual((status, b"<ClientComputedContentSHA256>%s<" % other.encode() in xml, b"<S3ComputedContentSHA256>%s<" % empty.encode() in xml),
                         (400, True, True), xml)
        self.refused((400, "KeyTooLongError"), "GET", "/bucket/" + "k" * 1025, Size=1025, MaxSizeAllowed=1024)
        for number in ("0", "10001", "x", "-1"):
            self.refused((400, "InvalidArgument"), "GET", "/bucket/there", "partNumber=" + number, ArgumentName="partNumber", ArgumentValue=number)
        self.refused((412, "PreconditionFailed"), "GET", "/bucket/there", "", {"if-match": '"x"'}, Condition="If-Match")
        self.refused((412, "PreconditionFailed"), "PUT", "/bucket/there", "", {"if-none-match": "*"}, b"x", Condition="If-None-Match")
        upload, xml = self.upload("small", [b"a", b"b"])
        self.refused((400, "EntityTooSmall"), "POST", "/bucket/small", "uploadId=" + upload, {}, xml, ProposedSize=1, MinSizeAllowed=5 << 20, PartNumber=1)
        self.refused((400, "InvalidPart"), "POST", "/bucket/small", "uploadId=" + upload, {},
                     re.sub(rb"<Part><PartNumber>1.*?</Part>", b"", xml).replace(b"<PartNumber>2<", b"<PartNumber>7<"), PartNumber=7, UploadId=upload)
        self.refused((400, "InvalidPartOrder"), "POST", "/bucket/small", "uploadId=" + upload, {},
                     xml.replace(b"<PartNumber>2<", b"<PartNumber>1<"))
        self.refused((404, "NoSuchKey"), "POST", "/bucket/small", "uploadId=" + upload, {"if-match": "*"},
                     re.sub(rb"<Part><PartNumber>2.*?</Part>", b"", xml), Key="small")
        for name in ("max-parts", "part-number-marker"):
            self.refused((400, "InvalidArgument"), "GET", "/bucket/small", "%s=x&uploadId=%s" % (name, upload), ArgumentName=name, ArgumentValue="x")

    def test_parts_of_what_was_not_made_of_parts(self):
        self.put("plain", b"0123456789", x_amz_checksum_sha1=text(DIGESTS["SHA1"](b"0123456789")))
        for method in ("GET", "HEAD"):
            status, body, headers = self.call(method, "/bucket/plain", "partNumber=1", {"x-amz-checksum-mode": "ENABLED"})
            self.assertEqual((status, headers["Content-Range"], headers["Content-Length"]), (206, "bytes 0-9/10", "10"))
            self.assertEqual((headers["x-amz-checksum-sha1"], headers.get("x-amz-mp-parts-count")), (text(DIGESTS["SHA1"](b"0123456789")), None))
            self.assertEqual(self.call(method, "/bucket/plain", "partNumber=2")[0], 416)
        self.refused((416, "InvalidPartNumber"), "GET", "/bucket/plain", "partNumber=2", PartNumberRequested=2, ActualPartCount=1)
        self.refused((400, "InvalidRequest"), "GET", "/bucket/plain", "partNumber=1", {"range": "bytes=0-1"})
        self.put("empty", b"")
        status, body, headers = self.get("empty", "partNumber=1")
        self.assertEqual((status, body, headers.get("Content-Range")), (200, b"", None))

    # ---- names in XML ----

    KEYS = [" ", "   ", "\t", "\n", "\r", "a\rb", " a ", "\x01", "a\x08b", "\x1f", "\x7f", "&<>\"'", "%41", "+", "\u00e9\U0001f600"]

    def test_keys_of_blanks_and_control_characters(self):
        for key in self.KEYS:
            self.s3.put_object(Bucket="listed", Key=key, Body=b"x")
            self.s3.create_multipart_upload(Bucket="listed", Key=key)
        keys = sorted(self.KEYS, key=lambda k: k.encode())
        url = lambda key: urllib.parse.quote(key, safe="/~")
        for query in ("encoding-type=url", "encoding-type=url&list-type=2", "encoding-type=url&versions=", "encoding-type=url&uploads="):
            xml = self.call("GET", "/listed", query)[1].decode()
            self.assertIn("<EncodingType>url</EncodingType>", xml)
            self.assertEqual([urllib.parse.unquote(k) for k in re.findall("<Key>([^<]*)</Key>", xml)], keys, query)
        # S3's own way without it: references, also to what XML 1.0 has no room for.
        named = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}
        read = lambda xml: re.sub("&(#?\\w+);", lambda m: named.get(m[1]) or chr(int(m[1][1:])), xml)
        for query in ("", "list-type=2", "uploads="):
            xml = self.call("GET", "/listed", query)[1].decode()
            self.assertNotIn("<EncodingType>", xml)
            self.assertEqual([read(k) for k in re.findall("<Key>([^<]*)</Key>", xml)], keys, query)
        found = [o["Key"] for p in self.s3.get_paginator("list_objects_v2").paginate(Bucket="listed", PaginationConfig={"PageSize": 1}) for o in p["Contents"]]
        self.assertEqual(found, keys)
        # As they are, where XML has room for them; boto3 does not write references.
        found = [k for k in keys if all(c in "\t\n\r" or " " <= c < "\ufffe" or c > "\uffff" for c in k)]
        done = self.s3.delete_objects(Bucket="listed", Delete={"Objects": [{"Key": k} for k in found[::2]]})
        self.assertEqual(sorted(d["Key"] for d in done["Deleted"]), sorted(found[::2]))
        for key in set(keys) - set(found[::2]):
            body = "<Delete><Object><Key>%s</Key></Object><Object><Key>never</Key></Object></Delete>" % "".join("&#%d;" % ord(c) for c in key)
            xml = self.call("POST", "/listed", "delete=", {}, body.encode())[1].decode()
            self.assertEqual(sorted(map(read, re.findall("<Key>([^<]*)</Key>", xml))), sorted([key, "never"]))
        self.assertEqual(self.s3.list_objects_v2(Bucket="listed")["KeyCount"], 0)
        # What no parser reads, as itself or by a reference, is never written.
        for key in ("z\ufffe", "z\uffff"):
            self.s3.put_object(Bucket="listed", Key=key, Body=b"x")
            xml = self.call("GET", "/listed", "prefix=z")[1]
            self.assertIn(b"<EncodingType>url</EncodingType>", xml)
            self.assertEqual(re.findall(b"<Key>([^<]*)</Key>", xml), [url(key).encode()])
            self.s3.delete_object(Bucket="listed", Key=key)

    def test_an_empty_continuation_token_is_that_of_the_first_page(self):
        for key in ("token/a", "token/b"):
            self.put(key)
        for start, want in (("", ["token/a", "token/b"]), ("token/a", ["token/b"])):
            status, xml, _ = self.call("GET", "/bucket", "continuation-token=&list-type=2&prefix=token%2F&start-after=" + urllib.parse.quote(start, safe=""))
            self.assertEqual(status, 200, xml)
            self.assertEqual([k.decode() for k in re.findall(rb"<Key>([^<]*)<", xml)], want)
            self.assertRegex(xml, rb"<ContinuationToken ?/>|<ContinuationToken></ContinuationToken>")
        self.refused((400, "InvalidArgument"), "GET", "/bucket", "continuation-token=%21&list-type=2", ArgumentName="continuation-token")

    def test_a_deletion_of_many_wants_a_digest(self):
        self.put("deletable")
        body = b"<Delete><Object><Key>deletable</Key></Object></Delete>"
        headers = signed("POST", self.server.http, "/bucket", "delete=", {}, payload_hash=hashlib.sha256(body).hexdigest())[0]
        connection = http.client.HTTPConnection("127.0.0.1", self.server.http)
        connection.request("POST", "/bucket?delete=", body, headers)
        answer = connection.getresponse()
        self.assertEqual((answer.status, b"<Code>InvalidRequest</Code>" in answer.read()), (400, True))
        connection.close()
        self.assertEqual(self.get("deletable")[0], 200)
        for name, value in (("content-md5", hashlib.md5(body).digest()), *[("x-amz-checksum-" + a.lower(), d(body)) for a, d in DIGESTS.items()]):
            self.put("deletable")
            self.assertEqual(self.code(self.call("POST", "/bucket", "delete=", {name: text(value)}, body)), (200, ""), name)
            self.assertEqual(self.get("deletable")[0], 404)

    # ---- buckets ----

    def test_to_make_ones_own_bucket_again_is_no_error_in_us_east_1(self):
        self.put("kept")
        self.assertEqual(self.call("PUT", "/bucket")[0], 200)
        self.assertEqual(self.get("kept")[1], b"value")
        self.refused((409, "BucketAlreadyOwnedByYou"), "PUT", "/db0", BucketName="db0")
        self.assertEqual(self.call("PUT", "/a.b--c-1")[0], 200)
        for name in ("xn--abc", "sthree-abc", "amzn-s3-demo-abc", "abc-s3alias", "abc--ol-s3", "abc.mrap", "abc--x-s3", "abc--table-s3",
                     "ab", "a" * 64, "192.168.5.4", "a..b", "a.-b", "a-.b", "-ab", "ab-", "db17"):
            self.refused((400, "InvalidBucketName"), "PUT", "/" + name, BucketName=name)

    # ---- copies ----

    def test_a_copy_onto_itself_has_to_change_something(self):
        self.put("self", b"bytes", x_amz_meta_a="b")
        copy = {"x-amz-copy-source": "/bucket/self"}
        self.refused((400, "InvalidRequest"), "PUT", "/bucket/self", "", copy)
        self.refused((400, "InvalidRequest"), "PUT", "/bucket/self", "", {**copy, "x-amz-metadata-directive": "COPY"})
        for more in ({"x-amz-storage-class": "STANDARD"}, {"x-amz-checksum-algorithm": "SHA256"}, {"x-cairn-ttl": "1000"},
                     {"x-amz-metadata-directive": "REPLACE", "x-amz-meta-a": "b"}):
            self.assertEqual(self.call("PUT", "/bucket/self", "", {**copy, **more})[0], 200, more)
            status, body, headers = self.get("self")
            self.assertEqual((body, headers["x-amz-meta-a"]), (b"bytes", "b"))

    # ---- conditions ----

    PAST, FUTURE = "Thu, 01 Jan 2015 00:00:00 GMT", "Thu, 01 Jan 2099 00:00:00 GMT"

    def test_conditions_of_what_is_read(self):
        etag = self.put("read", b"value")["ETag"]
        table = [  # conditions, and what they make of GET; those of a copy's source alike, but that 304 is 412
            ({"if-match": etag}, 200), ({"if-match": "*"}, 200), ({"if-match": '"a", ' + etag}, 200), ({"if-match": '"a"'}, 412),
            ({"if-match": etag.strip('"')}, 200), ({"if-match": "W/" + etag}, 412),
            ({"if-none-match": etag}, 304), ({"if-none-match": "*"}, 304), ({"if-none-match": '"a"'}, 200), ({"if-none-match": "W/" + etag}, 304),
            ({"if-modified-since": self.PAST}, 200), ({"if-modified-since": self.FUTURE}, 304),
            ({"if-unmodified-since": self.PAST}, 412), ({"if-unmodified-since": self.FUTURE}, 200),
            # A pair: the ETag decides.
            ({"if-match": etag, "if-unmodified-since": self.PAST}, 200), ({"if-match": '"a"', "if-unmodified-since": self.FUTURE}, 412),
            ({"if-none-match": etag, "if-modified-since": self.PAST}, 304), ({"if-none-match": '"a"', "if-modified-since": self.FUTURE}, 200),
            ({"if-match": etag, "if-none-match": etag}, 304), ({"if-match": '"a"', "if-none-match": etag}, 412)]
        upload, _ = self.upload("of-source", [])
        for conditions, want in table:
            for method in ("GET", "HEAD"):
                self.assertEqual(self.call(method, "/bucket/read", "", conditions)[0], want, (method, conditions))
            source = {"x-amz-copy-source": "bucket/read", **{"x-amz-copy-source-" + k: v for k, v in conditions.items()}}
            want = 412 if want == 304 else want
            for path, query in (("/bucket/copy", ""), ("/bucket/of-source", "partNumber=1&uploadId=" + upload)):
                status, error, _ = self.ask("PUT", path, query, source)
                self.assertEqual(status, want, (query, conditions, error))
                if want == 412:
                    self.assertEqual((error["Code"], error["Condition"].lower()[:18]), ("PreconditionFailed", "x-amz-copy-source-"))
        self.assertEqual(self.call("DELETE", "/bucket/of-source", "uploadId=" + upload)[0], 204)

    def test_conditions_of_what_is_written(self):
        def put(conditions):
            return self.ask("PUT", "/bucket/written", "", conditions, b"x")

        def copy(conditions):
            return self.ask("PUT", "/bucket/written", "", {"x-amz-copy-source": "bucket/source", **conditions})

        def complete(conditions):
            upload, xml = self.upload("written", [b"x"])
            answer = self.ask("POST", "/bucket/written", "uploadId=" + upload, conditions, xml)
            if answer[0] != 200:
                self.assertEqual(self.call("DELETE", "/bucket/written", "uploadId=" + upload)[0], 204)
            return answer
        self.put("source", b"x")
        for write in (put, copy, complete):
            for there, conditions, want in (
                    (False, {"if-match": "*"}, (404, "NoSuchKey")), (False, {"if-match": '"a"'}, (404, "NoSuchKey")),
                    (False, {"if-none-match": "*"}, (200, None)), (False, {"if-none-match": '"a"'}, (200, None)),
                    (True, {"if-match": "*"}, (200, None)), (True, {"if-match": '"a"'}, (412, "PreconditionFailed")),
                    (True, {"if-match": "ETAG"}, (200, None)), (True, {"if-none-match": "*"}, (412, "PreconditionFailed")),
                    (True, {"if-none-match": "ETAG"}, (412, "PreconditionFailed")), (True, {"if-none-match": '"a"'}, (200, None))):
                self.call("DELETE", "/bucket/written")
                etag = self.put("written", b"there")["ETag"] if there else None
                status, said, _ = write({k: etag if v == "ETAG" else v for k, v in conditions.items()})
                self.assertEqual((status, said.get("Code")), want, (write, there, conditions))
                if status == 412:
                    self.assertEqual(said["Condition"].lower(), next(iter(conditions)))
                now = self.get("written")
                self.assertEqual(now[1] if now[0] == 200 else None, b"x" if status == 200 else b"there" if there else None)

    def test_conditions_of_what_is_deleted(self):
        def one(etag=None, time=None, size=None):
            names = {"if-match": etag, "x-amz-if-match-last-modified-time": time, "x-amz-if-match-size": size}
            status, said, _ = self.ask("DELETE", "/bucket/deleted", "", {k: v for k, v in names.items() if v is not None})
            return status, said.get("Code"), said.get("Condition", "").lower()

        def many(etag=None, time=None, size=None):
            names = {"ETag": etag, "LastModifiedTime": time, "Size": size}
            body = "<Delete><Object><Key>deleted</Key>%s</Object></Delete>" % "".join("<%s>%s</%s>" % (k, v, k) for k, v in names.items() if v is not None)
            status, said, _ = self.ask("POST", "/bucket", "delete=", {}, body.encode())
            self.assertEqual(status, 200, said)
            return 204 if "Code" not in said else {"PreconditionFailed": 412, "NoSuchKey": 404}[said["Code"]], said.get("Code"), ""
        for remove in (one, many):
            headers = self.put("deleted", b"12345")
            etag, time = headers["ETag"], self.get("deleted")[2]["Last-Modified"]
            iso = datetime.datetime.strptime(time, "%a, %d %b %Y %H:%M:%S GMT").strftime("%Y-%m-%dT%H:%M:%SZ")
            for given, condition in ((dict(etag='"a"'), "if-match"), (dict(time=self.PAST), "x-amz-if-match-last-modified-time"),
                                     (dict(size="4"), "x-amz-if-match-size"), (dict(etag=etag, time=time, size="6"), "x-amz-if-match-size"),
                                     (dict(etag=etag, time=self.FUTURE, size="5"), "x-amz-if-match-last-modified-time")):
                status, code, said = remove(**given)
                self.assertEqual((status, code), (412, "PreconditionFailed"), given)
                self.assertEqual(said, condition if remove is one else "")
                self.assertEqual(self.get("deleted")[0], 200)
            for given in (dict(etag=etag), dict(etag="*"), dict(time=time), dict(time=iso), dict(size="5"), dict(etag=etag, time=time, size="5")):
                self.put("deleted", b"12345")
                time_now = self.get("deleted")[2]["Last-Modified"]  # the second may be another by now
                if "time" in given and given["time"] != iso:
                    given["time"] = time_now
                elif "time" in given:
                    given["time"] = datetime.datetime.strptime(time_now, "%a, %d %b %Y %H:%M:%S GMT").strftime("%Y-%m-%dT%H:%M:%SZ")
                self.assertEqual(remove(**given)[0], 204, given)
                self.assertEqual(self.get("deleted")[0], 404)
            # Of what is not there, a time and a size hold.
            for given, want in ((dict(time=self.PAST), 204), (dict(size="4"), 204), (dict(etag="*"), 404), (dict(etag='"a"'), 404)):
                self.assertEqual(remove(**given)[0], want, given)
        self.refused((400, "InvalidArgument"), "DELETE", "/bucket/deleted", "", {"x-amz-if-match-size": "x"}, ArgumentName="x-amz-if-match-size")
        self.refused((400, "InvalidArgument"), "DELETE", "/bucket/deleted", "", {"x-amz-if-match-last-modified-time": "x"})

    def test_if_range_is_the_whole_of_another_value(self):
        etag = self.put("ranged", b"0123456789")["ETag"]
        modified = self.get("ranged")[2]["Last-Modified"]
        for value, want in ((etag, (206, b"234")), ('"other"', (200, b"0123456789")), ("W/" + etag, (200, b"0123456789")),
                            (self.PAST, (200, b"0123456789")), (modified, (200, b"0123456789"))):
            answer = self.get("ranged", range="bytes=2-4", if_range=value)
            self.assertEqual(answer[:2], want, value)

    # ---- what answers say instead ----

    def test_what_an_answer_says_instead(self):
        self.put("said", b"x", content_type="text/x", cache_control="a", content_disposition="b", content_language="de", content_encoding="gzip", expires=self.PAST)
        overrides = {"content-type": "text/y", "cache-control": "no-store", "content-disposition": 'attachment; filename="a b"',
                     "content-language": "fr", "content-encoding": "br", "expires": self.FUTURE}
        for method in ("GET", "HEAD"):
            headers = self.call(method, "/bucket/said", "&".join("response-%s=%s" % (k, urllib.parse.quote(v, safe="")) for k, v in overrides.items()))[2]
            self.assertEqual({k: headers[k] for k in overrides}, overrides)
            headers = self.call(method, "/bucket/said")[2]
            self.assertEqual((headers["content-type"], headers["expires"], headers["content-encoding"]), ("text/x", self.PAST, "gzip"))

    def test_nothing_is_archived_that_could_be_restored(self):
        self.put("warm")
        days = b"<RestoreRequest><Days>1</Days><GlacierJobParameters><Tier>Bulk</Tier></GlacierJobParameters></RestoreRequest>"
        for body in (b"", days):
            self.refused((403, "InvalidObjectState"), "POST", "/bucket/warm", "restore=", {}, body, StorageClass="STANDARD")
        self.refused((404, "NoSuchKey"), "POST", "/bucket/nothing", "restore=", {}, days, Key="nothing")
        for bad in (b"<RestoreRequest>", b"<Other/>", b"<RestoreRequest><Days>x</Days></RestoreRequest>", b"<RestoreRequest><Days>0</Days></RestoreRequest>"):
            self.refused((400, "MalformedXML"), "POST", "/bucket/warm", "restore=", {}, bad)

    # ---- renaming ----

    def rename(self, source, target, **headers):
        return self.ask("PUT", "/bucket/" + target, "renameObject=", {
            "x-amz-rename-source": source, **{k.replace("_", "-"): v for k, v in headers.items()}})

    def test_renaming_keeps_all_but_the_name(self):
        redis = self.server.redis()
        for size in (0, 10, 100_000, 3 << 20):
            data = os.urandom(size)
            before = self.call("PUT", "/bucket/old%20name", "", {
                "content-type": "text/x", "x-amz-meta-a": "b", "x-amz-tagging": "c=d", "x-cairn-ttl": "100000",
                "x-amz-checksum-sha1": text(DIGESTS["SHA1"](data))}, data)
            self.assertEqual(before[0], 200, before[1])
            wanted = dict(self.call("HEAD", "/bucket/old%20name", "", {"x-amz-checksum-mode": "ENABLED"})[2])
            for source in ("old%20name", "/old%20name", "/bucket/old%20name"):
                if size == 10:
                    redis.execute_command("MEMORY", "PURGE")
                self.assertEqual(self.rename(source, "new")[0], 200)
                self.assertEqual(self.call("GET", "/bucket/old%20name")[0], 404)
                status, body, headers = self.get("new", x_amz_checksum_mode="ENABLED")
                self.assertEqual((status, body), (200, data))
                for name in ("ETag", "Last-Modified", "Content-Type", "x-amz-meta-a", "x-amz-tagging-count", "x-cairn-expires-ms", "x-amz-checksum-sha1"):
                    self.assertEqual(headers[name], wanted[name], name)
                self.assertEqual(self.rename("new", "old%20name")[0], 200)
        redis.execute_command("SELECT", "bucket")
        redis.set("plain", "from redis", ex=100000)
        self.assertEqual(self.rename("plain", "moved")[0], 200)
        self.assertEqual((redis.get("moved"), redis.get("plain"), redis.ttl("moved") > 0), (b"from redis", None, True))

    def test_renaming_has_conditions_of_both_names(self):
        for headers, want in (
                (dict(if_none_match="*"), 412), (dict(if_match='"x"'), 412), (dict(if_match="TARGET"), 200), (dict(if_unmodified_since=self.PAST), 412),
                (dict(if_modified_since=self.FUTURE), 412), (dict(if_modified_since=self.PAST), 200),
                (dict(x_amz_rename_source_if_match='"x"'), 412), (dict(x_amz_rename_source_if_match="SOURCE"), 200),
                (dict(x_amz_rename_source_if_none_match="*"), 412), (dict(x_amz_rename_source_if_none_match='"x"'), 200),
                (dict(x_amz_rename_source_if_modified_since=self.FUTURE), 412), (dict(x_amz_rename_source_if_unmodified_since=self.PAST), 412)):
            tags = {"SOURCE": self.put("source", b"source")["ETag"], "TARGET": self.put("target", b"target")["ETag"]}
            status, error, _ = self.rename("source", "target", **{k: tags.get(v, v) for k, v in headers.items()})
            self.assertEqual(status, want, headers)
            self.assertEqual(self.get("target")[1], b"source" if want == 200 else b"target")
            self.assertEqual(self.get("source")[0], 404 if want == 200 else 200)
        self.call("DELETE", "/bucket/target")
        self.call("DELETE", "/bucket/source")
        status, error, _ = self.rename("source", "target")
        self.assertEqual((status, error["Code"], error["Key"]), (404, "NoSuchKey", "source"))
        self.put("source")
        self.assertEqual(self.rename("source", "target", if_modified_since=self.PAST)[0], 412)
        self.assertEqual(self.rename("source", "target", if_match="*")[0], 404)
        self.assertEqual(self.rename("source", "target", if_none_match="*")[0], 200)
        self.assertEqual(self.rename("target", "target")[0], 400)
        self.assertEqual(self.rename("%zz", "target")[0], 400)

    def test_a_renaming_is_done_once(self):
        self.put("first", b"1")
        self.assertEqual(self.rename("first", "last", x_amz_client_token="token-1")[0], 200)
        self.put("first", b"another")
        self.assertEqual(self.rename("first", "last", x_amz_client_token="token-1")[0], 200)  # its answer was lost, say
        self.assertEqual((self.get("first")[1], self.get("last")[1]), (b"another", b"1"))
        status, error, _ = self.rename("other", "last", x_amz_client_token="token-1")
        self.assertEqual((status, error["Code"]), (400, "IdempotencyParameterMismatch"))
        self.assertEqual(self.rename("first", "last", x_amz_client_token="token-2")[0], 200)
        self.assertEqual(self.get("last")[1], b"another")
        self.assertEqual(self.rename("first", "last", x_amz_client_token="x" * 65)[0], 400)
        # A copy is no renaming, though what it copies was made by one.
        self.put("from", b"1")
        self.assertEqual(self.rename("from", "to", x_amz_client_token="token-3")[0], 200)
        self.s3.copy_object(Bucket="bucket", Key="copy", CopySource="bucket/to")
        self.put("from", b"2")
        self.assertEqual(self.rename("from", "copy", x_amz_client_token="token-3")[0], 200)
        self.assertEqual(self.get("copy")[1], b"2")

    def test_a_source_that_is_two_is_none(self):
        for source in ("bucket/twin", "/bucket/twin"):
            self.put("twin", b"outer")
            self.assertEqual(self.rename(source, "new")[0], 200)
            self.assertEqual(self.get("new")[1], b"outer")
        self.put("bucket/twin", b"inner")
        self.assertEqual(self.rename("bucket/twin", "new")[0], 200)
        self.assertEqual(self.get("new")[1], b"inner")
        self.put("twin", b"outer")
        self.put("bucket/twin", b"inner")
        self.assertEqual(self.rename("bucket/twin", "new")[0], 400)
        self.assertEqual(self.rename("/bucket/bucket/twin", "new")[0], 200)
        self.assertEqual((self.get("new")[1], self.get("twin")[1]), (b"inner", b"outer"))

    # ---- appending ----

    def append(self, key, offset, body, **headers):
        return self.ask("PUT", "/bucket/" + key, "", {"x-amz-write-offset-bytes": str(offset), **{k.replace("_", "-"): v for k, v in headers.items()}}, body)

    def test_what_is_appended_goes_behind_what_is_there(self):
        for sizes in ((3, 5, 7), (100_000, 1, 70_000), (3 << 20, 2 << 20, 10), (0, 4, 0, 6)):
            whole, parts = b"", []
            self.call("DELETE", "/bucket/grown")
            for size in sizes:
                piece = os.urandom(size)
                if not size and not whole:
                    self.put("grown", b"", content_type="text/x")
                    continue
                if not size:
                    status, error, _ = self.append("grown", len(whole), b"")
                    self.assertEqual((status, error["Code"]), (400, "InvalidRequest"))
                    continue
                more = {} if whole or self.get("grown")[0] == 200 else dict(x_amz_meta_a="b", content_type="text/x")
                status, error, headers = self.append("grown", len(whole), piece, **more)
                self.assertEqual(status, 200, error)
                whole += piece
                parts.append(piece)
                self.assertEqual(headers["x-amz-object-size"], str(len(whole)))
                got = self.get("grown")
                self.assertEqual((got[1] == whole, got[2]["ETag"], got[2]["Content-Type"]), (True, headers["ETag"], "text/x"))
                for wrong in {0, len(whole) - 1, len(whole) + 1, 1 << 60} - {len(whole)}:
                    status, error, _ = self.append("grown", wrong, b"x")
                    self.assertEqual((status, error["Code"]), (400, "InvalidWriteOffset"), wrong)
            for number, piece in enumerate(parts, 1):
                self.assertEqual(self.get("grown", "partNumber=%d" % number)[1], piece)
            status, error, _ = self.append("grown", len(whole), b"x", x_amz_meta_c="d")
            self.assertEqual((status, error["Code"]), (400, "InvalidRequest"))
        status, error, _ = self.append("never", 1, b"x")
        self.assertEqual((status, error["Code"]), (400, "InvalidWriteOffset"))
        self.assertEqual(self.append("grown", "x", b"x")[0], 400)
        self.assertEqual(self.append("grown", len(whole), b"x", if_match='"other"')[0], 412)
        redis = self.server.redis()
        redis.execute_command("SELECT", "bucket")
        redis.set("text", "from redis")
        self.assertEqual(self.append("text", 10, b" and http")[0], 200)
        self.assertEqual(redis.get("text"), b"from redis and http")
        self.assertEqual(redis.append("text", "!"), 20)
        self.assertEqual(self.append("text", 20, b"?")[0], 200)

    def test_checksums_of_what_is_appended_go_on(self):
        pieces = [b"a" * 70_000, b"b" * 11, b"c" * 200_000]
        for algorithm, digest in DIGESTS.items():
            name, whole = "x-amz-checksum-" + algorithm.lower(), b""
            self.call("DELETE", "/bucket/sum")
            for i, piece in enumerate(pieces):
                sent = {name: text(digest(piece))} if i != 1 else {}  # who sends none has his bytes summed all the same
                status, error, headers = self.append("sum", len(whole), piece, **sent)
                self.assertEqual(status, 200, error)
                whole += piece
                want = text(digest(whole)) if i == 0 or algorithm in CRCS else text(digest(b"".join(map(digest, pieces[:i + 1])))) + "-%d" % (i + 1)
                got = self.get("sum", x_amz_checksum_mode="ENABLED")[2]
                self.assertEqual((headers[name], got[name]), (want, want))
                self.assertEqual(got["x-amz-checksum-type"], "COMPOSITE" if "-" in want else "FULL_OBJECT")
            for number, piece in enumerate(pieces, 1):
                self.assertEqual(self.get("sum", "partNumber=%d" % number, x_amz_checksum_mode="ENABLED")[2][name], text(digest(piece)))
            other = "SHA1" if algorithm != "SHA1" else "CRC32"
            status, error, _ = self.append("sum", len(whole), b"x", **{"x-amz-checksum-" + other.lower(): text(DIGESTS[other](b"x"))})
            self.assertEqual((status, error["Code"]), (400, "InvalidRequest"))
            status, error, _ = self.append("sum", len(whole), b"x", **{name: text(digest(b"y"))})
            self.assertEqual((status, error["Code"]), (400, "BadDigest"))
            self.assertEqual(self.get("sum")[1], whole)

    def test_who_appends_at_once_takes_turns(self):
        writers, each, self.failures = 4, 12, []
        self.put("turns", b"")

        def write(writer):
            connection = http.client.HTTPConnection("127.0.0.1", self.server.http)

            def ask(method, headers, body):
                connection.request(method, "/bucket/turns", body, signed(method, self.server.http, "/bucket/turns", "", headers)[0])
                answer = connection.getresponse()
                return answer.status, answer.read(), answer.headers
            for i in range(each):
                line = b"%d.%d\n" % (writer, i)
                while True:
                    size = ask("HEAD", {}, None)[2]["Content-Length"]
                    answer = ask("PUT", {"x-amz-write-offset-bytes": size}, line)
                    if answer[0] == 200:
                        break
                    if b"<Code>InvalidWriteOffset<" not in answer[1] and b"<Code>ConditionalRequestConflict<" not in answer[1]:
                        self.failures.append(answer)
                        return
            connection.close()
        threads = [threading.Thread(target=write, args=(w,)) for w in range(writers)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(self.failures, [])
        lines = self.get("turns")[1].split(b"\n")[:-1]
        for writer in range(writers):
            self.assertEqual([l for l in lines if l.startswith(b"%d." % writer)], [b"%d.%d" % (writer, i) for i in range(each)])
        self.assertEqual(len(lines), writers * each)

    # ---- ETags ----

    def test_a_bucket_may_have_etags_that_are_no_md5(self):
        body = os.urandom(6 << 20)
        digest = hashlib.md5(body)
        content_md5 = {"content-md5": base64.b64encode(digest.digest()).decode()}

        def mode(bucket="quick"):
            return self.call("GET", "/" + bucket, "cairn-etag")[2]["x-cairn-etag"]

        def etag(key, **more):
            return self.call("PUT", "/quick/" + key, "", more, body)[2]["etag"].strip('"')
        self.assertEqual(self.call("PUT", "/quick")[0], 200)
        self.assertEqual(mode(), "md5")
        self.assertEqual(etag("before"), digest.hexdigest())
        for bad in ({}, {"x-cairn-etag": "slow"}):
            self.refused((400, "InvalidArgument"), "PUT", "/quick", "cairn-etag", bad, ArgumentName="x-cairn-etag")
        self.assertEqual(self.call("PUT", "/quick", "cairn-etag", {"x-cairn-etag": "fast"})[0], 200)
        self.assertEqual(mode(), "fast")
        fast = etag("a")
        self.assertRegex(fast, "^[0-9a-f]{16}-1$")
        self.assertEqual(etag("b"), fast)
        self.assertEqual(etag("c", **content_md5), digest.hexdigest())
        self.refused((400, "BadDigest"), "PUT", "/quick/a", "", content_md5, body[1:])
        for condition, want in (('"%s"' % fast, 200), ('"%s"' % digest.hexdigest(), 412)):
            self.assertEqual(self.call("GET", "/quick/a", "", {"if-match": condition})[0], want)
        parts = [body[:5 << 20], body[5 << 20:]]
        upload, xml = self.upload("in-parts", parts, bucket="quick")
        done = self.call("POST", "/quick/in-parts", "uploadId=" + upload, {}, xml)
        self.assertEqual(done[0], 200, done)
        status, got, headers = self.call("GET", "/quick/in-parts")
        self.assertEqual((status, got == body), (200, True))
        self.assertRegex(headers["etag"], '^"[0-9a-f]{32}-2"$')
        self.assertEqual(self.call("PUT", "/quick/copy", "", {"x-amz-copy-source": "quick/a"})[0], 200)
        listed = re.findall(r"<ETag>\W*(?:quot;)?([0-9a-f-]+)", self.call("GET", "/quick", "list-type=2")[1].decode())
        self.assertEqual(sorted(listed), sorted([digest.hexdigest(), fast, fast, digest.hexdigest(), fast, headers["etag"].strip('"')]))
        self.server.restart()
        type(self).s3 = self.server.s3()
        type(self).connection = http.client.HTTPConnection("127.0.0.1", self.server.http, timeout=30)
        self.assertEqual(mode(), "fast")
        self.assertEqual(self.call("PUT", "/quick", "cairn-etag", {"x-cairn-etag": "md5"})[0], 200)
        self.assertEqual(etag("d"), digest.hexdigest())
        self.assertEqual(self.call("HEAD", "/quick/a")[2]["etag"], '"%s"' % fast)

    # ---- times to live ----

    def test_an_object_lives_as_long_as_its_header_says(self):
        redis = self.server.redis()
        redis.execute_command("SELECT", "bucket")

        def expires(key, seconds):
            headers = self.call("HEAD", "/bucket/" + key)[2]
            self.assertEqual("x-cairn-expires-ms" in headers, seconds is not None, key)
            self.assertEqual(0 < redis.ttl(key) <= seconds if seconds else redis.ttl(key) == -1, True, key)
        ttl = {"x-cairn-ttl": "90000"}
        self.put("lives", b"x", **ttl)
        expires("lives", 90000)
        self.assertEqual(self.append("lives", 1, b"y")[0], 200)
        expires("lives", 90000)
        self.assertEqual(self.append("lives", 2, b"z", x_cairn_ttl="500000")[0], 200)
        expires("lives", 500000)
        self.assertGreater(redis.ttl("lives"), 90000)
        for more, want in (({}, None), (ttl, 90000)):
            self.assertEqual(self.call("PUT", "/bucket/copied", "", {"x-amz-copy-source": "bucket/lives", **more})[0], 200)
            expires("copied", want)
        upload, xml = self.upload("in-parts", [b"x"], more=ttl)
        self.assertEqual(self.call("POST", "/bucket/in-parts", "uploadId=" + upload, {}, xml)[0], 200)
        expires("in-parts", 90000)
        self.put("lives", b"x")
        expires("lives", None)
        for bad in ("0", "-1", "x", "", "1.5", "99999999999999999999"):
            self.refused((400, "InvalidArgument"), "PUT", "/bucket/lives", "", {"x-cairn-ttl": bad}, b"x", ArgumentName="x-cairn-ttl", ArgumentValue=bad)
        self.put("short", b"x", x_cairn_ttl="1")
        self.assertTrue(wait_until(lambda: self.get("short")[0] == 404))


class Limits(Calls):
    server_args = dict(args=["--put-max=1mb"])

    def test_a_put_is_as_large_as_the_setting_says(self):
        self.assertEqual(self.call("PUT", "/bucket/k", "", {}, b"x" * (1 << 20))[0], 200)
        for path, query in (("/bucket/k", ""), ("/bucket/k", "partNumber=1&uploadId=")):
            if query:
                query += self.s3.create_multipart_upload(Bucket="bucket", Key="k")["UploadId"]
            answer = self.call("PUT", path, query, {}, b"x" * ((1 << 20) + 1))
            self.assertEqual(self.code(answer), (400, "EntityTooLarge"))
            self.assertIn(b"<ProposedSize>1048577</ProposedSize>", answer[1])
            self.assertIn(b"<MaxSizeAllowed>1048576</MaxSizeAllowed>", answer[1])
        # One whose length nobody says is counted.
        h = signed("PUT", self.server.http, "/bucket/k", "", {"transfer-encoding": "chunked"})[0]
        with socket.create_connection(("127.0.0.1", self.server.http)) as s:
            s.sendall(b"PUT /bucket/k HTTP/1.1\r\n" + "".join("%s: %s\r\n" % i for i in h.items()).encode() + b"\r\n")
            try:
                for _ in range(17):
                    s.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            except OSError:
                pass
            self.assertIn(b"EntityTooLarge", s.recv(65536) + s.recv(65536))
        self.assertEqual(self.s3.head_object(Bucket="bucket", Key="k")["ContentLength"], 1 << 20)


class Standard(Case):
    def test_more_than_5_gib_are_refused_before_they_come(self):
        self.server.s3().create_bucket(Bucket="bucket")
        for size, want in ((5 << 30, b"HTTP/1.1 100"), ((5 << 30) + 1, b"HTTP/1.1 400")):
            h = signed("PUT", self.server.http, "/bucket/large", "", {})[0]
            with socket.create_connection(("127.0.0.1", self.server.http)) as s:
                s.sendall(b"PUT /bucket/large HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: %d\r\n" % size +
                          "".join("%s: %s\r\n" % i for i in h.items()).encode() + b"\r\n")
                answer = s.recv(65536)
                self.assertEqual(answer[:12], want)
                if want.endswith(b"400"):
                    self.assertIn(b"<MaxSizeAllowed>5368709120</MaxSizeAllowed>", answer + (b"" if b"</Error>" in answer else s.recv(65536)))

    def test_another_region_says_that_the_bucket_is_there(self):
        server = Server(args=["--region=eu-central-1"])
        self.addCleanup(server.remove)
        codes = []
        for _ in range(2):
            h = signed("PUT", server.http, "/again", "", {}, region="eu-central-1")[0]
            connection = http.client.HTTPConnection("127.0.0.1", server.http)
            connection.request("PUT", "/again", headers={**h, "content-length": "0"})
            answer = connection.getresponse()
            codes.append((answer.status, b"BucketAlreadyOwnedByYou" in answer.read()))
            connection.close()
        self.assertEqual(codes, [(200, False), (409, True)])


if __name__ == "__main__":
    unittest.main()
