"""No answer leaves before what it rests on is durable, at any door: the log's syncs are held meanwhile."""
import concurrent.futures
import contextlib
import os
import select
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.request

import botocore.exceptions
import grpc

from harness import PASSWORD, PATIENCE, Server, command
from test_rdb import Copy


class Held(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.directory.cleanup)
        library, cls.hold_file = (os.path.join(cls.directory.name, name) for name in ("hold_syncs.so", "hold"))
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hold_syncs.c")
        subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        cls.server = Server(env={"LD_PRELOAD": library, "CAIRN_HOLD": cls.hold_file},
                            args=["--durability=always", "--io=threads"])
        cls.addClassCleanup(cls.server.remove)
        cls.addClassCleanup(cls.release)
        cls.s3, cls.rpc, cls.pool = cls.server.s3(), cls.server.grpc_stubs(), concurrent.futures.ThreadPoolExecutor(100)
        cls.s3.create_bucket(Bucket="stays")
        cls.server.redis().set("from", "x")

    @classmethod
    def release(cls):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(cls.hold_file)

    def held(self, change, probes):
        """Nobody hears of `change` before it is durable, neither who made it nor others."""
        open(self.hold_file, "w").close()
        try:
            waiting = {"the change": self.pool.submit(change)}
            time.sleep(0.2)
            waiting.update({name: self.pool.submit(probe) for name, probe in probes.items()})
            time.sleep(0.5)
            early = {name: call.result() for name, call in waiting.items() if call.done()}
        finally:
            self.release()
        answers = {name: call.result(PATIENCE) for name, call in waiting.items()}
        self.assertEqual(early, {})
        return answers

    def called(self, method, request, **more):
        try:
            answer = method(request, metadata=self.rpc.metadata, timeout=PATIENCE)
            return "there" if more.get("unary", True) else "there %d" % len(list(answer))
        except grpc.RpcError as e:
            return "gone" if e.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION) else str(e)

    def s3_called(self, operation, **words):
        try:
            getattr(self.s3, operation)(**words)
            return "there"
        except botocore.exceptions.ClientError as e:
            return e.response["Error"]["Code"]

    def selected(self, name, *then):
        with contextlib.closing(self.server.redis()) as r:
            p = r.pipeline(transaction=False)
            p.execute_command("SELECT", name)
            if then:
                p.execute_command(*then)
            answers = p.execute(raise_on_error=False)
            return "gone" if "no such bucket" in str(answers[0]) else "there"

    def of_bucket(self, name):
        """What says whether a bucket is there."""
        kv, objects, pb, opb, key = self.rpc.kv, self.rpc.objects, self.rpc.kv_pb, self.rpc.objects_pb, self.rpc.key(name, "k")
        upload = iter([opb.UploadRequest(header=opb.UploadHeader(key=key)), opb.UploadRequest(data=b"x")])
        return {
            "SELECT": lambda: self.selected(name),
            "SELECT, GET": lambda: self.selected(name, "GET", "k"),
            "COPY": lambda: self.server.redis().execute_command("COPY", "from", "to", "DB", name) and "there",
            "HeadBucket": lambda: self.s3_called("head_bucket", Bucket=name),
            "ListObjectsV2": lambda: self.s3_called("list_objects_v2", Bucket=name),
            "GetBucketLocation": lambda: self.s3_called("get_bucket_location", Bucket=name),
            "ListMultipartUploads": lambda: self.s3_called("list_multipart_uploads", Bucket=name),
            "GetObject": lambda: self.s3_called("get_object", Bucket=name, Key="k"),
            "DeleteObject": lambda: self.s3_called("delete_object", Bucket=name, Key="none"),
            "CreateBucket": lambda: self.s3_called("create_bucket", Bucket=name),
            "CopyObject": lambda: self.s3_called("copy_object", Bucket="stays", Key="k", CopySource=name + "/k"),
            "Get": lambda: self.called(kv.Get, pb.GetRequest(key=key)),
            "BatchGet": lambda: self.called(kv.BatchGet, pb.BatchGetRequest(keys=[key])),
            "Txn": lambda: self.called(kv.Txn, pb.TxnRequest(then=[pb.TxnOp(get=pb.TxnOp.GetOp(key=key))])),
            "Scan": lambda: self.called(kv.Scan, pb.ScanRequest(namespace=name)),
            "Stat": lambda: self.called(objects.Stat, opb.StatRequest(key=key)),
            "List": lambda: self.called(objects.List, opb.ListRequest(namespace=name)),
            "Download": lambda: self.called(objects.Download, opb.DownloadRequest(key=key), unary=False),
            "Upload": lambda: self.called(objects.Upload, upload),
            "ListBuckets": lambda: self.called(objects.ListBuckets, opb.ListBucketsRequest()),
        }

    def test_that_a_bucket_is_there(self):
        answers = self.held(lambda: self.s3_called("create_bucket", Bucket="comes"), self.of_bucket("comes"))
        for name in ("the change", "SELECT", "HeadBucket", "ListObjectsV2", "Scan", "Upload"):
            self.assertEqual(answers[name], "there", name)

    def test_that_a_bucket_is_gone(self):
        self.s3.create_bucket(Bucket="goes")
        probes = self.of_bucket("goes")
        for name in ("CreateBucket", "COPY"):
            del probes[name]
        answers = self.held(lambda: self.s3_called("delete_bucket", Bucket="goes"), probes)
        for name in ("SELECT", "Scan", "Get", "Stat", "Upload", "Download"):
            self.assertEqual(answers[name], "gone", name)
        self.assertEqual(answers["ListObjectsV2"], "NoSuchBucket")

    def test_that_one_who_is_in_it_hears_of_it(self):
        self.s3.create_bucket(Bucket="left")
        inside = self.server.redis()
        inside.execute_command("SELECT", "left")

        def put():
            try:
                return inside.set("k", "v")
            except Exception as e:
                return str(e)
        self.held(lambda: self.s3_called("delete_bucket", Bucket="left"), {"SET": put})

    def test_that_keys_are_counted(self):
        """INFO told of keys that were not durable."""
        r = self.server.redis(db=7)

        def counted():
            return self.server.redis().info("keyspace").get("db7", {}).get("keys", 0)
        self.assertEqual(self.held(lambda: r.set("k", "v"), {"INFO": counted})["INFO"], 1)
        self.assertEqual(self.held(r.flushdb, {"INFO": counted})["INFO"], 0)

    def test_that_a_key_is_in_a_file_of_all(self):
        r = self.server.redis()
        for change, count in ((lambda: r.set("in a file of all", "v"), 1), (lambda: r.delete("in a file of all"), 0)):
            answers = self.held(change, {"SYNC": lambda: Copy(self.server).rest().count(b"in a file of all")})
            self.assertEqual(answers["SYNC"], count)

    def test_who_writes_waits_for_a_device_that_does_not_answer(self):
        """What was acknowledged under everysec lay in memory for as long as one sync took: 29 s of it, until it was full."""
        with contextlib.closing(socket.create_connection(("127.0.0.1", self.server.resp))) as s:
            s.sendall(command(b"AUTH", PASSWORD.encode()) + command(b"CONFIG", b"SET", b"appendfsync", b"everysec"))
            self.assertEqual(s.recv(10, socket.MSG_WAITALL), b"+OK\r\n" * 2)
            open(self.hold_file, "w").close()
            try:
                for i in range(2000):  # 20 s, and not 200 KB
                    s.sendall(command(b"SET", b"written", b"%d" % i))
                    if not select.select([s], [], [], 3)[0]:
                        break
                    self.assertEqual(s.recv(5, socket.MSG_WAITALL), b"+OK\r\n")
                    time.sleep(0.01)
                self.assertLess(i, 1999, "it was never held back")
                self.assertGreater(int(self.server.redis().get("written")), 0)  # who reads does not wait
                self.assertIn(b"writers wait", urllib.request.urlopen(
                    "http://127.0.0.1:%d/-/health/ready" % self.server.http).read())
            finally:
                self.release()
                self.server.redis().config_set("appendfsync", "always")
            self.assertEqual(s.recv(5, socket.MSG_WAITALL), b"+OK\r\n")

    # ---- gRPC's own wishes ----

    EVERYSEC = 2

    def test_a_grpc_refusal_waits_for_what_it_judged(self):
        kv, objects, pb, opb, key = self.rpc.kv, self.rpc.objects, self.rpc.kv_pb, self.rpc.objects_pb, self.rpc.key
        absent, judged = self.rpc.common.Condition(exists=False), key("db0", "judged")
        copy = opb.CopyRequest(to=judged, condition=absent)
        getattr(copy, "from").CopyFrom(key("db0", "from"))
        taken = pb.TxnOp(put=pb.TxnOp.PutOp(key=key("db0", "taken"), value=b"x"))

        def compared(*otherwise):
            request = pb.TxnRequest(compare=[pb.Compare(key=judged, condition=absent)], then=[taken], otherwise=otherwise,
                                    durability=self.EVERYSEC)
            return "gone" if not kv.Txn(request, metadata=self.rpc.metadata, timeout=PATIENCE).succeeded else "there"
        upload = iter([opb.UploadRequest(header=opb.UploadHeader(key=judged, condition=absent)), opb.UploadRequest(data=b"x")])
        answers = self.held(lambda: self.called(kv.Put, pb.PutRequest(key=judged, value=b"x")), {
            "Put": lambda: self.called(kv.Put, pb.PutRequest(key=judged, value=b"y", condition=absent, durability=self.EVERYSEC)),
            "Delete": lambda: self.called(kv.Delete, pb.DeleteRequest(key=judged, condition=absent, durability=self.EVERYSEC)),
            "Copy": lambda: self.called(objects.Copy, copy),
            "Objects.Delete": lambda: self.called(objects.Delete, opb.DeleteObjectRequest(key=judged, condition=absent)),
            "Upload": lambda: self.called(objects.Upload, upload),
            "Txn": compared,
            "Txn that reads": lambda: compared(pb.TxnOp(get=pb.TxnOp.GetOp(key=judged))),
        })
        self.assertEqual(answers.pop("the change"), "there")
        self.assertEqual(set(answers.values()), {"gone"}, answers)

    def test_who_asks_for_it_waits_for_what_was_not_wished_durable(self):
        kv, objects, pb, opb = self.rpc.kv, self.rpc.objects, self.rpc.kv_pb, self.rpc.objects_pb
        key = self.rpc.key("db0", "soon")
        read = pb.TxnOp(get=pb.TxnOp.GetOp(key=key))
        probes = {
            "Get": lambda **how: self.called(kv.Get, pb.GetRequest(key=key, **how)),
            "BatchGet": lambda **how: self.called(kv.BatchGet, pb.BatchGetRequest(keys=[key], **how)),
            "Txn": lambda **how: self.called(kv.Txn, pb.TxnRequest(then=[read], **how)),
            "Stat": lambda **how: self.called(objects.Stat, opb.StatRequest(key=key, **how)),
            "Download": lambda **how: bool(list(objects.Download(opb.DownloadRequest(key=key, **how), metadata=self.rpc.metadata))) and "there",
        }
        open(self.hold_file, "w").close()
        try:
            put = pb.PutRequest(key=key, value=b"x", durability=self.EVERYSEC)
            self.assertEqual(self.pool.submit(lambda: self.called(kv.Put, put)).result(PATIENCE), "there")
            waiting = {name: self.pool.submit(probe, durable=True) for name, probe in probes.items()}
            for name, probe in probes.items():
                self.assertEqual(self.pool.submit(probe).result(PATIENCE), "there", name)
            time.sleep(0.5)
            early = [name for name, call in waiting.items() if call.done()]
        finally:
            self.release()
        self.assertEqual(early, [])
        self.assertEqual({call.result(PATIENCE) for call in waiting.values()}, {"there"})


if __name__ == "__main__":
    unittest.main()
