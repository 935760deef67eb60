"""What the doors do while the log's syncs are held: no answer leaves before what it rests on is durable, and no door takes
more to write than the log's tail in memory may hold."""
import concurrent.futures
import contextlib
import os
import subprocess
import tempfile
import time
import unittest

import botocore.exceptions
import grpc

from harness import PATIENCE, Server


class HeldServer(unittest.TestCase):
    server_args = ()

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.directory.cleanup)
        library, cls.hold_file = (os.path.join(cls.directory.name, name) for name in ("hold_syncs.so", "hold"))
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hold_syncs.c")
        subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        cls.server = Server(env={"LD_PRELOAD": library, "CAIRN_HOLD": cls.hold_file},
                            args=["--io=threads", *cls.server_args])
        cls.addClassCleanup(cls.server.remove)
        cls.addClassCleanup(cls.release)
        cls.s3, cls.rpc = cls.server.s3(max_pool_connections=cls.threads), cls.server.grpc_stubs()
        cls.pool = concurrent.futures.ThreadPoolExecutor(cls.threads)
        cls.s3.create_bucket(Bucket="stays")
        cls.server.redis().set("from", "x")

    @classmethod
    def release(cls):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(cls.hold_file)


class Held(HeldServer):
    server_args, threads = ("--durability=always",), 100

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


class HeldWriters(HeldServer):
    """gRPC answered EVERYSEC writes at once, and S3 appended whatever the log already held: 250 MB lay in memory, minutes
    away from the disk. Here each door is offered far more than the tail of the log may hold."""
    threads = 200
    value = os.urandom(60_000)
    offered = 1200  # values, 72 MB
    most = 24 << 20  # bytes: the 4 MiB of the tail, and what was let in before the first sync was held

    def tail(self):
        stats = self.rpc.admin.Stats(self.rpc.admin_pb.StatsRequest(), metadata=self.rpc.metadata)
        return stats.log_tail_version - stats.log_durable_version

    def resident(self):
        with open("/proc/%d/statm" % self.server.process.pid) as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def hold(self):
        """Until nothing becomes durable, or is written, any more."""
        open(self.hold_file, "w").close()
        first = self.put("first", b"x", "DURABILITY_ALWAYS")
        time.sleep(0.5)
        return first

    def put(self, name, value, durability="DURABILITY_EVERYSEC"):
        pb, wish = self.rpc.kv_pb, getattr(self.rpc.common, durability)
        return self.rpc.kv.Put.future(pb.PutRequest(key=self.rpc.key("db0", name), value=value, durability=wish),
                                      metadata=self.rpc.metadata)

    def delete(self, name):
        pb, wish = self.rpc.kv_pb, self.rpc.common.DURABILITY_EVERYSEC
        return self.rpc.kv.Delete.future(pb.DeleteRequest(key=self.rpc.key("db0", name), durability=wish),
                                         metadata=self.rpc.metadata)

    def txn(self, name):
        pb = self.rpc.kv_pb
        op = pb.TxnOp(put=pb.TxnOp.PutOp(key=self.rpc.key("db0", name), value=self.value))
        return self.rpc.kv.Txn.future(pb.TxnRequest(then=[op], durability=self.rpc.common.DURABILITY_EVERYSEC),
                                      metadata=self.rpc.metadata)

    def upload(self, name):
        return self.pool.submit(lambda: self.rpc.upload("db0", name, self.value))

    def copy(self, name):
        pb = self.rpc.objects_pb
        return self.rpc.objects.Copy.future(pb.CopyRequest(to=self.rpc.key("db0", name), **{"from": self.rpc.key("db0", "source")}),
                                            metadata=self.rpc.metadata)

    def answered(self, calls):
        """How many, when no more are for a while."""
        answered = -1
        while answered != (answered := sum(c.done() for c in calls)):
            time.sleep(2)
        return answered

    def held(self, write, offered=offered, most=most):
        """So many writes are begun; those that are answered, and what lies in memory, have a bound; reads go on. When the
        log is released, all of them end well."""
        self.server.redis().set("source", self.value)
        self.server.redis().execute_command("WAITAOF", 1, 0, PATIENCE * 1000)
        before = self.resident()
        first = self.hold()
        try:
            calls = [write("k%d" % i) for i in range(offered)]
            self.assertLess(self.answered(calls) * len(self.value), most)
            self.reads_go_on()
            self.assertLess(self.tail(), most)
            self.assertLess(self.resident() - before, 4 * most)
            self.assertFalse(first.done())
        finally:
            self.release()
        for call in calls:
            call.result(PATIENCE)
        first.result(PATIENCE)

    def reads_go_on(self):
        pb, opb, key = self.rpc.kv_pb, self.rpc.objects_pb, self.rpc.key("db0", "source")
        self.assertEqual(self.server.redis().get("source"), self.value)
        self.assertEqual(self.server.s3().get_object(Bucket="db0", Key="source")["Body"].read(), self.value)
        for method, request in ((self.rpc.kv.Get, pb.GetRequest(key=key)), (self.rpc.objects.Stat, opb.StatRequest(key=key)),
                                (self.rpc.kv.Txn, pb.TxnRequest(then=[pb.TxnOp(get=pb.TxnOp.GetOp(key=key))]))):
            method(request, metadata=self.rpc.metadata, timeout=PATIENCE)
        self.assertEqual(self.rpc.download("db0", "source"), self.value)

    def test_grpc_put(self):
        self.held(lambda name: self.put(name, self.value))

    def test_grpc_txn(self):
        self.held(self.txn)

    def test_grpc_delete(self):
        """Deletions wait too; one whose caller has gone is not done."""
        r = self.server.redis()
        for name in ("goes", "stays"):
            r.set(name, b"x")
        first = self.hold()
        try:
            puts = [self.put("d%d" % i, self.value) for i in range(400)]
            self.assertLess(self.answered(puts), len(puts))
            goes, stays = self.delete("goes"), self.delete("stays")
            self.assertEqual(self.answered([goes, stays]), 0)
            stays.cancel()
            self.assertEqual(self.answered([goes]), 0)
        finally:
            self.release()
        self.assertTrue(goes.result(PATIENCE).deleted)
        for call in puts + [first]:
            call.result(PATIENCE)
        self.assertEqual((r.get("goes"), r.get("stays")), (None, b"x"))

    def test_grpc_copy(self):
        self.held(self.copy)

    def test_grpc_upload(self):
        self.held(self.upload, offered=self.threads, most=8 << 20)

    def test_s3_put_object(self):
        self.held(lambda name: self.pool.submit(self.s3.put_object, Bucket="stays", Key=name, Body=self.value),
                  offered=self.threads, most=8 << 20)

    def test_s3_copy_object(self):
        self.held(lambda name: self.pool.submit(self.s3.copy_object, Bucket="stays", Key=name, CopySource="db0/source"),
                  offered=self.threads, most=8 << 20)

    def test_resp(self):
        client = self.server.redis()  # a connection for each thread
        self.held(lambda name: self.pool.submit(client.set, name, self.value))


if __name__ == "__main__":
    unittest.main()
