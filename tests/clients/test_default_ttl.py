"""What a bucket says of how long its objects stay that say nothing themselves."""
import unittest
import urllib.error
import urllib.request

from harness import Case
from test_s3 import signed


class DefaultTtl(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3 = cls.server.s3()

    def ask(self, method, bucket, ttl=None):
        headers = {} if ttl is None else {"x-cairn-ttl": str(ttl)}
        sent, *_ = signed(method, self.server.http, "/" + bucket, "cairn-ttl=", headers)
        request = urllib.request.Request("http://127.0.0.1:%d/%s?cairn-ttl=" % (self.server.http, bucket), headers=sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.headers.get("x-cairn-ttl")
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def bucket(self, name, ttl=3600):
        self.s3.create_bucket(Bucket=name)
        self.assertEqual(self.ask("PUT", name, ttl)[0], 200)
        return name

    def expires(self, bucket, key):
        """Whether the object expires, by the default."""
        r = self.server.redis()
        r.execute_command("SELECT", bucket)
        left = r.ttl(key)
        self.assertNotEqual(left, -2)
        return left > 0

    def test_set_shown_and_removed(self):
        b = self.bucket("shown", 60)
        self.assertEqual(self.ask("GET", b), (200, "60"))
        self.assertEqual(self.s3.head_bucket(Bucket=b)["ResponseMetadata"]["HTTPHeaders"]["x-cairn-ttl"], "60")
        self.server.restart()
        type(self).s3 = self.server.s3()
        self.assertEqual(self.ask("GET", b), (200, "60"))
        self.assertEqual(self.ask("DELETE", b)[0], 204)
        status, text = self.ask("GET", b)
        self.assertEqual((status, "NoSuchLifecycleConfiguration" in text), (404, True))
        for ttl in (None, 0, -1, "x", 1 << 41):
            self.assertEqual(self.ask("PUT", b, ttl)[0], 400, ttl)

    def test_of_objects(self):
        b = self.bucket("objects")
        self.s3.put_object(Bucket=b, Key="put", Body=b"x")
        self.s3.copy_object(Bucket=b, Key="copy", CopySource=b + "/put")
        u = self.s3.create_multipart_upload(Bucket=b, Key="parts")["UploadId"]
        part = self.s3.upload_part(Bucket=b, Key="parts", UploadId=u, PartNumber=1, Body=b"x")["ETag"]
        self.s3.complete_multipart_upload(Bucket=b, Key="parts", UploadId=u, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]})
        for key in ("put", "copy", "parts"):
            self.assertTrue(self.expires(b, key), key)
        r = self.server.redis()
        r.execute_command("SELECT", b)
        r.persist("put")
        self.s3.put_object_tagging(Bucket=b, Key="put", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
        self.assertFalse(self.expires(b, "put"))  # what is not written anew stays as it is
        self.ask("DELETE", b)
        self.s3.put_object(Bucket=b, Key="put", Body=b"x")
        self.assertFalse(self.expires(b, "put"))
        self.assertTrue(self.expires(b, "copy"))

    def test_of_commands(self):
        b = self.bucket("commands")
        r = self.server.redis()
        r.execute_command("SELECT", b)
        r.set("set", "1")
        r.mset({"mset": "1"})
        r.setnx("setnx", "1")
        r.getset("getset", "1")
        for key in ("set", "mset", "setnx", "getset"):
            self.assertTrue(r.ttl(key) > 0, key)
        r.set("own", "1", ex=1000000)
        self.assertGreater(r.ttl("own"), 3600)
        r.persist("set")
        r.set("set", "2", keepttl=True)
        r.incr("set")
        r.append("set", "0")
        self.assertEqual(r.ttl("set"), -1)
        r.hset("hash", "f", "v")
        r.incr("counter")
        self.assertEqual((r.ttl("hash"), r.ttl("counter")), (-1, -1))

    def test_over_grpc(self):
        b = self.bucket("over-grpc")
        g = self.server.grpc_stubs()
        g.kv.Put(g.kv_pb.PutRequest(key=g.key(b, "put"), value=b"x"), metadata=g.metadata)
        g.upload(b, "upload", b"x")
        for key in ("put", "upload"):
            self.assertTrue(self.expires(b, key), key)

    def test_where_versions_are_kept(self):
        self.s3.create_bucket(Bucket="kept")
        self.s3.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
        self.ask("PUT", "kept", 3600)
        self.s3.put_object(Bucket="kept", Key="k", Body=b"x")
        self.assertTrue(self.expires("kept", "k"))


if __name__ == "__main__":
    unittest.main()
