"""One namespace behind three doors: every pair of doors, the same bytes, version and expiry."""
import os
import time
import unittest

import grpc

from harness import PATIENCE, Case, wait_until


class Doors(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3, cls.rpc = cls.server.s3(), cls.server.grpc_stubs()
        cls.s3.create_bucket(Bucket="photos")

    def connection(self, namespace):
        c = self.server.redis().connection_pool.make_connection()
        c.connect()
        c.send_command("SELECT", namespace[2:] if namespace.startswith("db") else namespace)
        c.read_response()
        return c

    def redis(self, namespace, *command):
        c = self.connection(namespace)
        c.send_command(*command)
        try:
            return c.read_response()
        finally:
            c.disconnect()

    def put(self, door, ns, key, data):
        if door == "resp":
            self.assertEqual(self.redis(ns, "SET", key, data), b"OK")
        elif door == "http":
            self.s3.put_object(Bucket=ns, Key=key, Body=data)
        elif len(data) <= 3 << 20:
            self.rpc.kv.Put(self.rpc.kv_pb.PutRequest(key=self.rpc.key(ns, key), value=data), metadata=self.rpc.metadata)
        else:
            self.rpc.upload(ns, key, data)

    def get(self, door, ns, key):
        if door == "resp":
            return self.redis(ns, "GET", key)
        if door == "http":
            return self.s3.get_object(Bucket=ns, Key=key)["Body"].read()
        return self.rpc.download(ns, key)

    def version(self, door, ns, key):
        if door == "http":
            return int(self.s3.head_object(Bucket=ns, Key=key)["ResponseMetadata"]["HTTPHeaders"]["x-cairn-version"])
        return self.rpc.objects.Stat(self.rpc.objects_pb.StatRequest(key=self.rpc.key(ns, key)),
                                     metadata=self.rpc.metadata).info.version

    def test_every_pair_of_doors(self):
        for ns in ("photos", "db0", "db7"):
            for size in (1, 1024, 65535, 65536, 65537, 10 << 20):
                for writer in ("resp", "http", "grpc"):
                    data = os.urandom(size)
                    key = "k-%d-%s" % (size, writer)
                    self.put(writer, ns, key, data)
                    for reader in ("resp", "http", "grpc"):
                        self.assertEqual(self.get(reader, ns, key), data, (ns, size, writer, reader))
                    self.assertEqual(self.redis(ns, "STRLEN", key), size)
                    self.assertEqual(self.version("http", ns, key), self.version("grpc", ns, key))
                    part = data[size // 3:size // 3 + 100]
                    if part:
                        self.assertEqual(self.redis(ns, "GETRANGE", key, size // 3, size // 3 + 99), part)

    def test_when_a_value_was_written_is_one_time_at_every_door_and_in_every_life(self):
        """After a pause of the whole store, too: the log knew the time of its last write alone."""
        def modified(key):
            stat = self.rpc.objects.Stat(self.rpc.objects_pb.StatRequest(key=self.rpc.key("db5", key)),
                                         metadata=self.rpc.metadata)
            http = self.s3.head_object(Bucket="db5", Key=key)["LastModified"].timestamp()
            self.assertEqual(int(http), stat.info.modified_at_ms // 1000)
            return stat.info.modified_at_ms

        self.redis("db5", "SET", "first", "1")
        time.sleep(2.5)
        before = int(time.time())
        self.redis("db5", "SET", "second", "2")
        at_once = modified("second")
        self.assertLessEqual(before, at_once // 1000)
        first = modified("first")
        self.assertLess(first, at_once)
        self.redis("db5", "WAITAOF", 1, 0, 0)
        self.server.kill()
        self.server.start()
        type(self).s3, type(self).rpc = self.server.s3(), self.server.grpc_stubs()
        self.assertEqual((modified("first"), modified("second")), (first, at_once))

    def test_a_page_of_a_listing_ends_by_bytes(self):
        """Keys of Redis may be long, and XML takes three times as much."""
        keys = sorted("page-%04d-" % i + "\x01" * (4000 if i % 10 < 9 else 60000) for i in range(1000))
        c = self.connection("db9")
        for key in keys:
            c.send_command("SET", key, "1")
        for _ in keys:
            self.assertEqual(c.read_response(), b"OK")
        c.disconnect()
        pages = list(self.s3.get_paginator("list_objects_v2").paginate(Bucket="db9"))
        self.assertEqual([o["Key"] for p in pages for o in p.get("Contents", [])], keys)
        self.assertGreater(len(pages), 2)
        self.redis("db9", "FLUSHDB")

    def test_expiry_is_one(self):
        self.s3.put_object(Bucket="photos", Key="e", Body=b"x" * 100000)
        at = int(time.time() * 1000) + 1000000
        self.assertEqual(self.redis("photos", "PEXPIREAT", "e", at), 1)
        stat = self.rpc.objects.Stat(self.rpc.objects_pb.StatRequest(key=self.rpc.key("photos", "e")), metadata=self.rpc.metadata)
        self.assertEqual(stat.info.expires_at_ms, at)
        self.assertEqual(self.redis("photos", "PEXPIRE", "e", 30), 1)
        time.sleep(0.031)
        with self.assertRaises(Exception):
            self.s3.head_object(Bucket="photos", Key="e")
        self.assertIsNone(self.redis("photos", "GET", "e"))

    def test_expire_keeps_the_metadata_of_an_object(self):
        self.s3.put_object(Bucket="photos", Key="meta", Body=b"x", Metadata={"a": "b"})
        self.redis("photos", "EXPIRE", "meta", 100)
        self.assertEqual(self.s3.head_object(Bucket="photos", Key="meta")["Metadata"], {"a": "b"})

    def test_changes_through_every_door_are_told(self):
        """Keyspace notifications: also of uploads, of what expires, and of nothing but what happened."""
        r = self.server.redis()
        r.config_set("notify-keyspace-events", "KA")
        self.addCleanup(r.config_set, "notify-keyspace-events", "")
        with r.pubsub() as listener:
            listener.psubscribe("__keyspace@photos__:told-*")
            self.assertEqual(listener.get_message(timeout=PATIENCE)["type"], "psubscribe")
            for door in ("resp", "http", "grpc"):
                self.put(door, "photos", "told-" + door, b"x")
                self.put(door, "photos", "told-large-" + door, b"x" * (5 << 20))
            self.s3.delete_object(Bucket="photos", Key="told-http")
            self.s3.delete_object(Bucket="photos", Key="told-absent")
            self.s3.copy_object(Bucket="photos", Key="told-copy", CopySource="photos/told-resp")
            self.redis("photos", "PEXPIRE", "told-copy", "1")
            expected = [("told-" + large + door, "set") for door in ("resp", "http", "grpc") for large in ("", "large-")] + [
                ("told-http", "del"), ("told-copy", "set"), ("told-copy", "expire"), ("told-copy", "expired")]
            for key, event in expected:
                message = listener.get_message(timeout=PATIENCE)
                self.assertEqual((message["channel"], message["data"]), (b"__keyspace@photos__:" + key.encode(), event.encode()))
            self.assertIsNone(listener.get_message(timeout=0.2))

    def test_a_listing_shows_what_redis_wrote(self):
        self.redis("photos", "SET", "from-redis", "abc")
        listed = {o["Key"]: o for o in self.s3.list_objects_v2(Bucket="photos", Prefix="from-")["Contents"]}
        self.assertEqual(listed["from-redis"]["Size"], 3)
        self.assertEqual(listed["from-redis"]["ETag"], self.s3.head_object(Bucket="photos", Key="from-redis")["ETag"])
        self.redis("db3", "MSET", "x/1", "a", "x/2", "b", "y", "c")
        got = self.s3.list_objects_v2(Bucket="db3", Delimiter="/")
        self.assertEqual(([o["Key"] for o in got["Contents"]], [p["Prefix"] for p in got["CommonPrefixes"]]), (["y"], ["x/"]))
        self.redis("db3", "SET", "z", "d")
        self.assertEqual(self.s3.list_objects_v2(Bucket="db3")["KeyCount"], 4)

    def test_a_listing_passes_over_what_is_none_of_its_names(self):
        """However many there are; it holds others up for a part of them at a time."""
        r = self.server.redis()
        with r.pipeline(transaction=False) as p:
            p.select(4)
            for i in range(15000):
                p.hset("h%05d" % i, "f", "v")
            for key in ("a", "h02000x", "h10000/x", "h10000/y", "z"):
                p.set(key, "v")
            p.execute()
        r.close()
        names = lambda **q: [o["Key"] for o in self.s3.list_objects_v2(Bucket="db4", **q).get("Contents", [])]
        self.assertEqual(names(), ["a", "h02000x", "h10000/x", "h10000/y", "z"])
        self.assertEqual(names(Delimiter="/"), ["a", "h02000x", "z"])
        self.assertEqual(names(StartAfter="a", MaxKeys=1), ["h02000x"])
        self.assertEqual(names(Prefix="h1", StartAfter="h10000/x"), ["h10000/y"])

    def test_a_transaction_publishes_an_object_and_counts_it(self):
        data = os.urandom(300000)
        self.rpc.upload("photos", "staged", data, metadata=self.rpc.objects_pb.ObjectMetadata(content_type="image/x"))
        kv, key = self.rpc.kv_pb, self.rpc.key
        self.redis("db0", "SET", "count", "1")
        version = self.version("grpc", "db0", "count")
        txn = kv.TxnRequest(
            compare=[kv.Compare(key=key("db0", "count"), condition=self.rpc.common.Condition(version=version))],
            then=[kv.TxnOp(copy=kv.TxnOp.CopyOp(**{"from": key("photos", "staged"), "to": key("photos", "live")})),
                  kv.TxnOp(put=kv.TxnOp.PutOp(key=key("db0", "count"), value=b"2")),
                  kv.TxnOp(delete=kv.TxnOp.DeleteOp(key=key("photos", "staged")))],
            otherwise=[kv.TxnOp(get=kv.TxnOp.GetOp(key=key("db0", "count")))])
        self.assertTrue(self.rpc.kv.Txn(txn, metadata=self.rpc.metadata).succeeded)
        self.assertEqual(self.s3.get_object(Bucket="photos", Key="live")["Body"].read(), data)
        self.assertEqual(self.s3.head_object(Bucket="photos", Key="live")["ContentType"], "image/x")
        self.assertEqual(self.redis("db0", "GET", "count"), b"2")
        again = self.rpc.kv.Txn(txn, metadata=self.rpc.metadata)
        self.assertEqual((again.succeeded, again.results[0].value.value), (False, b"2"))


class Grpc(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.rpc = cls.server.grpc_stubs()

    def call(self, method, request):
        return method(request, metadata=self.rpc.metadata, timeout=PATIENCE)

    def failure(self, method, request, metadata=None):
        with self.assertRaises(grpc.RpcError) as e:
            method(request, metadata=self.rpc.metadata if metadata is None else metadata, timeout=PATIENCE)
        return e.exception.code()

    def test_conditions_on_version_and_existence(self):
        kv, key, condition = self.rpc.kv_pb, self.rpc.key("db0", "c"), self.rpc.common.Condition
        put = lambda c, v=b"x": kv.PutRequest(key=key, value=v, condition=c)
        first = self.call(self.rpc.kv.Put, put(condition(exists=False))).version
        self.assertEqual(self.failure(self.rpc.kv.Put, put(condition(exists=False))), grpc.StatusCode.FAILED_PRECONDITION)
        second = self.call(self.rpc.kv.Put, put(condition(version=first))).version
        self.assertGreater(second, first)
        self.assertEqual(self.failure(self.rpc.kv.Put, put(condition(version=first))), grpc.StatusCode.FAILED_PRECONDITION)
        self.assertEqual(self.failure(self.rpc.kv.Delete, kv.DeleteRequest(key=key, condition=condition(version=first))),
                         grpc.StatusCode.FAILED_PRECONDITION)
        self.assertTrue(self.call(self.rpc.kv.Delete, kv.DeleteRequest(key=key)).deleted)
        self.assertFalse(self.call(self.rpc.kv.Delete, kv.DeleteRequest(key=key)).deleted)

    def test_expiry_and_batches(self):
        kv, key = self.rpc.kv_pb, self.rpc.key
        self.call(self.rpc.kv.Put, kv.PutRequest(key=key("db0", "t"), value=b"1", ttl_ms=1000000))
        self.call(self.rpc.kv.Put, kv.PutRequest(key=key("db0", "u"), value=b"2"))
        got = self.call(self.rpc.kv.BatchGet, kv.BatchGetRequest(keys=[key("db0", "t"), key("db0", "none"), key("db0", "u")]))
        self.assertEqual([e.value.value if e.HasField("value") else None for e in got.entries], [b"1", None, b"2"])
        self.call(self.rpc.kv.Put, kv.PutRequest(key=key("db0", "t"), value=b"1", ttl_ms=30))
        time.sleep(0.031)
        self.assertEqual(self.failure(self.rpc.kv.Get, kv.GetRequest(key=key("db0", "t"))), grpc.StatusCode.NOT_FOUND)

    def test_scan_pages_in_order(self):
        kv = self.rpc.kv_pb
        for i in range(25):
            self.call(self.rpc.kv.Put, kv.PutRequest(key=self.rpc.key("db1", "s%02d" % i), value=b"%d" % i))
        token, found = b"", []
        while True:
            page = self.call(self.rpc.kv.Scan, kv.ScanRequest(namespace="db1", prefix=b"s", page_size=7, page_token=token, with_values=True))
            found += [(i.key, i.value) for i in page.items]
            token = page.next_page_token
            if not token:
                break
        self.assertEqual(found, [(b"s%02d" % i, b"%d" % i) for i in range(25)])

    def test_upload_checks_what_was_declared(self):
        import base64, zlib
        data = os.urandom(200000)
        crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
        info = self.rpc.upload("db2", "up", data, checksums={"crc32": crc}, size_bytes=len(data))
        self.assertEqual((info.size_bytes, info.checksums["crc32"]), (len(data), crc))
        for bad in (dict(checksums={"crc32": "AAAAAA=="}), dict(size_bytes=5), dict(checksums={"foo": "x"})):
            with self.assertRaises(grpc.RpcError):
                self.rpc.upload("db2", "bad", data, **bad)
        self.assertEqual(self.failure(self.rpc.objects.Stat, self.rpc.objects_pb.StatRequest(key=self.rpc.key("db2", "bad"))),
                         grpc.StatusCode.NOT_FOUND)
        self.assertEqual(self.rpc.download("db2", "up", offset=70000, length=9), data[70000:70009])

    def test_credentials_and_bad_arguments(self):
        kv = self.rpc.kv_pb
        get = kv.GetRequest(key=self.rpc.key("db0", "x"))
        import base64
        from harness import PASSWORD, USER
        self.assertEqual(self.failure(self.rpc.kv.Get, get, ()), grpc.StatusCode.UNAUTHENTICATED)
        self.assertEqual(self.failure(self.rpc.kv.Get, get, (("authorization", "Bearer nope"),)), grpc.StatusCode.UNAUTHENTICATED)
        basic = base64.b64encode(("%s:%s" % (USER, PASSWORD)).encode()).decode()
        self.assertEqual(self.failure(self.rpc.kv.Get, get, (("authorization", "Basic " + basic),)), grpc.StatusCode.NOT_FOUND)
        for stub, request in ((self.rpc.objects.List, self.rpc.objects_pb.ListRequest()), (self.rpc.admin.Info, self.rpc.admin_pb.InfoRequest())):
            self.assertEqual(self.failure(stub, request, ()), grpc.StatusCode.UNAUTHENTICATED)
        self.assertEqual(self.failure(self.rpc.kv.Get, kv.GetRequest()), grpc.StatusCode.INVALID_ARGUMENT)
        self.assertEqual(self.failure(self.rpc.kv.Get, kv.GetRequest(key=self.rpc.key("nobucket", "x"))), grpc.StatusCode.NOT_FOUND)
        self.assertEqual(self.failure(self.rpc.kv.Put, kv.PutRequest(key=self.rpc.key("db0", "x"), value=b"y" * (5 << 20))),
                         grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertEqual(self.failure(self.rpc.kv.Put, kv.PutRequest(key=self.rpc.key("db0", "x"), ttl_ms=-1)), grpc.StatusCode.INVALID_ARGUMENT)

    def test_cancelling_an_upload_leaves_nothing(self):
        import threading
        stop = threading.Event()

        def parts():
            yield self.rpc.objects_pb.UploadRequest(header=self.rpc.objects_pb.UploadHeader(key=self.rpc.key("db2", "cancelled")))
            while not stop.is_set():
                yield self.rpc.objects_pb.UploadRequest(data=b"x" * 100000)
        call = self.rpc.objects.Upload.future(parts(), metadata=self.rpc.metadata)
        time.sleep(0.2)
        call.cancel()
        stop.set()
        self.assertEqual(self.failure(self.rpc.objects.Stat, self.rpc.objects_pb.StatRequest(key=self.rpc.key("db2", "cancelled"))),
                         grpc.StatusCode.NOT_FOUND)
        live = lambda: self.call(self.rpc.admin.Stats, self.rpc.admin_pb.StatsRequest()).extents
        self.rpc.upload("db2", "other", b"x" * 70000)
        self.assertTrue(wait_until(lambda: live() <= 2))

    def test_standard_health_service(self):
        try:
            from grpc_health.v1 import health_pb2, health_pb2_grpc
        except ImportError:
            raw = self.rpc.channel.unary_unary("/grpc.health.v1.Health/Check")
            self.assertEqual(raw(b""), b"\x08\x01")  # status: SERVING
            return
        stub = health_pb2_grpc.HealthStub(self.rpc.channel)
        self.assertEqual(stub.Check(health_pb2.HealthCheckRequest()).status, 1)


if __name__ == "__main__":
    unittest.main()
