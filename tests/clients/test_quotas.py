"""Quotas of buckets, databases and users: set over HTTP and gRPC, refused at each door in its own words."""
import base64
import json
import socket
import unittest
import urllib.error
import urllib.request

import grpc
import redis
from botocore.exceptions import ClientError

import test_users
from harness import PASSWORD, USER, Case
from test_s3 import signed


def basic(user, password):
    return "Basic " + base64.b64encode(("%s:%s" % (user, password)).encode()).decode()


class Quotas(Case):
    client, iam, user, rpc_code = (getattr(test_users.Users, name) for name in ("client", "iam", "user", "rpc_code"))

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3 = cls.server.s3()

    def quota(self, method, path, body=None, who=(USER, PASSWORD)):
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request("http://127.0.0.1:%d/-/quota/%s" % (self.server.http, path), data=data,
                                         method=method, headers={"Authorization": basic(*who)} if who else {})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                self.assertEqual(answer.headers.get_all("content-type"), ["application/json"])
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def set(self, path, **quota):
        status, answer = self.quota("PUT", path, quota)
        self.assertEqual(status, 200, answer)
        return answer

    def used(self, path):
        answer = self.quota("GET", path)[1]
        return answer["used_bytes"], answer["used_keys"]

    def bucket(self, name, **quota):
        self.s3.create_bucket(Bucket=name)
        if quota:
            self.set("namespace/" + name, **quota)
        return name

    def refused(self, call, **kwargs):
        with self.assertRaises(ClientError) as e:
            call(**kwargs)
        r = e.exception.response
        return r["Error"]["Code"], r["ResponseMetadata"]["HTTPStatusCode"], r["Error"]["Message"]

    def test_at_the_s3_door(self):
        b = self.bucket("full", bytes=10000)
        words = "the quota of 10000 bytes for 'full' is used up"
        self.s3.put_object(Bucket=b, Key="a", Body=b"x" * 5000)
        self.assertEqual(self.refused(self.s3.put_object, Bucket=b, Key="b", Body=b"x" * 5000), ("QuotaExceeded", 403, words))
        self.assertEqual(self.refused(self.s3.copy_object, Bucket=b, Key="b", CopySource="full/a"), ("QuotaExceeded", 403, words))
        self.s3.put_object(Bucket=b, Key="a", Body=b"x" * 5000)
        self.s3.put_object(Bucket=b, Key="a", Body=b"x" * 100)
        self.s3.copy_object(Bucket=b, Key="b", CopySource="full/a")
        self.s3.delete_object(Bucket=b, Key="a")
        self.assertEqual(self.used("namespace/full")[1], 1)

    def test_refused_before_the_body(self):
        self.bucket("early", bytes=10000)
        headers, *_ = signed("PUT", self.server.http, "/early/k", headers={"content-length": "1000000000",
                                                                            "x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
        with socket.create_connection(("127.0.0.1", self.server.http), 60) as s:
            head = "PUT /early/k HTTP/1.1\r\n" + "".join("%s: %s\r\n" % h for h in headers.items())
            s.sendall((head + "\r\n").encode())
            answer = s.recv(65536)
        self.assertIn(b" 403 ", answer.split(b"\r\n")[0])
        self.assertIn(b"<Code>QuotaExceeded</Code>", answer)

    def test_multipart(self):
        b = self.bucket("parts", bytes=12 << 20)
        def upload(sizes):
            u = self.s3.create_multipart_upload(Bucket=b, Key="m")["UploadId"]
            parts = [{"PartNumber": n, "ETag": self.s3.upload_part(Bucket=b, Key="m", UploadId=u, PartNumber=n, Body=b"x" * size)["ETag"]}
                     for n, size in enumerate(sizes, 1)]
            return lambda: self.s3.complete_multipart_upload(Bucket=b, Key="m", UploadId=u, MultipartUpload={"Parts": parts})
        complete = upload([5 << 20, 5 << 20, 4 << 20])
        self.assertEqual(self.refused(complete)[:2], ("QuotaExceeded", 403))
        self.assertEqual(self.used("namespace/parts"), (0, 0))
        self.set("namespace/parts", bytes=20 << 20)
        complete()  # the upload is still there
        u = self.s3.create_multipart_upload(Bucket=b, Key="n")["UploadId"]
        self.assertEqual(self.refused(self.s3.upload_part, Bucket=b, Key="n", UploadId=u, PartNumber=1, Body=b"x" * (7 << 20))[:2],
                         ("QuotaExceeded", 403))

    def test_versions_count(self):
        b = self.bucket("versioned", bytes=3500)
        self.s3.put_bucket_versioning(Bucket=b, VersioningConfiguration={"Status": "Enabled"})
        first = self.s3.put_object(Bucket=b, Key="k", Body=b"x" * 1000)["VersionId"]
        self.s3.put_object(Bucket=b, Key="k", Body=b"x" * 1000)
        self.assertEqual(self.refused(self.s3.put_object, Bucket=b, Key="k", Body=b"x" * 1500)[:2], ("QuotaExceeded", 403))
        self.set("namespace/versioned", bytes=1)
        self.s3.delete_object(Bucket=b, Key="k")  # makes a marker, and goes
        self.s3.delete_object(Bucket=b, Key="k", VersionId=first)
        self.assertEqual(self.used("namespace/versioned")[1], 2)

    def test_at_the_redis_door(self):
        r = self.server.redis(db=5)
        self.set("namespace/db5", bytes=1000, keys=3)
        r.set("a", "x" * 900)
        with self.assertRaises(redis.exceptions.ResponseError) as e:
            r.set("b", "x" * 200)
        self.assertEqual(str(e.exception), "OOM command not allowed: the quota of 1000 bytes for 'db5' is used up")
        self.assertEqual(r.rename("a", "c"), True)
        with self.assertRaises(redis.exceptions.ResponseError):
            r.hset("h", "f", "x" * 200)
        r.hset("h", "f", "v")
        with self.assertRaises(redis.exceptions.ResponseError):
            r.rpush("h2", *(["x" * 50] * 3))
        with self.assertRaises(redis.exceptions.ResponseError):
            r.append("c", "x" * 200)
        r.set("d", "1")
        with self.assertRaises(redis.exceptions.ResponseError) as e:
            r.set("e", "1")
        self.assertIn("the quota of 3 keys", str(e.exception))
        self.assertEqual(r.incr("d"), 2)
        self.assertEqual(r.dbsize(), 3)
        self.assertEqual(r.delete("c", "d"), 2)
        r.flushdb()
        self.assertEqual(self.used("namespace/db5"), (0, 0))

    def test_transactions_and_scripts_are_refused_as_a_whole(self):
        r = self.server.redis(db=6)
        self.set("namespace/db6", bytes=100)
        with self.assertRaises(redis.exceptions.RedisError) as e:
            r.pipeline(transaction=True).set("a", "1").set("b", "x" * 200).execute()
        self.assertIn("the quota of 100 bytes for 'db6' is used up", str(e.exception))
        self.assertEqual(r.dbsize(), 0)
        with self.assertRaises(redis.exceptions.RedisError) as e:
            r.eval("redis.call('set', KEYS[1], '1') redis.call('set', KEYS[2], ARGV[1]) return 1", 2, "a", "b", "x" * 200)
        self.assertIn("the quota of 100 bytes for 'db6' is used up", str(e.exception))
        self.assertEqual(r.dbsize(), 0)
        self.assertEqual(r.pipeline(transaction=True).set("a", "x" * 90).delete("a").set("b", "x" * 90).execute(), [True, 1, True])

    def test_over_grpc(self):
        g = self.server.grpc_stubs()
        pb = g.admin_pb
        g.admin.SetQuota(pb.SetQuotaRequest(namespace="db7", quota=pb.Quota(bytes=1000)), metadata=g.metadata)
        put = lambda n: g.kv.Put(g.kv_pb.PutRequest(key=g.key("db7", "k"), value=b"x" * n), metadata=g.metadata)
        put(500)
        with self.assertRaises(grpc.RpcError) as e:
            put(2000)
        self.assertEqual(e.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertEqual(e.exception.details(), "the quota of 1000 bytes for 'db7' is used up")
        with self.assertRaises(grpc.RpcError) as e:
            g.upload("db7", "big", b"x" * 5000)
        self.assertEqual(e.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        a = g.admin.GetQuota(pb.GetQuotaRequest(namespace="db7"), metadata=g.metadata)
        self.assertEqual((a.quota.bytes, a.quota.HasField("keys"), a.used_bytes, a.used_keys), (1000, False, 501, 1))
        for request in (pb.GetQuotaRequest(namespace="nowhere"), pb.GetQuotaRequest(user="nobody")):
            self.assertEqual(self.rpc_code(g, g.admin.GetQuota, request), "NOT_FOUND")
        for request in (pb.SetQuotaRequest(), pb.SetQuotaRequest(user=USER), pb.SetQuotaRequest(user="a", counts_for="b"),
                        pb.SetQuotaRequest(namespace="db7", quota=pb.Quota(bytes=2**64 - 1))):
            self.assertEqual(self.rpc_code(g, g.admin.SetQuota, request), "INVALID_ARGUMENT", request)

    def test_of_users(self):
        key = self.user("tenant", ("Allow", "s3:*", "*"), password="tenants-own-password")
        his = self.client("s3", key)
        his.create_bucket(Bucket="tenant-one")
        his.create_bucket(Bucket="tenant-two")
        self.set("user/tenant", bytes=3000)
        his.put_object(Bucket="tenant-one", Key="a", Body=b"x" * 1000)
        his.put_object(Bucket="tenant-two", Key="a", Body=b"x" * 1000)
        self.assertEqual(self.refused(his.put_object, Bucket="tenant-two", Key="b", Body=b"x" * 1000),
                         ("QuotaExceeded", 403, "the quota of 3000 bytes for the user who has 'tenant-two' is used up"))
        # Whoever writes into what is his.
        self.assertEqual(self.refused(self.s3.put_object, Bucket="tenant-one", Key="b", Body=b"x" * 1000)[:2], ("QuotaExceeded", 403))
        self.s3.put_object(Bucket=self.bucket("of-nobody"), Key="b", Body=b"x" * 10000)
        used = self.used("user/tenant")
        self.assertEqual(used[1], 2)
        self.assertEqual(self.quota("GET", "namespace/tenant-one")[1]["user"], "tenant")
        self.assertEqual(self.set("namespace/db8", user="tenant")["user"], "tenant")
        self.assertEqual(self.set("namespace/db8", bytes=5)["user"], "tenant")
        self.assertEqual(self.set("namespace/db8", user=None)["user"], None)
        # He does not lift it.
        for method, path in (("PUT", "user/tenant"), ("PUT", "namespace/tenant-one"), ("DELETE", "namespace/tenant-one"), ("GET", "user/tenant")):
            self.assertEqual(self.quota(method, path, {} if method == "PUT" else None, who=("tenant", "tenants-own-password"))[0], 403)
        self.server.restart()
        type(self).s3 = self.server.s3()
        self.assertEqual(self.used("user/tenant"), used)
        his = self.client("s3", key)
        self.assertEqual(self.refused(his.put_object, Bucket="tenant-two", Key="b", Body=b"x" * 1000)[:2], ("QuotaExceeded", 403))
        self.assertEqual(self.quota("DELETE", "user/tenant")[0], 200)
        his.put_object(Bucket="tenant-two", Key="b", Body=b"x" * 1000)

    def test_who_may_and_what_is_none(self):
        self.assertEqual(self.quota("GET", "namespace/db0", who=None)[0], 401)
        self.assertEqual(self.quota("GET", "namespace/db0", who=(USER, "wrong"))[0], 401)
        for path in ("", "namespace", "namespace/", "bucket/db0", "user/"):
            self.assertEqual(self.quota("GET", path)[0], 404, path)
        self.assertEqual(self.quota("GET", "namespace/nowhere")[0], 404)
        self.assertEqual(self.quota("PUT", "user/nobody", {})[0], 404)
        self.assertEqual(self.quota("PUT", "user/" + USER, {})[0], 400)
        self.assertEqual(self.quota("PUT", "namespace/db0", {"user": "nobody"})[0], 404)
        for body in (b"", b"[]", b"{", b"7", {"bytes": -1}, {"bytes": 1.5}, {"bytes": "1"}, {"keys": 2**64}, {"keys": 2**64 - 1},
                     {"byte": 1}, {"user": 1}, b"[" * 3000, b"{} x"):
            self.assertEqual(self.quota("PUT", "namespace/db0", body)[0], 400, body)
        self.assertEqual(self.quota("PUT", "namespace/db0", b" " * 5000)[0], 413)
        self.assertEqual(self.quota("POST", "namespace/db0", {})[0], 405)

if __name__ == "__main__":
    unittest.main()
