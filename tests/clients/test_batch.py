"""Many objects in one answer: GetBatch over HTTP, as tar, and over gRPC."""
import hashlib
import io
import tarfile
import unittest
import urllib.error
import urllib.request
from xml.sax.saxutils import escape

import grpc
from botocore.exceptions import ClientError

import test_users
from harness import PASSWORD, USER, Case
from test_s3 import signed


class Batch(Case):
    client, iam, user = (getattr(test_users.Users, name) for name in ("client", "iam", "user"))

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3 = cls.server.s3()
        cls.s3.create_bucket(Bucket="batch")
        cls.objects = {"a": b"", "b/c": b"x" * 511, "d": b"y" * 512, "big": bytes(range(256)) * (12 << 10), "e" * 300: b"long name",
                       "\u00e4\u4e2d": b"not ASCII", "s": b"z" * 70000, "dots..up": b"up"}
        for key, body in cls.objects.items():
            cls.s3.put_object(Bucket="batch", Key=key, Body=body)

    def ask(self, keys, missing=None, bucket="batch", body=None, who=(USER, PASSWORD)):
        """Status and the answer's body."""
        text = body if body is not None else "<GetBatch>%s%s</GetBatch>" % (
            "".join("<Object><Key>%s</Key>%s</Object>" % (
                (escape(k), "") if isinstance(k, str) else (escape(k[0]), "<VersionId>%s</VersionId>" % k[1])) for k in keys),
            "<Missing>%s</Missing>" % missing if missing else "")
        data = text.encode()
        path = "/" + bucket
        headers, *_ = signed("POST", self.server.http, path, "get-batch=", None, hashlib.sha256(data).hexdigest(),
                             access_key=who[0], secret=who[1])
        request = urllib.request.Request("http://127.0.0.1:%d%s?get-batch=" % (self.server.http, path), data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def members(self, *args, **kwargs):
        status, body = self.ask(*args, **kwargs)
        self.assertEqual(status, 200, body)
        self.assertEqual(body[-1024:], b"\0" * 1024)
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            return [(m.name, archive.extractfile(m).read(), m.pax_headers.get("CAIRN.error")) for m in archive]

    def test_in_the_order_of_the_request(self):
        keys = ["s", "big", "a", "e" * 300, "\u00e4\u4e2d", "d", "b/c", "dots..up", "a", "big"]
        self.assertEqual(self.members(keys), [(k, self.objects[k], None) for k in keys])

    def test_as_a_stream_with_its_times(self):
        status, body = self.ask(["big", "d"])
        with tarfile.open(fileobj=io.BytesIO(body), mode="r|") as archive:
            times = {m.name: m.mtime for m in archive}
        for key in ("big", "d"):
            self.assertEqual(times[key], self.s3.head_object(Bucket="batch", Key=key)["LastModified"].timestamp())

    def test_a_thousand(self):
        self.assertEqual(len(self.members(["d"] * 1000)), 1000)
        self.assertIn("MalformedXML", self.ask(["d"] * 1001)[1])

    def test_what_is_missing(self):
        self.server.redis().execute_command("HSET", "h", "f", "v")
        self.assertEqual(self.members(["d", "none", "a"]), [("d", self.objects["d"], None), ("__404__/none", b"", "NoSuchKey"), ("a", b"", None)])
        status, body = self.ask(["d", "none", "a"], "fail")
        self.assertEqual(status, 404)
        self.assertIn("<Code>NoSuchKey</Code>", body)
        self.assertIn("<Key>none</Key>", body)
        self.assertEqual(self.members(["h"], bucket="db0"), [("__400__/h", b"", "InvalidRequest")])
        self.assertEqual(self.ask(["d"], bucket="nowhere")[0], 404)

    def test_encrypted(self):
        self.s3.put_object(Bucket="batch", Key="sealed", Body=b"s" * 70001, ServerSideEncryption="AES256")
        self.s3.put_object(Bucket="batch", Key="customers", Body=b"c", SSECustomerAlgorithm="AES256", SSECustomerKey=b"k" * 32)
        found = self.members(["sealed", "customers", "d"])
        self.assertEqual(found, [("sealed", b"s" * 70001, None), ("__400__/customers", b"", "InvalidRequest"), ("d", self.objects["d"], None)])
        self.assertEqual(self.ask(["sealed", "d"], "fail")[0], 200)
        status, body = self.ask(["sealed", "customers"], "fail")
        self.assertEqual((status, "<Code>InvalidRequest</Code>" in body, "<Key>customers</Key>" in body), (400, True, True), body)

    def test_versions(self):
        self.s3.create_bucket(Bucket="batch-versions")
        self.s3.put_bucket_versioning(Bucket="batch-versions", VersioningConfiguration={"Status": "Enabled"})
        put = lambda body: self.s3.put_object(Bucket="batch-versions", Key="k", Body=body)["VersionId"]
        first, second = put(b"1"), put(b"2")
        marker = self.s3.delete_object(Bucket="batch-versions", Key="k")["VersionId"]
        none = first[:-1] + ("a" if first[-1] != "a" else "b")
        found = self.members([("k", second), ("k", first), "k", ("k", marker), ("k", none)], bucket="batch-versions")
        self.assertEqual([m[1:] for m in found[:2]], [(b"2", None), (b"1", None)])
        self.assertEqual([m[2] for m in found[2:]], ["NoSuchKey", "MethodNotAllowed", "NoSuchVersion"])

    def test_each_is_asked_for(self):
        key = self.user("batcher", ("Allow", "s3:GetObject", "arn:aws:s3:::batch/b/*"))
        found = self.members(["b/c", "d", "none"], who=key)
        self.assertEqual(found, [("b/c", self.objects["b/c"], None), ("__403__/d", b"", "AccessDenied"), ("__403__/none", b"", "AccessDenied")])
        status, body = self.ask(["b/c", "d"], "fail", who=key)
        self.assertEqual(status, 403)
        self.assertEqual(self.members(["b/none"], who=key)[0][2], "AccessDenied")  # who may not list is not told

    def test_what_is_no_request(self):
        for body in ("", "<GetBatch/>", "<GetBatch><Object/></GetBatch>", "<GetBatch><Object><Key/></Object></GetBatch>", "<Delete/>",
                     "<GetBatch><Object><Key>a</Key><Key>b</Key></Object></GetBatch>",
                     "<GetBatch><Object><Key>a</Key></Object><Missing>x</Missing></GetBatch>",
                     "<GetBatch><Object><Key>a</Key></Object><Other/></GetBatch>", "<GetBatch><Object><Key>a</Key>"):
            status, answer = self.ask([], body=body)
            self.assertEqual((status, "MalformedXML" in answer), (400, True), body)
        self.assertIn("KeyTooLongError", self.ask(["k" * 1025])[1])

    def test_over_grpc(self):
        g = self.server.grpc_stubs()
        keys = ["s", "big", "a", "none", "d"]
        def ask(keys, **kwargs):
            request = g.objects_pb.GetBatchRequest(keys=[g.key("batch", k) for k in keys], **kwargs)
            found = []
            for m in g.objects.GetBatch(request, metadata=g.metadata):
                if m.WhichOneof("part") == "info":
                    found.append([m.info.key.key.decode(), b"", m.info.size_bytes])
                elif m.WhichOneof("part") == "data":
                    found[-1][1] += m.data
                else:
                    found.append([m.missing.key.key.decode(), None, m.missing.code])
            return found
        expected = [[k, self.objects[k], len(self.objects[k])] if k != "none" else ["none", None, 5] for k in keys]
        self.assertEqual(ask(keys, continue_on_error=True), expected)
        with self.assertRaises(grpc.RpcError) as e:
            ask(keys)
        self.assertEqual(e.exception.code(), grpc.StatusCode.NOT_FOUND)
        for keys in ([], ["a"] * 1001):
            with self.assertRaises(grpc.RpcError) as e:
                ask(keys)
            self.assertEqual(e.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)


if __name__ == "__main__":
    unittest.main()
