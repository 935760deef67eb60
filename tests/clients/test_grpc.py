"""The gRPC door: whatever number, key, message or stream a client sends, there is one true answer."""
import base64
import importlib.util
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import grpc

from harness import BUILD, PASSWORD, ROOT, USER, Case, Server, resident, wait_until

CODE = grpc.StatusCode
PATIENCE = 120  # seconds until a call counts as hung, on however busy a machine
BOUNDARIES = sorted({0, 1} | {(1 << bits) + d for bits in (31, 32, 63) for d in (-1, 0, 1)} | {(1 << 64) - 1})
ANSWER_MAX = 4 << 20


class GrpcCase(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.rpc = cls.server.grpc_stubs()

    def call(self, method, request, timeout=PATIENCE):
        return method(request, metadata=self.rpc.metadata, timeout=timeout)

    def error(self, method, request, timeout=PATIENCE):
        """Code and reason of the answer; OK if it is none."""
        try:
            answer = self.call(method, request, timeout)
            if hasattr(answer, "initial_metadata"):  # a stream
                list(answer)
            return CODE.OK, ""
        except grpc.RpcError as e:
            return e.code(), self.detail(e).reason

    def code(self, method, request):
        return self.error(method, request)[0]

    def detail(self, e):
        out = self.rpc.common.ErrorDetail()
        for name, value in e.trailing_metadata() or ():
            if name == "grpc-status-details-bin":
                self.rpc.common.ErrorStatus.FromString(value).details[0].Unpack(out)
        return out

    def put(self, key, value, ns="db0", **more):
        return self.call(self.rpc.kv.Put, self.rpc.kv_pb.PutRequest(key=self.rpc.key(ns, key), value=value, **more)).version

    def stat(self, key, ns="db0"):
        return self.call(self.rpc.objects.Stat, self.rpc.objects_pb.StatRequest(key=self.rpc.key(ns, key))).info

    def upload_parts(self, *messages, **header):
        pb = self.rpc.objects_pb
        return iter([pb.UploadRequest(header=pb.UploadHeader(**header))] + [pb.UploadRequest(data=m) for m in messages])


class Lengths(GrpcCase):
    # size_bytes = 2^64-1 wrapped to a capacity of 0: a loop that outlived deadline and SIGTERM.
    def test_an_upload_of_any_announced_size_ends(self):
        before = resident(self.server)
        for size in BOUNDARIES:
            parts = self.upload_parts(b"x" * 100000, key=self.rpc.key("db0", "up"), size_bytes=size)
            want = CODE.OK if size == 0 else CODE.INVALID_ARGUMENT if size < 1 << 43 else CODE.RESOURCE_EXHAUSTED
            self.assertEqual(self.code(self.rpc.objects.Upload, parts), want, size)
        self.assertLess(resident(self.server), before + (200 << 20))

    def test_any_range_of_a_download_is_what_python_cuts(self):
        data = bytes(range(256)) * 500
        for name, size in (("inline", 1000), ("blob", len(data))):
            self.rpc.upload("db0", name, data[:size])
            for offset in BOUNDARIES + [size - 1, size, size + 1]:
                for length in BOUNDARIES + [size - 1, size]:
                    if offset >= 1 << 64 or length >= 1 << 64:
                        continue
                    if offset >= size:
                        request = self.rpc.objects_pb.DownloadRequest(key=self.rpc.key("db0", name), offset=offset, length=length)
                        self.assertEqual(self.code(self.rpc.objects.Download, request), CODE.OUT_OF_RANGE)
                        continue
                    end = size if length == 0 else min(size, offset + length)
                    self.assertEqual(self.rpc.download("db0", name, offset=offset, length=length), data[offset:end])

    def test_no_length_over_redis_makes_the_store_endless(self):
        r = self.server.redis()
        r.config_set("proto-max-bulk-len", (1 << 63) - 1)
        for n in BOUNDARIES:
            if (1 << 44) < n < 1 << 63:
                for offset in (n, n - 10):
                    with self.assertRaises(Exception):
                        r.execute_command("SETRANGE", "far", offset, "x")
        self.assertEqual(r.exists("far"), 0)
        r.config_set("proto-max-bulk-len", 512 << 20)

    def test_the_server_ends_when_it_is_told_to(self):
        server = Server()
        try:
            rpc = server.grpc_stubs()
            pb = rpc.objects_pb
            header = pb.UploadHeader(key=rpc.key("db0", "up"), size_bytes=(1 << 64) - 1)
            calls = [rpc.objects.Upload.future(iter([pb.UploadRequest(header=header), pb.UploadRequest(data=b"x" * 9)]),
                                               metadata=rpc.metadata) for _ in range(4)]
            self.assertTrue(all(c.exception() for c in calls))
            self.assertEqual(server.stop(), 0)
        finally:
            server.remove()


class Requests(GrpcCase):
    """Every method with every field at its edges: an answer of its own, a server that goes on."""
    # What a client may be told. Not among them: UNKNOWN, INTERNAL, UNIMPLEMENTED, a hang.
    ALLOWED = {CODE.OK, CODE.NOT_FOUND, CODE.INVALID_ARGUMENT, CODE.FAILED_PRECONDITION, CODE.OUT_OF_RANGE,
               CODE.RESOURCE_EXHAUSTED, CODE.ALREADY_EXISTS, CODE.DATA_LOSS}

    def methods(self):
        for pb, stub, name in ((self.rpc.kv_pb, self.rpc.kv, "KeyValue"), (self.rpc.objects_pb, self.rpc.objects, "Objects"),
                               (self.rpc.admin_pb, self.rpc.admin, "Admin")):
            for m in pb.DESCRIPTOR.services_by_name[name].methods:
                yield "/cairn.v1.%s/%s" % (name, m.name), getattr(stub, m.name), m.input_type
        for name, service in self.rpc.collections_pb.DESCRIPTOR.services_by_name.items():
            for m in service.methods:
                yield "/cairn.v1.%s/%s" % (name, m.name), getattr(getattr(self.rpc, name), m.name), m.input_type

    def edges(self, field):
        kinds = type(field)
        if field.type in (kinds.TYPE_INT64, kinds.TYPE_INT32):
            bits = 63 if field.type == kinds.TYPE_INT64 else 31
            return sorted({0, 1, -1, (1 << bits) - 1, -(1 << bits)} | {n for n in BOUNDARIES if n < 1 << bits})
        if field.type in (kinds.TYPE_UINT64, kinds.TYPE_UINT32):
            return [n for n in BOUNDARIES if n < 1 << (64 if field.type == kinds.TYPE_UINT64 else 32)]
        if field.type == kinds.TYPE_ENUM:
            return [0, 1, 2, 3, 7, -1, (1 << 31) - 1, -(1 << 31)]
        if field.type == kinds.TYPE_BOOL:
            return [False, True]
        if field.type == kinds.TYPE_STRING:
            return ["", "db0", "db15", "db16", "nowhere", "edge-bucket", "a\r\nb", "\0", "n" * 70000]
        if field.type == kinds.TYPE_BYTES:
            return [b"", b"k", b"h", b"\0\xff", b"k" * 65535, b"k" * 65536, b"v" * 3500000]
        if field.type == kinds.TYPE_DOUBLE:
            return [0.0, -0.0, 1.5, -1e308, float("inf"), float("-inf"), float("nan")]
        raise AssertionError(field.type)

    def variants(self, descriptor, depth=0):
        """Messages in which one field, however deep, is at an edge, and the empty one."""
        make = self.pool.GetPrototype(descriptor)
        yield make()
        if depth > 5:
            return
        for field in descriptor.fields:
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                for name in ("", "md5", "crc32", "A b", "é", "x" * 3000):
                    message = make()
                    getattr(message, field.name)[name] = "v"
                    yield message
            elif field.message_type is not None:
                for inner in self.variants(field.message_type, depth + 1):
                    message = make()
                    if field.label == field.LABEL_REPEATED:
                        getattr(message, field.name).append(inner)
                    else:
                        getattr(message, field.name).CopyFrom(inner)
                    yield message
            else:
                for value in self.edges(field):
                    message = make()
                    if field.label == field.LABEL_REPEATED:
                        getattr(message, field.name).append(value)
                    else:
                        setattr(message, field.name, value)
                    yield message

    def fill_keys(self, message):
        """Names a key wherever none is named, so that what is at its edge is looked at."""
        for field in message.DESCRIPTOR.fields:
            if field.message_type is None or field.message_type.GetOptions().map_entry:
                continue
            if field.label == field.LABEL_REPEATED:
                for inner in getattr(message, field.name):
                    self.fill_keys(inner)
            elif field.message_type.name == "Key":
                key = getattr(message, field.name)
                if not key.key and not key.namespace:
                    key.key = b"k"
            elif message.HasField(field.name):
                self.fill_keys(getattr(message, field.name))

    def test_every_field_at_its_edges(self):
        from google.protobuf import message_factory
        self.pool = message_factory.MessageFactory()
        self.put("k", b"v")
        self.server.redis().hset("h", "f", "v")
        tried = 0
        for path, method, request_type in self.methods():
            if request_type.name in ("StreamReadRequest", "StreamReadGroupRequest"):
                continue  # they last
            for message in self.variants(request_type):
                for named in (False, True):
                    if named:
                        self.fill_keys(message)
                    if message.ByteSize() > ANSWER_MAX:
                        continue
                    request = message
                    if request_type.name == "UploadRequest":
                        request = iter([message, self.rpc.objects_pb.UploadRequest(data=b"x" * 10)])
                    waits = getattr(message, "wait_ms", 0) > 1  # then until the deadline, if there is nothing
                    allowed = self.ALLOWED | ({CODE.DEADLINE_EXCEEDED} if waits else set())
                    code, _ = self.error(method, request, timeout=.5 if waits else PATIENCE)
                    self.assertIn(code, allowed, "%s %s" % (path, str(message)[:300]))
                    tried += 1
        self.assertGreater(tried, 1000)
        self.call(self.rpc.admin.Info, self.rpc.admin_pb.InfoRequest())

    # They were UNIMPLEMENTED, as if there were no such method.
    def test_what_is_no_such_message_is_an_invalid_argument(self):
        raw = lambda b: b
        for path, method, request_type in self.methods():
            for bytes_ in (b"\xff", b"\x0a", b"\x0a\x7fx", b"\x0a\x05\x0a\x03\xff\xfe\xfd", b"\x07" * 100):
                if request_type.name in ("InfoRequest", "StatsRequest", "ListBucketsRequest") and bytes_ == b"\x0a\x05\x0a\x03\xff\xfe\xfd":
                    continue  # an unknown field of it
                if request_type.name == "UploadRequest":
                    with self.assertRaises(grpc.RpcError) as e:
                        self.rpc.channel.stream_unary(path, raw, raw)(iter([bytes_]), metadata=self.rpc.metadata, timeout=PATIENCE)
                elif request_type.name == "DownloadRequest":
                    with self.assertRaises(grpc.RpcError) as e:
                        list(self.rpc.channel.unary_stream(path, raw, raw)(bytes_, metadata=self.rpc.metadata, timeout=PATIENCE))
                else:
                    with self.assertRaises(grpc.RpcError) as e:
                        self.rpc.channel.unary_unary(path, raw, raw)(bytes_, metadata=self.rpc.metadata, timeout=PATIENCE)
                self.assertEqual(e.exception.code(), CODE.INVALID_ARGUMENT, (path, bytes_))

    def test_a_oneof_that_must_be_set(self):
        kv, objects = self.rpc.kv_pb, self.rpc.objects_pb
        for lists in ({"then": [kv.TxnOp()]}, {"otherwise": [kv.TxnOp()]}):
            self.assertEqual(self.code(self.rpc.kv.Txn, kv.TxnRequest(**lists)), CODE.INVALID_ARGUMENT)
        header = objects.UploadRequest(header=objects.UploadHeader(key=self.rpc.key("db0", "k")))
        for messages in ([objects.UploadRequest()], [header, objects.UploadRequest()], [header, header], []):
            self.assertEqual(self.code(self.rpc.objects.Upload, iter(messages)), CODE.INVALID_ARGUMENT)

    def test_an_unknown_durability_is_refused(self):
        kv, key = self.rpc.kv_pb, self.rpc.key("db0", "k")
        for request, method in ((kv.PutRequest(key=key), self.rpc.kv.Put), (kv.DeleteRequest(key=key), self.rpc.kv.Delete),
                                (kv.TxnRequest(), self.rpc.kv.Txn)):
            for number in (3, -1, 1 << 30):
                request.durability = number
                self.assertEqual(self.code(method, request), CODE.INVALID_ARGUMENT)

    # The whole key went into trailers that clients refuse above 8 KiB: RESOURCE_EXHAUSTED.
    def test_errors_about_long_keys_arrive(self):
        for size in (1, 256, 257, 10000, 65535):
            key = self.rpc.key("db0", b"\xff" * size)
            with self.assertRaises(grpc.RpcError) as e:
                self.call(self.rpc.kv.Get, self.rpc.kv_pb.GetRequest(key=key))
            self.assertEqual(e.exception.code(), CODE.NOT_FOUND)
            self.assertEqual(self.detail(e.exception).key, b"\xff" * min(size, 256))
        parts = self.upload_parts(key=self.rpc.key("db0", "k"), checksums={"é" * 100000: "x"})
        self.assertEqual(self.error(self.rpc.objects.Upload, parts), (CODE.INVALID_ARGUMENT, "BAD_ARGUMENT"))


class Rules(GrpcCase):
    """One rule for each thing, in every method (proto/cairn/v1/common.proto)."""

    def test_a_condition_that_does_not_hold_fails_the_same_way_everywhere(self):
        kv, objects, condition = self.rpc.kv_pb, self.rpc.objects_pb, self.rpc.common.Condition
        key = self.rpc.key("db0", "cond")
        self.put("source", b"s")
        writes = {
            "Put": lambda c: self.error(self.rpc.kv.Put, kv.PutRequest(key=key, value=b"x", condition=c)),
            "Delete": lambda c: self.error(self.rpc.kv.Delete, kv.DeleteRequest(key=key, condition=c)),
            "Upload": lambda c: self.error(self.rpc.objects.Upload, self.upload_parts(b"x", key=key, condition=c)),
            "Copy": lambda c: self.error(self.rpc.objects.Copy, self.copy_request(key, c)),
            "Objects.Delete": lambda c: self.error(self.rpc.objects.Delete, objects.DeleteObjectRequest(key=key, condition=c)),
        }
        for name, write in writes.items():
            for there in (False, True):
                for make in (lambda v: condition(), lambda v: condition(exists=True), lambda v: condition(exists=False),
                             lambda v: condition(version=0), lambda v: condition(version=v or 5), lambda v: condition(version=12345),
                             lambda v: condition(exists=True, version=v), lambda v: condition(exists=False, version=v)):
                    self.call(self.rpc.kv.Delete, kv.DeleteRequest(key=key))
                    version = self.put("cond", b"old") if there else 0
                    c = make(version)
                    holds = (c.WhichOneof("version_is") is None or c.version == version) and \
                            (c.WhichOneof("existence_is") is None or c.exists == there)
                    want = (CODE.OK, "") if holds else (CODE.FAILED_PRECONDITION, "CONDITION_FAILED")
                    self.assertEqual(write(c), want, (name, there, str(c)))

    def copy_request(self, to, condition):
        request = self.rpc.objects_pb.CopyRequest(to=to, condition=condition)
        getattr(request, "from").CopyFrom(self.rpc.key("db0", "source"))
        return request

    def test_version_zero_in_a_transaction_is_absence_too(self):
        kv, condition = self.rpc.kv_pb, self.rpc.common.Condition
        for name, want in (("nothing-here", True), ("something", False)):
            if not want:
                self.put(name, b"x")
            compare = [kv.Compare(key=self.rpc.key("db0", name), condition=condition(version=0))]
            self.assertEqual(self.call(self.rpc.kv.Txn, kv.TxnRequest(compare=compare)).succeeded, want)

    def test_what_is_missing_is_named(self):
        kv, objects, key = self.rpc.kv_pb, self.rpc.objects_pb, self.rpc.key
        self.assertEqual(self.error(self.rpc.kv.Get, kv.GetRequest(key=key("nowhere", "x"))), (CODE.NOT_FOUND, "NO_SUCH_NAMESPACE"))
        self.assertEqual(self.error(self.rpc.kv.Get, kv.GetRequest(key=key("db0", "none"))), (CODE.NOT_FOUND, "NO_SUCH_KEY"))
        self.assertEqual(self.error(self.rpc.objects.DeleteBucket, objects.DeleteBucketRequest(name="nowhere")),
                         (CODE.NOT_FOUND, "NO_SUCH_NAMESPACE"))
        self.assertEqual(self.error(self.rpc.objects.List, objects.ListRequest(namespace="nowhere")), (CODE.NOT_FOUND, "NO_SUCH_NAMESPACE"))

    def test_names_of_numbered_databases_are_no_names_of_buckets(self):
        objects = self.rpc.objects_pb
        for name in ("db0", "db15", "db16", "db999999", "DB16", "ab", "a" * 64, ""):
            self.assertEqual(self.code(self.rpc.objects.CreateBucket, objects.CreateBucketRequest(name=name)), CODE.INVALID_ARGUMENT, name)
        for name in ("db0", "db7"):
            self.assertEqual(self.code(self.rpc.objects.DeleteBucket, objects.DeleteBucketRequest(name=name)), CODE.NOT_FOUND, name)
        for name in ("db16x", "dbx", "database"):
            self.call(self.rpc.objects.CreateBucket, objects.CreateBucketRequest(name=name))
        self.assertEqual(self.code(self.rpc.objects.CreateBucket, objects.CreateBucketRequest(name="dbx")), CODE.ALREADY_EXISTS)

    def test_a_copy_keeps_the_expiry_unless_told_otherwise(self):
        kv = self.rpc.kv_pb
        at = int(time.time() * 1000) + 3600000
        self.put("source", b"s", expires_at_ms=at)
        for drop in (False, True):
            request = self.copy_request(self.rpc.key("db0", "to"), None)
            request.drop_expiry = drop
            self.call(self.rpc.objects.Copy, request)
            self.assertEqual(self.stat("to").expires_at_ms, 0 if drop else at)
            op = kv.TxnOp(copy=kv.TxnOp.CopyOp(to=self.rpc.key("db0", "to2"), drop_expiry=drop))
            getattr(op.copy, "from").CopyFrom(self.rpc.key("db0", "source"))
            self.call(self.rpc.kv.Txn, kv.TxnRequest(then=[op]))
            self.assertEqual(self.stat("to2").expires_at_ms, 0 if drop else at)
        self.put("source", b"s")

    def test_ways_to_expire_that_contradict_each_other(self):
        kv, key = self.rpc.kv_pb, self.rpc.key("db0", "ttl")
        self.put("ttl", b"x", ttl_ms=3600000)
        for wish in (dict(keep_expiry=True, ttl_ms=1), dict(keep_expiry=True, expires_at_ms=1), dict(ttl_ms=1, expires_at_ms=1),
                     dict(ttl_ms=-1), dict(expires_at_ms=-1), dict(ttl_ms=(1 << 63) - 1)):
            self.assertEqual(self.code(self.rpc.kv.Put, kv.PutRequest(key=key, **wish)), CODE.INVALID_ARGUMENT, wish)
            op = kv.TxnOp(put=kv.TxnOp.PutOp(key=key, **wish))
            self.assertEqual(self.code(self.rpc.kv.Txn, kv.TxnRequest(then=[op])), CODE.INVALID_ARGUMENT, wish)
        at = self.stat("ttl").expires_at_ms
        self.put("ttl", b"y", keep_expiry=True)
        self.assertEqual(self.stat("ttl").expires_at_ms, at)

    def test_the_ttl_of_an_upload_counts_from_its_end(self):
        pb = self.rpc.objects_pb

        def parts():
            yield pb.UploadRequest(header=pb.UploadHeader(key=self.rpc.key("db0", "slow"), ttl_ms=3600000))
            time.sleep(0.3)
            self.began = time.time()
            yield pb.UploadRequest(data=b"x")
        info = self.call(self.rpc.objects.Upload, parts()).info
        self.assertGreaterEqual(info.expires_at_ms, int(self.began * 1000) + 3600000 - 5)
        self.assertEqual(self.stat("slow").expires_at_ms, info.expires_at_ms)

    def test_a_put_takes_what_a_get_gives(self):
        kv, key = self.rpc.kv_pb, self.rpc.key("db0", "big")
        for size, code in ((3 << 20, CODE.OK), ((3 << 20) + 1, CODE.OUT_OF_RANGE), (3500000, CODE.OUT_OF_RANGE)):
            self.assertEqual(self.code(self.rpc.kv.Put, kv.PutRequest(key=key, value=b"x" * size)), code, size)
        self.assertEqual(len(self.call(self.rpc.kv.Get, kv.GetRequest(key=key)).value.value), 3 << 20)

    def test_a_comparison_with_too_many_bytes_is_refused(self):
        kv = self.rpc.kv_pb
        self.put("cmp", b"x" * 65536)
        for size, want in ((65536, CODE.OK), (65537, CODE.INVALID_ARGUMENT)):
            request = kv.TxnRequest(compare=[kv.Compare(key=self.rpc.key("db0", "cmp"), value=b"x" * size)])
            self.assertEqual(self.code(self.rpc.kv.Txn, request), want)
        self.assertTrue(self.call(self.rpc.kv.Txn, kv.TxnRequest(compare=[kv.Compare(key=self.rpc.key("db0", "cmp"), value=b"x" * 65536)])).succeeded)

    def test_keys_of_a_transaction_are_counted(self):
        kv = self.rpc.kv_pb

        def request(copies, gets):
            ops = []
            for i in range(copies):
                op = kv.TxnOp(copy=kv.TxnOp.CopyOp(to=self.rpc.key("db9", "t%d" % i)))
                getattr(op.copy, "from").CopyFrom(self.rpc.key("db9", "none"))
                ops.append(op)
            return kv.TxnRequest(then=ops + [kv.TxnOp(get=kv.TxnOp.GetOp(key=self.rpc.key("db9", "g")))] * gets)
        for copies, gets, want in ((500, 0, CODE.OK), (501, 0, CODE.INVALID_ARGUMENT), (499, 2, CODE.OK), (499, 3, CODE.INVALID_ARGUMENT)):
            self.assertEqual(self.code(self.rpc.kv.Txn, request(copies, gets)), want)

    def test_scan_shows_every_type_and_list_objects_alone(self):
        r = self.server.redis(db=5)
        r.hset("h", "f", "v")
        self.put("s", b"value", ns="db5")
        page = self.call(self.rpc.kv.Scan, self.rpc.kv_pb.ScanRequest(namespace="db5", with_values=True))
        common = self.rpc.common
        self.assertEqual([(i.key, i.type, i.value) for i in page.items],
                         [(b"h", common.VALUE_TYPE_HASH, b""), (b"s", common.VALUE_TYPE_STRING, b"value")])
        page = self.call(self.rpc.objects.List, self.rpc.objects_pb.ListRequest(namespace="db5"))
        self.assertEqual([o.key.key for o in page.objects], [b"s"])

    def test_the_etag_is_the_md5_only_if_that_was_declared(self):
        import hashlib
        data = os.urandom(300000)
        md5 = hashlib.md5(data)
        crc = self.rpc.upload("db0", "e", data, checksums={"crc64nvme": self.crc64(data)})
        self.assertEqual(crc.etag, base64.b64decode(self.crc64(data)).hex() + "-1")
        self.assertEqual(self.rpc.upload("db0", "e", data).etag, crc.etag)
        info = self.rpc.upload("db0", "e", data, checksums={"md5": base64.b64encode(md5.digest()).decode()})
        self.assertEqual(info.etag, md5.hexdigest())
        self.assertEqual(self.stat("e").etag, md5.hexdigest())

    def crc64(self, data):
        table = []
        for i in range(256):
            c = i
            for _ in range(8):
                c = (c >> 1) ^ (0x9a6c9329ac4bc9b5 if c & 1 else 0)
            table.append(c)
        crc = (1 << 64) - 1
        for b in data:
            crc = table[(crc ^ b) & 255] ^ (crc >> 8)
        return base64.b64encode((crc ^ ((1 << 64) - 1)).to_bytes(8, "big")).decode()


class Metadata(GrpcCase):
    def upload(self, **metadata):
        pb = self.rpc.objects_pb
        return self.error(self.rpc.objects.Upload, self.upload_parts(b"x", key=self.rpc.key("meta-bucket", "o"), metadata=pb.ObjectMetadata(**metadata)))

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3 = cls.server.s3()
        cls.s3.create_bucket(Bucket="meta-bucket")

    # A name with CR and LF in it forged headers of the HTTP answer.
    def test_names_and_values_are_checked_where_they_enter(self):
        for name in ("", "a b", "a\r\nSet-Cookie: x\r\nB", "a:", "é", "a\0", "(", "a/b", "a\x7f"):
            self.assertEqual(self.upload(user={name: "v"}), (CODE.INVALID_ARGUMENT, "BAD_ARGUMENT"), name)
        for value in ("a\r\nb", "a\nb", "\r", "a\0b", " a", "a ", "\x01", "\x7f"):
            self.assertEqual(self.upload(user={"n": value}), (CODE.INVALID_ARGUMENT, "BAD_ARGUMENT"), value)
            self.assertEqual(self.upload(content_type=value), (CODE.INVALID_ARGUMENT, "BAD_ARGUMENT"), value)
            self.assertEqual(self.upload(headers={"cache-control": value}), (CODE.INVALID_ARGUMENT, "BAD_ARGUMENT"), value)
        for header in ("x-amz-meta-a", "content-length", "set-cookie", "content-type", "etag"):
            self.assertEqual(self.upload(headers={header: "v"}), (CODE.INVALID_ARGUMENT, "BAD_ARGUMENT"), header)
        self.assertEqual(self.upload(user={"A": "1", "a": "2"}), (CODE.INVALID_ARGUMENT, "BAD_ARGUMENT"))
        self.assertEqual(self.upload(headers={"Expires": "1", "expires": "2"}), (CODE.INVALID_ARGUMENT, "BAD_ARGUMENT"))

    def test_what_is_taken_is_what_s3_shows(self):
        self.assertEqual(self.upload(content_type="text/plain", user={"Name-1": "a value", "b_c": ""}, headers={"Cache-Control": "no-cache"})[0], CODE.OK)
        head = self.s3.head_object(Bucket="meta-bucket", Key="o")
        self.assertEqual((head["ContentType"], head["Metadata"], head["CacheControl"]), ("text/plain", {"name-1": "a value", "b_c": ""}, "no-cache"))

    def test_two_kilobytes_in_all(self):
        for size, want in ((2044, CODE.OK), (2045, CODE.INVALID_ARGUMENT), (2 << 20, CODE.INVALID_ARGUMENT)):
            self.assertEqual(self.upload(user={"name": "v" * size})[0], want, size)

    # Stat and Download failed: proto3 strings are UTF-8, and clients refuse others.
    def test_what_s3_stored_that_is_no_utf8_is_readable(self):
        import http.client
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
        url = "http://127.0.0.1:%d/meta-bucket/latin" % self.server.http
        value = b"caf\xe9".decode("latin-1")
        request = AWSRequest("PUT", url, data=b"x", headers={"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
        S3SigV4Auth(Credentials(USER, PASSWORD), "s3", "us-east-1").add_auth(request)
        c = http.client.HTTPConnection("127.0.0.1", self.server.http)
        c.putrequest("PUT", "/meta-bucket/latin")
        for name, v in request.headers.items():
            c.putheader(name, v)
        c.putheader("x-amz-meta-where", value.encode("latin-1"))
        c.putheader("Content-Length", "1")
        c.endheaders(b"x")
        if c.getresponse().status != 200:
            return  # refused where it entered: then nothing of the kind is stored
        info = self.stat("latin", ns="meta-bucket")
        self.assertEqual(info.metadata.user["where"], value)
        self.assertEqual(self.rpc.download("meta-bucket", "latin"), b"x")


class Pages(GrpcCase):
    def all_pages(self, method, request, items):
        found, pages = [], 0
        while True:
            page = self.call(method, request)
            self.assertLessEqual(page.ByteSize(), ANSWER_MAX)
            found += items(page)
            pages += 1
            if not page.next_page_token:
                return found, pages
            request.page_token = page.next_page_token

    # Answers above 4 MiB could not be sent: RESOURCE_EXHAUSTED.
    def test_pages_end_by_bytes_too(self):
        names = [b"%04d" % i + b"n" * 60000 for i in range(150)]
        for n in names:
            self.put(n, b"v" * 1000, ns="db3", durability=2)
        for with_values in (False, True):
            request = self.rpc.kv_pb.ScanRequest(namespace="db3", page_size=1000, with_values=with_values)
            found, pages = self.all_pages(self.rpc.kv.Scan, request, lambda p: [(i.key, i.value) for i in p.items])
            self.assertEqual(found, [(n, b"v" * 1000 if with_values else b"") for n in names])
            self.assertGreater(pages, 1)
        for delimiter in (b"", b"n"):
            request = self.rpc.objects_pb.ListRequest(namespace="db3", page_size=1000, delimiter=delimiter)
            found, pages = self.all_pages(self.rpc.objects.List, request, lambda p: [o.key.key for o in p.objects] + list(p.common_prefixes))
            self.assertEqual(found, [b"%04dn" % i for i in range(150)] if delimiter else names)

    def test_values_that_fill_pages(self):
        for i in range(100):
            self.put("v%03d" % i, b"%03d" % i + b"x" * 65000, ns="db4", durability=2)
        request = self.rpc.kv_pb.ScanRequest(namespace="db4", page_size=1000, with_values=True)
        found, pages = self.all_pages(self.rpc.kv.Scan, request, lambda p: [(i.key, i.value[:3]) for i in p.items])
        self.assertEqual(found, [(b"v%03d" % i, b"%03d" % i) for i in range(100)])
        self.assertGreater(pages, 1)

    def test_a_batch_that_does_not_fit_is_refused(self):
        kv, key = self.rpc.kv_pb, self.rpc.key
        for i in range(80):
            self.put("b%d" % i, b"x" * 60000, ns="db6", durability=2)
        for count, want in ((60, (CODE.OK, "")), (80, (CODE.OUT_OF_RANGE, "TOO_LARGE"))):
            keys = [key("db6", "b%d" % i) for i in range(count)]
            self.assertEqual(self.error(self.rpc.kv.BatchGet, kv.BatchGetRequest(keys=keys)), want)
        # One whose answer was over 4 MiB was committed, and the client told RESOURCE_EXHAUSTED.
        gets = [kv.TxnOp(get=kv.TxnOp.GetOp(key=key("db6", "b%d" % i))) for i in range(80)]
        put = kv.TxnOp(put=kv.TxnOp.PutOp(key=key("db6", "written"), value=b"1"))
        for ops in ([put] + gets, gets + [put]):
            self.assertEqual(self.error(self.rpc.kv.Txn, kv.TxnRequest(then=ops)), (CODE.OUT_OF_RANGE, "TOO_LARGE"))
            self.assertEqual(self.code(self.rpc.kv.Get, kv.GetRequest(key=key("db6", "written"))), CODE.NOT_FOUND)

    def test_buckets_by_the_page(self):
        names = ["page-%03d" % i for i in range(25)]
        for n in names:
            self.call(self.rpc.objects.CreateBucket, self.rpc.objects_pb.CreateBucketRequest(name=n))
        for size in (1, 7, 25, 26, 0, (1 << 32) - 1):
            found, pages = self.all_pages(self.rpc.objects.ListBuckets, self.rpc.objects_pb.ListBucketsRequest(page_size=size),
                                          lambda p: [b.name for b in p.buckets])
            self.assertEqual(found, names)


class Transactions(GrpcCase):
    """A law: all operations of a transaction are visible, or none."""
    SIZES = (0, 5, 1000, 65536, 65537, 100000)

    def random_ops(self, rng, count):
        kv, ops = self.rpc.kv_pb, []
        for _ in range(count):
            kind, key = rng.choice(("put", "put", "delete", "get", "copy")), self.rpc.key("db8", rng.choice(self.names))
            if kind == "put":
                value = bytes([rng.randrange(256)]) * rng.choice(self.SIZES)
                op = kv.TxnOp(put=kv.TxnOp.PutOp(key=key, value=value))
            elif kind == "delete":
                op = kv.TxnOp(delete=kv.TxnOp.DeleteOp(key=key))
            elif kind == "get":
                op = kv.TxnOp(get=kv.TxnOp.GetOp(key=key))
            else:
                op = kv.TxnOp(copy=kv.TxnOp.CopyOp(to=key))
                getattr(op.copy, "from").CopyFrom(self.rpc.key("db8", rng.choice(self.names + ["hash"])))
            ops.append(op)
        return ops

    def model(self, state, ops):
        """The state after and the results, or nothing if an operation must fail."""
        state, results = dict(state), []
        for op in ops:
            kind = op.WhichOneof("op")
            if kind == "put":
                state[op.put.key.key.decode()] = op.put.value
                results.append((False, None))
            elif kind == "delete":
                results.append((state.pop(op.delete.key.key.decode(), None) is not None, None))
            elif kind == "get":
                value = state.get(op.get.key.key.decode())
                if value is not None and len(value) > 65536:
                    return None
                results.append((value is not None, value))
            else:
                source = getattr(op.copy, "from").key.decode()
                if source == "hash":
                    return None
                if source in state:
                    state[op.copy.to.key.decode()] = state[source]
                results.append((source in state, None))
        return state, results

    def current(self):
        found = {}
        for name in self.names:
            try:
                found[name] = self.rpc.download("db8", name)
            except grpc.RpcError as e:
                self.assertEqual(e.code(), CODE.NOT_FOUND)
        return found

    def test_random_operations_that_fail_at_every_position(self):
        self.names = ["a", "b", "c", "d"]
        self.server.redis(db=8).hset("hash", "f", "v")
        rng, kv, state, outcomes = random.Random(7), self.rpc.kv_pb, {}, {True: 0, False: 0}
        for round_ in range(250):
            ops = self.random_ops(rng, rng.randrange(1, 9))
            after = self.model(state, ops)
            lists = dict(then=ops) if round_ % 2 else dict(
                otherwise=ops, compare=[kv.Compare(key=self.rpc.key("db8", "never"), condition=self.rpc.common.Condition(exists=True))])
            try:
                answer = self.call(self.rpc.kv.Txn, kv.TxnRequest(durability=2, **lists))
                self.assertIsNotNone(after, ops)
                results = [(r.found, r.value.value if r.HasField("value") else None) for r in answer.results]
                state, want = after
                self.assertEqual(results, want)
            except grpc.RpcError as e:
                self.assertIsNone(after, (e, ops))
            self.assertEqual(self.current(), state)
            outcomes[after is None] += 1
        self.assertGreater(min(outcomes.values()), 20)

    def test_a_bucket_that_goes_and_comes_back_meanwhile(self):
        kv, opb, over = self.rpc.kv_pb, self.rpc.objects_pb, threading.Event()
        keys = [self.rpc.key("comes-and-goes", "k%d" % i) for i in range(5)]
        get = kv.TxnRequest(then=[kv.TxnOp(get=kv.TxnOp.GetOp(key=k)) for k in keys])
        wrong, outcomes = [], {CODE.OK: 0, CODE.NOT_FOUND: 0}

        def until_over(step):
            try:
                while not over.is_set():
                    code = step()
                    outcomes[code] += 1  # KeyError: no other
            except Exception as e:
                wrong.append(repr(e))

        def write(i=iter(range(10**9))):
            value = b"%d" % next(i)
            return self.code(self.rpc.kv.Txn, kv.TxnRequest(
                then=[kv.TxnOp(put=kv.TxnOp.PutOp(key=k, value=value)) for k in keys], durability=2))

        def read():
            try:
                found = {r.value.value if r.found else None for r in self.call(self.rpc.kv.Txn, get).results}
                if len(found) != 1:
                    wrong.append(found)
                return CODE.OK
            except grpc.RpcError as e:
                return e.code()
        threads = [threading.Thread(target=until_over, args=(step,)) for step in (write, write, read, read)]
        for t in threads:
            t.start()
        empty = kv.TxnRequest(then=[kv.TxnOp(delete=kv.TxnOp.DeleteOp(key=k)) for k in keys], durability=2)
        gone = 0
        while gone < 60 and not wrong:
            self.assertIn(self.code(self.rpc.objects.CreateBucket, opb.CreateBucketRequest(name="comes-and-goes")),
                          (CODE.OK, CODE.ALREADY_EXISTS))
            self.code(self.rpc.kv.Txn, empty)
            gone += self.code(self.rpc.objects.DeleteBucket, opb.DeleteBucketRequest(name="comes-and-goes")) == CODE.OK
        over.set()
        for t in threads:
            t.join()
        self.assertEqual(wrong, [])
        self.assertGreater(outcomes[CODE.OK], 0)
        self.assertGreater(outcomes[CODE.NOT_FOUND], 0)

    # In 53 of 60 they had two.
    def test_what_has_one_ttl_has_one_moment_to_expire(self):
        kv, r, moments = self.rpc.kv_pb, self.server.redis(db=9), []
        for ttl_ms in range(3_600_000, 3_600_030):
            ops = [kv.TxnOp(put=kv.TxnOp.PutOp(key=self.rpc.key("db9", "t%d" % i), value=b"x" * 1000, ttl_ms=ttl_ms)) for i in range(990)]
            self.call(self.rpc.kv.Txn, kv.TxnRequest(then=ops, durability=2))
            p = r.pipeline(transaction=False)
            for i in range(990):
                p.pexpiretime("t%d" % i)
            moments.append(len(set(p.execute())))
        self.assertEqual(moments, [1] * 30)

    # 977 of 999 copies were stored.
    def test_one_larger_than_the_log_takes_changes_nothing(self):
        kv, key = self.rpc.kv_pb, self.rpc.key
        ops = [kv.TxnOp(put=kv.TxnOp.PutOp(key=key("db10", "m0"), value=b"x" * 65536))]
        for i in range(1, 499):
            op = kv.TxnOp(copy=kv.TxnOp.CopyOp(to=key("db10", "m%d" % i)))
            getattr(op.copy, "from").CopyFrom(key("db10", "m0"))
            ops.append(op)
        code = self.code(self.rpc.kv.Txn, kv.TxnRequest(then=ops))
        self.assertEqual(self.server.redis(db=10).dbsize(), 499 if code == CODE.OK else 0)


class Stalls(GrpcCase):
    server_args = dict(args=("--patience=1",))

    def extents(self):
        return self.call(self.rpc.admin.Stats, self.rpc.admin_pb.StatsRequest()).extents

    # Sixty held 286 MB for as long as they liked.
    def test_an_upload_that_stalls_is_sent_away_and_gives_its_room_back(self):
        pb, stop = self.rpc.objects_pb, threading.Event()

        def parts(n, with_header=True):
            if with_header:
                yield pb.UploadRequest(header=pb.UploadHeader(key=self.rpc.key("db0", "stall%d" % n)))
                yield pb.UploadRequest(data=b"x" * 200000)
            stop.wait(PATIENCE)
        calls = [self.rpc.objects.Upload.future(parts(n, n % 4 > 0), metadata=self.rpc.metadata, timeout=PATIENCE) for n in range(20)]
        for c in calls:
            self.assertEqual((c.exception().code(), self.detail(c.exception()).reason), (CODE.DEADLINE_EXCEEDED, "STALLED"))
        stop.set()
        self.assertTrue(wait_until(lambda: self.extents() == 0, PATIENCE))

    def test_one_that_goes_on_is_not(self):
        pb = self.rpc.objects_pb

        def parts():
            yield pb.UploadRequest(header=pb.UploadHeader(key=self.rpc.key("db0", "slow")))
            for _ in range(6):
                time.sleep(0.3)  # longer than the patience in all, each wait shorter
                yield pb.UploadRequest(data=b"x" * 10)
        try:
            self.assertEqual(self.call(self.rpc.objects.Upload, parts()).info.size_bytes, 60)
        except grpc.RpcError as e:  # on a machine so busy that 0.3 s became one
            self.assertEqual(e.code(), CODE.DEADLINE_EXCEEDED)

    def test_a_download_that_nobody_takes_is_cut_off(self):
        self.server.redis().set("large", os.urandom(1 << 20) * 30)  # no patience there
        call = self.rpc.objects.Download(self.rpc.objects_pb.DownloadRequest(key=self.rpc.key("db0", "large")), metadata=self.rpc.metadata)
        next(call)
        self.call(self.rpc.objects.Delete, self.rpc.objects_pb.DeleteObjectRequest(key=self.rpc.key("db0", "large")))
        self.assertTrue(wait_until(lambda: self.extents() == 0, PATIENCE))  # the reader held them
        with self.assertRaises(grpc.RpcError):
            list(call)


    def test_answers_that_nobody_takes_keep_to_a_part_of_the_memory(self):
        """300 of 3 MiB held 1.8 GB for as long as their client stayed."""
        server = Server(args=["--memory=160mb"])
        self.addCleanup(server.remove)
        rpc = server.grpc_stubs()
        value = os.urandom(3 << 20)
        rpc.kv.Put(rpc.kv_pb.PutRequest(key=rpc.key("db0", "large"), value=value), metadata=rpc.metadata)
        request = rpc.kv_pb.GetRequest(key=rpc.key("db0", "large"))
        message = request.SerializeToString()
        message = b"\0" + len(message).to_bytes(4, "big") + message
        c = Http2(server.grpc)
        self.addCleanup(c.socket.close)
        c.socket.sendall(c.frame(c.SETTINGS, 0, 0, b"\x00\x04" + bytes(4)))  # no byte of any answer
        before = resident(server)
        for stream in range(1, 201, 2):
            c.socket.sendall(c.frame(c.HEADERS, 4, stream, c.headers(b"/cairn.v1.KeyValue/Get", rpc.metadata)) +
                             c.frame(c.DATA, 1, stream, message))
        # Others wait until the first of them are given up.
        self.assertEqual(rpc.kv.Get(request, metadata=rpc.metadata, timeout=PATIENCE).value.value, value)
        grown = resident(server, "VmHWM") - before
        print("grown by %.1f MiB" % (grown / 2**20))
        self.assertLess(grown, 100 << 20)
        self.assertEqual(rpc.kv.Txn(rpc.kv_pb.TxnRequest(then=[rpc.kv_pb.TxnOp(put=rpc.kv_pb.TxnOp.PutOp(
            key=rpc.key("db0", "small"), value=b"x"))]), metadata=rpc.metadata, timeout=PATIENCE).succeeded, True)

    # ---- answers that nobody takes, with 32 MiB for all of them ----

    def small_server(self):
        server = Server(args=["--memory=160mb"])
        self.addCleanup(server.remove)
        return server, server.grpc_stubs()

    def open_streams(self, server, rpc, method, request, streams, window=0):
        """Calls on a connection that takes next to nothing of their answers."""
        c = Http2(server.grpc)
        self.addCleanup(c.socket.close)
        c.socket.sendall(c.frame(c.SETTINGS, 0, 0, b"\x00\x04" + window.to_bytes(4, "big")))
        message = request.SerializeToString()
        message = b"\0" + len(message).to_bytes(4, "big") + message
        for stream in range(1, 2 * streams, 2):
            c.socket.sendall(c.frame(c.HEADERS, 4, stream, c.headers(method, rpc.metadata)) + c.frame(c.DATA, 1, stream, message))
        return c

    # It waited on, and put its value seconds after others had put a newer one.
    def test_a_call_that_is_reset_while_it_waits_is_not_done(self):
        server, rpc = self.small_server()
        pb = rpc.kv_pb
        put = lambda key, value: rpc.kv.Put(pb.PutRequest(key=rpc.key("db0", key), value=value), metadata=rpc.metadata, timeout=PATIENCE)
        get = lambda key: pb.GetRequest(key=rpc.key("db0", key))
        put("large", os.urandom(3 << 20))
        put("z", b"old")
        fillers = [self.open_streams(server, rpc, b"/cairn.v1.KeyValue/Get", get("large"), 3) for _ in range(4)]
        time.sleep(1)
        txn = pb.TxnRequest(then=[pb.TxnOp(put=pb.TxnOp.PutOp(key=rpc.key("db0", "z"), value=b"zombie"))] +
                            [pb.TxnOp(get=pb.TxnOp.GetOp(key=rpc.key("db0", "z")))] * 60)
        c = self.open_streams(server, rpc, b"/cairn.v1.KeyValue/Txn", txn, 1)
        time.sleep(0.5)
        c.socket.sendall(c.frame(c.RST, 0, 1, (8).to_bytes(4, "big")))
        time.sleep(0.5)
        put("z", b"newer")
        for f in fillers:
            f.socket.close()
        time.sleep(3)
        self.assertEqual(server.redis().get("z"), b"newer")

    # Four scans of nothing counted as much as all answers may have, and stopped everybody's.
    def test_who_takes_no_answer_stops_nobody_else(self):
        server, rpc = self.small_server()
        scan = rpc.kv_pb.ScanRequest(page_size=1000, with_values=True)
        scan.namespace = "db0"
        self.open_streams(server, rpc, b"/cairn.v1.KeyValue/Scan", scan, 100)
        begun = time.monotonic()
        for _ in range(10):
            rpc.kv.Scan(scan, metadata=rpc.metadata, timeout=PATIENCE)
        self.assertLess(time.monotonic() - begun, 8)

    # 200 downloads held 437 MB, and small values were not counted at all.
    def test_downloads_and_small_values_count_too(self):
        for key, value, streams, method in (("large", os.urandom(1 << 20), 200, b"/cairn.v1.Objects/Download"),
                                            ("small", os.urandom(60_000), 900, b"/cairn.v1.KeyValue/Get")):
            with self.subTest(key):
                server, rpc = self.small_server()
                server.redis().set(key, value)
                request = (rpc.objects_pb.DownloadRequest if key == "large" else rpc.kv_pb.GetRequest)(key=rpc.key("db0", key))
                before = resident(server)
                self.open_streams(server, rpc, method, request, streams, 4096)
                time.sleep(4)
                grown = resident(server, "VmHWM") - before
                print("%s: grown by %.1f MiB" % (key, grown / 2**20))
                self.assertLess(grown, 64 << 20)

    # 50 streams whose requests had 1.9 MiB held 474 MB for as long as they liked.
    def test_reflection_takes_small_requests_and_has_patience(self):
        method = self.rpc.channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                                                request_serializer=lambda b: b, response_deserializer=lambda b: b)
        stop = threading.Event()

        def nothing():
            stop.wait(PATIENCE)
            yield from ()
        for requests, code in ((iter([b"\x0a\x88\x27" + b"h" * 5000 + b"\x3a\x00"]), CODE.RESOURCE_EXHAUSTED),
                               (nothing(), CODE.DEADLINE_EXCEEDED)):
            with self.assertRaises(grpc.RpcError) as raised:
                list(method(requests, metadata=self.rpc.metadata, timeout=20))
            stop.set() if code == CODE.DEADLINE_EXCEEDED else None
            self.assertEqual(raised.exception.code(), code)
            self.assertTrue(self.detail(raised.exception).reason)  # the server's own word


class Http2:
    """The frames of one connection, by hand: what no client library would send."""
    DATA, HEADERS, RST, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7

    def __init__(self, port):
        import socket
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.buffer = b""
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(self.SETTINGS, 0, 0, b""))

    @staticmethod
    def frame(kind, flags, stream, payload):
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    @staticmethod
    def headers(path, metadata=()):
        literal = lambda name, value: b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
        return (b"\x83\x86" + literal(b":path", path) + literal(b":authority", b"x") + literal(b"te", b"trailers") +
                literal(b"content-type", b"application/grpc") +
                b"".join(literal(name.encode(), value.encode()) for name, value in metadata))

    def next_frame(self):
        while True:
            if len(self.buffer) >= 9:
                end = 9 + int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) >= end:
                    kind, flags, payload = self.buffer[3], self.buffer[4], self.buffer[9:end]
                    self.buffer = self.buffer[end:]
                    return kind, flags, payload
            part = self.socket.recv(1 << 16)
            if not part:
                return None
            self.buffer += part


class Connections(GrpcCase):
    # A client that pings each second was sent away after 4 s: ENHANCE_YOUR_CALM.
    def test_a_client_may_ping_twice_a_second(self):
        c = Http2(self.server.grpc)
        acknowledged = 0
        for i in range(8):
            c.socket.sendall(c.frame(c.PING, 0, 0, b"%08d" % i))
            while True:
                frame = c.next_frame()
                self.assertIsNotNone(frame)
                self.assertNotEqual(frame[0], c.GOAWAY)
                if frame[0] == c.PING and frame[1] & 1:
                    acknowledged += 1
                    break
            time.sleep(0.6)
        self.assertEqual(acknowledged, 8)
        c.socket.close()

    def reset_rapidly(self, port, streams):
        """Opens streams and resets them at once; whether it was sent away."""
        c = Http2(port)
        literal = lambda name, value: b"\x40" + bytes([len(name)]) + name + bytes([len(value)]) + value
        first = (b"\x83\x86" + literal(b":path", b"/cairn.v1.KeyValue/Get") + literal(b":authority", b"x") +
                 literal(b"te", b"trailers") + literal(b"content-type", b"application/grpc"))
        again, cancel = b"\x83\x86\xc1\xc0\xbf\xbe", (8).to_bytes(4, "big")  # the same, by the table of the connection
        try:
            c.socket.sendall(c.frame(c.HEADERS, 4, 1, first) + c.frame(c.RST, 0, 1, cancel))
            for n in range(3, 2 * streams, 2000):
                c.socket.sendall(b"".join(c.frame(c.HEADERS, 4, i, again) + c.frame(c.RST, 0, i, cancel)
                                          for i in range(n, n + 2000, 2)))
        except OSError:
            return True
        finally:
            c.socket.close()
        return False

    # 2.7 GiB from two connections without a password.
    def test_rapid_resets_take_little_memory(self):
        server = Server()
        self.addCleanup(server.remove)
        before = resident(server)

        def flood():
            for _ in range(3):
                self.reset_rapidly(server.grpc, 150_000)
        threads = [threading.Thread(target=flood) for _ in range(2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        grown = (resident(server, "VmHWM") - before) >> 20
        print("rapid resets took %d MiB" % grown)
        self.assertLess(grown, 400)
        # And others are served, once what was cut off is worked off; with large requests too.
        rpc = server.grpc_stubs()
        for i in range(50):
            rpc.kv.Put(rpc.kv_pb.PutRequest(key=rpc.key("db0", b"k%d" % i), value=b"v" * 1_000_000),
                       metadata=rpc.metadata, wait_for_ready=True, timeout=PATIENCE)
        rpc.channel.close()

    # The second one ended the server, without a password.
    def test_methods_that_do_not_exist_are_unimplemented(self):
        names = ["/cairn.v1.KeyValue/Nope", "/cairn.v1.KeyValue/", "/cairn.v1.KeyValue", "/grpc.health.v1.Health/Nope",
                 "/", "//", "x", "/x/y", "/x/y/z", "/cairn.v1.KeyValue/Get?x", "/" + "n" * 5000]
        channel = self.new_channel(self.server)
        for i in range(4500):  # more than there are calls at once
            kind = random.choice((channel.unary_unary, channel.unary_stream, channel.stream_unary, channel.stream_stream))
            method, body = kind(random.choice(names)), random.choice((b"", b"x", bytes(100_000) if i % 100 == 0 else b"y"))
            streams = kind in (channel.stream_unary, channel.stream_stream)
            with self.assertRaises(grpc.RpcError) as e:
                got = method(iter([body] * random.randrange(3)) if streams else body, timeout=PATIENCE,
                             metadata=random.choice((None, self.rpc.metadata)))
                list(got if kind in (channel.unary_stream, channel.stream_stream) else [got])
            self.assertEqual(e.exception.code(), CODE.UNIMPLEMENTED)
        self.assertEqual(self.server.process.poll(), None)
        self.assertEqual(next(self.watch(self.new_channel(self.server))), b"\x08\x01")

    # 2 MiB of it took 2 GB, without a password.
    def test_what_is_packed_is_refused(self):
        server = Server()
        self.addCleanup(server.remove)
        before = resident(server)
        rpc = server.grpc_stubs()
        for algorithm in (grpc.Compression.Gzip, grpc.Compression.Deflate):
            channel = self.new_channel(server)
            for metadata in (None, rpc.metadata):
                put = channel.unary_unary("/cairn.v1.KeyValue/Put")
                for size in (1000, 100 << 20):
                    with self.assertRaises(grpc.RpcError) as e:
                        put(bytes(size), metadata=metadata, compression=algorithm, timeout=PATIENCE)
                    self.assertEqual(e.exception.code(), CODE.UNIMPLEMENTED)
        self.assertLess(resident(server, "VmHWM"), before + (60 << 20))
        rpc.kv.Put(rpc.kv_pb.PutRequest(key=rpc.key("db0", b"k"), value=b"v"), metadata=rpc.metadata)

    def watch(self, channel, **more):
        return channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=PATIENCE, **more)

    def new_channel(self, server):
        channel = grpc.insecure_channel("127.0.0.1:%d" % server.grpc, options=[("grpc.use_local_subchannel_pool", 1)])
        self.addCleanup(channel.close)
        return channel

    # Four thousand of their watches, and nobody was let in any more.
    def test_calls_of_strangers_keep_nobody_out(self):
        server = Server()
        self.addCleanup(server.remove)
        rpc, calls = server.grpc_stubs(), []
        self.addCleanup(rpc.channel.close)
        for _ in range(6):
            channel = self.new_channel(server)
            calls.append([self.watch(channel) for _ in range(1000)])
        few = [self.watch(self.new_channel(server)) for _ in range(20)]
        for call in few:
            self.assertEqual(next(call), b"\x08\x01")
        for i in range(20):
            get = self.new_channel(server).unary_unary("/cairn.v1.KeyValue/Get")
            with self.assertRaises(grpc.RpcError) as e:
                get(rpc.kv_pb.GetRequest(key=rpc.key("db0", "none")).SerializeToString(), metadata=rpc.metadata, timeout=PATIENCE)
            self.assertEqual(e.exception.code(), CODE.NOT_FOUND)
        for of_one in calls:
            answered = 0
            for call in of_one:
                try:
                    next(call)
                    answered += 1
                except grpc.RpcError as e:
                    self.assertIn(e.code(), (CODE.RESOURCE_EXHAUSTED, CODE.UNAVAILABLE))
            self.assertLessEqual(answered, 8)
            for call in of_one:
                call.cancel()
        # Who has credentials may have as many as his connection takes.
        channel = self.new_channel(server)
        many = [self.watch(channel, metadata=rpc.metadata) for _ in range(200)]
        for call in many:
            self.assertEqual(next(call), b"\x08\x01")

    def test_a_call_of_a_stranger_ends(self):
        server = Server(args=("--patience=1",))
        self.addCleanup(server.remove)
        rpc = server.grpc_stubs()
        self.addCleanup(rpc.channel.close)
        known = self.watch(rpc.channel, metadata=rpc.metadata)
        self.assertEqual(next(known), b"\x08\x01")
        also = self.watch(rpc.channel)  # over the same connection
        self.assertEqual(next(also), b"\x08\x01")
        # One that takes no answer is cut off.
        c = Http2(server.grpc)
        c.socket.sendall(c.frame(c.SETTINGS, 0, 0, b"\x00\x04" + bytes(4)) + c.frame(c.HEADERS, 4, 1, c.headers(b"/grpc.health.v1.Health/Watch")) +
                         c.frame(c.DATA, 1, 1, bytes(5)))
        for _ in range(2):
            stranger = self.watch(self.new_channel(server))
            self.assertEqual(next(stranger), b"\x08\x01")
            with self.assertRaises(grpc.RpcError) as e:
                next(stranger)
            self.assertIn("watch again", e.exception.details())
        try:
            while c.next_frame() is not None:
                pass
        except ConnectionResetError:
            pass
        c.socket.close()
        self.assertTrue(known.is_active() and also.is_active())
        # Watches do not keep the server from ending.
        self.assertEqual(server.stop(), 0)
        with self.assertRaises(grpc.RpcError) as e:
            next(known)
        self.assertEqual(e.exception.code(), CODE.UNAVAILABLE)

    def test_more_than_a_hundred_calls_at_once(self):
        stop, pb = threading.Event(), self.rpc.objects_pb

        def parts(n):
            yield pb.UploadRequest(header=pb.UploadHeader(key=self.rpc.key("db0", "many%d" % n)))
            stop.wait(PATIENCE)
        calls = [self.rpc.objects.Upload.future(parts(n), metadata=self.rpc.metadata) for n in range(110)]
        self.call(self.rpc.admin.Info, self.rpc.admin_pb.InfoRequest())
        stop.set()
        self.assertEqual([c.result().info.size_bytes for c in calls], [0] * 110)

    def test_health_knows_the_services_by_name(self):
        check = self.rpc.channel.unary_unary("/grpc.health.v1.Health/Check")
        for name in ("", "cairn.v1.KeyValue", "cairn.v1.Objects", "cairn.v1.Admin"):
            request = b"\x0a" + bytes([len(name)]) + name.encode() if name else b""
            self.assertEqual(check(request), b"\x08\x01", name)  # status: SERVING
        with self.assertRaises(grpc.RpcError) as e:
            check(b"\x0a\x04none")
        self.assertEqual(e.exception.code(), CODE.NOT_FOUND)


class Reflection(GrpcCase):
    VERSIONS = ("v1", "v1alpha")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with tempfile.TemporaryDirectory() as d:  # "grpc" is a package already: loaded by its path
            subprocess.check_call([sys.executable, "-m", "grpc_tools.protoc", "-I" + os.path.join(ROOT, "proto"), "--python_out=" + d,
                                   "grpc/reflection/v1/reflection.proto"], cwd=os.path.join(ROOT, "proto"))
            spec = importlib.util.spec_from_file_location("reflection_pb2", d + "/grpc/reflection/v1/reflection_pb2.py")
            cls.pb = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(cls.pb)

    def ask(self, version, *requests, metadata=None):
        method = self.rpc.channel.stream_stream("/grpc.reflection.%s.ServerReflection/ServerReflectionInfo" % version,
                                                lambda m: m.SerializeToString(), self.pb.ServerReflectionResponse.FromString)
        return list(method(iter(requests), metadata=self.rpc.metadata if metadata is None else metadata, timeout=PATIENCE))

    def test_every_service_can_be_described_from_what_is_told(self):
        from google.protobuf import descriptor_pb2, descriptor_pool
        for version in self.VERSIONS:
            answer, = self.ask(version, self.pb.ServerReflectionRequest(list_services="*"))
            services = [s.name for s in answer.list_services_response.service]
            self.assertTrue({"cairn.v1.KeyValue", "cairn.v1.Objects", "cairn.v1.Admin", "cairn.v1.Streams", "grpc.health.v1.Health"} <= set(services))
            for name in services:
                answer, = self.ask(version, self.pb.ServerReflectionRequest(file_containing_symbol=name))
                pool = descriptor_pool.DescriptorPool()
                files = [descriptor_pb2.FileDescriptorProto.FromString(b) for b in answer.file_descriptor_response.file_descriptor_proto]
                for f in reversed(files):
                    pool.Add(f)
                self.assertGreater(len(pool.FindServiceByName(name).methods), 0)

    def test_requests_for_nothing_are_answered_one_by_one(self):
        make = self.pb.ServerReflectionRequest
        for version in self.VERSIONS:
            answers = self.ask(version, make(), make(file_by_filename="none"), make(file_containing_symbol="none"),
                               make(file_containing_extension=self.pb.ExtensionRequest(containing_type="none", extension_number=1)),
                               make(all_extension_numbers_of_type="none"), make(file_by_filename="cairn/v1/common.proto"))
            self.assertEqual([a.error_response.error_code for a in answers], [3, 5, 5, 5, 5, 0])

    # It told anybody what there is.
    def test_it_needs_a_right(self):
        for version in self.VERSIONS:
            with self.assertRaises(grpc.RpcError) as e:
                self.ask(version, self.pb.ServerReflectionRequest(list_services="*"), metadata=())
            self.assertEqual(e.exception.code(), CODE.UNAUTHENTICATED)

    def test_of_two_credentials_none_counts(self):
        good = tuple(self.rpc.metadata)
        for bad in ("Bearer wrong", "", good[0][1]):
            for metadata in (good + (("authorization", bad),), (("authorization", bad),) + good):
                with self.assertRaises(grpc.RpcError) as e:
                    self.ask(self.VERSIONS[0], self.pb.ServerReflectionRequest(list_services="*"), metadata=metadata)
                self.assertEqual(e.exception.code(), CODE.UNAUTHENTICATED)

    def test_or_by_a_flag_a_peer_on_loopback(self):
        server = Server(args=("--reflection-on-loopback",))
        try:
            channel = grpc.insecure_channel("127.0.0.1:%d" % server.grpc)
            method = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                                           lambda m: m.SerializeToString(), self.pb.ServerReflectionResponse.FromString)
            answer, = list(method(iter([self.pb.ServerReflectionRequest(list_services="")]), timeout=PATIENCE))
            self.assertGreater(len(answer.list_services_response.service), 3)
            with self.assertRaises(grpc.RpcError) as e:
                channel.unary_unary("/cairn.v1.Admin/Info")(b"", timeout=PATIENCE)
            self.assertEqual(e.exception.code(), CODE.UNAUTHENTICATED)
        finally:
            server.remove()


class CommandLine(GrpcCase):
    def cairn(self, *words, input=None, password=PASSWORD):
        env = dict(os.environ, CAIRN_ROOT_USER=USER, CAIRN_ROOT_PASSWORD=password)
        p = subprocess.run([os.path.join(BUILD, "cairn"), "--server=127.0.0.1:%d" % self.server.grpc, *words],
                           input=input, capture_output=True, env=env, timeout=PATIENCE)
        return p.returncode, p.stdout

    def test_words_and_exit_codes(self):
        self.assertEqual(self.cairn("put", "db0/word", "value"), (0, b""))
        self.assertEqual(self.cairn("get", "db0/word"), (0, b"value"))
        self.assertEqual(self.cairn("put", "db0/word", "v", "--new")[0], 3)
        self.assertEqual(self.cairn("get", "db0/none")[0], 1)
        self.assertEqual(self.cairn("get", "nowhere/none")[0], 1)
        self.assertEqual(self.cairn("get", "db0")[0], 2)
        self.assertEqual(self.cairn("get", "db0/word", password="wrong")[0], 4)
        self.assertEqual(self.cairn("mb", "db16")[0], 2)
        self.assertEqual(self.cairn("mb", "tool-bucket")[0], 0)
        self.assertEqual(self.cairn("mb", "tool-bucket")[0], 3)
        data = os.urandom(3 << 20)
        with tempfile.TemporaryDirectory() as d:
            for name, part in (("a", data), ("sub/b", data[:10]), ("empty", b"")):
                os.makedirs(os.path.dirname(os.path.join(d, name)), exist_ok=True)
                open(os.path.join(d, name), "wb").write(part)
            self.assertEqual(self.cairn("cp", "-r", d, "cairn://tool-bucket/tree")[0], 0)
            self.assertEqual(self.cairn("cp", "-r", "cairn://tool-bucket/tree", d + "/back")[0], 0)
            for name, part in (("a", data), ("sub/b", data[:10]), ("empty", b"")):
                self.assertEqual(open(os.path.join(d, "back", name), "rb").read(), part)
        self.assertEqual(self.cairn("cat", "tool-bucket/tree/a"), (0, data))
        self.assertEqual(self.cairn("cp", "-", "cairn://tool-bucket/piped", input=b"piped bytes")[0], 0)
        self.assertEqual(self.cairn("cp", "cairn://tool-bucket/piped", "cairn://db0/copied")[0], 0)
        self.assertEqual(self.cairn("get", "db0/copied"), (0, b"piped bytes"))
        self.assertEqual([l.split()[-1] for l in self.cairn("ls", "tool-bucket/")[1].splitlines()], [b"tree/", b"piped"])
        self.assertIn(b"size     11", self.cairn("stat", "tool-bucket/piped")[1])
        self.assertEqual(self.cairn("del", "tool-bucket/piped", "tool-bucket/none")[0], 1)
        self.assertIn(b"tool-bucket", self.cairn("ls")[1])
        self.assertEqual(self.cairn("info")[0], 0)


if __name__ == "__main__":
    unittest.main()
