"""Server-side encryption with boto3 and awscli: SSE-S3, SSE-KMS, SSE-C, what buckets do by themselves, and what other doors see."""
import base64
import hashlib
import http.client
import json
import os
import random
import subprocess
import unittest

import grpc
import redis
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.session import Session

from harness import PASSWORD, USER, Case, Server

MARKER = b"plaintext-marker-7b1d"
PART = 5 << 20
KEY, OTHER = b"k" * 32, b"o" * 32
CUSTOMER = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": KEY}
OF_SOURCE = {"CopySourceSSECustomerAlgorithm": "AES256", "CopySourceSSECustomerKey": KEY}
MODES = {"none": {}, "s3": {"ServerSideEncryption": "AES256"}, "kms": {"ServerSideEncryption": "aws:kms"}, "customer": CUSTOMER}
# What is refused, however it is asked: headers of a PUT, and code and status of the answer.
REFUSED = [
    ({"ServerSideEncryption": "AES128"}, "InvalidArgument", 400),
    ({"ServerSideEncryption": "aws:kms:dsse"}, "NotImplemented", 501),
    ({"ServerSideEncryption": "AES256", "SSEKMSKeyId": "a"}, "InvalidArgument", 400),
    ({"SSEKMSKeyId": "a"}, "InvalidArgument", 400),
    ({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "00000000-0000-4000-8000-000000000000"}, "KMS.NotFoundException", 400),
    ({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "arn:aws:kms:eu-west-1:1:key/a"}, "KMS.NotFoundException", 400),
    ({"ServerSideEncryption": "aws:kms", "SSEKMSEncryptionContext": "no base64"}, "InvalidArgument", 400),
    ({"ServerSideEncryption": "aws:kms", "SSEKMSEncryptionContext": base64.b64encode(b'{"a":1}').decode()}, "InvalidArgument", 400),
    ({**CUSTOMER, "ServerSideEncryption": "AES256"}, "InvalidArgument", 400),
    ({**CUSTOMER, "SSECustomerAlgorithm": "AES128"}, "InvalidEncryptionAlgorithmError", 400),
    ({**CUSTOMER, "SSECustomerKey": b"short"}, "InvalidArgument", 400),
    ({**CUSTOMER, "SSECustomerKey": base64.b64encode(KEY).decode(), "SSECustomerKeyMD5": base64.b64encode(bytes(16)).decode()}, "InvalidArgument", 400),
    ({"SSECustomerAlgorithm": "AES256"}, "InvalidArgument", 400),
]


def rule(algorithm, **more):
    return {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": algorithm, **more}}]}


def reading(mode):
    return CUSTOMER if mode == "customer" else {}


def written_out(how):
    """For operations for which botocore does not encode the key itself."""
    if not how:
        return how
    key = how["SSECustomerKey"]
    return {**how, "SSECustomerKey": base64.b64encode(key).decode(), "SSECustomerKeyMD5": base64.b64encode(hashlib.md5(key).digest()).decode()}


class Encryption(Case):
    server_args = dict(args=["--memory=%d" % (8 << 20)])  # values leave memory

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3 = cls.server.s3()
        cls.kms = cls.kms_client()
        cls.s3.create_bucket(Bucket="bucket")
        cls.random = random.Random(7)

    @classmethod
    def kms_client(cls, user=USER, password=PASSWORD):
        return Session().create_client("kms", endpoint_url="http://127.0.0.1:%d" % cls.server.http, region_name="us-east-1",
                                       aws_access_key_id=user, aws_secret_access_key=password)

    def call_kms(self, name, status=200, **fields):
        """What this botocore has no method for."""
        body, url = json.dumps(fields), "http://127.0.0.1:%d/" % self.server.http
        request = AWSRequest("POST", url, data=body, headers={"X-Amz-Target": "TrentService." + name, "Content-Type": "application/x-amz-json-1.1"})
        SigV4Auth(Credentials(USER, PASSWORD), "kms", "us-east-1").add_auth(request)
        connection = http.client.HTTPConnection("127.0.0.1", self.server.http, timeout=60)
        connection.request("POST", "/", body, dict(request.headers.items()))
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        self.assertEqual(answer.status, status, said)
        return json.loads(said)

    def put_behind(self, key, data, offset, bucket="bucket", **how):
        """PutObject with a write offset, which this botocore does not know."""
        s3 = self.server.s3()
        s3.meta.events.register("before-call.s3.PutObject",
                                lambda params, **kwargs: params["headers"].update({"x-amz-write-offset-bytes": str(offset)}))
        return s3.put_object(Bucket=bucket, Key=key, Body=data, **how)

    def refused(self, call, **kwargs):
        with self.assertRaises(ClientError) as e:
            call(**kwargs)
        response = e.exception.response
        return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]

    def bytes(self, size):
        return self.random.randbytes(size)

    def read(self, key, bucket="bucket", **kwargs):
        return self.s3.get_object(Bucket=bucket, Key=key, **kwargs)["Body"].read()

    def check(self, answer, mode):
        """An answer says how it is encrypted."""
        self.assertEqual(answer.get("ServerSideEncryption"), {"s3": "AES256", "kms": "aws:kms"}.get(mode))
        self.assertEqual("SSEKMSKeyId" in answer, mode == "kms")
        self.assertEqual(answer.get("SSECustomerAlgorithm"), "AES256" if mode == "customer" else None)
        if mode == "customer":
            self.assertEqual(answer["SSECustomerKeyMD5"], base64.b64encode(hashlib.md5(KEY).digest()).decode())

    def entered(self, name):
        r = self.server.redis(single_connection_client=True)
        self.addCleanup(r.close)
        r.execute_command("SELECT", name)
        return r

    def test_what_is_read_is_what_was_written(self):
        for mode, how in MODES.items():
            for size in (0, 1, 100, 65535, 65536, 65537, 200_000, 3 << 20):
                key, data = "%s/%d" % (mode, size), self.bytes(size)
                put = self.s3.put_object(Bucket="bucket", Key=key, Body=data, ChecksumAlgorithm="SHA256", **how)
                self.check(put, mode)
                md5 = '"%s"' % hashlib.md5(data).hexdigest()
                (self.assertEqual if mode in ("none", "s3") else self.assertNotEqual)(put["ETag"], md5)
                for call in (self.s3.head_object, self.s3.get_object):
                    got = call(Bucket="bucket", Key=key, ChecksumMode="ENABLED", **reading(mode))
                    self.check(got, mode)
                    self.assertEqual((got["ContentLength"], got["ETag"]), (size, put["ETag"]))
                    self.assertEqual(got["ChecksumSHA256"], base64.b64encode(hashlib.sha256(data).digest()).decode())
                self.assertEqual(got["Body"].read(), data)
                for _ in range(6 if size else 0):
                    first = self.random.randrange(size)
                    last = self.random.randrange(first, size)
                    got = self.s3.get_object(Bucket="bucket", Key=key, Range="bytes=%d-%d" % (first, last), **reading(mode))
                    self.assertEqual(got["ContentRange"], "bytes %d-%d/%d" % (first, last, size))
                    self.assertEqual(got["Body"].read(), data[first:last + 1])
                if size:
                    self.assertEqual(self.read(key, Range="bytes=-1", **reading(mode)), data[-1:])
                    self.assertEqual(self.refused(self.s3.get_object, Bucket="bucket", Key=key, Range="bytes=%d-" % size, **reading(mode)),
                                     ("InvalidRange", 416))
                attributes = self.s3.get_object_attributes(Bucket="bucket", Key=key, ObjectAttributes=["ObjectSize", "ETag"], **written_out(reading(mode)))
                self.assertEqual(attributes["ObjectSize"], size)
            listed = self.s3.list_objects_v2(Bucket="bucket", Prefix=mode + "/")["Contents"]
            self.assertEqual({o["Key"]: o["Size"] for o in listed}, {o["Key"]: int(o["Key"].split("/")[1]) for o in listed})

    def test_the_customers_key_is_asked_for(self):
        self.s3.put_object(Bucket="bucket", Key="closed", Body=b"x" * 100, **CUSTOMER)
        self.s3.put_object(Bucket="bucket", Key="open", Body=b"x", ServerSideEncryption="AES256")
        other = {**CUSTOMER, "SSECustomerKey": OTHER}
        for call, more in ((self.s3.get_object, {}), (self.s3.get_object_attributes, {"ObjectAttributes": ["ETag"]})):
            keys = [written_out(k) if more else k for k in (other, CUSTOMER)]
            self.assertEqual(self.refused(call, Bucket="bucket", Key="closed", **more), ("InvalidRequest", 400))
            self.assertEqual(self.refused(call, Bucket="bucket", Key="closed", **more, **keys[0]), ("AccessDenied", 403))
            self.assertEqual(self.refused(call, Bucket="bucket", Key="open", **more, **keys[1]), ("InvalidRequest", 400))
        self.assertEqual(self.refused(self.s3.head_object, Bucket="bucket", Key="closed"), ("400", 400))
        self.assertEqual(self.refused(self.s3.head_object, Bucket="bucket", Key="closed", **other), ("403", 403))
        copy = dict(Bucket="bucket", Key="copy", CopySource="bucket/closed")
        self.assertEqual(self.refused(self.s3.copy_object, **copy), ("InvalidRequest", 400))
        self.assertEqual(self.refused(self.s3.copy_object, **copy, CopySourceSSECustomerAlgorithm="AES256", CopySourceSSECustomerKey=OTHER),
                         ("AccessDenied", 403))
        # What is known of it needs none.
        self.s3.put_object_tagging(Bucket="bucket", Key="closed", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
        self.assertEqual(self.read("closed", **CUSTOMER), b"x" * 100)
        wrong = http.client.HTTPConnection("127.0.0.1", self.server.http, timeout=60)
        request = AWSRequest("GET", "http://127.0.0.1:%d/bucket/open" % self.server.http, headers={"x-amz-server-side-encryption": "AES256"})
        S3SigV4Auth(Credentials(USER, PASSWORD), "s3", "us-east-1").add_auth(request)
        wrong.request("GET", "/bucket/open", headers=dict(request.headers.items()))
        answer = wrong.getresponse()
        self.assertEqual((answer.status, b"<Code>InvalidArgument<" in answer.read()), (400, True))
        wrong.close()
        for how, code, status in REFUSED:
            self.assertEqual(self.refused(self.s3.put_object, Bucket="bucket", Key="refused", Body=b"x", **how), (code, status), how)
            self.assertEqual(self.refused(self.s3.create_multipart_upload, Bucket="bucket", Key="refused", **how), (code, status), how)
        self.assertEqual(self.refused(self.s3.head_object, Bucket="bucket", Key="refused"), ("404", 404))

    def test_parts_are_encrypted_as_their_upload(self):
        for mode, how in MODES.items():
            key, parts, whole = "parts-" + mode, [], b""
            begun = self.s3.create_multipart_upload(Bucket="bucket", Key=key, **how)
            if mode != "customer":
                self.check(begun, mode)
            to = dict(Bucket="bucket", Key=key, UploadId=begun["UploadId"])
            if mode == "customer":
                self.assertEqual(self.refused(self.s3.upload_part, PartNumber=1, Body=b"x", **to), ("InvalidRequest", 400))
                self.assertEqual(self.refused(self.s3.upload_part, PartNumber=1, Body=b"x", SSECustomerAlgorithm="AES256", SSECustomerKey=OTHER, **to),
                                 ("InvalidRequest", 400))
            else:
                self.assertEqual(self.refused(self.s3.upload_part, PartNumber=1, Body=b"x", **CUSTOMER, **to), ("InvalidRequest", 400))
            self.s3.upload_part(PartNumber=1, Body=self.bytes(PART), **reading(mode), **to)  # and again, with other bytes
            sizes = (PART, PART + 12345, 700)
            for number, size in enumerate(sizes, 1):
                data = self.bytes(size)
                part = self.s3.upload_part(PartNumber=number, Body=data, **reading(mode), **to)
                self.check(part, mode)
                whole += data
                parts.append({"PartNumber": number, "ETag": part["ETag"]})
            self.assertEqual([p["Size"] for p in self.s3.list_parts(**to)["Parts"]], list(sizes))
            self.s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **to)
            got = self.s3.get_object(Bucket="bucket", Key=key, **reading(mode))
            self.check(got, mode)
            self.assertEqual((got["ContentLength"], got["Body"].read() == whole), (len(whole), True))
            at = 0
            for number, size in enumerate(sizes, 1):
                got = self.s3.get_object(Bucket="bucket", Key=key, PartNumber=number, **reading(mode))
                self.assertEqual((got["PartsCount"], got["Body"].read() == whole[at:at + size]), (3, True))
                at += size
            for _ in range(10):
                first = self.random.randrange(len(whole))
                last = self.random.randrange(first, len(whole))
                self.assertEqual(self.read(key, Range="bytes=%d-%d" % (first, last), **reading(mode)) == whole[first:last + 1], True)
            # And of another object's bytes, by ranges.
            to = dict(Bucket="bucket", Key="copied-" + mode)
            to["UploadId"] = self.s3.create_multipart_upload(**to, **how)["UploadId"]
            source = dict(CopySource="bucket/" + key, **(OF_SOURCE if mode == "customer" else {}))
            etags = []
            for number, (first, last) in enumerate(((1000, PART + 5999), (0, 99)), 1):
                done = self.s3.upload_part_copy(PartNumber=number, CopySourceRange="bytes=%d-%d" % (first, last), **source, **to, **reading(mode))
                etags.append({"PartNumber": number, "ETag": done["CopyPartResult"]["ETag"]})
            self.s3.complete_multipart_upload(MultipartUpload={"Parts": etags}, **to)
            self.assertEqual(self.read("copied-" + mode, **reading(mode)) == whole[1000:PART + 6000] + whole[:100], True)

    def test_copies_between_all_modes(self):
        for size in (0, 1000, 300_000):
            data = self.bytes(size)
            for mode, how in MODES.items():
                self.s3.put_object(Bucket="bucket", Key="source-" + mode, Body=data, Metadata={"a": "b"}, **how)
                for to, how_to in MODES.items():
                    source = OF_SOURCE if mode == "customer" else {}
                    done = self.s3.copy_object(Bucket="bucket", Key="target", CopySource="bucket/source-" + mode, **how_to, **source)
                    # Nothing said: it stays encrypted.
                    becomes = to if to != "none" else {"customer": "s3"}.get(mode, mode)
                    self.check(done, becomes)
                    got = self.s3.get_object(Bucket="bucket", Key="target", **reading(becomes))
                    self.check(got, becomes)
                    self.assertEqual((got["Body"].read(), got["Metadata"], got["ContentLength"]), (data, {"a": "b"}, size))
                    md5 = '"%s"' % hashlib.md5(data).hexdigest()
                    (self.assertEqual if becomes in ("none", "s3") else self.assertNotEqual)(got["ETag"], md5, (mode, to))
        self.s3.copy_object(Bucket="bucket", Key="source-none", CopySource="bucket/source-none", ServerSideEncryption="AES256")  # onto itself
        self.assertEqual(self.read("source-none"), data)
        self.check(self.s3.head_object(Bucket="bucket", Key="source-none"), "s3")

    def test_a_tail_and_another_name(self):
        for mode, how in MODES.items():
            key, whole = "tail-" + mode, b""
            for size in (100, 70_000, 1):
                data = self.bytes(size)
                self.put_behind(key, data, len(whole), **how)
                whole += data
                self.assertEqual(self.read(key, **reading(mode)), whole)
            if mode != "s3":
                self.assertEqual(self.refused(self.put_behind, key=key, data=b"x", offset=len(whole), ServerSideEncryption="AES256"),
                                 ("InvalidRequest", 400))
            r = self.entered("bucket")
            r.execute_command("RENAME", key, "renamed-" + mode)
            r.execute_command("COPY", "renamed-" + mode, key)
            self.assertEqual(self.read(key, **reading(mode)), whole)
            self.assertEqual(self.read("renamed-" + mode, **reading(mode)), whole)

    def test_a_form_says_it_too(self):
        import requests
        fields = {"x-amz-server-side-encryption": "aws:kms"}
        post = self.s3.generate_presigned_post("bucket", "form", Fields=dict(fields), Conditions=[dict(fields)])
        answer = requests.post(post["url"], data=post["fields"], files={"file": b"from a form"})
        self.assertEqual((answer.status_code, answer.headers["x-amz-server-side-encryption"]), (204, "aws:kms"))
        self.check(self.s3.head_object(Bucket="bucket", Key="form"), "kms")
        self.assertEqual(self.read("form"), b"from a form")

    def test_a_bucket_encrypts_by_itself(self):
        self.s3.create_bucket(Bucket="by-itself")
        at = dict(Bucket="by-itself")
        for bad in ({"Rules": []}, rule("AES128")):
            self.assertEqual(self.refused(self.s3.put_bucket_encryption, ServerSideEncryptionConfiguration=bad, **at), ("MalformedXML", 400))
        self.assertEqual(self.refused(self.s3.put_bucket_encryption, ServerSideEncryptionConfiguration=rule("AES256", KMSMasterKeyID="a"), **at),
                         ("InvalidArgument", 400))
        self.s3.put_object(Key="before", Body=b"before", **at)
        self.s3.put_bucket_encryption(ServerSideEncryptionConfiguration=rule("AES256"), **at)
        said = self.s3.get_bucket_encryption(**at)["ServerSideEncryptionConfiguration"]["Rules"][0]
        self.assertEqual(said, {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False})
        self.check(self.s3.put_object(Key="after", Body=b"after", **at), "s3")
        self.check(self.s3.head_object(Key="before", **at), None)
        self.assertEqual((self.read("before", "by-itself"), self.read("after", "by-itself")), (b"before", b"after"))
        self.assertEqual(self.refused(self.put_behind, key="before", data=b"x", offset=6, bucket="by-itself"), ("InvalidRequest", 400))
        key = self.kms.create_key(Description="mine")["KeyMetadata"]
        self.s3.put_bucket_encryption(ServerSideEncryptionConfiguration=rule("aws:kms", KMSMasterKeyID=key["Arn"]), **at)
        put = self.s3.put_object(Key="kms", Body=b"kms", **at)
        self.assertEqual((put["ServerSideEncryption"], put["SSEKMSKeyId"]), ("aws:kms", key["Arn"]))
        self.check(self.s3.put_object(Key="other", Body=b"other", ServerSideEncryption="AES256", **at), "s3")
        stubs = self.server.grpc_stubs()
        stubs.upload("by-itself", "grpc", b"grpc" * 50_000)
        stubs.kv.Put(stubs.kv_pb.PutRequest(key=stubs.key("by-itself", "kv"), value=b"kv"), metadata=stubs.metadata)
        for name, value in (("grpc", b"grpc" * 50_000), ("kv", b"kv")):
            got = self.s3.get_object(Key=name, **at)
            self.assertEqual((got["SSEKMSKeyId"], got["Body"].read()), (key["Arn"], value))
        # Others write nothing there that would lie as it is.
        r = self.entered("by-itself")
        for words in (("SET", "a", "b"), ("APPEND", "before", "x"), ("HSET", "h", "f", "v"), ("LPUSH", "l", "a"), ("SETRANGE", "before", "0", "x"),
                      ("INCR", "n"), ("MSET", "a", "b"), ("SETEX", "a", "10", "b"), ("BITOP", "NOT", "a", "before"), ("PFADD", "p", "a")):
            with self.assertRaisesRegex(redis.ResponseError, "wants values encrypted", msg=words):
                r.execute_command(*words)
        txn = stubs.kv_pb.TxnRequest(then=[stubs.kv_pb.TxnOp(put=stubs.kv_pb.TxnOp.PutOp(key=stubs.key("by-itself", "t"), value=b"v"))])
        with self.assertRaises(grpc.RpcError) as e:
            stubs.kv.Txn(txn, metadata=stubs.metadata)
        self.assertEqual(e.exception.code(), grpc.StatusCode.FAILED_PRECONDITION)
        self.assertEqual(r.execute_command("GET", "before"), b"before")
        # A key without a namespace is one of db0, which may encrypt, too.
        self.s3.put_bucket_encryption(Bucket="db0", ServerSideEncryptionConfiguration=rule("AES256"))
        stubs.kv.Put(stubs.kv_pb.PutRequest(key=stubs.key("", "kv"), value=b"kv"), metadata=stubs.metadata)
        self.check(self.s3.head_object(Bucket="db0", Key="kv"), "s3")
        self.s3.delete_bucket_encryption(Bucket="db0")
        self.s3.delete_bucket_encryption(**at)
        self.assertEqual(self.refused(self.s3.get_bucket_encryption, **at), ("ServerSideEncryptionConfigurationNotFoundError", 404))
        self.check(self.s3.put_object(Key="plain", Body=b"plain", **at), None)
        r.execute_command("SET", "a", "b")

    def test_a_policy_denies_what_is_not_encrypted(self):
        self.s3.create_bucket(Bucket="guarded")
        deny = {"Version": "2012-10-17", "Statement": [
            {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::guarded/*",
             "Condition": {"Null": {"s3:x-amz-server-side-encryption": "true"}}}]}
        self.s3.put_bucket_policy(Bucket="guarded", Policy=json.dumps(deny))
        put = dict(Bucket="guarded", Key="key", Body=b"x")
        self.assertEqual(self.refused(self.s3.put_object, **put), ("AccessDenied", 403))
        self.s3.put_object(ServerSideEncryption="AES256", **put)
        deny["Statement"][0]["Condition"] = {"StringNotEquals": {"s3:x-amz-server-side-encryption": "aws:kms"}}
        self.s3.put_bucket_policy(Bucket="guarded", Policy=json.dumps(deny))
        self.assertEqual(self.refused(self.s3.put_object, ServerSideEncryption="AES256", **put), ("AccessDenied", 403))
        self.s3.put_object(ServerSideEncryption="aws:kms", **put)

    def test_other_doors_show_no_ciphertext(self):
        self.s3.create_bucket(Bucket="doors")
        text = MARKER * 10
        for mode, how in MODES.items():
            for size in ("small", "large"):
                self.s3.put_object(Bucket="doors", Key=mode + size, Body=text if size == "small" else text * 2000, **how)
        r, stubs = self.entered("doors"), self.server.grpc_stubs()
        for mode in ("s3", "kms", "customer"):
            for size, length in (("small", len(text)), ("large", len(text) * 2000)):
                key = mode + size
                self.assertEqual(r.execute_command("STRLEN", key), length)
                self.assertEqual((r.execute_command("EXISTS", key), r.execute_command("TYPE", key), r.execute_command("TTL", key)), (1, b"string", -1))
                for words in (("GET", key), ("GETRANGE", key, "0", "10"), ("MGET", key, "none"), ("GETBIT", key, "7"), ("BITCOUNT", key), ("GETDEL", key),
                              ("APPEND", key, "x"), ("SETRANGE", key, "0", "x"), ("GETSET", key, "x"), ("SET", key, "x", "GET"), ("INCR", key),
                              ("DUMP", key), ("LCS", key, key), ("BITOP", "NOT", "to", key), ("GETEX", key), ("SUBSTR", key, "0", "1"),
                              ("BITFIELD", key, "GET", "u8", "0"), ("PFCOUNT", key), ("OBJECT", "ENCODING", key),
                              ("EVAL", "return redis.call('GET', KEYS[1])", "1", key)):
                    with self.assertRaisesRegex(redis.ResponseError, "encrypted", msg=words):
                        r.execute_command(*words)
                r.execute_command("DEL", "list", "set")
                r.execute_command("RPUSH", "list", "s3small")
                with self.assertRaisesRegex(redis.ResponseError, "encrypted"):
                    r.execute_command("SORT", "list", "BY", "nosort", "GET", "*")
                r.execute_command("MULTI")
                r.execute_command("SET", "beside", "1")
                r.execute_command("GET", key)
                answers = r.execute_command("EXEC")
                self.assertEqual(answers[0], b"OK")
                self.assertIn("encrypted", str(answers[1]))
                get = stubs.kv_pb.GetRequest(key=stubs.key("doors", key))
                if mode == "customer":
                    for call in (lambda: stubs.kv.Get(get, metadata=stubs.metadata), lambda: stubs.download("doors", key)):
                        with self.assertRaises(grpc.RpcError) as e:
                            call()
                        self.assertEqual(e.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
                else:
                    want = text if size == "small" else text * 2000
                    self.assertEqual(stubs.kv.Get(get, metadata=stubs.metadata).value.value, want)
                    self.assertEqual(stubs.download("doors", key), want)
                    self.assertEqual(stubs.download("doors", key, offset=7, length=99), want[7:106])
                self.assertEqual(self.s3.head_object(Bucket="doors", Key=key, **reading(mode))["ContentLength"], length)
        batch = stubs.kv_pb.BatchGetRequest(keys=[stubs.key("doors", k) for k in ("nonesmall", "s3small", "kmssmall")])
        got = stubs.kv.BatchGet(batch, metadata=stubs.metadata)
        self.assertEqual([e.value.value for e in got.entries], [text] * 3)
        scan = stubs.kv_pb.ScanRequest(namespace="doors", with_values=True)
        values = [i.value for i in stubs.kv.Scan(scan, metadata=stubs.metadata).items]
        self.assertEqual([v for v in values if v not in (b"", b"1", text)], [])
        self.assertGreaterEqual(values.count(text), 3)
        # A value without encryption takes its place, as by any PUT.
        r.execute_command("SET", "s3small", "new")
        self.assertEqual(r.execute_command("GET", "s3small"), b"new")
        r.execute_command("COPY", "kmssmall", "elsewhere", "DB", "0")
        r.execute_command("SELECT", "0")
        with self.assertRaisesRegex(redis.ResponseError, "encrypted"):
            r.execute_command("GET", "elsewhere")
        self.assertEqual(self.read("elsewhere", "db0"), text)
        r.execute_command("DEL", "elsewhere")

    def user(self, name, *statements):
        iam = Session().create_client("iam", endpoint_url="http://127.0.0.1:%d" % self.server.http, region_name="us-east-1",
                                      aws_access_key_id=USER, aws_secret_access_key=PASSWORD)
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return Session().create_client("s3", endpoint_url="http://127.0.0.1:%d" % self.server.http, region_name="us-east-1",
                                       aws_access_key_id=made["AccessKeyId"], aws_secret_access_key=made["SecretAccessKey"])

    def test_policies_see_of_parts_what_their_upload_was_begun_with(self):
        """Parts have no header of it, so that who had to encrypt could not upload in parts."""
        self.s3.put_object(Bucket="bucket", Key="source", Body=b"s" * 1000)
        key_id = self.kms.create_key()["KeyMetadata"]["Arn"]
        header = "s3:x-amz-server-side-encryption"
        demands = {
            "any": ({"Null": {header: "true"}}, [MODES["s3"], MODES["kms"]], [{}, CUSTOMER]),
            "aes": ({"StringNotEquals": {header: "AES256"}}, [MODES["s3"]], [{}, MODES["kms"], CUSTOMER]),
            "key": ({"StringNotEquals": {header + "-aws-kms-key-id": key_id}}, [{**MODES["kms"], "SSEKMSKeyId": key_id}], [MODES["kms"], MODES["s3"]]),
            "customer": ({"Null": {header + "-customer-algorithm": "true"}}, [CUSTOMER], [{}, MODES["s3"]]),
        }
        for name, (condition, may, may_not) in demands.items():
            s3 = self.user("demands-" + name, {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
                           {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*", "Condition": condition})
            for how in may:
                to = dict(Bucket="bucket", Key="demanded")
                to["UploadId"] = s3.create_multipart_upload(**to, **how)["UploadId"]
                with_key = CUSTOMER if how == CUSTOMER else {}
                first = s3.upload_part(PartNumber=1, Body=b"p" * PART, **with_key, **to)["ETag"]
                last = s3.upload_part_copy(PartNumber=2, CopySource="bucket/source", **with_key, **to)["CopyPartResult"]["ETag"]
                parts = {"Parts": [{"PartNumber": 1, "ETag": first}, {"PartNumber": 2, "ETag": last}]}
                for _ in range(1 if name == "key" else 2):  # as clients do that heard no answer
                    s3.complete_multipart_upload(MultipartUpload=parts, **to)
                self.assertEqual(self.read("demanded", **with_key) == b"p" * PART + b"s" * 1000, True)
            for how in may_not:
                to = dict(Bucket="bucket", Key="not-demanded")
                self.assertEqual(self.refused(s3.create_multipart_upload, **to, **how), ("AccessDenied", 403), (name, how))
                to["UploadId"] = self.s3.create_multipart_upload(**to, **how)["UploadId"]
                with_key = CUSTOMER if how == CUSTOMER else {}
                self.assertEqual(self.refused(s3.upload_part, PartNumber=1, Body=b"", **with_key, **to), ("AccessDenied", 403))
                self.assertEqual(self.refused(s3.upload_part_copy, PartNumber=1, CopySource="bucket/source", **with_key, **to), ("AccessDenied", 403))
                self.assertEqual(self.refused(s3.complete_multipart_upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": "x"}]}, **to),
                                 ("AccessDenied", 403))
                self.s3.abort_multipart_upload(**to)
            none = dict(Bucket="bucket", Key="demanded", UploadId="none")
            self.assertEqual(self.refused(s3.upload_part, PartNumber=1, Body=b"", **none), ("AccessDenied", 403))

    def test_what_was_begun_empty_can_be_copied(self):
        """Into another mode it answered InternalError, as if it were damaged."""
        for mode in ("s3", "kms", "customer"):
            self.s3.put_object(Bucket="bucket", Key="log", Body=b"", **MODES[mode])
            self.put_behind("log", b"0123456789", 0, **MODES[mode])
            for to, how in MODES.items():
                source = OF_SOURCE if mode == "customer" else {}
                self.s3.copy_object(Bucket="bucket", Key="log-" + to, CopySource="bucket/log", **how, **source)
                self.assertEqual(self.read("log-" + to, **(reading(to) if to != "none" else {})), b"0123456789")

    def test_no_swap_brings_plaintext_into_a_database_that_encrypts(self):
        self.s3.put_bucket_encryption(Bucket="db3", ServerSideEncryptionConfiguration=rule("AES256"))
        r = self.entered("4")
        r.execute_command("SET", "swapped", "plaintext")
        for pair in ((3, 4), (4, 3)):
            with self.assertRaisesRegex(redis.ResponseError, "encrypted"):
                r.execute_command("SWAPDB", *pair)
        self.assertEqual(r.execute_command("GET", "swapped"), b"plaintext")
        self.s3.put_bucket_encryption(Bucket="db4", ServerSideEncryptionConfiguration=rule("AES256"))
        r.execute_command("SWAPDB", 3, 4)
        for database in ("db3", "db4"):
            self.s3.delete_bucket_encryption(Bucket=database)
        r.execute_command("SWAPDB", 3, 4)
        r.execute_command("DEL", "swapped")

    def test_keys_of_the_ring(self):
        key = self.kms.create_key(Description="first")["KeyMetadata"]
        arn, key_id = key["Arn"], key["KeyId"]
        self.assertEqual((key["Enabled"], key["KeyState"], key["Description"]), (True, "Enabled", "first"))
        self.assertEqual(self.kms.describe_key(KeyId=arn)["KeyMetadata"], key)
        self.assertIn(key_id, [k["KeyId"] for k in self.kms.list_keys()["Keys"]])
        context = base64.b64encode(b'{"b": "2", "a": "1"}').decode()
        how = dict(ServerSideEncryption="aws:kms", SSEKMSKeyId=key_id, SSEKMSEncryptionContext=context, BucketKeyEnabled=True)
        put = self.s3.put_object(Bucket="bucket", Key="ring", Body=b"x" * 100_000, **how)
        self.assertEqual((put["SSEKMSKeyId"], put["BucketKeyEnabled"]), (arn, True))
        self.assertEqual(base64.b64decode(put["SSEKMSEncryptionContext"]), b'{"a":"1","b":"2"}')
        for _ in range(3):
            self.call_kms("RotateKeyOnDemand", KeyId=key_id)
        rotations = self.call_kms("ListKeyRotations", KeyId=key_id)["Rotations"]
        self.assertEqual(len(rotations), 3)
        first = self.call_kms("ListKeyRotations", KeyId=key_id, Limit=2)
        self.assertEqual((first["Rotations"], first["Truncated"]), (rotations[:2], True))
        rest = self.call_kms("ListKeyRotations", KeyId=key_id, Limit=2, Marker=first["NextMarker"])
        self.assertEqual((rest["Rotations"], rest["Truncated"]), (rotations[2:], False))
        self.s3.put_object(Bucket="bucket", Key="ring2", Body=b"y", **how)
        self.assertEqual(self.call_kms("ListKeyRotations", 400, KeyId=key_id, Marker="none")["__type"], "InvalidMarkerException")
        self.assertEqual(self.call_kms("CreateKey", 400, Description=5)["__type"], "SerializationException")
        self.kms.disable_key(KeyId=key_id)
        self.assertEqual(self.kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"], "Disabled")
        self.assertEqual(self.refused(self.s3.get_object, Bucket="bucket", Key="ring"), ("KMS.DisabledException", 400))
        self.assertEqual(self.refused(self.s3.put_object, Bucket="bucket", Key="ring3", Body=b"", **how), ("KMS.DisabledException", 400))
        self.kms.enable_key(KeyId=key_id)
        self.assertEqual((self.read("ring"), self.read("ring2")), (b"x" * 100_000, b"y"))
        self.kms.update_key_description(KeyId=key_id, Description="other")
        self.assertEqual(self.kms.describe_key(KeyId=key_id)["KeyMetadata"]["Description"], "other")
        self.assertEqual(self.refused(self.kms.describe_key, KeyId="none")[0], "NotFoundException")
        self.assertEqual(self.refused(self.kms.create_key, KeySpec="RSA_2048")[0], "UnsupportedOperationException")
        self.assertEqual(self.refused(self.kms.schedule_key_deletion, KeyId=key_id)[0], "UnknownOperationException")
        self.assertEqual(self.kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]["KeyManager"], "AWS")
        self.assertEqual(self.refused(self.kms.disable_key, KeyId="alias/aws/s3")[0], "UnsupportedOperationException")
        # Rights of their own.
        iam = Session().create_client("iam", endpoint_url="http://127.0.0.1:%d" % self.server.http, region_name="us-east-1",
                                      aws_access_key_id=USER, aws_secret_access_key=PASSWORD)
        iam.create_user(UserName="keeper")
        made = iam.create_access_key(UserName="keeper")["AccessKey"]
        keeper = self.kms_client(made["AccessKeyId"], made["SecretAccessKey"])
        self.assertEqual(self.refused(keeper.list_keys)[0], "AccessDeniedException")
        iam.put_user_policy(UserName="keeper", PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["kms:DescribeKey", "kms:RotateKeyOnDemand"], "Resource": arn}]}))
        self.assertEqual(keeper.describe_key(KeyId=key_id)["KeyMetadata"]["KeyId"], key_id)
        self.assertEqual(self.refused(keeper.describe_key, KeyId="alias/aws/s3")[0], "AccessDeniedException")
        self.assertEqual(self.refused(keeper.disable_key, KeyId=key_id)[0], "AccessDeniedException")
        wrong = self.kms_client(USER, "wrong-password")
        self.assertEqual(self.refused(wrong.list_keys)[0], "InvalidSignatureException")

    def test_with_awscli(self):
        env = dict(os.environ, AWS_ACCESS_KEY_ID=USER, AWS_SECRET_ACCESS_KEY=PASSWORD, AWS_DEFAULT_REGION="us-east-1")

        def aws(*words):
            return subprocess.run(["aws", "--endpoint-url", "http://127.0.0.1:%d" % self.server.http, *words], env=env, check=True, capture_output=True)
        path, back = os.path.join(self.server.directory, "file"), os.path.join(self.server.directory, "back")
        data = self.bytes(20_000_000)
        with open(path, "wb") as f:
            f.write(data)
        key = os.path.join(self.server.directory, "key")
        with open(key, "wb") as f:
            f.write(KEY)
        for words, reads in ((["--sse"], []), (["--sse", "aws:kms"], []), (["--sse-c", "AES256", "--sse-c-key", "fileb://" + key],) * 2):
            aws("s3", "cp", path, "s3://bucket/cli", *words)
            aws("s3", "cp", "s3://bucket/cli", back, *reads)
            with open(back, "rb") as f:
                self.assertEqual(f.read() == data, True, words)
        aws("s3api", "put-bucket-encryption", "--bucket", "bucket", "--server-side-encryption-configuration", json.dumps(rule("AES256")))
        aws("s3api", "get-bucket-encryption", "--bucket", "bucket")
        aws("s3api", "delete-bucket-encryption", "--bucket", "bucket")


class Restarts(unittest.TestCase):
    """What a kill leaves, and what lies on the disk."""
    def test_nothing_of_it_lies_in_the_directory(self):
        server = Server(args=["--memory=%d" % (8 << 20)])
        try:
            s3 = server.s3()
            s3.create_bucket(Bucket="bucket")
            s3.put_bucket_encryption(Bucket="bucket", ServerSideEncryptionConfiguration=rule("AES256"))
            filler = os.urandom
            objects = {}
            for mode, how in MODES.items():
                for n in (1, 3000, 200_000):
                    objects[mode, n] = (MARKER + filler(20)) * n
                    objects[mode, n] = objects[mode, n][:2 << 20]
                    s3.put_object(Bucket="bucket", Key="%s/%d" % (mode, n), Body=objects[mode, n], **how)
            upload = s3.create_multipart_upload(Bucket="bucket", Key="open")["UploadId"]
            part = s3.upload_part(Bucket="bucket", Key="open", UploadId=upload, PartNumber=1, Body=MARKER * 300_000)
            server.restart()
            s3 = server.s3()
            s3.complete_multipart_upload(Bucket="bucket", Key="open", UploadId=upload,
                                         MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
            self.assertEqual(s3.get_object(Bucket="bucket", Key="open")["Body"].read() == MARKER * 300_000, True)
            for (mode, n), data in objects.items():
                got = s3.get_object(Bucket="bucket", Key="%s/%d" % (mode, n), **reading(mode))
                self.assertEqual(got["Body"].read() == data, True, (mode, n))
            server.redis().execute_command("BGSAVE")
            self.assertEqual(server.stop(), 0)
            directory = os.path.join(server.directory, "data")
            found = subprocess.run(["grep", "-rlaF", MARKER.decode(), directory], capture_output=True, text=True)
            self.assertEqual((found.returncode, found.stdout), (1, ""))
            found = subprocess.run(["grep", "-rlaF", (KEY * 1).decode(), directory], capture_output=True, text=True)
            self.assertEqual((found.returncode, found.stdout), (1, ""))
            # Under another master key it is not served; with the right one it is.
            wrong = Server.__new__(Server)
            wrong.__dict__.update(server.__dict__)
            wrong.env = dict(server.env, CAIRN_MASTER_KEY="00" * 32)
            with self.assertRaisesRegex(RuntimeError, "sealed under another master key"):
                wrong.start()
            wrong.process.wait()
            server.start()
            self.assertEqual(server.s3().get_object(Bucket="bucket", Key="s3/1")["Body"].read(), objects["s3", 1])
        finally:
            server.remove()

    def test_a_store_goes_on_without_the_keys_of_another_master(self):
        """A repair was wanted at each start, and nothing could be encrypted any more."""
        server = Server(env={"CAIRN_MASTER_KEY": "11" * 32})
        def start(master, *args):
            self.assertEqual(server.stop(), 0)
            server.env["CAIRN_MASTER_KEY"], server.args = master * 32, list(args)
            try:
                server.start()
            except RuntimeError as e:
                server.process.wait()
                return str(e)
        def kms():
            return Session().create_client("kms", endpoint_url="http://127.0.0.1:%d" % server.http, region_name="us-east-1",
                                           aws_access_key_id=USER, aws_secret_access_key=PASSWORD)
        def code(call, **kwargs):
            with self.assertRaises(ClientError) as e:
                call(**kwargs)
            return e.exception.response["Error"]["Code"], e.exception.response["ResponseMetadata"]["HTTPStatusCode"]
        def read(key):
            return server.s3().get_object(Bucket="bucket", Key=key)["Body"].read()
        lost = ("KMS.KMSInvalidStateException", 400)
        try:
            s3 = server.s3()
            s3.create_bucket(Bucket="bucket")
            mine = kms().create_key(Description="mine")["KeyMetadata"]["KeyId"]
            old = {"old-s3": MODES["s3"], "old-kms": MODES["kms"], "old-mine": {**MODES["kms"], "SSEKMSKeyId": mine}}
            for key, how in old.items():
                s3.put_object(Bucket="bucket", Key=key, Body=key.encode() * 1000, **how)
            self.assertIn("3 encryption keys are sealed under another master key", start("22"))
            server.args = ["--repair"]
            server.start()
            for round in range(2):
                s3 = server.s3()
                for key, how in old.items():
                    self.assertEqual(code(s3.get_object, Bucket="bucket", Key=key), lost)
                    if key != "old-mine":
                        new = key.replace("old", "new")
                        s3.put_object(Bucket="bucket", Key=new, Body=new.encode() * 1000, **how)
                        self.assertEqual(read(new), new.encode() * 1000)
                self.assertEqual(code(s3.put_object, Bucket="bucket", Key="x", Body=b"", **old["old-mine"]), lost)
                states = [kms().describe_key(KeyId=k["KeyId"])["KeyMetadata"]["KeyState"] for k in kms().list_keys()["Keys"]]
                self.assertEqual(sorted(states), ["Enabled"] * 2 + ["Unavailable"] * 3)
                self.assertEqual(len(kms().list_aliases()["Aliases"]), 1)
                kms().update_key_description(KeyId=mine, Description="lost")  # and it stays so
                self.assertIsNone(start("22"))  # once is enough
            # Nothing was destroyed: with the old master key it is the other way round.
            self.assertIn("2 encryption keys are sealed under another master key", start("11"))
            server.args = ["--repair"]
            server.start()
            for round in range(2):
                for key in old:
                    self.assertEqual(read(key), key.encode() * 1000)
                    server.s3().put_object(Bucket="bucket", Key=key, Body=key.encode() * 1000, **old[key])
                for key in ("new-s3", "new-kms"):
                    self.assertEqual(code(server.s3().get_object, Bucket="bucket", Key=key), lost)
                self.assertIsNone(start("11"))
            # What is in use again is not given up for good.
            self.assertIn("3 encryption keys are sealed under another master key", start("33"))
            server.args = []
            server.env["CAIRN_MASTER_KEY"] = "11" * 32
            server.start()
        finally:
            server.remove()

    def test_a_customers_key_does_not_travel_in_the_open(self):
        # Over TLS, or from this machine: the test is from this machine, so that only the refusal of a stranger cannot be seen here.
        server = Server()
        try:
            s3 = server.s3()
            s3.create_bucket(Bucket="bucket")
            s3.put_object(Bucket="bucket", Key="key", Body=b"x", **CUSTOMER)
            log = open(server.log.name, "rb").read()
            self.assertNotIn(base64.b64encode(KEY), log)
        finally:
            server.remove()


if __name__ == "__main__":
    unittest.main()
